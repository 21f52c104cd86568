//! How long one matrix product takes on a GPU: a closed form of eleven constants that are fitted
//! per GPU, a residual table on top, and constants for a GPU that was never measured.
//!
//! The form extends that of [`crate::kernels::plain_product`] by splits of the contracted extent, a share of
//! whole waves, operands that stay in the last-level cache, and narrow results. For `m x k` by
//! `k x n` with 2-byte elements on `s` multiprocessors, tiles of [`TILES`] and splits of
//! [`SPLITS`]:
//!
//! ```text
//! w       = ceil(m / tm) ceil(n / tn) split / s
//! compute = min over tiles and splits of
//!           max(1, (1 - wave) w + wave ceil w) s 2 tm tn (k / split + k0) / (peak ec)
//!           (1 + q (128 x 128 / (tm tn) - 1) / 4)
//!           + [split > 1] (split_k + split_step log2 split + 8 split m n / (bandwidth em))
//! miss    = min(1, bytes / cache)
//! memory  = bytes / (bandwidth em) (miss + (1 - miss) / cache_gain) (1 - narrow 2^(-n / 64))
//! t       = launch + (compute^p + memory^p)^(1 / p)
//! ```

use ir::measured::{GemmRow, GpuFacts};
use ir::op::Product;

use crate::kernels::donor::{self, Donor};
use crate::kernels::origin::Origin;
use crate::numeric::least_squares::{Parameter, fit};
use crate::numeric::p_norm::joined;
use crate::numeric::residual::Residual;

/// Output tiles that a kernel may work in, rows by columns.
const TILES: [(f64, f64); 4] = [(64.0, 64.0), (128.0, 64.0), (128.0, 128.0), (256.0, 128.0)];
/// `log2(3)`, of splits into three times a power of two.
const LOG2_3: f64 = 1.584_962_500_721_156;
/// Shares that the contracted extent may be split into, with their logarithms to base 2.
const SPLITS: [(f64, f64); 12] = [
    (1.0, 0.0),
    (2.0, 1.0),
    (3.0, LOG2_3),
    (4.0, 2.0),
    (6.0, 1.0 + LOG2_3),
    (8.0, 3.0),
    (12.0, 2.0 + LOG2_3),
    (16.0, 4.0),
    (24.0, 3.0 + LOG2_3),
    (32.0, 5.0),
    (48.0, 4.0 + LOG2_3),
    (64.0, 6.0),
];
/// Bytes of one element of an operand.
const ELEMENT: f64 = 2.0;
/// Bytes per result element that a split writes and reads: one 32-bit partial sum each way.
const PARTIAL: f64 = 8.0;
/// Nearest fitted points that the residual table interpolates between.
const NEAREST: usize = 24;
/// Doublings of an extent over which residuals forget each other; chosen on the public tables, on
/// which 2 to 4 do alike.
const RANGE: f64 = 2.0;
/// Variance of a residual alone over that of all; 0.1 to 0.3 do alike.
const NOISE: f64 = 0.2;
/// A last-level cache from which operands are read faster than from memory, in bytes, where
/// nothing was measured. Smaller ones are below what the operands of one product need.
const LARGE_CACHE: f64 = 64e6;
/// How much faster, where nothing was measured: the middle of the 1.5 to 2 of workstation cards.
const LARGE_CACHE_GAIN: f64 = 1.75;

/// Count of the fitted constants.
pub const N_CONSTANTS: u32 = 11;

/// Constants of the form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Start-up in seconds.
    pub launch: f64,
    /// Share of the peak rate that a large product reaches.
    pub compute_efficiency: f64,
    /// Share of the memory bandwidth that a large copy reaches.
    pub memory_efficiency: f64,
    /// Exponent that joins compute and memory.
    pub p_norm: f64,
    /// Extra contracted extent per tile and split, in elements.
    pub k0: f64,
    /// Inefficiency of small tiles.
    pub small_tile_penalty: f64,
    /// Cost of any split in seconds.
    pub split_k: f64,
    /// Share of the last wave that counts as whole, in \[0, 1\].
    pub whole_waves: f64,
    /// Cost of each doubling of the split in seconds.
    pub split_step: f64,
    /// How much faster operands are read that stay in the last-level cache, at least 1.
    pub cache_gain: f64,
    /// Saving on the memory time of results of few columns.
    pub narrow_gain: f64,
}

pub(crate) const START: [Parameter; N_CONSTANTS as usize] = [
    Parameter::new(2.5, 0.0, 8.0),
    Parameter::new(0.75, 0.2, 1.0),
    Parameter::new(0.75, 0.3, 1.3),
    Parameter::new(2.3, 1.0, 6.0),
    Parameter::new(40.0, 0.0, 800.0),
    Parameter::new(0.3, 0.0, 3.0),
    Parameter::new(3.6, 0.0, 20.0),
    Parameter::new(0.4, 0.0, 1.0),
    Parameter::new(0.5, 0.0, 5.0),
    Parameter::new(1.5, 1.0, 6.0),
    Parameter::new(0.1, 0.0, 0.9),
];

