//! The judge of plans of ops: tasks, their replay, what they hold, a report and an own verifier.

pub mod holding;
pub mod lower;
pub mod memory;
pub mod replay;
pub mod report;
pub mod timeline;
pub mod verify;
pub mod violation;
