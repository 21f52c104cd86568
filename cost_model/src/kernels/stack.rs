//! Named software stacks: presets of [`ir::stack::Stack`], each with its source.

use ir::chip::{Architecture, Chip};
use ir::stack::{
    AttentionKernel, AttentionLibrary, CodePath, Dispatcher, Elementwise, ExpertCosts, ExpertStack,
    HostShares, Keeps, Launch, Pieces, Projections, Scaling, Stack, UpdateBuffers, WeightCasts,
};
use ir::tensor::DType;
use ir::units::Seconds;

use super::rates::{LOGIT_BYTES, RESIDENT};

mod bridge;
mod tuning;

pub use tuning::torchtune;

/// Host time that one block's forward pass takes at least, in seconds: the cells of the vTrain
/// single-node table (vTrain at f8dda847) whose GPU work is short take 2.99 to 3.44 ms per block
/// and micro-batch with full recompute, which is four such passes.
const EAGER_FLOOR_S: f64 = 0.8e-3;
/// The same of Megatron-LM's functional tests (d98e8a64): 4.4 ms for both passes, fitted on their steps.
const TESTS_FLOOR_S: f64 = 4.4e-3 / 3.0;
/// The same of PyTorch on a core of the machine that docs/closed-loop.md was measured on; a profile of
/// `meshwright.torch.profile` holds that of its own.
const PROCESSOR_FLOOR_S: f64 = 1e-4;
/// What PyTorch's executors take on a core beside blocks, fitted on steps of
/// `examples/closed_loop/tiny.json`, a model that is too small for anything else to count.
const PROCESSOR_SHARES: HostShares = HostShares {
    ends: 4.0,
    tensor: 0.0,
    wide: WIDE_LAUNCH,
    context: 0.0,
    messages: 13.0,
    step: 21.0,
    pieces: 18.0,
    again: 5.0,
    split: 5.0,
    updates: 22.0,
};
/// Launches of a block over a whole host over those of one device, less one: cells of the vTrain
/// single-node table (f8dda847) whose launches bind.
const WIDE_LAUNCH: f64 = 0.3;
/// Host time of one block's forward pass under nanotron: 4.1 ms a block and micro-batch in three such
/// passes, whatever the tensor degree, and 6.6 ms for the ends (steps of the Ultra-Scale Playbook with
/// micro-batches of one sample on 2 to 8 tensor ranks of an H100 host).
const NANOTRON_FLOOR_S: f64 = 1.36e-3;
/// Bytes a parameter that nanotron's update moves beside a fused one: steps of the Ultra-Scale Playbook on 1
/// to 32 hosts with and without ZeRO 1 differ by 45 ms for each 1e9 parameters of a rank. AdamW kernel by
/// kernel (`torch.optim`, `foreach`), norm, casts and zeroing would move about 80.
const UNFUSED_UPDATE: f64 = 113.0;
/// Rate of large products in a whole step of an A100 over that of the same kernel timed alone; what
/// other devices keep up is [`super::power::sustained`]. Nominal: about 250 of 312 TFLOP/s stay under
/// the power limit, where single kernels reach 278.
const HOT: f64 = 0.9;
/// Fused attention as the attention tables have it (TensorRT-LLM's kernels).
const TABLE: [f64; 2] = [1.0, 1.0];
/// Fused attention of cuDNN, which Transformer Engine calls: 600 and 518 TFLOP/s forward and backward
/// on an H100 (Shah et al. 2024, arXiv:2407.08608, figures 5 and 6), over the 534 of the table and over
/// what its backward pass of 2.5 times the work takes.
const CUDNN: [f64; 2] = [1.1, 0.95];
/// The same of FlashAttention 2, which `scaled_dot_product_attention` calls: 370 and 318 TFLOP/s. From
/// PyTorch 2.11 on it calls cuDNN on compute capability 9.0 and 10.0 (`sdp_utils.cpp`,
/// `check_prefer_cudnn_attention`; 2.9 still has FlashAttention first).
const FLASH_2: [f64; 2] = [0.69, 0.60];
/// The same of FlashAttention in Triton with a bias of scores (ALiBi), on Hopper and on Ampere: fitted on
/// llm-foundry's steps of up to 65,536 tokens.
const TRITON: [f64; 2] = [0.53, 0.41];
const TRITON_AMPERE: [f64; 2] = [1.06, 0.60];
/// Share of the memory bandwidth that fused pointwise kernels reach (what copies of the product
/// tables reach, 0.74 to 0.84).
const FUSED_RATE: f64 = 0.8;
/// Bytes per logit of a loss in PyTorch's own kernels: a 32-bit copy, its log-softmax and their
/// gradients, each written and read; nominal.
const SEPARATE_LOSS: f64 = 24.0;
/// Bytes per logit of Megatron's loss over tensor ranks without `--cross-entropy-loss-fusion`, as
/// `vocab_parallel_cross_entropy` is written: a 32-bit copy (2 read, 4 written), its greatest value
/// (4), the difference (8), its exponential (8), their sum (4), the share (8); backward the gradient
/// (8) in 16 bits (4 read, 2 written); less 4 that are the logits and their gradient.
const VOCABULARY_LOSS: f64 = 48.0;
/// What Megatron-Core with Transformer Engine 2 keeps: placeholders of gradients (`get_dummy_wgrad`).
fn placeholders() -> Keeps {
    Keeps { placeholders: true, ..Keeps::default() }
}
/// What Megatron-Core of 2025 keeps with `cross_entropy_fusion_impl=te`, as Megatron-Bridge's recipes state it:
/// the loss overwrites the 16-bit logits with their gradient and keeps nothing else of them
/// (`cross_entropy_forward` of Transformer Engine). That the rows of B200 ran it was chosen with their memory
/// in sight: their names say no more than that the loss was fused.
fn fused_loss() -> Keeps {
    Keeps { loss: Some(2.0), ..placeholders() }
}
/// Share of tensor-parallel collectives that Transformer Engine's user buffers run beside products:
/// fitted on steps of Megatron-Core r0.8.0 and Megatron-Bridge on H100, B200 and GB200.
const USER_BUFFERS: f64 = 0.65;
/// The same of torchtitan's asynchronous tensor parallelism (PyTorch 2.6), fitted on its steps.
const ASYNC_TENSOR: f64 = 0.42;

