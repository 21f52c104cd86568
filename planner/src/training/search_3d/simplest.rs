//! Simplest of equals: which of the plans that are about as fast as the fastest one is recommended.
//!
//! Predicted steps are off by more than [`EQUAL`], so among plans within that share of the fastest the
//! simplest is recommended: [`Criterion::ALL`] decide one after the other, the step time last. A plan with
//! a term that no published run judges yields to one with fewer such terms within [`UNJUDGED`], unless that
//! one's memory is less certain to suffice.
//!
//! All configurations of the space count, with the layer splits of the search's rule, and the plans that
//! the search found; the search's bounds leave out only what is slower than the share, so the answer
//! depends on no order of the search. Stages are fitted twice: first so that the upper end of the memory
//! interval fits, and only if no equal plan does, into all of the memory.

mod pass;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod laws;

use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::rank_groups::Group;
use ir::card::Recompute;
use ir::units::{Bytes, Nanos};

use super::judge::Judged;
use super::space::{Configuration, RecomputeRule, Space};
use super::{Cuts, Options, Pruning, bounded};
use pass::{By, Equals};

/// Share of a step by which plans may differ and are equals: published runs of one setting differ as much.
pub const EQUAL: f64 = 0.01;
/// Share of the fastest step that is given up for a plan whose every term some published run judges.
pub const UNJUDGED: f64 = 0.05;

/// By launcher or stack, the preference for what replicas share out: nothing, optimizer states, and
/// gradients, and parameters (ZeRO 0 to 3), the default as 0. Other stacks are as Megatron.
const SHARDING: [(&str, [u64; 4]); 4] = [
    // The distributed optimizer is a flag; gradients and parameters are shared out by Megatron-FSDP.
    ("megatron", [0, 0, 1, 2]),
    // FSDP2 by default, with or without parameters kept between the passes.
    ("torchtitan", [1, 1, 0, 0]),
    // The configuration names a stage; each adds to the one before.
    ("deepspeed", [0, 1, 2, 3]),
    ("", [0, 0, 1, 2]),
];

/// What equal plans are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criterion {
    /// The upper end of the 80 % interval of the peak memory fits.
    Memory,
    /// The launcher's default sharding before other ZeRO stages.
    Sharding,
    /// No pipeline before pipeline.
    Pipeline,
    /// Stages of equally many layers before others.
    Split,
    /// Fewer virtual stages per rank before more.
    VirtualStages,
    /// No recompute before recompute.
    Recompute,
    /// Tensor parallelism inside a host before across hosts.
    Tensor,
    /// Fewer devices before more.
    Devices,
}

/// A value for each criterion, the smaller the simpler.
pub type Ranks = [u64; Criterion::ALL.len()];

impl Criterion {
    /// All, the decisive one first.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::Sharding,
        Self::Pipeline,
        Self::Split,
        Self::VirtualStages,
        Self::Recompute,
        Self::Tensor,
        Self::Devices,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory-interval-fits",
            Self::Sharding => "default-sharding",
            Self::Pipeline => "no-pipeline",
            Self::Split => "even-stages",
            Self::VirtualStages => "fewer-virtual-stages",
            Self::Recompute => "no-recompute",
            Self::Tensor => "tensor-inside-host",
            Self::Devices => "fewer-devices",
        }
    }

    /// What the simpler plan has.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Memory => "lower memory risk",
            Self::Sharding => "default sharding",
            Self::Pipeline => "no pipeline",
            Self::Split => "even stages",
            Self::VirtualStages => "fewer virtual stages",
            Self::Recompute => "no recompute",
            Self::Tensor => "TP inside a host",
            Self::Devices => "fewer devices",
        }
    }
}

/// What is known of how right predictions are.
pub struct Evidence<'e> {
    /// Terms of a configuration that no published run judges, in words.
    pub unjudged: &'e (dyn Fn(&Configuration) -> Vec<String> + Sync),
    /// By ZeRO stage, the upper end of the 80 % interval of the peak over the peak.
    pub peak_high: [f64; 4],
}

/// A plan that is recommended in place of the fastest one.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommended {
    /// The plan.
    pub plan: Judged,
    /// Terms of the fastest plan that no published run judges, and that it is without.
    pub judged: Vec<String>,
    /// In what it is simpler, the decisive one first.
    pub simpler: Vec<Criterion>,
}

