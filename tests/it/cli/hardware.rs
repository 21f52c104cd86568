//! What devices change in a price: facts of architectures are read in every path, whatever a device is
//! called.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const PINS: &str = "--pin data=16 --pin tensor=1 --pin pipeline=1 --pin zero=1 --pin recompute=none \
                    --pin micro-batch=1";
/// GPT-2 774M on one device, as its scores are counted below.
const ONE: &str = "--global-batch 16 --sequence-length 1024 --dtype fp16 --pin micro-batch=4 \
                   --pin recompute=none --pin zero=0 --no-offload";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let llama = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
        "num_hidden_layers": 8, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "vocab_size": 32000, "max_position_embeddings": 8192
    });
    let gpt = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 1280, "n_layer": 36,
        "n_head": 20, "n_positions": 1024, "vocab_size": 50257
    });
    folder.write("llama.json", &llama.to_string());
    folder.write("gpt.json", &gpt.to_string());
    folder
}

fn hosts(folder: &Folder, file: &str, text: &str, links: &str) {
    let network = "network: {link: ib_ndr_400}";
    folder.write(file, &format!("name: c\nnodes:\n  - {{{text}, {links}}}\n{network}\n"));
}

fn step(answer: &Value) -> u64 {
    answer["plan"]["cost"]["step_time_ns"].as_u64().unwrap()
}

/// Warnings of a code in the JSON of a plan.
fn warned<'a>(answer: &'a Value, code: &str) -> Option<&'a str> {
    let all = answer["warnings"].as_array()?;
    all.iter().find(|warning| warning["code"] == code)?["message"].as_str()
}

/// Figures of data sheets under three names each.
#[test]
fn a_name_of_ones_own_changes_no_price() {
    let sheets = [
        (
            "Blackwell",
            "memory_bytes_per_s: 8e12, peak_fp32_flops: 7.5e13, peak_bf16_flops: 2.25e15, \
          peak_fp8_flops: 4.5e15, multiprocessors: 148, power_w: 1000",
            ["b200_own", "chip", "h100_x"],
        ),
        (
            "Hopper",
            "memory_bytes_per_s: 3.35e12, peak_fp32_flops: 6.7e13, peak_bf16_flops: 9.89e14, \
          peak_fp8_flops: 1.98e15, multiprocessors: 132, power_w: 700",
            ["h100_own", "chip", "a100_x"],
        ),
        (
            "Ampere",
            "memory_bytes_per_s: 2.0e12, peak_fp32_flops: 1.95e13, peak_bf16_flops: 3.12e14, \
          multiprocessors: 108, power_w: 400",
            ["a100_own", "chip", "H100"],
        ),
    ];
    let folder = folder();
    for (architecture, figures, names) in sheets {
        for dtype in ["bf16", "f8"].into_iter().take(1 + usize::from(architecture != "Ampere")) {
            let steps = names.map(|name| {
                let text = format!(
                    "kinds: [{{name: {name}, memory_bytes: 180e9, {figures}}}]\nname: c\nnodes: [{{count: \
                     2, device: {name}, devices: 8, scaleup: nvlink4, host: pcie5_x16}}]\nnetwork: \
                     {{link: ib_ndr_400}}\n"
                );
                folder.write("own.yaml", &text);
                let line = format!(
                    "plan llama.json --cluster own.yaml --dtype {dtype} --global-batch 32 \
                     --sequence-length 4096 --stack megatron-core --no-offload --json {PINS}"
                );
                let answer = folder.run(&line).exits(0).json();
                let warning = warned(&answer, "assumed-architecture").unwrap();
                assert!(warning.contains(architecture) && warning.contains(name), "{warning}");
                step(&answer)
            });
            assert_eq!([steps[1], steps[2]], [steps[0]; 2], "{architecture} {dtype}");
        }
    }
}

