//! The runner: takes any kind of problem to its searches, keeps their limits, hears what they find,
//! and answers in time. [`solve`] plans models; [`crate::given::runner`] solves instances with given
//! costs and [`crate::training`] plans training runs through the same parts.
//!
//! Knows what a row is and how a recipe is read, and no row: whoever reads a recipe hands in the
//! rows that it may name.

pub mod algorithm;
mod bound;
mod case;
mod context;
mod control;
pub mod entry;
mod limits;
mod line;
pub mod no_plan;
mod ops;
pub mod recipe;
mod remedy;
pub(crate) mod size;
pub mod thread;
pub mod watch;

pub use bound::{Bound, Standing, gap};
pub use case::{Case, Event, Replayed, TracePoint};
pub use context::{Run, Scored};
pub use control::Control;
pub use limits::{DEFAULT_NODES, Limits, StopReason};
pub use line::{Heard, Line};
pub use no_plan::{Attempt, AttemptPlan, Step};
pub use ops::{Outcome, Request, solve};
