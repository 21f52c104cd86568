//! What servers are told of a fleet of workers.
//!
//! `facts` collects what engines are told of the workers of a type, `words` names it in a table of rows for
//! each engine, and `script`, `dynamo` and `llm_d` write the rows as flags, options or values.

mod dynamo;
mod facts;
mod llm_d;
mod routes;
mod script;
mod servers;
#[cfg(test)]
mod tests;
mod words;

use documents::plan::fleet::FleetDocument;
use ir::card::stored::CacheType;
use ir::cluster::Cluster;

pub(crate) use dynamo::{DYNAMO, dynamo};
pub(crate) use llm_d::{LLM_D, llm_d};
pub(crate) use script::{sglang, trtllm, vllm};
pub(crate) use words::TRTLLM;

/// A fleet of workers of a model on the devices of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct FleetSource<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Workers, their settings and devices.
    pub fleet: &'a FleetDocument,
    /// Type that products are computed in, such as `bf16`.
    pub dtype: &'a str,
    /// Type of cached keys and values where servers have to be told of it.
    pub cache: Option<CacheType>,
}
