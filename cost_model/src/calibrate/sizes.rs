//! Laws of size: transfers, kernels that only move memory, and collectives.
//!
//! `t = a + n/B`, for collectives `t = a + n/B + c sqrt n`. A line that explains less than
//! [`LEAST_R_SQUARED`] of the variance of the logarithm of time is refused, and so is one whose rate
//! the samples do not tell; the measured times then stand in a table.

use std::collections::BTreeMap;

use ir::measured::{CollectiveOperation, Measurements};
use ir::profile::{
    CollectiveConstants, CollectiveKey, LEAST_R_SQUARED, LinkConstants, Quality, SizeLaw,
    SizePoint, StreamConstants,
};
use ir::units::{Bytes, BytesPerSecond, Seconds};

use super::identify::{Identified, identify};
use super::quality::quality;
use super::{Calibration, Context, MOST_POINTS, Part, thinned};
use crate::links::collective::table::Table;
use crate::numeric::least_squares::Parameter;

/// Share of the time that a term must have where it matters most, the start-up at the least size
/// and the rate at the greatest: below, its value could be anything smaller.
const LEAST_PART: f64 = 0.05;
/// Fewest sizes from which a law is fitted.
const FEWEST: usize = 2;
/// Names of the constants; the root term has none, since nothing is missing without it.
const NAMES: [&str; 2] = ["start-up", "rate"];

/// Terms of a law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terms {
    /// `a + n/B`.
    Line,
    /// `a + n/B + c sqrt n`.
    Root,
}

impl Terms {
    const fn n(self) -> usize {
        match self {
            Self::Line => 2,
            Self::Root => 3,
        }
    }
}

/// A fitted law.
struct Law {
    start_up: Seconds,
    bandwidth: BytesPerSecond,
    per_root_s: f64,
    quality: Quality,
    /// Why it is refused.
    refused: Option<String>,
    /// Measured times by increasing size.
    table: Vec<SizePoint>,
}

impl Law {
    /// The table where the law is refused, else nothing.
    fn stand_in(&self) -> Vec<SizePoint> {
        if self.refused.is_some() { self.table.clone() } else { Vec::new() }
    }

    fn part(&self, name: String, terms: Terms) -> Part {
        let form = match (&self.refused, terms) {
            (Some(_), _) => format!("table of {}", self.table.len()),
            (None, Terms::Line) => "a+n/B".to_owned(),
            (None, Terms::Root) => "a+n/B+c*sqrt(n)".to_owned(),
        };
        Part { name, form, quality: self.quality.clone(), refused: self.refused.clone() }
    }
}

/// Calibrates kernels that only move memory, by family.
pub(super) fn streams(
    calibration: &mut Calibration,
    kind: &str,
    rows: &Measurements,
    context: &Context,
) {
    let mut families: BTreeMap<&str, Vec<(u64, f64)>> = BTreeMap::new();
    for row in rows.streams.iter().filter(|row| row.device == kind) {
        families.entry(&row.family).or_default().push((row.bytes, row.time_s));
    }
    for (family, points) in families {
        let base = context.base.streams.get(kind).and_then(|streams| streams.get(family));
        let nominal = base.map_or(0.0, |stream| stream.launch.get());
        let name = format!("stream {family} {kind}");
        let Some(law) = law(calibration, &name, points, Terms::Line, nominal) else { continue };
        let stream = StreamConstants {
            launch: law.start_up,
            bandwidth: law.bandwidth,
            table: law.stand_in(),
            provenance: context.provenance(),
        };
        let streams = calibration.profile.streams.entry(kind.to_owned()).or_default();
        streams.insert(family.to_owned(), stream);
        calibration.push(law.part(name, Terms::Line));
    }
}

/// Calibrates links.
pub(super) fn links(calibration: &mut Calibration, rows: &Measurements, context: &Context) {
    let mut links: BTreeMap<&str, Vec<(u64, f64)>> = BTreeMap::new();
    for row in &rows.transfers {
        links.entry(&row.link).or_default().push((row.bytes, row.time_s));
    }
    for (link, points) in links {
        let base = context.base.links.get(link);
        let nominal = base.map_or(0.0, |link| link.latency.get());
        let name = format!("link {link}");
        let Some(law) = law(calibration, &name, points, Terms::Line, nominal) else { continue };
        let constants = LinkConstants {
            latency: law.start_up,
            bandwidth: law.bandwidth,
            table: law.stand_in(),
            provenance: context.provenance(),
        };
        calibration.profile.links.insert(link.to_owned(), constants);
        calibration.push(law.part(name, Terms::Line));
    }
}