/// Experts as settled on 19 mixtures of Megatron-Bridge's first table (nominal 2.4 ms, 1, 1 and 0.5):
/// 4.0 ms on hosts of H100 and 3.1 on those of Blackwell, which was x86 and Grace together.
const FIRST_EXPERTS: ExpertCosts = ExpertCosts {
    launches_s: [4.0e-3, 3.1e-3],
    dispatched: [1.26, 1.72],
    recorded: 0.34,
    narrow: 1.0,
    biases: 1.0,
};
/// Experts under Megatron-Core and Transformer Engine of 2025 and 2026, fitted on 60 mixtures of
/// Megatron-Bridge (releases 25.09 to 26.06, both host kinds; `docs/forms.md`). Which recipe a release
/// runs explains what differs between releases: no figure is one release's. Biases hold the functions that GPT-OSS's
/// recipes compute again too.
const MEGATRON_EXPERTS: ExpertCosts = ExpertCosts {
    launches_s: [2.9e-3, 2.8e-3],
    dispatched: [1.2, 1.57],
    recorded: 0.27,
    narrow: 0.72,
    biases: 2.2,
};

/// Share of 22.5 GB/s of a card that rings of replicas reach: the fits of steps on 512 A100 that
/// `links.csv` names give them 10 to 16 GB/s.
const RING_RATE: f64 = 16.0 / 22.5;

/// DeepSpeed's update: `FP16_Optimizer` casts all gradients and joins the casts; ZeRO joins those of a
/// rank's share and casts them. Buckets of gradients and of weights have 5e8 elements by default.
pub const DEEPSPEED_UPDATE: UpdateBuffers =
    UpdateBuffers { whole: 8.0, shared: 6.0, buckets: 2.0 * 5e8 * 2.0 };