/// What the rule says of the plans of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Choice {
    /// The fastest plan is recommended, or was asked for.
    #[default]
    Fastest,
    /// Another one is.
    Simpler(Box<Recommended>),
    /// The search had to stop before it was known.
    Unknown,
}

impl Choice {
    /// The plan that is recommended in place of the fastest one.
    #[must_use]
    pub fn simpler(&self) -> Option<&Recommended> {
        match self {
            Self::Simpler(recommended) => Some(recommended),
            _ => None,
        }
    }
}

/// The rule on one space.
struct Rule<'r, 'a> {
    pricing: &'r Pricing<'a>,
    evidence: &'r Evidence<'r>,
    sharding: [u64; 4],
}

/// Chooses among the plans of a space that was searched to its end, of which some are known, the fastest
/// first.
#[must_use]
pub fn choose(
    (pricing, space): (&Pricing<'_>, &Space),
    known: &[Judged],
    (evidence, options): (&Evidence<'_>, &Options),
) -> Choice {
    let Some(fastest) = known.first() else { return Choice::Fastest };
    let rule = Rule::of((pricing, space), evidence);
    let options = Options { pruning: Pruning::On, cuts: Cuts::Ruled, ..options.clone() };
    let shapes = bounded(pricing, space, &options);
    let equals = Equals { space, shapes: &shapes, options: &options, known };
    match rule.chosen(fastest, &equals) {
        None => Choice::Unknown,
        Some(plan) => {
            let chosen = rule.because(plan, fastest);
            // Plans that differ in no criterion are the same to the rule.
            let is_other = !chosen.judged.is_empty() || !chosen.simpler.is_empty();
            if is_other { Choice::Simpler(Box::new(chosen)) } else { Choice::Fastest }
        }
    }
}

/// A step that is so much slower.
fn slower(step: Nanos, share: f64) -> Nanos {
    Nanos((step.0 as f64 * (1.0 + share)) as u64)
}

impl<'r, 'a> Rule<'r, 'a> {
    fn of((pricing, space): (&'r Pricing<'a>, &Space), evidence: &'r Evidence<'r>) -> Self {
        let target = space
            .pins
            .capabilities
            .map_or(pricing.stack.name.as_str(), |capabilities| capabilities.target);
        let row = SHARDING.iter().find(|(name, _)| target.starts_with(name));
        Self { pricing, evidence, sharding: row.map_or([0; 4], |(_, ranks)| *ranks) }
    }
}

impl Rule<'_, '_> {
    /// The plan of the rule; `None` where the search had to stop.
    fn chosen(&self, fastest: &Judged, equals: &Equals<'_>) -> Option<Judged> {
        let limit = slower(fastest.step, UNJUDGED);
        let judged = self.judged(fastest, limit, equals)?;
        let most = slower(judged.step, EQUAL).min(limit);
        let terms = (self.evidence.unjudged)(&judged.configuration);
        let wants = |configuration: &Configuration| {
            is_within(&(self.evidence.unjudged)(configuration), &terms)
        };
        let by = By {
            steps: fastest.step..=most,
            wants: &wants,
            least: &|configuration| self.least(configuration),
            ranks: &|plan| self.ranks(plan),
        };
        // Whatever fits by its interval comes before all that does not.
        let certain = equals.first(&self.pricings(&self.evidence.peak_high), &by)?;
        match certain.filter(|plan| self.ranks(plan)[Criterion::Memory as usize] == 0) {
            Some(plan) => Some(plan),
            None => equals.first(&self.pricings(&[1.0; 4]), &by)?,
        }
    }

    /// The fastest of the plans with fewest terms that no run judges, none of which the fastest has not:
    /// that itself where there is no such plan within a limit.
    fn judged(&self, fastest: &Judged, limit: Nanos, equals: &Equals<'_>) -> Option<Judged> {
        let terms = (self.evidence.unjudged)(&fastest.configuration);
        let n_terms =
            |configuration: &Configuration| (self.evidence.unjudged)(configuration).len() as u64;
        let wants = |configuration: &Configuration| {
            let theirs = (self.evidence.unjudged)(configuration);
            theirs.len() < terms.len() && is_within(&theirs, &terms)
        };
        let only = |n: u64| {
            let mut ranks = Ranks::default();
            ranks[0] = n;
            ranks
        };
        let by = By {
            steps: fastest.step..=limit,
            wants: &wants,
            least: &|configuration| only(n_terms(configuration)),
            ranks: &|plan| only(n_terms(&plan.configuration)),
        };
        let memory = |plan: &Judged| self.ranks(plan)[Criterion::Memory as usize];
        let is_certain = memory(fastest) == 0;
        let highs = if is_certain { self.evidence.peak_high } else { [1.0; 4] };
        let found =
            if terms.is_empty() { None } else { equals.first(&self.pricings(&highs), &by)? };
        Some(
            found.filter(|plan| memory(plan) <= memory(fastest)).unwrap_or_else(|| fastest.clone()),
        )
    }

    /// By ZeRO stage, prices with as much less memory as peaks may be larger.
    fn pricings(&self, highs: &[f64; 4]) -> [Pricing<'_>; 4] {
        highs.map(|high| {
            let limit = self.pricing.limit.map(|limit| Bytes((limit.as_f64() / high) as u64));
            Pricing { limit, ..*self.pricing }
        })
    }

    /// What no plan of a configuration ranks below.
    fn least(&self, configuration: &Configuration) -> Ranks {
        let d = &configuration.degrees;
        let n_stages = d.pipeline.max(1) * d.virtual_stages.max(1);
        let is_even = self.pricing.model.n_blocks().is_multiple_of(n_stages);
        let recomputes = match configuration.recompute {
            RecomputeRule::Fitted | RecomputeRule::None | RecomputeRule::Alike => false,
            RecomputeRule::Selective | RecomputeRule::PerOp | RecomputeRule::Full => true,
        };
        let is_shared = d.data * d.context > 1;
        let tensor = Group::tensor(d).spread(self.pricing.system.per_host);
        Criterion::ALL.map(|criterion| match criterion {
            Criterion::Memory => 0,
            Criterion::Sharding if is_shared => self.sharding[d.zero as usize],
            Criterion::Sharding => 0,
            Criterion::Pipeline => u64::from(d.pipeline > 1),
            Criterion::Split => u64::from(!is_even),
            Criterion::VirtualStages => u64::from(d.virtual_stages.max(1)),
            Criterion::Recompute => u64::from(recomputes),
            Criterion::Tensor => u64::from(tensor.leaves_host()),
            Criterion::Devices => {
                [d.data, d.tensor, d.pipeline, d.context].map(u64::from).iter().product()
            }
        })
    }

    fn ranks(&self, plan: &Judged) -> Ranks {
        let mut ranks = self.least(&plan.configuration);
        let high = self.evidence.peak_high[plan.configuration.degrees.zero as usize];
        let is_above = |limit: Bytes| plan.peak as f64 * high > limit.as_f64();
        let sizes = || plan.fitted.blocks.iter().map(|range| range.end - range.start);
        let is_even = sizes().min() == sizes().max();
        let recomputes = plan.fitted.recompute.iter().any(|policy| *policy != Recompute::None);
        ranks[Criterion::Memory as usize] = u64::from(self.pricing.limit.is_some_and(is_above));
        ranks[Criterion::Split as usize] = u64::from(!is_even);
        ranks[Criterion::Recompute as usize] = u64::from(recomputes);
        ranks
    }

    fn because(&self, plan: Judged, fastest: &Judged) -> Recommended {
        let terms = (self.evidence.unjudged)(&plan.configuration);
        let mut judged = (self.evidence.unjudged)(&fastest.configuration);
        judged.retain(|term| !terms.contains(term));
        let pairs = self.ranks(&plan).into_iter().zip(self.ranks(fastest));
        let simpler =
            Criterion::ALL.into_iter().zip(pairs).filter(|(_, (ours, other))| ours < other);
        let simpler = simpler.map(|(criterion, _)| criterion).collect();
        Recommended { plan, judged, simpler }
    }
}

/// Whether all of some terms are among others.
fn is_within(terms: &[String], others: &[String]) -> bool {
    terms.iter().all(|term| others.contains(term))
}
