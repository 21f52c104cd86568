//! The profile file: constants that a profiler fitted, per kind of device and per link.
//!
//! Times are in seconds, rates in bytes or floating-point operations per second; the unit ends the
//! name of each key. Nothing is checked here but the shape; `importers` checks the values.

use std::collections::BTreeMap;

use ir::profile::{
    KernelConstants, LinkConstants, MeasuredRates, Profile, Provenance, Quality, StreamConstants,
    TileConstants,
};
use serde::{Deserialize, Serialize};

pub mod calibrated;

use calibrated::{
    CollectiveDocument, FactsDocument, FormDocument, OverlapDocument, PointDocument, StackDocument,
};

/// Version of the form that this crate writes.
pub const VERSION: u32 = 1;

/// A profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProfileDocument {
    /// Version of the form: 1.
    pub version: u32,
    /// Name of the profile.
    pub name: String,
    /// Constants by kind of device.
    #[serde(default)]
    pub kinds: BTreeMap<String, KindDocument>,
    /// Constants by link.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, LinkDocument>,
    /// Software stacks by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stacks: BTreeMap<String, StackDocument>,
    /// How well each part was fitted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quality: BTreeMap<String, QualityDocument>,
    /// State of the machine during the measurement.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// What is known of one kind of device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KindDocument {
    /// Constants of kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<KernelDocument>,
    /// Constants of kernels on single element types where they differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_dtype: BTreeMap<String, KernelDocument>,
    /// Highest rate of matrix products that was measured, or that the fit says large ones approach,
    /// by element type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peak_flops_per_s: BTreeMap<String, f64>,
    /// Highest rate of reading and writing memory that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_per_s: Option<f64>,
    /// Kernels that only move memory, by family.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, StreamDocument>,
    /// Data sheet that the shares of `forms` refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<FactsDocument>,
    /// Closed forms by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forms: BTreeMap<String, FormDocument>,
    /// Collectives between devices of this kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collectives: Vec<CollectiveDocument>,
    /// How streams slow each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<OverlapDocument>,
}

/// Constants of `t = launch + (compute^p + memory^p)^(1/p)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelDocument {
    /// Start-up cost of one kernel.
    pub launch_s: f64,
    /// Share of the peak rate that a large product reaches, in (0, 1].
    pub compute_efficiency: f64,
    /// Share of the memory bandwidth that a large copy reaches, in (0, 1.2].
    pub memory_efficiency: f64,
    /// Exponent that joins compute and memory time, at least 1.
    pub p_norm: f64,
    /// Tile term, where it was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<TileDocument>,
    /// Origin of the constants.
    pub provenance: ProvenanceDocument,
}

/// Constants of the tile term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TileDocument {
    /// Extra contracted extent per tile, in elements.
    pub k0: f64,
    /// Inefficiency of small tiles.
    pub small_tile_penalty: f64,
    /// Extra time of the split-k escape.
    pub split_k_s: f64,
}

/// Constants of `t = launch + bytes / rate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StreamDocument {
    /// Start-up cost of one kernel.
    pub launch_s: f64,
    /// Bytes read and written per second by a large kernel.
    pub bytes_per_s: f64,
    /// Measured times by increasing size; where there are any, they replace the line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<PointDocument>,
    /// Origin of the constants.
    pub provenance: ProvenanceDocument,
}

/// Constants of `t = latency + bytes / rate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkDocument {
    /// Start-up cost of one transfer.
    pub latency_s: f64,
    /// Rate of a large transfer.
    pub bytes_per_s: f64,
    /// Measured times by increasing size; where there are any, they replace the line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<PointDocument>,
    /// Origin of the constants.
    pub provenance: ProvenanceDocument,
}

/// How constants were come by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "how", rename_all = "lowercase", deny_unknown_fields)]
pub enum ProvenanceDocument {
    /// From data sheets or generic constants.
    Nominal {
        /// Data sheet or publication.
        source: String,
    },
    /// Measured.
    Measured {
        /// What measured it.
        source: String,
        /// ISO 8601 date.
        date: String,
    },
}

/// How well a form explains its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QualityDocument {
    /// Number of samples.
    pub samples: u64,
    /// Share of the variance of the logarithm of time that is explained; at most 1.
    pub r_squared: f64,
    /// Median error of time, as a share.
    pub median_error: f64,
    /// Largest error of time, as a share.
    pub worst_error: f64,
    /// Median absolute deviation of repeats over their median.
    pub dispersion: f64,
    /// Constants that the samples do not determine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unidentified: Vec<String>,
}

