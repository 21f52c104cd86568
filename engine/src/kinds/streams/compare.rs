//! `compare` of two plans of streams of one kind: what they decide otherwise, layer by layer, and what both
//! take.

use std::collections::{BTreeMap, BTreeSet};

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use super::Word;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::answer::words::share as percent;

/// Compares two plans as they state them; `judge` is asked first, and ends it where one of them is illegal.
///
/// # Errors
/// `not-comparable` for plans of two kinds; those of `judge`.
pub fn compare(
    (a, b): (&PlanDocument, &PlanDocument),
    others: &[Diagnostic],
    judge: &dyn Fn(&PlanDocument) -> Result<Option<Exit>, Diagnostic>,
    (rows, page): (Rows, &Page),
) -> CommandResult {
    let word = Word::of(a);
    if word != Word::of(b) || !(a.has_streams() && b.has_streams()) {
        let message = "plans of streams are compared where both decide the same of a step";
        return Err(Diagnostic::usage("not-comparable", message)
            .hint("compare plans of one row, or of a row and its baselines"));
    }
    page.warnings(others);
    page.warnings(unlike(a, b).as_slice());
    for plan in [a, b] {
        if let Some(exit) = judge(plan)? {
            return Ok(exit);
        }
    }
    let differ = differing(word, a, b);
    table(&differ, rows, page);
    let figures = [a, b].map(figure);
    page.line(&match differ.is_empty() {
        true => "the plans decide the same".to_owned(),
        false => sentence(word, figures),
    });
    let layers = differ.iter().filter(|own| !own.layers.is_empty()).map(told);
    let layers: Vec<Value> = layers.collect();
    let step = differ.iter().find(|own| own.layers.is_empty()).map(told);
    let of = |plan: &PlanDocument, own: f64| match word {
        Word::Groups => json!({ "step_time_ns": step_ns(plan), "samples_per_s": own }),
        Word::Parts | Word::NanoBatches => json!({ "step_time_ns": step_ns(plan) }),
    };
    page.document(&json!({
        "equal": differ.is_empty(), "a": of(a, figures[0]), "b": of(b, figures[1]), "step": step,
        "layers": layers,
    }));
    Ok(if differ.is_empty() { Exit::DONE } else { Exit::DIFFERS })
}

fn step_ns(plan: &PlanDocument) -> u64 {
    plan.cost.as_ref().map_or(0, |own| own.step_time_ns)
}

/// What a plan is good by: samples per second where the step's size is decided, else milliseconds of it.
fn figure(plan: &PlanDocument) -> f64 {
    let step = plan.experts.disaggregated.as_ref().map(|own| own.step.samples_per_s);
    step.unwrap_or(step_ns(plan) as f64 / 1e6)
}

fn sentence(word: Word, [x, y]: [f64; 2]) -> String {
    let (what, unit) = match word {
        Word::Groups => ("samples per second", ""),
        Word::Parts | Word::NanoBatches => ("step time", " ms"),
    };
    let change = y / x.max(f64::MIN_POSITIVE) - 1.0;
    let change = match change {
        0.0 => "as much in both".to_owned(),
        less @ ..0.0 => format!("{} less in B", percent(-less)),
        more => format!("{} more in B", percent(more)),
    };
    format!("{what}: A {x:.3}{unit}, B {y:.3}{unit}, {change}")
}

/// What the steps of two plans are not alike in.
fn unlike(a: &PlanDocument, b: &PlanDocument) -> Option<Diagnostic> {
    let (one, two) = (&a.experts, &b.experts);
    let both = |of: fn(&documents::plan::nano_batches::ServingDocument) -> Value| {
        one.serving.as_ref().map(of) != two.serving.as_ref().map(of)
    };
    let visits = |plan: &PlanDocument| -> BTreeMap<u32, String> {
        let all = plan.experts.layers.iter();
        let of = |own: &ExpertLayersDocument| {
            let visits = format!("{:?}", own.visits);
            own.layers.iter().map(|layer| (*layer, visits.clone())).collect::<Vec<_>>()
        };
        all.flat_map(of).collect()
    };
    let differ = [
        ("phase", one.phase != two.phase),
        ("samples", a.workload.batch != b.workload.batch),
        ("tokens", one.sequence_length != two.sequence_length || both(|own| json!(own.cached))),
        ("visits", a.request != b.request || visits(a) != visits(b)),
        ("interference", both(|own| json!(own.interference))),
    ];
    let differ: Vec<&str> = differ.iter().filter(|own| own.1).map(|own| own.0).collect();
    (!differ.is_empty()).then(|| {
        let message = format!("the plans were made for other {}", differ.join(", "));
        Diagnostic::warning("other-setting", message)
            .hint("the difference of what they take is not one of their decisions alone")
    })
}

