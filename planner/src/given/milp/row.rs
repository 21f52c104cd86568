//! The row of the registry.

use std::time::Duration;

use cost_model::given::Goal;
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;

use super::{Options, Verdict, solve, start};
use crate::given::runner::{Effort, Method, Run, Solution, method};
use crate::run::algorithm::{self, Guarantee};

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::Latency, Goal::ContiguousMaxLoad, Goal::MaxLoad],
    effort: Effort::Thorough,
    guarantee: Guarantee::OptimalAmong("splits; contiguous ones whose devices have an order"),
    solve: run,
};

/// Time of a search where no limit is set.
const USUAL_TIME: Duration = Duration::from_secs(30);
/// Labels, states and moves of other searches that a node of the tree counts for: about 10 ms.
const NODES_PER_NODE: u64 = 200_000;

fn run(run: &Run, _: &algorithm::Options) -> Result<(), Diagnostic> {
    let Instance::Load(instance) = run.instance() else { return Ok(()) };
    let start = match run.best() {
        Some(Solution::Devices(devices)) => Some(devices),
        _ => start::heuristic(instance, run.goal(), &|| run.is_over()),
    };
    // The solver's own clock only ends its linear programs in time.
    let time = run.deadline_or(USUAL_TIME).filter(|_| !run.is_deterministic());
    let time = time.map(|end| end.saturating_duration_since(std::time::Instant::now()));
    let nodes = run.nodes_left().map(|nodes| (nodes / NODES_PER_NODE).max(1));
    let mut result = Ok(());
    let found = solve(
        instance,
        run.goal(),
        &Options { time, nodes, start },
        &|| run.is_over(),
        &mut |news| {
            if let Some((_, devices)) = news.plan.filter(|_| result.is_ok()) {
                result = run.offer(Solution::Devices(devices.to_vec())).map(|_| ());
            }
            run.prove(news.bound, method::PROGRAM);
        },
    );
    result?;
    run.prove(found.bound, method::PROGRAM);
    if found.verdict != Verdict::Open {
        run.close(method::PROGRAM);
    }
    Ok(())
}