/// Megatron-DeepSpeed of 2021: eager launches, fused softmax and pointwise chains of Megatron-LM,
/// attention as two products, no overlap.
#[must_use]
pub fn megatron_deepspeed_2021() -> Stack {
    Stack {
        name: "megatron-deepspeed-2021".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S),
        launch: Launch::Eager,
        host: HostShares { ends: 5.0, wide: WIDE_LAUNCH, ..HostShares::default() },
        elementwise: Elementwise::Separate,
        attention: AttentionKernel::Unfused,
        attention_library: AttentionLibrary::PyTorch,
        attention_rate: TABLE,
        attention_rate_elsewhere: None,
        path: CodePath::Tuned,
        projections: Projections::Joined,
        pieces: Pieces::InOrder,
        scaling: Scaling::Tensor,
        weight_casts: WeightCasts::EachStep,
        pointwise_rate: 0.75,
        loss_bytes: LOGIT_BYTES,
        gradients: DType::Bf16,
        overlap_data: 0.0,
        overlaps_sharing: true,
        stops_early: false,
        overlap_tensor: 0.0,
        experts: ExpertStack::default(),
        expert_costs: FIRST_EXPERTS,
        ring_rate: RING_RATE,
        ring_cards: Some(1),
        // With this the three rows of ZeRO 3 are 6 % off on average, in sample.
        ring_exposed: 0.2,
        keeps_shards: false,
        sums_before_sharing: false,
        splits_by_graph: false,
        posts_receives: false,
        update: DEEPSPEED_UPDATE,
        update_bytes: 0.0,
        resident: RESIDENT,
        keeps: Keeps::default(),
        derating: HOT,
        source:
            "launch floor: vTrain@f8dda847 single-node table; ZeRO 3: arXiv:2104.04473 table 2; \
                 derating: nominal"
                .to_owned(),
    }
}

/// Megatron-Core with Transformer Engine (r0.8, 2024): fused pointwise chains, cuDNN's attention,
/// tensor-parallel collectives beside products (`--tp-comm-overlap`), gradients summed in 32 bits and
/// exchanged beside the backward pass. The floor is nominal: half of the eager one, because fused chains launch half the
/// kernels.
#[must_use]
pub fn megatron_core() -> Stack {
    Stack {
        name: "megatron-core".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S / 2.0),
        elementwise: Elementwise::Fused,
        attention: AttentionKernel::Flash,
        attention_library: AttentionLibrary::TransformerEngine,
        attention_rate: CUDNN,
        pointwise_rate: FUSED_RATE,
        gradients: DType::F32,
        overlap_data: 0.9,
        overlap_tensor: USER_BUFFERS,
        // What the recipes of Megatron-Bridge choose for mixtures on Hopper and Blackwell.
        experts: ExpertStack {
            dispatcher: Dispatcher::Flex,
            may_overlap: true,
            ..ExpertStack::default()
        },
        expert_costs: MEGATRON_EXPERTS,
        ring_rate: 1.0,
        ring_cards: None,
        ring_exposed: 0.0,
        update: UpdateBuffers::default(),
        keeps: placeholders(),
        source: "Megatron-Core r0.8.0 and Megatron-Bridge steps; attention: arXiv:2407.08608"
            .to_owned(),
        ..megatron_deepspeed_2021()
    }
}

/// A preset as devices of some chips run it: those of Megatron-Core take NCCL's all-to-all where
/// flex dispatchers were not judged.
#[must_use]
pub fn dispatching_on(mut stack: Stack, chips: impl IntoIterator<Item = Chip>) -> Stack {
    let is_judged = |chip: Chip| {
        chip.architecture() == Architecture::Hopper || matches!(chip, Chip::B200 | Chip::Gb200)
    };
    if stack.name.starts_with("megatron-core") && !chips.into_iter().all(is_judged) {
        stack.experts.dispatcher = Dispatcher::AllToAll;
    }
    stack
}

/// The same as its authors ran it for the scaling table of r0.8.0: flags as its page lists them, without
/// the fused loss.
#[must_use]
pub fn megatron_core_2024() -> Stack {
    Stack {
        name: "megatron-core-2024".to_owned(),
        loss_bytes: VOCABULARY_LOSS,
        // r0.8.0 has no flag for it.
        experts: ExpertStack::default(),
        // Transformer Engine 1 made a placeholder anew for each product.
        keeps: Keeps::default(),
        ..megatron_core()
    }
}

/// Megatron-Core without overlap: neither gradients and parameters of replicas nor
/// tensor-parallel collectives (without `--overlap-grad-reduce`, `--overlap-param-gather` and
/// `--tp-comm-overlap`, as its defaults have it).
#[must_use]
pub fn megatron_core_in_turn() -> Stack {
    Stack {
        name: "megatron-core-no-overlap".to_owned(),
        overlap_data: 0.0,
        overlap_tensor: 0.0,
        experts: ExpertStack { may_overlap: true, ..ExpertStack::default() },
        keeps: fused_loss(),
        ..megatron_core()
    }
}

