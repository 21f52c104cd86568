//! Flags of Megatron-LM as its code takes them (d98e8a64): each is read, warned about, without effect on
//! what is planned, or refused.

use importers::launcher::{Launcher, read};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::{AttentionKernel, Dispatcher, Launch, Scaling};
use serde_json::{Value, json};

use crate::megatron_shape::on_one_device;

fn megatron(more: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = "--tensor-model-parallel-size 2 --micro-batch-size 1 --seq-length 512";
    read(Launcher::Megatron, &format!("{flags} {more}"))
}

/// What is off, or another, by default is so where no flag says otherwise.
#[test]
fn flags_change_fields_of_the_stack() {
    let stack = |more: &str| megatron(more).unwrap().stack;
    let usual = stack("");
    let beside = |more: &str| megatron(more).unwrap().overlaps;
    assert_eq!((beside(""), usual.overlaps_tensor), (Some(false), Some(false)));
    assert_eq!((usual.scaling, usual.dispatcher, usual.overlaps_experts), (None, None, None));
    assert_eq!(usual.launch, Some(Launch::Eager));
    assert_eq!(usual.attention, Some(AttentionKernel::Flash));
    assert_eq!(beside("--overlap-grad-reduce"), Some(true));
    assert_eq!(stack("--tp-comm-overlap --sequence-parallel").overlaps_tensor, Some(true));
    assert_eq!(stack("--attention-backend unfused").attention, Some(AttentionKernel::Unfused));
    for graphs in ["--cuda-graph-impl transformer_engine", "--external-cuda-graph"] {
        assert_eq!(stack(graphs).launch, Some(Launch::CudaGraphs));
    }
    let narrow = "--bf16 --fp8-format hybrid";
    assert_eq!(stack(narrow).scaling, Some(Scaling::Tensor));
    assert_eq!(stack(&format!("{narrow} --fp8-recipe mxfp8")).scaling, Some(Scaling::Block));
    let experts = "--num-experts 8 --expert-model-parallel-size 2";
    let sent = |more: &str| stack(&format!("{experts} {more}")).dispatcher;
    assert_eq!(sent(""), Some(Dispatcher::AllGather));
    assert_eq!(sent("--moe-token-dispatcher-type flex"), Some(Dispatcher::Flex));
    let all = "--moe-token-dispatcher-type alltoall";
    let padded = "--moe-expert-capacity-factor 1.0 --moe-pad-expert-input-to-capacity";
    assert_eq!(sent(&format!("{all} {padded}")), Some(Dispatcher::Padded));
    assert_eq!(stack(experts).overlaps_experts, Some(false));
    let dropped = megatron(&format!("{experts} {all} --moe-expert-capacity-factor 1.5"));
    assert_eq!(dropped.unwrap_err().code, "not-judged");
}

/// `get_num_layers_to_build` gives 4, 12, 4, 12: stated layers are of a rank. Layers that predict a later
/// token lie behind the last one.
#[test]
fn stages_are_those_that_megatron_builds() {
    let blocks = |more: &str| megatron(more).map(|settings| settings.blocks);
    let two = "--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2";
    let first = format!("{two} --num-layers 32 --decoder-first-pipeline-num-layers 8");
    assert_eq!(blocks(&first).unwrap(), Some(vec![4, 12, 4, 12]));
    let odd = format!("{two} --num-layers 32 --decoder-first-pipeline-num-layers 9");
    assert_eq!(blocks(&odd).unwrap_err().code, "bad-settings");
    assert_eq!(blocks("--num-layers 8 --mtp-num-layers 1").unwrap(), Some(vec![9]));
    let split = format!("{two} --num-layers 8 --mtp-num-layers 1");
    assert_eq!(blocks(&split).unwrap(), Some(vec![2, 2, 2, 3]));
}

