//! Settings files of launchers: what they say is read, or named where it is not.

use cost_model::kernels::stack::megatron_core;
use exporters::runs::{export, targets};
use exporters::training::{Blocks, TrainingSource};
use importers::launcher::{Launcher, cut_by_ends, read};
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::plan::{Mesh, Parallelism, Partition, Plan, Stage};
use ir::tensor::DType;
use ir::workload::Optimizer;

use crate::launch::{names_of_llama, small};

const MEGATRON: &str = "--tensor-model-parallel-size 2 --micro-batch-size 1 --seq-length 512";

fn megatron(more: &str) -> Result<ir::launch::LaunchSettings, ir::diagnostic::Diagnostic> {
    read(Launcher::Megatron, &format!("{MEGATRON} {more}"))
}

/// `megatron/training/arguments.py` (d98e8a64): Megatron-FSDP shards as its strategy says, parameters
/// unless told otherwise, and nobody else reads the strategy; torch's shards parameters.
#[test]
fn what_replicas_share_out_is_what_megatron_shares_out() {
    let zero = |more: &str| megatron(more).unwrap().zero.unwrap();
    let strategy = "--data-parallel-sharding-strategy";
    assert_eq!(zero(""), ZeroStage::None);
    assert_eq!(zero("--use-distributed-optimizer"), ZeroStage::Optimizer);
    assert_eq!(zero("--use-megatron-fsdp"), ZeroStage::Parameters);
    assert_eq!(zero("--use-megatron-fsdp --use-distributed-optimizer"), ZeroStage::Parameters);
    for (name, stage) in [
        ("no_shard", ZeroStage::None),
        ("optim", ZeroStage::Optimizer),
        ("optim_grads", ZeroStage::Gradients),
        ("optim_grads_params", ZeroStage::Parameters),
    ] {
        assert_eq!(zero(&format!("--use-megatron-fsdp {strategy} {name}")), stage);
        assert_eq!(megatron(&format!("{strategy} {name}")).unwrap_err().code, "not-judged");
    }
    assert_eq!(zero("--use-torch-fsdp2"), ZeroStage::Parameters);
    let flags = "--use-torch-fsdp2 --torch-fsdp2-no-reshard-after-forward";
    assert_eq!(zero(flags), ZeroStage::Gradients);
}

