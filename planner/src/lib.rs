//! The planner: one table of algorithms, recipes of its rows, and a runner that trusts none of
//! them.
//!
//! Never knows file formats, the web, or the terminal.

pub mod draft;
pub mod experts;
pub mod given;
mod line;
pub mod placement;
pub mod power;
pub mod registry;
pub mod run;
pub mod serving;
pub mod sharding;
pub mod training;
pub mod transform;

pub use run::{algorithm, no_plan, recipe};
