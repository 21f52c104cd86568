//! What engines call the facts of a worker, a row each.
//!
//! vLLM 0.33 (`vllm/engine/arg_utils.py`, `vllm/config/parallel.py`, `scheduler.py`): requests and tokens of
//! an iteration are those of a data-parallel rank. Experts are split over all devices of a stage, by number
//! with `--enable-expert-parallel` (`FusedMoEParallelConfig.make`), by width without. Data-parallel ranks are
//! outermost, then stages, then tensor ranks.
//!
//! SGLang 0.5.23 (`arg_groups/fields`, `parallel_hook.py`, `pool_configurator.py`): `--tp-size` counts all
//! devices of a stage, attention data parallelism is inside it; `--max-running-requests` and
//! `--chunked-prefill-size` are those of all its ranks and divided among them, `--max-prefill-tokens` is that
//! of each.
//!
//! TensorRT-LLM 1.2 (`tensorrt_llm/llmapi/llm_args.py`, `mapping.py`): `tensor_parallel_size` counts all
//! devices of a stage, attention data parallelism is over all of them; `max_batch_size` is that of one of as
//! many batches as stages (`get_max_num_sequences`).

use documents::plan::fleet::RoleDocument::{Aggregated, Decode, Prefill};
use ir::card::stored::CacheType;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::facts::{Facts, is_disaggregated};
use crate::serving::stages::{CacheWords, SGLANG_CACHE, VLLM_CACHE};
use crate::serving::{SGLANG, VLLM};

/// The name of TensorRT-LLM's target.
pub(crate) const TRTLLM: &str = "trtllm";

/// What an engine calls a fact; `null` = it is not said.
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) of: fn(&Facts<'_>) -> Value,
}

/// What an engine cannot be told.
pub(super) struct Limit {
    pub(super) holds: fn(&Facts<'_>) -> bool,
    pub(super) message: &'static str,
    pub(super) hint: &'static str,
}

/// Which ranks follow each other.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Those of a stage.
    Stages,
    /// Those of a data-parallel rank.
    Replicas,
}

