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
