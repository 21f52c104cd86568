//! What people are told of a search beside its best plan.

use cost_model::runs::forms::model::Offload;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::run::Case;
use planner::run::StopReason;
use planner::training::search::{Planned, Settled, Wider};
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::simplest::Choice;
use planner::training::search_3d::space::{Capabilities, Space};
use planner::training::search_3d::{Counts, Found};

use super::answer::degrees;

/// A plan that is the best so far.
pub struct Better<P> {
    /// The plan.
    pub plan: P,
    /// Its step time.
    pub step: Nanos,
    /// What no plan is below.
    pub bound: Nanos,
    /// What hosts keep under it.
    pub offload: Offload,
}

impl<P: Send + Sync + 'static> Case for Better<P> {
    type Solution = Self;
    type Figures = Nanos;
}

/// A plan that the search tells of, with the launcher that it was limited to.
pub type Told = Better<(Judged, Option<Capabilities>)>;

/// What is known of a search that told of a plan and did not end.
pub fn cut_short(better: &Told, free: &Space, stop: StopReason) -> Planned {
    let (plan, launcher) = better.plan.clone();
    let space = launcher.map_or_else(|| free.clone(), |capabilities| free.within(capabilities));
    let (bound_s, counts) = (better.bound.seconds(), Counts::default());
    let found = Found { plans: vec![plan], bound_s, stop, counts };
    let settled = Settled { found, space, launcher };
    let wider = launcher.map(Wider::Unknown);
    Planned { settled, front: Vec::new(), wider, choice: Choice::Fastest }
}

/// What lies beyond a launcher, in one line.
pub fn line(wider: &Wider, best: &Judged) -> String {
    match wider {
        Wider::Nothing(capabilities) => {
            format!(
                "limited to what {} can run; lifting that gains nothing (--for any)",
                capabilities.target
            )
        }
        Wider::Faster(capabilities, plan) => format!(
            "limited to what {} can run; --for any is {:.1} % faster: {} ({})",
            capabilities.target,
            100.0 * (1.0 - plan.step.seconds() / best.step.seconds()),
            plan.step,
            degrees(&plan.configuration)
        ),
        Wider::Unknown(capabilities) => format!(
            "limited to what {} can run; the search without that limit was cut short (--for any)",
            capabilities.target
        ),
        Wider::Only(capabilities) => format!("{} does not run this plan", capabilities.target),
    }
}

/// Warns of a plan that the launcher of its stack does not run.
pub fn warning(wider: &Wider) -> Option<Diagnostic> {
    let Wider::Only(capabilities) = wider else { return None };
    let message = format!("{} runs none of the plans that fit", capabilities.target);
    Some(
        Diagnostic::warning("beyond-launcher", message)
            .hint("take pins away, name another stack, or accept it with --for any"),
    )
}
