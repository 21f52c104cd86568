//! Lowers a plan to one task graph: ops and transfers with their durations, and what waits for
//! what. Flat arrays throughout, because the search algorithms lower thousands of plans.

use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};

use crate::ops::judge::violation::Violation;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// A transfer that the placement calls for.
#[derive(Clone, Copy, Debug)]
pub struct NeededTransfer {
    /// What goes where.
    pub transfer: Transfer,
    /// The device of the tensor's producer.
    pub from: DeviceId,
    /// Channel that it occupies at the source.
    pub send: ChannelId,
    /// Channel that it occupies at the destination; may be the same.
    pub receive: ChannelId,
}

/// Tasks are numbered: op `i` is task `i` (views too, they take no time and nothing waits for
/// them), and the transfer at position `k` is task `n_ops + k`.
#[derive(Clone, Debug)]
pub struct TaskGraph {
    /// Ops of the graph, views included.
    pub n_ops: usize,
    /// Needed transfers, ordered by tensor, then destination.
    pub transfers: Vec<NeededTransfer>,
    /// How many tasks each task waits for (counted as often as they are named).
    pub n_before: Vec<u32>,
    starts: Vec<u32>,
    values: Vec<u32>,
}

impl TaskGraph {
    /// The tasks that wait directly for `task`.
    ///
    /// # Panics
    /// If the task is out of range.
    #[must_use]
    pub fn after(&self, task: usize) -> &[u32] {
        &self.values[self.starts[task] as usize..self.starts[task + 1] as usize]
    }

    /// How many tasks there are.
    #[must_use]
    pub fn n_tasks(&self) -> usize {
        self.n_before.len()
    }

    /// Nanoseconds by task, on the problem that was lowered or on one with other rates of its ways.
    #[must_use]
    pub fn durations(&self, problem: &Problem, plan: &Plan) -> Vec<u64> {
        let of_op = |op| plan.placement.of(op).map_or(0, |at| problem.time_ns(op, at));
        let mut durations = vec![0; self.n_ops];
        for &op in &problem.actions {
            durations[op.index()] = of_op(op);
        }
        let of_transfer =
            |t: &NeededTransfer| problem.transfer_ns(t.transfer.tensor, t.from, t.transfer.to);
        durations.extend(self.transfers.iter().map(of_transfer));
        durations
    }

    /// Lowers a plan. Neither limits nor rates of the cluster have to do with it.
    ///
    /// # Errors
    /// As [`crate::ops::judge::replay::replay`], except for circles.
    pub fn lower(problem: &Problem, plan: &Plan) -> Result<Self, Violation> {
        let mut lowering = Lowering::new(problem, plan)?;
        lowering.device_orders()?;
        lowering.data()?;
        lowering.channel_orders()?;
        lowering.waits()?;
        Ok(lowering.pack())
    }
}

/// No device: the op is a view.
const NOWHERE: u32 = u32::MAX;

struct Lowering<'a> {
    problem: &'a Problem,
    plan: &'a Plan,
    /// By op.
    device: Vec<u32>,
    transfers: Vec<NeededTransfer>,
    /// By tensor: where its transfers begin.
    first_transfer: Vec<u32>,
    /// Pairs (earlier task, later task).
    edges: Vec<(u32, u32)>,
}

impl<'a> Lowering<'a> {
    fn new(problem: &'a Problem, plan: &'a Plan) -> Result<Self, Violation> {
        let mut device = vec![NOWHERE; problem.n_ops()];
        for &op in &problem.actions {
            let Some(at) = plan.placement.of(op) else {
                return Err(Violation::Unplaced { op });
            };
            if at.index() >= problem.cluster.n_devices() {
                return Err(Violation::UnknownDevice { op, device: at });
            }
            if problem.time_ns(op, at) == UNSUPPORTED {
                return Err(Violation::NotPlaceable { op, device: at });
            }
            device[op.index()] = at.0;
        }
        let (transfers, first_transfer) = needed(problem, &device)?;
        let edges = Vec::with_capacity(3 * (device.len() + transfers.len()));
        Ok(Self { problem, plan, device, transfers, first_transfer, edges })
    }

    fn device_orders(&mut self) -> Result<(), Violation> {
        let mut listed = vec![false; self.device.len()];
        for (row, actions) in self.plan.schedule.actions.iter().enumerate() {
            let device = DeviceId::new(row);
            let mut previous: Option<OpId> = None;
            for &Action::Op(op) in actions {
                if self.device.get(op.index()) != Some(&device.0) {
                    return Err(Violation::ForeignInOrder { op, device });
                }
                if std::mem::replace(&mut listed[op.index()], true) {
                    return Err(Violation::TwiceInOrder { op, device });
                }
                if let Some(before) = previous.replace(op) {
                    self.edges.push((before.0, op.0));
                }
            }
        }
        match self.problem.actions.iter().find(|op| !listed[op.index()]) {
            None => Ok(()),
            Some(&op) => {
                Err(Violation::MissingFromOrder { op, device: DeviceId(self.device[op.index()]) })
            }
        }
    }

