use std::collections::{BTreeMap, BTreeSet};

use ir::card::{Attention, BlockGroup, FeedForward, Head, TransformerCard};
use ir::plan::{Partition, Stage};
use ir::schedule::Schedule;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::runs::forms::model::counts::n_parameters;

fn model(head: Head, n_blocks: u32) -> ModelCard {
    let card = TransformerCard {
        name: "m".to_owned(),
        n_layers: n_blocks,
        hidden: 4,
        n_heads: 2,
        n_kv_heads: 2,
        feed_forward: 8,
        form: FeedForward::Plain,
        sequence: 3,
        vocabulary: 5,
        experts: None,
        attention: Attention::Even,
        head,
    };
    let groups = vec![BlockGroup::of_card(card, n_blocks)];
    ModelCard {
        name: "m".to_owned(),
        groups,
        n_predictions: 1,
        other_parameters: [0, 8],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

/// A plan whose stages have devices of their own, of so many in any order.
fn plan(random: &mut SmallRng, n_devices: u32, n_blocks: u32) -> Plan {
    let mut devices: Vec<DeviceId> = (0..n_devices).map(DeviceId).collect();
    for at in (1..devices.len()).rev() {
        devices.swap(at, random.random_range(0..=at));
    }
    let (mut stages, mut next) = (Vec::new(), 0);
    while next < n_blocks {
        let (tensor, data) = (random.random_range(1..=2), random.random_range(1..=2));
        if devices.len() < 2 * tensor * data || random.random_bool(0.3) {
            break;
        }
        let taken = devices.split_off(devices.len() - tensor * data);
        let n = random.random_range(1..=n_blocks - next);
        stages.push((next..next + n, taken, tensor as u32, data));
        next += n;
    }
    stages.push((next..n_blocks, devices, 1, 0));
    let stage = |(blocks, devices, tensor, data): (Range<u32>, Vec<DeviceId>, u32, usize)| {
        let samples = vec![1; if data == 0 { devices.len() } else { data }];
        Stage {
            blocks,
            mesh: Some(StageMesh { devices, tensor, samples, edge_ratio: 1 }),
            ..Stage::default()
        }
    };
    let stages: Vec<Stage> = stages.into_iter().map(stage).collect();
    Plan {
        parallelism: Parallelism { pipeline: stages.len() as u32, ..Parallelism::default() },
        partition: Partition { stages },
        placement: Default::default(),
        schedule: Schedule::default(),
    }
}

/// What a device holds, element by element.
fn elements(sizes: &Sizes, holding: &Holding) -> BTreeSet<(Tensor, bool, u64)> {
    let parts = sizes.parts(holding).into_iter();
    parts
        .flat_map(|((tensor, is_state), range)| range.map(move |at| (tensor, is_state, at)))
        .collect()
}

/// Devices that all reach each other but for one pair.
fn cluster(n: usize, random: &mut SmallRng) -> Cluster {
    use ir::cluster::{Device, DeviceKind, Links, NO_ROUTE, RouteKind};
    use ir::id::{ChannelId, ClassId, KindId};
    let device = |at: usize| Device {
        name: format!("d{at}"),
        kind: KindId::new(0),
        class: ClassId::new(0),
        node: None,
        capacity: None,
        context: Bytes(0),
        reserve: Bytes(0),
        is_reserve_stated: false,
    };
    let route = |rate: f64| RouteKind {
        name: "way".to_owned(),
        tier: 0,
        latency_ns: 1e3,
        bandwidth: ir::units::BytesPerSecond::new(rate).unwrap(),
        source: String::new(),
        check: ir::cluster::Check::Given,
    };
    let mut pairs: Vec<u16> = (0..n * n)
        .map(|at| if at / n == at % n { NO_ROUTE } else { random.random_range(0..2) })
        .collect();
    pairs[1] = NO_ROUTE;
    let ids = |first: usize| (first..first + n).map(ChannelId::new).collect();
    let channel = |at: usize| ir::cluster::Channel { name: at.to_string() };
    Cluster {
        slots: Vec::new(),
        name: "c".to_owned(),
        kinds: vec![DeviceKind::default()],
        devices: (0..n).map(device).collect(),
        nodes: Vec::new(),
        duplex: Default::default(),
        links: Links {
            kinds: vec![route(1e9), route(3e9)],
            n_tiers: 1,
            channels: (0..2 * n).map(channel).collect(),
            send: ids(0),
            receive: ids(n),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs,
        },
        classes: vec![(0..n).map(DeviceId::new).collect()],
    }
}

/// By element: what is held by all together is the model, weights by each replica, states once.
#[test]
fn all_devices_together_hold_the_model() {
    for seed in 0..300 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let head = if random.random_bool(0.5) { Head::Tied } else { Head::Separate };
        let (n_blocks, n_devices) = (random.random_range(1..5), random.random_range(1..9));
        let model = model(head, n_blocks);
        let sizes = Sizes::of(&model, StateFormat::Megatron, Optimizer::AdamW);
        let plan = plan(random, n_devices, n_blocks);
        let mut count: BTreeMap<(Tensor, bool, u64), usize> = BTreeMap::new();
        for holding in holdings(&plan).unwrap() {
            for one in elements(&sizes, &holding) {
                *count.entry(one).or_default() += 1;
            }
        }
        let states = count.keys().filter(|(_, is_state, _)| *is_state).count() as u64;
        assert_eq!(states, n_parameters(&model), "seed {seed}");
        let is_tied = |tensor| tensor == Tensor::Words && head == Head::Tied;
        let ends = if plan.partition.stages.len() > 1 { 2 } else { 1 };
        for ((tensor, is_state, at), n) in count {
            match is_state {
                true => assert_eq!(n, if is_tied(tensor) { ends } else { 1 }, "{tensor} {at}"),
                false => {
                    let replicas = |stage: &Stage| stage.mesh.as_ref().unwrap().samples.len();
                    let stages = &plan.partition.stages;
                    let most: usize = stages.iter().map(replicas).sum();
                    assert!((1..=most).contains(&n), "{tensor} {at}");
                }
            }
        }
    }
}

/// By element: who needs what it does not have gets it once, from one that has it and reaches it, or from
/// a checkpoint where there is none.
#[test]
fn moves_bring_each_element_once_from_where_it_is() {
    let mut n_moves = [0, 0];
    for seed in 0..300 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let (n_blocks, n_devices) = (random.random_range(1..5), random.random_range(2..9));
        let model = model(Head::Tied, n_blocks);
        let sizes = Sizes::of(&model, StateFormat::Megatron, Optimizer::AdamW);
        let cluster = cluster(n_devices as usize, random);
        let plans = [plan(random, n_devices, n_blocks), plan(random, n_devices, n_blocks)];
        let [mut old, new] = plans.map(|plan| holdings(&plan).unwrap());
        let lost = random.random_range(0..old.len());
        old.remove(lost);
        let has: BTreeMap<DeviceId, _> =
            old.iter().map(|holding| (holding.device, elements(&sizes, holding))).collect();
        let mut got: BTreeMap<DeviceId, BTreeSet<(Tensor, bool, u64)>> = BTreeMap::new();
        for transfer in moves(&cluster, &sizes, [&old, &new]) {
            let width = if transfer.is_state { 12 } else { 2 };
            assert_eq!(transfer.bytes.0, (transfer.elements.end - transfer.elements.start) * width);
            for at in transfer.elements.clone() {
                let one = (transfer.tensor, transfer.is_state, at);
                let reaches = |from: &DeviceId| cluster.route(*from, transfer.to).is_some();
                match transfer.from {
                    Some(from) => assert!(has[&from].contains(&one) && reaches(&from)),
                    None => {
                        let mut holders = has
                            .iter()
                            .filter(|(from, present)| present.contains(&one) && reaches(from));
                        assert!(holders.next().is_none(), "{one:?}");
                    }
                }
                assert!(got.entry(transfer.to).or_default().insert(one), "twice");
                n_moves[usize::from(transfer.from.is_none())] += 1;
            }
        }
        for holding in &new {
            let had = has.get(&holding.device).cloned().unwrap_or_default();
            let needs: BTreeSet<_> = elements(&sizes, holding).difference(&had).copied().collect();
            assert_eq!(got.remove(&holding.device).unwrap_or_default(), needs, "seed {seed}");
        }
        assert!(got.is_empty());
        assert!(moves(&cluster, &sizes, [&new, &new]).is_empty());
    }
    assert!(n_moves.iter().all(|n| *n > 1_000), "{n_moves:?}");
}

