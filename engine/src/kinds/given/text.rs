//! Solutions of instances as people read them.

use cost_model::given::max_load;
use cost_model::given::tasks::{self, Fit};
use ir::instance::{Instance, TaskInstance, TimeUnit};
use ir::units::Nanos;
use planner::given::runner::Solution;

use super::averaging;
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::buckets;

/// The devices or stages of a solution.
pub fn print(instance: &Instance, solution: &Solution, rows: Rows, page: &Page) {
    if let (Instance::Gradients(instance), Solution::Buckets(found)) = (instance, solution) {
        return buckets::table(instance, found, rows, page);
    }
    if let Instance::Averaging(instance) = instance {
        averaging::table(instance, solution, rows, page);
        return page.line(&averaging::sentence(instance, solution));
    }
    let last = if matches!(solution, Solution::Stages(_)) { "DP x TP" } else { "load" };
    let columns = [Column::Name("device"), Column::Number("nodes"), Column::Number(last)];
    let rows = match (instance, solution) {
        (Instance::Load(instance), Solution::Devices(devices)) => {
            let loads = max_load::loads(instance, devices);
            let counts = counts(devices, loads.len());
            let row = |((at, load), n_nodes): ((usize, &Nanos), &usize)| {
                let name = device_name(instance, at);
                vec![name, n_nodes.to_string(), format!("{:.6}", TimeUnit::UNSTATED.of(*load))]
            };
            loads.iter().enumerate().zip(&counts).map(row).collect()
        }
        (Instance::Tasks(instance), Solution::Devices(devices)) => {
            return print_queues(instance, devices, page);
        }
        (_, Solution::Devices(stages)) => {
            let last = stages.iter().max().map_or(0, |last| *last as usize + 1);
            let row = |(stage, n_nodes): (usize, &usize)| {
                vec![format!("stage {stage}"), n_nodes.to_string(), String::new()]
            };
            counts(stages, last).iter().enumerate().map(row).collect()
        }
        (_, Solution::Stages(stages)) => {
            let row = |(at, stage): (usize, &cost_model::given::time_per_sample::Stage)| {
                let degrees = format!("{} x {}", stage.data, stage.tensor);
                vec![format!("stage {at}"), stage.nodes.len().to_string(), degrees]
            };
            stages.iter().enumerate().map(row).collect()
        }
        (
            _,
            Solution::Buckets(_)
            | Solution::Rounds(_)
            | Solution::Uploads(_)
            | Solution::Synchronisation(_),
        ) => Vec::new(),
    };
    page.table(&columns, rows);
}

/// Tasks and seconds of each device, and where its times come from.
fn print_queues(instance: &TaskInstance, devices: &[u32], page: &Page) {
    let columns =
        Column::row("@device | #tasks | #ends, s | #a task, s | #a unit, s | from | #error");
    let (lines, loads) = (tasks::lines(instance), tasks::loads(instance, devices));
    let counts = counts(devices, instance.devices.len());
    let row = |(at, (name, line)): (usize, (&String, &tasks::Line))| {
        let load = loads.as_ref().ok().and_then(|loads| loads.get(at)).copied().unwrap_or_default();
        vec![
            name.clone(),
            counts[at].to_string(),
            format!("{:.6}", TimeUnit::SECOND.of(Nanos(load))),
            format!("{:.4}", line.start_up_s),
            format!("{:.4e}", line.per_size_s),
            match line.fit {
                Fit::Line => format!("{} runs", line.n_runs),
                Fit::Origin => format!("{} runs, no start-up", line.n_runs),
                Fit::Others => "other devices".to_owned(),
                Fit::Assumed => "nothing: assumed".to_owned(),
            },
            line.error.map_or_else(|| "-".to_owned(), |error| format!("{:.1} %", error * 100.0)),
        ]
    };
    page.table(&columns, instance.devices.iter().zip(&lines).enumerate().map(row).collect());
}

/// `accelerator 2` or `core 0`.
pub fn device_name(instance: &ir::instance::LoadInstance, at: usize) -> String {
    match at.checked_sub(instance.n_accelerators) {
        None => format!("accelerator {at}"),
        Some(core) => format!("core {core}"),
    }
}

/// Nodes on each device.
fn counts(devices: &[u32], n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for device in devices {
        if let Some(count) = counts.get_mut(*device as usize) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ir::instance::{LayerProfile, ProfileNode};
    use ir::units::Bytes;
    use planner::run::{Bound, Standing, StopReason};

    use planner::given::runner::method;

    use cost_model::given::Goal;
    use planner::given::runner::Answer;

    use super::*;
    use crate::kinds::given::document;
    use crate::search::solved::{covered, proof};

    fn instance() -> Instance {
        let node = ProfileNode {
            id: "a".to_owned(),
            description: String::new(),
            forward: Nanos(1_000_000),
            backward: Nanos(500_000),
            activations: Bytes(1),
            parameters: Bytes(1),
        };
        let name = "x".to_owned();
        Instance::Profile(LayerProfile { name, nodes: vec![node], edges: Vec::new() })
    }

    /// A proof that no second program has looked at is a state of its own, for people and programs.
    #[test]
    fn a_proof_that_was_not_checked_again_says_so() {
        let instance = instance();
        let value = Nanos(1_500_000);
        let solution = Solution::Devices(vec![0]);
        let said = |standing: Standing, bound: u64| {
            let bound = Bound { value: Nanos(bound), method: "columns", standing };
            let answer = Answer {
                best: Some((value, solution.clone())),
                bound,
                certificate: None,
                is_proved: bound.value >= value,
                stop: StopReason::ProvedOptimal,
                algorithm: "columns".to_owned(),
                attempts: Vec::new(),
                trace: Vec::new(),
                elapsed: Duration::ZERO,
            };
            let text = proof(&instance, Goal::SlowestStage, value, &answer);
            let document =
                document::document(&instance, Goal::SlowestStage, value, bound, &solution);
            (text, document.bound_standing.unwrap(), document.proved_optimal)
        };
        let (text, standing, proved) = said(Standing::TooLarge, 1_500_000);
        assert!(text.contains("proved optimal, certificate too large to check again"), "{text}");
        assert_eq!((standing.as_str(), proved), ("certificate-too-large-to-check", true));
        let (text, standing, proved) = said(Standing::NoTime, 1_000_000);
        assert!(
            text.contains(
                "at most 50 % above the best (lower bound 1 ms, columns; no time to check"
            ),
            "{text}"
        );
        assert_eq!((standing.as_str(), proved), ("certificate-not-checked-in-time", false));
        // Less than a thousandth above the bound is not nothing, and no proof.
        let (text, ..) = said(Standing::Derived, 1_499_999);
        assert!(text.contains("at most 0.1 % above") && !text.contains("proved optimal"), "{text}");
        let (text, ..) = said(Standing::Checked, 1_500_000);
        assert!(text.starts_with("proved optimal; planned in "), "{text}");
    }

    /// What is proved of splits in one order is not said of all.
    #[test]
    fn a_bound_says_which_splits_it_speaks_of() {
        let goal = Goal::ContiguousMaxLoad;
        assert_eq!(covered(goal, method::IDEALS), Some("devices-in-one-order"));
        assert_eq!(covered(goal, "sum of loads"), None);
        assert_eq!(covered(Goal::Latency, method::IDEALS), None);
    }
}
