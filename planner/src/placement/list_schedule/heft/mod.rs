//! HEFT and its lookahead under the rules of memory, groups and channels.
//!
//! Ops are committed by descending upward rank, each to the device where it ends first, in the
//! first gap that is long enough. Unlike the engine of m-ETF this one does not go along the clock:
//! channels and devices keep their busy intervals, and M6 is asked for each gap.

#[cfg(test)]
mod tests;

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::id::{DeviceId, OpId, TensorId};

use super::dry_run::{Ahead, DryRun, Misfit, end_of_child};
use super::ledger::Ledger;
use super::slots::Gaps;
use super::{Listed, Variant, with_headroom};
use crate::placement::dispatch::Network;
use crate::run::no_plan::{NoPlan, Reason};
use crate::run::size;

/// How a device is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Where the op ends first.
    Here,
    /// Where the last of its children could end first.
    Ahead,
}

/// Children that a look ahead considers, those of the highest rank.
const MOST_CHILDREN: usize = 16;
/// Commits between two looks at the clock.
const COMMITS_PER_LOOK: usize = 16;

/// Schedules a problem; where an op fits nowhere, once more with room kept for what is still to be
/// placed. `stopped` is asked now and then; its answer ends the run.
///
/// # Errors
/// [`NoPlan`] without proof, if an op fits nowhere when it is its turn, or if stopped.
pub(crate) fn schedule(
    problem: &Problem,
    look: Look,
    stopped: &mut dyn FnMut() -> Option<NoPlan>,
) -> Result<Listed, NoPlan> {
    size::check(problem)?;
    let n_channels = problem.cluster.links.channels.len();
    let mut run = |variant| {
        with_headroom(problem, variant, |headroom| {
            let gaps = Gaps::new(problem.cluster.n_devices(), n_channels);
            let ledger = Ledger::new(problem, variant, headroom);
            Ok(Heft::new(ledger, look, gaps).run(stopped)?.close_in_time())
        })
    };
    match run(Variant::Plain) {
        Err(no_plan) if no_plan.reason == Reason::MemoryExceeded => run(Variant::Room),
        result => result,
    }
}

/// Upward ranks (equation 8 of the paper) in nanoseconds, by op: mean time over the devices where
/// the op can be, and the greatest of mean transfer and rank over its consumers.
pub(crate) fn upward_ranks(problem: &Problem) -> Vec<f64> {
    let transfer = Network::new(problem).mean_transfers();
    let mut rank = vec![0.0f64; problem.n_ops()];
    for &op in problem.topological_order().iter().rev() {
        let mut after = 0.0f64;
        for &tensor in problem.outputs(op) {
            for consumer in problem.consumers(tensor) {
                let way = rank[consumer.index()] + transfer[tensor.index()] as f64;
                after = after.max(way);
            }
        }
        rank[op.index()] = after + mean_time(problem, op);
    }
    rank
}

