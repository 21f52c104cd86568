//! What lies on a rank, and why.

use std::fmt;

use ir::id::StageId;
use ir::units::Bytes;

/// Why some bytes lie on a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldingKind {
    /// Parameters and what belongs to them, and the rank's own bytes.
    Persistent,
    /// What forward passes kept.
    Stash,
    /// What recompute added.
    Recomputed,
    /// Scratch bytes of the cell that runs.
    Temporary,
}

impl HoldingKind {
    /// All, in the order of their declaration: position `i` is the kind whose discriminant is `i`.
    pub const ALL: [Self; 4] = [Self::Persistent, Self::Stash, Self::Recomputed, Self::Temporary];

    /// The word used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Stash => "activations",
            Self::Recomputed => "recomputed activations",
            Self::Temporary => "temporary",
        }
    }
}

/// Something that lies on a rank at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    /// Why it is there.
    pub what: HoldingKind,
    /// Whose it is; `None` = the rank's own.
    pub stage: Option<StageId>,
    /// Of how many micro-batches; 0 where it is of none.
    pub n_micro_batches: u32,
    /// All of it.
    pub bytes: u64,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Some(stage) => write!(f, "{} of {stage}", self.what.name())?,
            None => write!(f, "{} of the rank", self.what.name())?,
        }
        if self.n_micro_batches > 0 {
            write!(f, ", {} micro-batches", self.n_micro_batches)?;
        }
        write!(f, ": {}", Bytes(self.bytes))
    }
}