/// An engine.
pub(super) struct Engine {
    /// Its target, as plans name it.
    pub(super) target: &'static str,
    /// As its makers write it.
    pub(super) name: &'static str,
    pub(super) words: &'static [Word],
    pub(super) limits: &'static [Limit],
    /// Whether workers can be cut over hosts of so many devices each.
    pub(super) starts_on: fn(&Facts<'_>, u64) -> bool,
    /// What it rounds.
    pub(super) rounds: fn(&Facts<'_>) -> Option<Diagnostic>,
    pub(super) cache: CacheWords,
    /// The variable with the layers of each stage.
    pub(super) partition: Option<&'static str>,
    pub(super) order: Order,
}

/// The engine of a name in plans.
pub(super) fn engine(name: &str) -> Option<&'static Engine> {
    [&VLLM_ENGINE, &SGLANG_ENGINE, &TRTLLM_ENGINE].into_iter().find(|engine| engine.target == name)
}

/// A value where something holds.
fn some(holds: bool, value: impl Into<Value>) -> Value {
    if holds { value.into() } else { Value::Null }
}

/// vLLM's share of a device's memory where the plan uses less than its default of 0.92, in hundredths.
fn utilization(facts: &Facts<'_>) -> Option<f64> {
    let whole = facts.whole_memory? as f64;
    Some((92.0 * facts.worker.memory.capacity as f64 / whole + 1e-3).floor() / 100.0)
}

/// Whether an engine uses the memory that it does by default.
const USUAL_MEMORY: Limit = Limit {
    holds: |f| f.whole_memory.is_none(),
    message: "is written for its default share of memory alone",
    hint: "plan without --memory-margin and --max-memory-per-device, or for vllm",
};

/// Requests of a batch of each of as many batches as stages.
fn batch(facts: &Facts<'_>) -> u64 {
    (facts.worker.max_num_seqs / (facts.worker.stages.len() as u64).max(1)).max(1)
}

/// Whether one count is a multiple of the other.
const fn divides(a: u64, b: u64) -> bool {
    a > 0 && b > 0 && (a.is_multiple_of(b) || b.is_multiple_of(a))
}

pub(super) const TENSOR: &str = "--tensor-parallel-size";
pub(super) const DATA: &str = "--data-parallel-size";

pub(super) const VLLM_ENGINE: Engine = Engine {
    target: VLLM,
    name: "vLLM",
    words: &[
        Word { name: TENSOR, of: |f| f.worker.tensor.into() },
        Word { name: "--pipeline-parallel-size", of: |f| f.worker.stages.len().into() },
        Word { name: DATA, of: |f| some(f.worker.data > 1, f.worker.data) },
        Word { name: "--enable-expert-parallel", of: |f| some(f.worker.expert > 1, true) },
        Word { name: "--max-num-seqs", of: |f| f.worker.max_num_seqs.into() },
        Word { name: "--max-num-batched-tokens", of: |f| f.worker.max_num_batched_tokens.into() },
        Word { name: "--max-model-len", of: |f| f.longest.0.into() },
        Word { name: "--dtype", of: |f| f.types.0.into() },
        Word { name: "--kv-cache-dtype", of: |f| f.types.1.into() },
        Word { name: "--gpu-memory-utilization", of: |f| utilization(f).into() },
        Word {
            name: "--kv-transfer-config",
            of: |f| match f.worker.role {
                Aggregated => Value::Null,
                Prefill => json!({"kv_connector": "NixlConnector", "kv_role": "kv_producer"}),
                Decode => json!({"kv_connector": "NixlConnector", "kv_role": "kv_consumer"}),
            },
        },
    ],
    limits: &[
        Limit {
            holds: |f| f.worker.expert == 1 || u64::from(f.worker.expert) == f.stage_devices(),
            message: "supports EP only over all devices of a stage",
            hint: "plan EP 1, or EP of all devices of a stage",
        },
        Limit {
            holds: |f| f.worker.max_num_batched_tokens >= f.worker.max_num_seqs,
            message: "needs max_num_batched_tokens of at least max_num_seqs",
            hint: "plan a larger max_num_batched_tokens",
        },
        Limit {
            holds: |f| f.worker.role != Decode || f.worker.stages.len() == 1,
            message: "transfers no KV cache to decode pipelines (NixlConnector)",
            hint: "plan decode workers with PP 1, or aggregated ones",
        },
    ],
    starts_on: |f, each| divides(each, u64::from(f.worker.tensor) * f.worker.stages.len() as u64),
    rounds: |_| None,
    cache: VLLM_CACHE,
    partition: Some("VLLM_PP_LAYER_PARTITION"),
    order: Order::Replicas,
};

pub(super) const SGLANG_ENGINE: Engine = Engine {
    target: SGLANG,
    name: "SGLang",
    words: &[
        Word { name: "--tp-size", of: |f| f.stage_devices().into() },
        Word { name: "--pp-size", of: |f| f.worker.stages.len().into() },
        Word { name: "--dp-size", of: |f| some(f.worker.data > 1, f.worker.data) },
        Word { name: "--enable-dp-attention", of: |f| some(f.worker.data > 1, true) },
        Word { name: "--ep-size", of: |f| some(f.worker.expert > 1, f.worker.expert) },
        Word {
            name: "--max-running-requests",
            of: |f| f.worker.max_num_seqs.saturating_mul(u64::from(f.worker.data)).into(),
        },
        Word {
            name: "--chunked-prefill-size",
            of: |f| {
                let tokens = f.worker.max_num_batched_tokens;
                some(f.worker.role != Decode, tokens.saturating_mul(u64::from(f.worker.data)))
            },
        },
        Word {
            name: "--max-prefill-tokens",
            of: |f| some(f.worker.role != Decode, f.worker.max_num_batched_tokens),
        },
        Word { name: "--context-length", of: |f| f.longest.0.into() },
        Word { name: "--dtype", of: |f| f.types.0.into() },
        Word { name: "--kv-cache-dtype", of: |f| f.types.1.into() },
        Word {
            name: "--disaggregation-mode",
            of: |f| some(is_disaggregated(f.worker), f.worker.role.name()),
        },
        Word {
            name: "--disaggregation-transfer-backend",
            of: |f| some(is_disaggregated(f.worker), "nixl"),
        },
    ],
    limits: &[
        USUAL_MEMORY,
        Limit {
            holds: |f| [1, f.stage_devices()].contains(&f.expert_devices()),
            message: "needs EP x expert TP to be the devices of a stage",
            hint: "plan EP of all devices of a stage",
        },
        Limit {
            holds: |f| {
                let stages = f.worker.stages.len();
                let mut others = f.fleet.workers.iter().filter(|of| of.role == Prefill);
                f.worker.role != Decode || stages == 1 || others.all(|of| of.stages.len() == stages)
            },
            message: "transfers KV cache only to PP 1 or to the PP of prefill workers",
            hint: "plan decode workers with PP 1",
        },
    ],
    starts_on: |f, each| divides(each, f.stage_devices()),
    rounds: |_| None,
    cache: SGLANG_CACHE,
    partition: Some("SGLANG_PP_LAYER_PARTITION"),
    order: Order::Stages,
};

/// `_VALID_KV_CACHE_DTYPES` of `tensorrt_llm/_torch/pyexecutor/model_loader.py`.
const TRTLLM_CACHE: CacheWords = CacheWords {
    target: TRTLLM,
    flag: str::to_owned,
    names: &[(CacheType::F8, "fp8"), (CacheType::F4, "nvfp4")],
};

pub(super) const TRTLLM_ENGINE: Engine = Engine {
    target: TRTLLM,
    name: "TensorRT-LLM",
    words: &[
        Word { name: "tensor_parallel_size", of: |f| f.stage_devices().into() },
        Word { name: "pipeline_parallel_size", of: |f| f.worker.stages.len().into() },
        Word {
            name: "pp_partition",
            of: |f| some(f.worker.stages.len() > 1, f.worker.stages.clone()),
        },
        Word { name: "enable_attention_dp", of: |f| (f.worker.data > 1).into() },
        Word {
            name: "moe_expert_parallel_size",
            of: |f| some(f.expert_devices() > 1, f.worker.expert),
        },
        Word {
            name: "moe_tensor_parallel_size",
            of: |f| some(f.expert_devices() > 1, f.worker.expert_tensor),
        },
        Word { name: "max_batch_size", of: |f| batch(f).into() },
        Word { name: "max_num_tokens", of: |f| f.worker.max_num_batched_tokens.into() },
        Word { name: "max_seq_len", of: |f| f.longest.0.into() },
        Word { name: "enable_chunked_prefill", of: |f| (f.worker.role != Decode).into() },
        // Servers of prompts alone do not take it.
        Word { name: "disable_overlap_scheduler", of: |f| some(f.worker.role == Prefill, true) },
        Word { name: "dtype", of: |f| f.types.0.into() },
        Word {
            name: "kv_cache_config",
            of: |f| f.types.1.map_or(Value::Null, |cache| json!({"dtype": cache})),
        },
        Word {
            name: "cache_transceiver_config",
            of: |f| {
                let of = json!({"backend": "DEFAULT", "max_tokens_in_buffer": f.longest.1});
                some(is_disaggregated(f.worker), of)
            },
        },
    ],
    limits: &[
        USUAL_MEMORY,
        Limit {
            holds: |f| f.worker.data == 1 || f.worker.tensor == 1,
            message: "supports attention DP only over all devices of a stage",
            hint: "plan TP 1 or DP 1",
        },
        Limit {
            holds: |f| [1, f.stage_devices()].contains(&f.expert_devices()),
            message: "needs EP x expert TP to be the devices of a stage",
            hint: "plan EP of all devices of a stage",
        },
    ],
    starts_on: |_, _| true,
    rounds: |f| {
        let (stages, asked) = (f.worker.stages.len() as u64, f.worker.max_num_seqs);
        let rounded = batch(f).saturating_mul(stages);
        (rounded != asked).then(|| {
            let message = format!(
                "TensorRT-LLM has one batch per stage: {rounded} instead of {asked} running requests on {}",
                f.name
            );
            Diagnostic::warning("rounded", message)
        })
    },
    cache: TRTLLM_CACHE,
    partition: None,
    order: Order::Stages,
};
