//! Why a grid can't be run, or its timeline is wrong.

use std::fmt;

use ir::diagnostic::{Blame, Diagnostic};
use ir::grid::Cell;
use ir::units::{Bytes, Nanos};

use super::holding::Holding;

/// A circle is cut after so many cells.
const MAX_CIRCLE: usize = 8;

/// Why a training run is illegal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The plan has no grid.
    NoGrid,
    /// The plan and the costs disagree about a count.
    Count {
        /// Which.
        field: &'static str,
        /// What the plan says.
        plan: u64,
        /// What the costs say.
        costs: u64,
    },
    /// A stage is on a rank, or a rank at a network card, that does not exist.
    UnknownPlace {
        /// `rank` of a stage, or `network card` of a rank.
        what: &'static str,
        /// Which stage or rank.
        of: u32,
        /// The place that does not exist.
        place: u32,
    },
    /// Durations or bytes add up past 64 bits.
    OutOfRange {
        /// `nanoseconds` or `bytes`.
        unit: &'static str,
    },
    /// A cell of a stage or a micro-batch that does not exist.
    UnknownCell {
        /// Which.
        cell: Cell,
        /// Whose row.
        rank: u32,
    },
    /// A cell of a stage that another rank holds.
    WrongRank {
        /// Which.
        cell: Cell,
        /// Whose row.
        rank: u32,
        /// Who holds the stage.
        holder: u32,
    },
    /// A pass of a stage on a micro-batch comes twice, be it whole or in parts.
    Twice {
        /// Which.
        cell: Cell,
        /// Whose row.
        rank: u32,
    },
    /// A cell stands in its row before one that it needs.
    TooEarly {
        /// Which.
        cell: Cell,
        /// What it needs.
        needs: Cell,
        /// Whose row.
        rank: u32,
    },
    /// A pass is in no row.
    Missing {
        /// Which.
        cell: Cell,
        /// Whose row should have it.
        rank: u32,
    },
    /// Rows and data form a circle: nothing on it can ever start.
    Deadlock {
        /// Each is waited for by the next, the last by the first.
        cycle: Vec<Cell>,
    },
    /// A timeline does not follow from the grid and the costs.
    Clock {
        /// The rule that it breaks.
        rule: &'static str,
        /// Where.
        cell: Cell,
    },
    /// More lies on a rank than it can hold.
    MemoryExceeded {
        /// Which rank.
        rank: u32,
        /// The earliest instant with the most bytes, in nanoseconds.
        at: u64,
        /// Bytes that lie there then.
        need: u64,
        /// Bytes that it can hold.
        limit: u64,
        /// What lies there then, largest first.
        alive: Vec<Holding>,
    },
    /// Devices leave more with their host than it can hold.
    HostMemoryExceeded {
        /// Position of the host in the cluster.
        host: u32,
        /// Bytes that it keeps for them.
        need: u64,
        /// Bytes that it can hold.
        limit: u64,
    },
}

