//! Buckets of gradients: as documents, as people read them, and beside what others would exchange
//! together.

pub mod launchers;

use cost_model::given::gradients::{Buckets, Part, cost, evaluate, gradients, overlap, spans};
use cost_model::links::collective::gradient::mg_wfbp;
use documents::plan::{BucketDocument, CommunicationDocument, LossyDocument};
use documents::solution::SolutionDocument;
use ir::diagnostic::Diagnostic;
use ir::instance::{Exchange, GradientInstance, Instance, Lossy, LossyCost};
use ir::units::Nanos;
use planner::given::bucket_cap::{best, capped};
use planner::given::gradient_buckets::solve;
use planner::given::runner::Solution;
use serde_json::{Value, json};

use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::inputs::run::edges::ALL;

/// What PyTorch's buckets hold where nobody states a size: 25 MiB.
const USUAL_CAP: u64 = 25 << 20;

/// Keeps the allowed gradient compressions, at the stated densities.
///
/// # Errors
/// What is wrong with one of them, in words.
pub fn allow(instance: &mut GradientInstance, allowed: &[LossyDocument]) -> Result<(), String> {
    let mut costs: Vec<LossyCost> = Vec::with_capacity(allowed.len());
    for LossyDocument { by, density } in allowed {
        let known = instance.lossy.iter().find(|cost| cost.by.name() == by);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = instance.lossy.iter().map(|cost| cost.by.name()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            format!("`{by}` is no way of exchange whose cost is known; these are: {names}")
        })?;
        if costs.iter().any(|cost| cost.by == known.by) {
            return Err(format!("`{by}` is allowed twice"));
        }
        if !(*density > 0.0 && *density <= 1.0) {
            return Err(format!("the density of `{by}` is {density:?}, not in (0, 1]"));
        }
        if known.by == Lossy::TwoWay && *density != known.density {
            return Err(format!("`{by}` has a ratio, which the file states, and no density"));
        }
        costs.push(LossyCost { density: *density, ..*known });
    }
    instance.lossy = costs;
    Ok(())
}

/// Keeps what `--allow-lossy` allows: `all`, or names, each with `=DENSITY` where another is meant.
///
/// # Errors
/// `bad-lossy`; `not-for-gradients` beside a rule that sends all gradients as they are.
pub fn allow_asked(
    instance: &mut GradientInstance,
    (words, recipe): (&[String], &str),
) -> Result<(), Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    if !words.is_empty() && WHOLE.contains(&name) {
        let message = format!("`--allow-lossy` has no effect on `{name}`");
        return Err(Diagnostic::usage("not-for-gradients", message)
            .fact("reason", "it sends all gradients as they are")
            .hint("leave it out, or use --algorithm gradient-buckets"));
    }
    let known: Vec<&str> = instance.lossy.iter().map(|cost| cost.by.name()).collect();
    let hint = match known.first() {
        None => "leave --allow-lossy out, or state what such ways cost under `lossy`".to_owned(),
        Some(first) => {
            format!("use --allow-lossy for all of them, or name some: --allow-lossy {first}")
        }
    };
    let bad = |why: String| Diagnostic::usage("bad-lossy", why).hint(hint.clone());
    let mut allowed = Vec::new();
    for word in words {
        let (name, density) = match word.split_once('=') {
            Some((name, density)) => (name, Some(density)),
            None => (word.as_str(), None),
        };
        let density = density.map(|text| {
            text.parse()
                .map_err(|_| bad(format!("the density of `{name}`, `{text}`, is no number")))
        });
        let density: Option<f64> = density.transpose()?;
        let all = instance.lossy.iter().filter(|cost| name == ALL || cost.by.name() == name);
        let n = allowed.len();
        allowed.extend(all.map(|cost| LossyDocument {
            by: cost.by.name().to_owned(),
            density:
                density.filter(|_| cost.by != Lossy::TwoWay || name != ALL).unwrap_or(cost.density),
        }));
        if allowed.len() == n {
            allowed.push(LossyDocument { by: name.to_owned(), density: density.unwrap_or(1.0) });
        }
    }
    allow(instance, &allowed).map_err(bad)
}

