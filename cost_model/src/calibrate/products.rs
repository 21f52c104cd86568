//! Matrix products: the few constants that durations of ops are computed with, by element type, and
//! the form of eleven constants for 16-bit floats.

use std::collections::BTreeMap;

use ir::form::Form;
use ir::measured::{GpuFacts, Measurements, ProductRow};
use ir::op::Product;
use ir::profile::{KernelConstants, MeasuredRates, TileConstants};
use ir::tensor::DType;
use ir::units::{BytesPerSecond, FlopsPerSecond, Seconds};

use super::forms::{Samples, fit_form, no_data_sheet};
use super::identify::identify;
use super::quality::quality;
use super::{Calibration, Context, MOST_ROWS, Part, thinned};
use crate::kernels::matrix_product::{self, Shape};
use crate::kernels::plain_product::product_seconds;
use crate::numeric::least_squares::Parameter;
use crate::numeric::p_norm::joined;

/// Fewest products of one element type from which constants are fitted.
const FEWEST: usize = 6;
/// Names of the constants in the order of the fit.
const NAMES: [&str; 7] = [
    "launch_s",
    "compute_efficiency",
    "memory_efficiency",
    "p_norm",
    "k0",
    "small_tile_penalty",
    "split_k_s",
];
/// The same with generic nominal values, the median over the GPUs of public tables; launch and
/// split in microseconds. The efficiency of a peak that was only measured may exceed 1.
const PARAMETERS: [Parameter; 7] = [
    Parameter::new(2.6, 0.0, 1e3),
    Parameter::new(0.78, 0.02, 2.0),
    Parameter::new(0.77, 0.01, 1.3),
    Parameter::new(2.65, 1.0, 8.0),
    Parameter::new(40.0, 0.0, 800.0),
    Parameter::new(0.3, 0.0, 3.0),
    Parameter::new(3.6, 0.0, 20.0),
];
/// Constants without the tile term.
const N_PLAIN: usize = 4;

/// What efficiencies refer to.
#[derive(Clone, Copy)]
struct Rates {
    peak: f64,
    bandwidth: f64,
    n_multiprocessors: Option<u32>,
}

/// Calibrates the products of a kind.
pub(super) fn calibrate(
    calibration: &mut Calibration,
    kind: &str,
    rows: &Measurements,
    context: &Context,
) {
    let mut types: BTreeMap<DType, Vec<&ProductRow>> = BTreeMap::new();
    for row in rows.products.iter().filter(|row| row.device == kind) {
        types.entry(row.dtype).or_default().push(row);
    }
    if types.is_empty() {
        return;
    }
    let facts = context.facts.get(kind);
    let bandwidth = bandwidth(kind, &types, rows, facts);
    let mut fitted: Vec<(DType, usize, KernelConstants)> = Vec::new();
    let mut peaks = BTreeMap::new();
    for (dtype, rows) in &types {
        let name = format!("products {} {kind}", dtype.name());
        if rows.len() < FEWEST {
            calibration.too_few(&name, rows.len(), FEWEST);
            continue;
        }
        let rows: Vec<&ProductRow> = thinned(rows, MOST_ROWS).copied().collect();
        let sheet = facts.filter(|_| is_half(*dtype)).map(|facts| facts.peak);
        let best = rows.iter().map(|row| flops(row) / row.time_s).fold(0.0, f64::max);
        let rates = Rates {
            peak: sheet.unwrap_or(best),
            bandwidth,
            n_multiprocessors: facts.map(|facts| facts.n_multiprocessors),
        };
        let base = context.base.constants(kind, *dtype);
        let Some((constants, peak)) = plain(calibration, name, &rows, rates, base, context) else {
            continue;
        };
        peaks.extend(FlopsPerSecond::new(peak).map(|peak| (*dtype, peak)));
        fitted.push((*dtype, rows.len(), constants));
    }
    keep(calibration, kind, fitted, peaks, bandwidth);
    match facts {
        Some(facts) => tiled(calibration, kind, facts, &types, context),
        None => calibration.warnings.push(no_data_sheet(kind, "the forms of eleven constants")),
    }
}

/// Constants of each type, and those of the type with most samples as the kind's.
fn keep(
    calibration: &mut Calibration,
    kind: &str,
    fitted: Vec<(DType, usize, KernelConstants)>,
    peaks: BTreeMap<DType, FlopsPerSecond>,
    bandwidth: f64,
) {
    let main = fitted.iter().max_by_key(|(dtype, n, _)| (*n, *dtype)).cloned();
    let Some((_, _, main)) = main else {
        return;
    };
    let profile = &mut calibration.profile;
    profile.kinds.insert(kind.to_owned(), main);
    let types = profile.by_dtype.entry(kind.to_owned()).or_default();
    types.extend(fitted.into_iter().map(|(dtype, _, constants)| (dtype, constants)));
    let rates: &mut MeasuredRates = profile.rates.entry(kind.to_owned()).or_default();
    rates.peak.extend(peaks);
    rates.memory_bandwidth = BytesPerSecond::new(bandwidth);
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::F16)
}

fn flops(row: &ProductRow) -> f64 {
    2.0 * row.m as f64 * row.n as f64 * row.k as f64
}

fn bytes(row: &ProductRow) -> f64 {
    let [m, n, k] = [row.m as f64, row.n as f64, row.k as f64];
    row.dtype.bits() as f64 / 8.0 * (m * k + k * n + m * n)
}

