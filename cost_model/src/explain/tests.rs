use std::collections::BTreeMap;

use ir::cluster::{Cluster, DeviceKind};
use ir::op::{Phase, Product, Work};
use ir::profile::{KernelConstants, MeasuredRates, Profile, StreamConstants};
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond, Hertz, Seconds};

use super::*;

fn a100() -> DeviceKind {
    let rates = [(DType::F32, 1.95e13), (DType::Bf16, 3.12e14)];
    let rate = |(dtype, rate)| (dtype, FlopsPerSecond::new(rate).unwrap());
    DeviceKind {
        name: "a100_sxm4_80gb".to_owned(),
        memory: Some(Bytes(85_899_345_920)),
        memory_bandwidth: BytesPerSecond::new(2.039e12),
        peak: rates.into_iter().map(rate).collect(),
        n_multiprocessors: Some(108),
        last_level_cache: Some(Bytes(41_943_040)),
        clock: Hertz::new(1.41e9),
        power: None,
        source: "NVIDIA A100 datasheet".to_owned(),
        check: Check::Recalled,
        ..DeviceKind::default()
    }
}

fn node(op_type: &str, products: Vec<Product>, bytes: (u64, u64)) -> Op {
    let dtype = (!products.is_empty()).then_some(DType::Bf16);
    let kernel = Kernel {
        products,
        bytes_read: Bytes(bytes.0),
        bytes_written: Bytes(bytes.1),
        dtype,
        ..Kernel::default()
    };
    Op {
        name: op_type.to_owned(),
        op_type: op_type.to_owned(),
        module: None,
        phase: Phase::Forward,
        inputs: Vec::new(),
        parameters: Vec::new(),
        outputs: Vec::new(),
        work: Work::Kernel(kernel),
        group: None,
        splits: ir::op::Splits::default(),
    }
}

fn explained(node: &Op, profile: &Profile) -> Explanation {
    let cluster = Cluster { kinds: vec![a100()], ..Cluster::default() };
    let costs = KindCosts::new(&cluster, &cluster.kinds[0], profile);
    let Work::Kernel(kernel) = &node.work else { panic!("no kernel") };
    op((ir::id::OpId(0), node), kernel, &costs).unwrap()
}

fn product(count: u64, m: u64, k: u64, n: u64) -> Product {
    Product { count, m, k, n }
}

/// Ops of every form.
fn nodes() -> Vec<Op> {
    let linear = vec![product(1, 2048, 4096, 11_008)];
    let core = vec![product(96, 1024, 64, 1024), product(96, 1024, 1024, 64)];
    let one = vec![product(256, 1, 128, 4096), product(256, 1, 4096, 128)];
    let experts = vec![product(8, 64, 1024, 4096), product(8, 64, 4096, 1024)];
    vec![
        node("MatMul", linear.clone(), (106_954_752, 45_088_768)),
        node("LSTM", [linear.clone(), linear].concat(), (1 << 27, 1 << 20)),
        node("MatMul", vec![product(1, 64, 8192, 64)], (2_097_152, 8192)),
        node("Attention", core.clone(), (37_748_736, 12_582_912)),
        node("com.microsoft::GroupQueryAttention", core, (37_748_736, 12_582_912)),
        node("Attention", one, (536_870_912, 65_536)),
        node("com.microsoft::MoE", experts, (1 << 27, 1 << 20)),
        node("Softmax", Vec::new(), (1 << 24, 1 << 24)),
        node("Shape", Vec::new(), (0, 0)),
    ]
}

/// Products measured in bf16, softmax as a stream.
fn profile() -> Profile {
    let kind = || "a100_sxm4_80gb".to_owned();
    let provenance = Provenance::Measured { source: "cuda".into(), date: "2026-11-20".into() };
    let constants = KernelConstants {
        launch: Seconds::new(2.6e-6).unwrap(),
        compute_efficiency: 0.82,
        memory_efficiency: 0.8,
        p_norm: 2.65,
        tile: None,
        provenance: provenance.clone(),
    };
    let rates = MeasuredRates {
        peak: BTreeMap::from([(DType::Bf16, FlopsPerSecond::new(2.5e14).unwrap())]),
        memory_bandwidth: BytesPerSecond::new(1.8e12),
    };
    let softmax = StreamConstants {
        launch: Seconds::new(3e-6).unwrap(),
        bandwidth: BytesPerSecond::new(1e12).unwrap(),
        table: Vec::new(),
        provenance,
    };
    Profile {
        name: "p".into(),
        kinds: BTreeMap::from([(kind(), constants)]),
        rates: BTreeMap::from([(kind(), rates)]),
        streams: BTreeMap::from([(kind(), BTreeMap::from([("softmax".to_owned(), softmax)]))]),
        ..Profile::default()
    }
}

/// `a x b x (c + d) / (e TFLOP/s x f)`: the value of a right-hand side, words left out.
fn value(text: &str) -> f64 {
    let mut text = text.to_owned();
    for (unit, factor) in [
        ("TFLOP/s", "e12"),
        ("GFLOP/s", "e9"),
        ("TB/s", "e12"),
        ("GB/s", "e9"),
        ("GFLOP", "e9"),
        ("MFLOP", "e6"),
        ("us", "e-6"),
        ("ns", "e-9"),
    ] {
        text = text.replace(&format!(" {unit}"), factor);
    }
    let words = [" bytes", " in cache", " for few columns", " waves", " experts"];
    let text = words.iter().fold(text, |text, word| text.replace(word, ""));
    let (value, rest) = sum_of(&text);
    assert_eq!(rest.trim(), "", "{text}");
    value
}

