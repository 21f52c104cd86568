//! What a search answers.

use std::fmt;

use super::graph::{Graph, Strategy};
use super::mesh::{Collective, Placement};

/// Resharding of a tensor, for one or several uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Number of the tensor.
    pub tensor: usize,
    /// As it is produced.
    pub from: Placement,
    /// As it is used.
    pub to: Placement,
    /// By their order the axes and collectives; none where a part is cut out of what is there.
    pub collectives: Vec<(usize, Collective)>,
    /// Seconds of one.
    pub seconds: f64,
    /// How often it is done: once a layer.
    pub times: u32,
}

impl Step {
    /// Seconds of one, hidden ones among them.
    #[must_use]
    pub fn whole_s(&self, graph: &Graph) -> f64 {
        self.seconds / graph.tensors[self.tensor].exposed
    }
}

/// Strategies of all ops.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharding {
    /// By number of the op.
    pub strategies: Vec<Strategy>,
    /// Resharding that costs something.
    pub steps: Vec<Step>,
    /// Seconds of all ops and collectives, one after another.
    pub seconds: f64,
    /// Seconds that no product of strategies is below, by [`bound`](super::bound).
    pub bound_s: f64,
    /// Columns of the program of all strategies and flows.
    pub n_columns: usize,
    /// Strategies of all ops.
    pub n_strategies: usize,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No strategy of this op divides its tensors.
    NoStrategy(String),
    /// A tensor that no op produces, or several.
    Producer(String),
    /// An op of which a mesh of several axes has too many strategies, or a tensor of which it has too many placements.
    TooLarge(String),
    /// Limits and pins leave nothing.
    Infeasible,
    /// A model with ops that have no rules.
    NoGraph,
    /// Time ended, or the solver failed.
    NotSolved,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStrategy(op) => write!(f, "no strategy of {op} divides its tensors"),
            Self::Producer(tensor) => write!(f, "{tensor} needs one op that produces it"),
            Self::TooLarge(name) => write!(f, "{name} can be split in too many ways on these axes"),
            Self::Infeasible => write!(f, "limits of memory leave no strategies"),
            Self::NoGraph => write!(f, "blocks that are no transformer's have no rules"),
            Self::NotSolved => write!(f, "not solved in time"),
        }
    }
}
