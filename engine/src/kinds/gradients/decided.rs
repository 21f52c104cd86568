//! What a plan of buckets decides, to its document.

use cost_model::given::gradients::{Buckets, evaluate};
use documents::plan::render::Context;
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;

use super::Setting;
use crate::kinds::buckets::communication;

/// What is minimised.
pub const OBJECTIVE: &str = "step-time";

/// The plan document of legal buckets.
///
/// # Errors
/// The judge's fault, where they are illegal.
pub fn document(
    setting: &Setting,
    buckets: &Buckets,
    (algorithm, bound, method): (&str, Nanos, &str),
) -> Result<PlanDocument, Diagnostic> {
    let Setting { loaded, instance, batch } = setting;
    let problem = &loaded.problem;
    let value = evaluate(instance, buckets)?;
    let context = Context {
        graph: &problem.graph,
        cluster: &problem.cluster,
        profile: &loaded.profile,
        workload: &problem.workload,
        request: &loaded.request,
        objective: OBJECTIVE,
        algorithm,
    };
    let cost = CostDocument::new(value.get(), bound.get(), method);
    let communication = communication(instance, buckets);
    let replicas = u32::try_from(instance.replicas).unwrap_or(u32::MAX);
    let mut plan = PlanDocument::from_ir(&Plan::default(), &context, Some(cost));
    plan.share_out(replicas, *batch, communication);
    Ok(plan)
}
