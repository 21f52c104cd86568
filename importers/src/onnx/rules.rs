//! The operators that the importer knows: a table of rows, each with the shapes of its outputs,
//! the work that it does, how it folds, and which inputs only steer it.
//!
//! Bytes are what an op touches in device memory, each input once: a `Gather` reads the rows that
//! it picks, not the table; a recurrent layer reads its weights once, for all steps. Products are
//! two floating-point operations per multiply-add; biases and elementwise arithmetic count none.

use std::collections::HashMap;
use std::sync::LazyLock;

mod arithmetic_rows;
mod attention;
mod contraction;
mod contribution_rows;
mod layout_rows;
mod learned;
mod model_rows;
mod preprocessing_rows;
mod quantized_rows;
pub(crate) mod rule;
mod traffic;

use rule::Rule;

static TABLES: &[&[Rule]] = &[
    arithmetic_rows::ROWS,
    layout_rows::ROWS,
    model_rows::ROWS,
    preprocessing_rows::ROWS,
    contribution_rows::ROWS,
    quantized_rows::ROWS,
];

static INDEX: LazyLock<HashMap<&'static str, &'static Rule>> = LazyLock::new(|| {
    let rows = TABLES.iter().copied().flatten();
    rows.flat_map(|rule| rule.ops.split_whitespace().map(move |op| (op, rule))).collect()
});

/// The row of an operator.
pub(crate) fn find(domain: &str, op_type: &str) -> Option<&'static Rule> {
    if domain.is_empty() {
        INDEX.get(op_type).copied()
    } else {
        INDEX.get(format!("{domain}::{op_type}").as_str()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{INDEX, TABLES, find};

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let rows = TABLES.iter().copied().flatten();
        let n_ops: usize = rows.map(|rule| rule.ops.split_whitespace().count()).sum();
        assert_eq!(INDEX.len(), n_ops);
        assert!(find("", "MatMul").is_some());
        assert!(find("com.microsoft", "MatMulNBits").is_some());
        assert!(find("com.vendor", "MatMul").is_none());
    }
}
