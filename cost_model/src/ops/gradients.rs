//! Gradients of a model whose every device is a replica: when each is there in a step of one device, and
//! what a ring of all devices takes to sum it up.

use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::instance::{Exchange, ExchangeCost, GradientInstance, GradientTensor, Lossy, LossyCost};
use ir::measured::CollectiveOperation;
use ir::op::Phase;
use ir::profile::Profile;
use ir::units::Bytes;

use super::problem::{Problem, UNSUPPORTED};
use super::workload::gradient_bytes;
use crate::kernels::selection::selection;
use crate::links::collective::{Link, ring};

/// Most tensors: a search looks at every pair of them.
const MAX_TENSORS: usize = 20_000;
/// Bytes of an element of a gradient.
const ELEMENT_BYTES: u64 = 4;

/// The gradients of a training step, in which each device runs all ops one after the other in the order of
/// the graph, on samples of its own; updates are left out. A ring goes through the devices in the order of
/// the cluster, at the latency and rate of its slowest way. Choosing elements to send takes as long as the
/// profile says, if it does.
///
/// # Errors
/// `one-device`, `unlike-devices`, `unreachable`, `unsupported-op`, `size-budget`, `nothing-to-train`.
pub fn instance(problem: &Problem, profile: &Profile) -> Result<GradientInstance, Diagnostic> {
    let replicas = problem.cluster.devices.len() as u64;
    check_devices(problem)?;
    let (mut forward, mut backward) = (0_u64, 0_u64);
    let mut ends = vec![0_u64; problem.graph.ops.len()];
    for op in &problem.actions {
        let node = problem.graph.op(*op);
        let took = problem.time_ns(*op, DeviceId(0));
        if took == UNSUPPORTED {
            let message = format!("`{}` does not run on the devices of the cluster", node.name);
            return Err(Diagnostic::usage("unsupported-op", message).hint("give other devices"));
        }
        match node.phase {
            Phase::Forward => forward = forward.saturating_add(took),
            Phase::BackwardInput | Phase::BackwardWeight => {
                backward = backward.saturating_add(took)
            }
            Phase::Optimizer => {}
        }
        ends[op.index()] = backward;
    }
    let producers = problem.graph.producers();
    let mut tensors = Vec::new();
    for update in problem.graph.ops.iter().filter(|op| op.phase == Phase::Optimizer) {
        let made = update.inputs.iter().filter_map(|token| producers[token.index()]);
        let ready = made.map(|op| ends[op.index()]).max().unwrap_or(backward);
        for parameter in &update.parameters {
            let tensor = &problem.graph.tensors[parameter.index()];
            tensors.push(GradientTensor {
                name: tensor.name.clone(),
                bytes: gradient_bytes(tensor).get().max(1),
                ready_s: ready as f64 / 1e9,
            });
        }
    }
    if tensors.is_empty() {
        let message = "the step updates no parameter whose gradient could be exchanged";
        return Err(
            Diagnostic::usage("nothing-to-train", message).hint("give a model with weights")
        );
    }
    if tensors.len() > MAX_TENSORS {
        let message = format!("the model has {} gradients, more than {MAX_TENSORS}", tensors.len());
        return Err(Diagnostic::input("size-budget", message).fact("limit", MAX_TENSORS));
    }
    tensors.sort_by(|a, b| a.ready_s.total_cmp(&b.ready_s));
    let link = slowest_way(problem)?;
    Ok(GradientInstance {
        name: problem.graph.name.clone(),
        replicas,
        samples: problem.workload.batch,
        forward_s: forward as f64 / 1e9,
        backward_s: backward as f64 / 1e9,
        costs: vec![all_reduce(replicas, link)],
        lossy: lossy((problem, profile), link, &tensors),
        element_bytes: ELEMENT_BYTES,
        tensors,
    })
}

fn check_devices(problem: &Problem) -> Result<(), Diagnostic> {
    let cluster = &problem.cluster;
    if cluster.devices.len() < 2 {
        let message = "on one device no gradient is exchanged";
        return Err(Diagnostic::usage("one-device", message).hint("give a cluster of several"));
    }
    let first = &cluster.kind_of(DeviceId(0)).name;
    let other = cluster
        .device_ids()
        .map(|device| &cluster.kind_of(device).name)
        .find(|name| *name != first);
    other.map_or(Ok(()), |other| {
        let message = format!("replicas are alike, and the cluster has `{first}` and `{other}`");
        Err(Diagnostic::usage("unlike-devices", message)
            .hint("give a cluster of one kind of device"))
    })
}

/// The slowest way of a ring over all devices, in the order of the cluster.
fn slowest_way(problem: &Problem) -> Result<Link, Diagnostic> {
    let cluster = &problem.cluster;
    let n = cluster.devices.len();
    let mut slowest: Option<Link> = None;
    for at in 0..n {
        let (from, to) = (DeviceId::new(at), DeviceId::new((at + 1) % n));
        let Some(route) = cluster.route(from, to) else {
            let names = [from, to].map(|device| cluster.devices[device.index()].name.clone());
            let message = format!("no way goes from `{}` to `{}`", names[0], names[1]);
            return Err(Diagnostic::input("unreachable", message)
                .hint("state a link between them in the cluster file"));
        };
        let link = Link { start_up_s: route.kind.latency_ns / 1e9, rate: route.kind.bandwidth };
        slowest = Some(slowest.map_or(link, |other| Link {
            start_up_s: other.start_up_s.max(link.start_up_s),
            rate: if link.rate.get() < other.rate.get() { link.rate } else { other.rate },
        }));
    }
    slowest.ok_or_else(|| Diagnostic::usage("one-device", "the cluster has no device"))
}

/// A ring over all devices.
fn all_reduce(n: u64, link: Link) -> ExchangeCost {
    let start_up_s = ring(CollectiveOperation::AllReduce, n, Bytes(0), link);
    let per_byte_s = 2.0 * (n - 1) as f64 / n as f64 / link.rate.get();
    ExchangeCost { exchange: Exchange::AllReduce, start_up_s, per_byte_s }
}

/// Share of elements that is sent where nobody states one (Shi et al., ICDCS 2019).
const DENSITY: f64 = 1e-3;
/// Bytes of an element that is sent, and of its index.
const SENT_ELEMENT_BYTES: u64 = 8;
/// Ways over the same links that send a part.
fn lossy(
    (problem, profile): (&Problem, &Profile),
    link: Link,
    tensors: &[GradientTensor],
) -> Vec<LossyCost> {
    let n = problem.cluster.devices.len() as u64;
    let kind = problem.cluster.kind_of(DeviceId(0));
    let elements =
        tensors.iter().map(|tensor| tensor.bytes.div_ceil(ELEMENT_BYTES)).sum::<u64>() as f64;
    let Some(chosen) = selection((kind, profile), (elements, ELEMENT_BYTES as f64)) else {
        return Vec::new();
    };
    let of = |by| LossyCost {
        by,
        start_up_s: by.messages(n) * link.start_up_s + chosen.start_up_s,
        per_byte_s: chosen.per_byte_s,
        per_sent_byte_s: by.sent_times(n) / link.rate.get(),
        density: DENSITY,
        sent_element_bytes: SENT_ELEMENT_BYTES,
        threshold_bytes: 0,
    };
    [Lossy::TopK, Lossy::GlobalTopK, Lossy::LayerWise].map(of).to_vec()
}
