//! What two plans of streams of one kind decide otherwise, layer by layer, and what both take.

use std::collections::{BTreeMap, BTreeSet};

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use crate::answer::differences::other_setting;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::{ranges, share as percent};
use crate::kinds::kind::Compared;

/// Compares two plans as they state them.
#[must_use]
pub fn compare(
    of: &Decides,
    (a, b): (&PlanDocument, &PlanDocument),
    (rows, page): (Rows, &Page),
) -> Compared {
    let differ = differing(of, a, b);
    table(&differ, rows, page);
    let is_equal = differ.is_empty();
    let layers: Vec<Value> =
        differ.iter().filter(|difference| !difference.layers.is_empty()).map(told).collect();
    let step = differ.iter().find(|difference| difference.layers.is_empty()).map(told);
    let figures = |plan: &PlanDocument| match (of.samples_per_s)(plan) {
        Some(rate) => json!({ "step_time_ns": step_ns(plan), "samples_per_s": rate }),
        None => json!({ "step_time_ns": step_ns(plan) }),
    };
    let document = json!({ "a": figures(a), "b": figures(b), "step": step, "layers": layers });
    Compared { is_equal, differs: sentence(of, [a, b]), document }
}

fn step_ns(plan: &PlanDocument) -> u64 {
    plan.cost.as_ref().map_or(0, |cost| cost.step_time_ns)
}

fn sentence(of: &Decides, both: [&PlanDocument; 2]) -> String {
    let (what, unit) = match both.map(of.samples_per_s) {
        [Some(_), _] => ("samples per second", ""),
        [None, _] => ("step time", " ms"),
    };
    let [x, y] = both.map(|plan| (of.samples_per_s)(plan).unwrap_or(step_ns(plan) as f64 / 1e6));
    let change = y / x.max(f64::MIN_POSITIVE) - 1.0;
    let change = match change {
        0.0 => "as much in both".to_owned(),
        less @ ..0.0 => format!("{} less in B", percent(-less)),
        more => format!("{} more in B", percent(more)),
    };
    format!("{what}: A {x:.3}{unit}, B {y:.3}{unit}, {change}")
}

/// What the steps of two plans are not alike in.
#[must_use]
pub fn unlike(a: &PlanDocument, b: &PlanDocument) -> Option<Diagnostic> {
    let (one, two) = (&a.experts, &b.experts);
    let both = |of: fn(&documents::plan::nano_batches::ServingDocument) -> Value| {
        one.serving.as_ref().map(of) != two.serving.as_ref().map(of)
    };
    let visits = |plan: &PlanDocument| -> BTreeMap<u32, String> {
        let all = plan.experts.layers.iter();
        let of = |entry: &ExpertLayersDocument| {
            let visits = format!("{:?}", entry.visits);
            entry.layers.iter().map(|layer| (*layer, visits.clone())).collect::<Vec<_>>()
        };
        all.flat_map(of).collect()
    };
    let differ = [
        ("phase", one.phase != two.phase),
        ("samples", a.workload.batch != b.workload.batch),
        (
            "tokens",
            one.sequence_length != two.sequence_length || both(|serving| json!(serving.cached)),
        ),
        ("routed tokens", a.request != b.request || visits(a) != visits(b)),
        ("interference", both(|serving| json!(serving.interference))),
    ];
    other_setting(&differ, "figures differ because of these, too")
}

