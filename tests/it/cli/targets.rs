//! What a target can be told is one rule: a plan that is made for it is exported to it, and what is
//! refused when planning is refused when exporting, for the same reason.

use std::path::Path;

use serde_json::{Value, json};

use super::flags::folder as flagged;
use super::folder::{Folder, Ran};
use crate::data;

/// A kind of model: its file, the flags of its plans, and those that put a plan on it again.
struct Kind {
    model: String,
    plan: &'static str,
    on: &'static str,
}

const RUN: &str = "--cluster one.yaml --global-batch 8 --sequence-length 128";
const GRAPH_RUN: &str = "--cluster one.yaml --global-batch 8 --algorithm search-3d";
const PLACE: &str = "--cluster one.yaml --time-limit 4s";
const ON: &str = "--cluster one.yaml";

fn latent(n_later: u32) -> Value {
    json!({
        "model_type": "deepseek_v3", "hidden_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 64, "kv_lora_rank": 32,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "intermediate_size": 512,
        "moe_intermediate_size": 128, "n_routed_experts": 8, "n_shared_experts": 1,
        "num_experts_per_tok": 2, "first_k_dense_replace": 1, "num_nextn_predict_layers": n_later,
        "vocab_size": 1000, "max_position_embeddings": 4096
    })
}

fn folder() -> Folder {
    let folder = flagged();
    let grouped = json!({
        "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 1024,
        "vocab_size": 1000, "max_position_embeddings": 4096
    });
    let experts = json!({
        "model_type": "mixtral", "hidden_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 8, "intermediate_size": 1024,
        "vocab_size": 1000, "num_local_experts": 8, "num_experts_per_tok": 2,
        "max_position_embeddings": 4096
    });
    let t5 = json!({
        "model_type": "t5", "vocab_size": 1000, "d_model": 256, "d_kv": 64, "d_ff": 1024,
        "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4
    });
    let bert = json!({
        "model_type": "bert", "vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "intermediate_size": 512, "max_position_embeddings": 128
    });
    let all = [("grouped", grouped), ("experts", experts), ("t5", t5), ("bert", bert)];
    let latent = [("latent", latent(0)), ("later", latent(1))];
    for (name, config) in all.into_iter().chain(latent) {
        folder.write(&format!("{name}.json"), &config.to_string());
    }
    folder
}

fn kinds() -> Vec<Kind> {
    let kind = |model: &str, plan, on| Kind { model: model.to_owned(), plan, on };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gpt2 = root.join("examples/models/gpt2_small.onnx").display().to_string();
    let towers = root.join("tests/data/onnx_features/two_towers_join.onnx").display().to_string();
    let measured = "--cluster one.yaml --profile measured --global-batch 8 --sequence-length 512";
    let mut kinds = vec![
        kind("config.json", RUN, ON),
        kind("grouped.json", RUN, ON),
        kind("latent.json", RUN, ON),
        kind("experts.json", RUN, ON),
        kind("later.json", RUN, ON),
        kind("t5.json", RUN, ON),
        kind("config.json", measured, "--cluster one.yaml --profile measured"),
        kind(&gpt2, GRAPH_RUN, ON),
        kind(&gpt2, PLACE, ON),
        kind(&gpt2, "--cluster one.yaml --workload training --batch 8 --algorithm m-etf", ON),
        kind("bert.json", PLACE, ON),
        kind("experts.json", "--cluster one.yaml --time-limit 4s --dim sequence=128", ON),
        kind(&towers, PLACE, ON),
        kind("model.json", "--algorithm m-etf", ""),
        kind("dnn.json", "", ""),
    ];
    if let Some(data) = data::folder() {
        for (model, plan) in [("t5_base", PLACE), ("resnet50", GRAPH_RUN), ("bert_base", PLACE)] {
            let path = data.join(format!("models/onnx/{model}.onnx"));
            if path.is_file() {
                kinds.push(kind(&path.display().to_string(), plan, ON));
            }
        }
    }
    kinds
}

/// Everybody that `--for` names.
fn targets() -> Vec<&'static str> {
    exporters::targets().iter().filter(|row| row.runs().is_some()).map(|row| row.name).collect()
}

/// Code and message of a refusal; `None` = it went well.
fn refusal(ran: &Ran) -> Option<(String, String)> {
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    (ran.code != 0).then(|| {
        let error = &ran.json()["error"];
        (text(error, "code"), text(error, "message"))
    })
}

