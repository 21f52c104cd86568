//! From samples to a profile.

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::{Blame, Diagnostic};
use ir::profile::{
    KernelConstants, LEAST_R_SQUARED, LinkConstants, MeasuredRates, Profile, Provenance, Quality,
    SizePoint, StackConstants, StreamConstants,
};
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

use crate::fit::Fit;
use crate::form::{Rates, fit_line, fit_products};
use crate::measurement::{Measurement, Sample, Task};
use crate::statistic::median;

/// Fewest products of one element type from which constants are fitted.
const FEWEST_PRODUCTS: usize = 12;

/// The stack that launches blocks from the thread that runs them, and its constant for that.
const ON_PROCESSOR: &str = "pytorch-cpu";
const LAUNCH_FLOOR: &str = "launch_floor_s";

/// Fits the constants of everything that was measured.
///
/// # Errors
/// `too-few-samples` if no element type has 12 products, or nothing streams: without either, no
/// rate is known that efficiencies could refer to.
pub fn to_profile(measurement: &Measurement) -> Result<Profile, Diagnostic> {
    let mut profile =
        Profile { name: measurement.kind.clone(), notes: notes(measurement), ..Profile::default() };
    let groups = Groups::of(&measurement.samples);
    let provenance =
        Provenance::Measured { source: measurement.source.clone(), date: measurement.date.clone() };
    for (family, samples) in &groups.streams {
        let fit = fit_line(samples).ok_or_else(|| too_few(family, samples.len(), 2))?;
        let (launch, bandwidth) = line(&fit)?;
        let is_line = fit.r_squared >= LEAST_R_SQUARED;
        let constants = StreamConstants {
            launch,
            bandwidth,
            table: if is_line { Vec::new() } else { by_size(samples) },
            provenance: provenance.clone(),
        };
        let kind = profile.streams.entry(measurement.kind.clone()).or_default();
        kind.insert(family.clone(), constants);
        profile.quality.insert(format!("stream {family}"), quality(&fit, samples));
    }
    for (link, samples) in &groups.links {
        let fit = fit_line(samples).ok_or_else(|| too_few(link, samples.len(), 2))?;
        let (latency, bandwidth) = line(&fit)?;
        let constants =
            LinkConstants { latency, bandwidth, table: Vec::new(), provenance: provenance.clone() };
        profile.links.insert(link.clone(), constants);
        profile.quality.insert(format!("link {link}"), quality(&fit, samples));
    }
    products(&mut profile, measurement, &groups, &provenance)?;
    if let Some(both_s) = measurement.block_s {
        // A backward pass launches twice as much as a forward pass.
        let constants = BTreeMap::from([(LAUNCH_FLOOR.to_owned(), both_s / 3.0)]);
        let stack = StackConstants {
            models: BTreeSet::new(),
            constants,
            corrections: Vec::new(),
            provenance,
        };
        profile.stacks.insert(ON_PROCESSOR.to_owned(), stack);
    }
    Ok(profile)
}

/// Samples by what they measure.
#[derive(Default)]
struct Groups<'a> {
    products: BTreeMap<DType, Vec<&'a Sample>>,
    streams: BTreeMap<String, Vec<&'a Sample>>,
    links: BTreeMap<String, Vec<&'a Sample>>,
}

impl<'a> Groups<'a> {
    fn of(samples: &'a [Sample]) -> Self {
        let mut groups = Self::default();
        for sample in samples {
            match &sample.task {
                Task::Product { dtype, .. } => groups.products.entry(*dtype).or_default(),
                Task::Stream { family, .. } => groups.streams.entry(family.clone()).or_default(),
                Task::Transfer { link, .. } => groups.links.entry(link.clone()).or_default(),
            }
            .push(sample);
        }
        groups
    }

    /// The highest rate among the largest samples of each family: small ones may sit in a cache.
    fn memory_bandwidth(&self) -> Option<f64> {
        let rate = |samples: &Vec<&Sample>| {
            let largest = samples.iter().max_by(|a, b| a.task.bytes().total_cmp(&b.task.bytes()));
            largest.map(|sample| sample.task.bytes() / sample.median_s)
        };
        self.streams.values().filter_map(rate).max_by(f64::total_cmp)
    }
}

