//! Laws of the search: pruned = everything tried, nothing exceeds a limit, more never hurts.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::{judge_plan, over_limit};
use cost_model::runs::measured::LayerPricing;
use cost_model::runs::measured::priced::Priced;
use cost_model::runs::oracle;
use ir::card::{
    BlockGroup, FeedForward, Head, ModelCard, SequenceParallel, TransformerCard, ZeroStage,
};
use ir::layers::{BatchPoint, EndMemory, Hosts, LayerProfile, LinkRates, Ranks};
use ir::measured::CollectiveOperation;
use ir::profile::SizePoint;
use ir::units::{Bytes, BytesPerSecond, Seconds};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::min_memory::least;
use super::shapes::{n_sharing, shapes};
use super::table::{Candidate, Chosen};
use super::{Options, judged, solve};
use crate::run::{Control, Limits, StopReason};
use crate::training::schedule::one_f_one_b;
use crate::training::search_3d::Pruning;
use crate::training::search_3d::space::{Pins, RecomputeRule, Space};

fn model(n_blocks: u32) -> ModelCard {
    let card = TransformerCard {
        name: "small".into(),
        n_layers: n_blocks,
        hidden: 256,
        n_heads: 8,
        n_kv_heads: 8,
        feed_forward: 1024,
        form: FeedForward::Plain,
        sequence: 128,
        vocabulary: 1000,
        experts: None,
        attention: Default::default(),
        head: Head::Separate,
    };
    ModelCard {
        name: "small".into(),
        groups: vec![BlockGroup::of_card(card, n_blocks)],
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

/// A profile of random figures, those of a real one in their proportions.
fn profile(random: &mut SmallRng) -> LayerProfile {
    let seconds = |ms: f64| Seconds::new(ms / 1e3).unwrap();
    let mut time = 0.0;
    let mut points = |random: &mut SmallRng, each: f64| -> Vec<BatchPoint> {
        time = random.random_range(0.0..each);
        let batches = [1, 2, 3, 4, 6, 8];
        batches
            .map(|samples| {
                time += each * random.random_range(0.5..1.5);
                BatchPoint { samples, time: seconds(time) }
            })
            .to_vec()
    };
    let (block, ends) = (points(random, 4.0), points(random, 3.0));
    let mebibytes = |n: f64| Bytes((n * 1_048_576.0) as u64);
    let by = |random: &mut SmallRng, of: f64| -> BTreeMap<u32, Bytes> {
        [1, 2, 4, 8]
            .map(|t| (t, mebibytes(of / f64::from(t) * random.random_range(0.8..1.2))))
            .into()
    };
    let end = |random: &mut SmallRng| EndMemory {
        states: by(random, 900.0),
        activation: by(random, 200.0),
    };
    let rate = |random: &mut SmallRng, of: f64| {
        BytesPerSecond::new(of * random.random_range(0.3..3.0) * 1e9).unwrap()
    };
    let mut links = LinkRates::default();
    for n in [2_u32, 4, 8] {
        for place in [Ranks::Neighbours, Ranks::Apart] {
            links.all_reduce.insert((n, place), rate(random, 60.0));
        }
        links.next.insert(n, rate(random, 60.0));
        for kind in [CollectiveOperation::AllReduce, CollectiveOperation::AllToAll] {
            let points = [1_u64, 8, 64].map(|size| SizePoint {
                bytes: Bytes(size << 20),
                time: seconds(0.05 * size as f64 * random.random_range(0.5..1.0)),
            });
            links.sized.insert((kind, n), points.to_vec());
        }
    }
    let (first_end, last_end) = (end(random), end(random));
    LayerProfile {
        name: "random".into(),
        sequence: 128,
        block,
        ends,
        block_weights: mebibytes(random.random_range(100.0..600.0)),
        block_activation: by(random, 400.0),
        block_input: mebibytes(random.random_range(5.0..40.0)),
        split: SequenceParallel::On,
        both_ends: end(random),
        first_end,
        last_end,
        slow_down: random.random_range(1.0..1.4),
        links: [(Hosts { n_hosts: 1, per_host: 8 }, links)].into(),
    }
}

fn pricing<'a>(
    profile: &'a LayerProfile,
    model: &'a ModelCard,
    limit: Option<Bytes>,
) -> LayerPricing<'a> {
    LayerPricing { profile, model, per_host: 8, limit, host_memory: &[], offload: Offload::Nothing }
}

