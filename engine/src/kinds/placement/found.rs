//! A plan that was judged, as the document that says so.

use cost_model::ops::bound::Bound;
use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::problem::Objective;
use documents::plan::render::Context;
use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;

use crate::answer::escape;
use crate::inputs::load::Loaded;
use crate::kinds::placement::trust::Trust;

/// A verified plan.
pub struct Found<'a> {
    /// The recipe that found it.
    pub algorithm: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// When everything happens.
    pub timeline: &'a Timeline,
    /// Under the objective.
    pub value: Nanos,
    /// What no plan is below.
    pub bound: Bound,
}

/// The document as it is written to a file.
///
/// # Errors
/// `internal` where it has no JSON form, which none is without.
pub fn bytes(plan: &PlanDocument) -> Result<Vec<u8>, Diagnostic> {
    Ok(escape::json(plan.to_json()?).into_bytes())
}

/// The plan document of what was found.
pub fn document(loaded: &Loaded, found: &Found, trust: &Trust) -> PlanDocument {
    let context = Context {
        graph: &loaded.problem.graph,
        cluster: &loaded.problem.cluster,
        profile: &loaded.profile,
        workload: &loaded.problem.workload,
        request: &loaded.request,
        objective: loaded.problem.objective.name(),
        algorithm: found.algorithm,
    };
    let (step_time, bound) = (found.timeline.step_time, found.bound);
    let mut cost = CostDocument::new(step_time.get(), bound.value.get(), bound.method)
        .with_trust(trust.interval_document(), trust.origin_documents());
    if loaded.problem.objective != Objective::STEP_TIME {
        cost = cost.with_value(found.value.get());
    }
    PlanDocument::from_ir(found.plan, &context, Some(cost))
}
