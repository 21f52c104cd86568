//! The rule chooses what comparing all plans of a space chooses, and never goes further than it may.

use std::sync::Arc;

use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use ir::card::ZeroStage;
use ir::units::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::judge::{Judged, judged};
use super::super::laws::{model, on_threads, pick, space, stacks, system};
use super::super::space::{Configuration, Space, leaves};
use super::super::{Cuts, Options, bounded, fit, min_memory, solve};
use super::*;
use crate::run::Limits;
use crate::training::order::in_flight;

/// Upper ends of peaks by ZeRO stage.
const HIGHS: [f64; 4] = [1.05, 1.05, 1.1, 1.1];

fn unjudged(configuration: &Configuration) -> Vec<String> {
    let terms = [
        (configuration.degrees.zero >= ZeroStage::Gradients, "sharding"),
        (configuration.degrees.context > 1, "context"),
        (!configuration.order.is_whole(), "order"),
    ];
    terms.into_iter().filter(|(is, _)| *is).map(|(_, term)| term.to_owned()).collect()
}

/// Every plan of a space whose stages are cut by the rule, at as much less memory as peaks may be larger.
fn all(pricing: &Pricing<'_>, space: &Space, highs: &[f64; 4]) -> Vec<Judged> {
    let mut plans = Vec::new();
    for bounded in bounded(pricing, space, &Options::default()) {
        for configuration in leaves(&bounded.shape, space, pricing).0 {
            let high = highs[configuration.degrees.zero as usize];
            let limit = pricing.limit.map(|limit| Bytes((limit.as_f64() / high) as u64));
            let pricing = Pricing { limit, ..*pricing };
            let priced = configuration.priced(pricing, Arc::clone(&bounded.passes));
            let d = &configuration.degrees;
            let in_flight = in_flight(configuration.order, d, d.n_micro_batches as u32).unwrap();
            let limit = limit.map_or(f64::INFINITY, |limit| limit.as_f64());
            let fitter = fit::Fitter::new(&priced, &configuration, &in_flight, limit);
            let fitted = fitter.fit();
            plans.extend(fitted.and_then(|fitted| judged(&priced, &configuration, fitted).ok()));
        }
    }
    plans
}

/// The first of some plans that are wanted, by ranks, then time.
fn first(
    plans: &[&[Judged]],
    wants: impl Fn(&Judged) -> bool,
    ranks: impl Fn(&Judged) -> Ranks,
) -> Option<Judged> {
    let wanted = plans.iter().flat_map(|list| list.iter()).filter(|plan| wants(plan));
    wanted.min_by_key(|plan| (ranks(plan), plan.step, plan.configuration.key())).cloned()
}

/// The rule, all plans compared.
fn compared(rule: &Rule<'_, '_>, space: &Space, known: &[Judged]) -> Judged {
    let fastest = &known[0];
    let [certain, whole] = [&HIGHS, &[1.0; 4]].map(|highs| all(rule.pricing, space, highs));
    let terms = |plan: &Judged| unjudged(&plan.configuration);
    let limit = slower(fastest.step, UNJUDGED);
    let is_certain = |plan: &Judged| rule.ranks(plan)[0] == 0;
    let without = |plan: &Judged| {
        let fewer = terms(plan).len() < terms(fastest).len();
        let is_slower = (fastest.step..=limit).contains(&plan.step);
        fewer && is_within(&terms(plan), &terms(fastest)) && is_slower
    };
    let n_terms = |plan: &Judged| {
        let mut ranks = Ranks::default();
        ranks[0] = terms(plan).len() as u64;
        ranks
    };
    let from = if is_certain(fastest) { &certain } else { &whole };
    let judged = first(&[known, from], without, n_terms);
    let judged = judged.filter(|plan| is_certain(plan) || !is_certain(fastest));
    let judged = judged.unwrap_or_else(|| fastest.clone());
    let most = slower(judged.step, EQUAL).min(limit);
    let equal = |plan: &Judged| {
        (fastest.step..=most).contains(&plan.step) && is_within(&terms(plan), &terms(&judged))
    };
    let sure = first(&[known, &certain], equal, |plan| rule.ranks(plan)).filter(is_certain);
    sure.or_else(|| first(&[known, &whole], equal, |plan| rule.ranks(plan))).unwrap()
}

#[test]
fn the_rule_chooses_what_comparing_all_plans_chooses() {
    let (mut n_simpler, mut n_judged) = (0, 0);
    for seed in 0..2_000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(pick(&mut random, &[1, 2, 4]));
        let stack = stacks()[seed as usize % 6].clone();
        let constants = Constants::nominal(&stack);
        let space = space(&mut random);
        let mut pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        if random.random_bool(0.6) {
            let Some(least) = min_memory::least(&pricing, &space, &Options::default()) else {
                continue;
            };
            let factor = random.random_range(0.95..2.0);
            pricing.limit = Some(Bytes((least.bytes() as f64 * factor) as u64));
        }
        let options = Options { cuts: Cuts::Ruled, ..on_threads(1) };
        let found = solve(&pricing, &space, &options).plans;
        let Some(fastest) = found.first() else { continue };
        let evidence = Evidence { unjudged: &unjudged, peak_high: HIGHS };
        let rule = Rule::of((&pricing, &space), &evidence);
        let choice = choose((&pricing, &space), &found, (&evidence, &options));
        let chosen = choice.simpler().map_or(fastest, |recommended| &recommended.plan);
        let expected = compared(&rule, &space, &found);
        // Of plans that differ in no criterion the fastest known one stays.
        let outline = |plan: &Judged| {
            let configuration = choice.simpler().map(|_| plan.configuration.clone());
            (plan.step, rule.ranks(plan), configuration)
        };
        assert_eq!(outline(chosen), outline(&expected), "seed {seed}");
        assert_ne!(choice, Choice::Unknown, "seed {seed}");
        if let Some(simpler) = choice.simpler() {
            let share = chosen.step.seconds() / fastest.step.seconds() - 1.0;
            let most = if simpler.judged.is_empty() { EQUAL } else { UNJUDGED };
            assert!((0.0..=most + 1e-12).contains(&share), "seed {seed}: {share}");
            assert!(!simpler.judged.is_empty() || !simpler.simpler.is_empty(), "seed {seed}");
            n_simpler += 1;
            n_judged += usize::from(!simpler.judged.is_empty());
        }
    }
    assert!(n_simpler > 100 && n_judged > 20, "{n_simpler} {n_judged}");
}

/// What is chosen depends on no number of threads, and is unknown where the search has to stop.
#[test]
fn threads_change_nothing_and_a_stop_is_said() {
    for seed in 0..100 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(2);
        let stack = stacks()[seed as usize % 6].clone();
        let constants = Constants::nominal(&stack);
        let space = space(&mut random);
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let evidence = Evidence { unjudged: &unjudged, peak_high: HIGHS };
        let found = solve(&pricing, &space, &on_threads(1)).plans;
        let chosen = |n| choose((&pricing, &space), &found, (&evidence, &on_threads(n)));
        assert_eq!(chosen(1), chosen(3), "seed {seed}");
        if !found.is_empty() {
            let none = Options::within(&Limits { nodes: Some(0), ..Limits::default() });
            let stopped = choose((&pricing, &space), &found, (&evidence, &none));
            assert_eq!(stopped, Choice::Unknown, "seed {seed}");
        }
    }
}
