//! Everything on one device.
//!
//! # Decides
//! Placement.
//!
//! # Idea
//! The step time on one device is the sum of its durations, since nothing moves. Devices are tried
//! in order of (that sum, id); the first one whose limit admits the plan wins. Devices of a class
//! are interchangeable, so that one of each is tried.
//!
//! # Paper
//! None: the baseline that every placement has to beat.
//!
//! # Guarantee
//! None. Optimal among placements on one device, for the op order of the judge's default.
//!
//! # Complexity
//! O(ops + edges) per class of devices.
//!
//! # Limits
//! Needs a device that can run every op.
//!
//! # Example
//! `meshwright place model.onnx --algorithm single`

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::plan::Placement;

use crate::draft::Draft;
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

struct Single;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Single)))
}

impl Decide for Single {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let mut last = NoPlan::not_found(
            Reason::NoDevice,
            "no-device",
            "no device can run all ops of the model",
        )
        .hint("use an algorithm that splits the model, such as `m-etf`");
        for (_, device) in solve(problem) {
            let draft = draft.clone().placed(everything_on(problem, device));
            match run.offer(&draft) {
                Ok(_) => return Ok(draft),
                Err(no_plan) => last = no_plan,
            }
        }
        Err(last)
    }
}

/// Devices that can run everything, one of each class, with the sum of the durations there, in
/// order of preference.
#[must_use]
pub fn solve(problem: &Problem) -> Vec<(u64, DeviceId)> {
    let mut seen = Vec::new();
    let mut devices = Vec::new();
    for device in problem.cluster.device_ids() {
        let class = problem.cluster.devices[device.index()].class;
        if seen.contains(&class) || !problem.actions.iter().all(|op| problem.can_place(*op, device))
        {
            continue;
        }
        seen.push(class);
        let times = problem.actions.iter().map(|op| problem.time_ns(*op, device));
        devices.push((times.fold(0u64, u64::saturating_add), device));
    }
    devices.sort_unstable();
    devices
}

fn everything_on(problem: &Problem, device: DeviceId) -> Placement {
    let mut placement = Placement { device: vec![None; problem.n_ops()] };
    for op in &problem.actions {
        placement.device[op.index()] = Some(device);
    }
    placement
}
