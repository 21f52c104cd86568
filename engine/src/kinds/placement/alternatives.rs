//! What the judge says of a plan with one op (and its colocation group) on another device.

use std::cmp::Ordering;

use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
use cost_model::ops::problem::{Problem, UNSUPPORTED};
use documents::quantity::Duration;
use ir::id::{DeviceId, OpId};
use ir::plan::{Placement, Plan};
use ir::units::{Bytes, Nanos};
use planner::draft;
use serde_json::{Value, json};

use crate::answer::rows::Rows;
use crate::kinds::placement::replay::Replayed;

/// The op on another device.
pub struct Alternative {
    device: DeviceId,
    /// Nanoseconds that the op takes there.
    time_ns: u64,
    verdict: Verdict,
}

/// What the judge says.
enum Verdict {
    /// The op, or one of its group, can't run there.
    CanNotRun,
    /// The plan can't be replayed; the code of the violation.
    Illegal(&'static str),
    /// It does not fit: what a device would need, and what it has.
    TooLarge { device: DeviceId, need: u64, limit: u64 },
    /// It would take this long.
    StepTime(Nanos),
}

/// Every other device, in order of id, as many as `rows` admits.
pub fn of(replayed: &Replayed, op: OpId, at: DeviceId, rows: Rows) -> Vec<Alternative> {
    let problem = &replayed.on.loaded.problem;
    let others: Vec<DeviceId> = problem.cluster.device_ids().filter(|d| *d != at).collect();
    others[..rows.shown(others.len())]
        .iter()
        .map(|device| Alternative {
            device: *device,
            time_ns: problem.time_ns(op, *device),
            verdict: judge(replayed, op, *device),
        })
        .collect()
}

fn judge(replayed: &Replayed, op: OpId, device: DeviceId) -> Verdict {
    let problem = &replayed.on.loaded.problem;
    if !problem.can_place(op, device) {
        return Verdict::CanNotRun;
    }
    let plan = moved(replayed, op, device);
    let timeline = match replay(problem, &plan) {
        Ok(timeline) => timeline,
        Err(violation) => return Verdict::Illegal(violation.code()),
    };
    let peaks = peaks(problem, &plan, &timeline);
    let over = problem.cluster.device_ids().zip(peaks).find_map(|(at, peak)| {
        let limit = problem.memory_limit(at);
        (peak.bytes > limit).then_some(Verdict::TooLarge { device: at, need: peak.bytes, limit })
    });
    over.unwrap_or(Verdict::StepTime(timeline.step_time))
}

/// The plan with the op's group elsewhere. Ops keep the order of their old starts, which agrees
/// with the graph; the orders of transfers are made anew.
fn moved(replayed: &Replayed, op: OpId, device: DeviceId) -> Plan {
    let problem = &replayed.on.loaded.problem;
    let mut placement: Placement = replayed.on.plan.placement.clone();
    let group = problem.group_of(op).map_or(vec![op], |g| problem.groups[g.index()].clone());
    for member in group {
        placement.device[member.index()] = Some(device);
    }
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in problem.topological_order().into_iter().enumerate() {
        position[op.index()] = at;
    }
    let mut all = problem.actions.clone();
    let start = |op: &OpId| replayed.timeline.ops[op.index()].map_or(0, |span| span.start);
    all.sort_by_key(|op| (start(op), position[op.index()]));
    let mut orders = vec![Vec::new(); problem.cluster.n_devices()];
    for op in all {
        if let Some(at) = placement.of(op) {
            orders[at.index()].push(op);
        }
    }
    draft::finish(problem, placement, Some(orders))
}

impl Alternative {
    /// A row of the table: device, time of the op, step time, change, remark.
    pub fn row(&self, problem: &Problem, step: Nanos) -> Vec<String> {
        let device = &problem.cluster.devices[self.device.index()].name;
        let time = match self.time_ns {
            UNSUPPORTED => "-".to_owned(),
            time => Nanos(time).to_string(),
        };
        let (there, change, remark) = match &self.verdict {
            Verdict::StepTime(there) => (there.to_string(), change(step, *there), String::new()),
            Verdict::CanNotRun => ("-".into(), "-".into(), "can not run there".to_owned()),
            Verdict::Illegal(code) => ("-".into(), "-".into(), format!("illegal: {code}")),
            Verdict::TooLarge { device, need, limit } => {
                let name = &problem.cluster.devices[device.index()].name;
                let (need, limit) = (Bytes(*need), Bytes(*limit));
                ("-".into(), "-".into(), format!("{name} would need {need} of {limit}"))
            }
        };
        vec![device.clone(), time, there, change, remark]
    }

    /// The same as a document.
    pub fn document(&self, problem: &Problem) -> Value {
        let name = |device: DeviceId| &problem.cluster.devices[device.index()].name;
        let verdict = match &self.verdict {
            Verdict::StepTime(there) => json!({ "step_time": Duration::from_ns(there.get()) }),
            Verdict::CanNotRun => json!({ "impossible": "can-not-run" }),
            Verdict::Illegal(code) => json!({ "impossible": code }),
            Verdict::TooLarge { device, need, limit } => json!({
                "impossible": "memory-exceeded",
                "device": name(*device),
                "need_bytes": need,
                "limit_bytes": limit,
            }),
        };
        let time = (self.time_ns != UNSUPPORTED).then(|| Duration::from_ns(self.time_ns));
        json!({ "device": name(self.device), "op_time": time, "verdict": verdict })
    }
}

/// `+ 1.20 ms (+0.5 %)`.
fn change(before: Nanos, after: Nanos) -> String {
    let (sign, difference) = match after.cmp(&before) {
        Ordering::Equal => return "none".to_owned(),
        Ordering::Greater => ("+", after - before),
        Ordering::Less => ("-", before - after),
    };
    if before == Nanos::ZERO {
        return format!("{sign} {difference}");
    }
    let share = difference.as_f64() / before.as_f64() * 100.0;
    format!("{sign} {difference} ({sign}{share:.1} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(change(Nanos(1000), Nanos(1100)), "+ 100 ns (+10.0 %)");
        assert_eq!(change(Nanos(1000), Nanos(900)), "- 100 ns (-10.0 %)");
        assert_eq!(change(Nanos(5), Nanos(5)), "none");
    }
}