fn sum_of(text: &str) -> (f64, &str) {
    let (mut value, mut rest) = term(text);
    while let Some(after) = rest.trim_start().strip_prefix('+') {
        let (other, left) = term(after);
        (value, rest) = (value + other, left);
    }
    (value, rest)
}

fn term(text: &str) -> (f64, &str) {
    let (mut value, mut rest) = factor(text);
    loop {
        let start = rest.trim_start();
        let divides = start.starts_with('/');
        let Some(after) = start.strip_prefix(['x', '/']) else { return (value, rest) };
        let (other, left) = factor(after);
        value = if divides { value / other } else { value * other };
        rest = left;
    }
}

fn factor(text: &str) -> (f64, &str) {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('(') {
        let (value, rest) = sum_of(inside);
        return (value, rest.trim_start().strip_prefix(')').unwrap());
    }
    let end = text.find([' ', ')']).unwrap_or(text.len());
    (text[..end].parse().unwrap_or_else(|_| panic!("`{text}`")), &text[end..])
}

#[test]
fn the_right_hand_sides_give_the_left() {
    for profile in [Profile::default(), profile()] {
        for node in nodes() {
            let explanation = explained(&node, &profile);
            for formula in &explanation.formulas {
                // Words about blocks and splits are no arithmetic.
                if ["block", "heads", "split", "longest", "project", "least"]
                    .iter()
                    .any(|word| formula.text.contains(word))
                {
                    continue;
                }
                let got = value(&formula.text);
                let near = (got / formula.value - 1.0).abs() < 2e-3;
                assert!(near, "{}: {} is {}, not {got}", node.op_type, formula.text, formula.value);
            }
        }
    }
}

#[test]
fn a_measured_product_by_hand() {
    // 2 x 2048 x 4096 x 11008 / (250 T x .82) = 900.9 us; 152,043,520 B / (1.8 T x .8) = 105.6 us;
    // (900.9^2.65 + 105.6^2.65)^(1/2.65) = 902.1 us, and 2.6 us.
    let got = explained(&nodes()[0], &profile());
    assert_eq!(got.sum, "2.60 us launch + p-norm 2.65 (900.9 us compute, 105.6 us memory)");
    assert_eq!(got.formulas[0].text, "2 x 2048 x 4096 x 11008 / (250 TFLOP/s x 0.82)");
    assert_eq!(got.origin, Origin::Measured);
    assert!((got.total.as_f64() / 1e3 - 904.7).abs() < 0.2, "{}", got.total);
    assert!(got.figures.iter().all(|figure| figure.date.as_deref() == Some("2026-11-20")));
}

#[test]
fn origins_say_what_stands_for_what() {
    let origin = |at: usize, profile: &Profile| explained(&nodes()[at], profile).origin;
    assert_eq!(origin(0, &Profile::default()), Origin::Nominal);
    assert_eq!(origin(7, &profile()), Origin::Measured, "the softmax family");
    let mut without = profile();
    without.streams.clear();
    assert_eq!(origin(7, &without), Origin::Interpolated, "launch and bandwidth of products");
    let mut single = profile();
    let rates = single.rates.get_mut("a100_sxm4_80gb").unwrap();
    let seen = rates.peak.remove(&DType::Bf16).unwrap();
    rates.peak.insert(DType::F32, seen);
    assert_eq!(origin(0, &single), Origin::Interpolated, "measured in another type");
    // What `calibrate` writes: the constants of the kind repeat those of the type.
    let mut repeated = profile();
    let main = repeated.kinds["a100_sxm4_80gb"].clone();
    let types = BTreeMap::from([(DType::Bf16, main)]);
    repeated.by_dtype.insert("a100_sxm4_80gb".into(), types);
    assert_eq!(origin(0, &repeated), Origin::Measured);
    let mut wide = nodes()[0].clone();
    let Work::Kernel(kernel) = &mut wide.work else { panic!("no kernel") };
    kernel.dtype = Some(DType::F32);
    assert_eq!(explained(&wide, &repeated).origin, Origin::Interpolated);
    assert_eq!(explained(&nodes()[8], &profile()).total, Nanos(0));
}

#[test]
fn figures_of_the_catalogue_carry_their_check() {
    let got = explained(&nodes()[0], &Profile::default());
    let named = |name: &str| got.figures.iter().find(|figure| figure.name == name).unwrap();
    let peak = named("rate of bf16 products");
    assert_eq!((peak.value, peak.check), (3.12e14, Some(Check::Recalled)));
    assert_eq!(peak.source, "NVIDIA A100 datasheet");
    assert!(named("launch").source.contains("A100 SXM"), "{}", named("launch").source);
}

#[test]
fn a_sibling_lends_scaled_rates() {
    let mut smaller = a100();
    smaller.name = "a100_sxm4_40gb".to_owned();
    smaller.memory_bandwidth = BytesPerSecond::new(1.555e12);
    let cluster = Cluster { kinds: vec![a100(), smaller], ..Cluster::default() };
    let costs = KindCosts::new(&cluster, &cluster.kinds[1], &profile());
    let node = &nodes()[7];
    let Work::Kernel(kernel) = &node.work else { panic!("no kernel") };
    let got = op((ir::id::OpId(0), node), kernel, &costs).unwrap();
    assert_eq!(got.origin, Origin::Sibling);
    // 2 x 2^24 bytes at 1 TB/s x 1.555 / 2.039, and 3 us.
    let expected = 33_554_432.0 / (1e12 * 1.555 / 2.039) * 1e9 + 3_000.0;
    assert!((got.total.as_f64() - expected).abs() < 1.0, "{}", got.total);
    assert!(got.figures[0].source.ends_with("of a100_sxm4_80gb"), "{:?}", got.figures[0]);
}