/// Constants of each element type; those of the type with most samples become the kind's.
fn products(
    profile: &mut Profile,
    measurement: &Measurement,
    groups: &Groups<'_>,
    provenance: &Provenance,
) -> Result<(), Diagnostic> {
    let kind = &measurement.kind;
    let bandwidth = groups.memory_bandwidth().ok_or_else(|| too_few("streams", 0, 1))?;
    let mut rates = MeasuredRates {
        memory_bandwidth: BytesPerSecond::new(bandwidth),
        ..MeasuredRates::default()
    };
    let mut fitted: Vec<(DType, usize, KernelConstants)> = Vec::new();
    for (dtype, samples) in &groups.products {
        if samples.len() < FEWEST_PRODUCTS {
            continue;
        }
        let peak = samples.iter().map(|s| s.task.flops() / s.median_s).fold(0.0, f64::max);
        let fit = fit_products(samples, Rates { peak, bandwidth })
            .ok_or_else(|| too_few(dtype.name(), samples.len(), FEWEST_PRODUCTS))?;
        let mut constants = kernels(&fit, provenance)?;
        // An efficiency is a share: where large products approach a rate above all samples, that
        // one is the peak.
        let peak = peak * constants.compute_efficiency.max(1.0);
        constants.compute_efficiency = constants.compute_efficiency.min(1.0);
        rates.peak.extend(FlopsPerSecond::new(peak).map(|peak| (*dtype, peak)));
        fitted.push((*dtype, samples.len(), constants));
        profile.quality.insert(format!("products {}", dtype.name()), quality(&fit, samples));
    }
    let main = fitted.iter().max_by_key(|(dtype, n, _)| (*n, *dtype));
    let Some((main, _, constants)) = main.cloned() else {
        let most = groups.products.values().map(Vec::len).max().unwrap_or(0);
        return Err(too_few("products", most, FEWEST_PRODUCTS));
    };
    profile.kinds.insert(kind.clone(), constants);
    let others: BTreeMap<DType, KernelConstants> =
        fitted.into_iter().filter(|(d, ..)| *d != main).map(|(d, _, c)| (d, c)).collect();
    if !others.is_empty() {
        profile.by_dtype.insert(kind.clone(), others);
    }
    profile.rates.insert(kind.clone(), rates);
    Ok(())
}

fn kernels(fit: &Fit, provenance: &Provenance) -> Result<KernelConstants, Diagnostic> {
    let [launch, compute_efficiency, memory_efficiency, p_norm] = fit.values[..] else {
        return Err(nonsense());
    };
    Ok(KernelConstants {
        launch: Seconds::new(launch).ok_or_else(nonsense)?,
        compute_efficiency,
        memory_efficiency,
        p_norm,
        tile: None,
        provenance: provenance.clone(),
    })
}

fn line(fit: &Fit) -> Result<(Seconds, BytesPerSecond), Diagnostic> {
    let [start, rate] = fit.values[..] else { return Err(nonsense()) };
    let bandwidth = BytesPerSecond::new(rate).ok_or_else(nonsense)?;
    Ok((Seconds::new(start).ok_or_else(nonsense)?, bandwidth))
}

/// Median times by growing size.
fn by_size(samples: &[&Sample]) -> Vec<SizePoint> {
    let mut times: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        times.entry(sample.task.bytes() as u64).or_default().push(sample.median_s);
    }
    let point = |(bytes, times)| Some((Bytes(bytes), Seconds::new(median(times)?)?));
    let points = times.into_iter().filter_map(point);
    points.map(|(bytes, time)| SizePoint { bytes, time }).collect()
}

fn quality(fit: &Fit, samples: &[&Sample]) -> Quality {
    let dispersions = samples.iter().map(|sample| sample.dispersion).collect();
    Quality {
        n_samples: samples.len() as u64,
        r_squared: fit.r_squared,
        median_error: median(fit.errors.clone()).unwrap_or(0.0),
        worst_error: fit.errors.iter().copied().fold(0.0, f64::max),
        dispersion: median(dispersions).unwrap_or(0.0),
        unidentified: fit.unidentified.clone(),
    }
}

fn notes(measurement: &Measurement) -> BTreeMap<String, String> {
    let machine = &measurement.machine;
    let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
    let mut notes = machine.notes.clone();
    notes.extend([
        ("cores".to_owned(), machine.n_cores.to_string()),
        ("load-average-before".to_owned(), load(machine.load_before)),
        ("load-average-after".to_owned(), load(machine.load_after)),
        ("machine".to_owned(), if machine.idle { "idle" } else { "busy" }.to_owned()),
        ("dispersion".to_owned(), format!("{:.3}", measurement.dispersion())),
        ("elapsed-s".to_owned(), format!("{:.1}", measurement.elapsed_s)),
        ("skipped-samples".to_owned(), measurement.n_skipped.to_string()),
    ]);
    notes
}

fn too_few(what: &str, have: usize, need: usize) -> Diagnostic {
    Diagnostic::input(
        "too-few-samples",
        format!("there are {have} samples of `{what}`; constants need {need}"),
    )
    .hint("give the measurement more time")
}

fn nonsense() -> Diagnostic {
    Diagnostic::error(Blame::Internal, "internal", "a fit gave constants out of their range")
}
