//! What a composition is of: engine, worker, length of requests.

use ir::engine_tables::NumberFormat;

/// Serving engines, with their MoE dispatch and scheduler constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM.
    TensorRtLlm,
}

impl Scheduler {
    /// The engine of this name in AIConfigurator's tables.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "vllm" => Some(Self::Vllm),
            "sglang" => Some(Self::Sglang),
            "trtllm" => Some(Self::TensorRtLlm),
            _ => None,
        }
    }
}

/// Degrees of parallelism and data types of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Tensor-parallel ranks.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Attention data-parallel ranks.
    pub data: u32,
    /// Tensor-parallel ranks of an expert.
    pub expert_tensor: u32,
    /// Expert-parallel ranks.
    pub expert: u32,
    /// Type of GEMM weights; the LM head is bf16.
    pub weights: NumberFormat,
    /// Type of expert weights.
    pub expert_weights: NumberFormat,
    /// Compute type of prefill attention.
    pub attention: NumberFormat,
    /// Type of the KV cache.
    pub cache: NumberFormat,
    /// Whether queries and keys are normalised per head (Qwen 3).
    pub norms_heads: bool,
    /// Expert load distribution, as named in the tables, such as `power_law_1.2`.
    pub load: String,
}

impl Worker {
    /// A dense model on `tensor` tensor-parallel ranks, with bf16 attention and KV cache.
    #[must_use]
    pub fn dense(number: NumberFormat, tensor: u32) -> Self {
        Self {
            tensor,
            pipeline: 1,
            data: 1,
            expert_tensor: tensor,
            expert: 1,
            weights: number,
            expert_weights: number,
            attention: NumberFormat::Bf16,
            cache: NumberFormat::Bf16,
            norms_heads: false,
            load: String::from("power_law_1.2"),
        }
    }

    /// Devices of the worker.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.tensor.saturating_mul(self.data).saturating_mul(self.pipeline)
    }
}

/// Length of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lengths {
    /// Prompt tokens (ISL).
    pub prompt: u64,
    /// Output tokens (OSL).
    pub generated: u64,
}
