//! Embedding and head.

use std::collections::BTreeSet;

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
    /// Elements of the other tables in front that rows as wide as the hidden state are picked from:
    /// learned positions, kinds of tokens.
    pub(super) other_tables: u64,
}

/// Reads the ends around the segments of a run.
pub(super) fn read(
    line: &Line<'_>,
    factors: &Factors<'_>,
    structure: &Structure,
    (first, last): (usize, usize),
    hidden: u64,
) -> Result<EndFigures, Mismatch> {
    let in_front = structure.segments[..first].iter().flat_map(|segment| &segment.ops);
    let tables = in_front.filter_map(|op| table(line, factors, *op, hidden));
    let table = tables.max_by_key(|(rows, tensor)| (*rows, std::cmp::Reverse(tensor.0)));
    let behind = structure.segments[last + 1..].iter().flat_map(|segment| &segment.ops);
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
    let others = structure.segments[..first].iter().flat_map(|segment| &segment.ops);
    let others: BTreeSet<TensorId> =
        others.flat_map(|op| added_tables(line, factors, *op, hidden)).collect();
    let others = others.iter().filter(|tensor| **tensor != table);
    let size = |tensor: &TensorId| line.graph.tensor(*tensor).shape.iter().product::<u64>();
    Ok(EndFigures { vocabulary: rows, head, other_tables: others.map(size).sum() })
}

/// Tables as wide as the hidden state that an op reads and multiplies nothing by.
fn added_tables<'l>(
    line: &'l Line<'_>,
    factors: &'l Factors<'_>,
    op: OpId,
    hidden: u64,
) -> impl Iterator<Item = TensorId> + 'l {
    let node = line.graph.op(op);
    let read = node.parameters.iter().chain(&node.inputs);
    let read = read.filter(move |_| factors.products(op).is_empty());
    read.filter_map(|tensor| factors.weight(*tensor)).filter(
        move |tensor| matches!(line.graph.tensor(*tensor).shape[..], [_, width] if width == hidden),
    )
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