/// Devices that are alike change places only where that saves bytes, and the stages stay theirs.
#[test]
fn fewer_bytes_move_where_devices_that_are_alike_change_places() {
    let mut n_fewer = 0;
    for seed in 0..200 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let (n_blocks, n_devices) = (random.random_range(1..5), random.random_range(2..7));
        let sizes = Sizes::of(&model(Head::Tied, n_blocks), StateFormat::Megatron, Optimizer::Sgd);
        let cluster = cluster(n_devices as usize, random);
        let old = holdings(&plan(random, n_devices, n_blocks)).unwrap();
        let new = plan(random, n_devices, n_blocks);
        let arranged = with_fewest_moves(&cluster, &sizes, &old, &new).unwrap();
        let bytes = |plan: &Plan| -> u64 {
            let found = moves(&cluster, &sizes, [&old, &holdings(plan).unwrap()]);
            found.iter().map(|transfer| transfer.bytes.0).sum()
        };
        let (before, after) = (bytes(&new), bytes(&arranged));
        assert!(after <= before, "seed {seed}: {after} {before}");
        n_fewer += u64::from(after < before);
        let devices = |plan: &Plan| -> BTreeSet<DeviceId> {
            plan.partition
                .stages
                .iter()
                .flat_map(|stage| stage.mesh.clone().unwrap().devices)
                .collect()
        };
        assert_eq!(devices(&new).len(), devices(&arranged).len());
    }
    assert!(n_fewer > 100, "{n_fewer}");
}