/// Megatron-Bridge's recipes on Megatron-Core (2025 and 2026): gradients summed in 16 bits, 8-bit
/// operands scaled by tensors on their values ("current scaling").
#[must_use]
pub fn megatron_bridge() -> Stack {
    Stack {
        name: "megatron-bridge".to_owned(),
        gradients: DType::Bf16,
        experts: ExpertStack { may_overlap: true, ..ExpertStack::default() },
        keeps: fused_loss(),
        source: "Megatron-Bridge@067f987d recipes and steps; attention: arXiv:2407.08608"
            .to_owned(),
        ..megatron_core()
    }
}

/// The same with 8-bit operands scaled by blocks (MXFP8).
#[must_use]
pub fn megatron_bridge_mx() -> Stack {
    Stack { name: "megatron-bridge-mxfp8".to_owned(), scaling: Scaling::Block, ..megatron_bridge() }
}

/// Megatron-LM's functional tests (d98e8a64): Megatron-Core with eager launches that bind, because its
/// kernels are deterministic and each step is timed and logged; tokens are gathered by all ranks of
/// experts, as `--moe-token-dispatcher-type` has it by default (some of the tests name another one).
/// Launch floor and shares of the host: fitted on the steps of those tests (4.4 ms a block and
/// micro-batch in three floors, 0.9 and 1.0 more with tensor and context ranks, 0.4 for the
/// ends, 2.4 a message, 35 a step). Launches of experts are not: they are those of the generation.
#[must_use]
pub fn megatron_lm_tests() -> Stack {
    Stack {
        name: "megatron-lm-tests".to_owned(),
        launch_floor: floor(TESTS_FLOOR_S),
        host: HostShares {
            ends: 0.3,
            tensor: 0.2,
            wide: WIDE_LAUNCH,
            context: 0.23,
            messages: 1.6,
            step: 24.0,
            ..HostShares::default()
        },
        overlap_tensor: 0.0,
        experts: ExpertStack { dispatcher: Dispatcher::AllGather, ..ExpertStack::default() },
        expert_costs: FIRST_EXPERTS,
        // Most of these tests run with `--no-gradient-accumulation-fusion`.
        keeps: Keeps::default(),
        source: "launch floor and shares: steps of Megatron-LM@d98e8a64's tests".to_owned(),
        ..megatron_core()
    }
}

/// torchtitan with compiled blocks: fully sharded data parallelism with prefetch, PyTorch's attention, a
/// product for each weight, 8-bit weights cast for each pass.
#[must_use]
pub fn torchtitan() -> Stack {
    Stack {
        name: "torchtitan".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S / 4.0),
        attention_library: AttentionLibrary::PyTorch,
        attention_rate: CUDNN,
        attention_rate_elsewhere: Some(FLASH_2),
        stops_early: true,
        projections: Projections::Apart,
        pieces: Pieces::Copied,
        weight_casts: WeightCasts::EachPass,
        overlap_tensor: 0.0,
        keeps_shards: true,
        splits_by_graph: true,
        posts_receives: true,
        keeps: Keeps::default(),
        source: "torchtitan's benchmarks of December 2024; attention: arXiv:2407.08608".to_owned(),
        experts: ExpertStack::default(),
        expert_costs: FIRST_EXPERTS,
        ..megatron_core()
    }
}

/// torchtitan whose blocks are not compiled.
#[must_use]
pub fn torchtitan_eager() -> Stack {
    Stack {
        name: "torchtitan-eager".to_owned(),
        launch_floor: floor(EAGER_FLOOR_S),
        elementwise: Elementwise::Eager,
        loss_bytes: SEPARATE_LOSS,
        ..torchtitan()
    }
}

/// torchtitan with asynchronous tensor parallelism.
#[must_use]
pub fn torchtitan_async() -> Stack {
    Stack { name: "torchtitan-async-tp".to_owned(), overlap_tensor: ASYNC_TENSOR, ..torchtitan() }
}

/// torchtitan with 8-bit operands scaled by rows.
#[must_use]
pub fn torchtitan_rowwise() -> Stack {
    Stack { name: "torchtitan-rowwise".to_owned(), scaling: Scaling::Row, ..torchtitan() }
}

