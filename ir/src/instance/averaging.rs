//! Nodes that average their models, in pairs or through a server: Tang et al., "Communication-Efficient
//! Decentralized Learning with Sparsification and Adaptive Peer Selection" (SAPS-PSGD), arXiv:2002.09692;
//! Tang et al., GossipFL, IEEE TPDS 34(3), 2023; bandwidth-aware shares of clients (BWA), ICPP 2024.

/// An instance: who exchanges how much with whom.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragingInstance {
    /// Name of its file.
    pub name: String,
    /// Names of nodes, at least two.
    pub nodes: Vec<String>,
    /// Bytes of the model of each.
    pub bytes: Vec<u64>,
    /// Share of them that is sent, in (0, 1].
    pub kept: f64,
    /// With whom they average.
    pub peers: Peers,
}

/// With whom nodes average.
#[derive(Clone, Debug, PartialEq)]
pub enum Peers {
    /// In pairs, round after round.
    Pairs {
        /// Bytes per second from each node (row) to each other one; 0 where there is no way.
        bytes_per_s: Vec<f64>,
        /// Rounds, after which they begin again.
        rounds: usize,
    },
    /// Through a server.
    Server {
        /// Bytes per second of each node to it.
        bytes_per_s: Vec<f64>,
    },
    /// All with all, after steps of their own.
    All(AllReplicas),
}

/// Replicas of a training run that need not exchange all in each step.
#[derive(Clone, Debug, PartialEq)]
pub struct AllReplicas {
    /// Bytes per second of the links of a ring.
    pub bytes_per_s: f64,
    /// Start-up of each message, in seconds.
    pub latency_s: f64,
    /// What a replica computes in a step, in seconds.
    pub compute_s: f64,
    /// Ways that change what is computed, each at most once.
    pub ways: Vec<SyncWay>,
    /// Least average traffic of a step, in models.
    pub least_sent: f64,
}

/// How replicas do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncBy {
    /// Sparsified gradients in each step, sparsified models every N steps.
    Cser,
    /// Models and second moments every N steps.
    LocalAdaAlter,
    /// Sparsified model changes every N steps.
    OuterSteps,
}

impl SyncBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cser, Self::LocalAdaAlter, Self::OuterSteps];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cser => "cser",
            Self::LocalAdaAlter => "local-adaalter",
            Self::OuterSteps => "outer-steps",
        }
    }
}

/// A way with what is looked at of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncWay {
    /// Which.
    pub by: SyncBy,
    /// Steps from one average of models to the next.
    pub every: Vec<u64>,
    /// How many times less than all is sent of gradients.
    pub gradients: Vec<f64>,
    /// And of models.
    pub models: Vec<f64>,
}

impl AveragingInstance {
    /// Bytes of a message of a node: its sparsified share, rounded up.
    #[must_use]
    pub fn sent(&self, node: usize) -> u64 {
        let bytes = self.bytes.get(node).copied().unwrap_or_default();
        ((self.kept * bytes as f64).ceil() as u64).min(bytes)
    }
}
