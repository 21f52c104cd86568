//! Constants of the cost model per device kind, with their origin.

use std::collections::BTreeMap;

use crate::tensor::DType;
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};
/// How a constant was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// From data sheets and generic constants; never measured on the user's hardware.
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

/// Constants of the matrix-product form for one device kind:
/// `t = launch + (compute^p + memory^p)^(1/p)` with a tile term in `compute`.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelConstants {
    /// Start-up cost of one kernel.
    pub launch: Seconds,
    /// Share of the peak rate that a large product reaches, in (0, 1].
    pub compute_efficiency: f64,
    /// Share of the memory bandwidth that a large copy reaches, in (0, 1.2].
    pub memory_efficiency: f64,
    /// Exponent of the p-norm that joins compute and memory time, at least 1.
    pub p_norm: f64,
    /// Tile term, where it was fitted.
    pub tile: Option<TileConstants>,
    /// How the constants were come by.
    pub provenance: Provenance,
}

/// Constants of the tile term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileConstants {
    /// Extra contracted extent per tile, in elements (prologue and epilogue).
    pub k0: f64,
    /// Inefficiency of small tiles, per factor of area below 128 x 128, quartered.
    pub small_tile_penalty: f64,
    /// Extra time of the split-k escape.
    pub split_k: Seconds,
}

/// What a device kind was seen to reach; efficiencies of its constants refer to these rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredRates {
    /// Highest rate of matrix products that was measured, or that the fit says large ones approach,
    /// by element type.
    pub peak: BTreeMap<DType, FlopsPerSecond>,
    /// Highest rate of reading and writing memory that was measured.
    pub memory_bandwidth: Option<BytesPerSecond>,
}

/// A family of kernels that only move memory: `t = launch + bytes / bandwidth`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamConstants {
    /// Start-up cost of one kernel.
    pub launch: Seconds,
    /// Bytes read and written per second by a large kernel of the family.
    pub bandwidth: BytesPerSecond,
    /// How the constants were come by.
    pub provenance: Provenance,
}

/// A way between two places: `t = latency + bytes / bandwidth`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConstants {
    /// Start-up cost of one transfer.
    pub latency: Seconds,
    /// Rate of a large transfer.
    pub bandwidth: BytesPerSecond,
    /// How the constants were come by.
    pub provenance: Provenance,
}

/// How well a form explains the samples that its constants were fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Number of samples.
    pub n_samples: u64,
    /// Share of the variance of the logarithm of time that the form explains; at most 1.
    pub r_squared: f64,
    /// Median error of time, as a share of the measured time.
    pub median_error: f64,
    /// Largest error of time, as a share of the measured time.
    pub worst_error: f64,
    /// Median spread of repeated measurements: median absolute deviation over median.
    pub dispersion: f64,
    /// Constants that the samples do not determine, by name.
    pub unidentified: Vec<String>,
}

/// Constants for the kinds that were profiled; other kinds fall back to nominal ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Name of the profile.
    pub name: String,
    /// By device kind name.
    pub kinds: BTreeMap<String, KernelConstants>,
    /// Constants of single element types where they differ from those of the kind, by kind name.
    pub by_dtype: BTreeMap<String, BTreeMap<DType, KernelConstants>>,
    /// Rates that efficiencies refer to, by kind name. They stand in for the data sheet's.
    pub rates: BTreeMap<String, MeasuredRates>,
    /// Kernels that only move memory: family (such as `layer-norm`) by kind name.
    pub streams: BTreeMap<String, BTreeMap<String, StreamConstants>>,
    /// Links by name, such as `loopback` or `host-to-device`.
    pub links: BTreeMap<String, LinkConstants>,
    /// How well each part was fitted, by part.
    pub quality: BTreeMap<String, Quality>,
    /// State of the machine during the measurement, such as `load-average`.
    pub notes: BTreeMap<String, String>,
}

impl Profile {
    /// Constants for matrix products of a type on a kind of device, where they were measured.
    #[must_use]
    pub fn constants(&self, kind: &str, dtype: DType) -> Option<&KernelConstants> {
        let single = self.by_dtype.get(kind).and_then(|types| types.get(&dtype));
        single.or_else(|| self.kinds.get(kind))
    }
}
