//! Attention on some devices, experts on the others, and what goes between them in parts.
//!
//! # Decides
//! Which devices hold attention and which the experts, samples of a micro-batch on each of the former,
//! micro-batches, parts of the tokens of one on their way to the experts and back, and whether what all
//! tokens visit follows each micro-batch's attention or that of all.
//!
//! # Idea
//! Every number of devices for attention, every size of micro-batches that memory and the samples of a step
//! allow, and every number of parts is scored by what all layers take, followed through one micro-batch
//! after the other, in the order of what can be gained at most: what has no more than was found is passed
//! over.
//!
//! # Paper
//! FinDEP, arXiv:2512.21487, sections 3 and 4, which takes groups as given, scores by a closed form that
//! counts parts twice, and solves for parts as a convex problem.
//!
//! # Guarantee
//! The most samples per second of all that is looked at, to 0.01 %; a bound on samples per second whatever the order
//! and the parts are. Never below `ping-pong` and `naive`.
//!
//! # Complexity
//! O(devices x sizes x parts x layers x micro-batches) at worst; a few sizes are left after the bound.
//!
//! # Limits
//! Equal devices on equal hosts. Up to 64 micro-batches, 64 parts, and 1024 of both together; of sizes beyond
//! 64 eight of each power of two, and those that fill memory with a whole number of micro-batches: the bound
//! is over these. Of activations the input of a layer is counted, of all tokens of a step.
//!
//! # Example
//! Attention 2 ms, shared experts 1, a part 1 each way and 2 at its experts: two micro-batches in two parts
//! go through two layers in 20 ms.

#[cfg(test)]
mod laws;
pub mod published;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cost_model::streams::groups::{Cut, Groups, Line, Prices, Split, Turns, bound_s, seconds};

use crate::run::Control;

/// What is minimised: seconds of as many samples as a step may have, at the rate of its own.
pub const OBJECTIVE: &str = "batch-time";

/// Most micro-batches.
pub const MOST_MICRO_BATCHES: u32 = 64;
/// Most parts of one.
pub const MOST_PARTS: u32 = 64;
/// Most of both together.
pub const MOST_PIECES: u32 = 1024;

/// What can take no less than this share of what was found is passed over.
const NEAR: f64 = 1.0 - 1e-4;

/// What is planned.
#[derive(Clone)]
pub struct Problem {
    /// Prices and memory.
    pub prices: Arc<dyn Prices + Send + Sync>,
    /// Devices of both groups together.
    pub devices: u32,
    /// Most samples of a step.
    pub samples: u64,
    /// Groups that can't be others.
    pub groups: Option<Groups>,
    /// Ends the search with what was found.
    pub control: Arc<Control>,
}

/// How a step is shared out, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// Decisions.
    pub split: Split,
    /// Seconds of the step.
    pub seconds: f64,
}

impl Planned {
    /// Seconds of a step over its samples.
    #[must_use]
    pub fn sample_s(&self) -> f64 {
        self.seconds / self.split.of_step().max(1) as f64
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// One part, in the order ASAS.
    Whole,
    /// One part, one micro-batch, as large as it can be.
    Largest,
}

/// The best split; `None` where memory or samples allow none.
#[must_use]
pub fn solve(problem: &Problem) -> Option<Planned> {
    search(problem, Scope::All)
}

/// The best split of what is looked at.
#[must_use]
pub fn search(problem: &Problem, scope: Scope) -> Option<Planned> {
    let known = Known::new(problem);
    let mut all: Vec<Size> = known.groups().flat_map(|groups| known.sizes(groups, scope)).collect();
    all.sort_by(|a, b| a.least_s.total_cmp(&b.least_s));
    // What a narrower scope finds is where a wider one begins, so that it has no less.
    let narrower = match scope {
        Scope::All => search(problem, Scope::Whole),
        Scope::Whole => search(problem, Scope::Largest),
        Scope::Largest => None,
    };
    let mut best = narrower.map(|planned| (planned.split, planned.sample_s()));
    for size in all {
        if best.is_some() && problem.control.stop().is_some() {
            break;
        }
        let few = if scope == Scope::Largest { size.split.cut.micro_batches } else { 1 };
        for micro_batches in (few..=size.split.cut.micro_batches).rev() {
            let cut = Cut { micro_batches, ..size.split.cut };
            let split = Split { cut, ..size.split };
            if best.is_some_and(|(_, found)| known.least_s(&split) >= found * NEAR) {
                break;
            }
            best = known.best(&split, scope, best);
        }
    }
    let (split, _) = best?;
    let seconds = seconds(&split.times(&known), &split.cut);
    Some(Planned { split, seconds })
}

/// Seconds of a step over its samples that none of the sizes is below, whatever parts and orders are;
/// infinite where there is none.
#[must_use]
pub fn least_s(problem: &Problem) -> f64 {
    let known = Known::new(problem);
    let all = known.groups().flat_map(|groups| known.sizes(groups, Scope::All));
    all.map(|size| size.least_s).fold(f64::INFINITY, f64::min)
}

/// Sizes of micro-batches that are looked at where a device holds so many samples: all up to 64, eight
/// of each power of two above, and what fills it with a whole number of micro-batches.
fn sizes(most: u64) -> Vec<u64> {
    let few = most.min(MOST_MICRO_BATCHES.into());
    let even = (MOST_MICRO_BATCHES.ilog2()..most.max(1).ilog2() + 1)
        .flat_map(|power| (8..16).map(move |n| n << (power - 3)));
    let mut all: Vec<u64> = (1..=few).chain((1..=few).map(|n| most / n)).chain(even).collect();
    all.retain(|n| *n <= most);
    all.sort_unstable();
    all.dedup();
    all
}

/// As many micro-batches of a size as there can be, whole.
struct Size {
    split: Split,
    /// Seconds of a step over its samples that no parts and orders are below.
    least_s: f64,
}

/// Exchange and experts, where layers have any.
type Lines = Option<[Line; 2]>;

/// Prices that are asked for once.
struct Known<'p> {
    problem: &'p Problem,
    attention: RefCell<HashMap<(usize, u64), [f64; 2]>>,
    experts: RefCell<HashMap<(usize, Groups), Lines>>,
}

