//! What calibration adds to a profile: closed forms, collectives, overlaps and stacks.

use std::collections::BTreeMap;

use ir::measured::{CollectiveOperation, GpuFacts, Stream};
use ir::profile::{
    CollectiveConstants, CollectiveKey, FormConstants, GroupKey, OverlapConstants, SizeLaw,
    SizePoint, StackConstants,
};
use serde::{Deserialize, Serialize};

use super::ProvenanceDocument;

/// Names of operations.
pub const OPERATIONS: [(&str, CollectiveOperation); 6] = [
    ("point-to-point", CollectiveOperation::PointToPoint),
    ("broadcast", CollectiveOperation::Broadcast),
    ("all-reduce", CollectiveOperation::AllReduce),
    ("all-gather", CollectiveOperation::AllGather),
    ("reduce-scatter", CollectiveOperation::ReduceScatter),
    ("all-to-all", CollectiveOperation::AllToAll),
];

/// Names of streams.
pub const STREAMS: [(&str, Stream); 4] = [
    ("compute", Stream::Compute),
    ("collective", Stream::Collective),
    ("host-in", Stream::HostIn),
    ("host-out", Stream::HostOut),
];

/// Data sheet that the shares of closed forms refer to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FactsDocument {
    /// Memory bandwidth.
    pub memory_bytes_per_s: f64,
    /// Dense 16-bit products.
    pub peak_flops_per_s: f64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Last-level cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<f64>,
    /// Boost clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_hz: Option<f64>,
}

/// A closed form on one kind of device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FormDocument {
    /// Constants by name; a name that ends with `_s` counts seconds.
    pub constants: BTreeMap<String, f64>,
    /// Measured calls: extents of the form, then seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Vec<f64>>,
    /// How the constants were come by.
    pub provenance: ProvenanceDocument,
}

/// The measured time of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PointDocument {
    /// Size.
    pub bytes: u64,
    /// Its time.
    pub time_s: f64,
}

/// A collective: a curve or a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CollectiveDocument {
    /// Operation, such as `all-reduce`.
    pub operation: String,
    /// Devices of the group.
    pub ranks: u64,
    /// Devices of the group in one host.
    pub ranks_per_node: u64,
    /// Library and version.
    pub library: String,
    /// The curve, where one describes the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveDocument>,
    /// Measured times by increasing size, where no curve does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<PointDocument>,
    /// How it was come by.
    pub provenance: ProvenanceDocument,
}

/// `t = start_up + bytes / rate + per_root sqrt(bytes)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CurveDocument {
    /// Start-up cost.
    pub start_up_s: f64,
    /// Rate that large sizes approach.
    pub bytes_per_s: f64,
    /// Seconds per square root of a byte.
    pub s_per_root_byte: f64,
}

/// How streams of one device slow each other in one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OverlapDocument {
    /// Devices of the whole run.
    pub gpus: u64,
    /// Devices of one collective in one host.
    pub ranks_per_node: u64,
    /// Hosts of one collective.
    pub nodes: u64,
    /// By slowed stream, then by the stream beside it; absent means 0.
    pub slowdowns: BTreeMap<String, BTreeMap<String, f64>>,
    /// How they were come by.
    pub provenance: ProvenanceDocument,
}

/// Constants of a software stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StackDocument {
    /// Kinds of models that were measured, `dense` or `experts`, which are all that it prices; without
    /// any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// By name; a name that ends with `_s` counts seconds.
    pub constants: BTreeMap<String, f64>,
    /// What the form leaves over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<CorrectionDocument>,
    /// How they were come by.
    pub provenance: ProvenanceDocument,
}

/// Factor on the predicted time of a block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CorrectionDocument {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Tensor-parallel degree.
    pub tensor: u64,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// What that time is multiplied by.
    pub factor: f64,
    /// Measured steps that it rests on.
    pub rows: u64,
}

impl From<&GpuFacts> for FactsDocument {
    fn from(facts: &GpuFacts) -> Self {
        Self {
            memory_bytes_per_s: facts.memory_bandwidth,
            peak_flops_per_s: facts.peak,
            multiprocessors: facts.n_multiprocessors,
            cache_bytes: facts.last_level_cache,
            clock_hz: facts.clock,
        }
    }
}

impl FormDocument {
    /// The document of a form.
    #[must_use]
    pub fn new(form: ir::form::Form, constants: &FormConstants) -> Self {
        let named = form.constants().iter().zip(&constants.values);
        let point = |point: &ir::profile::FormPoint| {
            point.extents.iter().copied().chain([point.time.get()]).collect()
        };
        Self {
            constants: named.map(|(row, value)| (row.name.to_owned(), *value)).collect(),
            points: constants.points.iter().map(point).collect(),
            provenance: (&constants.provenance).into(),
        }
    }
}

impl From<&SizePoint> for PointDocument {
    fn from(point: &SizePoint) -> Self {
        Self { bytes: point.bytes.get(), time_s: point.time.get() }
    }
}

/// The document of a table.
#[must_use]
pub(super) fn points(table: &[SizePoint]) -> Vec<PointDocument> {
    table.iter().map(PointDocument::from).collect()
}

impl CollectiveDocument {
    /// The document of a collective.
    #[must_use]
    pub fn new(key: &CollectiveKey, constants: &CollectiveConstants) -> Self {
        let name = OPERATIONS.iter().find(|(_, operation)| *operation == key.operation);
        let (curve, table) = match &constants.law {
            SizeLaw::Curve { start_up, bandwidth, per_root_s } => {
                let curve = CurveDocument {
                    start_up_s: start_up.get(),
                    bytes_per_s: bandwidth.get(),
                    s_per_root_byte: *per_root_s,
                };
                (Some(curve), Vec::new())
            }
            SizeLaw::Table(table) => (None, points(table)),
        };
        Self {
            operation: name.map_or("", |(name, _)| name).to_owned(),
            ranks: key.ranks,
            ranks_per_node: key.ranks_per_node,
            library: key.library.clone(),
            curve,
            table,
            provenance: (&constants.provenance).into(),
        }
    }
}

impl OverlapDocument {
    /// The document of an overlap.
    #[must_use]
    pub fn new(key: GroupKey, constants: &OverlapConstants) -> Self {
        let mut slowdowns: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for ((slowed, _), row) in STREAMS.iter().zip(&constants.slowdowns) {
            for ((beside, _), factor) in STREAMS.iter().zip(row) {
                if *factor != 0.0 {
                    let row = slowdowns.entry((*slowed).to_owned()).or_default();
                    row.insert((*beside).to_owned(), *factor);
                }
            }
        }
        Self {
            gpus: key.gpus,
            ranks_per_node: key.ranks_per_node,
            nodes: key.nodes,
            slowdowns,
            provenance: (&constants.provenance).into(),
        }
    }
}

impl From<&StackConstants> for StackDocument {
    fn from(stack: &StackConstants) -> Self {
        let correction = |c: &ir::profile::StackCorrection| CorrectionDocument {
            hidden: c.hidden,
            tensor: c.tensor,
            micro_batch: c.micro_batch,
            factor: c.factor,
            rows: c.n_rows,
        };
        Self {
            models: stack.models.iter().map(|kind| kind.name().to_owned()).collect(),
            constants: stack.constants.clone(),
            corrections: stack.corrections.iter().map(correction).collect(),
            provenance: (&stack.provenance).into(),
        }
    }
}