/// Figures of no kind of the catalogue: the architecture is what a file states, else a guess that is told.
#[test]
fn a_stated_architecture_is_the_one_that_prices() {
    let folder = folder();
    let planned = |architecture: &str| {
        let text = format!(
            "kinds: [{{name: chip, memory_bytes: 80e9, memory_bytes_per_s: 2.4e12, peak_fp32_flops: 4e13, \
             peak_bf16_flops: 5e14, multiprocessors: 120{architecture}}}]\nname: c\nnodes: [{{count: 2, \
             device: chip, devices: 8, scaleup: nvlink4, host: pcie5_x16}}]\nnetwork: {{link: ib_ndr_400}}\n"
        );
        folder.write("own.yaml", &text);
        let line = "plan llama.json --cluster own.yaml --dtype bf16 --global-batch 32 --sequence-length 4096 \
                    --no-offload --json";
        folder.run(&format!("{line} {PINS}"))
    };
    let guessed = planned("").exits(0).json();
    assert!(warned(&guessed, "assumed-architecture").unwrap().contains("priced as"));
    let stated = ["ampere", "hopper"].map(|architecture| {
        let answer = planned(&format!(", architecture: {architecture}")).exits(0).json();
        assert_eq!(warned(&answer, "assumed-architecture"), None);
        answer
    });
    assert_ne!(step(&stated[0]), step(&stated[1]));
    assert!(stated.iter().any(|answer| step(answer) == step(&guessed)));
    let digest = |answer: &Value| answer["plan"]["cluster"]["digest"].clone();
    assert_ne!(digest(&stated[0]), digest(&stated[1]));
    assert_ne!(digest(&stated[0]), digest(&guessed));
    let error = planned(", architecture: hoper").exits(3).stdout;
    assert!(error.contains("unknown-architecture") && error.contains("`hopper`"), "{error}");
}

/// 5 a s^2 b bytes a block (Korthikanti et al. 2022, section 4) are kept where nothing fuses them.
#[test]
fn chips_before_ampere_keep_scores_under_transformer_engine() {
    let folder = folder();
    // What a V100 lacks is the kernel alone: with more memory the peaks differ by the scores.
    let peak = |device: &str, line: &str| {
        let scale = "--scale memory=4";
        hosts(&folder, "one.yaml", &format!("count: 1, device: {device}"), "devices: 1");
        let ran =
            folder.run(&format!("plan gpt.json --cluster one.yaml {ONE} {scale} --json {line}"));
        let answer = ran.exits(0).json();
        (answer["plan"]["training"]["memory"][0]["peak_bytes"].as_u64().unwrap(), answer)
    };
    let ((old, answer), (new, _)) = (peak("v100_sxm2_32gb", ""), peak("a100_sxm4_80gb", ""));
    let scores = 36 * 5 * 20 * 1024 * 1024 * 4;
    // Fused cores keep four bytes of each query and head instead.
    assert!((old - new).abs_diff(scores) < scores / 500, "{old} {new} {scores}");
    assert!(warned(&answer, "unfused-attention").unwrap().contains("Volta"));
    // PyTorch's memory-efficient kernel runs there: what the hint says fits.
    let (efficient, answer) = peak("v100_sxm2_32gb", "--stack pytorch-eager");
    assert!(efficient < old - scores / 2 && warned(&answer, "unfused-attention").is_none());
    for device in ["v100_sxm2_32gb", "t4"] {
        hosts(&folder, "one.yaml", &format!("count: 1, device: {device}"), "devices: 1");
        let ran = folder.run(&format!("plan gpt.json --cluster one.yaml {ONE}"));
        assert_ne!(ran.code, 0, "{}", ran.stdout);
    }
}

