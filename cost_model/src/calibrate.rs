//! From measurements to a profile: constants of every form that the samples speak of, how well they
//! describe the samples, and which of them the samples do not tell.
//!
//! Forms are fitted by bounded Levenberg-Marquardt with the soft absolute value of the logarithm of
//! predicted over measured time as loss ([`crate::numeric::least_squares`]), so that a few stalled samples do not
//! matter. A constant that the samples do not tell keeps its nominal value and is named
//! ([`identify`]). Laws of size (links, memory streams, collectives) are lines, or lines with a
//! term in the root of the size; where one explains less than 0.99 of the variance of the logarithm
//! of time it is refused, and the measured times stand in a table ([`sizes`]).

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::measured::{GpuFacts, Measurements};
use ir::profile::{Profile, Provenance, Quality};

mod forms;
pub mod identify;
mod products;
mod quality;
pub mod sizes;
pub mod steps;
mod together;

/// Rows of one part that take part in a fit; of more, an even sample does.
const MOST_ROWS: usize = 20_000;
/// Measured calls of one form that a profile keeps.
const MOST_POINTS: usize = 2_048;

/// What a calibration may look up.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Data sheets by kind name; a kind without one gets what needs none.
    pub facts: BTreeMap<String, GpuFacts>,
    /// Profile that is extended; its constants are the nominal ones.
    pub base: Profile,
    /// What measured.
    pub source: String,
    /// ISO 8601 date of the calibration or of the measurements.
    pub date: String,
}

impl Context {
    fn provenance(&self) -> Provenance {
        Provenance::Measured { source: self.source.clone(), date: self.date.clone() }
    }
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name, as in the profile's `quality`.
    pub name: String,
    /// What describes it now, such as `fit of 11` constants or `table of 24` sizes.
    pub form: String,
    /// How well.
    pub quality: Quality,
    /// Why a line was refused.
    pub refused: Option<String>,
}

/// A calibration.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// The base with what was calibrated.
    pub profile: Profile,
    /// Parts in the order in which they were calibrated.
    pub parts: Vec<Part>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

impl Calibration {
    fn push(&mut self, part: Part) {
        self.profile.quality.insert(part.name.clone(), part.quality.clone());
        self.parts.push(part);
    }

    fn too_few(&mut self, what: &str, have: usize, need: usize) {
        let message = format!("there are {have} samples of {what}; constants need {need}");
        self.warnings.push(Diagnostic::warning("too-few-samples", message).fact("part", what));
    }
}

/// Fits everything that was measured.
///
/// # Errors
/// `nothing-calibrated` if no part has enough samples.
pub fn calibrate(rows: &Measurements, context: &Context) -> Result<Calibration, Diagnostic> {
    let mut calibration = Calibration { profile: context.base.clone(), ..Calibration::default() };
    for kind in kinds(rows) {
        if let Some(facts) = context.facts.get(&kind) {
            calibration.profile.facts.insert(kind.clone(), *facts);
        }
        sizes::streams(&mut calibration, &kind, rows, context);
        products::calibrate(&mut calibration, &kind, rows, context);
        forms::calibrate(&mut calibration, &kind, rows, context);
        sizes::collectives(&mut calibration, &kind, rows, context);
    }
    sizes::links(&mut calibration, rows, context);
    together::calibrate(&mut calibration, rows, context);
    if calibration.parts.is_empty() {
        let error =
            Diagnostic::input("nothing-calibrated", "no part has samples enough to be fitted");
        let reasons = calibration.warnings.iter().map(|warning| warning.message.clone());
        return Err(error.fact("because", reasons.collect::<Vec<_>>()));
    }
    // Forms go with the data sheet that they refer to, and nothing else does.
    let forms = &calibration.profile.forms;
    calibration.profile.facts.retain(|kind, _| forms.contains_key(kind));
    Ok(calibration)
}

/// Every kind of device that rows are of.
#[must_use]
pub fn kinds(rows: &Measurements) -> BTreeSet<String> {
    let products = rows.products.iter().map(|row| &row.device);
    let attention = rows.attention.iter().map(|row| &row.gpu);
    let experts = rows.experts.iter().map(|row| &row.gpu);
    let collectives = rows.collectives.iter().map(|row| &row.system);
    let streams = rows.streams.iter().map(|row| &row.device);
    let all = products.chain(attention).chain(experts).chain(collectives).chain(streams);
    all.cloned().collect()
}

/// An even sample of at most `most` items.
pub fn thinned<T>(items: &[T], most: usize) -> impl Iterator<Item = &T> {
    let n = items.len().min(most);
    (0..n).filter_map(move |i| items.get(i * items.len() / n.max(1)))
}

#[cfg(test)]
mod tests;
