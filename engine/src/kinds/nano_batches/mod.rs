//! Plans of nano-batches of a serving step: orders, replay, and how pieces share a device.

pub mod decided;
pub mod explain;
pub mod export;
mod kind;
pub mod picture;
pub mod plan;
pub mod setting;

use cost_model::streams::interference::Mode;
use importers::interference::Known;

/// Ops by their numbers, and whether they run on links.
pub const OPS: [(&str, bool); 6] = [
    ("attention", false),
    ("dispatch", true),
    ("experts", false),
    ("combine", true),
    ("all-reduce", true),
    ("feed-forward", false),
];

/// Modes of tables, and whether a row is of both ops.
const MODES: [(&str, bool); 4] = [
    (Mode::TwoStreams.name(), Mode::TwoStreams.is_of_both()),
    (Mode::Complementary.name(), Mode::Complementary.is_of_both()),
    (Mode::Isolation.name(), Mode::Isolation.is_of_both()),
    (Mode::Fused.name(), Mode::Fused.is_of_both()),
];

/// What tables of interference may say.
pub const KNOWN: Known<'_> = Known { ops: &OPS, modes: &MODES };

/// Nano-batches of a serving step.
pub struct NanoBatches;
