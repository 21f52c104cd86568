//! Placement, orders and waits, without any time.

use std::collections::BTreeMap;

use ir::id::{ChannelId, DeviceId, OpId};
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};

use crate::ops::judge::violation::{Findings, Violation};
use crate::ops::problem::Problem;

/// A needed transfer: where from, and on which channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from: DeviceId,
    pub(super) send: ChannelId,
    pub(super) receive: ChannelId,
}

/// The transfers that the placement calls for.
pub(super) type Needed = BTreeMap<Transfer, Way>;

/// Reports every defect of the structure; the needed transfers if there was none.
pub(super) fn check(problem: &Problem, plan: &Plan, findings: &mut Findings) -> Option<Needed> {
    let before = findings.list.len();
    degrees(problem, plan, findings);
    stages(problem, plan, findings);
    placement(problem, plan, findings);
    groups(problem, plan, findings);
    orders(problem, plan, findings);
    let needed = transfers(problem, plan, findings);
    channels(plan, &needed, findings);
    waits(problem, plan, &needed, findings);
    (findings.list.len() == before).then_some(needed)
}

fn degrees(problem: &Problem, plan: &Plan, findings: &mut Findings) {
    let p = &plan.parallelism;
    let degrees = [
        ("data", p.data),
        ("tensor", p.tensor),
        ("pipeline", p.pipeline),
        ("expert", p.expert),
        ("context", p.context),
    ];
    for (field, value) in degrees {
        if value != 1 {
            findings.push(Violation::Degree { field, value: u64::from(value) });
        }
    }
    // Micro-batches are unrolled into the graph, so the count is for the reader.
    let value = p.n_micro_batches;
    if value != problem.workload.n_micro_batches() {
        findings.push(Violation::Degree { field: "n_micro_batches", value });
    }
}

fn stages(problem: &Problem, plan: &Plan, findings: &mut Findings) {
    if let Some(grid) = &plan.schedule.grid {
        findings.push(Violation::HasGrid { n_rows: grid.rows.len() });
    }
    let [stage] = plan.partition.stages.as_slice() else {
        let n_stages = plan.partition.stages.len();
        return findings.push(Violation::StageCount { n_stages });
    };
    if stage.ops.is_empty() || stage.ops == problem.actions {
        return;
    }
    let mut count = vec![0u32; problem.n_ops()];
    for &op in &stage.ops {
        match count.get_mut(op.index()) {
            Some(count) => *count += 1,
            None => findings.push(Violation::StageOps { op }),
        }
    }
    let is_action = action_table(problem);
    for op in problem.graph.op_ids() {
        if count[op.index()] != u32::from(is_action[op.index()]) {
            findings.push(Violation::StageOps { op });
        }
    }
}

fn action_table(problem: &Problem) -> Vec<bool> {
    let mut is_action = vec![false; problem.n_ops()];
    problem.actions.iter().for_each(|op| is_action[op.index()] = true);
    is_action
}

/// The device of an op if the cluster has it.
fn device_of(problem: &Problem, plan: &Plan, op: OpId) -> Option<DeviceId> {
    plan.placement.of(op).filter(|device| device.index() < problem.cluster.n_devices())
}

fn placement(problem: &Problem, plan: &Plan, findings: &mut Findings) {
    for &op in &problem.actions {
        match plan.placement.of(op) {
            None => findings.push(Violation::Unplaced { op }),
            Some(device) if device.index() >= problem.cluster.n_devices() => {
                findings.push(Violation::UnknownDevice { op, device });
            }
            Some(device) if !problem.can_place(op, device) => {
                findings.push(Violation::NotPlaceable { op, device });
            }
            Some(_) => {}
        }
    }
    for (index, device) in plan.placement.device.iter().enumerate().skip(problem.n_ops()) {
        if device.is_some() {
            findings.push(Violation::UnknownOp { op: OpId::new(index) });
        }
    }
}

