//! Instances of other planners' collections, with all costs given: one module per form.
//!
//! Their JSON may hold keys that are not read here (names of layers, figures for people).

pub(crate) mod averaging;
pub(crate) mod dnn_partitioning;
pub(crate) mod gradients;
pub(crate) mod pipedream;
pub(crate) mod piper;
pub(crate) mod quantity;
mod split;
mod structure;
pub(crate) mod tasks;

pub(crate) use split::read as read_split;

use ir::diagnostic::Diagnostic;

use crate::source::Source;

/// Most nodes of an instance: a public one has a few thousand.
const MAX_NODES: usize = 1_000_000;

/// Most devices that an instance may state.
pub(crate) const MAX_DEVICES: u64 = 65_536;

/// How a form is read.
pub(crate) type Reader = fn(&dyn Source, &str) -> Result<ir::instance::Instance, Diagnostic>;