/// The same with asynchronous tensor parallelism.
#[must_use]
pub fn torchtitan_rowwise_async() -> Stack {
    Stack {
        name: "torchtitan-rowwise-async-tp".to_owned(),
        overlap_tensor: ASYNC_TENSOR,
        ..torchtitan_rowwise()
    }
}

/// Presets of torchtitan as its benchmarks of December 2024 ran it, with PyTorch 2.6: FlashAttention 2 on
/// all devices.
fn torchtitan_2024() -> impl Iterator<Item = Stack> {
    let today = [
        torchtitan(),
        torchtitan_eager(),
        torchtitan_async(),
        torchtitan_rowwise(),
        torchtitan_rowwise_async(),
    ];
    today.into_iter().map(|stack| Stack {
        name: stack.name.replacen("torchtitan", "torchtitan-2024", 1),
        attention_rate: FLASH_2,
        ..stack
    })
}

/// Plain PyTorch: eager launches, a kernel per pointwise op, flash attention, no overlap but that of
/// the gradient buckets.
#[must_use]
pub fn pytorch_eager() -> Stack {
    Stack {
        name: "pytorch-eager".to_owned(),
        attention: AttentionKernel::Flash,
        attention_rate: CUDNN,
        attention_rate_elsewhere: Some(FLASH_2),
        path: CodePath::Eager,
        stops_early: true,
        overlap_data: 0.5,
        ring_rate: 1.0,
        ring_cards: None,
        ring_exposed: 0.0,
        update: UpdateBuffers::default(),
        // `fully_shard` gathers into buffers beside its shards, `ZeroRedundancyOptimizer` runs beside
        // `DistributedDataParallel`, `PipelineStage` retains its graph between both parts of a backward
        // pass and receives each micro-batch into a buffer of its own.
        keeps_shards: true,
        sums_before_sharing: true,
        splits_by_graph: true,
        posts_receives: true,
        source: "launch floor: that of megatron-deepspeed-2021; attention: arXiv:2407.08608; the \
                 rest nominal"
            .to_owned(),
        ..megatron_deepspeed_2021()
    }
}

/// llm-foundry's MPT under Composer's FSDP (2023), `mixed_precision: DEFAULT`: modules of PyTorch as they
/// are, FlashAttention in Triton, weights gathered in 16 bits and gradients scattered in 32, recompute
/// without reentry, 8-bit products by Transformer Engine.
#[must_use]
pub fn llm_foundry() -> Stack {
    Stack {
        name: "llm-foundry".to_owned(),
        attention_rate: TRITON,
        attention_rate_elsewhere: Some(TRITON_AMPERE),
        weight_casts: WeightCasts::EachPass,
        gradients: DType::F32,
        overlap_data: 0.9,
        loss_bytes: SEPARATE_LOSS,
        sums_before_sharing: false,
        source: "attention: steps of llm-foundry (2023); the rest as pytorch-eager".to_owned(),
        ..pytorch_eager()
    }
}

/// The same with all states in 16 bits (`PURE`), as its older runs have it, whose recompute does whole
/// blocks.
#[must_use]
pub fn llm_foundry_pure() -> Stack {
    Stack {
        name: "llm-foundry-pure".to_owned(),
        gradients: DType::Bf16,
        stops_early: false,
        ..llm_foundry()
    }
}

/// nanotron (2024): modules of PyTorch as they are, FlashAttention 2, gradients of replicas summed beside
/// the last backward pass in 16 bits; what ZeRO 1 scatters and gathers waits for its end. Its host takes
/// 0.05 s a step besides (steps on 1 to 32 hosts that differ in micro-batches alone).
#[must_use]
pub fn nanotron() -> Stack {
    Stack {
        name: "nanotron".to_owned(),
        attention_rate: FLASH_2,
        launch_floor: floor(NANOTRON_FLOOR_S),
        host: HostShares { ends: 4.9, step: 37.0, ..HostShares::default() },
        overlap_data: 1.0,
        overlaps_sharing: false,
        update_bytes: UNFUSED_UPDATE,
        loss_bytes: SEPARATE_LOSS,
        sums_before_sharing: false,
        source: "launches, exchanges: steps of the Ultra-Scale Playbook; the rest as pytorch-eager"
            .to_owned(),
        ..pytorch_eager()
    }
}