/// The best step of everything in the space, cut by cut and block by block, without any bound or
/// rule of dominance.
fn tried(pricing: &LayerPricing<'_>, space: &Space) -> Option<u64> {
    let mut best: Option<u64> = None;
    for degrees in shapes(pricing, space) {
        let Ok(priced) = Priced::new(pricing, &degrees) else { continue };
        let p = degrees.pipeline;
        let grid = one_f_one_b::grid(p, degrees.n_micro_batches as u32).unwrap();
        let gathers = n_sharing(&degrees) > 1;
        let mut stages: Vec<Vec<Chosen>> = vec![Vec::new()];
        for stage in 0..p {
            let candidate = Candidate::new(&priced, &space.pins, p, stage);
            let mut longer = Vec::new();
            for begun in stages {
                let open =
                    pricing.n_blocks() - begun.iter().map(|chosen| chosen.blocks).sum::<u32>();
                let last = stage + 1 == p;
                for blocks in 1..=open {
                    if last && blocks != open {
                        continue;
                    }
                    for recomputed in 0..=blocks {
                        for fully_sharded in 0..=if gathers { blocks } else { 0 } {
                            let mut begun = begun.clone();
                            begun.push(candidate.chosen(blocks, recomputed, fully_sharded));
                            longer.push(begun);
                        }
                    }
                }
            }
            stages = longer;
        }
        for stages in stages {
            if let Some(judged) = judged(&priced, &grid, &stages) {
                best = Some(best.map_or(judged.step.0, |best| best.min(judged.step.0)));
            }
        }
    }
    best
}

fn space(devices: u32, global_batch: u64) -> Space {
    Space { devices: vec![devices], global_batch, pins: Pins::default() }
}

#[test]
fn the_pruned_search_finds_the_best_of_everything() {
    let mut n_feasible = 0;
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        let profile = profile(&mut random);
        let model = model(random.random_range(2..=4));
        let devices = [2, 4][random.random_range(0..2)];
        let space = space(devices, 4);
        let free = pricing(&profile, &model, None);
        let smallest = least(&free, &space).unwrap().most().0;
        // From nothing fits to everything does.
        let limit = Bytes((smallest as f64 * random.random_range(0.95..2.0)) as u64);
        let limited = pricing(&profile, &model, Some(limit));
        let found = solve(&limited, &space, &Options::default()).unwrap();
        assert_eq!(found.stop, StopReason::Finished);
        let step = found.best.as_ref().map(|best| best.step.0);
        assert_eq!(step, tried(&limited, &space), "seed {seed}");
        let all = Options { pruning: Pruning::Off, most_replays: u64::MAX, ..Options::default() };
        let unpruned = solve(&limited, &space, &all).unwrap();
        assert_eq!(step, unpruned.best.map(|best| best.step.0), "seed {seed}");
        n_feasible += usize::from(step.is_some());
        assert_eq!(step.is_some(), smallest <= limit.0, "seed {seed}");
    }
    assert!((30..60).contains(&n_feasible), "{n_feasible} of 60 have a plan");
}

/// What a node budget, a gap or too few replays leave open is under the bound.
#[test]
fn a_stopped_search_keeps_its_bound() {
    let mut stops = Vec::new();
    for seed in 0..30 {
        let mut random = SmallRng::seed_from_u64(seed);
        let profile = profile(&mut random);
        let model = model(random.random_range(8..=16));
        let space = space(8, 16);
        let smallest = least(&pricing(&profile, &model, None), &space).unwrap().most().0;
        let limited = pricing(&profile, &model, Some(Bytes(smallest * 5 / 4)));
        let optimum = solve(&limited, &space, &Options::default()).unwrap().best.unwrap().step;
        for (nodes, gap, most_replays) in
            [(Some(2), 0.0, 20_000), (None, 0.5, 20_000), (None, 0.0, 1)]
        {
            let control = Arc::new(Control::new(&Limits { nodes, gap, ..Limits::default() }));
            let options = Options { control, most_replays, ..Options::default() };
            let found = solve(&limited, &space, &options).unwrap();
            assert!(found.bound <= optimum, "seed {seed}: {:?}", found.stop);
            let step = found.best.map_or(f64::INFINITY, |best| best.step.as_f64());
            let most = found.bound.as_f64() * (1.0 + gap);
            assert!(found.stop != StopReason::GapReached || step <= most, "seed {seed}");
            assert!(!found.stop.is_complete() || step <= optimum.as_f64(), "seed {seed}");
            stops.push((nodes.is_some(), found.stop));
        }
    }
    let met = [
        (true, StopReason::NodeBudget),
        (false, StopReason::GapReached),
        // Out of replays.
        (false, StopReason::NodeBudget),
    ];
    for stop in met {
        assert!(stops.contains(&stop), "{stop:?} was not tried");
    }
}