/// Rows that send all gradients as they are.
const WHOLE: [&str; 2] = ["mg-wfbp", "bucket-cap"];

/// What is said of a plan that sends parts, or could.
pub fn warnings(
    instance: &GradientInstance,
    n_left_out: usize,
    buckets: &Buckets,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if n_left_out > 0 {
        let message = "gradient compression was left out: it changes what is computed";
        found.push(
            Diagnostic::warning("lossy-left-out", message)
                .hint("allow it with --allow-lossy, or take `lossy` out of the file"),
        );
    }
    let n = buckets.parts.iter().flatten().count();
    if n > 0 {
        let message = format!(
            "{n} of {} gradient buckets are compressed: the result changes, and convergence is not \
             predicted",
            buckets.lengths.len()
        );
        found.push(
            Diagnostic::warning("lossy", message)
                .fact("sent", format!("{:.3} MB", mega(sent_bytes(instance, buckets))))
                .hint("leave --allow-lossy out for exact gradients"),
        );
    }
    found
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Bytes that one replica sends in all.
fn sent_bytes(instance: &GradientInstance, buckets: &Buckets) -> u64 {
    spans(instance, buckets).map_or(0, |spans| spans.iter().map(|span| span.sent_bytes).sum())
}

/// What one replica sends by a solution, and of how many buckets a part.
pub fn sent(instance: &Instance, solution: &Solution) -> String {
    let (Instance::Gradients(gradients), Solution::Buckets(buckets)) = (instance, solution) else {
        return String::new();
    };
    let all = format!("{:.3} MB", mega(sent_bytes(gradients, buckets)));
    match buckets.parts.iter().flatten().count() {
        0 => all,
        n => format!("{all}, of {n} buckets a part"),
    }
}

/// Buckets as a document states them.
pub fn communication(instance: &GradientInstance, buckets: &Buckets) -> CommunicationDocument {
    let mut left = instance.tensors.iter();
    let sent = spans(instance, buckets).unwrap_or_default();
    let bucket = |(at, n): (usize, &usize)| {
        let tensors: Vec<_> = left.by_ref().take(*n).collect();
        let part = buckets.part(at);
        BucketDocument {
            tensors: tensors.iter().map(|tensor| tensor.name.clone()).collect(),
            bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            lossy: part.map(|part| part.by.name().to_owned()),
            kept: part.map(|part| part.kept),
            sent_bytes: part.and_then(|_| sent.get(at)).map(|span| span.sent_bytes),
        }
    };
    let allowed =
        |cost: &LossyCost| LossyDocument { by: cost.by.name().to_owned(), density: cost.density };
    CommunicationDocument {
        exchange: Some(buckets.exchange.name().to_owned()),
        buckets: buckets.lengths.iter().enumerate().map(bucket).collect(),
        lossy: instance.lossy.iter().map(allowed).collect(),
        ..CommunicationDocument::default()
    }
}

/// The buckets of a document; what breaks them, in words.
///
/// # Errors
/// An exchange that there is none of, and tensors that are not the next in the order of readiness.
pub fn buckets(
    instance: &GradientInstance,
    stated: &CommunicationDocument,
) -> Result<Buckets, String> {
    let name = stated.exchange.as_deref().unwrap_or(Exchange::AllReduce.name());
    let exchange = Exchange::ALL.into_iter().find(|exchange| exchange.name() == name);
    let exchange = exchange.ok_or_else(|| format!("`{name}` is no way of exchange"))?;
    let mut left = instance.tensors.iter();
    let mut parts = Vec::with_capacity(stated.buckets.len());
    for (at, bucket) in stated.buckets.iter().enumerate() {
        for tensor in &bucket.tensors {
            let next = left.next().map(|gradient| gradient.name.as_str());
            if next != Some(tensor.as_str()) {
                let next = next.unwrap_or("none");
                return Err(format!(
                    "bucket {at} names `{tensor}` where the next gradient that is there is `{next}`"
                ));
            }
        }
        let by = bucket.lossy.as_deref().map(|name| {
            let by = Lossy::ALL.into_iter().find(|by| by.name() == name);
            by.ok_or_else(|| format!("`{name}` of bucket {at} is no way of exchange"))
        });
        parts.push(match (by.transpose()?, bucket.kept) {
            (Some(by), Some(n_kept)) => Some(Part { by, kept: n_kept }),
            (None, None) => None,
            (Some(_), None) => return Err(format!("bucket {at} does not state `kept`")),
            (None, Some(_)) => {
                return Err(format!("bucket {at} states `kept`, and not by which way"));
            }
        });
    }
    let lengths = stated.buckets.iter().map(|bucket| bucket.tensors.len()).collect();
    Ok(Buckets { exchange, lengths, parts })
}

/// What a step takes is told by its samples, where the file states them.
pub fn samples_per_s(instance: &GradientInstance, value: Nanos) -> Option<f64> {
    let samples = instance.samples? as f64 * instance.replicas as f64;
    (value > Nanos::ZERO).then(|| samples / value.seconds())
}

/// What can be exchanged together in other ways, and the step of each; the best last.
fn others(instance: &GradientInstance, exchange: Exchange) -> Vec<(String, Nanos, usize)> {
    let (gradients, mut found) = (gradients(instance), Vec::new());
    let Some(cost) = cost(instance, exchange) else { return found };
    let best = best(instance, exchange, &|| false);
    let with = |lossy: &[LossyCost]| {
        let restricted = GradientInstance { lossy: lossy.to_vec(), ..instance.clone() };
        solve(&restricted, exchange, &|_| false)
    };
    let name = exchange.name();
    let mut all = vec![
        (
            format!("all after the backward pass, {name}"),
            Some(capped(instance, exchange, u64::MAX)),
        ),
        (format!("each alone (wait-free), {name}"), Some(capped(instance, exchange, 1))),
        (format!("caps of 25 MiB, {name}"), Some(capped(instance, exchange, USUAL_CAP))),
        (
            format!("MG-WFBP's rule, {name}"),
            Some(Buckets::whole(exchange, mg_wfbp(&gradients, cost))),
        ),
        (format!("the best cap, {best} bytes, {name}"), Some(capped(instance, exchange, best))),
        (format!("the best, {name}"), with(&[])),
    ];
    let lossy = instance.lossy.iter();
    all.extend(lossy.map(|way| (format!("the best, {name} or {}", way.by.name()), with(&[*way]))));
    if instance.lossy.len() > 1 {
        all.push((format!("the best, {name} or any of these"), with(&instance.lossy)));
    }
    for (name, buckets) in all {
        if let Some(buckets) = buckets
            && let Ok(value) = evaluate(instance, &buckets)
        {
            found.push((name, value, buckets.lengths.len()));
        }
    }
    found
}

/// Columns of when all are there, and of what is sent.
const READY: usize = 6;
const SENT: std::ops::RangeInclusive<usize> = 4..=5;

/// A row for each bucket: what it holds, and when it is exchanged.
pub fn table(instance: &GradientInstance, buckets: &Buckets, rows: Rows, page: &Page) {
    let all = Column::row(
        "@bucket | #tensors | first | #MB | sent by | #sent, MB | #ready, ms | #start, ms | \
         #end, ms",
    );
    // Where all are sent as they are, two of these say nothing; with them there is no room for one.
    let is_lossy = buckets.parts.iter().any(Option::is_some);
    let is_shown = |at: usize| if is_lossy { at != READY } else { !SENT.contains(&at) };
    let columns: Vec<Column> = all
        .into_iter()
        .enumerate()
        .filter(|column| is_shown(column.0))
        .map(|column| column.1)
        .collect();
    let Ok(spans) = spans(instance, buckets) else { return };
    let ms = |seconds: f64| format!("{:.3}", (instance.forward_s + seconds) * 1e3);
    let mut from = 0;
    let row = |(at, (span, n)): (usize, (&_, &usize))| {
        let span: &cost_model::given::gradients::Span = span;
        let name = |at: usize| instance.tensors.get(at).map_or("", |tensor| tensor.name.as_str());
        let first = name(from);
        from += n;
        let cells = vec![
            at.to_string(),
            n.to_string(),
            first.to_owned(),
            format!("{:.3}", span.bytes / 1e6),
            buckets.part(at).map_or(buckets.exchange.name(), |part| part.by.name()).to_owned(),
            format!("{:.3}", mega(span.sent_bytes)),
            ms(span.ready_s),
            ms(span.start_s),
            ms(span.end_s),
        ];
        cells.into_iter().enumerate().filter(|cell| is_shown(cell.0)).map(|cell| cell.1).collect()
    };
    rows.table(&columns, spans.iter().zip(&buckets.lengths).enumerate().map(row), page);
}

/// What of the exchange no pass hides, and what that makes of the step.
pub fn sentence(instance: &GradientInstance, value: Nanos) -> String {
    let passes_s = instance.forward_s + instance.backward_s;
    let exposed_ms = (value.seconds() - passes_s).max(0.0) * 1e3;
    let efficiency = passes_s / value.seconds().max(1e-9);
    let rate = samples_per_s(instance, value);
    let rate = rate.map_or_else(String::new, |rate| format!("{rate:.1} samples/s, "));
    format!(
        "{rate}{exposed_ms:.3} ms of the exchange beside no pass, efficiency {:.1} % on {} replicas",
        100.0 * efficiency.min(1.0),
        instance.replicas
    )
}

/// All of a solution: its buckets, and what others would exchange together.
///
/// # Errors
/// The judge's fault, where it is illegal.
pub fn explain(
    instance: &GradientInstance,
    (buckets, value): (&Buckets, Nanos),
    (rows, page): (Rows, &Page),
) -> Result<Value, Diagnostic> {
    table(instance, buckets, rows, page);
    page.line(&format!("exchanged by {}: {}", buckets.exchange.name(), sentence(instance, value)));
    let (gain, most) = overlap(instance, buckets)?;
    page.line(&format!(
        "after the backward pass these exchanges would make the step {gain:.3} times as long; no \
         overlap gains more than {most:.3} times"
    ));
    let others: Vec<_> =
        instance.costs.iter().flat_map(|cost| others(instance, cost.exchange)).collect();
    let columns = Column::row("exchanged together | #buckets | #step, ms");
    let row = |(name, value, n): &(String, Nanos, usize)| {
        vec![name.clone(), n.to_string(), format!("{:.3}", value.seconds() * 1e3)]
    };
    page.table(&columns, others.iter().map(row).collect());
    let spans = spans(instance, buckets)?;
    let documents: Vec<Value> = spans
        .iter()
        .zip(&buckets.lengths)
        .map(|(span, n)| {
            json!({
                "tensors": n, "bytes": span.bytes as u64, "sent_bytes": span.sent_bytes,
                "ready_s": instance.forward_s + span.ready_s,
                "start_s": instance.forward_s + span.start_s,
                "end_s": instance.forward_s + span.end_s,
            })
        })
        .collect();
    let others: Vec<Value> = others
        .iter()
        .map(|(name, value, n)| json!({ "name": name, "step_ns": value.get(), "buckets": n }))
        .collect();
    Ok(json!({
        "objective": "step-time",
        "value_ns": value.get(),
        "exchange": buckets.exchange.name(),
        "samples_per_s": samples_per_s(instance, value),
        "overlap_gain": gain,
        "most_overlap_gain": most,
        "sent_bytes": sent_bytes(instance, buckets),
        "buckets": documents,
        "others": others,
    }))
}

/// What a document states of buckets.
pub fn state(document: &mut SolutionDocument, (instance, buckets): (&GradientInstance, &Buckets)) {
    document.communication = Some(communication(instance, buckets));
    document.samples_per_s = samples_per_s(instance, Nanos(document.value_ns));
}
