//! Experts that lie in the memory of the host, and as many of them as fit in slots of devices.
//!
//! # Decides
//! The slots of each layer, what they hold before the first step, and the order in which the other
//! experts are fetched ahead.
//!
//! # Idea
//! A layer has at least as many slots as a token visits experts; each further slot of a device goes to
//! the layer where one more expert would be needed in most steps, or all layers have as many where fewer
//! are missed then. What lies in slots follows a policy
//! ([`cost_model::experts::cache`]): with predictions, experts are fetched ahead of the step that is
//! predicted to need them, in the place of those that are predicted to be needed last. A prediction is
//! made when an expert is used, and mistaken by a factor `exp(noise x)`, `x` normal. LRU is run beside on
//! what was needed so far, and departed from where predictions are further apart than their mistakes, or
//! where misses saved so far pay for it. Tokens of several steps of a trace may change places
//! ([`regroup`]): a step takes those that add fewest experts to it, where all then miss fewer.
//!
//! # Paper
//! He et al., "ExpertFlow: Efficient Mixture-of-Experts Inference via Predictive Expert Caching and Token
//! Scheduling", DAC 2026; Belady, IBM Systems Journal 5(2), 1966.
//!
//! # Guarantee
//! In the slots that a layer has, `clairvoyant` misses no more often than any other policy, on any trace,
//! and `predicted` with exact predictions as often. With mistaken ones it misses no more often than `lru`
//! as long as none is off by more than two and a half deviations.
//!
//! # Complexity
//! O(needs x log(experts)) for a layer on a device.
//!
//! # Limits
//! An expert has one device, and each device fetches its own. Slots of a layer hold its own experts alone.
//!
//! # Example
//! Steps that need 0, 1, 0, 2, 1, 0 in two slots that begin empty: `lru` misses five times, `lfu` four,
//! `clairvoyant` without prefetching four, and with it none.

pub mod regroup;
mod slots;

use std::f64::consts::TAU;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cost_model::experts::cache::{Fetches, Mistakes, Needs, Outcome, Policy, Start, run};
use ir::diagnostic::Diagnostic;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub use slots::{equal, homes, least, share_out};

use crate::run::Control;
use crate::run::algorithm::{Guarantee, OptionRow, Options, bad_option};

/// What is minimised.
pub const OBJECTIVE: &str = "expert-misses";

const POLICY: OptionRow = OptionRow {
    name: "policy",
    unit: "predicted|clairvoyant|lru|lfu",
    default: "predicted",
    summary: "what is lost first: what is predicted to be used last, what is used last, what was used \
              longest ago, what was used least often",
};
const SLOTS: OptionRow = OptionRow {
    name: "slots",
    unit: "experts of all layers on a device; 0 = as many as its memory holds",
    default: "0",
    summary: "more slots make fewer misses",
};
const LAYERS: OptionRow = OptionRow {
    name: "layers",
    unit: "shared|whole",
    default: "shared",
    summary: "whether slots go where experts are needed most, or to whole layers, the last ones first",
};
const PREFETCH: OptionRow = OptionRow {
    name: "prefetch",
    unit: "yes|no",
    default: "yes",
    summary: "whether experts are fetched before they are needed, where a policy knows when that is",
};
const NOISE: OptionRow = OptionRow {
    name: "noise",
    unit: "deviation of the logarithm of predicted steps; 0 = exact",
    default: "0",
    summary: "how far predictions are off",
};
const START: OptionRow = OptionRow {
    name: "start",
    unit: "full|empty",
    default: "full",
    summary: "whether slots hold experts before the first step",
};
/// Steps that are drawn.
pub const STEPS: OptionRow = OptionRow {
    name: "steps",
    unit: "steps that are drawn where no trace is given",
    default: "64",
    summary: "more steps make figures steadier",
};

/// Steps whose tokens change places.
pub const REGROUP: OptionRow = OptionRow {
    name: "regroup",
    unit: "steps of a trace whose tokens may change places; 1 = none do",
    default: "1",
    summary: "tokens that visit the same experts run in one step, where that misses fewer: for batches \
              of samples that do not wait for each other",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[POLICY, SLOTS, LAYERS, PREFETCH, NOISE, START, STEPS, REGROUP];

/// Greatest deviation of predictions.
const MOST_NOISE: f64 = 10.0;
/// Most steps that are drawn.
const MOST_STEPS: u64 = 1 << 12;

/// How experts are held and fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choices {
    /// What is lost first.
    pub policy: Policy,
    /// Deviation of the logarithm of predicted steps.
    pub noise: f64,
    /// What slots hold at first.
    pub start: Start,
    /// Slots of a device, all layers together, where they are stated.
    pub slots: Option<usize>,
    /// Whether slots go to whole layers.
    pub whole: bool,
    /// Steps that are drawn where no trace is given.
    pub steps: usize,
    /// Steps of a trace whose tokens may change places.
    pub regroup: usize,
}

