//! Reader of the table of matrix products.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::measured::GemmRow;

use super::{Fields, read_table};

/// Reads the table: columns `gpu`, `m`, `n`, `k`, `time_*`, and `dtype`, which must be a 16-bit
/// float.
///
/// # Errors
/// Those of the table, see [`read_table`].
pub fn read(path: &Path) -> Result<Vec<GemmRow>, Diagnostic> {
    read_table(path, |fields| row(fields).map(Some))
}

fn row(fields: &Fields) -> Result<GemmRow, Diagnostic> {
    if !matches!(fields.text("dtype")?, "bf16" | "fp16") {
        return Err(fields.bad("dtype", "a 16-bit float (`bf16` or `fp16`)"));
    }
    Ok(GemmRow {
        gpu: fields.device()?,
        m: fields.count("m")?,
        n: fields.count("n")?,
        k: fields.count("k")?,
        time_s: fields.seconds("time")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse_table;
    use super::*;

    #[test]
    fn a_row_by_hand() {
        let parse = |text: &str| parse_table(text.as_bytes(), "gemm.csv", |f| row(f).map(Some));
        let rows = parse("gpu,dtype,m,n,k,time_us\na,bf16,1,2,3,4\n").unwrap();
        assert_eq!(rows, [GemmRow { gpu: "a".to_owned(), m: 1, n: 2, k: 3, time_s: 4e-6 }]);
        let wide = parse("gpu,dtype,m,n,k,time_us\na,fp32,1,2,3,4\n").unwrap_err();
        assert_eq!(wide.code, "bad-cell");
    }
}
