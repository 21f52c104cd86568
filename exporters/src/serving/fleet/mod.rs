//! What servers are told of a fleet of workers.

use documents::plan::fleet::FleetDocument;
use ir::card::stored::CacheType;
use ir::cluster::Cluster;

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
