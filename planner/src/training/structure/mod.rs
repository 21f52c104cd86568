//! What a model is made of: runs of equal blocks, and the parts before, between and after them.
//!
//! Found by structure alone: kinds of ops, shapes and who reads what. Names, ids and the order in
//! which ops stand in the file play no part.
//!
//! 1. Ops are put into a line that depends on nothing but the structure ([`line`]).
//! 2. On the line, periods give candidates for blocks, as in [`crate::transform::repeat`]; from the
//!    first block on, the dataflow is followed backwards for further blocks whose ops stand apart
//!    ([`runs`], [`extend`]).
//! 3. Every other op goes before, between or after blocks, so that no tensor flows backwards
//!    ([`assign`]). Long parts without blocks are cut where few bytes pass.
//!
//! The result is a chain of segments: each op is in one of them, and reads only from its own and
//! from earlier ones. Tensors may skip segments (encoder output, U-shaped models); they count at
//! each boundary that they cross ([`figures`]).

mod assign;
mod extend;
pub mod figures;
mod line;
pub mod parts;
mod products;
mod runs;
pub mod template;
#[cfg(test)]
mod tests;

use std::ops::Range;

use ir::graph::Graph;
use ir::id::OpId;
use ir::module::unit_of;
use ir::op::Work;

pub use line::Line;

/// A part of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its ops, in an order in which they can run.
    pub ops: Vec<OpId>,
    /// Of which run it is a block; `None` for what stands around blocks.
    pub run: Option<usize>,
}

/// Equal blocks, one reading from the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Positions of its blocks among the segments, in the order of the dataflow.
    pub segments: Vec<usize>,
}

/// A model as a chain of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Segments in the order of the chain.
    pub segments: Vec<Segment>,
    /// Runs of equal blocks, in the order of their first blocks.
    pub runs: Vec<Run>,
    /// By op, its segment.
    pub segment_of: Vec<usize>,
}

/// Finds the structure of a graph, in time that grows about as the graph does.
#[must_use]
pub fn find(line: &Line<'_>) -> Structure {
    assign::segments(line, &runs::find(line))
}

/// Where segments begin, in the words of the source: the module of a list of equal modules that a
/// segment is the first to hold ops of, else its first op that is no view.
#[must_use]
pub fn starts(graph: &Graph, structure: &Structure, segments: Range<usize>) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut all = Vec::with_capacity(segments.len());
    for segment in &structure.segments[segments] {
        let modules = segment.ops.iter().filter_map(|op| graph.op(*op).module.as_deref());
        let is_listed = |unit: &&str| {
            let last = unit.rsplit('.').next().unwrap_or_default();
            !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
        };
        let module = modules.map(unit_of).filter(is_listed).find(|unit| !seen.contains(unit));
        let is_action = |op: &&OpId| graph.op(**op).work != Work::View;
        let first = segment.ops.iter().find(is_action).or_else(|| segment.ops.first());
        match (module, first) {
            (Some(module), _) => {
                seen.push(module);
                all.push(module.to_owned());
            }
            (None, Some(op)) => all.push(graph.op(*op).name.clone()),
            (None, None) => all.push(String::new()),
        }
    }
    all
}
