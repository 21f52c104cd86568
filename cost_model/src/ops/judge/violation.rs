//! What can be wrong with a plan of ops.

mod wording;

use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::schedule::{Task, Transfer};

use super::holding::Holding;

/// At most this many violations are listed.
pub const MAX_VIOLATIONS: usize = 100;

/// Why a plan is illegal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A degree that an operator placement can't have.
    Degree {
        /// Which.
        field: &'static str,
        /// What the plan says.
        value: u64,
    },
    /// An operator placement has one stage.
    StageCount {
        /// What the plan has.
        n_stages: usize,
    },
    /// An operator placement has no pipeline grid.
    HasGrid {
        /// Rows of the grid.
        n_rows: usize,
    },
    /// The one stage lists ops, but not exactly the actions: this one is missing, foreign or
    /// listed twice.
    StageOps {
        /// Which.
        op: OpId,
    },
    /// An op has no device.
    Unplaced {
        /// Which.
        op: OpId,
    },
    /// The placement names an op that the graph doesn't have.
    UnknownOp {
        /// Which.
        op: OpId,
    },
    /// An op is on a device that the cluster doesn't have.
    UnknownDevice {
        /// Which op.
        op: OpId,
        /// Which device.
        device: DeviceId,
    },
    /// An op is on a device that can't run it, or where a pin, a forbid or a group bars it.
    NotPlaceable {
        /// Which op.
        op: OpId,
        /// Where the plan has it.
        device: DeviceId,
    },
    /// Two ops of one colocation group are on different devices.
    GroupSplit {
        /// First member of the group.
        first: OpId,
        /// A member elsewhere.
        second: OpId,
        /// Their devices.
        devices: (DeviceId, DeviceId),
    },
    /// An op is not in its device's order.
    MissingFromOrder {
        /// Which op.
        op: OpId,
        /// Its device.
        device: DeviceId,
    },
    /// A device's order names an op that is not placed there (or is no action).
    ForeignInOrder {
        /// Which op.
        op: OpId,
        /// Whose order.
        device: DeviceId,
    },
    /// A device's order names an op twice.
    TwiceInOrder {
        /// Which op.
        op: OpId,
        /// Whose order.
        device: DeviceId,
    },
    /// A tensor must go where no way leads.
    NoRoute {
        /// Which tensor.
        tensor: TensorId,
        /// Its producer's device.
        from: DeviceId,
        /// Its consumer's device.
        to: DeviceId,
    },
    /// A needed transfer is not in the order of one of its channels.
    MissingTransfer {
        /// Which transfer.
        transfer: Transfer,
        /// Which channel.
        channel: ChannelId,
    },
    /// A channel's order names a transfer that nobody needs.
    NeedlessTransfer {
        /// Which transfer.
        transfer: Transfer,
        /// Whose order.
        channel: ChannelId,
    },
    /// A channel's order names a transfer twice.
    RepeatedTransfer {
        /// Which transfer.
        transfer: Transfer,
        /// Whose order.
        channel: ChannelId,
    },
    /// A channel's order names a transfer that takes other channels.
    WrongChannel {
        /// Which transfer.
        transfer: Transfer,
        /// Whose order.
        channel: ChannelId,
    },
    /// A wait names an op or a transfer that the plan doesn't have.
    UnknownTask {
        /// Which.
        task: Task,
    },
    /// Inputs, orders and waits form a circle: nothing on it can ever start.
    Deadlock {
        /// Each is waited for by the next, the last by the first.
        cycle: Vec<Task>,
    },
    /// More lies on a device than it can hold.
    MemoryExceeded {
        /// Which device.
        device: DeviceId,
        /// The earliest instant with the most bytes, in nanoseconds.
        at: u64,
        /// Bytes that lie there then.
        need: u64,
        /// Bytes that the device can hold.
        limit: u64,
        /// The op that runs there then.
        op: Option<OpId>,
        /// The largest holdings of that instant, largest first.
        alive: Vec<Holding>,
    },
}

impl Violation {
    /// Stable kebab-case code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Degree { .. } => "degree-not-one",
            Self::StageCount { .. } => "stages-not-one",
            Self::HasGrid { .. } => "grid-not-none",
            Self::StageOps { .. } => "stage-ops-wrong",
            Self::Unplaced { .. } => "op-not-placed",
            Self::UnknownOp { .. } => "op-unknown",
            Self::UnknownDevice { .. } => "device-unknown",
            Self::NotPlaceable { .. } => "device-not-allowed",
            Self::GroupSplit { .. } => "group-split",
            Self::MissingFromOrder { .. } => "op-not-in-order",
            Self::ForeignInOrder { .. } => "op-in-wrong-order",
            Self::TwiceInOrder { .. } => "op-twice-in-order",
            Self::NoRoute { .. } => "no-route",
            Self::MissingTransfer { .. } => "transfer-missing",
            Self::NeedlessTransfer { .. } => "transfer-needless",
            Self::RepeatedTransfer { .. } => "transfer-repeated",
            Self::WrongChannel { .. } => "transfer-on-wrong-channel",
            Self::UnknownTask { .. } => "wait-unknown",
            Self::Deadlock { .. } => "deadlock",
            Self::MemoryExceeded { .. } => "memory-exceeded",
        }
    }
}

/// A capped list.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Violation>,
}

impl Findings {
    pub(super) fn push(&mut self, violation: Violation) {
        if self.list.len() < MAX_VIOLATIONS {
            self.list.push(violation);
        }
    }
}
