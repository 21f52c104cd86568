//! Versioned documents: the plan, the report of a planning run, diagnostics and cluster files, as
//! serde types with a JSON Schema, and their conversion to and from the vocabulary of `ir`.
//!
//! Plain data: no document computes a cost.

pub mod cluster;
pub mod diagnostic;
pub mod digest;
pub mod json;
pub mod measured;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod report;
pub mod shell;
pub mod solution;
#[cfg(test)]
mod tests;
mod trust;