impl Constants {
    /// Figures in the order of the fields, times in microseconds; those that are left out start as
    /// a fit does.
    #[must_use]
    pub fn from_figures(figures: &[f64]) -> Self {
        let at = |index: usize| {
            let start = START.get(index).map_or(0.0, |parameter| parameter.start);
            figures.get(index).copied().unwrap_or(start)
        };
        Self {
            launch: at(0) * 1e-6,
            compute_efficiency: at(1),
            memory_efficiency: at(2),
            p_norm: at(3),
            k0: at(4),
            small_tile_penalty: at(5),
            split_k: at(6) * 1e-6,
            whole_waves: at(7),
            split_step: at(8) * 1e-6,
            cache_gain: at(9),
            narrow_gain: at(10),
        }
    }

    /// Figures in the order of the fields, times in microseconds.
    #[must_use]
    pub fn figures(&self) -> [f64; N_CONSTANTS as usize] {
        [
            self.launch * 1e6,
            self.compute_efficiency,
            self.memory_efficiency,
            self.p_norm,
            self.k0,
            self.small_tile_penalty,
            self.split_k * 1e6,
            self.whole_waves,
            self.split_step * 1e6,
            self.cache_gain,
            self.narrow_gain,
        ]
    }

    /// Constants for a GPU that was never measured, by the rule of [`donor`], and who lent them;
    /// `None` without sources. Where they are medians a large last-level cache is read faster by a
    /// nominal factor, and none other is.
    #[must_use]
    pub fn transferred(facts: &GpuFacts, sources: &[(GpuFacts, Self)]) -> Option<(Self, Donor)> {
        let figures: Vec<_> = sources.iter().map(|(facts, c)| (*facts, c.figures())).collect();
        let (figures, donor) = donor::transfer(facts, &figures, &[0])?;
        let mut constants = Self::from_figures(&figures);
        if donor == Donor::Medians {
            let large = facts.last_level_cache.is_some_and(|cache| cache > LARGE_CACHE);
            constants.cache_gain = if large { LARGE_CACHE_GAIN } else { 1.0 };
        }
        Some((constants, donor))
    }

    /// Time of one product in seconds.
    #[must_use]
    pub fn seconds(&self, facts: &GpuFacts, shape: Shape) -> f64 {
        let Shape { m, n, k } = shape;
        let [rows, columns, depth] = [m, n, k].map(|extent| extent as f64);
        let bytes = ELEMENT * (rows * depth + depth * columns + rows * columns);
        let product = Product { count: 1, m, k, n };
        self.parts(facts, &[product], bytes, Units::Tensor).seconds(self.p_norm)
    }

    /// Where the time of a kernel goes that does these products and moves so many bytes in all.
    /// Narrow results save memory time where there is one product.
    #[must_use]
    pub fn parts(&self, facts: &GpuFacts, products: &[Product], bytes: f64, units: Units) -> Parts {
        let mut memory_s = bytes / (facts.memory_bandwidth * self.memory_efficiency);
        let miss = facts.last_level_cache.map_or(1.0, |cache| (bytes / cache).min(1.0));
        memory_s *= miss + (1.0 - miss) / self.cache_gain;
        let narrow = match products {
            [one] => 1.0 - self.narrow_gain * (-(one.n as f64) / 64.0).exp2(),
            _ => 1.0,
        };
        memory_s *= narrow;
        let mut parts = Parts { launch_s: self.launch, memory_s, miss, narrow, ..Parts::default() };
        for product in products {
            let tiling = self.tiling(facts, product, units);
            parts.compute_s += tiling.seconds;
            if parts.tiling.is_none_or(|slowest| tiling.seconds > slowest.seconds) {
                parts.tiling = Some(tiling);
            }
        }
        parts
    }

    /// The fastest tile and split of a product; the first of equals.
    fn tiling(&self, facts: &GpuFacts, product: &Product, units: Units) -> Tiling {
        let [count, m, n, k] =
            [product.count, product.m, product.n, product.k].map(|extent| extent as f64);
        let s = f64::from(facts.n_multiprocessors.max(1));
        let rate = facts.peak * self.compute_efficiency;
        let partial = PARTIAL * count * m * n / (facts.memory_bandwidth * self.memory_efficiency);
        let mut best = Tiling { seconds: f64::INFINITY, ..Tiling::default() };
        let few = product.m.min(product.n);
        let narrow = few.max(1).next_power_of_two() as f64;
        let narrow = if product.n < product.m { (64.0, narrow) } else { (narrow, 64.0) };
        let is_vector = units == Units::Vector && few <= FEW;
        let narrow_tile = [narrow];
        let tiles = if is_vector { &narrow_tile[..] } else { &TILES[..] };
        let has_more = units == Units::Vector && !is_vector && few < 64;
        for &tile in tiles.iter().chain(narrow_tile.iter().filter(|_| has_more)) {
            let (tm, tn) = tile;
            let tiles = count * (m / tm).ceil() * (n / tn).ceil();
            // What a small tile reads again counts in tiles alone.
            let small = if is_vector { 0.0 } else { (128.0 * 128.0 / (tm * tn) - 1.0) / 4.0 };
            let penalty = 1.0 + self.small_tile_penalty * small;
            let tile_rate = 2.0 * s * tm * tn * penalty / rate;
            for (split, doublings) in SPLITS {
                let waves = tiles * split / s;
                let waves = (waves + self.whole_waves * (waves.ceil() - waves)).max(1.0);
                let mut seconds = waves * tile_rate * (k / split + self.k0);
                if split > 1.0 {
                    seconds += self.split_k + self.split_step * doublings + split * partial;
                }
                if seconds < best.seconds {
                    best = Tiling { tile, split, waves, seconds };
                }
            }
        }
        let is_empty = count * m * n * k <= 0.0;
        if is_empty { Tiling::default() } else { best }
    }
}

