#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

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
links:
  peer: {latency_s: 0, bytes_per_s: 4.0e11, provenance: {how: nominal, source: x}}
quality:
  products: {samples: 64, r_squared: 0.99, median_error: 0.05, worst_error: 0.3, dispersion: 0.01}
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

#[test]
fn an_empty_profile_and_garbage_are_refused() {
    for text in ["", "version: 1\nname: x\n", "[1, 2", "\u{0}", "version: &a 1\nname: *a\n"] {
        assert!(parse(text, "x").is_err(), "{text:?}");
    }
}

#[test]
fn measured_rates_stand_in_for_the_data_sheet() {
    let cluster = |kind: &str| {
        let text = format!("nodes: [{{device: {kind}, devices: 2}}]");
        crate::cluster::parse(&text, "c.yaml", None).unwrap()
    };
    let profile = parse(GOOD, "lab.yaml").unwrap();
    let (rated_cluster, warnings) = rated(&profile, cluster("h100_sxm5_80gb")).unwrap();
    assert!(warnings.is_empty());
    let kind = &rated_cluster.kinds[0];
    assert_eq!(kind.peak[&DType::Bf16].get(), 9.0e14);
    assert_eq!(kind.memory_bandwidth.unwrap().get(), 3.0e12);
    let error = rated(&profile, cluster("a100_sxm4_80gb")).unwrap_err();
    assert_eq!(error.code, "unknown-kind");
}