impl Choices {
    /// As a recipe states them.
    ///
    /// # Errors
    /// `bad-option`, also for noise and prefetching where a policy predicts nothing.
    pub fn of(options: &Options) -> Result<Self, Diagnostic> {
        let prefetches = options.word(&PREFETCH)? == "yes";
        let word = options.word(&POLICY)?;
        let noise = options.real(&NOISE)?;
        let is_sound = (0.0..=MOST_NOISE).contains(&noise) && (noise == 0.0 || word == "predicted");
        if !is_sound {
            return Err(bad_option(&NOISE, options.text(&NOISE)));
        }
        let policy = match word {
            "lru" => Policy::LeastRecent,
            "lfu" => Policy::LeastFrequent,
            _ => Policy::NextUse { prefetches },
        };
        let is_stated = options.given().contains_key(PREFETCH.name);
        if is_stated && prefetches && !matches!(policy, Policy::NextUse { .. }) {
            return Err(bad_option(&PREFETCH, "yes").fact("policy", word));
        }
        let steps = options.count(&STEPS)?;
        if !(1..=MOST_STEPS).contains(&steps) {
            return Err(bad_option(&STEPS, options.text(&STEPS)));
        }
        let regroup = options.count(&REGROUP)?;
        if !(1..=regroup::MOST_TOKENS as u64).contains(&regroup) {
            return Err(bad_option(&REGROUP, options.text(&REGROUP)));
        }
        let slots = usize::try_from(options.count(&SLOTS)?).unwrap_or(usize::MAX);
        Ok(Self {
            policy,
            noise,
            start: if options.word(&START)? == "full" { Start::Full } else { Start::Empty },
            slots: (slots > 0).then_some(slots),
            whole: options.word(&LAYERS)? == "whole",
            steps: steps as usize,
            regroup: regroup as usize,
        })
    }
}

/// Layers whose experts are needed step by step.
#[derive(Clone, Debug)]
pub struct Problem {
    /// By layer.
    pub needs: Vec<Needs>,
    /// Devices, each the home of as many experts.
    pub n_devices: usize,
    /// Slots of a device, all layers together.
    pub slots: usize,
    /// Experts that a token visits.
    pub per_token: usize,
    /// Of mistakes in predictions.
    pub seed: u64,
}

/// A layer in slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// Slots of each device.
    pub slots: usize,
    /// By device.
    pub devices: Vec<Outcome>,
    /// Experts that are not held at first, in the order in which they are needed first; none where
    /// nothing is fetched ahead.
    pub prefetch: Vec<u16>,
}

/// Holds layers in slots; `None` where it is told to stop.
pub type Solve = fn(&Problem, &Choices, &Control) -> Option<Vec<Held>>;

/// How a row holds experts in slots.
pub struct Cached(pub Solve, pub Guarantee);

/// Holds each layer in its slots: shared out by needs, or as many for each where that misses fewer, or as
/// many and fetches fewer.
pub fn solve(problem: &Problem, choices: &Choices, control: &Control) -> Option<Vec<Held>> {
    let slots = share_out(problem, choices.whole);
    let found = in_slots(problem, &slots, choices, control)?;
    let equal = equal(problem);
    if choices.whole || equal == slots {
        return Some(found);
    }
    let other = in_slots(problem, &equal, choices, control)?;
    Some(if fetched(&other) < fetched(&found) { other } else { found })
}

/// Misses, and what is fetched ahead.
fn fetched(layers: &[Held]) -> [u64; 2] {
    let all = || layers.iter().flat_map(|layer| &layer.devices).map(|outcome| &outcome.fetched);
    [all().map(Fetches::missed).sum(), all().map(Fetches::ahead).sum()]
}

/// Holds each layer in so many slots, several layers at once.
fn in_slots(
    problem: &Problem,
    slots: &[usize],
    choices: &Choices,
    control: &Control,
) -> Option<Vec<Held>> {
    let found: Vec<Mutex<Option<Held>>> = slots.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(slots), Some(cell)) = (slots.get(at), found.get(at)) else { return };
            if control.stop().is_some() {
                return;
            }
            let layer = held(problem, at, *slots, choices);
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(layer);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..control.threads().min(slots.len()) {
            // Where the system has no thread to give, this one does the work.
            drop(std::thread::Builder::new().spawn_scoped(scope, work));
        }
        work();
    });
    let inner =
        |cell: Mutex<Option<Held>>| cell.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().map(inner).collect()
}

