//! Constants of the cost model per device kind, with their origin.

use std::collections::{BTreeMap, BTreeSet};

use crate::card::ModelCard;
use crate::form::Form;
use crate::measured::{CollectiveOperation, GpuFacts};
use crate::tensor::DType;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

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
    /// Origin of the constants.
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
    /// Measured times by increasing bytes; empty where the line fits. Times are read from the table where it is
    /// not empty; launch and bandwidth are then the nearest line.
    pub table: Vec<SizePoint>,
    /// Origin of the constants.
    pub provenance: Provenance,
}

/// The least share of the variance of the logarithm of time that a line by size has to explain; where it
/// explains less, the table of measured times replaces it (the goodness that published calibrations of collectives
/// report is above it: FSMoE 0.9999, FinDEP 0.994).
pub const LEAST_R_SQUARED: f64 = 0.99;

/// The value at a place between measured ones, which grow: below the first place its value holds, above the
/// last one the line through the last two goes on, level if it falls, or through the origin where there is
/// one alone. `None` where there is none.
#[must_use]
pub fn between(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let above = points.partition_point(|point| point.0 < x);
    let before = |at: usize| at.checked_sub(1).and_then(|at| points.get(at));
    let Some(next) = points.get(above) else {
        let last = points.last()?;
        let rise = |point: &(f64, f64)| ((last.1 - point.1) / (last.0 - point.0)).max(0.0);
        let slope = before(above - 1).map_or(last.1 / last.0, rise);
        return Some(last.1 + slope * (x - last.0));
    };
    match before(above) {
        Some(last) if next.0 > x => {
            Some(last.1 + (next.1 - last.1) * (x - last.0) / (next.0 - last.0))
        }
        _ => Some(next.1),
    }
}

impl StreamConstants {
    /// Launch and transfer seconds of a kernel that moves `bytes`: from the line, or 0 and the interpolated time
    /// [`between`] measured sizes.
    #[must_use]
    pub fn parts(&self, bytes: f64) -> (f64, f64) {
        let points = self.table.iter().map(|point| (point.bytes.as_f64(), point.time.get()));
        match between(&points.collect::<Vec<_>>(), bytes) {
            Some(seconds) => (0.0, seconds),
            None => (self.launch.get(), bytes / self.bandwidth.get()),
        }
    }
}

/// A way between two places: `t = latency + bytes / bandwidth`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConstants {
    /// Start-up cost of one transfer.
    pub latency: Seconds,
    /// Rate of a large transfer.
    pub bandwidth: BytesPerSecond,
    /// Measured times by increasing bytes; empty where the line fits. Times are read from the table where it is
    /// not empty; latency and bandwidth are then the nearest line.
    pub table: Vec<SizePoint>,
    /// Origin of the constants.
    pub provenance: Provenance,
}

/// The measured time of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizePoint {
    /// Size.
    pub bytes: Bytes,
    /// Its time.
    pub time: Seconds,
}

/// Constants of a closed form on one kind of device. Shares refer to the kind's
/// [`Profile::facts`].
#[derive(Clone, Debug, PartialEq)]
pub struct FormConstants {
    /// Values in the order of [`Form::constants`], in seconds where that is the unit.
    pub values: Vec<f64>,
    /// Measured calls, from which the error of the form near them is interpolated.
    pub points: Vec<FormPoint>,
    /// Origin of the constants.
    pub provenance: Provenance,
}

/// The measured time of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct FormPoint {
    /// Extents in the order of [`Form::extents`].
    pub extents: Vec<f64>,
    /// Time of the call.
    pub time: Seconds,
}

/// Which collective a curve is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectiveKey {
    /// Operation.
    pub operation: CollectiveOperation,
    /// Devices of the group.
    pub ranks: u64,
    /// Devices of the group in one host.
    pub ranks_per_node: u64,
    /// Library and version, such as `nccl/2.27.3`.
    pub library: String,
}

/// Time of a collective by size; sizes count as the nccl-tests count them.
#[derive(Clone, Debug, PartialEq)]
pub enum SizeLaw {
    /// `t = start_up + bytes / bandwidth + per_root sqrt(bytes)`.
    Curve {
        /// Start-up cost.
        start_up: Seconds,
        /// Rate that large sizes approach.
        bandwidth: BytesPerSecond,
        /// Seconds per square root of a byte: the slow approach to the full rate.
        per_root_s: f64,
    },
    /// Measured times by increasing bytes.
    Table(Vec<SizePoint>),
}