/// The data sheet's; else the highest among the largest samples of each family, since small ones
/// may sit in a cache; else the highest of any product.
fn bandwidth(
    kind: &str,
    types: &BTreeMap<DType, Vec<&ProductRow>>,
    rows: &Measurements,
    facts: Option<&GpuFacts>,
) -> f64 {
    if let Some(facts) = facts {
        return facts.memory_bandwidth;
    }
    let mut largest: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    for row in rows.streams.iter().filter(|row| row.device == kind) {
        let entry = largest.entry(&row.family).or_default();
        *entry = (*entry).max_by_bytes((row.bytes, row.bytes as f64 / row.time_s));
    }
    let of_streams = largest.values().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if of_streams > 0.0 {
        return of_streams;
    }
    let rate = |row: &&ProductRow| bytes(row) / row.time_s;
    types.values().flatten().map(rate).fold(f64::MIN_POSITIVE, f64::max)
}

/// Of two (bytes, rate) the one of more bytes.
trait MaxByBytes {
    fn max_by_bytes(self, other: Self) -> Self;
}

impl MaxByBytes for (u64, f64) {
    fn max_by_bytes(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
}

/// Fits the few constants; they, and the peak that their efficiency refers to.
fn plain(
    calibration: &mut Calibration,
    name: String,
    rows: &[&ProductRow],
    rates: Rates,
    base: Option<&KernelConstants>,
    context: &Context,
) -> Option<(KernelConstants, f64)> {
    let n = if rates.n_multiprocessors.is_some() { PARAMETERS.len() } else { N_PLAIN };
    let mut parameters = PARAMETERS.get(..n)?.to_vec();
    if let Some(base) = base {
        start_from(&mut parameters, base);
    }
    let nominal: Vec<f64> = parameters.iter().map(|parameter| parameter.start).collect();
    let measured: Vec<f64> = rows.iter().map(|row| row.time_s).collect();
    let predict = |figures: &[f64], out: &mut [f64]| {
        for (time, row) in out.iter_mut().zip(rows) {
            *time = seconds(row, rates, figures);
        }
    };
    let found = identify(&parameters, &nominal, &measured, predict);
    let mut predicted = vec![0.0; measured.len()];
    predict(&found.values, &mut predicted);
    let untold = found.untold.iter().filter_map(|at| Some((*NAMES.get(*at)?).to_owned()));
    let quality = quality(&predicted, &measured, untold.collect());
    calibration.push(Part { name, form: format!("fit of {n}"), quality, refused: None });
    let at = |index: usize| found.values.get(index).copied().unwrap_or_default();
    // An efficiency is a share: where large products approach a rate above all samples, that one
    // is the peak.
    let constants = KernelConstants {
        launch: Seconds::new(at(0) * 1e-6)?,
        compute_efficiency: at(1).min(1.0),
        memory_efficiency: at(2).min(1.2),
        p_norm: at(3),
        tile: rates.n_multiprocessors.and(tile(&found.values)),
        provenance: context.provenance(),
    };
    Some((constants, rates.peak * at(1).max(1.0)))
}

fn start_from(parameters: &mut [Parameter], base: &KernelConstants) {
    let tile = base.tile.map(|tile| [tile.k0, tile.small_tile_penalty, tile.split_k.get() * 1e6]);
    let plain =
        [base.launch.get() * 1e6, base.compute_efficiency, base.memory_efficiency, base.p_norm];
    let figures = plain.into_iter().chain(tile.into_iter().flatten());
    for (parameter, figure) in parameters.iter_mut().zip(figures) {
        let room = 1e-6 * (parameter.upper - parameter.lower);
        parameter.start = figure.clamp(parameter.lower + room, parameter.upper - room);
    }
}

fn tile(figures: &[f64]) -> Option<TileConstants> {
    let [_, _, _, _, k0, small_tile_penalty, split_k] = *figures else { return None };
    Some(TileConstants { k0, small_tile_penalty, split_k: Seconds::new(split_k * 1e-6)? })
}

fn seconds(row: &ProductRow, rates: Rates, figures: &[f64]) -> f64 {
    let [launch, ec, em, p, ..] = *figures else { return f64::NAN };
    let product = Product { count: 1, m: row.m, k: row.k, n: row.n };
    let tile = tile(figures).zip(rates.n_multiprocessors);
    let compute = product_seconds(&product, rates.peak * ec, tile);
    launch * 1e-6 + joined(compute, bytes(row) / (rates.bandwidth * em), p)
}

/// The form of eleven constants, on the 16-bit floats that most samples are of.
fn tiled(
    calibration: &mut Calibration,
    kind: &str,
    facts: &GpuFacts,
    types: &BTreeMap<DType, Vec<&ProductRow>>,
    context: &Context,
) {
    let halves = types.iter().filter(|(dtype, _)| is_half(**dtype));
    let Some((_, rows)) = halves.max_by_key(|(dtype, rows)| (rows.len(), **dtype)) else {
        return;
    };
    let rows: Vec<&ProductRow> = thinned(rows, MOST_ROWS).copied().collect();
    let points = rows.iter().map(|row| {
        let extents = [row.m, row.n, row.k].map(|extent| extent as f64);
        (extents.to_vec(), row.time_s)
    });
    let seconds = |figures: &[f64], at: usize| {
        rows.get(at).map_or(f64::NAN, |row| {
            let shape = Shape { m: row.m, n: row.n, k: row.k };
            matrix_product::Constants::from_figures(figures).seconds(facts, shape)
        })
    };
    let (form, points) = (Form::MatrixProduct, points.collect());
    let samples = Samples { form, parameters: &matrix_product::START, points, seconds: &seconds };
    fit_form(calibration, kind, context, samples);
}
