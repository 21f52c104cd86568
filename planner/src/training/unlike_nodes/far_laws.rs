//! Plans cross slow links between sites as rarely as can be.

use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::unlike::{Fleet, groups_of};
use ir::card::Head;
use ir::cluster::{Cluster, RouteKind};
use ir::id::DeviceId;
use ir::plan::StageMesh;
use ir::profile::Profile;
use ir::units::{Bytes, BytesPerSecond};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::laws::{cluster, model};
use super::*;

/// Sites of 24, 8, 8 and 8 devices, 10 Gb/s inside, between them megabits per second.
const SITES: [usize; 4] = [24, 8, 8, 8];
const BETWEEN: [[f64; 4]; 4] = [
    [1e4, 100.0, 8.0, 50.0],
    [100.0, 1e4, 50.0, 8.0],
    [8.0, 50.0, 1e4, 100.0],
    [50.0, 8.0, 100.0, 1e4],
];

/// The sites' devices, each a node of its own, in an order; and by device its site.
fn far_apart(order: &[usize], memory: Option<Bytes>) -> (Cluster, Vec<usize>) {
    let sites: Vec<usize> =
        (0..4).flat_map(|site| std::iter::repeat_n(site, SITES[site])).collect();
    let site: Vec<usize> = order.iter().map(|at| sites[*at]).collect();
    let n = site.len();
    let nodes = vec![(1, 1); n];
    let mut cluster = cluster(&nodes, [1e9; 3], [None, memory, None, None]);
    let way = |mb: f64| RouteKind {
        latency_ns: 0.0,
        bandwidth: BytesPerSecond::new(mb * 1e6 / 8.0).unwrap(),
        ..cluster.links.kinds[0].clone()
    };
    cluster.links.kinds = BETWEEN.iter().flatten().map(|mb| way(*mb)).collect();
    cluster.links.pairs = (0..n * n).map(|at| (4 * site[at / n] + site[at % n]) as u16).collect();
    (cluster, site)
}

/// Seconds of messages of 4 MiB of eight micro-batches through all devices of a cluster: each boundary
/// once, and the slowest another seven times, at the stated rates.
fn communication_s(cluster: &Cluster) -> f64 {
    let (stack, profile) = (megatron_core(), Profile::default());
    let constants = Constants::nominal(&stack);
    // 1,024 positions of 2,048 elements of two bytes.
    let model = model(2048, 48, 1024, Head::Separate);
    let groups = groups_of(cluster, |limit| limit);
    let system = System::of(cluster, &profile).unwrap();
    let base = Pricing::unlimited(&model, &system, &stack, &constants);
    let fleet = Fleet { base, cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
    let share = constants.get(Constant::Network);
    let mesh = |at: usize| StageMesh {
        devices: vec![DeviceId::new(at)],
        tensor: 1,
        samples: vec![1],
        edge_ratio: 1,
    };
    let ways = (1..48).map(|at| {
        let way = fleet.boundary(&mesh(at - 1), &mesh(at), at as u32).unwrap();
        share * way.link.time(way.activation, 1).seconds()
    });
    let ways: Vec<f64> = ways.collect();
    ways.iter().sum::<f64>() + 7.0 * ways.iter().copied().fold(0.0, f64::max)
}

#[test]
fn sites_far_apart_are_crossed_as_rarely_as_can_be() {
    let in_order: Vec<usize> = (0..48).collect();
    let seconds = communication_s(&far_apart(&in_order, None).0);
    assert!((seconds - 6.19).abs() < 0.005, "{seconds} s");
    let mut random = SmallRng::seed_from_u64(1);
    let mut shuffled = || {
        let mut order = in_order.clone();
        (1..48).rev().for_each(|at| order.swap(at, random.random_range(0..=at)));
        order
    };
    let n = 300;
    let sum: f64 = (0..n).map(|_| communication_s(&far_apart(&shuffled(), None).0)).sum();
    assert!((sum / f64::from(n) - 84.8).abs() < 3.0, "{} s", sum / f64::from(n));
    // Room for one block on a device, so that all sites are needed; and for as many as one likes.
    let model = model(2048, 48, 1024, Head::Separate);
    let (stack, profile) = (megatron_core(), Profile::default());
    let constants = Constants::nominal(&stack);
    for memory in [Some(Bytes(1_500_000_000)), None] {
        let (cluster, site) = far_apart(&shuffled(), memory);
        let groups = groups_of(&cluster, |limit| limit);
        let system = System::of(&cluster, &profile).unwrap();
        let base = Pricing::unlimited(&model, &system, &stack, &constants);
        let fleet =
            Fleet { base, cluster: &cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
        let options = Options { nodes: 150_000, ..Options::default() };
        let found = solve(&fleet, 8, &options, &mut |_, _| {}).best.unwrap();
        let sites = found.plan.partition.stages.iter().map(|stage| {
            let mut stage_sites: Vec<usize> = stage
                .mesh
                .as_ref()
                .unwrap()
                .devices
                .iter()
                .map(|device| site[device.index()])
                .collect();
            stage_sites.dedup();
            assert_eq!(stage_sites.len(), 1, "a stage lies in two sites");
            stage_sites[0]
        });
        let sites: Vec<usize> = sites.collect();
        let crossings = sites.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(crossings <= 3 && (memory.is_none() || crossings == 3), "{sites:?}");
    }
}
