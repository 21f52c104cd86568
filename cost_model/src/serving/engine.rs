//! Engines that serve by continuous batching: what they take beside kernels, and with which software their
//! kernels are priced.

use ir::stack::{AttentionLibrary, Dispatcher, Launch, Stack};
use ir::units::Seconds;

use crate::kernels::stack::compiled;

/// An engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    /// vLLM.
    #[default]
    Vllm,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM.
    TrtLlm,
}

/// Seconds between the work of two iterations: vLLM with asynchronous scheduling (vllm#10634: 200 to 300 us
/// of 5 to 6 ms are left). SGLang and TensorRT-LLM overlap their schedulers too; *nominal* for them.
const BETWEEN_S: f64 = 250e-6;
/// Host seconds of launching a compiled layer without CUDA graphs: those of torchtitan's compiled blocks;
/// *nominal*.
const LAYER_S: f64 = 0.2e-3;
/// Seconds before the first byte of an all-reduce by an engine's own kernel in a CUDA graph: at once, every
/// GPU reading all of the others, and in two steps (`collectives.csv`, vLLM_custom_graph: 4.3 to 4.9 us on
/// H100, 4.9 to 5.8 on A100, 6.6 to 7.5 on B200 for the first; 10 to 11 on H100 for the second).
const SMALL_REDUCE_S: [f64; 2] = [4.6e-6, 10e-6];

/// Queries of one head that FlashAttention 2 computes at once over paged keys (Dao-AILab/flash-attention,
/// `run_mha_fwd_splitkv_dispatch`).
const TILE_ROWS: u32 = 64;

/// What an engine takes beside kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overhead {
    /// Seconds of every iteration: scheduler, sampling, and what is sent to devices and back.
    pub iteration_s: f64,
    /// Least host seconds of a layer whose launches are not recorded.
    pub layer_s: f64,
    /// Most requests of a decode-only iteration that a CUDA graph is recorded of; 0 without graphs.
    pub graph_requests: u64,
    /// Start-up seconds of small all-reduces inside a scale-up domain by kernels of the engine, at once and
    /// in two steps; `None` = as NCCL.
    pub small_reduce: Option<[f64; 2]>,
    /// Rows that a decoding request takes for each query head in an iteration with prompts, on devices whose
    /// attention is FlashAttention 2: vLLM has one call for all of a batch, and heads of a group share a
    /// tile only where all requests have one query (`seqlenq_ngroups_swapped`). 1: a call of their own.
    pub mixed_rows: u32,
    /// How tokens of attention data-parallel ranks reach experts.
    pub dispatcher: Dispatcher,
    /// Whether their exchange runs beside the work of another half of the batch (SGLang
    /// `--enable-two-batch-overlap`, vLLM `--enable-dbo`).
    pub overlaps: bool,
}

impl Engine {
    /// All.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::Sglang, Self::TrtLlm];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::TrtLlm => "trtllm",
        }
    }

    /// The one with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// What it takes beside kernels by default. vLLM and SGLang gather the tokens of attention
    /// data-parallel ranks and scatter the results, TensorRT-LLM exchanges all to all.
    #[must_use]
    pub const fn overhead(self) -> Overhead {
        let dispatcher = match self {
            Self::Vllm | Self::Sglang => Dispatcher::AllGather,
            Self::TrtLlm => Dispatcher::AllToAll,
        };
        Overhead {
            iteration_s: BETWEEN_S,
            layer_s: LAYER_S,
            graph_requests: self.graph_requests(),
            small_reduce: Some(SMALL_REDUCE_S),
            mixed_rows: match self {
                Self::Vllm => TILE_ROWS,
                Self::Sglang | Self::TrtLlm => 1,
            },
            dispatcher,
            overlaps: false,
        }
    }

    /// Greatest batch that CUDA graphs are recorded of by default: vLLM `max_cudagraph_capture_size`,
    /// SGLang `--cuda-graph-max-bs` on GPUs of 60 to 90 GiB, TensorRT-LLM `cuda_graph_config.max_batch_size`.
    #[must_use]
    pub const fn graph_requests(self) -> u64 {
        match self {
            Self::Vllm => 512,
            Self::Sglang => 256,
            Self::TrtLlm => 128,
        }
    }

    /// Tokens of a block of keys and values by default.
    #[must_use]
    pub const fn block_tokens(self) -> u64 {
        match self {
            Self::Vllm => 16,
            Self::Sglang => 1,
            Self::TrtLlm => 32,
        }
    }
}

/// The software that kernels of engines are priced with: compiled chains, and fused attention as in the
/// attention tables, which are of engines' kernels.
#[must_use]
pub fn stack() -> Stack {
    Stack {
        name: "serving".to_owned(),
        launch: Launch::CudaGraphs,
        launch_floor: Seconds::new(LAYER_S).unwrap_or_default(),
        attention_library: AttentionLibrary::PyTorch,
        attention_rate: [1.0; 2],
        source: "compiled chains; attention: attention.csv".to_owned(),
        ..compiled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_found_by_their_names() {
        for engine in Engine::ALL {
            assert_eq!(Engine::named(engine.name()), Some(engine));
            let overhead = engine.overhead();
            assert!(overhead.iteration_s > 0.0 && overhead.layer_s > 0.0);
        }
        assert_eq!(Engine::named("triton"), None);
    }
}