/// Most rows or columns of a product that kernels for few of them take on vector units: each element of the
/// other operand is read once for all (cuBLAS's `gemv` and `gemmSN`).
const FEW: u64 = 8;

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Tensor cores: whole tiles, however few of their columns are asked for.
    Tensor,
    /// Vector units, as for full fp32 and fp64, and for all types before Volta: a product of few rows or
    /// columns does no more than its own operations, and memory binds it.
    Vector,
}

/// How a product is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tiling {
    /// Rows and columns of a tile of the result.
    pub tile: (f64, f64),
    /// Parts of the contracted extent.
    pub split: f64,
    /// Rounds of tiles over the multiprocessors, as they count.
    pub waves: f64,
    /// Time of the product alone in seconds.
    pub seconds: f64,
}

/// Where the time of a kernel goes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Start-up.
    pub launch_s: f64,
    /// Products alone.
    pub compute_s: f64,
    /// Memory traffic alone.
    pub memory_s: f64,
    /// Share of the operands that does not lie in the last-level cache.
    pub miss: f64,
    /// Factor on the memory time of a narrow result.
    pub narrow: f64,
    /// How the longest product is cut; `None` without products.
    pub tiling: Option<Tiling>,
}

impl Parts {
    /// The whole: `launch + (compute^p + memory^p)^(1 / p)`.
    #[must_use]
    pub fn seconds(&self, p_norm: f64) -> f64 {
        self.launch_s + joined(self.compute_s, self.memory_s, p_norm)
    }
}

/// Extents of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Contracted extent.
    pub k: u64,
}

impl From<&GemmRow> for Shape {
    fn from(row: &GemmRow) -> Self {
        Self { m: row.m, n: row.n, k: row.k }
    }
}

impl Shape {
    fn place(self) -> [f64; 3] {
        [self.m, self.n, self.k].map(|extent| (extent.max(1) as f64).log2())
    }
}

/// A predicted time and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Seconds.
    pub seconds: f64,
    /// Where it comes from.
    pub origin: Origin,
}

/// A model of the matrix products of one GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Data sheet of the GPU that is predicted.
    pub facts: GpuFacts,
    /// Constants of the closed form.
    pub constants: Constants,
    residual: Residual<3>,
    fitted_here: bool,
}

impl Model {
    /// Fits the form and the residual table on rows of one GPU.
    #[must_use]
    pub fn fit(facts: GpuFacts, rows: &[GemmRow]) -> Self {
        let measured: Vec<f64> = rows.iter().map(|row| row.time_s).collect();
        let fitted = fit(&START, &measured, |figures, predicted| {
            let constants = Constants::from_figures(figures);
            for (time, row) in predicted.iter_mut().zip(rows) {
                *time = constants.seconds(&facts, row.into());
            }
        });
        let constants = Constants::from_figures(&fitted.values);
        let points = rows.iter().map(|row| {
            let shape = Shape::from(row);
            (shape.place(), (row.time_s / constants.seconds(&facts, shape)).ln())
        });
        let residual = Residual::new(points, NEAREST).kriging(RANGE, NOISE);
        Self { facts, constants, residual, fitted_here: true }
    }

    /// A model of a GPU that was never measured, from models of others; `None` without any. Goes by
    /// [`Constants::lent`]; a sibling lends its residual table as well.
    #[must_use]
    pub fn unseen(facts: GpuFacts, sources: &[&Self]) -> Option<Self> {
        let figures: Vec<_> = sources.iter().map(|model| (model.facts, model.constants)).collect();
        let (constants, donor) = Constants::transferred(&facts, &figures)?;
        let residual = match donor {
            Donor::Sibling(at) => sources.get(at)?.residual.clone(),
            Donor::Medians => Residual::new([], NEAREST),
        };
        Some(Self { facts, constants, residual, fitted_here: false })
    }

    /// The same without its residual table.
    #[must_use]
    pub fn closed(&self) -> Self {
        Self { residual: Residual::new([], NEAREST), ..self.clone() }
    }

    /// Time of one product.
    #[must_use]
    pub fn predict(&self, shape: Shape) -> Predicted {
        let place = shape.place();
        let seconds = self.constants.seconds(&self.facts, shape) * self.residual.factor(&place);
        let origin = if !self.fitted_here {
            Origin::Sibling
        } else if self.residual.holds(&place) {
            Origin::Measured
        } else {
            Origin::Interpolated
        };
        Predicted { seconds, origin }
    }
}

#[cfg(test)]
mod tests;
