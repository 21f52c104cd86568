//! Recipes in YAML and scripts with branches, written by hand in the form of public ones. What is expected
//! follows from the documents of each launcher.

use importers::launcher::{Launcher, read, with_deepspeed};
use ir::card::{Recompute, ZeroStage};
use ir::launch::LaunchSettings;
use ir::tensor::DType;
use ir::tuning::{BaseWeights, Module, Modules};
use ir::workload::Optimizer;

fn settings(text: &str) -> LaunchSettings {
    let launcher = Launcher::guess(text).unwrap_or_else(|| panic!("nobody's: {text}"));
    read(launcher, text).unwrap_or_else(|error| panic!("{error:?} {text}"))
}

/// The code of a refusal, and what it names.
fn refusal(text: &str) -> (&'static str, String) {
    let error = read(Launcher::guess(text).unwrap(), text).unwrap_err();
    (error.code, error.message)
}

const ACCELERATE: &str = "compute_environment: LOCAL_MACHINE
debug: false
distributed_type: FSDP
downcast_bf16: 'no'
fsdp_config:
  fsdp_version: 2
  fsdp_reshard_after_forward: true
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_activation_checkpointing: true
  fsdp_offload_params: false
  fsdp_state_dict_type: SHARDED_STATE_DICT
machine_rank: 0
mixed_precision: bf16
num_machines: 2
num_processes: 16
tpu_env: []
tpu_use_cluster: false
use_cpu: false
";

#[test]
fn accelerate_is_read() {
    let found = settings(ACCELERATE);
    assert_eq!((found.data, found.tensor, found.pipeline), (Some(16), Some(1), Some(1)));
    assert_eq!((found.zero, found.dtype), (Some(ZeroStage::Parameters), Some(DType::Bf16)));
    assert_eq!((found.recompute, found.offloads), (Some(Recompute::Full), Some(false)));
    let with = |from: &str, to: &str| ACCELERATE.replace(from, to);
    let zero = |text: String| settings(&text).zero.unwrap();
    assert_eq!(zero(with("forward: true", "forward: false")), ZeroStage::Gradients);
    let old = "fsdp_version: 1\n  fsdp_sharding_strategy: SHARD_GRAD_OP";
    assert_eq!(zero(with("fsdp_version: 2", old)), ZeroStage::Gradients);
    assert_eq!(zero(with("fsdp_version: 2", &old.replace("SHARD_GRAD_OP", "3"))), ZeroStage::None);
    assert_eq!(
        zero(with("_type: FSDP", "_type: MULTI_GPU").replace("fsdp_", "tpu_env.")),
        ZeroStage::None
    );
    let split = format!("{ACCELERATE}parallelism_config:\n  parallelism_config_tp_size: 4\n");
    assert_eq!((settings(&split).data, settings(&split).tensor), (Some(4), Some(4)));
    for (from, to, code, named) in [
        ("TRANSFORMER_BASED", "SIZE_BASED", "not-judged", "fsdp_auto_wrap_policy"),
        ("FSDP", "MEGATRON_LM", "not-judged", "distributed_type: MEGATRON_LM"),
        ("bf16\nnum", "fp8\nnum", "not-judged", "mixed_precision: fp8"),
        ("debug: false", "fast_mode: true", "unknown-flag", "`fast_mode`"),
        ("processes: 16", "processes: many", "bad-settings", "num_processes"),
        ("debug: false", "debug: [", "bad-settings", "YAML"),
    ] {
        let (found, message) = refusal(&with(from, to));
        assert!(found == code && message.contains(named), "{to}: {found} {message}");
    }
}