#[test]
fn a_plan_replays_to_its_step_within_its_limit_and_keeps_every_block() {
    for seed in 100..140 {
        let mut random = SmallRng::seed_from_u64(seed);
        let profile = profile(&mut random);
        let model = model(random.random_range(5..=16));
        let space = space(8, 16);
        let smallest = least(&pricing(&profile, &model, None), &space).unwrap().most().0;
        let mut slower = u64::MAX;
        for share in [1.0, 1.1, 1.3, 1.7, 3.0] {
            let limit = Bytes((smallest as f64 * share) as u64);
            let limited = pricing(&profile, &model, Some(limit));
            let best = solve(&limited, &space, &Options::default()).unwrap().best.unwrap();
            let plan = best.plan().unwrap();
            let lowered = oracle::costs(&limited, &plan).unwrap();
            let report = judge_plan(&lowered, &plan).unwrap().report;
            assert_eq!(report.step_time, best.step);
            assert!(over_limit(&report).is_none() && best.peak <= limit.0);
            let n_blocks: u32 = best.stages.iter().map(|stage| stage.blocks).sum();
            assert_eq!(n_blocks, model.n_blocks());
            assert!(best.step.0 <= slower, "more memory made seed {seed} slower");
            slower = best.step.0;
        }
    }
}

#[test]
fn pins_are_kept_and_never_help() {
    let mut random = SmallRng::seed_from_u64(7);
    let profile = profile(&mut random);
    let model = model(12);
    let free = space(8, 16);
    let smallest = least(&pricing(&profile, &model, None), &free).unwrap().most().0;
    let limited = pricing(&profile, &model, Some(Bytes(smallest * 3 / 2)));
    let best = solve(&limited, &free, &Options::default()).unwrap().best.unwrap();
    let pins = [
        Pins { pipeline: Some(2), ..Pins::default() },
        Pins { tensor: Some(2), sequence: Some(SequenceParallel::Ulysses), ..Pins::default() },
        Pins { zero: Some(ZeroStage::Parameters), ..Pins::default() },
        Pins { recompute: RecomputeRule::Full, micro_batch: Some(2), ..Pins::default() },
    ];
    for pins in pins {
        let pinned = Space { pins: pins.clone(), ..free.clone() };
        let found = solve(&limited, &pinned, &Options::default()).unwrap();
        let Some(plan) = found.best else { continue };
        assert!(plan.step >= best.step);
        let d = &plan.degrees;
        assert!(pins.pipeline.is_none_or(|pin| pin == d.pipeline));
        assert!(pins.tensor.is_none_or(|pin| pin == d.tensor));
        assert!(pins.sequence.is_none_or(|pin| pin == d.sequence));
        assert!(pins.micro_batch.is_none_or(|pin| pin == d.micro_batch));
        for stage in &plan.stages {
            assert!(pins.zero.is_none() || stage.fully_sharded == stage.blocks);
            assert!(pins.recompute != RecomputeRule::Full || stage.recomputed == stage.blocks);
        }
    }
    // Grids that are too large are left out, and counted.
    let large = Space { global_batch: 1 << 24, ..free.clone() };
    let single = Pins { micro_batch: Some(1), ..Pins::default() };
    let found = solve(&limited, &Space { pins: single, ..large }, &Options::default()).unwrap();
    assert!(found.best.is_none() && found.counts.n_too_large == found.counts.n_shapes);
    let context = Pins { context: Some(2), ..Pins::default() };
    let refused = solve(&limited, &Space { pins: context, ..free }, &Options::default());
    assert_eq!(refused.unwrap_err().code, "bad-pin");
}
