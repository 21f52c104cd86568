//! Violations in words.

use ir::diagnostic::{Blame, Diagnostic};
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::schedule::{Task, Transfer};
use ir::units::{Bytes, Nanos};

use super::Violation;
use crate::ops::problem::Problem;

/// A circle is cut after so many names.
const MAX_CIRCLE: usize = 8;

impl Violation {
    /// What is wrong, with the names of the problem, [`Blame::IllegalPlan`].
    #[must_use]
    pub fn diagnostic(&self, problem: &Problem) -> Diagnostic {
        let names = Names { problem };
        let mut diagnostic = Diagnostic::error(Blame::IllegalPlan, self.code(), names.say(self));
        if let Some(op) = self.op() {
            diagnostic = diagnostic.fact("op", names.op(op));
        }
        if let Some(device) = self.device() {
            diagnostic = diagnostic.fact("device", names.device(device));
        }
        if let Some(transfer) = self.transfer() {
            diagnostic = diagnostic.fact("tensor", names.tensor(transfer.tensor));
        }
        match self {
            Self::Deadlock { cycle } => {
                let list: Vec<String> =
                    cycle.iter().take(MAX_CIRCLE).map(|task| names.task(*task)).collect();
                diagnostic
                    .fact("circle", list)
                    .fact("length", cycle.len())
                    .hint("reorder the ops of one device or the transfers of one channel on it")
            }
            Self::MemoryExceeded { at, need, limit, alive, .. } => {
                let list: Vec<String> = alive
                    .iter()
                    .map(|h| format!("{} `{}`: {}", h.what.name(), h.name, Bytes(h.bytes)))
                    .collect();
                diagnostic
                    .fact("need", Bytes(*need))
                    .fact("have", Bytes(*limit))
                    .fact("at", Nanos(*at))
                    .fact("alive", list)
            }
            _ => diagnostic,
        }
    }

    fn op(&self) -> Option<OpId> {
        match self {
            Self::StageOps { op }
            | Self::Unplaced { op }
            | Self::UnknownOp { op }
            | Self::UnknownDevice { op, .. }
            | Self::NotPlaceable { op, .. }
            | Self::MissingFromOrder { op, .. }
            | Self::ForeignInOrder { op, .. }
            | Self::TwiceInOrder { op, .. }
            | Self::GroupSplit { second: op, .. }
            | Self::UnknownTask { task: Task::Op(op) } => Some(*op),
            Self::MemoryExceeded { op, .. } => *op,
            _ => None,
        }
    }

    fn device(&self) -> Option<DeviceId> {
        match self {
            Self::UnknownDevice { device, .. }
            | Self::NotPlaceable { device, .. }
            | Self::MissingFromOrder { device, .. }
            | Self::ForeignInOrder { device, .. }
            | Self::TwiceInOrder { device, .. }
            | Self::MemoryExceeded { device, .. } => Some(*device),
            _ => None,
        }
    }

    fn transfer(&self) -> Option<Transfer> {
        match self {
            Self::NoRoute { tensor, to, .. } => Some(Transfer { tensor: *tensor, to: *to }),
            Self::MissingTransfer { transfer, .. }
            | Self::NeedlessTransfer { transfer, .. }
            | Self::RepeatedTransfer { transfer, .. }
            | Self::WrongChannel { transfer, .. }
            | Self::UnknownTask { task: Task::Transfer(transfer) } => Some(*transfer),
            _ => None,
        }
    }
}

/// Names by id; an id of nothing is named by its number.
struct Names<'a> {
    problem: &'a Problem,
}