impl ProfileDocument {
    /// The document of a profile.
    #[must_use]
    pub fn from_ir(profile: &Profile) -> Self {
        let mut kinds: BTreeMap<String, KindDocument> = BTreeMap::new();
        for (name, constants) in &profile.kinds {
            kinds.entry(name.clone()).or_default().kernels = Some(constants.into());
        }
        for (name, types) in &profile.by_dtype {
            kinds.entry(name.clone()).or_default().by_dtype =
                types.iter().map(|(dtype, c)| (dtype.name().to_owned(), c.into())).collect();
        }
        for (name, rates) in &profile.rates {
            kinds.entry(name.clone()).or_default().rates(rates);
        }
        for (name, streams) in &profile.streams {
            kinds.entry(name.clone()).or_default().streams =
                streams.iter().map(|(family, c)| (family.clone(), c.into())).collect();
        }
        for (name, facts) in &profile.facts {
            kinds.entry(name.clone()).or_default().facts = Some(facts.into());
        }
        for (name, forms) in &profile.forms {
            let documents =
                forms.iter().map(|(f, c)| (f.name().to_owned(), FormDocument::new(*f, c)));
            kinds.entry(name.clone()).or_default().forms = documents.collect();
        }
        for (name, collectives) in &profile.collectives {
            kinds.entry(name.clone()).or_default().collectives =
                collectives.iter().map(|(key, c)| CollectiveDocument::new(key, c)).collect();
        }
        for (name, overlaps) in &profile.overlaps {
            kinds.entry(name.clone()).or_default().overlaps =
                overlaps.iter().map(|(key, c)| OverlapDocument::new(*key, c)).collect();
        }
        let stacks = profile.stacks.iter().map(|(name, stack)| (name.clone(), stack.into()));
        let links = profile.links.iter().map(|(name, link)| (name.clone(), link.into()));
        let quality = profile.quality.iter().map(|(part, q)| (part.clone(), q.into()));
        Self {
            version: VERSION,
            name: profile.name.clone(),
            kinds,
            links: links.collect(),
            stacks: stacks.collect(),
            quality: quality.collect(),
            notes: profile.notes.clone(),
        }
    }
}

impl KindDocument {
    fn rates(&mut self, rates: &MeasuredRates) {
        self.peak_flops_per_s =
            rates.peak.iter().map(|(dtype, rate)| (dtype.name().to_owned(), rate.get())).collect();
        self.memory_bytes_per_s = rates.memory_bandwidth.map(|rate| rate.get());
    }
}

impl From<&KernelConstants> for KernelDocument {
    fn from(constants: &KernelConstants) -> Self {
        Self {
            launch_s: constants.launch.get(),
            compute_efficiency: constants.compute_efficiency,
            memory_efficiency: constants.memory_efficiency,
            p_norm: constants.p_norm,
            tile: constants.tile.as_ref().map(TileDocument::from),
            provenance: (&constants.provenance).into(),
        }
    }
}

impl From<&TileConstants> for TileDocument {
    fn from(tile: &TileConstants) -> Self {
        Self {
            k0: tile.k0,
            small_tile_penalty: tile.small_tile_penalty,
            split_k_s: tile.split_k.get(),
        }
    }
}

impl From<&StreamConstants> for StreamDocument {
    fn from(stream: &StreamConstants) -> Self {
        Self {
            launch_s: stream.launch.get(),
            bytes_per_s: stream.bandwidth.get(),
            table: calibrated::points(&stream.table),
            provenance: (&stream.provenance).into(),
        }
    }
}

impl From<&LinkConstants> for LinkDocument {
    fn from(link: &LinkConstants) -> Self {
        Self {
            latency_s: link.latency.get(),
            bytes_per_s: link.bandwidth.get(),
            table: calibrated::points(&link.table),
            provenance: (&link.provenance).into(),
        }
    }
}

impl From<&Provenance> for ProvenanceDocument {
    fn from(provenance: &Provenance) -> Self {
        match provenance {
            Provenance::Nominal { source } => Self::Nominal { source: source.clone() },
            Provenance::Measured { source, date } => {
                Self::Measured { source: source.clone(), date: date.clone() }
            }
        }
    }
}

impl From<ProvenanceDocument> for Provenance {
    fn from(provenance: ProvenanceDocument) -> Self {
        match provenance {
            ProvenanceDocument::Nominal { source } => Self::Nominal { source },
            ProvenanceDocument::Measured { source, date } => Self::Measured { source, date },
        }
    }
}

impl From<&Quality> for QualityDocument {
    fn from(quality: &Quality) -> Self {
        Self {
            samples: quality.n_samples,
            r_squared: quality.r_squared,
            median_error: quality.median_error,
            worst_error: quality.worst_error,
            dispersion: quality.dispersion,
            unidentified: quality.unidentified.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
