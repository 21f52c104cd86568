//! Gradients of a data-parallel step, with the times at which they are there and what exchanging them
//! costs: Shi, Chu and Li, "MG-WFBP: Efficient Data Communication for Distributed Synchronous SGD
//! Algorithms", INFOCOM 2019.

/// How replicas sum up their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// Among themselves, in a ring.
    AllReduce,
    /// Through servers.
    ParameterServer,
}

impl Exchange {
    /// Both.
    pub const ALL: [Self; 2] = [Self::AllReduce, Self::ParameterServer];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "all-reduce",
            Self::ParameterServer => "parameter-server",
        }
    }
}

/// What one exchange of a bucket takes: `start_up_s + bytes x per_byte_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExchangeCost {
    /// How.
    pub exchange: Exchange,
    /// Seconds of each exchange, however small.
    pub start_up_s: f64,
    /// Seconds of each byte.
    pub per_byte_s: f64,
}

/// The gradient of one parameter tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientTensor {
    /// Name.
    pub name: String,
    /// Size, at least 1.
    pub bytes: u64,
    /// Seconds after the start of the backward pass at which it is there.
    pub ready_s: f64,
}

/// An instance: which neighbours in the order of readiness are exchanged together, and how. One bucket
/// is exchanged at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientInstance {
    /// Name of its file.
    pub name: String,
    /// Replicas.
    pub replicas: u64,
    /// Samples of a replica and step, where they are stated.
    pub samples: Option<u64>,
    /// Seconds of the forward pass.
    pub forward_s: f64,
    /// Seconds of the backward pass.
    pub backward_s: f64,
    /// Ways of exchange, at least one, each at most once.
    pub costs: Vec<ExchangeCost>,
    /// In the order of readiness.
    pub tensors: Vec<GradientTensor>,
}