/// Flags of `accelerate launch` are the keys of its config file.
#[test]
fn flags_of_accelerate_are_its_keys() {
    let file = settings(
        "distributed_type: FSDP\nmixed_precision: bf16\nnum_processes: 16\nfsdp_config:\n  \
         fsdp_sharding_strategy: FULL_SHARD\n",
    );
    let script = "#!/bin/bash\nexport N=16\nlaunch() {\n  accelerate launch --num-processes \"$N\" --num_machines 2 \\\n \
                  --mixed_precision=bf16 --use_fsdp --fsdp_sharding_strategy FULL_SHARD \"$@\"\n}\n";
    let mut read = settings(&format!("{script}launch train.py --per_device_train_batch_size 2"));
    read.not_judged.clear();
    (read.not_planned, read.n_processes) = (file.not_planned.clone(), file.n_processes);
    assert_eq!(read, file);
    let plain = "accelerate launch --num_processes 8 --use_fsdp a.py --lr 1 --bf16";
    let read = settings(plain);
    assert_eq!((read.zero, read.data), (Some(ZeroStage::Parameters), Some(8)));
    assert!(read.not_judged.values().any(|words| words == &["--lr", "--bf16"]), "{read:?}");
    let other = "distributed_type: \"NO\"\nmixed_precision: bf16\nnum_processes: 8\n\
                 deepspeed_config:\n  deepspeed_config_file: a.json\n  zero_hpz_partition_size: 2\n";
    let read = settings(other);
    assert_eq!((read.data, read.deepspeed_file), (Some(1), None));
    assert!(read.no_effect.contains_key("num_processes"));
    assert!(read.not_planned.iter().any(|key| key.ends_with("deepspeed_config_file")));
    for (script, n) in [
        ("CUDA_VISIBLE_DEVICES=0,1,3 accelerate launch --use_fsdp a.py", Some(3)),
        (
            "export CUDA_VISIBLE_DEVICES=0,1\naccelerate launch --num_processes 4 --use_fsdp a.py",
            Some(4),
        ),
        ("CUDA_VISIBLE_DEVICES=0,1 accelerate launch --num_machines 2 --use_fsdp a.py", None),
        (
            "CUDA_VISIBLE_DEVICES=0,1 llamafactory-cli train --stage sft --finetuning_type lora",
            Some(2),
        ),
    ] {
        let found = settings(script);
        assert_eq!(found.data.map(u64::from).or(found.n_processes), n, "{script}");
    }
    for (flags, code, named) in [
        ("--config_file a.yaml train.py", "not-judged", "--config_file a.yaml"),
        ("-m axolotl.cli.train a.yml", "not-judged", "a.yml"),
        ("--use_fsdp --fsdp_new_switch 1 a.py", "unknown-flag", "fsdp_new_switch"),
        ("--use_deepspeed --zero_stage 4 a.py", "bad-settings", "zero_stage"),
        ("--num_processes 4 --num_processes many a.py", "bad-settings", "`many`"),
        ("--use_megatron_lm a.py", "not-judged", "MEGATRON_LM"),
        ("--use_fsdp --use_deepspeed a.py", "bad-settings", "--use_deepspeed"),
        ("--num_processes 16 $EXTRA --use_fsdp a.py", "not-judged", "$EXTRA"),
        ("--cpu a.py", "not-judged", "use_cpu"),
        ("--tpu a.py", "not-judged", "--tpu"),
        ("a.py\naccelerate launch --use_fsdp b.py", "bad-settings", "2 runs"),
    ] {
        let (found, message) = refusal(&format!("accelerate launch {flags}"));
        assert!(found == code && message.contains(named), "{flags}: {found} {message}");
    }
}

#[test]
fn flags_without_their_switch_do_nothing() {
    let read = settings(
        "accelerate-launch --num_processes $((N * 8)) --mixed_precision no --same_network --max_restarts 2 \
         --gradient_accumulation_steps 4 --fsdp_offload_params true --parallelism_config_tp_size 2 a.py",
    );
    assert_eq!((read.zero, read.tensor, read.data), (Some(ZeroStage::None), Some(1), None));
    assert_eq!((read.dtype, read.n_micro_batches), (Some(DType::F32), Some(4)));
    let idle: Vec<&str> = read.no_effect.keys().map(String::as_str).collect();
    assert_eq!(idle, ["--fsdp_offload_params", "--parallelism_config_tp_size"]);
    for named in ["same_network", "max_restarts"] {
        assert!(read.not_planned.contains(named), "{:?}", read.not_planned);
    }
    assert!(read.not_judged.values().flatten().any(|word| word.contains("$((N * 8))")));
}