/// Calibrates collectives, one law per operation, group and library.
pub(super) fn collectives(
    calibration: &mut Calibration,
    kind: &str,
    rows: &Measurements,
    context: &Context,
) {
    let mut groups: BTreeMap<CollectiveKey, Vec<(u64, f64)>> = BTreeMap::new();
    for row in rows.collectives.iter().filter(|row| row.system == kind) {
        let key = CollectiveKey {
            operation: row.operation,
            ranks: row.ranks,
            ranks_per_node: row.ranks_per_node,
            library: row.library.clone(),
        };
        groups.entry(key).or_default().push((row.bytes, row.time_s));
    }
    for (key, points) in groups {
        let base = context.base.collectives.get(kind).and_then(|of_kind| of_kind.get(&key));
        let nominal = match base.map(|base| &base.law) {
            Some(SizeLaw::Curve { start_up, .. }) => start_up.get(),
            _ => 0.0,
        };
        let name = collective_name(&key, kind);
        let Some(law) = law(calibration, &name, points, Terms::Root, nominal) else { continue };
        let size_law = if law.refused.is_some() {
            SizeLaw::Table(law.table.clone())
        } else {
            SizeLaw::Curve {
                start_up: law.start_up,
                bandwidth: law.bandwidth,
                per_root_s: law.per_root_s,
            }
        };
        let constants = CollectiveConstants { law: size_law, provenance: context.provenance() };
        calibration.profile.collectives.entry(kind.to_owned()).or_default().insert(key, constants);
        calibration.push(law.part(name, Terms::Root));
    }
}

fn collective_name(key: &CollectiveKey, kind: &str) -> String {
    let operation = match key.operation {
        CollectiveOperation::PointToPoint => "point-to-point",
        CollectiveOperation::Broadcast => "broadcast",
        CollectiveOperation::AllReduce => "all-reduce",
        CollectiveOperation::AllGather => "all-gather",
        CollectiveOperation::ReduceScatter => "reduce-scatter",
        CollectiveOperation::AllToAll => "all-to-all",
    };
    format!("{operation} {}x{} {} {kind}", key.ranks, key.ranks_per_node, key.library)
}

/// Fits a law to bytes and seconds; several times of one size count as their mean.
fn law(
    calibration: &mut Calibration,
    name: &str,
    points: Vec<(u64, f64)>,
    terms: Terms,
    nominal_start_s: f64,
) -> Option<Law> {
    let table = Table::new(points);
    let points: Vec<(f64, f64)> = thinned(table.points(), MOST_POINTS).copied().collect();
    if points.len() < FEWEST {
        calibration.too_few(name, points.len(), FEWEST);
        return None;
    }
    let measured: Vec<f64> = points.iter().map(|(_, time)| *time).collect();
    let predict = |values: &[f64], out: &mut [f64]| {
        for (out, (n, _)) in out.iter_mut().zip(&points) {
            let factors = [1.0, *n, n.sqrt()];
            *out = values.iter().zip(factors).map(|(value, factor)| value * factor).sum();
        }
    };
    // No term is negative, so none exceeds the time of any size by much.
    let least = |factor: fn(f64) -> f64| {
        points.iter().map(|(n, time)| time / factor(*n)).fold(f64::INFINITY, f64::min)
    };
    let limits = [least(|_| 1.0), least(|n| n), least(f64::sqrt)];
    let parameters: Vec<Parameter> = limits
        .iter()
        .take(terms.n())
        .zip([0.5, 0.5, 0.2])
        .map(|(limit, share)| Parameter::new(share * limit, 0.0, 1.5 * limit))
        .collect();
    let nominal = [nominal_start_s.min(1.5 * limits[0]), limits[1], 0.0];
    let mut found = identify(&parameters, nominal.get(..terms.n())?, &measured, predict);
    drown(&mut found, &points, nominal_start_s);
    let mut predicted = vec![0.0; measured.len()];
    predict(&found.values, &mut predicted);
    let untold = found.untold.iter().filter_map(|at| Some((*NAMES.get(*at)?).to_owned()));
    let quality = quality(&predicted, &measured, untold.collect());
    let refused = refusal(&quality, &found.untold);
    let table = points.iter().filter_map(|(bytes, time)| {
        Some(SizePoint { bytes: Bytes(*bytes as u64), time: Seconds::new(*time)? })
    });
    let per_byte = found.values.get(1).copied()?;
    let rate = |per_byte: f64| BytesPerSecond::new(1.0 / per_byte);
    Some(Law {
        start_up: Seconds::new(found.values.first().copied()?)?,
        bandwidth: rate(per_byte).or_else(|| rate(limits[1]))?,
        per_root_s: found.values.get(2).copied().unwrap_or_default(),
        quality,
        refused,
        table: table.collect(),
    })
}

/// Why a law is refused, if it is.
fn refusal(quality: &Quality, untold: &[usize]) -> Option<String> {
    let mut reasons = Vec::new();
    if quality.r_squared < LEAST_R_SQUARED {
        let r_squared = quality.r_squared;
        reasons.push(format!("r^2 {r_squared:.4} of the line is under {LEAST_R_SQUARED}"));
    }
    if untold.contains(&1) {
        reasons.push("the samples do not tell the rate".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Terms that are too small to be told where they matter most: a start-up becomes the nominal one
/// as far as that is as small, a rate stays.
fn drown(found: &mut Identified, points: &[(f64, f64)], nominal_start_s: f64) {
    let (Some(least), Some(greatest)) = (points.first(), points.last()) else {
        return;
    };
    let limit_s = LEAST_PART * least.1;
    if let Some(start_s) = found.values.get_mut(0).filter(|start_s| **start_s < limit_s) {
        *start_s = nominal_start_s.min(limit_s);
        found.untold.push(0);
    }
    let part_s = found.values.get(1).map_or(0.0, |per_byte| per_byte * greatest.0);
    if part_s < LEAST_PART * greatest.1 {
        found.untold.push(1);
    }
    found.untold.sort_unstable();
    found.untold.dedup();
}
