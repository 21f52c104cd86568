//! The search of a training run: first what the launcher of its stack runs, then anything.

use cost_model::runs::forms::model::Offload;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::registry::OnCard;
use planner::run::StopReason;
use planner::training::search_3d::judge::Judged;
use planner::training::search_3d::space::{Pins, Space, Words};
use planner::training::search_3d::{Counts, Found, Options, solve};

use super::answer::degrees;
use super::followed::Better;
use engine::training::setting::Setting;

/// Gains below this share are not told.
const TOLD: f64 = 0.0005;

/// A plan that the search tells of, with the launcher that it was limited to.
pub(super) type Told = Better<(Judged, Option<Words>)>;

/// What was found, where, and what stands beside it.
pub(super) struct Searched {
    pub(super) found: Found,
    /// What was searched.
    pub(super) space: Space,
    /// The launcher that the search was limited to without anyone asking for it.
    pub(super) launcher: Option<Words>,
}

/// Searches what the launcher of the stack runs, with optimizer states on the devices, then on the
/// hosts, where they are slower; only if nothing of that fits, what it does not run.
pub(super) fn search(
    setting: &mut Setting,
    (free, search): (Space, OnCard),
    options: &Options,
    tell: &dyn Fn(Told),
) -> Searched {
    let limited = setting.launcher().map(|words| (words, within(&free, words)));
    let mut spaces: Vec<(Option<Words>, Space)> =
        limited.into_iter().map(|(words, space)| (Some(words), space)).collect();
    spaces.push((None, free.clone()));
    let offloads: &[Offload] = match setting.request.no_offload {
        true => &[Offload::Nothing],
        false => &[Offload::Nothing, Offload::Optimizer],
    };
    let mut first = None;
    for (launcher, space) in &spaces {
        for offload in offloads {
            let Some(space) = keeping(space, *offload) else { continue };
            let launcher = *launcher;
            setting.offload = *offload;
            let mut observe = |plan: &Judged, bound_s: f64| {
                let bound = Nanos((bound_s * 1e9).round() as u64);
                let told = (plan.clone(), launcher);
                tell(Better { plan: told, step: plan.step, bound, offload: *offload });
            };
            let found = search(&setting.pricing(), &space, options, &mut observe);
            if !found.plans.is_empty() || !found.stop.is_complete() {
                return Searched { found, space, launcher };
            }
            first.get_or_insert(found);
        }
    }
    setting.offload = Offload::Nothing;
    let found = first.unwrap_or_else(|| solve(&setting.pricing(), &free, options));
    Searched { found, space: free, launcher: None }
}

impl Searched {
    /// What is known of a search that told of a plan and did not end.
    pub(super) fn cut_short(told: &Told, free: &Space, stop: StopReason) -> Self {
        let (plan, launcher) = told.plan.clone();
        let space = launcher.map_or_else(|| free.clone(), |words| within(free, words));
        let space = keeping(&space, told.offload).unwrap_or(space);
        let found = Found {
            plans: vec![plan],
            bound_s: told.bound.seconds(),
            stop,
            counts: Counts::default(),
        };
        Self { found, space, launcher }
    }
}

/// A space where hosts keep something, as far as its launcher can leave it there.
pub(super) fn keeping(space: &Space, offload: Offload) -> Option<Space> {
    match space.pins.words {
        None => Some(space.clone()),
        Some(words) => Some(within(space, words.keeping(offload)?)),
    }
}

/// A space within what a launcher has words for.
pub(super) fn within(space: &Space, words: Words) -> Space {
    Space { pins: Pins { words: Some(words), ..space.pins.clone() }, ..space.clone() }
}

/// What a search without the launcher's limits finds.
pub(super) enum Wider {
    /// Nothing that is faster.
    Nothing(Words),
    /// A faster plan.
    Faster(Words, Box<Judged>),
    /// The search ended before that was known.
    Unknown(Words),
    /// The launcher runs none of the plans.
    Only(Words),
}

impl Wider {
    /// Compares the best plan within the launcher's limits with the best one of all; `None` where
    /// there are no such limits.
    pub(super) fn of(
        setting: &Setting,
        free: &Space,
        searched: &Searched,
        options: &Options,
    ) -> Option<Self> {
        let best = searched.found.plans.first()?;
        let Some(words) = searched.launcher else {
            return setting.launcher().map(Self::Only);
        };
        if !searched.found.stop.is_complete() {
            return Some(Self::Unknown(words));
        }
        let one = Options { n_plans: 1, ..options.clone() };
        let found = solve(&setting.pricing(), free, &one);
        let faster = found
            .plans
            .into_iter()
            .next()
            .filter(|plan| plan.step.seconds() < (1.0 - TOLD) * best.step.seconds());
        Some(match (faster, found.stop) {
            (Some(plan), _) => Self::Faster(words, Box::new(plan)),
            (None, stop) if stop.is_complete() => Self::Nothing(words),
            (None, _) => Self::Unknown(words),
        })
    }

    /// In one line.
    pub(super) fn line(&self, best: &Judged) -> String {
        match self {
            Self::Nothing(words) => {
                format!("searched: what {} runs; nothing else is faster (--for any)", words.target)
            }
            Self::Faster(words, plan) => format!(
                "searched: what {} runs; --for any is {:.1} % faster: {} ({})",
                words.target,
                100.0 * (1.0 - plan.step.seconds() / best.step.seconds()),
                plan.step,
                degrees(&plan.leaf)
            ),
            Self::Unknown(words) => format!(
                "searched: what {} runs; nothing beyond was searched to its end (--for any)",
                words.target
            ),
            Self::Only(words) => format!("{} does not run this plan", words.target),
        }
    }

    /// Warns of a plan that the launcher of its stack does not run.
    pub(super) fn warning(&self) -> Option<Diagnostic> {
        let Self::Only(words) = self else { return None };
        let message = format!("{} runs none of the plans that fit", words.target);
        Some(
            Diagnostic::warning("beyond-launcher", message)
                .hint("take pins away, name another stack, or accept it with --for any"),
        )
    }

    /// The faster plan, and what it is faster than.
    pub(super) fn faster(&self) -> Option<&Judged> {
        match self {
            Self::Faster(_, plan) => Some(plan),
            _ => None,
        }
    }
}
