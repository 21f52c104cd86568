//! `compare` of two plans of buckets, as they state themselves.

use documents::plan::PlanDocument;
use serde_json::json;

use crate::answer::page::{Column, Page};
use crate::kinds::kind::Compared;

/// Compares two plans as they state themselves.
#[must_use]
pub fn compare((a, b): (&PlanDocument, &PlanDocument), page: &Page) -> Compared {
    let columns = [Column::Name("of"), Column::Number("A"), Column::Number("B")];
    let step = |plan: &PlanDocument| plan.cost.as_ref().map_or(0, |cost| cost.step_time_ns);
    let largest =
        |plan: &PlanDocument| plan.communication.buckets.iter().map(|bucket| bucket.bytes).max();
    let of = |name: &str, text: &dyn Fn(&PlanDocument) -> String| {
        vec![name.to_owned(), text(a), text(b)]
    };
    let exchange = |plan: &PlanDocument| plan.communication.exchange.clone().unwrap_or_default();
    let lossy = |plan: &PlanDocument| {
        plan.communication.buckets.iter().filter(|bucket| bucket.lossy.is_some()).count()
    };
    let sent = |plan: &PlanDocument| -> u64 {
        let buckets = plan.communication.buckets.iter();
        buckets.fold(0, |sum, bucket| sum.saturating_add(bucket.sent_bytes.unwrap_or(bucket.bytes)))
    };
    let rows = vec![
        of("step, ms", &|plan| format!("{:.6}", step(plan) as f64 / 1e6)),
        of("replicas", &|plan| plan.parallelism.data.to_string()),
        of("buckets", &|plan| plan.communication.buckets.len().to_string()),
        of("largest, MB", &|plan| format!("{:.3}", largest(plan).unwrap_or(0) as f64 / 1e6)),
        of("exchanged by", &exchange),
        of("compressed", &|plan| lossy(plan).to_string()),
        of("sent, MB", &|plan| format!("{:.3}", sent(plan) as f64 / 1e6)),
    ];
    page.table(&columns, rows);
    let is_equal = a.communication == b.communication && a.parallelism == b.parallelism;
    let gain = step(a) as f64 / (step(b) as f64).max(1.0);
    let differs = format!("the buckets differ; B is {gain:.3} times as fast as A");
    let document = json!({
        "gain": gain,
        "a": { "step_ns": step(a), "buckets": a.communication.buckets.len() },
        "b": { "step_ns": step(b), "buckets": b.communication.buckets.len() },
    });
    Compared { is_equal, differs, document }
}
