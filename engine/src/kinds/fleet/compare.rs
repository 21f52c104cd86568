//! `compare` of two fleets: workers, devices, latencies.

use documents::plan::fleet::{FleetDocument, PromisesDocument, WorkerDocument};
use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::words::{groups, latency, listed, per_second, statistic};
use crate::answer::differences::other_setting;
use crate::answer::page::{Column, Page};
use crate::kinds::kind::{Compared, Pair};

/// Columns of the workers of a plan.
const LISTED: usize = 30;

/// Compares two plans as they state themselves.
#[must_use]
pub(super) fn compare(one: &FleetDocument, two: &FleetDocument, page: &Page) -> Compared {
    let slowest = |fleet: &FleetDocument, of: fn(&WorkerDocument) -> Option<f64>| {
        fleet.workers.iter().filter_map(of).reduce(f64::max)
    };
    let row = |name: &str, text: &dyn Fn(&FleetDocument) -> String| {
        vec![name.to_owned(), text(one), text(two)]
    };
    let is_one = one.promises.percentile == two.promises.percentile;
    let time = |fleet: &FleetDocument, of: fn(&WorkerDocument) -> Option<f64>| {
        let seconds = slowest(fleet, of).map_or_else(|| "-".to_owned(), latency);
        if is_one { seconds } else { format!("{seconds} {}", statistic(&fleet.promises)) }
    };
    let price = |fleet: &FleetDocument| {
        fleet.price_per_hour.map_or_else(|| "-".to_owned(), |price| format!("{price:.2}"))
    };
    let mut rows = vec![
        row("workers", &|fleet| listed(&groups(&fleet.workers), LISTED)),
        row("devices", &|fleet| fleet.n_devices.to_string()),
        row("requests/s", &|fleet| per_second(fleet.requests_per_s)),
        row("TTFT", &|fleet| time(fleet, |of| of.ttft_s)),
        row("TPOT", &|fleet| time(fleet, |of| of.tpot_s)),
    ];
    if [one, two].iter().any(|fleet| fleet.price_per_hour.is_some()) {
        rows.push(row("price per hour", &price));
    }
    page.table(&[Column::Name("of"), Column::Number("A"), Column::Number("B")], rows);
    let is_equal = one.workers == two.workers;
    let more = i128::from(two.n_devices) - i128::from(one.n_devices);
    let differs = match more {
        0 => "the workers differ".to_owned(),
        1.. => format!("the workers differ; B has {more} more devices"),
        _ => format!("the workers differ; B has {} fewer devices", -more),
    };
    let shown = |fleet: &FleetDocument| {
        json!({
            "devices": fleet.n_devices, "price_per_hour": fleet.price_per_hour,
            "requests_per_s": fleet.requests_per_s,
            "ttft_s": slowest(fleet, |of| of.ttft_s), "tpot_s": slowest(fleet, |of| of.tpot_s),
        })
    };
    Compared { is_equal, differs, document: json!({ "a": shown(one), "b": shown(two) }) }
}

/// What two plans were asked for otherwise.
pub(super) fn other(
    pair: &Pair<'_>,
    (one, two): (&FleetDocument, &FleetDocument),
) -> Option<Diagnostic> {
    let limits = |fleet: &FleetDocument| PromisesDocument { percentile: None, ..fleet.promises };
    let differ = [
        ("requests", one.lengths != two.lengths),
        ("rate", one.rate != two.rate),
        ("concurrency", one.concurrency != two.concurrency),
        ("seed", one.seed != two.seed),
        ("shared prefix", one.shared_prefix != two.shared_prefix),
        ("mean or percentile of latencies", one.promises.percentile != two.promises.percentile),
        ("latency limits", limits(one) != limits(two)),
        ("engine", one.engine != two.engine),
        ("objective", pair.a.objective != pair.b.objective),
        ("element type", pair.a.workload.dtype != pair.b.workload.dtype),
    ];
    other_setting(&differ, "figures differ because of these, too")
}
