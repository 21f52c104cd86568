//! Embedding and head.

use ir::card::Head;
use ir::id::{OpId, TensorId};
use ir::tensor::DType;

use super::super::Structure;
use super::super::line::Line;
use super::super::products::{Factors, is_float};
use super::Mismatch;

/// What the ends of a model say of its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndFigures {
    pub(super) vocabulary: u64,
    pub(super) head: Head,
}

/// Reads the ends around the segments of a run.
pub(super) fn read(
    line: &Line<'_>,
    factors: &Factors<'_>,
    structure: &Structure,
    (first, last): (usize, usize),
    hidden: u64,
) -> Result<EndFigures, Mismatch> {
    let in_front = structure.segments[..first].iter().flat_map(|own| &own.ops);
    let tables = in_front.filter_map(|op| table(line, factors, *op, hidden));
    let table = tables.max_by_key(|(rows, tensor)| (*rows, std::cmp::Reverse(tensor.0)));
    let behind = structure.segments[last + 1..].iter().flat_map(|own| &own.ops);
    let heads = behind.filter_map(|op| {
        let product = factors.products(*op).first()?;
        let matrix = factors.matrix(*op)?;
        (product.k == hidden).then_some((product.n, matrix))
    });
    let head = heads.max_by_key(|(columns, tensor)| (*columns, std::cmp::Reverse(tensor.0)));
    let (Some((rows, table)), Some((columns, matrix))) = (table, head) else {
        return Err(Mismatch::new("no table of words in front of the blocks and head behind them"));
    };
    if rows != columns {
        let why = format!("the embedding has {rows} rows, the head {columns} columns");
        return Err(Mismatch(why));
    }
    let head = if table == matrix { Head::Tied } else { Head::Separate };
    Ok(EndFigures { vocabulary: rows, head })
}

/// Rows and parameter of a table of which an op picks rows as wide as the hidden state.
fn table(line: &Line<'_>, factors: &Factors<'_>, op: OpId, hidden: u64) -> Option<(u64, TensorId)> {
    let node = line.graph.op(op);
    let is_index = |tensor: &TensorId| {
        let dtype = line.graph.tensor(*tensor).dtype;
        !is_float(dtype) && dtype != DType::Bool
    };
    let picks = node.inputs.iter().any(is_index) && factors.products(op).is_empty();
    let tables = node.parameters.iter().chain(&node.inputs).filter_map(|t| factors.weight(*t));
    let found = tables.filter_map(|tensor| match line.graph.tensor(tensor).shape[..] {
        [rows, width] if width == hidden && is_float(line.graph.tensor(tensor).dtype) => {
            Some((rows, tensor))
        }
        _ => None,
    });
    found.max().filter(|_| picks)
}
