//! What each device and channel does, in order.

use std::collections::BTreeMap;

use crate::grid::Grid;
use crate::id::{ChannelId, DeviceId, OpId, TensorId};

/// One tensor on its way from its producer's device to another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transfer {
    /// The tensor that moves (never a view: its root).
    pub tensor: TensorId,
    /// Where it goes.
    pub to: DeviceId,
}

/// Something that a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Runs an op.
    Op(OpId),
}

/// Anything with a start and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// An action of a device.
    Op(OpId),
    /// A transfer.
    Transfer(Transfer),
}

/// An explicit wait: `task` starts only after all of `after` have ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    /// Who waits.
    pub task: Task,
    /// For whom.
    pub after: Vec<Task>,
}

/// Orders and waits. Everything starts as early as they allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Per device (by id), its actions in order.
    pub actions: Vec<Vec<Action>>,
    /// Per channel that is used, its transfers in order.
    pub channels: BTreeMap<ChannelId, Vec<Transfer>>,
    /// Explicit waits, sorted by task.
    pub after: Vec<Wait>,
    /// What each pipeline rank does, of a training run; `None` in an operator placement.
    pub grid: Option<Grid>,
}
