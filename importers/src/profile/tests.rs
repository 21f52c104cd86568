use super::*;
use ir::profile::Provenance;

const GOOD: &str = "
version: 1
name: lab
kinds:
  h100_sxm5_80gb:
    kernels: {launch_s: 2.5e-6, compute_efficiency: 0.8, memory_efficiency: 0.9, p_norm: 2,
              provenance: {how: measured, source: cuda, date: 2026-01-02}}
    peak_flops_per_s: {bf16: 9.0e14}
    memory_bytes_per_s: 3.0e12
    streams:
      softmax: {launch_s: 1.0e-6, bytes_per_s: 2.0e12, provenance: {how: nominal, source: x}}
    by_dtype:
      fp32: {launch_s: 2.5e-6, compute_efficiency: 0.7, memory_efficiency: 0.9, p_norm: 2,
             tile: {k0: 40, small_tile_penalty: 0.5, split_k_s: 3.0e-6},
             provenance: {how: measured, source: cuda, date: 2026-01-02}}
    facts: {memory_bytes_per_s: 3.3e12, peak_flops_per_s: 9.9e14, multiprocessors: 132,
            cache_bytes: 5.0e7, clock_hz: 1.98e9}
    forms:
      matrix-product:
        constants: {launch_s: 2.5e-6, compute_efficiency: 0.79, memory_efficiency: 0.82,
                    p_norm: 2.8, k0: 40, small_tile_penalty: 0.1, split_k_s: 3.4e-6,
                    whole_waves: 0.4, split_step_s: 5.0e-7, cache_gain: 1.5, narrow_gain: 0.1}
        points: [[16, 32, 64, 4.0e-6]]
        provenance: {how: measured, source: cuda, date: 2026-01-02}
    collectives:
      - {operation: all-reduce, ranks: 8, ranks_per_node: 8, library: nccl,
         curve: {start_up_s: 1.0e-5, bytes_per_s: 2.0e11, s_per_root_byte: 1.0e-9},
         provenance: {how: measured, source: nccl-tests, date: 2026-01-02}}
      - {operation: all-gather, ranks: 16, ranks_per_node: 8, library: nccl,
         table: [{bytes: 8, time_s: 1.0e-5}, {bytes: 64, time_s: 3.0e-5}],
         provenance: {how: measured, source: nccl-tests, date: 2026-01-02}}
    overlaps:
      - {gpus: 8, ranks_per_node: 8, nodes: 1, slowdowns: {compute: {collective: 0.3}},
         provenance: {how: measured, source: bench, date: 2026-01-02}}
stacks:
  eager:
    constants: {launch_floor_s: 8.6e-4}
    corrections: [{hidden: 2048, tensor: 2, micro_batch: 2, factor: 1.25, rows: 9}]
    provenance: {how: measured, source: steps, date: 2026-01-02}
links:
  network: {latency_s: 1.0e-6, bytes_per_s: 1.0e10, table: [{bytes: 8, time_s: 1.0e-6}],
            provenance: {how: measured, source: x, date: 2026-01-02}}
  peer: {latency_s: 0, bytes_per_s: 4.0e11, provenance: {how: nominal, source: x}}
quality:
  products: {samples: 64, r_squared: 0.99, median_error: 0.05, worst_error: 0.3, dispersion: 0.01,
             unidentified: [p-norm]}