#[test]
fn what_is_planned_for_a_target_is_exported_to_it_and_nothing_else() {
    let folder = folder();
    let (mut n_written, mut n_refused, mut wrong) = (0, 0, Vec::new());
    for Kind { model, plan, on } in kinds() {
        let planned =
            |more: &str| folder.run(&format!("plan {model} {plan} {more} --force --json"));
        planned("-o free.json").exits(0);
        for target in targets() {
            let exported = |from: &str| {
                let line = format!("export {from} --model {model} {on} --target {target}");
                folder.run(&format!("{line} -o out --force --json"))
            };
            let places = !plan.contains("--global-batch") && !plan.contains("training");
            let accepts = match ["vllm", "sglang"].contains(&target) && places {
                true => " --pipeline-only",
                false => "",
            };
            let case = format!("{model} {plan} --for {target}{accepts}");
            match refusal(&planned(&format!("--for {target}{accepts} -o own.json"))) {
                None => {
                    n_written += 1;
                    let refused = refusal(&exported("own.json"));
                    wrong.extend(refused.map(|why| format!("{case}: planned, then {why:?}")));
                }
                Some(why) => {
                    n_refused += 1;
                    let other = refusal(&exported("free.json"));
                    if other.as_ref() != Some(&why) {
                        wrong.push(format!("{case}: {why:?}, but exported {other:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_written >= 40 && n_refused >= 40, "{n_written} {n_refused}");
}

/// `name@version` is understood alike by both.
#[test]
fn versions_are_known_when_planning_as_when_exporting() {
    let folder = folder();
    let plan = |target: &str| {
        folder.run(&format!("plan config.json {RUN} --for {target} -o plan.json --force --json"))
    };
    let export = |target: &str| {
        let line = format!("export plan.json --model config.json {ON} --target {target}");
        folder.run(&format!("{line} -o out --force --json"))
    };
    plan("torchtitan@main").exits(0);
    // Who planned for a version is told its words.
    export("torchtitan").exits(0);
    let script = folder.read("out");
    assert!(script.contains("num_tokens_per_microbatch_per_dp_rank"), "{script}");
    export("torchtitan@0.3").exits(0);
    assert_ne!(script, folder.read("out"));
    for target in ["torchtitan@0.1", "megatron@", "deepspeed@0.19@"] {
        let (planned, exported) = (plan(target).exits(2), export(target).exits(2));
        assert!(planned.stdout.contains("no version"), "{}", planned.stdout);
        assert!(exported.stdout.contains("no version"), "{}", exported.stdout);
    }
    let picture = export("svg@1").exits(2);
    assert!(picture.stdout.contains("svg has no versions"), "{}", picture.stdout);
    assert!(plan("svg").exits(2).stdout.contains("runs none"));
}

#[test]
fn where_a_file_goes_is_never_left_open() {
    let folder = folder();
    folder.run(&format!("plan config.json {RUN} --for megatron -o plan.json")).exits(0);
    let export = |more: &str| {
        folder.run(&format!("export plan.json --model config.json {ON} {more}")).exits(2).stderr
    };
    assert!(export("--target megatron -o out --launcher slurm").contains("--launcher"));
    assert!(export("--target megatron -o out --to run").contains("--to"));
    assert!(export("--target megatron --launcher slurm").contains("--to"));
    assert!(export("--target svg --to run").contains("with -o"));
    assert!(export("--target megatorn -o out").contains("did you mean `megatron`"));
    for made in ["out", "run"] {
        assert!(!folder.path(made).exists(), "{made}");
    }
    let pinned = format!("plan config.json {RUN} --pin recompute=perop");
    assert!(folder.run(&pinned).exits(2).stderr.contains("--pin recompute=per-op?"));
}

/// A search of pipelines alone says nothing of tensor ranks, for which linked devices are made.
#[test]
fn a_pipeline_over_linked_devices_has_to_be_accepted_for_servers() {
    let folder = folder();
    let cluster = |name: &str, device: &str, n: u32, ways: &str| {
        let text = format!(
            "name: {name}\nnodes:\n  - {{count: 1, device: {device}, devices: {n}, {ways}}}\n"
        );
        folder.write(&format!("{name}.yaml"), &text);
    };
    cluster("linked", "h100_sxm5_80gb", 8, "scaleup: nvlink4, host: pcie5_x16");
    cluster("cards", "rtx_4090", 5, "host: pcie4_x16");
    cluster("one", "h100_sxm5_80gb", 1, "host: pcie5_x16");
    let plan = |cluster: &str, more: &str| {
        folder.run(&format!("plan config.json --cluster {cluster}.yaml --dim sequence=128 {more}"))
    };
    for server in ["vllm", "sglang", "sglang@0.5"] {
        let refused = plan("linked", &format!("--for {server}")).exits(2).stderr;
        assert!(refused.contains("error[pipeline-only]"), "{refused}");
        assert!(refused.contains("tensor, expert and data parallelism"), "{refused}");
        for (cluster, more) in [("linked", "--pipeline-only"), ("cards", ""), ("one", "")] {
            let stdout = plan(cluster, &format!("--for {server} {more}")).exits(0).stdout;
            let mut first = stdout.lines().take(6);
            assert!(first.any(|line| line.contains("pipeline parallelism only")), "{stdout}");
        }
    }
    assert!(!folder.path("out.sh").exists());
    plan("linked", "--export vllm=out.sh").exits(2);
    assert!(!folder.path("out.sh").exists());
    let answer =
        plan("linked", "--for vllm --export vllm=out.sh --pipeline-only --json").exits(0).json();
    assert!(answer["warnings"].to_string().contains("pipeline-only"), "{}", answer["warnings"]);
    // The flag does something or is refused.
    for more in ["", "--for accelerate", "--for llama.cpp"] {
        let refused = plan("linked", &format!("--pipeline-only {more}")).exits(2).stderr;
        assert!(refused.contains("`--pipeline-only` has no effect"), "{refused}");
    }
    let run = format!("plan config.json {RUN} --pipeline-only");
    assert!(folder.run(&run).exits(2).stderr.contains("--pipeline-only"));
}

/// What a server runs now is set beside a placement, and never beside a training run.
#[test]
fn servers_are_compared_with_placements_alone() {
    let folder = folder();
    let place = format!("plan config.json {PLACE} --dim sequence=128");
    folder.run(&format!("{place} --for vllm --pipeline-only -o plan.json")).exits(0);
    let on = format!("--model config.json {ON}");
    let server = |text: &str| {
        folder.write("server", text);
        folder.run(&format!("compare server plan.json {on} --json"))
    };
    folder.run(&format!("export plan.json {on} --target vllm -o own.sh")).exits(0);
    let exported = server(&folder.read("own.sh"));
    assert_eq!(exported.json()["moved"], json!([]), "{}", exported.stdout);
    let cut = server("SGLANG_PP_LAYER_PARTITION=5,7 --pp-size 2").exits(10).json();
    assert_eq!(cut["now_is_legal"], true);
    assert!(cut["step_time"][0]["a_ns"].as_u64() > cut["step_time"][0]["b_ns"].as_u64(), "{cut}");
    for (text, why) in [
        ("vllm serve m --tensor-parallel-size 2", "not-judged"),
        ("VLLM_PP_LAYER_PARTITION=5,6 --pipeline-parallel-size 2", "ranks of 11 layers"),
        ("CUDA_VISIBLE_DEVICES=0 --pp-size 2 --tp-size 1", "on 1 devices"),
        ("CUDA_VISIBLE_DEVICES=1,1 --pp-size 2 --tp-size 1", "named twice"),
    ] {
        let ran = server(text).exits(3);
        assert!(ran.stdout.contains(why), "{text}: {}", ran.stdout);
    }
    // Five ranks don't divide twelve layers: vLLM gives more to those before the last, SGLang to the last.
    for (text, stated) in [
        (
            "--pipeline-parallel-size 5 --tensor-parallel-size 1",
            "VLLM_PP_LAYER_PARTITION=2,2,3,3,2",
        ),
        ("--pp-size 5 --tp-size 1", "SGLANG_PP_LAYER_PARTITION=2,2,2,3,3"),
    ] {
        let [found, wanted] =
            [text.to_owned(), format!("{stated} {text}")].map(|text| server(&text).json());
        assert_eq!(found["moved"], wanted["moved"], "{text}");
        assert_eq!(found["step_time"], wanted["step_time"], "{text}");
    }
    folder.run(&format!("plan config.json {RUN} -o plan.json --force")).exits(0);
    let ran = server("VLLM_PP_LAYER_PARTITION=6,6 --pipeline-parallel-size 2").exits(2);
    assert!(ran.stdout.contains("a server trains nothing"), "{}", ran.stdout);
}