fn held(problem: &Problem, layer: usize, slots: usize, choices: &Choices) -> Held {
    let Some(needs) = problem.needs.get(layer) else { return Held::default() };
    let homes = homes(needs.n_experts(), problem.n_devices);
    let devices: Vec<Outcome> = (0..problem.n_devices)
        .map(|device| {
            let seed = problem.seed ^ ((layer * problem.n_devices + device) as u64) << 32;
            let mut random = SmallRng::seed_from_u64(seed);
            let mistakes = Mistakes {
                deviation: choices.noise,
                draw: &mut || mistake(&mut random, choices.noise),
            };
            let local = match problem.n_devices {
                1 => None,
                _ => Some(needs.of(|expert| homes[usize::from(expert)] == device)),
            };
            let local = local.as_ref().unwrap_or(needs);
            let is_home = |expert: u16| homes[usize::from(expert)] == device;
            run(local, (slots, choices.start), choices.policy, &is_home, mistakes)
        })
        .collect();
    let prefetch = match choices.policy {
        Policy::NextUse { prefetches: true } => in_order(needs, &devices),
        _ => Vec::new(),
    };
    Held { slots, devices, prefetch }
}

/// Experts that no device holds at first, in the order in which they are needed.
fn in_order(needs: &Needs, devices: &[Outcome]) -> Vec<u16> {
    let mut is_known = vec![false; needs.n_experts()];
    for expert in devices.iter().flat_map(|outcome| &outcome.resident) {
        is_known[usize::from(*expert)] = true;
    }
    let mut order = Vec::new();
    needs.each(|_, step| {
        for expert in step {
            if !std::mem::replace(&mut is_known[usize::from(*expert)], true) {
                order.push(*expert);
            }
        }
    });
    order
}

/// `exp` of a normal number of a deviation (Box and Muller, Ann. Math. Statist. 29(2), 1958).
fn mistake(random: &mut SmallRng, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return 1.0;
    }
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    (deviation * radius * (TAU * random.random::<f64>()).cos()).exp()
}

