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

    /// Sequential messages at the start of each exchange over `replicas` replicas.
    #[must_use]
    pub fn messages(self, replicas: u64) -> f64 {
        match self {
            Self::AllReduce => 2.0 * replicas.saturating_sub(1) as f64,
            Self::ParameterServer => 2.0,
        }
    }
}

/// How replicas sum up a part of their gradients: what is computed changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lossy {
    /// The largest elements of each bucket, gathered from all.
    TopK,
    /// The largest elements of the sum of each bucket, by a tree (Shi et al., "A Distributed
    /// Synchronous SGD Algorithm with Global Top-k Sparsification", ICDCS 2019).
    GlobalTopK,
    /// The largest elements of each tensor, more of them where that costs nothing (Shi et al.,
    /// "Layer-wise Adaptive Gradient Sparsification", ECAI 2020).
    LayerWise,
    /// All elements, compressed on their way to the servers and back (Zhong et al., "Compressed
    /// Communication for Distributed Training", 2021).
    TwoWay,
}

impl Lossy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TopK, Self::GlobalTopK, Self::LayerWise, Self::TwoWay];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TopK => "top-k",
            Self::GlobalTopK => "global-top-k",
            Self::LayerWise => "layer-wise",
            Self::TwoWay => "two-way",
        }
    }

    /// Sequential messages at the start of each exchange over `replicas` replicas.
    #[must_use]
    pub fn messages(self, replicas: u64) -> f64 {
        let levels = f64::from(u64::BITS - replicas.max(1).saturating_sub(1).leading_zeros());
        match self {
            Self::TopK | Self::LayerWise => levels,
            Self::GlobalTopK => 2.0 * levels,
            Self::TwoWay => 2.0,
        }
    }

    /// How often what one replica sends goes over a link: gathered from all, or up and down a tree
    /// (HKBU-HPML/gtopkssgd), or to the servers and back.
    #[must_use]
    pub fn sent_times(self, replicas: u64) -> f64 {
        match self {
            Self::TopK | Self::LayerWise => replicas.saturating_sub(1) as f64,
            Self::GlobalTopK | Self::TwoWay => self.messages(replicas),
        }
    }
}

/// What one exchange takes that sends a part: `start_up_s + bytes x per_byte_s + bytes sent x
/// per_sent_byte_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossyCost {
    /// How.
    pub by: Lossy,
    /// Seconds of each exchange, however small.
    pub start_up_s: f64,
    /// Seconds of each byte of the gradients: what software takes to choose, encode and decode.
    pub per_byte_s: f64,
    /// Seconds of each byte that one replica sends.
    pub per_sent_byte_s: f64,
    /// Share of the elements, of [`Lossy::TwoWay`] of the bytes, that is sent at least: in (0, 1].
    pub density: f64,
    /// Bytes of an element that is sent, and of its index.
    pub sent_element_bytes: u64,
    /// Tensors of fewer bytes are exchanged as they are.
    pub threshold_bytes: u64,
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
    /// Ways that change what is computed, each at most once.
    pub lossy: Vec<LossyCost>,
    /// Bytes of an element, at least 1.
    pub element_bytes: u64,
    /// In the order of readiness.
    pub tensors: Vec<GradientTensor>,
}
