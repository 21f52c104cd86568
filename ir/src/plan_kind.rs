//! What a plan decides.

/// Kinds of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanKind {
    /// Devices and orders of single ops.
    Placement,
    /// Degrees, stages and schedule of a training run.
    Training,
    /// The solution of an instance whose costs a file states.
    Given,
    /// Devices of the copies of experts.
    Experts,
    /// Experts that lie in slots of devices, the others in the memory of their host.
    Slots,
    /// Parts of layers and slices of gradients that run beside each other.
    Streams,
    /// Attention and experts on devices of their own.
    Groups,
    /// Nano-batches of a serving step.
    NanoBatches,
    /// A forward pipeline of a model that serves.
    Inference,
    /// Gradients that replicas exchange together.
    Gradients,
    /// Workers that serve a model, each with degrees of its own.
    Fleet,
    /// Splits of the tensors of a training step over a mesh.
    Sharding,
}

impl PlanKind {
    /// All.
    pub const ALL: [Self; 12] = [
        Self::Placement,
        Self::Training,
        Self::Given,
        Self::Experts,
        Self::Slots,
        Self::Streams,
        Self::Groups,
        Self::NanoBatches,
        Self::Inference,
        Self::Gradients,
        Self::Fleet,
        Self::Sharding,
    ];

    /// A plan of it in words, with its article.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Placement => "a placement of ops",
            Self::Training => "a training run",
            Self::Given => "an instance with given costs",
            Self::Experts | Self::Slots => "a placement of experts",
            Self::Streams | Self::Groups | Self::NanoBatches => "a plan of streams",
            Self::Inference => "an inference pipeline",
            Self::Gradients => "a plan of gradients",
            Self::Fleet => "a fleet of serving workers",
            Self::Sharding => "a sharding",
        }
    }

    /// Whether its plans have a timeline that can be viewed.
    #[must_use]
    pub const fn has_timeline(self) -> bool {
        matches!(self, Self::Placement | Self::Training | Self::Fleet)
    }

    /// The code of errors about what means nothing for it.
    #[must_use]
    pub const fn refusal(self) -> &'static str {
        match self {
            Self::Placement => "not-for-placements",
            Self::Training => "not-for-training",
            Self::Given => "not-for-instances",
            Self::Experts | Self::Slots => "not-for-experts",
            Self::Streams | Self::Groups | Self::NanoBatches => "not-for-streams",
            Self::Inference => "not-for-serving",
            Self::Gradients => "not-for-gradients",
            Self::Fleet => "not-for-fleets",
            Self::Sharding => "not-for-shardings",
        }
    }
}