/// What is decided, by name.
type Decided = Vec<(&'static str, Value)>;

/// How the order of pieces is called.
const ORDER: &str = "order of pieces";

/// What is decided of an entry of layers.
fn of_entry(word: Word, plan: &PlanDocument, at: usize, own: &ExpertLayersDocument) -> Decided {
    let mut found = match word {
        Word::Parts => vec![
            ("r_fwd", json!(own.r_fwd.unwrap_or_default())),
            ("r_bwd", json!(own.r_bwd.unwrap_or_default())),
            ("gradient_bytes", json!(own.gradient_bytes.unwrap_or_default())),
            ("others_gradient_bytes", json!(own.others_gradient_bytes.unwrap_or_default())),
        ],
        Word::Groups => vec![("devices of experts", json!(own.devices_of_expert))],
        Word::NanoBatches => {
            let own = own.nano_batches.clone().unwrap_or_default();
            vec![
                ("samples", json!(own.samples)),
                ("ahead", json!(own.ahead)),
                ("beside", json!(own.beside)),
            ]
        }
    };
    let cells = plan.schedule.cells.iter();
    let is_own = |name: &str| name.trim_end_matches(['F', 'B']) == at.to_string();
    let streams: Vec<_> = cells.filter(|own| is_own(&own.cell)).map(|own| &own.streams).collect();
    found.push((ORDER, json!(streams)));
    found
}

/// What is decided of the step as a whole.
fn of_step(plan: &PlanDocument) -> Decided {
    if let Some(serving) = &plan.experts.serving {
        return vec![("thresholds", json!(serving.thresholds))];
    }
    let Some(own) = &plan.experts.disaggregated else { return Vec::new() };
    vec![
        ("attention", json!(own.attention.len())),
        ("experts", json!(own.experts.len())),
        ("samples", json!(own.step.samples)),
        ("micro_batches", json!(own.step.micro_batches)),
        ("parts", json!(own.step.parts)),
        ("order", json!(own.step.order)),
        ("by_length", json!(own.by_length)),
    ]
}

/// What two plans decide otherwise.
struct Differing {
    /// Layers; none of the step as a whole.
    layers: Vec<u32>,
    /// By plan; nothing of a layer that it has not.
    both: [Option<Decided>; 2],
}

fn differing(word: Word, a: &PlanDocument, b: &PlanDocument) -> Vec<Differing> {
    let entries = [a, b].map(|plan| {
        let all = plan.experts.layers.iter().enumerate();
        all.map(|(at, own)| of_entry(word, plan, at, own)).collect::<Vec<_>>()
    });
    let by_layer = [a, b].map(|plan| -> BTreeMap<u32, usize> {
        let all = plan.experts.layers.iter().enumerate();
        all.flat_map(|(at, own)| own.layers.iter().map(move |layer| (*layer, at))).collect()
    });
    // Of each two entries the layers that are of both.
    let mut layers: BTreeMap<[Option<usize>; 2], Vec<u32>> = BTreeMap::new();
    let all: BTreeSet<u32> = by_layer.iter().flat_map(|own| own.keys().copied()).collect();
    for layer in all {
        let both = [0, 1].map(|plan: usize| by_layer[plan].get(&layer).copied());
        layers.entry(both).or_default().push(layer);
    }
    let step = Differing { layers: Vec::new(), both: [a, b].map(|own| Some(of_step(own))) };
    let layers = layers.into_iter().map(|(at, layers)| {
        let of = |plan: usize| at[plan].map(|at| entries[plan][at].clone());
        Differing { layers, both: [of(0), of(1)] }
    });
    std::iter::once(step).chain(layers).filter(|own| own.both[0] != own.both[1]).collect()
}

/// A row for each figure that differs of layers that do so alike; of lists is said that they do.
fn table(differ: &[Differing], rows: Rows, page: &Page) {
    let columns =
        [Column::Text("layers"), Column::Text("what"), Column::Number("A"), Column::Number("B")];
    let mut table = Vec::new();
    for own in differ {
        let where_ = match own.layers.is_empty() {
            true => "the step".to_owned(),
            false => ranges(&own.layers),
        };
        let names = own.both.iter().flatten().next().into_iter().flatten().map(|own| own.0);
        for name in names {
            let value = |plan: usize| {
                let all = own.both[plan].iter().flatten();
                all.clone().find(|own| own.0 == name).map(|own| &own.1)
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
        Some(Value::String(own)) => Some(own.clone()),
        Some(Value::Array(own)) if own.iter().all(Value::is_number) => {
            Some(own.iter().map(Value::to_string).collect::<Vec<_>>().join(" + "))
        }
        Some(own) => own.is_number().then(|| own.to_string()),
    }
}

fn told(own: &Differing) -> Value {
    let of = |decided: &Option<Decided>| {
        let all = decided.as_ref()?.iter().filter(|own| own.0 != ORDER);
        Some(all.map(|(name, own)| ((*name).to_owned(), own.clone())).collect::<Map<_, _>>())
    };
    let order = |decided: &Option<Decided>| {
        decided.as_ref().and_then(|own| own.iter().find(|own| own.0 == ORDER).cloned())
    };
    let [a, b] = &own.both;
    json!({ "layers": own.layers, "a": of(a), "b": of(b), "same_orders": order(a) == order(b) })
}
