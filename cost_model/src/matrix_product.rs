//! How long one matrix product takes on a GPU: a closed form of eleven constants that are fitted
//! per GPU, a residual table on top, and constants for a GPU that was never measured.
//!
//! The form extends that of [`crate::compute`] by splits of the contracted extent, a share of
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

use crate::fit::{Parameter, fit};
use crate::origin::Origin;
use crate::residual::Residual;

/// Output tiles that a kernel may work in, rows by columns.
const TILES: [(f64, f64); 4] = [(64.0, 64.0), (128.0, 64.0), (128.0, 128.0), (256.0, 128.0)];
/// Shares that the contracted extent may be split into.
const SPLITS: [f64; 12] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0];
/// Bytes of one element of an operand.
const ELEMENT: f64 = 2.0;
/// Bytes per result element that a split writes and reads: one 32-bit partial sum each way.
const PARTIAL: f64 = 8.0;
/// Nearest fitted points that the residual table averages over.
const NEAREST: usize = 8;
/// Largest ratio of two figures of siblings' data sheets.
const SIBLING_RATIO: f64 = 1.25;
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

    fn figures(&self) -> [f64; N_CONSTANTS as usize] {
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

    /// Time of one product in seconds.
    #[must_use]
    pub fn seconds(&self, facts: &GpuFacts, shape: Shape) -> f64 {
        let [m, n, k] = [shape.m, shape.n, shape.k].map(|extent| extent as f64);
        let bytes = ELEMENT * (m * k + k * n + m * n);
        let mut memory = bytes / (facts.memory_bandwidth * self.memory_efficiency);
        if let Some(cache) = facts.last_level_cache {
            let miss = (bytes / cache).min(1.0);
            memory *= miss + (1.0 - miss) / self.cache_gain;
        }
        memory *= 1.0 - self.narrow_gain * (-n / 64.0).exp2();
        let compute = self.compute_seconds(facts, [m, n, k]);
        let greater = compute.max(memory);
        let lesser = compute.min(memory) / greater;
        self.launch + greater * (1.0 + lesser.powf(self.p_norm)).powf(1.0 / self.p_norm)
    }

    fn compute_seconds(&self, facts: &GpuFacts, [m, n, k]: [f64; 3]) -> f64 {
        let s = f64::from(facts.n_multiprocessors.max(1));
        let rate = facts.peak * self.compute_efficiency;
        let partial = PARTIAL * m * n / (facts.memory_bandwidth * self.memory_efficiency);
        let mut best = f64::INFINITY;
        for (tm, tn) in TILES {
            let tiles = (m / tm).ceil() * (n / tn).ceil();
            let penalty = 1.0 + self.small_tile_penalty * (128.0 * 128.0 / (tm * tn) - 1.0) / 4.0;
            let tile_rate = 2.0 * s * tm * tn * penalty / rate;
            for split in SPLITS {
                let waves = tiles * split / s;
                let waves = waves + self.whole_waves * (waves.ceil() - waves);
                let mut time = waves.max(1.0) * tile_rate * (k / split + self.k0);
                if split > 1.0 {
                    time += self.split_k + self.split_step * split.log2() + split * partial;
                }
                best = best.min(time);
            }
        }
        best
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
        let residual = Residual::new(points, NEAREST);
        Self { facts, constants, residual, fitted_here: true }
    }

    /// A model of a GPU that was never measured, from models of others; `None` without any.
    ///
    /// A sibling, whose bandwidth, peak rate and count of multiprocessors all lie within a quarter,
    /// lends its constants and its residual table. Else the constants are medians over the
    /// families of siblings among the sources: the launch is taken in clock cycles where both
    /// clocks are known, and a large last-level cache is read faster by a nominal factor.
    #[must_use]
    pub fn unseen(facts: GpuFacts, sources: &[&Self]) -> Option<Self> {
        if let Some(sibling) = nearest_sibling(&facts, sources) {
            return Some(Self { facts, fitted_here: false, ..sibling.clone() });
        }
        let mut families: Vec<Vec<&Self>> = Vec::new();
        for source in sources {
            let kin = |family: &&mut Vec<&Self>| {
                family.first().is_some_and(|first| distance(&first.facts, &source.facts).is_some())
            };
            match families.iter_mut().find(kin) {
                Some(family) => family.push(source),
                None => families.push(vec![source]),
            }
        }
        let of_families: Vec<_> =
            families.iter().map(|family| mean_figures(family, &facts)).collect();
        let mut figures = Vec::new();
        for index in 0..N_CONSTANTS as usize {
            let of_one = of_families.iter().filter_map(|family| family.get(index).copied());
            figures.push(median(of_one.collect())?);
        }
        let mut constants = Constants::from_figures(&figures);
        let large = facts.last_level_cache.is_some_and(|cache| cache > LARGE_CACHE);
        constants.cache_gain = if large { LARGE_CACHE_GAIN } else { 1.0 };
        Some(Self { facts, constants, residual: Residual::new([], NEAREST), fitted_here: false })
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

/// How far two data sheets are apart; `None` when they are no siblings.
fn distance(a: &GpuFacts, b: &GpuFacts) -> Option<f64> {
    let logs = [
        (a.memory_bandwidth / b.memory_bandwidth).ln(),
        (a.peak / b.peak).ln(),
        (f64::from(a.n_multiprocessors) / f64::from(b.n_multiprocessors)).ln(),
    ];
    let close = logs.iter().all(|log| log.abs() <= SIBLING_RATIO.ln());
    close.then(|| logs.iter().map(|log| log.abs()).sum())
}

fn nearest_sibling<'a>(facts: &GpuFacts, sources: &[&'a Model]) -> Option<&'a Model> {
    let siblings =
        sources.iter().filter_map(|model| Some((distance(facts, &model.facts)?, *model)));
    siblings.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, model)| model)
}

/// Means of the constants of a family, the launch for the clock of another GPU.
fn mean_figures(family: &[&Model], facts: &GpuFacts) -> [f64; N_CONSTANTS as usize] {
    let mut sum = [0.0; N_CONSTANTS as usize];
    for model in family {
        let ratio = model.facts.clock.zip(facts.clock).map_or(1.0, |(theirs, ours)| theirs / ours);
        let mut constants = model.constants;
        constants.launch *= ratio;
        for (total, figure) in sum.iter_mut().zip(constants.figures()) {
            *total += figure / family.len() as f64;
        }
    }
    sum
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let (low, high) = (values.get(last / 2)?, values.get(last.div_ceil(2))?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests;