fn mean_time(problem: &Problem, op: OpId) -> f64 {
    let times = problem.placeable(op).iter().map(|device| problem.time_ns(op, device));
    let (sum, count) = times
        .filter(|time| *time != UNSUPPORTED)
        .fold((0.0, 0.0), |(sum, count), time| (sum + time as f64, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

struct Heft<'a> {
    problem: &'a Problem,
    look: Look,
    rank: Vec<f64>,
    ledger: Ledger<'a>,
    gaps: Gaps,
    dry_run: DryRun,
}

impl<'a> Heft<'a> {
    fn new(ledger: Ledger<'a>, look: Look, gaps: Gaps) -> Self {
        let problem = ledger.problem;
        Self {
            problem,
            look,
            rank: upward_ranks(problem),
            ledger,
            gaps,
            dry_run: DryRun::default(),
        }
    }

    fn run(mut self, stopped: &mut dyn FnMut() -> Option<NoPlan>) -> Result<Ledger<'a>, NoPlan> {
        for (turn, op) in self.order().into_iter().enumerate() {
            if turn.is_multiple_of(COMMITS_PER_LOOK)
                && let Some(no_plan) = stopped()
            {
                return Err(no_plan);
            }
            let inputs = self.inputs(op);
            let device = self.best_device(op, &inputs)?;
            self.commit(op, device, &inputs)?;
        }
        Ok(self.ledger)
    }

    /// Ops by descending rank. Where all on a way take no time, ranks tie: the topological order
    /// decides.
    fn order(&self) -> Vec<OpId> {
        let mut order = self.problem.topological_order();
        order.sort_by(|a, b| self.rank[b.index()].total_cmp(&self.rank[a.index()]));
        order
    }

    /// E2: the order in which missing inputs are sent.
    fn inputs(&self, op: OpId) -> Vec<TensorId> {
        let mut inputs = self.problem.inputs(op).to_vec();
        inputs.sort_by_key(|tensor| {
            let producer = self.problem.producer(*tensor);
            (producer.map_or(0, |p| self.ledger.end[p.index()]), producer, *tensor)
        });
        inputs
    }

    /// The device of the least (value, end, id) on which the op fits.
    fn best_device(&mut self, op: OpId, inputs: &[TensorId]) -> Result<DeviceId, NoPlan> {
        let group = self.problem.group_of(op);
        let fixed = group.and_then(|group| self.ledger.group_device[group.index()]);
        let children = self.children(op);
        let mut best: Option<(u64, u64, DeviceId)> = None;
        let mut misfit = None;
        for device in self.problem.placeable(op).iter() {
            if fixed.is_some_and(|fixed| fixed != device) {
                continue;
            }
            match self.dry_run.start_in_gaps(&self.ledger, &self.gaps, op, device, inputs) {
                Ok(start) => {
                    let end = start.saturating_add(self.problem.time_ns(op, device));
                    let sent = &self.dry_run.sent;
                    let ahead = Ahead { op, device, start, end, sent };
                    let value = self.value(ahead, &children);
                    best = [best, Some((value, end, device))].into_iter().flatten().min();
                }
                Err(other) => misfit = Some(misfit.map_or(other, |m: Misfit| m.min(other))),
            }
        }
        best.map(|(_, _, device)| device).ok_or_else(|| self.no_room(op, misfit))
    }

    fn children(&self, op: OpId) -> Vec<OpId> {
        if self.look == Look::Here {
            return Vec::new();
        }
        let outputs = self.problem.outputs(op).iter();
        let mut children: Vec<OpId> =
            outputs.flat_map(|t| self.problem.consumers(*t)).copied().collect();
        children.sort_unstable();
        children.dedup();
        children.sort_by(|a, b| self.rank[b.index()].total_cmp(&self.rank[a.index()]));
        children.truncate(MOST_CHILDREN);
        children
    }

    /// What a device is judged by: the end of the op, or of the last of its children.
    fn value(&self, ahead: Ahead, children: &[OpId]) -> u64 {
        let mut last = ahead.end;
        for &child in children {
            let group = self.problem.group_of(child);
            let fixed = group.and_then(|group| self.ledger.group_device[group.index()]);
            // A child of the op's own group will be on its device.
            let is_grouped = group.is_some() && group == self.problem.group_of(ahead.op);
            let fixed = if is_grouped { Some(ahead.device) } else { fixed };
            let devices = self.problem.placeable(child).iter();
            let ends = devices
                .filter(|device| fixed.is_none_or(|fixed| fixed == *device))
                .filter_map(|d| end_of_child(&self.ledger, &self.gaps, ahead, child, d));
            last = last.max(ends.min().unwrap_or(UNSUPPORTED));
        }
        last
    }

    fn commit(&mut self, op: OpId, device: DeviceId, inputs: &[TensorId]) -> Result<(), NoPlan> {
        let start = self
            .dry_run
            .start_in_gaps(&self.ledger, &self.gaps, op, device, inputs)
            .map_err(|misfit| self.no_room(op, Some(misfit)))?;
        self.ledger.book_held(op, device);
        for index in 0..self.dry_run.sends.len() {
            let send = self.dry_run.sends[index];
            let producer = self.problem.producer(send.tensor);
            let from = producer.and_then(|op| self.ledger.device[op.index()]);
            if let Some(route) = from.and_then(|from| self.problem.cluster.route(from, device)) {
                let channels = [route.send, route.receive];
                self.gaps.occupy_channels(channels, send.copy.start, send.copy.end);
            }
            self.ledger.book_transfer(send.tensor, send.copy, send.waits);
        }
        self.ledger.book_op(op, device, start, self.dry_run.op_waits);
        self.ledger.takes_room(op, device);
        self.gaps.devices[device.index()].occupy(start, self.ledger.end[op.index()]);
        Ok(())
    }

    fn no_room(&self, op: OpId, misfit: Option<Misfit>) -> NoPlan {
        let name = self.problem.graph.op(op).name.as_str();
        if misfit == Some(Misfit::NoWay) {
            let message = format!("no device can receive all inputs of op `{name}`");
            return NoPlan::not_found(Reason::Unreachable, "no-route", message).fact("op", name);
        }
        let message = format!("op `{name}` fits on no device once its turn comes");
        NoPlan::not_found(Reason::MemoryExceeded, "memory-exceeded", message)
            .fact("op", name)
            .hint("use `contiguous`, which cuts by memory, or devices with more memory")
    }
}
