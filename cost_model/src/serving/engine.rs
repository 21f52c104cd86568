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
/// All-reduces by kernels of vLLM and SGLang in a CUDA graph: at once, every GPU reading all of the others, and in
/// two steps (`collectives.csv`, vLLM_custom_graph: 4.3 to 4.9 us on H100, 4.9 to 5.8 on A100, 6.6 to 7.5 on B200
/// for the first; 10 to 11 on H100 for the second).
const SMALL_REDUCE: SmallReduce =
    SmallReduce { start_s: [4.6e-6, 10e-6], share: [1.0; 2], is_by_size: true };
/// Those of TensorRT-LLM (aiconfigurator 0.12.0, `custom_allreduce_perf` of 1.3.0rc20 on H100, H200 and B200:
/// 1 MiB on eight GPUs in 26 us on the first two, 2 MiB in 31 to 36, 4 MiB in 48 to 52).
const TRTLLM_REDUCE: SmallReduce =
    SmallReduce { start_s: [4e-6, 20e-6], share: [0.8, 0.5], is_by_size: false };
/// Decode attention on Hopper, over keys of 16 and of 8 bits (aiconfigurator 0.12.0,
/// `generation_attention_perf` on H100 and H200, heads of 128 in groups of 8; of less than 0.5 MB, and of more
/// than 200 MB of 8 bits): vLLM 0.24 11.8 and 13.5 us, 2.4 to 2.6 TB/s; SGLang 0.5.14 9.4, 12.9 us, 1.9 to 2.2;
/// TensorRT-LLM 1.3 9.0, 6.0 us, which reads 8 bits as it does 16.
const HOPPER: [HopperDecode; 3] = [
    HopperDecode { start_s: [12e-6, 13.5e-6], narrow_per_s: 2.5e12 },
    HopperDecode { start_s: [9.4e-6, 12.9e-6], narrow_per_s: 2.1e12 },
    HopperDecode { start_s: [9e-6, 6e-6], narrow_per_s: f64::INFINITY },
];

/// Queries of one head that FlashAttention 2 computes at once over paged keys (Dao-AILab/flash-attention,
/// `run_mha_fwd_splitkv_dispatch`).
const TILE_ROWS: u32 = 64;

/// All-reduces of few bytes inside a scale-up domain by kernels of an engine: at once, and in two steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallReduce {
    /// Seconds before the first byte.
    pub start_s: [f64; 2],
    /// Shares of the rate of links.
    pub share: [f64; 2],
    /// Whether the number of bytes decides which is taken, as in vLLM; else the faster one is.
    pub is_by_size: bool,
}

/// Attention of one query of each request by kernels of an engine on Hopper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HopperDecode {
    /// Seconds before the first byte, of keys and values of 16 and of 8 bits.
    pub start_s: [f64; 2],
    /// Bytes/s of keys and values of 8 bits at most.
    pub narrow_per_s: f64,
}

/// What an engine takes beside kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overhead {
    /// Seconds of every iteration: scheduler, sampling, and what is sent to devices and back.
    pub iteration_s: f64,
    /// Least host seconds of a layer whose launches are not recorded.
    pub layer_s: f64,
    /// Most requests of a decode-only iteration that a CUDA graph is recorded of; 0 without graphs.
    pub graph_requests: u64,
    /// Small all-reduces by kernels of the engine; `None` = as NCCL.
    pub small_reduce: Option<SmallReduce>,
    /// Decode attention on Hopper; `None` = as elsewhere.
    pub hopper_decode: Option<HopperDecode>,
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
            small_reduce: Some(match self {
                Self::Vllm | Self::Sglang => SMALL_REDUCE,
                Self::TrtLlm => TRTLLM_REDUCE,
            }),
            hopper_decode: Some(match self {
                Self::Vllm => HOPPER[0],
                Self::Sglang => HOPPER[1],
                Self::TrtLlm => HOPPER[2],
            }),
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
        attention_rate_elsewhere: None,
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