#[test]
fn exported_flags_are_those_that_were_priced() {
    let folder = folder();
    let flags = |device: &str, links: &str, pins: &str| {
        hosts(&folder, "c.yaml", &format!("count: 2, device: {device}"), links);
        let run = "--global-batch 16 --sequence-length 1024 --dtype fp16 --for megatron --no-offload \
                   --pin pipeline=1 --pin recompute=full --pin sequence-parallel=on";
        folder
            .run(&format!("plan llama.json --cluster c.yaml {run} {pins} -o p.json --force"))
            .exits(0);
        folder
            .run("export p.json --model llama.json --cluster c.yaml --target megatron -o m.args --force")
            .exits(0);
        folder.read("m.args")
    };
    let eight = "devices: 8, scaleup: nvlink4";
    let inside = flags("h100_sxm5_80gb", eight, "--pin tensor=8");
    assert!(inside.contains("--attention-backend auto") && inside.contains("--tp-comm-overlap"));
    // Tensor ranks on two hosts, on PCIe, and on chips that Transformer Engine does not run on.
    let across = flags("h100_sxm5_80gb", "devices: 4, scaleup: nvlink4", "--pin tensor=8");
    assert!(!across.contains("--tp-comm-overlap"), "{across}");
    let cards = flags("h100_pcie_80gb", "devices: 8, scaleup: none", "--pin tensor=8");
    assert!(!cards.contains("--tp-comm-overlap"), "{cards}");
    let old = flags("v100_sxm2_32gb", "devices: 8, scaleup: nvlink2", "--pin tensor=8");
    assert!(old.contains("--attention-backend unfused") && !old.contains("--tp-comm-overlap"));
}

/// Each weight is read once, whether for one token or for four: memory binds both.
#[test]
fn few_tokens_are_bound_by_memory_on_vector_units() {
    let folder = folder();
    let time = |device: &str, dtype: &str, tokens: u32| {
        hosts(&folder, "one.yaml", &format!("count: 1, device: {device}"), "devices: 1");
        folder.write(
            "few.mlir",
            &format!(
                "module @jit_f {{\n  func.func public @main(%arg0: tensor<{tokens}x4096x{dtype}>, %arg1: \
                 tensor<4096x4096x{dtype}>) -> tensor<{tokens}x4096x{dtype}> {{\n    %0 = \
                 stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0] : \
                 (tensor<{tokens}x4096x{dtype}>, tensor<4096x4096x{dtype}>) -> \
                 tensor<{tokens}x4096x{dtype}>\n    return %0 : tensor<{tokens}x4096x{dtype}>\n  }}\n}}\n"
            ),
        );
        step(&folder.run("plan few.mlir --cluster one.yaml --json").exits(0).json()) as f64
    };
    for (device, dtype, bandwidth, bytes) in [
        ("a100_sxm4_80gb", "f32", 2.039e12, 4.0),
        ("v100_sxm2_32gb", "f32", 9e11, 4.0),
        // No tensor cores.
        ("p100_pcie_16gb", "f16", 7.32e11, 2.0),
    ] {
        let memory_ns = bytes * 4096.0 * 4096.0 / bandwidth * 1e9;
        for tokens in [1, 2, 4] {
            let ns = time(device, dtype, tokens);
            assert!((memory_ns..1.7 * memory_ns).contains(&ns), "{device} {tokens}: {ns}");
        }
        let many = [8, 16, 32, 64, 128].map(|tokens| time(device, dtype, tokens));
        assert!(many.is_sorted(), "{device} {many:?}");
    }
}

#[test]
fn boards_without_their_links_are_warned_of() {
    let folder = folder();
    let warnings = |text: &str, links: &str| {
        hosts(&folder, "c.yaml", text, links);
        let line = "plan llama.json --cluster c.yaml --global-batch 16 --sequence-length 512 --json \
                    --time-limit 2s --no-offload";
        folder.run(line).exits(0).json()
    };
    let eight = "count: 1, device: h100_sxm5_80gb";
    let answer = warnings(eight, "devices: 8");
    let warning = warned(&answer, "no-scaleup").unwrap();
    assert!(warning.contains("pcie5_x16") && warning.contains("nvlink4"), "{warning}");
    for links in ["devices: 8, scaleup: nvlink4", "devices: 8, scaleup: none", "devices: 1"] {
        assert_eq!(warned(&warnings(eight, links), "no-scaleup"), None, "{links}");
    }
    assert_eq!(warned(&warnings("count: 1, device: l40s", "devices: 8"), "no-scaleup"), None);
}
