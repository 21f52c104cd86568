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
}

impl AveragingInstance {
    /// Bytes of a message of a node: the share that is kept, rounded up.
    #[must_use]
    pub fn sent(&self, node: usize) -> u64 {
        let bytes = self.bytes.get(node).copied().unwrap_or_default();
        ((self.kept * bytes as f64).ceil() as u64).min(bytes)
    }
}
