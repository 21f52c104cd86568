//! The search finds the best of all plans of its space, and its bound is below every one of them.

pub(super) mod enumerated;

use std::collections::BTreeMap;

use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::{fold, judge};
use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice, groups_of, in_flight};
use ir::card::{Attention, BlockGroup, FeedForward, Head, ModelCard, Recompute, TransformerCard};
use ir::cluster::{Channel, Check, Cluster, Device, DeviceKind, Links, Node, RouteKind};
use ir::id::{ChannelId, ClassId, DeviceId, KindId, NodeId};
use ir::plan::{Parallelism, Stage, StageMesh};
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::enumerated::enumerated;
use super::*;
use crate::training::order::Order;
use crate::training::search_3d::part_laws;

/// Kinds of devices: peak in TFLOPS, memory bandwidth in GB/s.
const KINDS: [(f64, f64); 4] = [(65.0, 320.0), (312.0, 1555.0), (125.0, 900.0), (989.0, 3350.0)];

fn kind(at: usize) -> DeviceKind {
    let (peak, bandwidth) = KINDS[at];
    DeviceKind {
        name: format!("kind{at}"),
        memory: None,
        memory_bandwidth: BytesPerSecond::new(bandwidth * 1e9),
        peak: BTreeMap::from([(DType::Bf16, FlopsPerSecond::new(peak * 1e12).unwrap())]),
        n_multiprocessors: Some(80),
        last_level_cache: None,
        clock: None,
        power: None,
        source: String::new(),
        check: Check::Given,
        ..DeviceKind::default()
    }
}

/// Nodes of so many devices of a kind, with a rate of their own inside; between the first half of them,
/// between the second one, and between both there are three rates.
pub(super) fn cluster(
    nodes: &[(usize, usize)],
    rates: [f64; 3],
    memory: [Option<Bytes>; 4],
) -> Cluster {
    let way = |rate: f64| RouteKind {
        name: String::new(),
        tier: 0,
        latency_ns: 5e3,
        bandwidth: BytesPerSecond::new(rate).unwrap(),
        source: String::new(),
        check: Check::Given,
    };
    let places = nodes.iter().enumerate();
    let of_node: Vec<usize> = places.flat_map(|(at, (n, _))| std::iter::repeat_n(at, *n)).collect();
    let n = of_node.len();
    let half = nodes.len().div_ceil(2);
    let pair = |a: usize, b: usize| match (of_node[a], of_node[b]) {
        (x, y) if x == y => 0,
        (x, y) if (x < half) == (y < half) => 1,
        _ => 2,
    };
    let device = |at: usize| Device {
        name: format!("gpu{at}"),
        kind: KindId::new(nodes[of_node[at]].1),
        class: ClassId::new(0),
        node: Some(NodeId::new(of_node[at])),
        capacity: memory[nodes[of_node[at]].1],
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    };
    let node = |at: usize| Node {
        name: format!("node{at}"),
        host_memory: None,
        n_cpu_cores: None,
        host_bandwidth: None,
        to_device: None,
    };
    Cluster {
        slots: Vec::new(),
        kinds: (0..KINDS.len()).map(kind).collect(),
        devices: (0..n).map(device).collect(),
        nodes: (0..nodes.len()).map(node).collect(),
        links: Links {
            kinds: rates.map(way).to_vec(),
            n_tiers: 1,
            channels: (0..n).map(|at| Channel { name: at.to_string() }).collect(),
            send: (0..n).map(ChannelId::new).collect(),
            receive: (0..n).map(ChannelId::new).collect(),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs: (0..n * n).map(|at| pair(at / n, at % n)).collect(),
        },
        ..Cluster::default()
    }
}

