//! Files that say something else than was meant: units, islands, names.

use ir::diagnostic::Diagnostic;
use ir::units::Bytes;

use crate::cluster::{Whole, catalogue, noted, parse};

fn refusal(text: &str) -> Diagnostic {
    parse(text, "test.yaml", None).unwrap_err()
}

fn warnings(text: &str) -> Vec<Diagnostic> {
    noted(text, "test.yaml", None).unwrap().warnings
}

fn own(key: &str, value: &str) -> String {
    format!(
        "kinds: [{{name: chip, memory_bytes: 80e9, memory_bytes_per_s: 2e12, {key}: {value}}}]
nodes: [{{device: chip, devices: 4, scaleup: pcie4_x16, host: pcie4_x16}}]
"
    )
}

fn joined(network: &str) -> String {
    format!("nodes: [{{count: 2, device: t4}}]\nnetwork: {{{network}}}\n")
}

#[test]
fn numbers_in_other_units_are_refused_with_the_likely_one() {
    for (text, code, meant) in [
        (own("peak_bf16_flops", "312"), "kind-rate", "`peak_bf16_flops: 312e12`"),
        // 15 thousand GFLOP/s: no device has 15 thousand TFLOP/s of fp32.
        (own("peak_fp32_flops", "15e3"), "kind-rate", "`peak_fp32_flops: 15e12`"),
        (own("peak_bf16_flops", "51"), "kind-rate", "`peak_bf16_flops: 51e12`"),
        (own("peak_fp16_flops", "989000"), "kind-rate", "`peak_fp16_flops: 989e12`"),
        (joined("bytes_per_s: 25"), "link-rate", "`bytes_per_s: 25e9`"),
        (joined("bytes_per_s: 25000"), "link-rate", "`bytes_per_s: 25e9`"),
        (joined("bytes_per_s: 1e9, latency_s: 100"), "link-latency", "`latency_s: 100e-6`"),
        (own("peak_bf16_flops", "1e14").replace("2e12", "2039"), "kind-rate", "2039e9`"),
    ] {
        let error = refusal(&text);
        assert_eq!(error.code, code, "{text}");
        assert!(error.hints[0].contains(meant), "{:?}", error.hints);
    }
    for tiny in ["1e-300", "1e-30", "0", "-1", "1e21"] {
        assert_eq!(refusal(&own("peak_fp32_flops", tiny)).code, "kind-rate", "{tiny}");
    }
    assert_eq!(refusal(&own("multiprocessors", "0")).code, "count-invalid");
    for nothing in ["0", "-500", "1e6"] {
        assert_eq!(refusal(&own("power_w", nothing)).code, "kind-power", "{nothing}");
    }
}

#[test]
fn unlikely_numbers_are_named() {
    let fine = own("peak_bf16_flops", "312e12");
    let codes: Vec<_> = warnings(&fine).into_iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["assumed-architecture"]);
    let slow = warnings(&joined("bytes_per_s: 3e5"));
    assert_eq!(slow[0].code, "unlikely-number");
    let late = warnings(&joined("bytes_per_s: 1e9, latency_s: 5"));
    assert!(late[0].hints[0].contains("`latency_s: 5e-6`"), "{late:?}");
    let small = warnings(&fine.replace("80e9", "80"));
    assert!(
        small.iter().any(|warning| warning.hints[0].contains("`memory_bytes: 80e9`")),
        "{small:?}"
    );
    // Many are counted.
    let many: String =
        (1..100).map(|i| format!("  - {{id: d{i}, kind: chip, memory_bytes: 80}}\n")).collect();
    let many = warnings(&format!("{fine}devices:\n{many}"));
    assert_eq!(many.iter().filter(|note| note.code == "unlikely-number").count(), 9);
    assert!(many.iter().any(|note| note.message.starts_with("91 more")), "{many:?}");
}