/// The launch command is in a here-document or a nested shell.
#[test]
fn scripts_that_write_scripts_are_read() {
    let flags = "b.py --bf16 --micro-batch-size 1 --tensor-model-parallel-size";
    let batch = format!("TP=4\nsbatch <<EOF\nsrun {flags} $TP\nEOF");
    assert_eq!(settings(&batch).tensor, Some(4));
    let script = format!("cat > x.sh <<'EOF'\nTP=4\nsrun {flags} $TP\nEOF\nbash x.sh");
    assert_eq!(settings(&script).tensor, Some(4));
    let outside = format!(
        "A=(--bf16 --micro-batch-size 1 --tensor-model-parallel-size 4)\nC=\"b.py ${{A[@]}}\"\n\
         sbatch <<EOF\nsrun bash -x -c \"${{C}}\"\nEOF"
    );
    assert_eq!(settings(&outside).tensor, Some(4));
    assert_eq!(settings(&format!("echo '{flags} 4' > t.sh; ./t.sh")).tensor, Some(4));
    assert!(refusal(&format!("echo '{flags} 4'; ./t.sh")).1.contains("runs no command"));
    let (code, message) = refusal("axolotl train ax.yml --micro-batch-size 4");
    assert!(code == "not-judged" && message.contains("ax.yml"), "{message}");
}

/// What bash itself decides of a script.
#[test]
fn idioms_of_scripts_are_decided() {
    for (script, tensor) in [
        (": \"${TP:=4}\"\nif [ \"$TP\" -gt 1 ]; then A=\"--sequence-parallel\"; fi", "$TP $A"),
        (": ${TP=4}", "$TP"),
        ("S=(2 4 8)", "${S[1]}"),
        ("TP=$((2**2))", "$TP"),
        ("TP=4\nX=\"--n $((N * 8)) --m 2\"", "$TP"),
        ("for arg in \"$@\"; do case $arg in --tp=*) TP=8;; esac; done\nTP=${TP:-4}", "$TP"),
        ("for TP in 4; do", "$TP"),
        ("( TP=8; echo )\nexport TP=4", "$TP"),
        ("( : ${TP:=8} )\n: '${TP:=8}'\n: ${TP:=4}", "$TP"),
        ("f() { TP=4; }\nf", "$TP"),
        ("TP=4\n( TP=8 )\nbash -c \"TP=2; echo\"", "$TP"),
        ("TP=4\necho \"cat <<EOF\"", "$TP"),
        ("A=($(echo 8 4) 2)\nTP=${A[1]}", "$TP"),
        ("TP=2\nX=$((TP+=2))", "$TP"),
        ("TP=8\ndeclare -n R=TP\nR=4", "$TP"),
        ("TP=4; for x in one; do continue; TP=8; done", "$TP"),
        ("TP=4\nTP=8 &", "$TP"),
        ("TP=8\nif ! TP=4; then :; fi", "$TP"),
        ("cat > a <<EOF\nb.py --tensor-model-parallel-size 8\nEOF\nTP=4", "$TP"),
    ] {
        let end = if script.ends_with("do") { "\ndone" } else { "" };
        let text = format!(
            "{script}\ntorchrun a.py --bf16 --micro-batch-size 1 --tensor-model-parallel-size {tensor}{end}"
        );
        assert_eq!(settings(&text).tensor, Some(4), "{text}");
    }
    for script in [
        "for TP in 2 $N; do :; done",
        "[ $X ] && : ${TP:=4}",
        "A=($(a 8 4) 2)\nTP=${A[1]}",
        "f() { TP=4; }\n[ -n \"$X\" ] && f",
        "function f {\nTP=4\n}\n[ -f x ] && f",
    ] {
        let text = format!("{script}\na.py --bf16 --tensor-model-parallel-size $TP");
        let message = refusal(&text).1;
        assert!(message.contains("$TP") || message.contains("${A[1]}"), "{text} {message}");
    }
}

#[test]
fn deepspeed_under_accelerate_is_read() {
    let text = "distributed_type: DEEPSPEED
deepspeed_config:
  gradient_accumulation_steps: 4
  offload_optimizer_device: cpu
  offload_param_device: none
  zero_stage: 2
mixed_precision: fp16
num_processes: 8
";
    let found = settings(text);
    assert_eq!((found.zero, found.offloads), (Some(ZeroStage::Gradients), Some(true)));
    assert_eq!((found.n_micro_batches, found.dtype), (Some(4), Some(DType::F16)));
    let moved = text.replace("param_device: none", "param_device: cpu");
    let idle = settings(&moved);
    assert!(!idle.offloads_parameters && idle.no_effect.len() == 1);
    let moved = moved.replace("zero_stage: 2", "zero_stage: 3");
    assert!(settings(&moved).offloads_parameters);
    let (code, message) = refusal(&moved.replace("param_device: cpu", "param_device: nvme"));
    assert!(code == "not-judged" && message.contains("offload_param_device: nvme"), "{message}");
}

