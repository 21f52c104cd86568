//! The software between a plan and the devices: what it fuses, overlaps and launches.

use crate::plan::Parallelism;
use crate::tensor::DType;
use crate::units::Seconds;

/// Kernel of the attention core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionKernel {
    /// Two batched products with scores, softmax and dropout in memory between them.
    Unfused,
    /// One kernel that never writes the scores (Dao et al. 2022).
    #[default]
    Flash,
}

/// Libraries of fused attention kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionLibrary {
    /// Transformer Engine: cuDNN and FlashAttention 2.
    TransformerEngine,
    /// PyTorch's `scaled_dot_product_attention`.
    #[default]
    PyTorch,
}

/// Whether pointwise ops between products run as one kernel each or fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Elementwise {
    /// The kernels of Megatron-LM of 2021, one by one.
    Separate,
    /// A kernel for each op of a model's code as it is written: norms step by step in single
    /// precision, rotary embeddings as complex numbers.
    Eager,
    /// Chains of them as one kernel.
    #[default]
    Fused,
}

/// How the operands of products in 8 or 4 bits are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scaling {
    /// One factor per tensor, found on its values ("current scaling", "tensorwise").
    #[default]
    Tensor,
    /// One factor per row and per column ("rowwise").
    Row,
    /// One factor per block of values (MXFP8, blocks of 128 x 128, NVFP4).
    Block,
}

/// When the weights of products in 8 or 4 bits are cast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightCasts {
    /// With the optimizer's update, once a step.
    #[default]
    EachStep,
    /// Before every pass that uses them.
    EachPass,
}

/// How the products of a block that read the same tensor are launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Projections {
    /// Queries, keys and values as one product, gate and first product too.
    #[default]
    Joined,
    /// One product by each weight.
    Apart,
}

/// What sequence-parallel ranks do with the pieces that they gather and scatter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pieces {
    /// They lie in order: the sequence is the outermost dimension.
    #[default]
    InOrder,
    /// They are put in order, read and written once (PyTorch's DTensor, sequence inside the batch).
    Copied,
}

/// Whose code runs a step, by which the rate of large products is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CodePath {
    /// NVIDIA's own training code, or a step that is compiled.
    #[default]
    Tuned,
    /// Modules of PyTorch, one kernel after the other.
    Eager,
}

/// How kernels are launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Launch {
    /// One by one from the host: a block takes at least `launch_floor`.
    #[default]
    Eager,
    /// As a recorded graph: no floor.
    CudaGraphs,
    /// One by one from the thread that runs them: `launch_floor` comes on top of a block's work.
    Inline,
}

impl Launch {
    /// Seconds of `work_s` device work that takes `host_s` seconds to launch.
    #[must_use]
    pub fn joined(self, work_s: f64, host_s: f64) -> f64 {
        match self {
            Self::Eager | Self::CudaGraphs => work_s.max(host_s),
            Self::Inline => work_s + host_s,
        }
    }
}

/// How tokens reach the experts of other ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dispatcher {
    /// NCCL's all-to-all: every pair of a token and an expert goes by itself.
    #[default]
    AllToAll,
    /// The same, to experts that take as many tokens each: those beyond are dropped, empty places
    /// padded.
    Padded,
    /// A token goes once to each rank, and once to each host (DeepEP, HybridEP).
    Flex,
    /// Every rank gathers the tokens of all, and what they add up to is scattered.
    AllGather,
}

/// What a stack does with mixtures of experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExpertStack {
    /// How tokens reach experts.
    pub dispatcher: Dispatcher,
    /// Whether exchanges of one micro-batch run beside the work of another.
    pub overlaps: bool,
    /// Whether they do where a plan says so.
    pub may_overlap: bool,
}

impl ExpertStack {
    /// Whether exchanges of one micro-batch run beside the work of another under such degrees.
    #[must_use]
    pub const fn overlaps_in(&self, degrees: &Parallelism) -> bool {
        self.overlaps || degrees.expert_overlap
    }
}

