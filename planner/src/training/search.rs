//! Which spaces of a training run are searched, in which order, and what stands beside the best plan.

use cost_model::runs::forms::model::{Offload, Pricing};

use super::front;
use super::search_3d::judge::Judged;
use super::search_3d::simplest::{Choice, Evidence, choose};
use super::search_3d::space::{Capabilities, Pins, Space};
use super::search_3d::{Found, Options, Search, solve};
use crate::run::StopReason;

/// Gains below this share are not told.
const TOLD: f64 = 0.0005;

impl Space {
    /// The space within what a launcher has words for.
    #[must_use]
    pub fn within(&self, capabilities: Capabilities) -> Self {
        Self {
            pins: Pins { capabilities: Some(capabilities), ..self.pins.clone() },
            ..self.clone()
        }
    }

    /// The space where hosts hold just this, as far as its launcher can leave it there.
    #[must_use]
    pub fn keeping(&self, offload: Offload) -> Option<Self> {
        let capabilities = match self.pins.capabilities {
            None => None,
            Some(capabilities) => Some(capabilities.keeping(offload)?),
        };
        let pins = Pins { capabilities, may_offload: false, ..self.pins.clone() };
        Some(Self { pins, ..self.clone() })
    }
}

/// What may be planned.
pub struct Asked<'a> {
    /// Everything.
    pub free: &'a Space,
    /// The launcher whose plans are wanted first, though nobody asked for it.
    pub launcher: Option<Capabilities>,
    /// Whether the fastest plan on each count of devices is wanted too.
    pub by_count: bool,
    /// What the simplest of equal plans is chosen by; `None` = the fastest is wanted.
    pub evidence: Option<&'a Evidence<'a>>,
}

/// What a search found, and where.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it found.
    pub found: Found,
    /// What was searched.
    pub space: Space,
    /// The launcher that the search was limited to without anyone asking for it.
    pub launcher: Option<Capabilities>,
}

impl Asked<'_> {
    /// Searches what the launcher runs; only if nothing of that fits, what it does not run.
    fn until_it_fits(
        &self,
        mut search: impl FnMut(&Space, Option<Capabilities>) -> Found,
    ) -> Settled {
        let limited =
            self.launcher.map(|capabilities| (Some(capabilities), self.free.within(capabilities)));
        if let Some((launcher, space)) = limited {
            let found = search(&space, launcher);
            if !found.plans.is_empty() || !found.stop.is_complete() {
                return Settled { found, space, launcher };
            }
        }
        let space = self.free.clone();
        Settled { found: search(&space, None), space, launcher: None }
    }
}

/// The answer to a question by the cost model, with what stands beside it.
pub struct Planned {
    /// The plans.
    pub settled: Settled,
    /// The Pareto front of time, memory and devices.
    pub front: Vec<Judged>,
    /// What lies beyond the launcher; `None` where there are no such limits.
    pub wider: Option<Wider>,
    /// Which plan is recommended.
    pub choice: Choice,
}

impl Planned {
    /// The plan that is recommended.
    #[must_use]
    pub fn best(&self) -> Option<&Judged> {
        let simpler = self.choice.simpler().map(|recommended| &recommended.plan);
        simpler.or_else(|| self.settled.found.plans.first())
    }

    /// What hosts hold under it.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.best().map_or(Offload::Nothing, |best| best.configuration.offload)
    }
}

/// Who is told of each plan that is the best so far: with seconds that no plan falls below, and the
/// launcher that the search was limited to.
pub type Teller<'t> = dyn Fn(&Judged, f64, Option<Capabilities>) + 't;

/// Searches for the best plans, then looks around what was found.
pub fn plan(
    pricing: &Pricing<'_>,
    request: &Asked<'_>,
    (search, options): (Search, &Options),
    tell: &Teller<'_>,
) -> Planned {
    // What any of them leaves open is open.
    let mut open_s = f64::INFINITY;
    let mut settled = request.until_it_fits(|space, launcher| {
        let mut observe = |plan: &Judged, bound_s: f64| tell(plan, bound_s, launcher);
        let found = search(pricing, space, options, &mut observe);
        open_s = open_s.min(found.bound_s);
        found
    });
    if settled.found.plans.is_empty() {
        settled.found.bound_s = open_s;
    }
    let (mut front, mut wider, mut choice) = (Vec::new(), None, Choice::Fastest);
    if !settled.found.plans.is_empty() {
        front = front::of(pricing, (&settled.space, request.by_count), &settled.found, options);
        front::promote(&mut settled.found, &front);
        // The front may still have found a faster plan.
        let found = &mut settled.found;
        let is_open = found.plans.first().is_some_and(|best| found.bound_s < best.step.seconds());
        if let (StopReason::Finished, true, Some(stop)) = (found.stop, is_open, options.stop()) {
            found.stop = stop;
        }
        wider = Wider::of(pricing, request, &settled, options);
        let is_whole = settled.found.stop.is_complete();
        if let Some(evidence) = request.evidence.filter(|_| is_whole) {
            let (found, space) = (&settled.found.plans, &settled.space);
            choice = choose((pricing, space), found, (evidence, options));
        }
    }
    Planned { settled, front, wider, choice }
}

/// What a search without the launcher's limits finds.
pub enum Wider {
    /// Nothing that is faster.
    Nothing(Capabilities),
    /// A faster plan.
    Faster(Capabilities, Box<Judged>),
    /// The search ended before that was known.
    Unknown(Capabilities),
    /// The launcher runs none of the plans.
    Only(Capabilities),
}

impl Wider {
    /// Compares the best plan within the launcher's limits with the best one of all; `None` where
    /// there are no such limits.
    fn of(
        pricing: &Pricing<'_>,
        request: &Asked<'_>,
        settled: &Settled,
        options: &Options,
    ) -> Option<Self> {
        let best = settled.found.plans.first()?;
        let Some(capabilities) = settled.launcher else {
            return request.launcher.map(Self::Only);
        };
        if !settled.found.stop.is_complete() {
            return Some(Self::Unknown(capabilities));
        }
        let known = Some(Box::new(best.clone()));
        let one = Options { n_plans: 1, known, ..options.clone() };
        let found = solve(pricing, request.free, &one);
        let is_faster = |plan: &Judged| plan.step.seconds() < (1.0 - TOLD) * best.step.seconds();
        Some(match (found.plans.into_iter().next().filter(is_faster), found.stop) {
            (Some(plan), _) => Self::Faster(capabilities, Box::new(plan)),
            (None, stop) if stop.is_complete() => Self::Nothing(capabilities),
            (None, _) => Self::Unknown(capabilities),
        })
    }

    /// The faster plan.
    #[must_use]
    pub fn faster(&self) -> Option<&Judged> {
        match self {
            Self::Faster(_, plan) => Some(plan),
            _ => None,
        }
    }
}