impl Names<'_> {
    fn op(&self, op: OpId) -> String {
        self.problem.graph.ops.get(op.index()).map_or_else(|| op.to_string(), |o| o.name.clone())
    }

    fn device(&self, device: DeviceId) -> String {
        let known = self.problem.cluster.devices.get(device.index());
        known.map_or_else(|| device.to_string(), |d| d.name.clone())
    }

    fn tensor(&self, tensor: TensorId) -> String {
        let known = self.problem.graph.tensors.get(tensor.index());
        known.map_or_else(|| tensor.to_string(), |t| t.name.clone())
    }

    fn channel(&self, channel: ChannelId) -> String {
        let known = self.problem.cluster.links.channels.get(channel.index());
        known.map_or_else(|| channel.to_string(), |c| c.name.clone())
    }

    fn transfer(&self, transfer: Transfer) -> String {
        format!("`{}` to `{}`", self.tensor(transfer.tensor), self.device(transfer.to))
    }

    fn task(&self, task: Task) -> String {
        match task {
            Task::Op(op) => format!("`{}`", self.op(op)),
            Task::Transfer(transfer) => format!("transfer of {}", self.transfer(transfer)),
        }
    }

    fn circle(&self, cycle: &[Task]) -> String {
        let mut names: Vec<String> =
            cycle.iter().take(MAX_CIRCLE).map(|task| self.task(*task)).collect();
        if cycle.len() > MAX_CIRCLE {
            names.push(format!("{} more", cycle.len() - MAX_CIRCLE));
        }
        if let Some(first) = cycle.first() {
            names.push(self.task(*first));
        }
        names.join(", then ")
    }

    fn say(&self, violation: &Violation) -> String {
        match violation {
            Violation::Degree { field, value } => {
                format!("`{field}` is {value}, but an operator placement has 1")
            }
            Violation::StageCount { n_stages } => {
                format!("the plan has {n_stages} stages, but an operator placement has one")
            }
            Violation::HasGrid { n_rows } => format!(
                "the schedule has a pipeline grid of {n_rows} rows, but an operator placement has none"
            ),
            Violation::StageOps { op } => {
                format!("the stage does not hold op `{}` exactly as often as it must", self.op(*op))
            }
            Violation::UnknownTask { task } => {
                format!("a wait names {}, which is not part of the plan", self.task(*task))
            }
            Violation::Deadlock { cycle } => format!(
                "inputs, orders and waits form a circle, so nothing on it can start: {}",
                self.circle(cycle)
            ),
            Violation::MemoryExceeded { device, need, limit, at, .. } => format!(
                "`{}` holds {} at {}, but has room for {}",
                self.device(*device),
                Bytes(*need),
                Nanos(*at),
                Bytes(*limit)
            ),
            _ => self.say_placement(violation),
        }
    }

    fn say_placement(&self, violation: &Violation) -> String {
        match violation {
            Violation::Unplaced { op } => format!("op `{}` is on no device", self.op(*op)),
            Violation::UnknownOp { op } => {
                format!("the placement names op number {}, which the graph does not have", op.0)
            }
            Violation::UnknownDevice { op, device } => format!(
                "op `{}` is on device number {}, which the cluster does not have",
                self.op(*op),
                device.0
            ),
            Violation::NotPlaceable { op, device } => format!(
                "op `{}` can't be on `{}`: its kind can't run it or its group, or it is pinned elsewhere or forbidden there",
                self.op(*op),
                self.device(*device)
            ),
            Violation::GroupSplit { first, second, devices } => format!(
                "ops `{}` and `{}` must share a device, but are on `{}` and `{}`",
                self.op(*first),
                self.op(*second),
                self.device(devices.0),
                self.device(devices.1)
            ),
            Violation::NoRoute { tensor, from, to } => format!(
                "tensor `{}` must go from `{}` to `{}`, but no way leads there",
                self.tensor(*tensor),
                self.device(*from),
                self.device(*to)
            ),
            _ => self.say_order(violation),
        }
    }

    fn say_order(&self, violation: &Violation) -> String {
        let op_order = |op: &OpId, device: &DeviceId, what: &str| {
            format!("the order of `{}` {what} op `{}`", self.device(*device), self.op(*op))
        };
        let channel_order = |transfer: &Transfer, channel: &ChannelId, what: &str| {
            let (channel, transfer) = (self.channel(*channel), self.transfer(*transfer));
            format!("the order of channel `{channel}` {what}: tensor {transfer}")
        };
        match violation {
            Violation::MissingFromOrder { op, device } => op_order(op, device, "lacks its"),
            Violation::TwiceInOrder { op, device } => op_order(op, device, "names twice its"),
            Violation::ForeignInOrder { op, device } => {
                op_order(op, device, "names what is not placed there:")
            }
            Violation::MissingTransfer { transfer, channel } => {
                channel_order(transfer, channel, "lacks a transfer that the placement calls for")
            }
            Violation::NeedlessTransfer { transfer, channel } => {
                channel_order(transfer, channel, "names a transfer that nobody needs")
            }
            Violation::RepeatedTransfer { transfer, channel } => {
                channel_order(transfer, channel, "names a transfer twice")
            }
            Violation::WrongChannel { transfer, channel } => {
                channel_order(transfer, channel, "names a transfer that takes other channels")
            }
            _ => violation.code().to_owned(),
        }
    }
}
