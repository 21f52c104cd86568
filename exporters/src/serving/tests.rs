//! Scripts of servers against their documented rules, applied here again.

use crate::export;
use crate::format::Export;
use crate::tests::sample::{Builder, Case, cluster};

/// Six layers of attention and experts between embeddings, a norm without a matrix, and a head.
fn model() -> Builder {
    let mut b = Builder::default();
    b.input("ids");
    b.parameter("model.embed_tokens.weight", &[64, 64]);
    b.op("embed", Some("model.embed_tokens"), &["ids", "model.embed_tokens.weight"]);
    let mut last = "embed".to_owned();
    for layer in 0..6 {
        let module = format!("model.layers.{layer}");
        for (part, path) in [("attn", "self_attn"), ("ffn", "mlp.experts.0")] {
            let (op, weight) = (format!("{part}{layer}"), format!("{module}.{path}.w.weight"));
            b.parameter(&weight, &[64, 64]);
            b.op(&op, Some(&format!("{module}.{path}")), &[&last, &weight]);
            last = op;
        }
    }
    b.parameter("lm_head.weight", &[64, 64]);
    b.op("head", Some("lm_head"), &[&last, "lm_head.weight"]);
    b
}

/// By device: the embedding, attention and experts of each layer, the head.
fn case(names: &[&str], devices: [usize; 14]) -> Case {
    Case::new(model().graph, cluster(names), &devices)
}

fn text(export: Export) -> String {
    String::from_utf8(export.bytes).unwrap()
}

fn word<'t>(text: &'t str, before: &str) -> &'t str {
    let after = text.split(before).nth(1).unwrap_or_else(|| panic!("{before} in {text}"));
    after.split_whitespace().next().unwrap()
}

/// `get_pp_indices` of both servers: rank r holds the numbers before it to its own.
fn layers_of(text: &str, variable: &str) -> Vec<String> {
    let counts =
        word(text, &format!("{variable}=")).split(',').map(|n| n.parse::<usize>().unwrap());
    let devices = word(text, "CUDA_VISIBLE_DEVICES=").split(',');
    let each =
        counts.zip(devices).flat_map(|(n, device)| std::iter::repeat_n(device.to_owned(), n));
    each.collect()
}