/// One collective as measured.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectiveConstants {
    /// Time by size.
    pub law: SizeLaw,
    /// How it was come by.
    pub provenance: Provenance,
}

/// GPUs of a run and how its collectives lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// GPUs of the whole run.
    pub gpus: u64,
    /// GPUs of one collective in one host.
    pub ranks_per_node: u64,
    /// Hosts of one collective.
    pub nodes: u64,
}

/// How streams of one device slow each other.
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapConstants {
    /// Row: the slowed stream, column: the one beside it, both in the order of
    /// [`crate::measured::Stream::ALL`]. 0 costs nothing, 1 halves the rate.
    pub slowdowns: [[f64; 4]; 4],
    /// How they were come by.
    pub provenance: Provenance,
}

/// Models whose feed-forward blocks cost alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelKind {
    /// Every parameter takes part in each token.
    Dense,
    /// Mixtures of experts.
    Experts,
}

impl ModelKind {
    /// Both, with the names that profiles give them.
    pub const NAMED: [(Self, &'static str); 2] =
        [(Self::Dense, "dense"), (Self::Experts, "experts")];

    /// The kind of a model.
    #[must_use]
    pub fn of(model: &ModelCard) -> Self {
        if model.has_experts() { Self::Experts } else { Self::Dense }
    }

    /// Its name in profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Experts => "experts",
        }
    }
}

/// Constants of a software stack on this cluster, corrected by measured steps.
#[derive(Clone, Debug, PartialEq)]
pub struct StackConstants {
    /// Kinds of models that were measured; none = not known, or not of models. Constants of dense models alone
    /// make steps of mixtures worse as often as better, so they price none, and the other way round.
    pub models: BTreeSet<ModelKind>,
    /// By the name that the step model gives them; a name that ends with `_s` counts seconds.
    pub constants: BTreeMap<String, f64>,
    /// What the form leaves over, where enough steps were measured.
    pub corrections: Vec<StackCorrection>,
    /// How they were come by.
    pub provenance: Provenance,
}

/// Factor on the predicted time of a block, by hidden size, tensor degree and micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackCorrection {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Tensor-parallel degree.
    pub tensor: u64,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// What that time is multiplied by.
    pub factor: f64,
    /// Measured steps that it rests on.
    pub n_rows: u64,
}

impl StackConstants {
    /// Whether they price a kind of model.
    #[must_use]
    pub fn price(&self, kind: ModelKind) -> bool {
        self.models.is_empty() || self.models.contains(&kind)
    }
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
    /// Peak rates that efficiencies refer to, by kind name, in place of the data sheet's.
    pub rates: BTreeMap<String, MeasuredRates>,
    /// Kernels that only move memory: family (such as `layer-norm`) by kind name.
    pub streams: BTreeMap<String, BTreeMap<String, StreamConstants>>,
    /// Data sheets that the shares of `forms` refer to, by kind name.
    pub facts: BTreeMap<String, GpuFacts>,
    /// Closed forms by kind name.
    pub forms: BTreeMap<String, BTreeMap<Form, FormConstants>>,
    /// Collectives between devices of one kind, by kind name.
    pub collectives: BTreeMap<String, BTreeMap<CollectiveKey, CollectiveConstants>>,
    /// How streams slow each other, by kind name and group.
    pub overlaps: BTreeMap<String, BTreeMap<GroupKey, OverlapConstants>>,
    /// Links by name, such as `loopback` or `host-to-device`.
    pub links: BTreeMap<String, LinkConstants>,
    /// Software stacks by name.
    pub stacks: BTreeMap<String, StackConstants>,
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

    /// Every kind of device of which the profile knows something.
    #[must_use]
    pub fn kind_names(&self) -> BTreeSet<&str> {
        let keys = self.kinds.keys().chain(self.by_dtype.keys()).chain(self.rates.keys());
        let keys = keys.chain(self.streams.keys()).chain(self.facts.keys());
        let keys = keys.chain(self.forms.keys()).chain(self.collectives.keys());
        keys.chain(self.overlaps.keys()).map(String::as_str).collect()
    }

    /// Whether kernels of a kind have rates that were measured, which no limit of its boards reaches.
    #[must_use]
    pub fn has_measured_rates(&self, kind: &str) -> bool {
        let has = [self.rates.contains_key(kind), self.forms.contains_key(kind)];
        has.into_iter().any(|is_there| is_there) || self.streams.contains_key(kind)
    }
}
