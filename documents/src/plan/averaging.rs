//! Nodes that average their models: who with whom, and how much of them.

use serde::{Deserialize, Serialize};

/// Two nodes that average in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PairDocument {
    /// Their names.
    pub nodes: [String; 2],
    /// What each takes of its own model, the rest of the other's. Who is in no pair of a round keeps its
    /// own.
    pub weight: f64,
    /// Nanoseconds until both have sent their messages.
    pub time_ns: u64,
}

/// A pair that joined two parts of the nodes: all of them are a spanning tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct JoinDocument {
    /// Position of the round.
    pub round: u64,
    /// Their names.
    pub nodes: [String; 2],
}

/// How often replicas average, and how much of it they send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SyncDocument {
    /// How: `cser`, `local-adaalter` or `outer-steps`, which change what is computed. Without it all
    /// gradients are exchanged in each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Steps from one average to the next.
    pub every: u64,
    /// So many times less than all is sent of the gradients of a step, where they are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r1: Option<f64>,
    /// And of the models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// What is sent in a step on average, in models.
    pub sent_share: f64,
}

/// What a client sends to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct UploadDocument {
    /// Its name.
    pub client: String,
    /// Bytes of its message.
    pub bytes: u64,
    /// The share of its model that these are.
    pub kept: f64,
    /// Nanoseconds until it has sent them.
    pub time_ns: u64,
}