#[test]
fn flags_that_nothing_is_priced_by_are_named() {
    for flag in [
        "--main-params-dtype fp16",
        "--exp-avg-dtype bf16",
        "--fp8-param-gather --use-distributed-optimizer",
        "--fp32-residual-connection --bf16",
        "--moe-paged-stash",
        "--mlp-chunks-for-training 2",
        "--cp-comm-type a2a",
        "--delay-wgrad-compute",
        "--no-gradient-accumulation-fusion",
        "--transformer-impl local",
        "--deterministic-mode",
        "--first-last-layers-bf16",
        "--cuda-graph-impl local",
    ] {
        let settings = megatron(flag).unwrap();
        let name = flag.split(' ').next().unwrap();
        assert!(
            settings.not_judged.values().flatten().any(|flag| flag == name),
            "{flag}: {settings:?}"
        );
    }
    for usual in ["--exp-avg-dtype fp32", "--cp-comm-type p2p", "--lr-warmup-fraction 0.1"] {
        assert!(megatron(usual).unwrap().not_judged.is_empty(), "{usual}");
    }
    let one_by_one = megatron("--num-experts 8").unwrap().not_judged;
    assert!(one_by_one.values().flatten().any(|flag| flag.starts_with("--moe-grouped-gemm")));
    for (flags, code) in [
        ("--tensor-parallel-num-weight-shards 2", "not-judged"),
        ("--expert-tensor-parallel-num-weight-shards 2", "not-judged"),
        ("--outer-dp-sharding-strategy optim", "not-judged"),
        ("--mtp-standalone", "not-judged"),
        ("--yaml-cfg own.yaml", "not-judged"),
        ("--use-checkpoint-args", "not-judged"),
        ("--use-mp-args-from-checkpoint-args", "not-judged"),
        ("--enable-mhc-connections", "not-judged"),
        ("--freeze-all-layers", "not-judged"),
        ("--moe-layer-recompute", "not-judged"),
        ("--perform-rl-step", "not-judged"),
        ("--batch-size 3", "bad-settings"),
        ("--checkpoint-activations", "bad-settings"),
        ("--sequence-parallel false", "bad-settings"),
        ("--a-flag-of-nobody 3", "unknown-flag"),
    ] {
        let error = megatron(flags).unwrap_err();
        let name = flags.split(' ').next().unwrap();
        assert!(error.code == code && error.message.contains(name), "{flags}: {error:?}");
    }
    let older = read(Launcher::Megatron, "--micro-batch-size 1 --encoder-seq-length 64").unwrap();
    assert_eq!(older.sequence_length, Some(64));
}

/// Words as a shell parts them; variables of a script hold flags.
#[test]
fn quoted_words_are_no_flags() {
    let context = |more: &str| megatron(more).unwrap().context;
    assert_eq!(context("--wandb-exp-name 'x --context-parallel-size 2'"), None);
    assert_eq!(context("--wandb-exp-name \"it's # --context-parallel-size 2\""), None);
    assert_eq!(context("--wandb-exp-name x' --context-parallel-size 2"), Some(2));
    assert_eq!(context("\nARGS=\"\n  --context-parallel-size 2 \\\n  --bf16\n\"\n"), Some(2));
    assert_eq!(context("\nARGS=(\n  --context-parallel-size \"2\"\n)\n"), Some(2));
    assert_eq!(context("--context-parallel-size='2'"), Some(2));
}

/// `validate_args`: what no flag says of a model has a default.
#[test]
fn sizes_that_are_left_out_are_megatrons() {
    let sizes = |more: &str| megatron(&format!("--hidden-size 1024 {more}")).unwrap().sizes;
    assert_eq!(sizes("")["--ffn-hidden-size"], 4096);
    assert_eq!(sizes("--swiglu")["--ffn-hidden-size"], 2688);
    assert_eq!((sizes("--swiglu")["--swiglu"], sizes("--squared-relu")["--swiglu"]), (1, 0));
    assert_eq!(sizes("--num-attention-heads 8")["--kv-channels"], 128);
    let experts = sizes("--num-experts 8");
    assert_eq!(experts["--moe-router-topk"], 2);
    assert_eq!(experts["--moe-shared-expert-intermediate-size"], 0);
    let latent = sizes("--multi-latent-attention --v-head-dim 512");
    assert_eq!((latent["--kv-lora-rank"], latent["--v-head-dim"]), (32, 512));
    assert_eq!((latent["--q-lora-rank"], latent["--qk-head-dim"]), (0, 128));
    assert_eq!(sizes("--mtp-num-layers 2")["--mtp-num-layers"], 2);
    let with = |freq: &str| {
        let flags = "--hidden-size 64 --num-experts 8 --num-layers 4";
        megatron(&format!("{flags} {freq}")).map(|settings| settings.with_experts.unwrap())
    };
    assert_eq!(with("").unwrap(), [true; 4]);
    assert_eq!(with("--moe-layer-freq 2").unwrap(), [true, false, true, false]);
    let first = [false, true, true, true];
    assert_eq!(with("--moe-layer-freq ([0]*1+[1]*3)").unwrap(), first);
    assert_eq!(with("--moe-layer-freq '([0] + [1] * 3)'").unwrap(), first);
    assert_eq!(with("--moe-layer-freq ([0,1])*2").unwrap(), [false, true, false, true]);
    for wrong in ["0", "([0]*3", "[2]*4", "[1]*5", "[1]*99999999999", "()"] {
        let error = with(&format!("--moe-layer-freq {wrong}")).unwrap_err();
        assert_eq!(error.code, "bad-settings", "{wrong}");
    }
}

