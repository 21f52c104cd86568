//! Plans of a model that serves as one forward pipeline over devices of any kinds.

pub mod compare;
pub mod decided;
mod energy;
pub mod explain;
pub mod export;
mod kind;
pub mod local;
pub mod plan;
pub mod setting;

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;

use crate::kinds::kind::refused as refuse;

/// The row that plans where none is named.
pub const ALGORITHM: &str = "serving-pipeline";

/// A forward pipeline of a model that serves.
pub struct Inference;

/// Refuses what an inference pipeline has none of.
pub(crate) fn refused(message: impl Into<String>, hint: &str) -> Diagnostic {
    refuse(PlanKind::Inference, message, hint)
}