/// What blocks with experts cost under a stack beside what [`ExpertStack`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertCosts {
    /// Host seconds of a block, forward and backward, with a dispatcher of few kernels, on hosts with
    /// x86 and with Grace processors.
    pub launches_s: [f64; 2],
    /// Launches with a padded and with a plain all-to-all, over those of a dispatcher of few kernels.
    pub dispatched: [f64; 2],
    /// Share of the launches that is left where all but the experts is recorded.
    pub recorded: f64,
    /// Width at which a grouped product takes twice as long, over that of the inference kernels of
    /// `moe_dtypes.csv`.
    pub narrow: f64,
    /// Bytes of biases of experts over those of one kernel each.
    pub biases: f64,
}

impl ExpertCosts {
    /// The same with its figures so many times as large.
    #[must_use]
    pub fn scaled(self, factors: [f64; 7]) -> Self {
        let [of_x86, of_grace, of_padded, of_plain, of_recorded, of_narrow, of_biases] = factors;
        let [x86, grace] = self.launches_s;
        let [padded, plain] = self.dispatched;
        Self {
            launches_s: [x86 * of_x86, grace * of_grace],
            dispatched: [padded * of_padded, plain * of_plain],
            recorded: self.recorded * of_recorded,
            narrow: self.narrow * of_narrow,
            biases: self.biases * of_biases,
        }
    }
}

/// What the host takes for a rank beside the launches of its blocks, each in launch floors of a block's
/// forward pass; none of it runs beside the device's work where launches bind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostShares {
    /// Embedding, head and loss of a micro-batch together, both passes.
    pub ends: f64,
    /// Added to each pass of a layer with TP above 1.
    pub tensor: f64,
    /// Added to each pass of a layer with TP of a whole host.
    pub wide: f64,
    /// Added to each pass of a layer with CP above 1.
    pub context: f64,
    /// Of the messages of one micro-batch through one stage of a pipeline.
    pub messages: f64,
    /// Once a step: timers, logs, the launches of the optimizer.
    pub step: f64,
    /// Of each block, or end, each time that its parameters are gathered or its gradients scattered.
    pub pieces: f64,
    /// Added for each recomputed layer.
    pub again: f64,
    /// More of a block's backward pass that is split into two.
    pub split: f64,
    /// Per step and layer (or end), for the update of sharded optimizer states (ZeRO 1).
    pub updates: f64,
}

/// What an optimizer takes of a device besides its states, for the whole step: it fits into nothing that
/// activations leave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateBuffers {
    /// Bytes a parameter where replicas share nothing out.
    pub whole: f64,
    /// Bytes a parameter of a rank's share, where they do.
    pub shared: f64,
    /// Bytes of buckets where gradients are exchanged, whatever the model.
    pub buckets: f64,
}

impl UpdateBuffers {
    /// Bytes for each parameter of a rank.
    #[must_use]
    pub fn per_parameter(self, is_shared: bool, replicas: f64) -> f64 {
        if is_shared { self.shared / replicas.max(1.0) } else { self.whole }
    }
}

/// What a stack keeps in memory while it trains, where that differs from the closed forms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keeps {
    /// Whether parameters, gradients and moments are in the 16 bits of the run, without master copies.
    pub is_half: bool,
    /// Whether modules run as written: norms keep their input in single precision, trained ones the normalised
    /// values before their weight too, and gated feed-forward parts the output of their function.
    pub as_written: bool,
    /// Whether grouped keys and values are repeated for each head.
    pub repeats_heads: bool,
    /// Whether blocks are compiled, so that what is pointwise is computed again in the backward pass where its
    /// product has a frozen weight.
    pub is_fused: bool,
    /// Whether gradients are freed between steps: with one micro-batch they appear while activations go.
    pub frees_gradients: bool,
    /// Whether 4-bit base weights are those beside adapters alone, others stay in 16 bits.
    pub quantises_targets: bool,
    /// Bytes per logit of the loss beside the logits; `None` = as the closed form counts them.
    pub loss: Option<f64>,
    /// Copies of the gradient of a trained head that are there with the loss; one where replicas scatter it.
    pub head_gradients: f64,
    /// Whether fully sharded embedding and head are gathered each for its own pass, not for the whole step.
    pub shards_ends: bool,
    /// Bytes per parameter of the largest weight that updating 8-bit moments takes.
    pub update: f64,
    /// Whether each weight is updated in the backward pass, as soon as its gradient is there, which needs one
    /// micro-batch.
    pub steps_in_backward: bool,
    /// Whether each shape of a trained weight has a placeholder of a gradient for the whole run, because
    /// products add gradients to those of the replicas.
    pub placeholders: bool,
}

