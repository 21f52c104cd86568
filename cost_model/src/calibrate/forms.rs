//! Attention and mixture-of-experts layers: closed forms with the errors at measured calls.

use ir::diagnostic::Diagnostic;
use ir::form::{Form, Unit};
use ir::measured::{AttentionPhase, ExpertLoad, GpuFacts, Measurements};
use ir::profile::{FormConstants, FormPoint};
use ir::units::Seconds;

use super::identify::identify;
use super::quality::quality;
use super::{Calibration, Context, MOST_POINTS, MOST_ROWS, Part, thinned};
use crate::kernels::attention::{self, Shape};
use crate::kernels::moe::{self, Layer};
use crate::numeric::least_squares::Parameter;

/// Seconds of the unit in which forms are fitted.
const MICROSECOND: f64 = 1e-6;
/// Fewest samples from which a form is fitted.
const FEWEST: usize = 6;

/// Samples of a form: what it predicts for given figures, and the measured times.
pub(super) struct Samples<'a> {
    /// The form.
    pub(super) form: Form,
    /// Constants as they are fitted, times in microseconds.
    pub(super) parameters: &'a [Parameter],
    /// Extents and seconds.
    pub(super) points: Vec<(Vec<f64>, f64)>,
    /// Seconds of a point for figures.
    pub(super) seconds: &'a dyn Fn(&[f64], usize) -> f64,
}

/// Calibrates both phases of attention, and mixture-of-experts layers.
pub(super) fn calibrate(
    calibration: &mut Calibration,
    kind: &str,
    rows: &Measurements,
    context: &Context,
) {
    let has = rows.attention.iter().any(|row| row.gpu == kind)
        || rows.experts.iter().any(|row| row.gpu == kind);
    let Some(facts) = context.facts.get(kind).copied() else {
        if has {
            calibration.warnings.push(no_data_sheet(kind, "attention and expert layers"));
        }
        return;
    };
    for phase in [AttentionPhase::Prefill, AttentionPhase::Decode] {
        attention(calibration, (kind, &facts), phase, rows, context);
    }
    experts(calibration, (kind, &facts), rows, context);
}

/// What a kind without a data sheet cannot have.
pub(super) fn no_data_sheet(kind: &str, what: &str) -> Diagnostic {
    let message = format!("`{kind}` has no data sheet in the catalogue, which {what} refer to");
    Diagnostic::warning("no-data-sheet", message)
        .fact("kind", kind)
        .hint("name the kind as the catalogue does: --kind NAME (see `meshwright devices`)")
}

fn attention(
    calibration: &mut Calibration,
    (kind, facts): (&str, &GpuFacts),
    phase: AttentionPhase,
    rows: &Measurements,
    context: &Context,
) {
    let chosen: Vec<_> =
        rows.attention.iter().filter(|row| row.gpu == kind && row.phase == phase).collect();
    let chosen: Vec<(Shape, f64)> =
        thinned(&chosen, MOST_ROWS).map(|row| (Shape::from(*row), row.time_s)).collect();
    let (form, parameters) = match phase {
        AttentionPhase::Prefill => (Form::AttentionPrefill, &attention::PREFILL),
        AttentionPhase::Decode => (Form::AttentionDecode, &attention::DECODE),
    };
    let point = |(shape, time): &(Shape, f64)| {
        let Shape { batch, length, heads, kv_heads, head_dim } = *shape;
        (vec![batch, length, heads, kv_heads, head_dim], *time)
    };
    let seconds = |figures: &[f64], at: usize| match (chosen.get(at), figures.try_into()) {
        (Some((shape, _)), Ok(constants)) => attention::seconds(facts, phase, constants, shape),
        _ => f64::NAN,
    };
    let points = chosen.iter().map(point).collect();
    fit_form(calibration, kind, context, Samples { form, parameters, points, seconds: &seconds });
}

