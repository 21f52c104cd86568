//! A problem that is too large for a quick answer.

use std::collections::BTreeMap;

use cost_model::ops::problem::Problem;
use ir::cluster::{Channel, Check, Cluster, Links, NO_ROUTE, RouteKind};
use ir::graph::Graph;
use ir::id::{ChannelId, TensorId};
use ir::op::{GivenCost, Work};
use ir::tensor::Role;
use ir::units::{Bytes, BytesPerSecond, Nanos};

use crate::random_problem::{KIND_NAMES, Random, build, classify, device, kind, op, tensor};

/// A large problem without limits: layers of sixteen ops, each reading up to three of the layer
/// before, on equal devices.
pub(crate) fn layered(n_ops: usize, n_devices: usize) -> Problem {
    const WIDTH: usize = 16;
    let random = &mut Random::new(1);
    let mut graph = Graph { name: "layered".to_owned(), ..Graph::default() };
    for index in 0..n_ops {
        let output = TensorId::new(index);
        let bytes = random.within(1, 40);
        graph.tensors.push(tensor(format!("t{index}"), bytes, Role::Activation));
        let before = (index / WIDTH).saturating_sub(1) * WIDTH;
        let mut inputs = Vec::new();
        for _ in 0..if index < WIDTH { 0 } else { random.within(1, 3) } {
            let input = TensorId::new(before + random.within(0, WIDTH as u64 - 1) as usize);
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        let time = BTreeMap::from([(KIND_NAMES[0].to_owned(), Nanos(random.within(1, 100)))]);
        let work = Work::Given(GivenCost { time, temporary: Bytes(random.within(0, 9)) });
        graph.ops.push(op(format!("op{index}"), inputs, Vec::new(), vec![output], work));
    }
    build(graph, even_cluster(n_devices))
        .unwrap_or_else(|| unreachable!("every device runs every op"))
}

/// Equal devices without limits; between all pairs 5 ns and 1 ns a byte.
pub(crate) fn even_cluster(n: usize) -> Cluster {
    let mut cluster = Cluster {
        slots: Vec::new(),
        name: "even".to_owned(),
        kinds: vec![kind(KIND_NAMES[0])],
        devices: (0..n).map(|d| device(d, 0)).collect(),
        links: Links {
            kinds: vec![RouteKind {
                name: "link".to_owned(),
                tier: 0,
                latency_ns: 5.0,
                bandwidth: BytesPerSecond::new(1e9)
                    .unwrap_or_else(|| unreachable!("it is positive")),
                source: "by hand".to_owned(),
                check: Check::Given,
            }],
            n_tiers: 1,
            channels: (0..2 * n).map(|c| Channel { name: format!("channel{c}") }).collect(),
            send: (0..n).map(|d| ChannelId::new(2 * d)).collect(),
            receive: (0..n).map(|d| ChannelId::new(2 * d + 1)).collect(),
            by_hosts: Vec::new(),
            places: Vec::new(),
            pairs: (0..n * n).map(|p| if p / n == p % n { NO_ROUTE } else { 0 }).collect(),
        },
        ..Cluster::default()
    };
    classify(&mut cluster);
    cluster
}