/// PyTorch on cores of a processor: the thread that launches a kernel runs it, exchanges take the same
/// cores, nothing throttles between one kernel alone and a step, and tensors are all that is held.
#[must_use]
pub fn pytorch_cpu() -> Stack {
    Stack {
        name: "pytorch-cpu".to_owned(),
        launch_floor: floor(PROCESSOR_FLOOR_S),
        launch: Launch::Inline,
        // What its host takes for recompute was fitted with whole blocks.
        stops_early: false,
        host: PROCESSOR_SHARES,
        overlap_data: 0.0,
        ring_exposed: 1.0,
        gradients: DType::F32,
        resident: 0.0,
        derating: 1.0,
        source: "docs/closed-loop.md; the rest nominal".to_owned(),
        ..pytorch_eager()
    }
}

/// Compiled PyTorch, and JAX, which compiles a whole step: fused chains and recorded launches, which have
/// no floor.
#[must_use]
pub fn compiled() -> Stack {
    Stack {
        name: "compiled".to_owned(),
        launch: Launch::CudaGraphs,
        elementwise: Elementwise::Fused,
        path: CodePath::Tuned,
        pointwise_rate: FUSED_RATE,
        sums_before_sharing: false,
        ..pytorch_eager()
    }
}

/// The stack that training is priced with where none is named.
#[must_use]
pub fn of_training() -> Stack {
    megatron_core()
}

/// The stack that forward passes of an operator graph are priced with: [`pytorch_eager`], where a launch takes
/// 30 us, fitted on passes of one sample of three networks (docs/how-right.md#steps-on-one-h100).
#[must_use]
pub fn of_inference() -> Stack {
    Stack {
        name: "pytorch-inference".to_owned(),
        launch_floor: floor(13.0 * 30e-6),
        source: "launches: forward passes on one H100; the rest of pytorch-eager".to_owned(),
        ..pytorch_eager()
    }
}

/// Transformers 4 as its models are written (GPT-2, BERT): attention as batched products with a kernel
/// for each step between them, as without `scaled_dot_product_attention`.
#[must_use]
pub fn transformers_eager() -> Stack {
    Stack {
        name: "transformers-eager".to_owned(),
        elementwise: Elementwise::Eager,
        attention: AttentionKernel::Unfused,
        loss_bytes: SEPARATE_LOSS,
        source:
            "launch floor: that of megatron-deepspeed-2021; kernels: code of GPT-2 and BERT in \
                 Transformers 4; the rest nominal"
                .to_owned(),
        ..pytorch_eager()
    }
}

/// The same, compiled.
#[must_use]
pub fn transformers_compiled() -> Stack {
    Stack {
        name: "transformers-compiled".to_owned(),
        attention: AttentionKernel::Unfused,
        source: transformers_eager().source,
        ..compiled()
    }
}

/// All presets.
#[must_use]
pub fn presets() -> Vec<Stack> {
    let plain = [
        megatron_deepspeed_2021(),
        megatron_core(),
        megatron_core_2024(),
        megatron_core_in_turn(),
        megatron_lm_tests(),
        megatron_bridge(),
        megatron_bridge_mx(),
        torchtitan(),
        torchtitan_eager(),
        torchtitan_async(),
        torchtitan_rowwise(),
        torchtitan_rowwise_async(),
        pytorch_eager(),
        llm_foundry(),
        llm_foundry_pure(),
        nanotron(),
        pytorch_cpu(),
        compiled(),
        transformers_eager(),
        transformers_compiled(),
    ];
    let older = torchtitan_2024().chain(tuning::stacks());
    plain.into_iter().chain(older).chain(bridge::recipes()).collect()
}

/// The preset of a name.
#[must_use]
pub fn preset(name: &str) -> Option<Stack> {
    presets().into_iter().find(|stack| stack.name == name)
}

fn floor(seconds: f64) -> Seconds {
    Seconds::new(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_their_names_and_within_bounds() {
        for stack in presets() {
            assert_eq!(preset(&stack.name), Some(stack.clone()));
            assert!((0.0..=1.0).contains(&stack.overlap_data), "{stack:?}");
            assert!((0.0..=1.0).contains(&stack.overlap_tensor), "{stack:?}");
            assert!(stack.derating > 0.0 && stack.derating <= 1.0, "{stack:?}");
            assert!(stack.launch_floor.get() > 0.0 && !stack.source.is_empty(), "{stack:?}");
        }
        assert_eq!(preset("no such stack"), None);
    }
}