#[test]
fn element_types_optimizers_and_recompute_are_read() {
    let dtype = |launcher, text: &str| read(launcher, text).unwrap().dtype;
    let of_megatron = |more: &str| dtype(Launcher::Megatron, &format!("{MEGATRON} {more}"));
    assert_eq!(of_megatron(""), Some(DType::F32));
    assert_eq!(of_megatron("--bf16"), Some(DType::Bf16));
    assert_eq!(of_megatron("--fp16"), Some(DType::F16));
    assert_eq!(of_megatron("--bf16 --fp8-format hybrid"), Some(DType::F8));
    let sums = |more: &str| megatron(more).unwrap().gradients;
    assert_eq!(sums(""), None);
    assert_eq!(sums("--bf16"), Some(DType::F32));
    assert_eq!(sums("--bf16 --fp8-format hybrid --grad-reduce-in-bf16"), Some(DType::Bf16));
    assert_eq!(sums("--fp16"), Some(DType::F16));
    assert_eq!(sums("--fp16 --accumulate-allreduce-grads-in-fp32"), Some(DType::F32));
    assert_eq!(megatron("--fp8-format e9").unwrap_err().code, "bad-settings");
    assert_eq!(megatron("--bf16 --fp16").unwrap_err().code, "bad-settings");
    let torchtitan = |text: &str| dtype(Launcher::Torchtitan, text);
    assert_eq!(torchtitan("--training.mixed_precision_param bfloat16"), Some(DType::Bf16));
    assert_eq!(torchtitan("--training.mixed_precision_param float32"), Some(DType::F32));
    let deepspeed = |text: &str| dtype(Launcher::DeepSpeed, text);
    // DeepSpeed's default, stated or not.
    assert_eq!(deepspeed("{}"), Some(DType::F32));
    assert_eq!(deepspeed(r#"{"fp16":{"enabled":true}}"#), Some(DType::F16));
    let off = r#"{"bf16":{"enabled":false},"fp16":{"enabled":false}}"#;
    assert_eq!(deepspeed(off), Some(DType::F32));
    assert_eq!(megatron("--optimizer muon").unwrap_err().code, "not-judged");
    let adam = r#"{"optimizer":{"type":"AdamW","params":{"lr":1e-4}}}"#;
    assert_eq!(read(Launcher::DeepSpeed, adam).unwrap().optimizer, Some(Optimizer::AdamW));
    let again = |more: &str| megatron(more).unwrap().recompute;
    assert_eq!(again("--recompute-activations"), Some(Recompute::Selective));
    assert_eq!(again("--recompute-granularity selective"), Some(Recompute::Selective));
    let by_op = |text: &str| read(Launcher::Torchtitan, text).map(|settings| settings.recompute);
    let mode = "--activation_checkpoint.mode selective";
    assert_eq!(by_op(mode).unwrap(), Some(Recompute::PerOp));
    let option = format!("{mode} --activation_checkpoint.selective_ac_option");
    assert_eq!(by_op(&format!("{option} op")).unwrap(), Some(Recompute::PerOp));
    assert_eq!(by_op(&format!("{option} 2")).unwrap_err().code, "not-judged");
    let mlp = "--recompute-granularity selective --recompute-modules mlp";
    assert_eq!(megatron(mlp).unwrap_err().code, "not-judged");
}

/// What a target's row says of element types is what its files hold, and reading gives it back.
#[test]
fn targets_export_the_types_that_they_name() {
    let plan = Plan {
        parallelism: Parallelism { n_micro_batches: 4, micro_batch: 1, ..Parallelism::default() },
        partition: Partition {
            stages: vec![Stage {
                ops: Vec::new(),
                blocks: 0..4,
                recompute: Recompute::None,
                each: Vec::new(),
                mesh: None,
            }],
        },
        placement: Default::default(),
        schedule: Default::default(),
    };
    let named = names_of_llama();
    for row in targets().filter(|row| row.types.is_some()) {
        for dtype in [DType::Bf16, DType::F16, DType::F8, DType::F32, DType::F64] {
            let source = TrainingSource {
                version: "",
                offloads: false,
                plan: &plan,
                schedule: "1f1b",
                sequence_length: 128,
                dtype,
                stack: &megatron_core(),
                model: &small(),
                hyperparameters: Some(&named),
                optimizer: Optimizer::AdamW,
                blocks: Blocks::Layers,
                starts: &[],
                places: &[],
            };
            let is_said = row.types.unwrap().contains(&dtype);
            let exported = export(row.name, &source);
            assert_eq!(exported.is_ok(), is_said, "{} {dtype}", row.name);
            let Ok(exported) = exported else { continue };
            let text = String::from_utf8(exported.bytes).unwrap();
            // This stack sums gradients in 32 bits, which Megatron does in fp16 only where it is told to.
            let is_told = text.contains("--accumulate-allreduce-grads-in-fp32\n");
            assert_eq!(is_told, row.name == "megatron" && dtype == DType::F16, "{text}");
            let in_bridge = text.contains("ddp.grad_reduce_in_fp32=true\n");
            assert_eq!(in_bridge, row.name == "megatron-bridge", "{text}");
            let Some(launcher) = Launcher::of(row.name) else { continue };
            let settings = read(launcher, &text).unwrap();
            // Without a flag Megatron computes in single precision.
            assert_eq!(settings.dtype.unwrap_or(DType::F32), dtype, "{text}");
            let is_wide = settings.gradients.is_none_or(|sums| sums == DType::F32);
            assert!(is_wide || launcher == Launcher::DeepSpeed, "{text}");
        }
    }
}

/// A degree that is written wrong is no degree of 1.
#[test]
fn slips_of_flags_are_named() {
    let slips = [
        (Launcher::Megatron, "--tensor-model-parallel-sizes 8", "--tensor-model-parallel-size"),
        (Launcher::Megatron, "--tensor_model_parallel_size 8", "--tensor-model-parallel-size"),
        (Launcher::Megatron, "--tensor-parallel-size 8", "--tensor-model-parallel-size"),
        (Launcher::Megatron, "--pipeline-parallel-size=8", "--pipeline-model-parallel-size"),
        (Launcher::Megatron, "--micro-batchsize 8", "--micro-batch-size"),
        (Launcher::Megatron, "--sequence-length 8", "--seq-length"),
        (Launcher::Megatron, "--recompute-granularty full", "--recompute-granularity"),
        (
            Launcher::Torchtitan,
            "--parallelism.tensor_paralel_degree 8",
            "--parallelism.tensor_parallel_degree",
        ),
        (Launcher::Torchtitan, "--parallelism.anything 8", "own flags"),
        (Launcher::Vllm, "--tensor-paralel-size 8", "--tensor-parallel-size"),
        (Launcher::Sglang, "--tpsize 8", "--tp-size"),
        (
            Launcher::DeepSpeed,
            r#"{"train_micro_batch_per_gpu":8}"#,
            "train_micro_batch_size_per_gpu",
        ),
    ];
    for (launcher, text, nearest) in slips {
        let error = read(launcher, text).unwrap_err();
        assert_eq!(error.code, "unknown-flag", "{text}");
        assert!(error.hints.iter().any(|hint| hint.contains(nearest)), "{text}: {error:?}");
    }
    // Real flags of Megatron-Core that say nothing about parallelism.
    let others = "--ckpt-format torch_dist --eval-micro-batch-size 4 --lr 1e-4 --hidden-size 4096 \
        --num-attention-heads 32 --train-iters 100 --overlap-grad-reduce --eval-iters 4 \
        --max-position-embeddings 4096 --ffn-hidden-size 11008 --distributed-backend nccl \
        --decoder-seq-length 2048 --untie-embeddings-and-output-weights --num-query-groups 8 \
        --use-mcore-models --attention-softmax-in-fp32 --no-masked-softmax-fusion \
        --vocab-file vocab.json --moe-router-dtype fp32 --num-channels 3";
    assert!(megatron(others).is_ok(), "{:?}", megatron(others));
    assert_eq!(megatron("\n# --tensor-model-parallel-sizes 8\n").unwrap().tensor, Some(2));
}

/// What a plan has no field for is refused by its name.
#[test]
fn what_is_not_judged_is_named() {
    for flag in [
        "--optimizer-cpu-offload",
        "--use-precision-aware-optimizer",
        "--distribute-saved-activations",
        "--account-for-embedding-in-pipeline-split",
        "--num-distributed-optimizer-instances 2",
        "--fp4-format e2m1",
    ] {
        let error = megatron(flag).unwrap_err();
        let name = flag.split(' ').next().unwrap();
        assert!(error.code == "not-judged" && error.message.contains(name), "{flag}: {error:?}");
    }
    assert_eq!(megatron("--expert-tensor-parallel-size 1").unwrap().expert_tensor, Some(1));
    let both = "--optimizer-cpu-offload --use-precision-aware-optimizer";
    assert_eq!(megatron(both).unwrap().offloads, Some(true));
    let half = format!("{both} --optimizer-offload-fraction 0.5");
    assert_eq!(megatron(&half).unwrap_err().code, "not-judged");
    let at = |stage: u32, part: &str, device: &str| {
        let part = format!(r#"{{"stage":{stage},"{part}":{{"device":"{device}"}}}}"#);
        read(Launcher::DeepSpeed, &format!(r#"{{"zero_optimization":{part}}}"#))
    };
    let offload = |part: &str, device: &str| at(1, part, device);
    assert_eq!(offload("offload_optimizer", "cpu").unwrap().offloads, Some(true));
    assert_eq!(offload("offload_optimizer", "none").unwrap().offloads, Some(false));
    assert_eq!(offload("offload_optimizer", "nvme").unwrap_err().code, "not-judged");
    // Valid only with stage 3 (`runtime/zero/offload_config.py`).
    assert_eq!(at(3, "offload_param", "cpu").unwrap_err().code, "not-judged");
    assert!(!offload("offload_param", "cpu").unwrap().no_effect.is_empty());
}

/// DeepSpeed 0.19.8 (`runtime/config.py`): what it passes over changes nothing, what it refuses is
/// refused, what changes a run in a way that no plan has is named.
#[test]
fn a_ds_config_is_read_as_deepspeed_reads_it() {
    let deepspeed = |text: &str| read(Launcher::DeepSpeed, text);
    let passed = r#"{"steps_per_print":1,"gradient_clipping":1.0,"wandb":{"enabled":true},
        "my_own_note":7,"train_batch_size":"auto","bf16":{"enabled":"auto"},
        "zero_optimization":{"stage":2,"overlap_comm":true,"reduce_bucket_size":5e8}}"#;
    let settings = deepspeed(passed).unwrap();
    assert_eq!((settings.zero, settings.global_batch), (Some(ZeroStage::Gradients), None));
    assert_eq!(settings.dtype, None);
    let refused = [
        (r#"{"amp":{"enabled":true}}"#, "bad-settings"),
        (r#"{"elasticity":{}}"#, "bad-settings"),
        (r#"{"zero_optimization":{"mics_shard_size":8}}"#, "unknown-flag"),
        (r#"{"zero_optimization":{"stages":3}}"#, "unknown-flag"),
        (r#"{"bf16":{"enable":true}}"#, "unknown-flag"),
        (r#"{"zero_optimizations":{"stage":3}}"#, "unknown-flag"),
        (r#"{"zero_optimization":{"stage":4}}"#, "bad-settings"),
        (r#"{"sequence_parallel_size":4}"#, "not-judged"),
        (r#"{"torch_autocast":{"enabled":true}}"#, "not-judged"),
        (r#"{"zero_optimization":{"stage":3,"zero_hpz_partition_size":8}}"#, "not-judged"),
        (r#"{"zero_optimization":{"stage":3,"zero_quantized_weights":true}}"#, "not-judged"),
        (r#"{"bf16":{"enabled":true,"bf16_master_weights_and_grads":true}}"#, "not-judged"),
        (r#"{"managed_gradient_accumulation":false}"#, "not-judged"),
        (r#"{"optimizer":{"type":"SGD","params":{"momentum":0.9}}}"#, "not-judged"),
        (
            r#"{"zero_optimization":{"stage":3,"offload_optimizer":{"device":"cpu","ratio":0.5}}}"#,
            "not-judged",
        ),
        (r#"{"bf16":{"enabled":true},"communication_data_type":"fp32"}"#, "not-judged"),
        (r#"{"bf16":{"enabled":true},"data_types":{"grad_accum_dtype":"fp32"}}"#, "not-judged"),
        (r#"{"tensor_parallel":{"autotp_size":4},"train_batch_size":6}"#, "bad-settings"),
        (r#"{"tensor_parallel":{"autotp_size":4},"topology":{"num_pp":2}}"#, "not-judged"),
        (
            r#"{"expert_parallel":{"enabled":true,"autoep_size":4},"tensor_parallel":{"autotp_size":2}}"#,
            "not-judged",
        ),
    ];
    for (text, code) in refused {
        assert_eq!(deepspeed(text).unwrap_err().code, code, "{text}");
    }
    let off = r#"{"zero_optimization":{"stage":3,"zero_hpz_partition_size":1,"zenflow":null},
        "sequence_parallel_size":1,"torch_autocast":{"enabled":false}}"#;
    assert_eq!(deepspeed(off).unwrap().zero, Some(ZeroStage::Parameters));
    assert_eq!(
        deepspeed(r#"{"zero_optimization":true}"#).unwrap().zero,
        Some(ZeroStage::Optimizer)
    );
    let older = r#"{"zero_optimization":{"stage":2,"cpu_offload":true}}"#;
    assert_eq!(deepspeed(older).unwrap().offloads, Some(true));
}

/// Sizes as its code takes them: AutoTP counts every process as a replica, its pipelines in bf16 share
/// the states out at any stage, gradients have the type of the run unless it is told otherwise.
#[test]
fn deepspeed_counts_and_shares_as_its_code_does() {
    let deepspeed = |text: &str| read(Launcher::DeepSpeed, text).unwrap();
    let split = deepspeed(r#"{"tensor_parallel":{"autotp_size":4},"train_batch_size":64}"#);
    assert_eq!((split.tensor, split.global_batch), (Some(4), Some(16)));
    assert_eq!(split.sequence, Some(SequenceParallel::Off));
    let shared = deepspeed(r#"{"expert_parallel":{"enabled":true,"autoep_size":4}}"#);
    assert_eq!(shared.expert, Some(4));
    let staged = |dtype: &str, pipeline: u32| {
        let text = format!(
            r#"{{"topology":{{"num_pp":{pipeline}}},"ds_config":{{"{dtype}":{{"enabled":true}}}}}}"#
        );
        deepspeed(&text).zero
    };
    assert_eq!(staged("bf16", 4), Some(ZeroStage::Optimizer));
    assert_eq!(staged("bf16", 1), Some(ZeroStage::None));
    assert_eq!(staged("fp16", 4), Some(ZeroStage::None));
    let sums = |more: &str| {
        let text =
            format!(r#"{{"bf16":{{"enabled":true}},"zero_optimization":{{"stage":1}}{more}}}"#);
        deepspeed(&text).gradients
    };
    assert_eq!(sums(""), Some(DType::Bf16));
    let wide = r#","data_types":{"grad_accum_dtype":"fp32"},"communication_data_type":"fp32""#;
    assert_eq!(sums(wide), Some(DType::F32));
    let again = |interval: u32, pipeline: u32| {
        let config = format!(r#"{{"pipeline":{{"activation_checkpoint_interval":{interval}}}}}"#);
        deepspeed(&format!(r#"{{"topology":{{"num_pp":{pipeline}}},"ds_config":{config}}}"#))
            .recompute
    };
    assert_eq!(again(1, 2), Some(Recompute::Full));
    assert_eq!(again(0, 2), Some(Recompute::None));
    // Nobody reads it there.
    assert_eq!(again(1, 1), None);
}

/// Each number has a range, and no product or list of such numbers leaves it.
#[test]
fn numbers_out_of_all_proportion_are_refused_at_once() {
    let large = ["4294967295", "4294967296", "18446744073709551615", "1048577", "-1", "0", "1e3"];
    for number in large {
        let files = [
            (Launcher::Megatron, format!("--tensor-model-parallel-size {number}")),
            (Launcher::Megatron, format!("--num-layers {number} --micro-batch-size 1")),
            (Launcher::Torchtitan, format!("--parallelism.tensor_parallel_degree {number}")),
            (Launcher::Vllm, format!("--tensor-parallel-size {number}")),
            (Launcher::Sglang, format!("--ep-size {number}")),
            (Launcher::DeepSpeed, format!("{{\"topology\":{{\"num_mp\":{number}}}}}")),
            (Launcher::DeepSpeed, format!("{{\"parts\":[0,{number}]}}")),
            (Launcher::Galvatron, format!("{{\"tp_sizes_enc\":\"{number}\",\"pp_deg\":1}}")),
            (Launcher::Galvatron, format!("{{\"tp_sizes_enc\":\"1\",\"pp_deg\":{number}}}")),
        ];
        for (launcher, text) in files {
            assert!(read(launcher, &text).is_err(), "{text}");
        }
    }
    let many = "--num-layers 1048576 --pipeline-model-parallel-size 1048576";
    assert_eq!(read(Launcher::Megatron, many).unwrap_err().code, "bad-settings");
}

/// What the consumers' own code makes of such words (torchtitan 0.3.0, Megatron-LM d98e8a64): shards lie on
/// context ranks too, replicas of shards are in no plan, a comment ends its line, momentum is a state.
#[test]
fn files_say_what_their_consumers_run() {
    let titan = |text: &str| read(Launcher::Torchtitan, text);
    let context =
        "--parallelism.data_parallel_shard_degree 1 --parallelism.context_parallel_degree 2";
    let never = format!("{context} --parallelism.fsdp_reshard_after_forward never");
    assert_eq!(titan(context).unwrap().zero, Some(ZeroStage::Parameters));
    assert_eq!(titan(&never).unwrap().zero, Some(ZeroStage::Gradients));
    // By default a pipeline keeps what it gathered (`get_fsdp_reshard_after_forward_policy`).
    let piped = format!("{context} --parallelism.pipeline_parallel_degree 2");
    let always = format!("{piped} --parallelism.fsdp_reshard_after_forward always");
    assert_eq!(titan(&piped).unwrap().zero, Some(ZeroStage::Gradients));
    assert_eq!(titan(&always).unwrap().zero, Some(ZeroStage::Parameters));
    let whole = "--parallelism.data_parallel_shard_degree 1";
    assert_eq!(titan(whole).unwrap().zero, Some(ZeroStage::None));
    assert_eq!(titan(whole).unwrap().offloads, Some(false));
    let hyphens = r#"MORE="--parallelism.data-parallel-shard-degree 1""#;
    assert_eq!(titan(hyphens).unwrap().zero, Some(ZeroStage::None));
    let replicas = "--parallelism.data_parallel_replicate_degree 2";
    let both = format!("{replicas} --parallelism.data_parallel_shard_degree 2");
    assert_eq!(titan(&both).unwrap_err().code, "not-judged");
    assert_eq!(titan(replicas).unwrap_err().code, "not-judged");
    assert_eq!(titan(&format!("{replicas} {whole}")).unwrap().data, Some(2));
    let mixed = "--training.local_batch_size 4 --parallelism.num_pp_microbatches 2";
    assert_eq!(titan(mixed).unwrap_err().code, "bad-settings");
    let sequence = "--parallelism.enable_sequence_parallel true";
    assert_eq!(titan(sequence).unwrap_err().code, "bad-settings");
    let parts = "--parallelism.module_fqns_per_model_part tok_embeddings,layers.0 layers.1,lm_head \
                 activation-checkpoint:full";
    let settings = titan(&format!("--parallelism.pipeline_parallel_degree 2 {parts}")).unwrap();
    assert_eq!((settings.blocks, settings.recompute), (Some(vec![1, 1]), Some(Recompute::Full)));

    assert_eq!(megatron("# --context-parallel-size 4").unwrap().context, None);
    assert_eq!(megatron("--optimizer sgd").unwrap_err().code, "not-judged");
    let plain = megatron("--optimizer sgd --sgd-momentum 0.0").unwrap();
    assert_eq!(plain.optimizer, Some(Optimizer::Sgd));
    for flag in
        ["--cpu-offloading", "--recompute-granularity selective --recompute-modules core_attn mlp"]
    {
        assert_eq!(megatron(flag).unwrap_err().code, "not-judged", "{flag}");
    }
    // Of 13 blocks the last one predicts a later token.
    let later = megatron("--num-layers 12 --mtp-num-layers 1").unwrap();
    assert_eq!((later.blocks, later.n_predicting), (Some(vec![13]), Some(1)));
    // `PipeModelDataParallelTopology` has the axes pipe, data, model.
    assert_eq!(read(Launcher::DeepSpeed, "{}").unwrap().mesh, Some(Mesh::TpCpDpPp));
    let ends = "--decoder-first-pipeline-num-layers 3 --pipeline-model-parallel-size 2";
    assert_eq!(megatron(ends).unwrap_err().code, "bad-settings");
}

/// Torchtitan's own `_generate_llm_fqn_per_model_part` on the same numbers (main, August 2026; 0.3.0 has
/// the same code).
#[test]
fn torchtitan_cuts_as_its_own_code_does() {
    let cut = |n_stages, n_layers, ends| cut_by_ends(n_layers, n_stages, ends);
    let sixteen = [&[2, 3][..], &[2; 13], &[1]].concat();
    assert_eq!(cut(16, 32, [1, 1]).unwrap(), sixteen);
    for (n_stages, n_layers, ends, wanted) in [
        (4, 12, [1, 1], &[3, 4, 3, 2][..]),
        (2, 3, [2, 2], &[2, 1]),
        (8, 61, [1, 1], &[7, 8, 8, 8, 8, 8, 8, 6]),
        (8, 61, [3, 2], &[6, 9, 8, 8, 8, 8, 8, 6]),
        (4, 6, [0, 0], &[2, 2, 1, 1]),
        (2, 4, [4, 1], &[1, 3]),
        (6, 10, [0, 2], &[2, 2, 2, 2, 2, 0]),
        (1, 5, [3, 3], &[5]),
    ] {
        assert_eq!(cut(n_stages, n_layers, ends).unwrap(), wanted, "{n_stages} {n_layers}");
    }
    assert_eq!(cut(34, 32, [1, 1]).unwrap().iter().filter(|n| **n == 0).count(), 2);
    for (n_stages, n_layers, ends) in [(35, 32, [1, 1]), (4, 6, [3, 0]), (4, 6, [0, 3])] {
        assert_eq!(cut(n_stages, n_layers, ends).unwrap_err().code, "bad-settings");
    }
}

/// Defaults of torchtitan (`_get_pipeline_metadata`, `get_fsdp_reshard_after_forward_policy`, `trainer.py`):
/// one stage a rank or two by schedule, parameters kept over a pipeline's step, one run of all replicas.
#[test]
fn torchtitan_means_its_defaults() {
    let titan = |text: &str| read(Launcher::Torchtitan, text);
    let deep = "--parallelism.pipeline_parallel_degree 4";
    let zero = |more: &str| titan(&format!("{deep} {more}")).unwrap().zero;
    let policy = "--parallelism.fsdp_reshard_after_forward";
    assert_eq!(zero(""), Some(ZeroStage::Gradients));
    assert_eq!(zero(&format!("{policy} default")), Some(ZeroStage::Gradients));
    assert_eq!(zero(&format!("{policy} always")), Some(ZeroStage::Parameters));
    let reduced = "--training.steps 3 --training.mixed_precision_reduce";
    assert_eq!(titan(&format!("{reduced} float32")).unwrap().zero, Some(ZeroStage::Parameters));
    assert_eq!(titan(&format!("{reduced} bfloat16")).unwrap_err().code, "not-judged");
    let chunks = |name: &str| {
        let schedule = format!("{deep} --parallelism.pipeline_parallel_schedule {name}");
        titan(&schedule).unwrap().virtual_stages
    };
    assert_eq!([chunks("1f1b"), chunks("GPipe")], [Some(1); 2]);
    assert_eq!([chunks("Interleaved1F1B"), chunks("ZBVZeroBubble")], [Some(2); 2]);
    let less = "--parallelism.pipeline_parallel_first_stage_less_layers 0";
    assert_eq!(titan(&format!("{deep} {less}")).unwrap().ends, Some([0, 1]));
    assert!(titan(&format!("{deep} {less}x")).is_err());
    let step = |text: &str| {
        let settings = titan(text).unwrap();
        (settings.micro_batch, settings.n_micro_batches, settings.global_batch)
    };
    let local = "--training.local-batch-size 8 --training.global_batch_size=-1";
    assert_eq!(step(local), (Some(8), Some(1), None));
    assert_eq!(step(&format!("{deep} {local}")), (Some(1), Some(8), None));
    let size = "--parallelism.pipeline_parallel_microbatch_size";
    assert_eq!(step(&format!("{deep} {local} {size} 4")), (Some(4), Some(2), None));
    assert_eq!(titan(&format!("{deep} {local} {size} 3")).unwrap_err().code, "bad-settings");
    let tokens = "--training.num_tokens_per_microbatch_per_dp_rank 8192";
    let length = "--training.max-context-length 4096 --training.num_tokens_per_train_step -1";
    assert_eq!(step(&format!("{deep} {tokens} {length}")), (Some(2), Some(1), None));
    // How many samples they are nobody says.
    assert_eq!(titan(tokens).unwrap_err().code, "bad-settings");
    assert_eq!(titan("--training.seq-len 512").unwrap().sequence_length, Some(512));
    let in_file = format!(
        "{deep} --parallelism.pipeline_parallel_schedule DualPipeV \
         --parallelism.pipeline_parallel_schedule_csv own.csv"
    );
    assert_eq!(titan(&in_file).unwrap_err().code, "not-judged");
}

/// DeepSpeed 0.19.8 (`_set_batch_related_parameters`, `dict_raise_error_on_duplicate_keys`, `overlap_comm_valid`).
#[test]
fn a_ds_config_fills_in_its_batches_and_takes_no_key_twice() {
    let deepspeed = |text: &str| read(Launcher::DeepSpeed, text);
    let step = |text: &str| {
        let settings = deepspeed(text).unwrap();
        (settings.micro_batch, settings.n_micro_batches, settings.global_batch)
    };
    let micro = r#""train_micro_batch_size_per_gpu":2"#;
    assert_eq!(step(&format!("{{{micro}}}")), (Some(2), Some(1), None));
    assert_eq!(step(r#"{"train_batch_size":32}"#), (None, Some(1), Some(32)));
    assert_eq!(step(&format!(r#"{{{micro},"train_batch_size":32}}"#)), (Some(2), None, Some(32)));
    let auto = format!(r#"{{{micro},"gradient_accumulation_steps":"auto"}}"#);
    assert_eq!(step(&auto), (Some(2), None, None));
    for twice in [
        format!("{{{micro},{micro}}}"),
        format!(r#"{{{micro},"zero_optimization":{{"stage":2,"stage":3}}}}"#),
    ] {
        assert_eq!(deepspeed(&twice).unwrap_err().code, "duplicate-key", "{twice}");
    }
    let beside = |stage: u8, more: &str| {
        let text = format!(r#"{{{micro},"zero_optimization":{{"stage":{stage}{more}}}}}"#);
        deepspeed(&text).unwrap().overlaps
    };
    // By default parameters are gathered beside the passes, as under any stack.
    assert_eq!([beside(2, ""), beside(3, "")], [Some(false), None]);
    assert_eq!(beside(2, r#","overlap_comm":true"#), Some(true));
    assert_eq!(beside(3, r#","overlap_comm":false"#), Some(false));
    assert_eq!(beside(0, r#","overlap_comm":true"#), Some(false));
}

/// Files of runs over replicas alone, and of defaults.
#[test]
fn launchers_are_known_by_their_common_words() {
    for (text, launcher) in [
        ("--num-layers 12 --micro-batch-size 1 --global-batch-size 32", Launcher::Megatron),
        ("--use-distributed-optimizer --bf16", Launcher::Megatron),
        ("--training.local_batch_size 4", Launcher::Torchtitan),
        (r#"{"train_batch_size": 32}"#, Launcher::DeepSpeed),
        (r#"{"zero_optimization": {"stage": 3}}"#, Launcher::DeepSpeed),
        ("python -m sglang.launch_server --tp-size 2", Launcher::Sglang),
        ("vllm serve m --tensor-parallel-size 2", Launcher::Vllm),
    ] {
        assert_eq!(Launcher::guess(text), Some(launcher), "{text}");
    }
    assert_eq!(Launcher::guess(r#"{"model.embed_tokens": 0, "lm_head": "cpu"}"#), None);
}