impl Violation {
    /// Stable kebab-case code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoGrid => "grid-missing",
            Self::Count { .. } => "grid-count-wrong",
            Self::UnknownPlace { .. } => "pipeline-place-unknown",
            Self::OutOfRange { .. } => "pipeline-out-of-range",
            Self::UnknownCell { .. } => "cell-unknown",
            Self::WrongRank { .. } => "cell-on-wrong-rank",
            Self::Twice { .. } => "cell-twice",
            Self::TooEarly { .. } => "cell-too-early",
            Self::Missing { .. } => "cell-missing",
            Self::Deadlock { .. } => "deadlock",
            Self::Clock { .. } => "clock-wrong",
            Self::MemoryExceeded { .. } => "memory-exceeded",
            Self::HostMemoryExceeded { .. } => "host-memory-exceeded",
        }
    }

    /// What is wrong, [`Blame::IllegalPlan`].
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(Blame::IllegalPlan, self.code(), self.to_string());
        if let Some((cell, rank)) = self.place() {
            diagnostic = diagnostic.fact("cell", cell.to_string()).fact("rank", u64::from(rank));
        }
        match self {
            Self::Deadlock { cycle } => diagnostic
                .fact(
                    "circle",
                    cycle.iter().take(MAX_CIRCLE).map(Cell::to_string).collect::<Vec<_>>(),
                )
                .fact("length", cycle.len())
                .hint("reorder the cells of one rank on it"),
            Self::MemoryExceeded { rank, at, need, limit, alive } => diagnostic
                .fact("rank", u64::from(*rank))
                .fact("need", Bytes(*need))
                .fact("have", Bytes(*limit))
                .fact("at", Nanos(*at))
                .fact("alive", alive.iter().map(Holding::to_string).collect::<Vec<_>>()),
            Self::HostMemoryExceeded { host, need, limit } => diagnostic
                .fact("host", u64::from(*host))
                .fact("need", Bytes(*need))
                .fact("have", Bytes(*limit))
                .hint("use hosts with more memory, or more of them"),
            Self::NoGrid => diagnostic.hint("give `schedule` a grid with one row per rank"),
            _ => diagnostic,
        }
    }

    fn place(&self) -> Option<(Cell, u32)> {
        match self {
            Self::UnknownCell { cell, rank }
            | Self::WrongRank { cell, rank, .. }
            | Self::Twice { cell, rank }
            | Self::TooEarly { cell, rank, .. }
            | Self::Missing { cell, rank } => Some((*cell, *rank)),
            _ => None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGrid => write!(f, "the schedule has no pipeline grid"),
            Self::Count { field, plan, costs } => {
                write!(f, "the plan has {plan} {field}, but there are costs of {costs}")
            }
            Self::UnknownPlace { what, of, place } => {
                let owner = if *what == "rank" { "stage" } else { "rank" };
                write!(f, "{owner} {of} names {what} {place}, which does not exist")
            }
            Self::OutOfRange { unit } => {
                write!(f, "the {unit} of the pipeline add up past 64 bits")
            }
            Self::UnknownCell { cell, rank } => {
                write!(f, "rank {rank} runs `{cell}`, which does not exist")
            }
            Self::WrongRank { cell, rank, holder } => {
                write!(f, "rank {rank} runs `{cell}`, but rank {holder} holds the stage")
            }
            Self::Twice { cell, rank } => write!(f, "rank {rank} runs `{cell}` a second time"),
            Self::TooEarly { cell, needs, rank } => {
                write!(f, "rank {rank} has `{cell}` before `{needs}`, which it needs")
            }
            Self::Missing { cell, rank } => write!(f, "rank {rank} never runs `{cell}`"),
            Self::Deadlock { cycle } => write!(
                f,
                "rows and data form a circle, so nothing on it can start: {}",
                circle(cycle)
            ),
            Self::Clock { rule, cell } => write!(f, "the times of `{cell}` are wrong: {rule}"),
            Self::MemoryExceeded { rank, at, need, limit, .. } => write!(
                f,
                "rank {rank} holds {} at {}, but has room for {}",
                Bytes(*need),
                Nanos(*at),
                Bytes(*limit)
            ),
            Self::HostMemoryExceeded { host, need, limit } => write!(
                f,
                "host {host} keeps {} of states for its devices, but has room for {}",
                Bytes(*need),
                Bytes(*limit)
            ),
        }
    }
}

fn circle(cycle: &[Cell]) -> String {
    let mut names: Vec<String> =
        cycle.iter().take(MAX_CIRCLE).map(|cell| format!("`{cell}`")).collect();
    if cycle.len() > MAX_CIRCLE {
        names.push(format!("{} more", cycle.len() - MAX_CIRCLE));
    }
    names.extend(cycle.first().map(|cell| format!("`{cell}`")));
    names.join(", then ")
}