notes: {cores: \"2\"}
";

#[test]
fn a_profile_survives_writing_and_reading() {
    let profile = parse(GOOD, "lab.yaml").unwrap();
    let constants = &profile.kinds["h100_sxm5_80gb"];
    assert_eq!(constants.launch.get(), 2.5e-6);
    assert_eq!(
        constants.provenance,
        Provenance::Measured { source: "cuda".into(), date: "2026-01-02".into() }
    );
    let text = documents::json::pretty(&ProfileDocument::from_ir(&profile)).unwrap();
    assert_eq!(parse(&text, "lab.json").unwrap(), profile);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let changes = [
        ("launch_s: 2.5e-6", "launch_s: .nan", "profile-value"),
        ("launch_s: 2.5e-6", "launch_s: -1.0e-6", "profile-value"),
        ("launch_s: 2.5e-6", "launch_s: 2.5e6", "profile-value"),
        ("launch_s: 2.5e-6", "launch_us: 2.5", "unknown-key"),
        ("launch_s: 2.5e-6", "launch_s: 2.5 us", "profile-invalid"),
        ("compute_efficiency: 0.8", "compute_efficiency: 0", "profile-value"),
        ("compute_efficiency: 0.8", "compute_efficiency: 80", "profile-value"),
        ("p_norm: 2", "p_norm: 0.5", "profile-value"),
        ("p_norm: 2", "p_norm: .inf", "profile-value"),
        ("bf16: 9.0e14", "bf16: 0", "profile-value"),
        ("bf16: 9.0e14", "bf61: 9.0e14", "unknown-dtype"),
        ("memory_bytes_per_s: 3.0e12", "memory_bytes_per_s: -3", "profile-value"),
        ("bytes_per_s: 4.0e11", "bytes_per_s: 0", "profile-value"),
        ("r_squared: 0.99", "r_squared: 1.5", "profile-value"),
        ("multiprocessors: 132", "multiprocessors: 0", "profile-value"),
        ("peak_flops_per_s: 9.9e14", "peak_flops_per_s: .nan", "profile-value"),
        ("whole_waves: 0.4", "whole_waves: 4", "profile-value"),
        ("whole_waves: 0.4, ", "", "missing-key"),
        ("whole_waves: 0.4", "whole_wave: 0.4", "unknown-key"),
        ("matrix-product:", "matrix-products:", "unknown-key"),
        (
            "\n    facts: {memory_bytes_per_s: 3.3e12, peak_flops_per_s: 9.9e14, multiprocessors: 132,\n            cache_bytes: 5.0e7, clock_hz: 1.98e9}",
            "",
            "missing-key",
        ),
        ("[[16, 32, 64, 4.0e-6]]", "[[16, 32, 4.0e-6]]", "profile-value"),
        ("[[16, 32, 64, 4.0e-6]]", "[[16, 32, 64, -4.0e-6]]", "profile-value"),
        ("[[16, 32, 64, 4.0e-6]]", "[[16, -32, 64, 4.0e-6]]", "profile-value"),
        ("operation: all-reduce", "operation: all-reduces", "unknown-key"),
        ("operation: all-gather, ranks: 16", "operation: all-gather, ranks: 0", "profile-value"),
        ("ranks: 8, ranks_per_node: 8", "ranks: 8, ranks_per_node: 9", "profile-value"),
        ("bytes_per_s: 2.0e11", "bytes_per_s: 0", "profile-value"),
        ("operation: all-gather, ranks: 16", "operation: all-reduce, ranks: 8", "duplicate-row"),
        ("{bytes: 64, time_s: 3.0e-5}", "{bytes: 8, time_s: 3.0e-5}", "profile-value"),
        ("{bytes: 64, time_s: 3.0e-5}", "{bytes: 64, time_s: 0}", "profile-value"),
        (
            "table: [{bytes: 8, time_s: 1.0e-5}, {bytes: 64, time_s: 3.0e-5}],\n",
            "",
            "profile-value",
        ),
        ("{collective: 0.3}", "{compute: 0.3}", "profile-value"),
        ("{collective: 0.3}", "{collective: -0.3}", "profile-value"),
        ("{collective: 0.3}", "{collectives: 0.3}", "unknown-key"),
        ("launch_floor_s: 8.6e-4", "launch_floor_s: .inf", "profile-value"),
        ("factor: 1.25", "factor: 0", "profile-value"),
        ("hidden: 2048", "hidden: 0", "profile-value"),
        ("version: 1", "version: 2", "profile-version"),
        ("name: lab\n", "", "missing-key"),
        ("name: lab\n", "name: lab\nname: lab\n", "profile-invalid"),
    ];
    for (from, to, code) in changes {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "`{from}` is not in the text");
        let error = parse(&text, "lab.yaml").unwrap_err();
        assert_eq!(error.code, code, "{to}: {error}");
        assert!(error.facts.iter().any(|(name, _)| *name == "file"), "{to}");
    }
}