/// Flags of a small model with a config's own members, and what is said to be lacking.
fn exported(model_type: &str, more: Value) -> (String, String) {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
        "vocab_size": 256, "max_position_embeddings": 512, "num_local_experts": 4,
        "num_experts_per_tok": 2, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512,
    });
    if model_type == "deepseek_v3" {
        let latent = json!({
            "q_lora_rank": 32, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
            "v_head_dim": 8, "num_key_value_heads": 4, "moe_intermediate_size": 32,
            "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 0,
        });
        config.as_object_mut().unwrap().extend(latent.as_object().unwrap().clone());
    }
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let (text, warnings) = on_one_device(&path, 128);
    let messages: Vec<String> = warnings.into_iter().map(|warning| warning.message).collect();
    (text, messages.join("\n"))
}

/// Each number of a config is in the flags, or named where no flag says it.
#[test]
fn numbers_of_configs_are_flags_or_named() {
    let yarn = |more: Value| {
        let mut rope = json!({ "rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0 });
        rope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "rope_parameters": rope })
    };
    let said = [
        ("llama", json!({ "rope_theta": 1e30 }), "--rotary-base 1000000000000000019884624838656\n"),
        ("llama", yarn(json!({})), "--yarn-original-max-position-embeddings 512\n"),
        ("mixtral", json!({ "router_aux_loss_coef": 0.02 }), "--moe-aux-loss-coeff 0.02\n"),
        ("mixtral", json!({ "router_jitter_noise": 0.1 }), "--moe-input-jitter-eps 0.1\n"),
    ];
    for (kind, more, line) in said {
        let (text, warnings) = exported(kind, more);
        assert!(text.contains(line) && warnings.is_empty(), "{line}\n{text}{warnings}");
    }
    let lacking = [
        ("llama", yarn(json!({ "attention_factor": 2.0 })), "an attention factor of 2"),
        ("deepseek_v3", yarn(json!({ "beta_fast": 16.0 })), "`beta_fast` of 16"),
        ("gpt2", json!({ "embd_pdrop": 0.0 }), "a dropout of embeddings of 0"),
        ("gpt2", json!({ "scale_attn_by_inverse_layer_idx": true }), "the number of their layer"),
    ];
    for (kind, more, word) in lacking {
        let (text, warnings) = exported(kind, more);
        assert!(warnings.contains(word), "{word}\n{text}{warnings}");
    }
}

/// Layers with a window are those of the model, by a list or a number (`is_layer_window_attention`), and
/// graphs hold what their modules say.
#[test]
fn windows_and_graphs_are_those_that_run() {
    let windowed = |more: &str| {
        let model = "--hidden-size 64 --num-attention-heads 4 --num-layers 4 --window-size 7,0";
        megatron(&format!("{model} {more}")).unwrap().windowed
    };
    assert_eq!(windowed(""), Some(vec![true; 4]));
    let (list, every) = ("--window-attn-skip-freq ([1,0]*2)", "--window-attn-skip-freq 2");
    assert_eq!(windowed(list), Some(vec![true, false, true, false]));
    assert_eq!(windowed(every), windowed(list));
    for short in ["[1]", "0", "x"] {
        let flags = "--hidden-size 64 --num-attention-heads 4 --num-layers 4";
        let line = format!("{flags} --window-attn-skip-freq {short}");
        assert_eq!(megatron(&line).unwrap_err().code, "bad-settings", "{short}");
    }
    let warns = |more: &str| !megatron(more).unwrap().not_judged.is_empty();
    assert!(warns("--enable-cuda-graph") && warns("--external-cuda-graph"));
    assert!(warns("--cuda-graph-impl transformer_engine") && warns("--cuda-graph-impl local"));
    let attention = "--cuda-graph-modules attn";
    assert!(!warns(&format!("--cuda-graph-impl transformer_engine {attention}")));
    assert!(!warns(&format!("--cuda-graph-impl none {attention}")));
    assert!(megatron("--onnx-safe True").is_ok());
}

/// A flag of a megabyte is refused at once, and words of other programs with a hint that can be followed.
#[test]
fn long_and_foreign_flags_are_refused_at_once() {
    let long = format!("--{}", "x".repeat(900_000));
    let error = megatron(&long).unwrap_err();
    assert_eq!(error.code, "unknown-flag");
    // What is compared with all known flags is no longer than what is shown.
    assert!(error.message.len() < 200, "{}", error.message);
    let error = megatron("--gpus-per-node-of-slurm 8").unwrap_err();
    assert_eq!(error.code, "unknown-flag");
}