/// What a software stack does. All figures belong to the stack, not to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// Name of the preset or of the user's own.
    pub name: String,
    /// Least time of one block's forward pass under eager launches; backward takes twice that.
    pub launch_floor: Seconds,
    /// How kernels are launched.
    pub launch: Launch,
    /// What the host takes beside.
    pub host: HostShares,
    /// Whether pointwise ops are fused.
    pub elementwise: Elementwise,
    /// Kernel of the attention core.
    pub attention: AttentionKernel,
    /// Whose kernel that is where it is fused.
    pub attention_library: AttentionLibrary,
    /// Rate of fused attention over that of the kernel in the attention tables: forward, backward.
    pub attention_rate: [f64; 2],
    /// The same on devices before Hopper and on consumer cards, where another kernel runs or the same one
    /// differs from the table's by another factor.
    pub attention_rate_elsewhere: Option<[f64; 2]>,
    /// Whose code it is.
    pub path: CodePath,
    /// How products that read the same tensor are launched.
    pub projections: Projections,
    /// What becomes of pieces of sequences.
    pub pieces: Pieces,
    /// Scaling of 8-bit operands.
    pub scaling: Scaling,
    /// When weights become 8-bit operands.
    pub weight_casts: WeightCasts,
    /// Share of the memory bandwidth that pointwise kernels reach, in (0, 1].
    pub pointwise_rate: f64,
    /// Bytes per logit that the loss and its gradient move, beside the logits and the gradient of
    /// their own type.
    pub loss_bytes: f64,
    /// Type in which the gradients of 16-bit runs are summed and exchanged.
    pub gradients: DType,
    /// Share of the gradient exchange that runs beside the backward pass, in 0..=1.
    pub overlap_data: f64,
    /// Whether the part of it that ZeRO 1 scatters and gathers does too.
    pub overlaps_sharing: bool,
    /// Whether recompute ends once the last tensor that the backward pass needs is there, so that the last
    /// product of a block is not computed again (`torch.utils.checkpoint` without reentry).
    pub stops_early: bool,
    /// Share of the tensor-parallel collectives that runs beside products, in 0..=1.
    pub overlap_tensor: f64,
    /// What it does with mixtures of experts.
    pub experts: ExpertStack,
    /// What blocks with experts cost.
    pub expert_costs: ExpertCosts,
    /// Share of the rate of the network cards that rings of replicas reach, in (0, 1].
    pub ring_rate: f64,
    /// Network cards of a host that gathering shared-out parameters and scattering gradients use at
    /// most; `None` = those of all ranks.
    pub ring_cards: Option<u64>,
    /// Share of the shorter of a pass and its gathers and scatters that it does not run beside the
    /// other, in 0..=1, besides what they slow each other.
    pub ring_exposed: f64,
    /// Whether ZeRO 2 keeps a rank's share of single-precision weights beside all that were gathered.
    pub keeps_shards: bool,
    /// Whether ZeRO 1 sums all gradients on every replica before each updates its share.
    pub sums_before_sharing: bool,
    /// Whether pipelines are those of PyTorch (`torch.distributed.pipelining`): the first part of a split
    /// backward pass frees nothing of what the forward pass saved but the loss, and leaves the gradients
    /// of its products' outputs; on the first stage it does nothing, and the second part all.
    pub splits_by_graph: bool,
    /// Whether buffers for all that a pipeline rank receives in a step are there from its start.
    pub posts_receives: bool,
    /// What the optimizer takes besides its states.
    pub update: UpdateBuffers,
    /// Bytes a parameter that the optimizer's kernels move beside those of a fused update.
    pub update_bytes: f64,
    /// Bytes of a device that libraries and allocator hold beside tensors.
    pub resident: f64,
    /// What a fine-tuning stack keeps in memory.
    pub keeps: Keeps,
    /// Factor on kernel rates of a hot, power-limited step, in (0, 1].
    pub derating: f64,
    /// Where the figures come from.
    pub source: String,
}
