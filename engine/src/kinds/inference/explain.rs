//! An inference pipeline as people read it: by stage what it takes and holds, and what limits it.

use cost_model::runs::served::{Goal, Judged, Piece, StageFigures};
use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::Inference;
use super::setting::Setting;
use crate::answer::energy;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::rate;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// What stages take and hold; of one, where its device is named.
///
/// # Errors
/// `unknown-device` for one without a stage.
pub fn explain(on: Legal<'_, Inference>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { subject, rows, page, .. } = *query;
    let (setting, (pieces, judged)) = (on.setting, on.judged);
    if let Subject::Device(name) = subject {
        let at = stage_of(setting, pieces, name)?;
        return Ok(stage(setting, (pieces, judged), at, page));
    }
    table(setting, (pieces, judged), (rows, page));
    page.line(&sentence(setting, judged));
    page.line(&limited(setting, (pieces, judged)));
    page.line(&alone(setting));
    energy::print(on.plan, page);
    Ok(json!({
        "period_seconds": judged.period as f64 / 1e9,
        "latency_seconds": judged.latency as f64 / 1e9,
        "tokens_per_s": setting.tokens_per_s(judged.period),
        "in_flight": judged.in_flight,
        "energy": &on.plan.energy,
        "limited_by": limited(setting, (pieces, judged)),
        "stages": told(setting, (pieces, judged)),
    }))
}

fn stage_of(setting: &Setting, pieces: &[Piece], name: &str) -> Result<usize, Diagnostic> {
    let is_own =
        |piece: &Piece| name == setting.name(piece.device) || name == setting.called(piece.device);
    pieces.iter().position(is_own).ok_or_else(|| {
        let used: Vec<&str> = pieces.iter().map(|piece| setting.name(piece.device)).collect();
        Diagnostic::usage("unknown-device", format!("no stage is on `{name}`"))
            .fact("device", name.to_owned())
            .hint(format!("name one of {}", used.join(", ")))
    })
}

fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// Where the time and the bytes of a stage come from.
fn stage(
    setting: &Setting,
    (pieces, judged): (&[Piece], &Judged),
    at: usize,
    page: &Page,
) -> Value {
    let (piece, stage) = (&pieces[at], &judged.stages[at]);
    let ends = [at == 0, at + 1 == pieces.len()];
    let blocks = setting.costs.stage_ns(piece.device, &piece.blocks, [false; 2]);
    let with_first = setting.costs.stage_ns(piece.device, &piece.blocks, [ends[0], false]);
    let scratch = stage.peak.saturating_sub(stage.weights).saturating_sub(stage.cache);
    let parts = [
        ("blocks, ms", ms(blocks), json!(blocks as f64 / 1e9)),
        ("embedding, ms", ms(with_first - blocks), json!((with_first - blocks) as f64 / 1e9)),
        ("head, ms", ms(stage.ns - with_first), json!((stage.ns - with_first) as f64 / 1e9)),
        ("way to the next stage, ms", ms(stage.way_ns), json!(stage.way_ns as f64 / 1e9)),
        ("weights", Bytes(stage.weights).to_string(), json!(stage.weights)),
        ("keys and values", Bytes(stage.cache).to_string(), json!(stage.cache)),
        ("what a pass makes", Bytes(scratch).to_string(), json!(scratch)),
        (
            "may hold",
            stage.limit.map_or_else(String::new, |limit| Bytes(limit).to_string()),
            json!(stage.limit),
        ),
    ];
    let rows = parts.iter().map(|(name, text, _)| vec![(*name).to_owned(), text.clone()]);
    page.table(&[Column::Text("of the stage"), Column::Number("")], rows.collect());
    let figures = parts.map(|(name, _, value)| (name.to_owned(), value));
    json!({
        "stage": at, "device": setting.name(piece.device),
        "figures": figures.into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

/// Prints the stages.
pub(crate) fn table(
    setting: &Setting,
    (pieces, judged): (&[Piece], &Judged),
    (rows, page): (Rows, &Page),
) {
    let columns = Column::row(
        "#stage | layers | @device | kind | #ms | #send | #cache | #peak \
             | #left",
    );
    let row = |(at, (piece, stage)): (usize, (&Piece, &StageFigures))| {
        let kind = setting.run.cluster.device_ids().nth(piece.device);
        let kind =
            kind.map_or("host memory", |device| setting.run.cluster.kind_of(device).name.as_str());
        vec![
            at.to_string(),
            format!("{}-{}", piece.blocks.start, piece.blocks.end.saturating_sub(1)),
            setting.called(piece.device),
            kind.to_owned(),
            ms(stage.ns),
            ms(stage.way_ns),
            Bytes(stage.cache).to_string(),
            Bytes(stage.peak).to_string(),
            stage
                .limit
                .map_or_else(String::new, |limit| Bytes(limit - stage.peak.min(limit)).to_string()),
        ]
    };
    rows.table(&columns, pieces.iter().zip(&judged.stages).enumerate().map(row), page);
}

/// The stages as programs read them.
pub(crate) fn told(setting: &Setting, (pieces, judged): (&[Piece], &Judged)) -> Vec<Value> {
    let of = |(piece, stage): (&Piece, &StageFigures)| {
        json!({
            "device": setting.name(piece.device),
            "first": piece.blocks.start,
            "n": piece.blocks.end.saturating_sub(piece.blocks.start),
            "seconds": stage.ns as f64 / 1e9,
            "way_seconds": stage.way_ns as f64 / 1e9,
            "weight_bytes": stage.weights,
            "cache_bytes": stage.cache,
            "peak_bytes": stage.peak,
            "limit_bytes": stage.limit,
        })
    };
    pieces.iter().zip(&judged.stages).map(of).collect()
}

/// Tokens per second and latency.
pub(crate) fn sentence(setting: &Setting, judged: &Judged) -> String {
    let batches = match judged.in_flight {
        1 => "1 batch".to_owned(),
        n => format!("{n} batches"),
    };
    format!(
        "{} tokens/s with {batches} in flight, one every {}; latency {}",
        rate(setting.tokens_per_s(judged.period)),
        Nanos(judged.period),
        Nanos(judged.latency)
    )
}

/// What there is one batch for in each period.
fn limited(setting: &Setting, (pieces, judged): (&[Piece], &Judged)) -> String {
    let slowest = judged.stages.iter().zip(pieces).max_by_key(|pair| pair.0.ns);
    if let Some((stage, piece)) = slowest.filter(|pair| pair.0.ns == judged.period) {
        let (name, n) = (setting.called(piece.device), pieces.len());
        let idle = judged.stages.iter().map(|other| stage.ns - other.ns).sum::<u64>() as f64;
        let share = 100.0 * idle / (stage.ns as f64 * n as f64);
        return format!("{name} sets the pace; devices wait for {share:.0} % of the time");
    }
    match setting.goal {
        Goal::Latency => "one batch alone goes through stage after stage".to_owned(),
        Goal::Throughput if judged.latency.div_ceil(judged.in_flight.max(1)) == judged.period => {
            match judged.in_flight < pieces.len() as u64 {
                true => {
                    "memory sets the pace: a stage has no room for keys and values of more batches"
                }
                false => "boundaries set the pace: no more batches are in flight than stages",
            }
            .to_owned()
        }
        Goal::Throughput => "a channel between devices sets the pace".to_owned(),
    }
}

/// What the best device does alone.
pub(crate) fn alone(setting: &Setting) -> String {
    match setting.alone() {
        Some((device, ns)) => format!(
            "{} alone, 1 batch in flight: {} tokens/s, latency {}",
            setting.called(device),
            rate(setting.tokens_per_s(ns)),
            Nanos(ns)
        ),
        None => "no device holds the model alone".to_owned(),
    }
}