/// What is decided, by name.
pub type Decided = Vec<(&'static str, Value)>;

/// How the order of pieces is called.
const ORDER: &str = "order of pieces";

/// What a kind of plan decides.
pub struct Decides {
    /// Of an entry of layers, but for the order of pieces.
    pub layers: fn(&ExpertLayersDocument) -> Decided,
    /// Of the step as a whole.
    pub step: fn(&PlanDocument) -> Decided,
    /// Samples per second, of plans that decide how many a step has.
    pub samples_per_s: fn(&PlanDocument) -> Option<f64>,
}

/// What is decided of an entry of layers.
fn of_entry(of: &Decides, plan: &PlanDocument, at: usize, entry: &ExpertLayersDocument) -> Decided {
    let mut found = (of.layers)(entry);
    let cells = plan.schedule.cells.iter();
    let is_own = |name: &str| name.trim_end_matches(['F', 'B']) == at.to_string();
    let streams: Vec<_> =
        cells.filter(|cell| is_own(&cell.cell)).map(|cell| &cell.streams).collect();
    found.push((ORDER, json!(streams)));
    found
}

/// What two plans decide otherwise.
struct Differing {
    /// Layers; none of the step as a whole.
    layers: Vec<u32>,
    /// By plan; nothing of a layer that it has not.
    both: [Option<Decided>; 2],
}

fn differing(of: &Decides, a: &PlanDocument, b: &PlanDocument) -> Vec<Differing> {
    let entries = [a, b].map(|plan| {
        let all = plan.experts.layers.iter().enumerate();
        all.map(|(at, entry)| of_entry(of, plan, at, entry)).collect::<Vec<_>>()
    });
    let by_layer = [a, b].map(|plan| -> BTreeMap<u32, usize> {
        let all = plan.experts.layers.iter().enumerate();
        all.flat_map(|(at, entry)| entry.layers.iter().map(move |layer| (*layer, at))).collect()
    });
    // Of each two entries the layers that are of both.
    let mut layers: BTreeMap<[Option<usize>; 2], Vec<u32>> = BTreeMap::new();
    let all: BTreeSet<u32> =
        by_layer.iter().flat_map(|by_layer| by_layer.keys().copied()).collect();
    for layer in all {
        let both = [0, 1].map(|plan: usize| by_layer[plan].get(&layer).copied());
        layers.entry(both).or_default().push(layer);
    }
    let step = Differing { layers: Vec::new(), both: [a, b].map(|plan| Some((of.step)(plan))) };
    let layers = layers.into_iter().map(|(at, layers)| {
        let of = |plan: usize| at[plan].map(|at| entries[plan][at].clone());
        Differing { layers, both: [of(0), of(1)] }
    });
    std::iter::once(step)
        .chain(layers)
        .filter(|difference| difference.both[0] != difference.both[1])
        .collect()
}

/// A row for each figure that differs of layers that do so alike; of lists is said that they do.
fn table(differ: &[Differing], rows: Rows, page: &Page) {
    let columns = Column::row("layers | what | #A | #B");
    let mut table = Vec::new();
    for difference in differ {
        let where_ = match difference.layers.is_empty() {
            true => "the step".to_owned(),
            false => ranges(&difference.layers),
        };
        let names = difference
            .both
            .iter()
            .flatten()
            .next()
            .into_iter()
            .flatten()
            .map(|decision| decision.0);
        for name in names {
            let value = |plan: usize| {
                let all = difference.both[plan].iter().flatten();
                all.clone().find(|decision| decision.0 == name).map(|decision| &decision.1)
            };
            let both = [value(0), value(1)];
            if both[0] == both[1] {
                continue;
            }
            let words = [short(both[0]), short(both[1])];
            let words = words.into_iter().collect::<Option<Vec<_>>>();
            let words = words.unwrap_or_else(|| ["stated", "another"].map(str::to_owned).to_vec());
            table.push([vec![where_.clone(), name.to_owned()], words].concat());
        }
    }
    rows.table(&columns, table.into_iter(), page);
}

/// A figure, a word or a few figures; `None` where a row has no room.
fn short(value: Option<&Value>) -> Option<String> {
    match value {
        None => Some("-".to_owned()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(values)) if values.iter().all(Value::is_number) => {
            Some(values.iter().map(Value::to_string).collect::<Vec<_>>().join(" + "))
        }
        Some(value) => value.is_number().then(|| value.to_string()),
    }
}

fn told(difference: &Differing) -> Value {
    let of = |decided: &Option<Decided>| {
        let all = decided.as_ref()?.iter().filter(|decision| decision.0 != ORDER);
        Some(all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
    };
    let order = |decided: &Option<Decided>| {
        decided
            .as_ref()
            .and_then(|decided| decided.iter().find(|decision| decision.0 == ORDER).cloned())
    };
    let [a, b] = &difference.both;
    json!({
        "layers": difference.layers, "a": of(a), "b": of(b), "same_orders": order(a) == order(b),
    })
}
