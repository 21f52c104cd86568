//! Which spaces of a training run are searched, in which order, and what stands beside the best plan.

use std::convert::Infallible;

use cost_model::runs::forms::model::{Offload, Pricing};

use super::front;
use super::search_3d::judge::Judged;
use super::search_3d::space::{Capabilities, Pins, Space};
use super::search_3d::{Found, Options, Search, solve};

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

    /// The space where hosts keep something, as far as its launcher can leave it there.
    #[must_use]
    pub fn keeping(&self, offload: Offload) -> Option<Self> {
        match self.pins.capabilities {
            None => Some(self.clone()),
            Some(capabilities) => Some(self.within(capabilities.keeping(offload)?)),
        }
    }
}

/// What may be planned.
pub struct Asked<'a> {
    /// Everything.
    pub free: &'a Space,
    /// The launcher whose plans are wanted first, though nobody asked for it.
    pub launcher: Option<Capabilities>,
    /// Whether hosts may keep optimizer states.
    pub may_offload: bool,
}

/// What a search found, and where.
#[derive(Clone, Debug)]
pub struct Settled<F> {
    /// What it found.
    pub found: F,
    /// What was searched.
    pub space: Space,
    /// The launcher that the search was limited to without anyone asking for it.
    pub launcher: Option<Capabilities>,
    /// What hosts keep.
    pub offload: Offload,
}

impl Asked<'_> {
    /// Searches what the launcher runs, with optimizer states on the devices, then on the hosts,
    /// where they are slower; only if nothing of that fits, what it does not run. `is_settled` says
    /// whether there is a plan, or the search had to stop.
    ///
    /// # Errors
    /// Those of the search.
    pub fn until_it_fits<F, E>(
        &self,
        is_settled: impl Fn(&F) -> bool,
        mut search: impl FnMut(&Space, Option<Capabilities>, Offload) -> Result<F, E>,
    ) -> Result<Settled<F>, E> {
        let limited =
            self.launcher.map(|capabilities| (Some(capabilities), self.free.within(capabilities)));
        let offloads: &[Offload] = match self.may_offload {
            true => &[Offload::Nothing, Offload::Optimizer],
            false => &[Offload::Nothing],
        };
        let mut first = None;
        for (launcher, space) in limited.into_iter().chain([(None, self.free.clone())]) {
            for &offload in offloads {
                let Some(space) = space.keeping(offload) else { continue };
                let found = search(&space, launcher, offload)?;
                if is_settled(&found) {
                    return Ok(Settled { found, space, launcher, offload });
                }
                first.get_or_insert(found);
            }
        }
        let (space, offload) = (self.free.clone(), Offload::Nothing);
        let found = first.map_or_else(|| search(&space, None, offload), Ok)?;
        Ok(Settled { found, space, launcher: None, offload })
    }
}

/// The answer to a question by the cost model, with what stands beside it.
pub struct Planned {
    /// The plans.
    pub settled: Settled<Found>,
    /// The Pareto front of time, memory and devices.
    pub front: Vec<Judged>,
    /// What lies beyond the launcher; `None` where there are no such limits.
    pub wider: Option<Wider>,
}

/// Who is told of each plan that is the best so far: with seconds that no plan falls below, the
/// launcher that the search was limited to, and what hosts keep.
pub type Teller<'t> = dyn Fn(&Judged, f64, Option<Capabilities>, Offload) + 't;

/// Searches for the best plans, then looks around what was found.
pub fn plan(
    pricing: &Pricing<'_>,
    asked: &Asked<'_>,
    (search, options): (Search, &Options),
    tell: &Teller<'_>,
) -> Planned {
    let is_settled = |found: &Found| !found.plans.is_empty() || !found.stop.is_complete();
    let run = |space: &Space, launcher, offload| -> Result<Found, Infallible> {
        let mut observe = |plan: &Judged, bound_s: f64| tell(plan, bound_s, launcher, offload);
        Ok(search(&Pricing { offload, ..*pricing }, space, options, &mut observe))
    };
    let Ok(mut settled) = asked.until_it_fits(is_settled, run);
    let (mut front, mut wider) = (Vec::new(), None);
    if !settled.found.plans.is_empty() {
        let pricing = Pricing { offload: settled.offload, ..*pricing };
        front = front::of(&pricing, &settled.space, &settled.found, options);
        front::promote(&mut settled.found, &front);
        wider = Wider::of(&pricing, asked, &settled, options);
    }
    Planned { settled, front, wider }
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
        asked: &Asked<'_>,
        settled: &Settled<Found>,
        options: &Options,
    ) -> Option<Self> {
        let best = settled.found.plans.first()?;
        let Some(capabilities) = settled.launcher else {
            return asked.launcher.map(Self::Only);
        };
        if !settled.found.stop.is_complete() {
            return Some(Self::Unknown(capabilities));
        }
        let known = Some(Box::new(best.clone()));
        let one = Options { n_plans: 1, known, ..options.clone() };
        let found = solve(pricing, asked.free, &one);
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