#[test]
fn wrong_units_are_answered_with_the_right_key() {
    let text = GOOD.replacen("launch_s", "launch_us", 1);
    let error = parse(&text, "lab.yaml").unwrap_err();
    assert_eq!(error.hints, ["did you mean `launch_s`?"]);
    assert!(error.facts.iter().any(|(name, _)| *name == "line"));
}

/// Calls `visit` with every value of a document that differs from it in one leaf.
fn each_change(
    whole: &serde_json::Value,
    at: &str,
    visit: &mut impl FnMut(&str, &serde_json::Value),
) {
    use serde_json::Value;
    let replaced = |leaf: Value| {
        let mut changed = whole.clone();
        *changed.pointer_mut(at).unwrap() = leaf;
        changed
    };
    match whole.pointer(at).unwrap() {
        Value::Object(entries) => {
            entries.keys().for_each(|key| each_change(whole, &format!("{at}/{key}"), visit));
        }
        Value::Array(items) => {
            (0..items.len()).for_each(|i| each_change(whole, &format!("{at}/{i}"), visit));
        }
        Value::String(text) => visit(at, &replaced(Value::String(format!("{text}x")))),
        Value::Number(number) if number.is_u64() => {
            visit(at, &replaced((number.as_u64().unwrap() + 1).into()));
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            visit(at, &replaced(if number == 0.0 { 1e-9 } else { number * 0.999 }.into()));
        }
        other => panic!("{at}: {other}"),
    }
}

#[test]
fn every_figure_of_a_profile_changes_its_digest() {
    let profile = parse(GOOD, "lab.yaml").unwrap();
    let digest = documents::digest::profile(&profile);
    let whole = serde_json::to_value(ProfileDocument::from_ir(&profile)).unwrap();
    let (mut n_changed, mut refused) = (0, Vec::new());
    each_change(&whole, "", &mut |at, changed| match parse(&changed.to_string(), "changed") {
        Ok(other) => {
            assert_ne!(documents::digest::profile(&other), digest, "{at}");
            n_changed += 1;
        }
        Err(_) => refused.push(at.to_owned()),
    });
    // What no other value can stand for: the version and names out of a fixed list.
    let fixed = |at: &&String| {
        ["/version", "/how", "/operation", "/ranks_per_node"].iter().any(|end| at.ends_with(end))
    };
    assert_eq!(refused.iter().find(|at| !fixed(at)), None);
    assert!(n_changed > 70, "{n_changed}");
}

#[test]
fn an_empty_profile_and_garbage_are_refused() {
    for text in ["", "version: 1\nname: x\n", "[1, 2", "\u{0}", "version: &a 1\nname: *a\n"] {
        assert!(parse(text, "x").is_err(), "{text:?}");
    }
}

#[test]
fn links_of_the_profile_stand_in_for_those_of_their_name() {
    let cluster = |kind: &str| {
        let text = format!(
            "nodes: [{{device: {kind}, devices: 2, scaleup: peer}}]\n\
             link_kinds: [{{name: peer, bytes_per_s: 1e9, latency_s: 1e-5}}]\n"
        );
        crate::cluster::parse(&text, "c.yaml", None).unwrap()
    };
    let profile = parse(GOOD, "lab.yaml").unwrap();
    let given = cluster("h100_sxm5_80gb");
    assert_eq!(given.links.kinds[0].bandwidth.get(), 1e9);
    let (rated_cluster, warnings) = rated(&profile, given.clone()).unwrap();
    assert!(warnings.is_empty());
    let way = &rated_cluster.links.kinds[0];
    assert_eq!((way.latency_ns, way.bandwidth.get()), (0.0, 4.0e11));
    assert_eq!((way.check, way.source.as_str()), (Check::Read, "x"), "nominal in the profile");
    assert_eq!(rated_cluster.kinds, given.kinds, "constants of kinds stay with the profile");
    let provenance = Provenance::Measured { source: "s".into(), date: "2026-01-02".into() };
    let mut measured = profile.clone();
    measured.links.get_mut("peer").unwrap().provenance = provenance;
    let way = rated(&measured, given).unwrap().0.links.kinds[0].clone();
    assert_eq!((way.check, way.source.as_str()), (Check::Measured, "s, 2026-01-02"));
    let error = rated(&profile, cluster("a100_sxm4_80gb")).unwrap_err();
    assert_eq!(error.code, "unknown-kind");
}
