//! Laws of the device map.

use ir::id::OpId;
use serde_json::{Map, Value};

use super::{colocation, export, max_memory};
use crate::tests::sample::{Builder, Case, cluster, language_model};

fn map(case: &Case) -> Map<String, Value> {
    let bytes = export(&case.source()).unwrap().bytes;
    serde_json::from_slice(&bytes).unwrap()
}

fn case(builder: Builder, names: &[&str], devices: &[usize]) -> Case {
    Case::new(builder.graph, cluster(names), devices)
}

fn refused(case: &Case) -> String {
    let diagnostic = export(&case.source()).unwrap_err();
    assert_eq!(diagnostic.code, "cannot-express");
    diagnostic.message
}

#[test]
fn keys_are_blocks_without_the_wrapper_in_the_order_of_the_model() {
    let case = Case::blocks(&[0, 0, 1]);
    let text = String::from_utf8(export(&case.source()).unwrap().bytes).unwrap();
    assert_eq!(
        text,
        "{\n  \"transformer.wte\": 0,\n  \"transformer.wpe\": 0,\n  \"transformer.h.0\": 0,\n  \
         \"transformer.h.1\": 1,\n  \"transformer.ln_f\": 1,\n  \"lm_head\": 0\n}\n"
    );
}

/// The bytes of a device less what lies there beside weights, by keys that YAML reads as whole numbers.
#[test]
fn weights_have_what_activations_leave() {
    let case = Case::blocks(&[0, 0, 1]);
    let text = String::from_utf8(max_memory::export(&case.source()).unwrap().bytes).unwrap();
    let lines: Vec<(usize, u64)> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(device, bytes)| (device.parse().unwrap(), bytes.parse().unwrap()))
        .collect();
    assert_eq!(lines.iter().map(|(device, _)| *device).collect::<Vec<_>>(), [0, 1]);
    for (device, bytes) in lines {
        let report = &case.report.devices[device];
        assert_eq!(bytes + report.peak.bytes, report.limit.unwrap() + report.parameter_bytes);
        assert!(report.parameter_bytes <= bytes);
    }
    let one =
        String::from_utf8(max_memory::export(&Case::blocks(&[1, 1, 1]).source()).unwrap().bytes);
    assert!(one.unwrap().starts_with("1: "));
}

#[test]
fn a_container_on_one_device_is_one_key_and_so_is_a_model() {
    let keys = |devices| map(&Case::blocks(devices)).keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&[0, 0, 0]), [""]);
    assert_eq!(
        keys(&[0, 1, 1]),
        ["lm_head", "transformer.h", "transformer.ln_f", "transformer.wpe", "transformer.wte"]
    );
}

#[test]
fn what_was_folded_into_a_convolution_beside_split_blocks_is_named() {
    let mut builder = Builder::default();
    builder.input("x");
    builder.parameter("onnx::Conv_10", &[8, 8]);
    builder.parameter("layer1.0.conv1.weight", &[8, 8]);
    builder.op("stem", Some("conv1"), &["x", "onnx::Conv_10"]);
    builder.op("first", Some("layer1.0.conv1"), &["stem", "layer1.0.conv1.weight"]);
    builder.op("second", Some("layer1.1.conv1"), &["first"]);
    builder.graph.ops.iter_mut().for_each(|op| op.op_type = "Conv".into());
    let warnings = |devices: &[usize]| {
        let case = Case::new(builder.graph.clone(), cluster(&["gpu0", "gpu1"]), devices);
        let export = export(&case.source()).unwrap();
        export.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&[0, 0, 1]), ["folded-parameters"]);
    // One device is one key, which covers what the graph does not show.
    assert_eq!(warnings(&[0, 0, 0]), [""; 0]);
}

#[test]
fn no_key_covers_another_and_each_known_parameter_has_one() {
    for devices in [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]] {
        let map = map(&Case::blocks(&devices));
        for outer in map.keys() {
            assert!(map.keys().all(|key| !key.starts_with(&format!("{outer}."))), "{outer}");
        }
        for tensor in &language_model().tensors {
            if let Some(name) = tensor.name.strip_prefix("m.") {
                let covering = map.keys().filter(|key| name.starts_with(&format!("{key}.")));
                assert_eq!(covering.count(), 1, "{name}");
            }
        }
        assert_eq!(map["transformer.wte"], map["lm_head"]);
    }
}

#[test]
fn a_split_block_is_refused_by_name() {
    let mut case = Case::blocks(&[0, 0, 1]);
    case.plan.placement.device[5] = Some(ir::id::DeviceId(1));
    assert_eq!(
        refused(&case),
        "the plan splits module `transformer.h.0`, which Accelerate can't, over `gpu0` and `gpu1`"
    );
    // An op without a module counts with the block that made its operand.
    let mut case = Case::blocks(&[0, 0, 1]);
    case.plan.placement.device[4] = Some(ir::id::DeviceId(1));
    assert!(refused(&case).contains("`transformer.h.0`"));
}

#[test]
fn split_ties_are_refused_but_merged_constants_are_no_ties() {
    let mut tied = Case::blocks(&[0, 0, 1]);
    tied.plan.placement.device[9] = Some(ir::id::DeviceId(1));
    assert_eq!(
        refused(&tied),
        "the plan splits the modules that share parameter `lm_head.weight`, which Accelerate \
         can't, over `gpu1` and `gpu0`"
    );
    // `h.0.ln.bias` is read by both blocks, which are on two devices here.
    assert_eq!(map(&Case::blocks(&[0, 0, 1])).len(), 6);
}

