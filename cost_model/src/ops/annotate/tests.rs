use std::collections::BTreeMap;

use ir::cluster::{Device, DeviceKind};
use ir::id::{ClassId, DeviceId, KindId, OpId};
use ir::op::{GivenCost, Kernel, Op, Phase, Product, Work};
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Nanos};

use super::*;

fn kind(name: &str, check: Check) -> DeviceKind {
    DeviceKind {
        name: name.to_owned(),
        memory: None,
        memory_bandwidth: BytesPerSecond::new(1e12),
        peak: BTreeMap::from([(DType::F16, FlopsPerSecond::new(1e14).unwrap())]),
        n_multiprocessors: None,
        last_level_cache: None,
        clock: None,
        power: None,
        source: String::new(),
        check,
        ..DeviceKind::default()
    }
}

fn cluster(kinds: &[DeviceKind], n_devices: usize) -> Arc<Cluster> {
    let device = |index: usize| Device {
        name: format!("d{index}"),
        kind: KindId::new(index % kinds.len()),
        class: ClassId::new(0),
        node: None,
        capacity: None,
        context: Bytes::ZERO,
        reserve: Bytes::ZERO,
        is_reserve_stated: false,
    };
    let mut cluster = Cluster { kinds: kinds.to_vec(), ..Cluster::default() };
    cluster.devices = (0..n_devices).map(device).collect();
    cluster.links.pairs = vec![ir::cluster::NO_ROUTE; n_devices * n_devices];
    Arc::new(cluster)
}

fn op(name: &str, work: Work) -> Op {
    Op {
        name: name.to_owned(),
        op_type: "Test".to_owned(),
        module: None,
        phase: Phase::Forward,
        inputs: Vec::new(),
        parameters: Vec::new(),
        outputs: Vec::new(),
        work,
        group: None,
        splits: ir::op::Splits::default(),
    }
}

fn product(dtype: DType, m: u64) -> Work {
    Work::Kernel(Kernel {
        products: vec![Product { count: 1, m, k: 64, n: 64 }],
        bytes_read: Bytes(1_000),
        dtype: Some(dtype),
        ..Kernel::default()
    })
}

fn run(ops: Vec<Op>, cluster: Arc<Cluster>) -> Result<Annotated, Diagnostic> {
    let graph = Arc::new(Graph { ops, ..Graph::default() });
    let (profile, workload) = (Profile::default(), Workload::default());
    let (objective, constraints) = (Objective::STEP_TIME, Constraints::default());
    annotate(graph, cluster, &profile, workload, objective, constraints)
}

#[test]
fn given_times_go_by_kind_name() {
    let given =
        GivenCost { time: BTreeMap::from([("b".to_owned(), Nanos(7))]), ..GivenCost::default() };
    let kinds = [kind("a", Check::Given), kind("b", Check::Given)];
    let got = run(vec![op("x", Work::Given(given))], cluster(&kinds, 2)).unwrap();
    assert!(!got.problem.can_place(OpId(0), DeviceId(0)));
    assert_eq!(got.problem.time_ns(OpId(0), DeviceId(1)), 7);
    assert_eq!(got.warnings, vec![], "given costs are nobody's estimate");
}

#[test]
fn estimates_are_called_so() {
    let kinds = [kind("t4", Check::Recalled)];
    let got = run(vec![op("x", product(DType::F16, 8))], cluster(&kinds, 1)).unwrap();
    let codes: Vec<&str> = got.warnings.iter().map(|w| w.code).collect();
    assert_eq!(codes, ["nominal-costs", "recalled-figures"]);
}

#[test]
fn a_kind_without_the_figure_is_no_place() {
    let mut blank = kind("blank", Check::Given);
    blank.peak.clear();
    let ops = vec![op("x", product(DType::F16, 8)), op("y", product(DType::F16, 8))];
    let both = [blank.clone(), kind("full", Check::Given)];
    let got = run(ops.clone(), cluster(&both, 2)).unwrap();
    assert!(!got.problem.can_place(OpId(1), DeviceId(0)));
    assert_eq!(got.warnings[0].code, "missing-figure");
    assert!(got.warnings[0].message.contains("so 2 ops"), "{}", got.warnings[0].message);
    let error = run(ops, cluster(&[blank], 2)).unwrap_err();
    assert_eq!(error.code, "no-device");
    assert!(error.facts.iter().any(|(name, _)| *name == "missing_figure"));
}