#[test]
fn sizes_may_have_units() {
    let memory = |size: &str| {
        let text =
            format!("devices: [{{id: x, kind: t4, memory_bytes: {size}, reserve_bytes: 0}}]");
        parse(&text, "test.yaml", None).unwrap().devices[0].capacity
    };
    assert_eq!(memory("12GB"), Some(Bytes(12_000_000_000)));
    assert_eq!(memory("80GiB"), Some(Bytes(85_899_345_920)));
    assert_eq!(memory("'1.5 GiB'"), Some(Bytes(1_610_612_736)));
    assert_eq!(memory("12000000000"), memory("12e9"));
    let bits = refusal("devices: [{id: x, kind: t4, memory_bytes: 80Gb}]");
    assert!(bits.message.contains("`80Gb` is no size"), "{}", bits.message);
}

#[test]
fn islands_are_named() {
    let apart = warnings("nodes: [{count: 3, device: t4, devices: 2}]");
    assert_eq!(apart[0].code, "islands");
    assert!(apart[0].message.contains("3 islands"), "{}", apart[0].message);
    assert!(apart[0].message.contains("node1 (2 devices)"), "{}", apart[0].message);
    assert!(apart[0].hints[0].contains("network"), "{:?}", apart[0].hints);
    assert_eq!(warnings(&joined("link: ethernet_10g")), []);
    // What leads one way joins nothing.
    let one_way = "devices: [{id: a, kind: t4}, {id: b, kind: t4}]
links: [{from: a, to: b, bytes_per_s: 1e9}]";
    let found = warnings(one_way);
    assert!(found[0].message.contains("2 islands that don't reach each other both ways"));
    assert!(found[0].hints[0].contains("`a` reaches `b`, and no link leads back"));
}

#[test]
fn ways_lead_on_through_a_member_of_two_domains() {
    let text = "
devices: [{id: a, kind: t4}, {id: b, kind: t4}, {id: c, kind: t4}]
domains: [{link: nvlink3, devices: [a, b]}, {link: pcie4_x16, devices: [b, c]}]
";
    let Whole { cluster, warnings: notes, .. } = noted(text, "test.yaml", None).unwrap();
    assert!(cluster.is_connected() && notes.is_empty(), "{notes:?}");
    let way = cluster.route(ir::id::DeviceId(0), ir::id::DeviceId(2)).unwrap().kind;
    assert_eq!(way.bandwidth.get(), 25e9);
}

#[test]
fn every_name_that_the_catalogue_prints_is_accepted() {
    let catalogue = catalogue().unwrap();
    for row in &catalogue.devices {
        let (kind, scaleup, host) = (&row.kind.name, &row.scaleup_link, &row.host_link);
        let text = format!(
            "nodes: [{{count: 2, device: {kind}, devices: 2, scaleup: {scaleup}, host: {host}}}]
network: {{link: ethernet_100g}}
"
        );
        let Whole { cluster, warnings: notes, .. } = noted(&text, "test.yaml", None).unwrap();
        assert!(cluster.is_connected() && notes.is_empty(), "{kind}: {notes:?}");
    }
    for row in &catalogue.links {
        let text = joined(&format!("link: {}", row.name));
        parse(&text, "test.yaml", None).unwrap();
    }
}

#[test]
fn kinds_are_found_as_people_write_them() {
    for (written, meant) in [
        ("H100", "`h100_sxm5_80gb`"),
        ("RTX 4090", "`rtx_4090`"),
        ("rtx4090", "`rtx_4090`"),
        ("A100-SXM4-80GB", "`a100_sxm4_80gb`"),
        ("T4", "`t4`"),
    ] {
        let error = refusal(&format!("devices: [{{id: x, kind: {written}}}]"));
        assert_eq!(error.code, "unknown-kind");
        assert!(error.hints[0].contains(meant), "{written}: {:?}", error.hints);
    }
}

#[test]
fn many_unlike_ways_are_refused_before_they_are_made() {
    // A chain of unlike links: each pair of its ends has a way of its own cost.
    let devices: String = (0..1000).map(|i| format!("  - {{id: d{i}, kind: t4}}\n")).collect();
    let link = |i: usize| {
        format!(
            "  - {{between: [d{i}, d{}], bytes_per_s: {}e9, latency_s: {}e-9}}\n",
            i + 1,
            1 + i % 7,
            i * i + 1
        )
    };
    let links: String = (0..999).map(link).collect();
    let error = refusal(&format!("devices:\n{devices}links:\n{links}"));
    assert_eq!(error.code, "too-many-links");
}