const AXOLOTL: &str = "base_model: ./m
plugins:
datasets:
  - path: a
    type: alpaca
sequence_len: 4096
sample_packing: true
adapter:
lora_r:
wandb_project: x
micro_batch_size: 2
gradient_accumulation_steps: 4
optimizer: adamw_torch_fused
learning_rate: 2e-5
bf16: auto
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
fsdp_version: 2
fsdp_config:
  offload_params: false
  auto_wrap_policy: TRANSFORMER_BASED_WRAP
  transformer_layer_cls_to_wrap: LlamaDecoderLayer
  reshard_after_forward: true
special_tokens:
  pad_token: p
";

#[test]
fn axolotl_is_read() {
    let found = settings(AXOLOTL);
    assert_eq!((found.micro_batch, found.n_micro_batches), (Some(2), Some(4)));
    assert_eq!((found.sequence_length, found.dtype), (Some(4096), Some(DType::Bf16)));
    assert_eq!((found.zero, found.recompute), (Some(ZeroStage::Parameters), Some(Recompute::Full)));
    assert_eq!((found.optimizer, found.data), (Some(Optimizer::AdamW), None));
    assert!(found.not_judged.is_empty() && found.no_effect.is_empty());
    let split =
        format!("{AXOLOTL}tensor_parallel_size: 2\ncontext_parallel_size: 4\ndp_shard_size: 8\n");
    let split = settings(&split);
    assert_eq!((split.data, split.tensor, split.context), (Some(8), Some(2), Some(4)));
    let kernels = settings(&format!("{AXOLOTL}liger_rope: true\n"));
    assert_eq!(kernels.not_judged.values().next().unwrap()[..], ["liger_rope"]);
    for (from, to, code, named) in [
        ("adapter:", "adapter: llama-adapter", "not-judged", "adapter: llama-adapter"),
        ("adapter:", "load_in_8bit: true", "not-judged", "load_in_8bit"),
        ("adapter:\nlora_r:", "adapter: lora\nlora_r: -8", "bad-settings", "lora_r"),
        ("adapter:", "adapter: lora\nlora_target_modules: [conv]", "bad-settings", "conv"),
        ("adapter:", "load_in_4bit: true", "not-judged", "load_in_4bit"),
        ("adapter:", "rl: dpo", "not-judged", "rl: dpo"),
        ("adapter:", "fsdp: [shard_grad_op]", "not-judged", "fsdp: shard_grad_op"),
        ("adapter:", "micro_batches: 3", "unknown-flag", "`micro_batches`"),
        ("fsdp_version: 2", "fsdp_version: 3", "bad-settings", "fsdp_version"),
        ("torch_fused", "anyprecision", "not-judged", "optimizer: adamw_anyprecision"),
        (
            "checkpointing: true",
            "checkpointing: offload",
            "not-judged",
            "gradient_checkpointing: offload",
        ),
        ("size: 2", "size: 0", "bad-settings", "micro_batch_size"),
    ] {
        let (found, message) = refusal(&AXOLOTL.replacen(from, to, 1));
        assert!(found == code && message.contains(named), "{to}: {found} {message}");
    }
    let tuned = AXOLOTL
        .replace(
            "adapter:\nlora_r:",
            "adapter: qlora\nlora_r: 32\nlora_target_linear: true\nload_in_4bit: true",
        )
        .replace("torch_fused", "bnb_8bit");
    let tuned = settings(&tuned);
    let adapter = tuned.adapter.unwrap();
    assert_eq!(
        (adapter.rank, adapter.base, adapter.targets),
        (32, BaseWeights::Nf4, Modules::LINEAR)
    );
    assert_eq!(tuned.optimizer, Some(Optimizer::AdamW8));
    // Weights that nothing keeps in single precision.
    let start = AXOLOTL.split("fsdp_version").next().unwrap();
    assert_eq!(settings(start).optimizer, Some(Optimizer::AdamW16));
    assert!(refusal(&start.replace("adamw_torch_fused", "muon")).1.contains("`bf16`"));
    for (keys, base) in [
        ("lora\nload_in_8bit: true", BaseWeights::Int8),
        ("lora\nload_in_8bit: false", BaseWeights::Wide),
        ("qlora\nbnb_config_kwargs: {bnb_4bit_use_double_quant: false}", BaseWeights::Nf4Single),
    ] {
        let found = settings(&start.replace("adapter:", &format!("adapter: {keys}")));
        assert_eq!(found.adapter.map(|adapter| adapter.base), Some(base), "{keys}");
        assert_eq!(found.optimizer, Some(Optimizer::AdamW));
    }
    for keys in ["qlora\nload_in_8bit: true", "lora\nload_in_8bit: true\nload_in_4bit: true"] {
        let (code, message) = refusal(&start.replace("adapter:", &format!("adapter: {keys}")));
        assert!(code == "bad-settings" && message.contains("load_in_8bit"), "{message}");
    }
    let sharded = refusal(&AXOLOTL.replace("adapter:", "adapter: lora\nload_in_8bit: true"));
    assert!(sharded.1.contains("load_in_8bit beside fsdp_config"), "{}", sharded.1);
    let file = settings(&format!("{start}deepspeed: ds/zero1.json\n"));
    assert_eq!(file.deepspeed_file.as_deref(), Some("ds/zero1.json"));
}