fn experts(
    calibration: &mut Calibration,
    (kind, facts): (&str, &GpuFacts),
    rows: &Measurements,
    context: &Context,
) {
    let chosen: Vec<_> = rows.experts.iter().filter(|row| row.gpu == kind).collect();
    let chosen: Vec<_> = thinned(&chosen, MOST_ROWS).map(|row| (*row, Layer::from(*row))).collect();
    let seconds = |figures: &[f64], at: usize| match (chosen.get(at), figures.try_into()) {
        (Some((_, layer)), Ok(constants)) => moe::seconds(facts, constants, layer),
        _ => f64::NAN,
    };
    let points = chosen.iter().map(|(row, _)| {
        let exponent = match row.load {
            ExpertLoad::Balanced => 0.0,
            ExpertLoad::PowerLaw(exponent) => exponent,
        };
        let counts = [row.tokens, row.hidden, row.expert_ffn, row.topk, row.experts];
        let sizes = [row.moe_tp, row.moe_ep];
        let extents = counts.into_iter().chain(sizes).map(|count| count as f64);
        (extents.chain([exponent]).collect(), row.time_s)
    });
    let points = points.collect();
    let form = Form::FusedExperts;
    let samples = Samples { form, parameters: &moe::START, points, seconds: &seconds };
    fit_form(calibration, kind, context, samples);
}

/// Fits a form and puts it into the profile; the figures that were found.
pub(super) fn fit_form(
    calibration: &mut Calibration,
    kind: &str,
    context: &Context,
    samples: Samples<'_>,
) -> Option<Vec<f64>> {
    let Samples { form, parameters, points, seconds } = samples;
    if points.is_empty() {
        return None;
    }
    let name = format!("{} {kind}", form.name());
    if points.len() < FEWEST {
        calibration.too_few(&name, points.len(), FEWEST);
        return None;
    }
    let starts = starts(context, kind, form, parameters);
    let nominal: Vec<f64> = starts.iter().map(|start| start.start).collect();
    let measured: Vec<f64> = points.iter().map(|(_, time)| *time).collect();
    let predict = |figures: &[f64], out: &mut [f64]| {
        for (at, time) in out.iter_mut().enumerate() {
            *time = seconds(figures, at);
        }
    };
    let found = identify(&starts, &nominal, &measured, predict);
    let mut predicted = vec![0.0; measured.len()];
    predict(&found.values, &mut predicted);
    let rows = form.constants();
    let untold = found.untold.iter().filter_map(|at| Some(rows.get(*at)?.name.to_owned()));
    let quality = quality(&predicted, &measured, untold.collect());
    let scale = |unit| if unit == Unit::Seconds { MICROSECOND } else { 1.0 };
    let values = rows.iter().zip(&found.values).map(|(row, value)| value * scale(row.unit));
    let stored = thinned(&points, MOST_POINTS).filter_map(|(extents, time)| {
        Some(FormPoint { extents: extents.clone(), time: Seconds::new(*time)? })
    });
    let constants = FormConstants {
        values: values.collect(),
        points: stored.collect(),
        provenance: context.provenance(),
    };
    calibration.profile.forms.entry(kind.to_owned()).or_default().insert(form, constants);
    let form = format!("fit of {}", parameters.len());
    calibration.push(Part { name, form, quality, refused: None });
    Some(found.values)
}

/// The parameters with the base profile's constants as starts, where it has some.
fn starts(context: &Context, kind: &str, form: Form, parameters: &[Parameter]) -> Vec<Parameter> {
    let base = context.base.forms.get(kind).and_then(|forms| forms.get(&form));
    let mut starts = parameters.to_vec();
    let Some(base) = base else {
        return starts;
    };
    for ((start, row), value) in starts.iter_mut().zip(form.constants()).zip(&base.values) {
        let value = if row.unit == Unit::Seconds { value / MICROSECOND } else { *value };
        let room = 1e-6 * (start.upper - start.lower);
        start.start = value.clamp(start.lower + room, start.upper - room);
    }
    starts
}