#[test]
fn operands_of_a_container_must_lie_in_one_place() {
    let mut b = Builder::default();
    b.input("x");
    b.op("left", Some("a.0.p"), &["x"]);
    b.op("right", Some("a.1.p"), &["x"]);
    b.op("sum", Some("a"), &["left", "right"]);
    let message = refused(&case(b, &["gpu0", "gpu1"], &[0, 1, 1]));
    assert!(message.contains("op `sum` joins"), "{message}");
}

#[test]
fn the_colocation_is_what_the_export_needs() {
    let graph = language_model();
    let groups = colocation(&graph).unwrap();
    let ids = |ops: &[u32]| ops.iter().map(|op| OpId(*op)).collect::<Vec<_>>();
    // Embeddings, their sum and the tied head; block 0 with its anonymous split; block 1.
    assert_eq!(groups, [ids(&[0, 1, 2, 9]), ids(&[3, 4, 5]), ids(&[6, 7])]);
    for choice in 0..16usize {
        let mut devices = vec![choice >> 3 & 1; graph.ops.len()];
        for (bit, group) in groups.iter().enumerate() {
            group.iter().for_each(|op| devices[op.index()] = choice >> bit & 1);
        }
        let case = Case::new(graph.clone(), cluster(&["gpu0", "gpu1"]), &devices);
        let found = export(&case.source()).unwrap();
        assert!(found.warnings.iter().all(|w| w.code == "wrapper-stripped"));
    }
}

/// What all layers read and no weight makes, such as rotary positions, lies where the first of them does.
#[test]
fn positions_lie_with_the_first_layer_that_reads_them() {
    let mut b = Builder::default();
    b.input("x");
    b.input("positions");
    b.parameter("freq", &[8]);
    b.parameter("w", &[8, 8]);
    b.op("angles", Some("model.rotary_emb"), &["positions", "freq"]);
    b.op("words", Some("model.embed_tokens"), &["x", "w"]);
    b.op("l0", Some("model.layers.0.attn"), &["words", "angles"]);
    b.op("l1", Some("model.layers.1.attn"), &["l0", "angles"]);
    let groups = colocation(&b.graph).unwrap();
    assert_eq!(groups, [vec![OpId(0), OpId(2)]]);
}

#[test]
fn direct_parameters_of_a_split_container_have_their_own_key() {
    let mut b = Builder::default();
    b.input("x");
    b.parameter("enc.scale", &[8, 8]);
    b.parameter("stem.weight", &[3]);
    b.op("stem", Some("norm"), &["x", "stem.weight"]);
    b.op("scaled", Some("enc"), &["stem", "enc.scale"]);
    b.op("l0", Some("enc.layer.0"), &["scaled"]);
    b.op("l1", Some("enc.layer.1"), &["l0"]);
    let map = map(&case(b, &["gpu0", "gpu1"], &[0, 0, 0, 1]));
    let keys: Vec<(&str, u64)> =
        map.iter().map(|(key, device)| (key.as_str(), device.as_u64().unwrap())).collect();
    assert_eq!(
        keys,
        [("enc.layer.0", 0), ("enc.layer.1", 1), ("enc.scale", 0), ("norm", 0), ("stem", 0)]
    );
}

#[test]
fn gpus_are_counted_without_processor_and_disk() {
    let mut b = Builder::default();
    b.input("x");
    b.op("l0", Some("h.0"), &["x"]);
    b.op("l1", Some("h.1"), &["l0"]);
    b.op("l2", Some("h.2"), &["l1"]);
    let case = case(b, &["node0.cpu", "disk", "gpu0", "gpu1"], &[0, 3, 1]);
    let found = export(&case.source()).unwrap();
    let map: Map<String, Value> = serde_json::from_slice(&found.bytes).unwrap();
    assert_eq!(Value::from(map), serde_json::json!({"h.0": "cpu", "h.1": 1, "h.2": "disk"}));
    assert_eq!(found.warnings.iter().map(|w| w.code).collect::<Vec<_>>(), ["storage-only"]);
}

#[test]
fn two_hosts_and_graphs_without_modules_are_refused() {
    let mut b = Builder::default();
    b.input("x");
    b.op("l0", Some("h.0"), &["x"]);
    b.op("l1", Some("h.1"), &["l0"]);
    let mut two_hosts = cluster(&["gpu0", "gpu1"]);
    two_hosts.nodes.push(two_hosts.nodes[0].clone());
    two_hosts.devices[1].node = Some(ir::id::NodeId(1));
    let message = refused(&Case::new(b.graph, two_hosts, &[0, 1]));
    assert!(message.contains("one host"), "{message}");

    let mut b = Builder::default();
    b.input("x");
    b.op("l0", None, &["x"]);
    assert!(refused(&case(b, &["gpu0"], &[0])).contains("does not name the modules"));
}

#[test]
fn evil_module_names_are_json_strings() {
    let mut b = Builder::default();
    b.input("x");
    b.op("l0", Some("\"},\u{1}"), &["x"]);
    b.op("l1", Some("other"), &["l0"]);
    let map = map(&case(b, &["gpu0", "gpu1"], &[0, 1]));
    assert_eq!(map["\"},\u{1}"], 0);
}

#[test]
fn depth_is_bounded() {
    let mut b = Builder::default();
    b.input("x");
    b.op("l0", Some("a.".repeat(100_000).trim_end_matches('.')), &["x"]);
    assert!(refused(&case(b, &["gpu0"], &[0])).contains("nests"));
}