#[test]
fn ranks_hold_the_layers_that_the_plan_puts_on_their_devices() {
    // One layer on gpu2, three on gpu0, two on gpu1.
    let devices = [2, 2, 2, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
    let case = case(&["gpu0", "gpu1", "gpu2"], devices);
    let targets = [
        ("vllm", "VLLM_PP_LAYER_PARTITION", "--pipeline-parallel-size "),
        ("sglang", "SGLANG_PP_LAYER_PARTITION", "--pp-size "),
    ];
    for (target, variable, flag) in targets {
        let text = text(export(target, &case.source()).unwrap());
        assert_eq!(layers_of(&text, variable), ["2", "0", "0", "0", "1", "1"]);
        assert_eq!(word(&text, flag), "3");
    }
}

#[test]
fn what_ranks_can_not_hold_is_named() {
    let refused = |devices: [usize; 14]| {
        let error = export("vllm", &case(&["gpu0", "gpu1", "cpu"], devices).source()).unwrap_err();
        assert_eq!(error.code, "cannot-express");
        error.message
    };
    let again = refused([0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    assert!(again.starts_with("`model.layers.2` is on `gpu0` again"), "{again}");
    let split = refused([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert!(split.contains("splits `model.layers.1"), "{split}");
    let head = refused([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]);
    assert!(head.contains("splits `lm_head`"), "{head}");
    let memory = refused([2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(memory.contains("`cpu`"), "{memory}");
}

#[test]
fn models_without_one_list_of_layers_are_refused() {
    let several = |lists: &[&str]| {
        let mut b = Builder::default();
        b.input("x");
        b.op("a", Some(lists[0]), &["x"]);
        b.op("b", Some(lists[1]), &["a"]);
        let case = Case::new(b.graph, cluster(&["gpu0"]), &[0, 0]);
        [export("vllm", &case.source()), export("llama.cpp", &case.source())]
            .map(|result| result.unwrap_err().message)
    };
    assert!(several(&["encoder.block.0", "decoder.block.0"]).iter().all(|m| m.contains("several")));
    assert!(several(&["stem", "norm"]).iter().all(|m| m.contains("no numbered layers")));
    assert!(several(&["h.0", "h.2"]).iter().all(|m| m.contains("no layer 1")));
}

/// Slots as `load_tensors` of llama.cpp shares them out: slot k of the last `-ngl` goes to the first
/// device whose shares, summed up, exceed its position.
fn slots_of(text: &str, n_layers: usize) -> Vec<String> {
    let n_slots = match word(text, "-ngl ") {
        "all" => n_layers + 1,
        n => n.parse().unwrap(),
    };
    let devices: Vec<&str> = word(text, "-dev ").split(',').collect();
    let shares: Vec<f32> = match text.contains("-ts ") {
        true => word(text, "-ts ").split(',').map(|n| n.parse().unwrap()).collect(),
        false => vec![1.0],
    };
    let all: f32 = shares.iter().sum();
    let mut sum = 0.0;
    let ends: Vec<f32> = shares
        .iter()
        .map(|share| {
            sum += share;
            sum / all
        })
        .collect();
    let slot = |k: usize| {
        let at = k as f32 / n_slots as f32;
        devices[ends.iter().position(|end| *end > at).unwrap()].to_owned()
    };
    let memory = std::iter::repeat_n("CPU".to_owned(), n_layers + 1 - n_slots);
    memory.chain((0..n_slots).map(slot)).collect()
}

#[test]
fn llama_shares_are_slots() {
    // Embedding and a layer in memory, two on gpu1, three and the head on gpu0; experts of the layers
    // 3 and 5 in memory.
    let devices = [2, 2, 2, 1, 1, 1, 1, 0, 2, 0, 0, 0, 2, 0];
    let script =
        text(export("llama.cpp", &case(&["gpu0", "gpu1", "cpu"], devices).source()).unwrap());
    assert_eq!(slots_of(&script, 6), ["CPU", "CUDA1", "CUDA1", "CUDA0", "CUDA0", "CUDA0", "CUDA0"]);
    assert!(script.contains(r"-ot '^blk\.(3|5)\.ffn_.*_exps=CPU'"), "{script}");
    // All on one device: embeddings are named, for they would stay in memory.
    let script = text(export("llama.cpp", &case(&["gpu0"], [0; 14]).source()).unwrap());
    assert_eq!(slots_of(&script, 6), ["CUDA0"; 7]);
    assert!(script.contains("-ot '^(token|position)_=CUDA0'"), "{script}");
    // The head on a device of its own.
    let mut devices = [0; 14];
    devices[13] = 1;
    let script = text(export("llama.cpp", &case(&["gpu0", "gpu1"], devices).source()).unwrap());
    assert_eq!(slots_of(&script, 6)[5..], ["CUDA0", "CUDA1"]);
    // In memory, behind layers on a device.
    devices[13] = 2;
    let script =
        text(export("llama.cpp", &case(&["gpu0", "gpu1", "cpu"], devices).source()).unwrap());
    assert!(script.contains("^output=CPU"), "{script}");
    let none = text(export("llama.cpp", &case(&["cpu"], [0; 14]).source()).unwrap());
    assert!(none.contains("-ngl 0 -dev none"), "{none}");
    let error = export(
        "llama.cpp",
        &case(&["gpu0", "cpu"], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]).source(),
    );
    assert!(error.unwrap_err().message.contains("`cpu` behind"));
}

#[test]
fn every_device_order_has_shares() {
    for first in 0..6usize {
        for second in first..6 {
            let mut devices = [0usize; 14];
            for layer in 0..6 {
                let device = usize::from(layer >= first) + usize::from(layer >= second);
                (devices[1 + 2 * layer], devices[2 + 2 * layer]) = (device, device);
            }
            devices[0] = devices[1];
            devices[13] = devices[12];
            let case = case(&["gpu0", "gpu1", "gpu2"], devices);
            let script = text(export("llama.cpp", &case.source()).unwrap());
            let wanted: Vec<String> =
                (0..6).map(|layer| format!("CUDA{}", devices[1 + 2 * layer])).collect();
            assert_eq!(slots_of(&script, 6)[..6], wanted);
        }
    }
}