    /// An op waits for its inputs' producers, or for the transfers that bring them.
    fn data(&mut self) -> Result<(), Violation> {
        for &op in &self.problem.actions {
            let here = self.device[op.index()];
            for &tensor in self.problem.inputs(op) {
                let Some(producer) = self.problem.producer(tensor) else { continue };
                let source = if self.device[producer.index()] == here {
                    producer.0
                } else {
                    let transfer = Transfer { tensor, to: DeviceId(here) };
                    self.transfer_task(transfer)
                        .ok_or(Violation::UnknownTask { task: Task::Transfer(transfer) })?
                };
                self.edges.push((source, op.0));
            }
        }
        for (position, t) in self.transfers.iter().enumerate() {
            if let Some(producer) = self.problem.producer(t.transfer.tensor) {
                self.edges.push((producer.0, self.task_of(position)));
            }
        }
        Ok(())
    }

    fn channel_orders(&mut self) -> Result<(), Violation> {
        const SEND: u8 = 1;
        const RECEIVE: u8 = 2;
        let mut listed = vec![0u8; self.transfers.len()];
        for (&channel, order) in &self.plan.schedule.channels {
            let mut previous: Option<u32> = None;
            for &transfer in order {
                let Some(task) = self.transfer_task(transfer) else {
                    return Err(Violation::NeedlessTransfer { transfer, channel });
                };
                let position = task as usize - self.device.len();
                let needed = &self.transfers[position];
                let mut ends = 0;
                if needed.send == channel {
                    ends |= SEND;
                }
                if needed.receive == channel {
                    ends |= RECEIVE;
                }
                if ends == 0 {
                    return Err(Violation::WrongChannel { transfer, channel });
                }
                if listed[position] & ends != 0 {
                    return Err(Violation::RepeatedTransfer { transfer, channel });
                }
                listed[position] |= ends;
                if let Some(before) = previous.replace(task) {
                    self.edges.push((before, task));
                }
            }
        }
        for (needed, ends) in self.transfers.iter().zip(listed) {
            if ends != SEND | RECEIVE {
                let channel = if ends & SEND == 0 { needed.send } else { needed.receive };
                return Err(Violation::MissingTransfer { transfer: needed.transfer, channel });
            }
        }
        Ok(())
    }

    fn waits(&mut self) -> Result<(), Violation> {
        for wait in &self.plan.schedule.after {
            let waiter = self.task(wait.task)?;
            for &earlier in &wait.after {
                let earlier = self.task(earlier)?;
                self.edges.push((earlier, waiter));
            }
        }
        Ok(())
    }

    fn task(&self, task: Task) -> Result<u32, Violation> {
        let number = match task {
            Task::Op(op) => {
                self.device.get(op.index()).is_some_and(|device| *device != NOWHERE).then_some(op.0)
            }
            Task::Transfer(transfer) => self.transfer_task(transfer),
        };
        number.ok_or(Violation::UnknownTask { task })
    }

    fn task_of(&self, position: usize) -> u32 {
        u32::try_from(self.device.len() + position).unwrap_or(u32::MAX)
    }

    /// The task of a needed transfer; `None` if nothing needs it.
    fn transfer_task(&self, transfer: Transfer) -> Option<u32> {
        let tensor = transfer.tensor.index();
        let first = *self.first_transfer.get(tensor)? as usize;
        let end = *self.first_transfer.get(tensor + 1)? as usize;
        let offset = self.transfers[first..end]
            .binary_search_by_key(&transfer.to, |needed| needed.transfer.to)
            .ok()?;
        Some(self.task_of(first + offset))
    }

    fn pack(self) -> TaskGraph {
        let n_tasks = self.device.len() + self.transfers.len();
        let mut starts = vec![0u32; n_tasks + 1];
        let mut n_before = vec![0u32; n_tasks];
        for (earlier, later) in &self.edges {
            starts[*earlier as usize + 1] += 1;
            n_before[*later as usize] += 1;
        }
        for task in 0..n_tasks {
            starts[task + 1] += starts[task];
        }
        let mut next = starts.clone();
        let mut values = vec![0u32; self.edges.len()];
        for (earlier, later) in &self.edges {
            let slot = &mut next[*earlier as usize];
            values[*slot as usize] = *later;
            *slot += 1;
        }
        TaskGraph { n_ops: self.device.len(), transfers: self.transfers, n_before, starts, values }
    }
}

/// One transfer per tensor and device with a consumer away from the producer's device.
fn needed(problem: &Problem, device: &[u32]) -> Result<(Vec<NeededTransfer>, Vec<u32>), Violation> {
    let mut transfers = Vec::new();
    let mut first_transfer = Vec::with_capacity(problem.n_tensors() + 1);
    let mut destinations: Vec<u32> = Vec::new();
    first_transfer.push(0);
    for tensor in (0..problem.n_tensors()).map(TensorId::new) {
        if let Some(producer) = problem.producer(tensor) {
            let here = device[producer.index()];
            destinations.clear();
            for consumer in problem.consumers(tensor) {
                let there = device[consumer.index()];
                if there != here && destinations.last() != Some(&there) {
                    destinations.push(there);
                }
            }
            destinations.sort_unstable();
            destinations.dedup();
            for &to in &destinations {
                let (from, to) = (DeviceId(here), DeviceId(to));
                let Some(route) = problem.cluster.route(from, to) else {
                    return Err(Violation::NoRoute { tensor, from, to });
                };
                transfers.push(NeededTransfer {
                    transfer: Transfer { tensor, to },
                    from,
                    send: route.send,
                    receive: route.receive,
                });
            }
        }
        first_transfer.push(u32::try_from(transfers.len()).unwrap_or(u32::MAX));
    }
    Ok((transfers, first_transfer))
}
