//! The question that a plan answers.

/// A question, with a verb of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// How a model is trained: degrees of parallelism, schedule, recomputation, sharding.
    Train,
    /// Which operator runs on which device.
    Place,
    /// How a model is served.
    Infer,
    /// An instance with given costs.
    Solve,
}

impl Task {
    /// All, in the order of listings.
    pub const ALL: [Self; 4] = [Self::Train, Self::Place, Self::Infer, Self::Solve];

    /// The verb.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Place => "place",
            Self::Infer => "infer",
            Self::Solve => "solve",
        }
    }

    /// What it plans, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Train => "training runs",
            Self::Place => "operator placements",
            Self::Infer => "inference",
            Self::Solve => "instances with given costs",
        }
    }
}