/// Steps of layers whose experts are visited by shares: each expert is needed by a step of so many tokens
/// with the probability that one of them visits it, each expert by itself; at least as many as one token
/// visits, the most visited first.
#[must_use]
pub fn drawn(
    shares: &[Vec<f64>],
    (per_token, tokens): (usize, u64),
    (steps, seed): (usize, u64),
) -> Vec<Needs> {
    let of = |(layer, shares): (u64, &Vec<f64>)| {
        let mut random = SmallRng::seed_from_u64(seed ^ (layer << 32));
        let visited = |share: &f64| {
            let each = (share * per_token as f64).min(1.0);
            1.0 - (1.0 - each).powf(tokens as f64)
        };
        let chances: Vec<f64> = shares.iter().map(visited).collect();
        let mut often: Vec<u16> = (0..shares.len() as u16).collect();
        often.sort_by(|a, b| shares[usize::from(*b)].total_cmp(&shares[usize::from(*a)]));
        let mut needs = Needs::new(shares.len() as u16);
        for _ in 0..steps {
            let mut step: Vec<u16> = (0..shares.len() as u16)
                .filter(|expert| random.random::<f64>() < chances[usize::from(*expert)])
                .collect();
            let missing = per_token.saturating_sub(step.len());
            let others = often.iter().filter(|expert| !step.contains(expert)).take(missing);
            let others: Vec<u16> = others.copied().collect();
            step.extend(others);
            step.sort_unstable();
            needs.push(&step);
        }
        needs
    };
    (0..).zip(shares).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(options: &[(&str, &str)]) -> Result<Choices, Diagnostic> {
        let given = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Choices::of(&Options::new(given.collect()))
    }

    #[test]
    fn options_that_a_policy_has_no_use_for_are_refused() {
        for wrong in [
            &[("policy", "lru"), ("noise", "0.1")][..],
            &[("policy", "clairvoyant"), ("noise", "0.1")],
            &[("policy", "lfu"), ("prefetch", "yes")],
            &[("noise", "-1")],
            &[("noise", "11")],
            &[("steps", "0")],
            &[("steps", "4097")],
            &[("policy", "mru")],
        ] {
            assert_eq!(choices(wrong).unwrap_err().code, "bad-option", "{wrong:?}");
        }
        let parsed = choices(&[("policy", "lru"), ("prefetch", "no"), ("slots", "7")]).unwrap();
        assert_eq!((parsed.policy, parsed.slots), (Policy::LeastRecent, Some(7)));
    }

    fn misses(problem: &Problem, options: &[(&str, &str)]) -> u64 {
        let found = solve(problem, &choices(options).unwrap(), &Control::default()).unwrap();
        found.iter().flat_map(|layer| &layer.devices).map(|outcome| outcome.fetched.missed()).sum()
    }

    /// Layers of one law, cut over devices.
    fn problem(seed: u64) -> Problem {
        let n = 16 + 8 * (seed % 3) as usize;
        let power = 0.3 * (seed % 5) as f64;
        let weights: Vec<f64> = (1..=n).map(|i| (i as f64).powf(-power)).collect();
        let shares = cost_model::experts::shares(&weights).unwrap();
        let tokens = 1 + seed % 7;
        Problem {
            needs: drawn(&[shares.clone(), shares], (2, tokens), (60, seed)),
            n_devices: 1 + (seed % 2) as usize,
            slots: 8 + (seed % 20) as usize,
            per_token: 2,
            seed,
        }
    }

    #[test]
    fn no_policy_misses_less_than_clairvoyance_and_exact_predictions_are_it() {
        for seed in 0..150 {
            let problem = problem(seed);
            for prefetch in ["yes", "no"] {
                let best = misses(&problem, &[("policy", "clairvoyant"), ("prefetch", prefetch)]);
                assert_eq!(best, misses(&problem, &[("prefetch", prefetch)]), "{seed}");
                assert!(best <= misses(&problem, &[("policy", "lru")]), "{seed}");
                assert!(best <= misses(&problem, &[("policy", "lfu")]), "{seed}");
                for (noise, start) in [("0.1", "full"), ("0.5", "full"), ("0.5", "empty")] {
                    let start = ("start", start);
                    let lru = misses(&problem, &[("policy", "lru"), start]);
                    let exact = misses(&problem, &[("prefetch", prefetch), start]);
                    let noisy =
                        misses(&problem, &[("prefetch", prefetch), ("noise", noise), start]);
                    assert!((exact..=lru).contains(&noisy), "{seed} {start:?} {noise}");
                }
            }
        }
    }

    #[test]
    fn shared_slots_are_no_worse_than_equal_ones() {
        let mut n_worse = 0;
        for seed in 0..60 {
            // Layers of two laws, of as many experts.
            let needs = [seed, seed + 3].into_iter().flat_map(|seed| problem(seed).needs);
            let problem = Problem { needs: needs.collect(), slots: 14, ..problem(seed) };
            for options in
                [&[("policy", "lru")][..], &[("noise", "0.3")], &[("prefetch", "no")], &[]]
            {
                let options = choices(options).unwrap();
                let of = |slots: &[usize]| {
                    fetched(&in_slots(&problem, slots, &options, &Control::default()).unwrap())
                };
                let found = fetched(&solve(&problem, &options, &Control::default()).unwrap());
                assert!(found <= of(&equal(&problem)), "{seed} {options:?}");
                n_worse += u32::from(found < of(&share_out(&problem, false)));
            }
        }
        // To go by needs alone would not do.
        assert!(n_worse > 0);
    }

    #[test]
    fn with_room_for_each_step_nothing_is_missed_but_first_touches() {
        let problem = Problem { slots: 2 * 32, ..problem(3) };
        assert_eq!(misses(&problem, &[("start", "empty")]), 0);
        let firsts: usize = problem
            .needs
            .iter()
            .map(|needs| needs.counts().iter().filter(|n| **n > 0).count())
            .sum();
        assert_eq!(misses(&problem, &[("start", "empty"), ("prefetch", "no")]), firsts as u64);
        let found =
            solve(&problem, &choices(&[("start", "empty")]).unwrap(), &Control::default()).unwrap();
        assert!(
            found
                .iter()
                .all(|layer| layer.devices.iter().all(|outcome| outcome.resident.is_empty()))
        );
        let n: usize = found.iter().map(|layer| layer.prefetch.len()).sum();
        assert_eq!(n, firsts);
    }

    #[test]
    fn one_seed_is_one_plan() {
        let problem = problem(4);
        let options = choices(&[("noise", "0.3")]).unwrap();
        let again = || solve(&problem, &options, &Control::default()).unwrap();
        assert_eq!(again(), again());
        let other = Problem { seed: 5, ..problem.clone() };
        assert_ne!(again(), solve(&other, &options, &Control::default()).unwrap());
    }
}
