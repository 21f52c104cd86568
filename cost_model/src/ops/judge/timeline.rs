//! When everything of a plan happens.

use ir::id::DeviceId;
use ir::schedule::Transfer;
use ir::units::Nanos;

/// From when to when, in nanoseconds since the start of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Start.
    pub start: u64,
    /// End, not before the start.
    pub end: u64,
}

/// When a transfer takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferSpan {
    /// What goes where.
    pub transfer: Transfer,
    /// The device of the tensor's producer.
    pub from: DeviceId,
    /// When it occupies its channels.
    pub span: Span,
}

/// When everything of a plan happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// By op id; `None` for views.
    pub ops: Vec<Option<Span>>,
    /// Ordered by start, then tensor, then destination.
    pub transfers: Vec<TransferSpan>,
    /// End of the last op or transfer.
    pub step_time: Nanos,
}
