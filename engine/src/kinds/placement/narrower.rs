//! A way out where memory does not suffice: the model in 16 bits, named once it was planned so.

use std::time::{Duration, Instant};

use ir::tensor::DType;
use planner::no_plan::{NoPlan, Reason};
use planner::registry;
use planner::run::{Limits, Request, solve};

use crate::inputs::load::{self, Loaded};
use crate::request::PlanRequest;

/// What the attempt may take, reading the model again included.
const TIME: Duration = Duration::from_secs(2);
/// What is tried, the quickest first; all are part of `auto`.
const RECIPES: [&str; 2] = ["m-topo", "m-etf"];

/// The hint, where the model's own type is wider and a plan in 16 bits was found. `read` is how long
/// the model took to read, `started` when planning began.
pub fn hint(
    args: &PlanRequest,
    loaded: &Loaded,
    limits: &Limits,
    none: &NoPlan,
    (started, read): (Instant, Duration),
) -> Option<String> {
    let is_wide = match loaded.problem.workload.dtype {
        Some(dtype) => dtype.bits() > 16,
        None => loaded.problem.graph.tensors.iter().any(|tensor| tensor.dtype == DType::F32),
    };
    let left = limits.time.map_or(TIME, |all| all.saturating_sub(started.elapsed()));
    let left = left.min(TIME).saturating_sub(read);
    // What it finds must not depend on the clock where that was asked for.
    if none.reason != Reason::MemoryExceeded || !is_wide || limits.deterministic || left.is_zero() {
        return None;
    }
    let kinds = &loaded.problem.cluster.kinds;
    let has = |dtype: &DType| kinds.iter().all(|kind| kind.peak.contains_key(dtype));
    let dtype = [DType::Bf16, DType::F16].into_iter().find(has)?;
    let mut flags = args.problem.clone();
    flags.model.dtype = Some(dtype);
    let objective = args.objective.unwrap_or_default();
    let narrow = load::problem(&args.model, &flags, objective, args.executor).ok()?;
    let end = Instant::now() + left;
    let found = RECIPES.into_iter().find(|algorithm| {
        let Ok(recipe) = registry::recipe(algorithm) else { return false };
        let time = Some(end.saturating_duration_since(Instant::now()));
        let limits = Limits { time, nodes: None, ..limits.clone() };
        let request = Request { recipe, limits };
        solve(narrow.problem.clone(), &request, &mut |_| {}).is_ok()
    })?;
    Some(format!("with --dtype {dtype} a plan fits (verified: `{found}`)"))
}