pub(super) fn model(hidden: u64, n_blocks: u32, sequence: u64, head: Head) -> ModelCard {
    let card = TransformerCard {
        name: "gpt".to_owned(),
        n_layers: n_blocks,
        hidden,
        n_heads: 4,
        n_kv_heads: 4,
        feed_forward: 4 * hidden,
        form: FeedForward::Plain,
        sequence,
        vocabulary: 2048,
        experts: None,
        attention: Attention::Even,
        head,
    };
    ModelCard {
        name: "gpt".to_owned(),
        groups: vec![BlockGroup::of_card(card, n_blocks)],
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

/// A case that is small enough to judge all of it.
pub(super) struct Case {
    pub(super) cluster: Cluster,
    pub(super) model: ModelCard,
    pub(super) global_batch: u64,
}

impl Case {
    fn of(random: &mut SmallRng) -> Self {
        let across = [12e9, 1e9][random.random_range(0..2)];
        Self::between(random, [200e9, 12e9, across])
    }

    /// On ways of these rates.
    pub(super) fn between(random: &mut SmallRng, rates: [f64; 3]) -> Self {
        let n_nodes = random.random_range(2..=4);
        let most = [3, 2, 1][n_nodes - 2];
        let mut node = || (random.random_range(1..=most), random.random_range(0..3));
        let nodes: Vec<(usize, usize)> = (0..n_nodes).map(|_| node()).collect();
        let hidden: u64 = [256, 1024][random.random_range(0..2)];
        let memory = match random.random_bool(0.5) {
            true => [None; 4],
            false => [1, 2, 3, 4].map(|n| {
                let all = (12 * hidden * hidden * 18) as f64 * random.random_range(0.5..3.0);
                Some(Bytes(all as u64 * n / 2))
            }),
        };
        let n_devices: usize = nodes.iter().map(|(n, _)| n).sum();
        let n_blocks = random.random_range(2..=if n_devices > 3 { 3 } else { 5 });
        let host = random.random_bool(0.2).then(|| Bytes(random.random_range(1..40) << 20));
        let head = [Head::Tied, Head::Separate][random.random_range(0..2)];
        let mut cluster = cluster(&nodes, rates, memory);
        cluster.nodes.iter_mut().for_each(|node| node.host_memory = host);
        Self {
            cluster,
            model: model(hidden, n_blocks, 512, head),
            global_batch: random.random_range(1..=4),
        }
    }

    /// Of blocks that differ: wider ones behind others, or parts of a graph.
    fn of_unlike_blocks(random: &mut SmallRng) -> Self {
        let Self { cluster, mut model, global_batch } = Self::of(random);
        if random.random_bool(0.3) {
            let mut wider = model.groups[0].clone();
            wider.card.feed_forward *= random.random_range(2..5);
            model.groups[0].n_blocks = 2;
            wider.n_blocks = random.random_range(1..3);
            model.groups.push(wider);
        } else {
            model = part_laws::model(random);
            model.groups.truncate(random.random_range(2..=4));
            for group in &mut model.groups {
                let part = group.part.as_mut().unwrap();
                part.tied.clear();
                part.fused.iter_mut().for_each(|fused| fused.tied.clear());
            }
        }
        Self { cluster, model, global_batch }
    }
}

#[test]
fn the_search_finds_the_best_of_all_plans() {
    let [n_plans, n_found, n_short] = best_of_all(300, Case::of);
    assert!(n_plans > 45_000 && n_found > 250 && n_short > 25, "{n_plans} {n_found} {n_short}");
}

#[test]
fn the_search_finds_the_best_of_all_plans_of_unlike_blocks() {
    let [n_plans, n_found, n_short] = best_of_all(600, Case::of_unlike_blocks);
    assert!(n_plans > 20_000 && n_found > 75 && n_short > 2, "{n_plans} {n_found} {n_short}");
}

/// How many plans there are, how many cases have some, and how many none.
fn best_of_all(n_cases: u64, case: impl Fn(&mut SmallRng) -> Case) -> [u64; 3] {
    let [mut n_plans, mut n_found, mut n_short, mut n_uneven] = [0; 4];
    let (stack, profile) = (megatron_core(), Profile::default());
    let constants = Constants::nominal(&stack);
    for seed in 0..n_cases {
        let Case { cluster, model, global_batch } = case(&mut SmallRng::seed_from_u64(seed));
        let groups = groups_of(&cluster, |limit| limit);
        let system = System::of(&cluster, &profile).unwrap();
        let base = Pricing::unlimited(&model, &system, &stack, &constants);
        let fleet =
            Fleet { base, cluster: &cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
        let may_offload = seed % 2 == 1;
        let options = Options { nodes: u64::MAX, may_offload, ..Options::default() };
        let found = solve(&fleet, global_batch, &options, &mut |_, _| {});
        assert_eq!(found.stop, StopReason::Finished);
        let mut all = enumerated(&fleet, (global_batch, 1));
        n_plans += all.n;
        if may_offload {
            let on_hosts = enumerated(&fleet.keeping(Offload::Optimizer), (global_batch, 1));
            n_plans += on_hosts.n;
            all.of_any = all.of_any.min(on_hosts.of_any);
            all.add(on_hosts.by_devices);
        }
        let best = all.by_devices;
        let step = |answer: &Found| answer.best.as_ref().map(|judged| judged.step.0);
        assert_eq!(step(&found), best.values().copied().min(), "seed {seed}");
        // Some devices are held back.
        let most = cluster.devices.len() - 1 - seed as usize % 2;
        let fewer = Options { devices: most, ..options.clone() };
        let fewer = solve(&fleet, global_batch, &fewer, &mut |_, _| {});
        let least = best.range(..=most).map(|(_, step)| *step).min();
        assert_eq!((step(&fewer), fewer.stop), (least, StopReason::Finished), "seed {seed}");
        let Some(judged) = &found.best else {
            n_short += 1;
            continue;
        };
        n_found += 1;
        n_uneven += u64::from(all.of_any < judged.step.0);
        let costs = fleet.keeping(judged.offload).costs(&judged.plan).unwrap();
        let grid = judged.plan.schedule.grid.as_ref().unwrap();
        assert_eq!(judge(&costs, grid).unwrap().report.step_time, judged.step);
        // The bound of a search that is not let finish.
        let cut = Options { nodes: 0, may_offload, ..Options::default() };
        let bound = solve(&fleet, global_batch, &cut, &mut |_, _| {}).bound;
        assert!(bound <= judged.step, "seed {seed}: {bound} above {}", judged.step);
        // Who asks for less than the best is told that there is nothing.
        let below = Options { below: judged.step, ..options };
        let none = solve(&fleet, global_batch, &below, &mut |_, _| {});
        assert!(none.best.is_none() && none.bound == judged.step, "seed {seed}");
    }
    // Other samples than the stated ones are faster as good as never.
    assert!(100 * n_uneven <= n_cases, "{n_uneven} of {n_cases}");
    [n_plans, n_found, n_short]
}

/// A stage over two nodes of four devices, each replica with as many samples, or by speed.
fn over_two(first: usize, tensor: u32, samples: Vec<u64>) -> StageMesh {
    let devices = (4 * first..4 * first + 8).map(DeviceId::new).collect();
    StageMesh { devices, tensor, samples, edge_ratio: 1 }
}

/// All samples of replicas: as many each, and so many more to all of the second node.
fn shares(micro_batch: u64, tensor: u32) -> Vec<Vec<u64>> {
    let half = 4 / u64::from(tensor);
    let of = |one: u64| {
        let other = micro_batch.checked_sub(half * one)?;
        (other.is_multiple_of(half) && other > 0).then(|| {
            let each = |samples: u64| std::iter::repeat_n(samples, half as usize);
            each(one).chain(each(other / half)).collect()
        })
    };
    (1..=micro_batch / half).filter_map(of).collect()
}

/// Prices of one to nine blocks on the first or second of two stages, where they fit.
fn of_two(
    fleet: &Fleet<'_>,
    (mesh, at): (&StageMesh, usize),
    run: &Parallelism,
) -> [Option<StagePrice>; 9] {
    let systems = fleet.systems(mesh, run.micro_batch).unwrap();
    let replicas = fleet.replicas(&systems, (mesh, run)).unwrap();
    let n_in_flight = in_flight(run.n_micro_batches, 1 - at);
    let of = |blocks: u32, recompute: Recompute| {
        let stage = Stage { blocks: 0..blocks, recompute, ..Stage::default() };
        let price = Fleet::stage(&replicas, &stage, (Place::of(at, 2), n_in_flight));
        (price.peak <= price.rank.limit.unwrap().0).then_some(price)
    };
    let policies = [Recompute::None, Recompute::Selective, Recompute::Full];
    [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|blocks| policies.iter().find_map(|policy| of(blocks, *policy)))
}

#[test]
fn four_t4_and_twelve_a100_are_used_as_well_as_two_groups_of_eight() {
    let gib = |n: u64| Some(Bytes(n << 30));
    let nodes = [(4, 0), (4, 1), (4, 1), (4, 1)];
    let cluster = cluster(&nodes, [46e9, 10e9, 10e9], [gib(15), gib(38), None, None]);
    let mut model = model(4096, 10, 1024, Head::Tied);
    model.groups[0].card.vocabulary = 51_200;
    model.groups[0].card.n_heads = 32;
    model.groups[0].card.n_kv_heads = 32;
    let (stack, profile) = (megatron_core(), Profile::default());
    let constants = Constants::nominal(&stack);
    let groups = groups_of(&cluster, |limit| limit);
    let system = System::of(&cluster, &profile).unwrap();
    let base = Pricing::unlimited(&model, &system, &stack, &constants);
    let fleet =
        Fleet { base, cluster: &cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
    let found = solve(&fleet, 128, &Options::default(), &mut |_, _| {});
    let step = found.best.unwrap().step;
    let (mut best, mut n) = (u64::MAX, 0);
    for micro_batch in divisors(128, u64::MAX) {
        let run = Parallelism {
            pipeline: 2,
            n_micro_batches: 128 / micro_batch,
            micro_batch,
            ..Parallelism::default()
        };
        let grid = Order::OneFOneB.grid(&run, run.n_micro_batches as u32, |_| false).unwrap();
        // The second group is of equal devices: each has as many samples.
        for (t, u) in [1, 2, 4].into_iter().flat_map(|t| [1, 2, 4].map(|u| (t, u))) {
            let n_replicas = 8 / u64::from(u);
            if !micro_batch.is_multiple_of(n_replicas) {
                continue;
            }
            let even = vec![micro_batch / n_replicas; n_replicas as usize];
            for samples in shares(micro_batch, t) {
                let meshes = [over_two(0, t, samples), over_two(2, u, even.clone())];
                let priced = [0, 1].map(|at| of_two(&fleet, (&meshes[at], at), &run));
                for first in 1..=9 {
                    let (Some(a), Some(b)) = (priced[0][first - 1], priced[1][9 - first]) else {
                        continue;
                    };
                    let blocks = [first as u32, 10 - first as u32];
                    let stages = [(&meshes[0], blocks[0], a), (&meshes[1], blocks[1], b)];
                    let costs = fleet.together(&stages, &run).unwrap();
                    best = best.min(judge(&costs, &grid).unwrap().report.step_time.0);
                    n += 1;
                }
            }
        }
    }
    assert!(n > 500 && step.0 <= best, "{n} plans, {step} against {best} ns");
    assert!(found.bound <= step);
}

/// Plans with more passes than are judged are not looked at, and the bound says so.
#[test]
fn what_is_too_long_to_judge_stays_in_the_bound() {
    let cluster = cluster(&[(1, 1), (1, 1), (1, 2)], [12e9; 3], [None; 4]);
    let model = model(1024, 6, 512, Head::Tied);
    let (stack, profile) = (megatron_core(), Profile::default());
    let constants = Constants::nominal(&stack);
    let groups = groups_of(&cluster, |limit| limit);
    let system = System::of(&cluster, &profile).unwrap();
    let base = Pricing::unlimited(&model, &system, &stack, &constants);
    let fleet =
        Fleet { base, cluster: &cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
    let options = Options { nodes: u64::MAX, ..Options::default() };
    let found = |global_batch: u64| solve(&fleet, global_batch, &options, &mut |_, _| {});
    // No divisor but 1 that three devices could take: only three stages are too many.
    let n_micro_batches = 350_003;
    let two = found(n_micro_batches);
    let best = two.best.unwrap();
    assert_eq!((two.stop, best.plan.partition.stages.len()), (StopReason::SizeLimit, 2));
    let run =
        Parallelism { pipeline: 3, n_micro_batches, micro_batch: 1, ..Parallelism::default() };
    let stage = |at: u32| Stage {
        blocks: [0..2, 2..5, 5..6][at as usize].clone(),
        mesh: Some(StageMesh {
            devices: vec![DeviceId::new(at as usize)],
            tensor: 1,
            samples: vec![1],
            edge_ratio: 1,
        }),
        ..Stage::default()
    };
    let plan = ir::plan::Plan {
        parallelism: run,
        partition: ir::plan::Partition { stages: (0..3).map(stage).collect() },
        ..ir::plan::Plan::default()
    };
    let costs = fleet.costs(&plan).unwrap();
    let grid = |m| Order::OneFOneB.grid(&plan.parallelism, m, |_| false).ok();
    let steady = Order::OneFOneB.steady(3, 1);
    let judged = fold::report(&costs, steady, ir::units::Nanos(u64::MAX), grid).unwrap();
    let three = judged.unwrap().step_time;
    assert!(two.bound <= three && three < best.step, "{} {three} {}", two.bound, best.step);
    // Not even one stage.
    let none = found(1_100_009);
    assert!(none.best.is_none() && none.stop == StopReason::SizeLimit);
}
