//! The planner: one table of algorithms, recipes of its rows, and a runner that trusts none of
//! them.
//!
//! Never knows file formats, the web, or the terminal.

pub mod algorithm;
mod dispatch;
pub mod draft;
pub mod instance;
mod line;
mod list_schedule;
pub mod no_plan;
pub mod parallelism;
pub mod partition;
pub mod placement;
pub mod recipe;
pub mod registry;
pub mod run;
pub mod schedule;
pub mod structure;
pub mod transform;