fn groups(problem: &Problem, plan: &Plan, findings: &mut Findings) {
    for members in &problem.groups {
        let Some(&first) = members.first() else { continue };
        let Some(home) = plan.placement.of(first) else { continue };
        for &second in members {
            if let Some(device) = plan.placement.of(second)
                && device != home
            {
                findings.push(Violation::GroupSplit { first, second, devices: (home, device) });
            }
        }
    }
}

fn orders(problem: &Problem, plan: &Plan, findings: &mut Findings) {
    let is_action = action_table(problem);
    let mut listed = vec![false; problem.n_ops()];
    for (row, actions) in plan.schedule.actions.iter().enumerate() {
        let device = DeviceId::new(row);
        for &Action::Op(op) in actions {
            let known = is_action.get(op.index()).copied().unwrap_or(false);
            if !known || plan.placement.of(op) != Some(device) {
                findings.push(Violation::ForeignInOrder { op, device });
            } else if listed[op.index()] {
                findings.push(Violation::TwiceInOrder { op, device });
            } else {
                listed[op.index()] = true;
            }
        }
    }
    for &op in &problem.actions {
        if let Some(device) = plan.placement.of(op)
            && !listed[op.index()]
        {
            findings.push(Violation::MissingFromOrder { op, device });
        }
    }
}

/// From the readers' side: whoever reads a tensor made elsewhere needs it brought.
fn transfers(problem: &Problem, plan: &Plan, findings: &mut Findings) -> Needed {
    let mut wanted: Vec<(Transfer, DeviceId)> = Vec::new();
    for &reader in &problem.actions {
        let Some(to) = device_of(problem, plan, reader) else { continue };
        for &tensor in problem.inputs(reader) {
            let maker = problem.producer(tensor);
            if let Some(from) = maker.and_then(|op| device_of(problem, plan, op))
                && from != to
            {
                wanted.push((Transfer { tensor, to }, from));
            }
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut needed = Vec::with_capacity(wanted.len());
    for (transfer, from) in wanted {
        let Transfer { tensor, to } = transfer;
        match problem.cluster.route(from, to) {
            None => findings.push(Violation::NoRoute { tensor, from, to }),
            Some(route) => {
                needed.push((transfer, Way { from, send: route.send, receive: route.receive }));
            }
        }
    }
    needed.into_iter().collect()
}

fn channels(plan: &Plan, needed: &Needed, findings: &mut Findings) {
    let mut listed: Vec<(Transfer, ChannelId)> = Vec::new();
    for (&channel, order) in &plan.schedule.channels {
        for &transfer in order {
            match needed.get(&transfer) {
                None => findings.push(Violation::NeedlessTransfer { transfer, channel }),
                Some(way) if way.send != channel && way.receive != channel => {
                    findings.push(Violation::WrongChannel { transfer, channel });
                }
                Some(_) => listed.push((transfer, channel)),
            }
        }
    }
    listed.sort_unstable();
    for pair in listed.windows(2) {
        if let [(transfer, channel), second] = pair
            && (*transfer, *channel) == *second
        {
            findings.push(Violation::RepeatedTransfer { transfer: *transfer, channel: *channel });
        }
    }
    for (&transfer, way) in needed {
        for channel in [way.send, way.receive] {
            if listed.binary_search(&(transfer, channel)).is_err() {
                findings.push(Violation::MissingTransfer { transfer, channel });
            }
            if way.send == way.receive {
                break;
            }
        }
    }
}

fn waits(problem: &Problem, plan: &Plan, needed: &Needed, findings: &mut Findings) {
    let is_action = action_table(problem);
    for wait in &plan.schedule.after {
        for &task in std::iter::once(&wait.task).chain(&wait.after) {
            let known = match task {
                Task::Op(op) => is_action.get(op.index()).copied().unwrap_or(false),
                Task::Transfer(transfer) => needed.contains_key(&transfer),
            };
            if !known {
                findings.push(Violation::UnknownTask { task });
            }
        }
    }
}
