//! Constants of the cost model per device kind, with their origin.

use std::collections::BTreeMap;

use crate::units::Seconds;

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

/// Constants for the kinds that were profiled; other kinds fall back to nominal ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Name of the profile.
    pub name: String,
    /// By device kind name.
    pub kinds: BTreeMap<String, KernelConstants>,
}