impl Prices for Known<'_> {
    fn layers(&self) -> &[(u32, usize)] {
        self.problem.prices.layers()
    }

    fn tokens(&self) -> u64 {
        self.problem.prices.tokens()
    }

    fn attention_s(&self, kind: usize, samples: u64) -> [f64; 2] {
        let price = || self.problem.prices.attention_s(kind, samples);
        *self.attention.borrow_mut().entry((kind, samples)).or_insert_with(price)
    }

    fn experts(&self, kind: usize, groups: Groups) -> Lines {
        let price = || self.problem.prices.experts(kind, groups);
        *self.experts.borrow_mut().entry((kind, groups)).or_insert_with(price)
    }

    fn most_samples(&self, groups: Groups) -> u64 {
        self.problem.prices.most_samples(groups)
    }
}

impl<'p> Known<'p> {
    fn new(problem: &'p Problem) -> Self {
        Self { problem, attention: RefCell::default(), experts: RefCell::default() }
    }

    /// Groups that are looked at.
    fn groups(&self) -> impl Iterator<Item = Groups> + '_ {
        let Problem { devices, groups, .. } = self.problem;
        let every = (1..*devices).map(move |attention| [attention, devices - attention]);
        every.filter(move |pair| groups.is_none_or(|groups| groups == *pair))
    }

    /// Sizes on given groups.
    fn sizes(&self, groups: Groups, scope: Scope) -> Vec<Size> {
        let most = self.most_samples(groups).min(self.problem.samples / u64::from(groups[0]));
        let all = match scope {
            _ if most == 0 => Vec::new(),
            Scope::Largest => vec![most],
            Scope::All | Scope::Whole => sizes(most),
        };
        let of = |samples: u64| {
            let micro_batches = match scope {
                Scope::Largest => 1,
                Scope::All | Scope::Whole => (most / samples).min(MOST_MICRO_BATCHES.into()) as u32,
            };
            let cut = Cut { micro_batches, parts: 1, turns: Turns::Asas };
            let split = Split { groups, samples, cut };
            Size { split, least_s: self.least_s(&split) }
        };
        all.into_iter().map(of).collect()
    }

    /// Seconds of a step over its samples that no parts and orders are below: parts have start-ups, and more
    /// of them take no less.
    fn least_s(&self, split: &Split) -> f64 {
        let tokens = split.tokens(self);
        let (mut all, mut way_s) = ([0.0; 3], 0.0);
        for (n, kind) in self.layers() {
            let n = f64::from(*n);
            let [attention_s, shared_s] = self.attention_s(*kind, split.samples);
            let [exchange, experts] = self.experts(*kind, split.groups).unwrap_or_default();
            let [exchange_s, experts_s] = [exchange, experts].map(|line| line.of(tokens));
            let sums = [attention_s + shared_s, exchange_s, experts_s];
            all.iter_mut().zip(sums).for_each(|(all, seconds)| *all += n * seconds);
            let (c, e) = (exchange.of(0), experts.of(0));
            let there_and_back = (experts_s + 2.0 * c).max(exchange_s + c + e);
            way_s += n * (attention_s + shared_s.max(there_and_back));
        }
        let busiest_s = all.into_iter().fold(0.0, f64::max) * f64::from(split.cut.micro_batches);
        busiest_s.max(way_s) / split.of_step().max(1) as f64
    }

    /// The best number of parts and order, if it is better than what was found.
    fn best(
        &self,
        whole: &Split,
        scope: Scope,
        mut best: Option<(Split, f64)>,
    ) -> Option<(Split, f64)> {
        let n = whole.of_step() as f64;
        let most = match scope {
            Scope::All => {
                let parts = MOST_PARTS.min(MOST_PIECES / whole.cut.micro_batches.max(1));
                u64::from(parts).min(whole.tokens(self)) as u32
            }
            Scope::Whole | Scope::Largest => 1,
        };
        for parts in 1..=most {
            let split = Split { cut: Cut { parts, ..whole.cut }, ..*whole };
            let layers = split.times(self);
            if best.is_some_and(|(_, found)| bound_s(&layers, &split.cut) / n >= found * NEAR) {
                continue;
            }
            let has_shared = layers.iter().any(|(_, times)| times.shared_s > 0.0);
            for turns in Turns::ALL {
                if turns == Turns::Aass && (!has_shared || scope != Scope::All) {
                    continue;
                }
                let split = Split { cut: Cut { turns, ..split.cut }, ..split };
                let sample_s = seconds(&layers, &split.cut) / n;
                if best.is_none_or(|(_, found)| sample_s < found) {
                    best = Some((split, sample_s));
                }
            }
        }
        best
    }
}
