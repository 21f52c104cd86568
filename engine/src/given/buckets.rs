//! Buckets of gradients: as documents, as people read them, and beside what others would exchange
//! together.

use cost_model::given::gradients::{Buckets, cost, evaluate, gradients, spans};
use cost_model::links::collective::gradient::mg_wfbp;
use documents::plan::{BucketDocument, CommunicationDocument};
use documents::solution::SolutionDocument;
use exporters::given_costs;
use ir::diagnostic::Diagnostic;
use ir::instance::{Exchange, GradientInstance};
use ir::units::Nanos;
use planner::given::bucket_cap::{best, capped};
use planner::given::gradient_buckets::solve;
use serde_json::{Value, json};

use crate::page::{Column, Page};
use crate::rows::Rows;

/// What PyTorch's buckets hold where nobody states a size: 25 MiB.
const USUAL_CAP: u64 = 25 << 20;

/// Buckets as a document states them.
pub fn communication(instance: &GradientInstance, buckets: &Buckets) -> CommunicationDocument {
    let mut left = instance.tensors.iter();
    let bucket = |n: &usize| {
        let own: Vec<_> = left.by_ref().take(*n).collect();
        BucketDocument {
            tensors: own.iter().map(|own| own.name.clone()).collect(),
            bytes: own.iter().map(|own| own.bytes).sum(),
        }
    };
    CommunicationDocument {
        exchange: Some(buckets.exchange.name().to_owned()),
        buckets: buckets.lengths.iter().map(bucket).collect(),
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
    let exchange = Exchange::ALL.into_iter().find(|own| own.name() == name);
    let exchange = exchange.ok_or_else(|| format!("`{name}` is no way of exchange"))?;
    let mut left = instance.tensors.iter();
    for (at, own) in stated.buckets.iter().enumerate() {
        for tensor in &own.tensors {
            let next = left.next().map(|own| own.name.as_str());
            if next != Some(tensor.as_str()) {
                let next = next.unwrap_or("none");
                return Err(format!(
                    "bucket {at} names `{tensor}` where the next gradient that is there is `{next}`"
                ));
            }
        }
    }
    Ok(Buckets { exchange, lengths: stated.buckets.iter().map(|own| own.tensors.len()).collect() })
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
    let of = |lengths| Buckets { exchange, lengths };
    let all = [
        ("all after the backward pass".to_owned(), capped(instance, exchange, u64::MAX)),
        ("each alone (wait-free)".to_owned(), capped(instance, exchange, 1)),
        ("caps of 25 MiB".to_owned(), capped(instance, exchange, USUAL_CAP)),
        ("MG-WFBP's rule".to_owned(), of(mg_wfbp(&gradients, cost))),
        (format!("the best cap, {best} bytes"), capped(instance, exchange, best)),
        ("the best".to_owned(), of(solve(&gradients, cost, &|_| false).unwrap_or_default())),
    ];
    for (name, own) in all {
        if let Ok(value) = evaluate(instance, &own) {
            found.push((format!("{name}, {}", exchange.name()), value, own.lengths.len()));
        }
    }
    found
}

/// A row for each bucket: what it holds, and when it is exchanged.
pub fn table(instance: &GradientInstance, buckets: &Buckets, rows: Rows, page: &Page) {
    let columns = [
        Column::Name("bucket"),
        Column::Number("tensors"),
        Column::Text("first"),
        Column::Text("last"),
        Column::Number("MB"),
        Column::Number("ready, ms"),
        Column::Number("start, ms"),
        Column::Number("end, ms"),
    ];
    let Ok(spans) = spans(instance, buckets) else { return };
    let ms = |seconds: f64| format!("{:.3}", (instance.forward_s + seconds) * 1e3);
    let mut from = 0;
    let row = |(at, (span, n)): (usize, (&_, &usize))| {
        let span: &cost_model::given::gradients::Span = span;
        let name = |at: usize| instance.tensors.get(at).map_or("", |own| own.name.as_str());
        let (first, last) = (name(from), name(from + n - 1));
        from += n;
        vec![
            at.to_string(),
            n.to_string(),
            first.to_owned(),
            last.to_owned(),
            format!("{:.3}", span.bytes / 1e6),
            ms(span.ready_s),
            ms(span.start_s),
            ms(span.end_s),
        ]
    };
    rows.table(&columns, spans.iter().zip(&buckets.lengths).enumerate().map(row), page);
}

/// What of the exchange no pass hides, and what that makes of the step.
pub fn sentence(instance: &GradientInstance, value: Nanos) -> String {
    let passes_s = instance.forward_s + instance.backward_s;
    let exposed_ms = (value.seconds() - passes_s).max(0.0) * 1e3;
    let efficiency = passes_s / value.seconds().max(1e-9);
    let rate = samples_per_s(instance, value);
    let rate = rate.map_or_else(String::new, |own| format!("{own:.1} samples/s, "));
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
) -> Result<(), Diagnostic> {
    table(instance, buckets, rows, page);
    page.line(&format!("exchanged by {}: {}", buckets.exchange.name(), sentence(instance, value)));
    let others: Vec<_> =
        instance.costs.iter().flat_map(|own| others(instance, own.exchange)).collect();
    let columns =
        [Column::Text("exchanged together"), Column::Number("buckets"), Column::Number("step, ms")];
    let row = |(name, value, n): &(String, Nanos, usize)| {
        vec![name.clone(), n.to_string(), format!("{:.3}", value.seconds() * 1e3)]
    };
    page.table(&columns, others.iter().map(row).collect());
    let spans = spans(instance, buckets)?;
    let told: Vec<Value> = spans
        .iter()
        .zip(&buckets.lengths)
        .map(|(own, n)| {
            json!({
                "tensors": n, "bytes": own.bytes as u64, "ready_s": instance.forward_s + own.ready_s,
                "start_s": instance.forward_s + own.start_s, "end_s": instance.forward_s + own.end_s,
            })
        })
        .collect();
    let others: Vec<Value> = others
        .iter()
        .map(|(name, value, n)| json!({ "name": name, "step_ns": value.get(), "buckets": n }))
        .collect();
    page.document(&json!({
        "objective": "step-time",
        "value_ns": value.get(),
        "exchange": buckets.exchange.name(),
        "samples_per_s": samples_per_s(instance, value),
        "buckets": told,
        "others": others,
    }));
    Ok(())
}

/// What a document states of buckets.
pub fn state(document: &mut SolutionDocument, (instance, buckets): (&GradientInstance, &Buckets)) {
    document.communication = Some(communication(instance, buckets));
    document.samples_per_s = samples_per_s(instance, Nanos(document.value_ns));
}

/// The buckets as arguments of PyTorch's `DistributedDataParallel`.
///
/// # Errors
/// `cannot-express` for servers, which it has none of; `unknown-version`.
pub fn torch_ddp(
    target: &str,
    instance: &GradientInstance,
    buckets: &Buckets,
) -> Result<Vec<u8>, Diagnostic> {
    if buckets.exchange != Exchange::AllReduce {
        let message = format!("`{target}` sums up gradients by all-reduce alone");
        return Err(Diagnostic::usage("cannot-express", message)
            .hint("leave the parameter server out of `exchange`, and plan again"));
    }
    let stated = communication(instance, buckets).buckets;
    let sizes: Vec<u64> = stated.iter().map(|own| own.bytes).collect();
    given_costs::torch_ddp(target, &sizes, best(instance, buckets.exchange, &|| false))
}