const FACTORY: &str = "model_name_or_path: ./m
stage: sft
do_train: true
finetuning_type: full
deepspeed: ds.json
dataset: identity
template: qwen
cutoff_len: 2048
output_dir: saves
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-5
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
";

#[test]
fn llama_factory_is_read() {
    let found = settings(FACTORY);
    assert_eq!((found.micro_batch, found.n_micro_batches), (Some(1), Some(2)));
    assert_eq!((found.sequence_length, found.dtype), (Some(2048), Some(DType::Bf16)));
    // It recomputes unless it is told not to.
    assert_eq!((found.recompute, found.optimizer), (Some(Recompute::Full), Some(Optimizer::AdamW)));
    let plain = settings(&format!("{FACTORY}disable_gradient_checkpointing: true\n"));
    assert_eq!(plain.recompute, Some(Recompute::None));
    let tuned = settings(
        &FACTORY.replace("type: full", "type: lora\nlora_rank: 16\nlora_target: q_proj,v_proj"),
    );
    let pair = Modules::default().with(Module::Query).with(Module::Value);
    assert_eq!(tuned.adapter.map(|adapter| (adapter.rank, adapter.targets)), Some((16, pair)));
    assert_eq!(found.adapter, None);
    for (keys, base) in [
        ("quantization_bit: 8", BaseWeights::Int8),
        ("quantization_bit: 4", BaseWeights::Nf4),
        ("quantization_bit: 4\ndouble_quantization: false", BaseWeights::Nf4Single),
    ] {
        let found = settings(&FACTORY.replace("type: full", &format!("type: lora\n{keys}")));
        assert_eq!(found.adapter.map(|adapter| adapter.base), Some(base), "{keys}");
    }
    let pure = settings(&FACTORY.replace("bf16: true", "pure_bf16: true"));
    assert_eq!(pure.optimizer, Some(Optimizer::AdamW16));
    let file = r#"{"train_batch_size":"auto","bf16":{"enabled":"auto"},
        "zero_optimization":{"stage":3,"offload_optimizer":{"device":"cpu"}}}"#;
    let both = with_deepspeed(found, file).unwrap();
    assert_eq!((both.zero, both.offloads), (Some(ZeroStage::Parameters), Some(true)));
    assert_eq!((both.micro_batch, both.dtype), (Some(1), Some(DType::Bf16)));
    assert_eq!(both.deepspeed_file, None);
    for (from, to, code, named) in [
        ("type: full", "type: freeze", "not-judged", "finetuning_type: freeze"),
        ("type: full", "type: lora\nquantization_bit: 2", "not-judged", "quantization_bit: 2"),
        ("do_train: true", "quantization_bit: 4", "not-judged", "quantization_bit: 4"),
        ("stage: sft", "stage: dpo", "not-judged", "stage: dpo"),
        ("do_train: true", "use_galore: true", "not-judged", "use_galore"),
        ("do_train: true", "optim: grokadamw", "not-judged", "optim: grokadamw"),
        (
            "do_train: true",
            "tensor_model_parallel_size: 4",
            "unknown-flag",
            "tensor_model_parallel_size",
        ),
    ] {
        let (found, message) = refusal(&FACTORY.replacen(from, to, 1));
        assert!(found == code && message.contains(named), "{to}: {found} {message}");
    }
}

