//! Settings whose meaning hangs on others: alone, beside their partner and against it. What comes of each
//! is what the launcher's own code does (Megatron-LM d98e8a64, torchtitan main of August 2026,
//! DeepSpeed 0.19.8, vLLM and SGLang of November 2026, Hetu-Galvatron 2.4.0).

use importers::launcher::{Launcher, ModelFacts, read_for};
use ir::card::ZeroStage;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::stack::Scaling;
use ir::tensor::DType;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    /// It changes what is judged.
    Honoured,
    /// It does nothing, and that is said.
    Named,
    /// The launcher stops, and so does the reader, with its name.
    Refused,
}

use Comes::{Honoured, Named, Refused};

/// A setting, and what comes of it beside others.
type Row = (&'static str, &'static [(&'static str, Comes)]);

const DENSE: ModelFacts =
    ModelFacts { n_layers: Some(32), n_predicting: None, has_experts: Some(false) };
const EXPERTS: ModelFacts =
    ModelFacts { n_layers: Some(32), n_predicting: None, has_experts: Some(true) };

const MEGATRON: &[Row] = &[
    (
        "--num-layers-per-virtual-pipeline-stage 2",
        &[
            ("", Refused),
            ("--pipeline-model-parallel-size 4", Honoured),
            ("--pipeline-model-parallel-size 4 --num-layers 32", Honoured),
            ("--pipeline-model-parallel-size 4 --num-virtual-stages-per-pipeline-rank 4", Refused),
            ("--pipeline-model-parallel-size 2 --no-overlap-p2p-communication", Refused),
            ("--pipeline-model-parallel-size 4 --decoder-first-pipeline-num-layers 2", Refused),
        ],
    ),
    (
        "--num-virtual-stages-per-pipeline-rank 2",
        &[
            ("", Refused),
            ("--pipeline-model-parallel-size 4", Honoured),
            (
                "--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*16|t*16L",
                Refused,
            ),
        ],
    ),
    (
        "--pipeline-model-parallel-layout Et*15|t*17L",
        &[
            ("", Refused),
            ("--pipeline-model-parallel-size 2", Honoured),
            ("--pipeline-model-parallel-size 2 --decoder-last-pipeline-num-layers 17", Refused),
        ],
    ),
    (
        "--decoder-first-pipeline-num-layers 5",
        &[
            ("", Refused),
            ("--pipeline-model-parallel-size 4", Honoured),
            ("--pipeline-model-parallel-size 4 --num-layers 32", Honoured),
            ("--pipeline-model-parallel-size 3", Refused),
        ],
    ),
    (
        "--microbatch-group-size-per-virtual-pipeline-stage 4",
        &[
            ("", Refused),
            ("--pipeline-model-parallel-size 4", Named),
            ("--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2", Refused),
        ],
    ),
    ("--num-layers 32", &[("--encoder-num-layers 32", Refused)]),
    ("--seq-length 512", &[("--encoder-seq-length 512", Refused)]),
    (
        "--overlap-param-gather",
        &[
            ("", Refused),
            ("--use-distributed-optimizer", Refused),
            ("--overlap-grad-reduce", Refused),
        ],
    ),
    ("--tp-comm-overlap", &[("", Refused), ("--sequence-parallel", Honoured)]),
    ("--fp16-lm-cross-entropy", &[("", Refused)]),
    ("--recompute-method uniform", &[("", Named), ("--recompute-activations", Refused)]),
    ("--recompute-num-layers 2", &[("", Named), ("--recompute-granularity selective", Refused)]),
    ("--recompute-modules mlp", &[("", Named), ("--recompute-activations", Refused)]),
    (
        "--recompute-granularity full",
        &[
            ("", Refused),
            ("--recompute-method uniform", Refused),
            ("--recompute-method uniform --recompute-num-layers 1", Honoured),
        ],
    ),
    (
        "--optimizer-offload-fraction 0.5",
        &[("", Named), ("--optimizer-cpu-offload --use-precision-aware-optimizer", Refused)],
    ),
    ("--optimizer-cpu-offload", &[("", Refused), ("--use-precision-aware-optimizer", Honoured)]),
    ("--torch-fsdp2-no-reshard-after-forward", &[("", Named), ("--use-torch-fsdp2", Honoured)]),
    (
        "--use-torch-fsdp2",
        &[
            ("", Honoured),
            ("--use-distributed-optimizer", Refused),
            ("--use-megatron-fsdp", Refused),
            ("--pipeline-model-parallel-size 2", Refused),
        ],
    ),
    (
        "--data-parallel-sharding-strategy optim",
        &[("", Refused), ("--use-megatron-fsdp", Honoured)],
    ),
    ("--fp8-recipe mxfp8", &[("", Named), ("--fp8-format hybrid", Honoured)]),
    ("--num-query-groups 8", &[("", Named), ("--group-query-attention", Honoured)]),
    ("--window-attn-skip-freq 2", &[("", Named), ("--window-size 128,0", Honoured)]),
    ("--kv-lora-rank 512", &[("", Named), ("--multi-latent-attention", Honoured)]),
    ("--cuda-graph-scope attn", &[("", Named), ("--cuda-graph-modules attn", Refused)]),
    (
        "--enable-cuda-graph",
        &[("", Honoured), ("--external-cuda-graph", Refused), ("--cuda-graph-impl local", Refused)],
    ),
    ("--expert-model-parallel-size 2", &[("", Refused), ("--num-experts 8", Honoured)]),
    ("--moe-token-dispatcher-type alltoall", &[("", Named), ("--num-experts 8", Honoured)]),
    ("--moe-ffn-hidden-size 512", &[("", Named), ("--num-experts 8", Honoured)]),
    (
        "--moe-pad-expert-input-to-capacity",
        &[
            ("", Refused),
            (
                "--num-experts 8 --moe-token-dispatcher-type alltoall --moe-expert-capacity-factor 1.0",
                Honoured,
            ),
        ],
    ),
    (
        "--overlap-moe-expert-parallel-comm",
        &[
            ("", Refused),
            (
                "--num-experts 8 --expert-model-parallel-size 2 --moe-token-dispatcher-type alltoall",
                Honoured,
            ),
            ("--num-experts 8 --expert-model-parallel-size 2", Refused),
        ],
    ),
];

const TORCHTITAN: &[Row] = &[
    (
        "--parallelism.pipeline_parallel_schedule GPipe",
        &[("", Named), ("--parallelism.pipeline_parallel_degree 2", Honoured)],
    ),
    (
        "--parallelism.pipeline_parallel_first_stage_less_layers 2",
        &[("", Named), ("--parallelism.pipeline_parallel_degree 2", Honoured)],
    ),
    (
        "--parallelism.module_fqns_per_model_part tok_embeddings,layers.0 layers.1,norm,lm_head",
        &[
            ("", Named),
            ("--parallelism.pipeline_parallel_degree 2", Honoured),
            ("--parallelism.pipeline_parallel_degree 3", Refused),
        ],
    ),
    (
        "--activation_checkpoint.selective_ac_option op",
        &[("", Named), ("--activation_checkpoint.mode full", Named)],
    ),
    (
        "--activation_checkpoint.selective_ac_option 2",
        &[("--activation_checkpoint.mode selective", Refused)],
    ),
    (
        "--parallelism.fsdp_reshard_after_forward never",
        &[("", Honoured), ("--parallelism.data_parallel_shard_degree 1", Named)],
    ),
    (
        "--parallelism.data_parallel_replicate_degree 2",
        &[("", Refused), ("--parallelism.data_parallel_shard_degree 1", Honoured)],
    ),
    // Words of two versions.
    ("--training.max_context_length 512", &[("", Refused)]),
];

const VLLM: &[Row] = &[
    (
        "VLLM_PP_LAYER_PARTITION=12,20",
        &[
            ("", Refused),
            ("--pipeline-parallel-size 2", Honoured),
            ("-pp=2", Honoured),
            ("--pipeline-parallel-size 3", Refused),
        ],
    ),
    ("--enable-expert-parallel", &[("", Named), ("--tensor-parallel-size 4", Honoured)]),
    ("--data-parallel-size-local 2", &[("", Named)]),
];

const SGLANG: &[Row] = &[(
    "SGLANG_PP_LAYER_PARTITION=12,20",
    &[("", Refused), ("--pp-size 2", Honoured), ("--pp-size 3", Refused)],
)];

fn settings(launcher: Launcher, text: &str) -> Result<LaunchSettings, Diagnostic> {
    read_for(launcher, text, DENSE)
}

/// What is judged of settings.
fn judged(settings: &LaunchSettings) -> LaunchSettings {
    let (no_effect, not_judged) = Default::default();
    LaunchSettings { no_effect, not_judged, ..settings.clone() }
}

fn comes(launcher: Launcher, base: &str, flag: &str, others: &str) -> Comes {
    let name = flag.split([' ', '=']).next().unwrap();
    let at = format!("{name} beside `{others}`");
    match settings(launcher, &format!("{base} {others} {flag}")) {
        Err(error) => {
            let message = format!("{} {:?} {:?}", error.message, error.hints, error.facts);
            assert!(message.contains(name), "{at}: {message}");
            assert!(!error.hints.is_empty(), "{at}: {message}");
            Refused
        }
        Ok(launch) if launch.no_effect.contains_key(name) => Named,
        Ok(launch) => {
            // Others that are refused alone need this one.
            let without = settings(launcher, &format!("{base} {others}"));
            let is_same = without.is_ok_and(|without| judged(&launch) == judged(&without));
            assert!(!is_same, "{at}: dropped without a word");
            Honoured
        }
    }
}

#[test]
fn no_setting_is_dropped_for_want_of_another() {
    let megatron =
        "--tensor-model-parallel-size 2 --micro-batch-size 1 --global-batch-size 16 --bf16";
    let tables = [
        (Launcher::Megatron, megatron, MEGATRON),
        (Launcher::Torchtitan, "--training.local_batch_size 2", TORCHTITAN),
        (Launcher::Vllm, "vllm serve m", VLLM),
        (Launcher::Sglang, "python3 -m sglang.launch_server", SGLANG),
    ];
    for (launcher, base, rows) in tables {
        for (flag, cases) in rows {
            for (others, wanted) in *cases {
                let found = comes(launcher, base, flag, others);
                assert_eq!(found, *wanted, "{}: {flag} beside `{others}`", launcher.name());
            }
        }
    }
}

/// What is left to the model is the model's: layers and whether there are experts.
#[test]
fn settings_without_the_model_take_it_as_it_is() {
    let words = "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 4 --bf16 \
                 --micro-batch-size 1 --global-batch-size 128";
    let of = |more: &str, model| read_for(Launcher::Megatron, &format!("{words} {more}"), model);
    let looped = "--num-layers-per-virtual-pipeline-stage 2";
    let launch = of(looped, DENSE).unwrap();
    // 32 layers on 4 ranks are 8 each, in 4 chunks of 2.
    assert_eq!((launch.virtual_stages, launch.blocks), (Some(4), Some(vec![2; 16])));
    assert_eq!(launch.schedule.as_deref(), Some("interleaved"));
    let stated = of(&format!("{looped} --num-layers 32"), ModelFacts::default()).unwrap();
    assert_eq!(stated.virtual_stages, Some(4));
    // 32 layers are not shared out over 5 ranks, nor chunks of 3 over 8.
    let five = "--pipeline-model-parallel-size 5";
    assert_eq!(of(five, DENSE).unwrap_err().code, "bad-settings");
    let three = "--num-layers-per-virtual-pipeline-stage 3";
    assert_eq!(of(three, DENSE).unwrap_err().code, "bad-settings");
    // Nobody knows the layers.
    let error = of(looped, ModelFacts::default()).unwrap_err();
    assert!(error.message.contains("--num-layers-per-virtual-pipeline-stage"), "{error:?}");
    // Experts are the model's, and so is how tokens get to them.
    let sent = "--moe-token-dispatcher-type alltoall";
    assert!(of(sent, EXPERTS).unwrap().stack.dispatcher.is_some());
    assert!(of(sent, EXPERTS).unwrap().no_effect.is_empty());
    // Without a stated step, a step is one micro-batch of each replica.
    let alone = "--micro-batch-size 2 --pipeline-model-parallel-size 2";
    let launch = read_for(Launcher::Megatron, alone, DENSE).unwrap();
    assert_eq!(
        (launch.micro_batch, launch.n_micro_batches, launch.global_batch),
        (Some(2), Some(1), None)
    );
}

/// ZeRO's members do nothing at a stage that does not read them.
#[test]
fn members_of_deepspeed_need_their_stage() {
    let of = |stage: u32, member: &str, value: &str| {
        let text = format!(r#"{{"zero_optimization":{{"stage":{stage},"{member}":{value}}}}}"#);
        settings(Launcher::DeepSpeed, &text)
    };
    let cpu = r#"{"device":"cpu"}"#;
    let states = "offload_optimizer";
    let launch = of(0, states, cpu).unwrap();
    assert_eq!((launch.offloads, launch.zero), (Some(false), Some(ZeroStage::None)));
    assert!(launch.no_effect["zero_optimization.offload_optimizer"].contains("stage"));
    let launch = of(2, states, cpu).unwrap();
    assert!(launch.offloads == Some(true) && launch.no_effect.is_empty());
    for stage in [0, 1, 2] {
        let launch = of(stage, "offload_param", cpu).unwrap();
        let needed = &launch.no_effect["zero_optimization.offload_param"];
        assert_eq!(needed, "`zero_optimization.stage` 3");
    }
    let error = of(3, "offload_param", cpu).unwrap_err();
    assert!(
        error.code == "not-judged" && error.message.contains("zero_optimization.offload_param")
    );
    let shared = |enabled: &str| {
        let text = format!(r#"{{"expert_parallel":{{"autoep_size":2{enabled}}}}}"#);
        settings(Launcher::DeepSpeed, &text).unwrap()
    };
    assert!(shared("").no_effect.contains_key("expert_parallel.autoep_size"));
    assert_eq!(shared(r#","enabled":true"#).expert, Some(2));
}

#[test]
fn members_of_galvatron_need_tensor_ranks() {
    let of = |tensor: u32, more: &str| {
        let text = format!(r#"{{"pp_deg":1,"tp_sizes_enc":"{tensor},{tensor}"{more}}}"#);
        settings(Launcher::Galvatron, &text).unwrap().no_effect
    };
    for (key, member) in [("use_sp", r#","use_sp":"1,1""#), ("vsp", r#","vsp":1"#)] {
        assert!(of(1, member).contains_key(key), "{key}");
    }
    assert!(of(2, r#","use_sp":"1,1","vtp":2,"vsp":1"#).is_empty());
}

/// Variables of a script have the values that it sets; those of branches and of nobody are named.
#[test]
fn variables_of_scripts_have_their_values() {
    let script = r#"#!/bin/bash
TP=2
PP=${PP:-1}
MBS=1
GBS=$((16 * 8))
export SEQ="2048"
PARALLEL=(
    --tensor-model-parallel-size $TP
    --pipeline-model-parallel-size ${PP}
    --sequence-parallel   # beside tensor ranks
)
MORE="--bf16 \
    --context-parallel-size $((TP / 2))"
torchrun --nproc_per_node 8 pretrain_gpt.py "${PARALLEL[@]}" $MORE \
    --micro-batch-size "$MBS" --global-batch-size $GBS --seq-length $SEQ"#;
    let launch = settings(Launcher::Megatron, script).unwrap();
    assert_eq!((launch.tensor, launch.pipeline, launch.context), (Some(2), Some(1), Some(1)));
    assert_eq!((launch.micro_batch, launch.global_batch), (Some(1), Some(128)));
    assert_eq!(launch.sequence_length, Some(2048));
    let error = |text: &str| settings(Launcher::Megatron, text).unwrap_err().message;
    let flags = "--micro-batch-size 1 --tensor-model-parallel-size $TP";
    let unset = "`--tensor-model-parallel-size` takes `$TP`, whose value the file does not state";
    assert_eq!(error(flags), unset);
    assert_eq!(error(&format!("if [ $N -gt 1 ]; then\nTP=8\nfi\n{flags}")), unset);
    assert_eq!(error(&format!("[ -z $TP ] && TP=8\n{flags}")), unset);
    assert_eq!(error(&format!("[ -z $TP ] && export TP=8\n{flags}")), unset);
    assert_eq!(error(&format!("TP=$(nproc)\n{flags}")).replace("$(nproc)", "$TP"), unset);
    // An unset variable is named, or refused if it may add the TP degree or the dtype.
    let open = "pretrain.py $ARGS --micro-batch-size 1";
    assert!(error(open).starts_with("`$ARGS` is not set here"));
    let stated = format!("{open} --tensor-model-parallel-size 1 --bf16");
    let launch = settings(Launcher::Megatron, &stated).unwrap();
    assert!(launch.not_judged.values().any(|words| words == &["$ARGS"]), "{:?}", launch.not_judged);
    // Values that double, and substitutions that nothing closes, end.
    let doubling: String = (0..64).map(|n| format!("A{}=$A{n}$A{n}\n", n + 1)).collect();
    let long = format!("A0=xxxxxxxxxxxxxxxx\n{doubling}--micro-batch-size $A64");
    assert_eq!(settings(Launcher::Megatron, &long).unwrap_err().code, "file-too-large");
    for hostile in ["${A:-".repeat(50_000), "$((".repeat(50_000), "A=(".repeat(50_000)] {
        let _ = settings(Launcher::Megatron, &hostile);
    }
}

/// torchtitan's job config in TOML says what its flags say.
#[test]
fn job_configs_of_torchtitan_are_its_flags() {
    let toml = r#"
[model]
name = "llama3"
converters = ["quantize.linear.float8"]
[quantize.linear.float8]
recipe_name = "rowwise"
enable_fsdp_float8_all_gather = false
[training]
local_batch_size = 2   # of a replica
seq_len = 4096
[parallelism]
data_parallel_shard_degree = 8
tensor_parallel_degree = 2
pipeline_parallel_degree = 2
module_fqns_per_model_part = [["tok_embeddings", "layers.0"], ["layers.1", "norm", "output"]]
enable_async_tensor_parallel = false
[activation_checkpoint]
mode = "selective"
selective_ac_option = "op"
"#;
    assert_eq!(Launcher::guess(toml), Some(Launcher::Torchtitan));
    let flags = "--training.local_batch_size 2 --training.seq_len 4096 \
                 --parallelism.data_parallel_shard_degree 8 --parallelism.tensor_parallel_degree 2 \
                 --parallelism.pipeline_parallel_degree 2 \
                 --parallelism.module_fqns_per_model_part tok_embeddings,layers.0 layers.1,norm,output \
                 --activation_checkpoint.mode selective \
                 --activation_checkpoint.selective_ac_option op \
                 --model.converters=\"quantize.linear.float8\" \
                 --quantize.linear.float8.recipe_name rowwise";
    let [read, mut wanted] =
        [toml, flags].map(|text| settings(Launcher::Torchtitan, text).unwrap());
    // What a file leaves out is off; flags alone may stand beside a file.
    (wanted.stack.compiled, wanted.stack.overlaps_tensor) = (Some(false), Some(false));
    wanted.not_planned.insert("model.name".to_owned());
    assert_eq!(read, wanted);
    assert_eq!((read.tensor, read.blocks), (Some(2), Some(vec![1, 1])));
    assert_eq!((read.dtype, read.stack.scaling), (Some(DType::F8), Some(Scaling::Row)));
    for other in ["quantize.linear.mx", "float8,quantize.grouped_mm.float8"] {
        let text = flags.replace("\"quantize.linear.float8\"", other);
        let error = settings(Launcher::Torchtitan, &text).unwrap_err();
        assert_eq!((error.code, error.message.contains(other)), ("not-judged", true), "{other}");
    }
    let module = "python3 -m vllm.entrypoints.openai.api_server --pipeline-parallel-size 2";
    assert_eq!(Launcher::guess(module), Some(Launcher::Vllm));
}
