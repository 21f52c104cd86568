//! Plan fields that a target can express.

/// A list of fields.
macro_rules! fields {
    ($($name:ident)*) => {
        &[$($crate::training::Field::$name),*]
    };
}
pub(super) use fields;

/// A field of a plan of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Data-parallel replicas.
    Data,
    /// Tensor-parallel shards.
    Tensor,
    /// Pipeline ranks.
    Pipeline,
    /// Context-parallel shards.
    Context,
    /// Expert-parallel shards.
    Expert,
    /// Whether exchanges of experts run beside the work of another micro-batch.
    ExpertOverlap,
    /// Ranks that split an expert.
    ExpertTensor,
    /// Chunks of a rank.
    VirtualStages,
    /// Blocks of each stage.
    Blocks,
    /// The schedule, by its name or cell by cell.
    Schedule,
    /// Samples of a micro-batch.
    MicroBatch,
    /// Micro-batches of each replica.
    MicroBatches,
    /// Samples of a step.
    GlobalBatch,
    /// What replicas share out.
    Zero,
    /// Whether tensor ranks split the sequence.
    Sequence,
    /// Which axis lies on which tier.
    Mesh,
    /// What every stage computes again.
    Recompute,
    /// What each block computes again, and what its replicas share out.
    BlockPolicies,
    /// What products are computed in.
    ElementType,
    /// Whether hosts keep the optimizer states.
    Offload,
    /// The optimizer.
    Optimizer,
    /// Optimizers in 16 and 8 bits.
    AnyOptimizer,
    /// Adapters.
    Adapters,
    /// Which devices each stage has, and what replicas and tensor ranks these are.
    Devices,
}

impl Field {
    /// Its name, as in the docs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tensor => "tensor",
            Self::Pipeline => "pipeline",
            Self::Context => "context",
            Self::Expert => "expert",
            Self::ExpertOverlap => "expert overlap",
            Self::ExpertTensor => "expert tensor",
            Self::VirtualStages => "virtual stages",
            Self::Blocks => "blocks",
            Self::Schedule => "schedule",
            Self::MicroBatch => "micro-batch",
            Self::MicroBatches => "micro-batches",
            Self::GlobalBatch => "global batch",
            Self::Zero => "zero",
            Self::Sequence => "sequence",
            Self::Mesh => "mesh",
            Self::Recompute => "recompute",
            Self::BlockPolicies => "recompute and zero of each block",
            Self::ElementType => "element type",
            Self::Offload => "optimizer states on hosts",
            Self::Optimizer => "optimizer",
            Self::AnyOptimizer => "optimizers in 16 and 8 bits",
            Self::Adapters => "adapters",
            Self::Devices => "devices of each stage",
        }
    }
}