/// No depth, alias or number ends badly.
#[test]
fn hostile_recipes_are_refused() {
    let deep: String = (0..40).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let aliases = format!(
        "base_model: m\na0: &a0 [x]\n{}",
        (1..40)
            .map(|n| format!("a{n}: &a{n} [*a{p}, *a{p}, *a{p}]\n", p = n - 1))
            .collect::<String>()
    );
    for text in [
        format!("base_model: m\n{deep}"),
        aliases,
        "base_model: m\nbase_model: n\n".to_owned(),
        "base_model: m\nmicro_batch_size: 1e99\n".to_owned(),
        "base_model: m\nmicro_batch_size: -1\n".to_owned(),
        format!("base_model: m\nmicro_batch_size: {}\n", "9".repeat(10_000)),
        format!("base_model: {}\n", "[".repeat(10_000)),
    ] {
        let (code, _) = refusal(&text);
        assert!(["bad-settings", "unknown-flag"].contains(&code), "{code}: {:.80}", text);
    }
}

/// Branches that the file decides are taken or left; lists grow; a script runs without arguments.
#[test]
fn branches_of_scripts_are_decided() {
    let script = r#"#!/bin/bash
SCALE=small
TP=1
DTYPE="fp8"
while [[ $# -gt 0 ]]; do
  case $1 in
    --tp) TP="$2"; shift 2 ;;
  esac
done
case "${SCALE}" in
  "large") PP=8 ;;
  "small"|tiny)
    PP=2
    ;;
  *) exit 1 ;;
esac
EXTRA=()
if [[ "$DTYPE" == "fp8" ]]; then
  EXTRA+=( "--fp8-format hybrid" )
elif [ -n "$DTYPE" ]; then
  PP=4
else
  PP=16
fi
if [ "$PP" -gt 2 ] || [ -z "$DTYPE" ]; then TP=8; fi
ARGS=( --micro-batch-size 1 --global-batch-size 32 )
MORE=( --seq-length 512 --bf16 )
ARGS+=( ${MORE[@]} )
srun --mpi=pmix -l --container-image=x torchrun --nproc_per_node 8 pretrain_gpt.py \
  --num-layers 8 --tensor-model-parallel-size $TP --pipeline-model-parallel-size $PP \
  ${ARGS[@]} ${EXTRA[@]}
"#;
    let found = settings(script);
    assert_eq!((found.tensor, found.pipeline), (Some(1), Some(2)));
    assert_eq!((found.micro_batch, found.global_batch), (Some(1), Some(32)));
    assert_eq!((found.sequence_length, found.dtype), (Some(512), Some(DType::F8)));
    assert!(!found.not_judged.contains_key("the file does not state what they hold"));
    // What the file does not decide has no value.
    let open = script.replace("SCALE=small\n", "");
    assert!(refusal(&open).1.contains("`$TP`"), "{:?}", refusal(&open));
    let sourced = settings(&script.replace("TP=1\n", "TP=1\nsource ./cluster.sh\n"));
    let unstated = &sourced.not_judged["the file does not state what they hold"];
    assert_eq!(unstated[..], ["source ./cluster.sh"]);
}

/// Keys and flags of every file that say nothing of parallelism.
#[test]
fn common_flags_are_no_slips() {
    let job = "[training]\nlocal_batch_size = 2\nseq_len = 2048\ndataset = \"c4\"\n[parallelism]\n\
               data_parallel_shard_degree = 8\n";
    assert_eq!(settings(job).micro_batch, Some(2));
    let server = "vllm serve m --data-parallel-size 4 --data-parallel-backend ray";
    assert_eq!(settings(server).data, Some(4));
}