/// Two devices with memory, and a way between them.
fn joined(bytes_per_s: f64, capacity: Bytes) -> Arc<Cluster> {
    let both = [kind("t4", Check::Recalled), kind("blank", Check::Given)];
    let mut cluster = Cluster::clone(&cluster(&both, 2));
    cluster.devices.iter_mut().for_each(|device| device.capacity = Some(capacity));
    cluster.links.kinds = vec![ir::cluster::RouteKind {
        name: "way".to_owned(),
        tier: 0,
        latency_ns: 100.0,
        bandwidth: BytesPerSecond::new(bytes_per_s).unwrap(),
        source: String::new(),
        check: Check::Recalled,
    }];
    cluster.links.pairs = vec![ir::cluster::NO_ROUTE, 0, 0, ir::cluster::NO_ROUTE];
    cluster.links.n_tiers = 1;
    cluster.links.send = vec![ir::id::ChannelId(0); 2];
    cluster.links.receive = vec![ir::id::ChannelId(0); 2];
    Arc::new(cluster)
}

/// An op that sends its result to another.
fn sent(cluster: Arc<Cluster>, annotates: Annotates) -> Result<Annotated, Diagnostic> {
    let tensor = ir::tensor::Tensor {
        name: "t".to_owned(),
        dtype: DType::F16,
        shape: vec![1 << 19],
        bytes: Bytes(1 << 20),
        state_bytes: Bytes::ZERO,
        role: ir::tensor::Role::Activation,
        trainable: false,
    };
    let mut ops = vec![op("x", product(DType::F16, 8)), op("y", product(DType::F16, 8))];
    ops[0].outputs.push(ir::id::TensorId(0));
    ops[1].inputs.push(ir::id::TensorId(0));
    let graph = Arc::new(Graph { ops, tensors: vec![tensor], ..Graph::default() });
    let constraints =
        Constraints { pins: vec![(OpId(1), vec![DeviceId(1)])], ..Default::default() };
    let (profile, workload) = (Profile::default(), Workload::default());
    annotates(graph, cluster, &profile, workload, Objective::STEP_TIME, constraints)
}

type Annotates = fn(
    Arc<Graph>,
    Arc<Cluster>,
    &Profile,
    Workload,
    Objective,
    Constraints,
) -> Result<Annotated, Diagnostic>;

#[test]
fn other_rates_make_the_problem_that_is_annotated_there() {
    let (slow, fast) = (joined(1e-12, Bytes(1 << 30)), joined(1e9, Bytes(1 << 40)));
    let there = sent(Arc::clone(&fast), annotate).unwrap();
    let base = sent(Arc::clone(&slow), costed).unwrap();
    let moved = base.problem.at_other_rates(fast).unwrap();
    assert_eq!(format!("{moved:?}"), format!("{:?}", there.problem));
    assert_eq!(base.warnings, there.warnings);
    let sent_ns = moved.transfer_ns(ir::id::TensorId(0), DeviceId(0), DeviceId(1));
    assert_eq!(sent_ns, 1_048_676, "100 ns and 1 MiB at 1 GB/s");
    let error = sent(Arc::clone(&slow), annotate).unwrap_err();
    assert_eq!(error.code, "out-of-range", "3e10 years are longer than the clock counts");
    assert_eq!(moved.at_other_rates(slow).unwrap_err().code, "out-of-range");
}

#[test]
fn twenty_thousand_ops_on_sixteen_devices_are_annotated() {
    let ops: Vec<Op> =
        (0..20_000).map(|i| op(&format!("op{i}"), product(DType::F16, i % 97 + 1))).collect();
    let kinds: Vec<DeviceKind> = (0..4).map(|i| kind(&format!("kind{i}"), Check::Given)).collect();
    let cluster = cluster(&kinds, 16);
    let got = run(ops, cluster).unwrap();
    assert_eq!(got.problem.actions.len(), 20_000);
}
