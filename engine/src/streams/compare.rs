//! `compare` of two plans of parts: what they decide otherwise, layer by layer, and both step times.

use std::collections::BTreeMap;

use documents::plan::experts::ExpertLayersDocument;
use documents::plan::{PlanDocument, StreamDocument};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::decided::{Pass, name};
use super::verify::{examined, violations};
use crate::exit::{CommandResult, Exit};
use crate::experts::figures::percent;
use crate::experts::setting::ranges;
use crate::page::{Column, Page};
use crate::request::CompareRequest;
use crate::rows::Rows;
use crate::violations as judged;

/// Whether a plan decides parts.
#[must_use]
pub fn has_parts(plan: &PlanDocument) -> bool {
    plan.experts.layers.iter().any(|own| own.r_fwd.is_some())
}

/// Compares two plans of parts as they state them; with `--model`, both are judged again first.
///
/// # Errors
/// Those of reading.
pub fn compare(
    (a, b): (&PlanDocument, &PlanDocument),
    others: &[Diagnostic],
    request: &CompareRequest,
    page: &Page,
) -> CommandResult {
    page.warnings(others);
    page.warnings(unlike(a, b).as_slice());
    let rows = Rows::of(request.target.all);
    if let Some(model) = &request.model {
        for plan in [a, b] {
            let on = examined(plan, model, &request.target)?;
            let mut broken = on.mismatches.clone();
            broken.extend(violations(&on));
            page.warnings(&on.warnings);
            if let Some(exit) = judged::instead(&broken, rows, page) {
                return Ok(exit);
            }
        }
    }
    let differ = differing(a, b);
    table(&differ, rows, page);
    let [x, y] = [a, b].map(|own| own.cost.as_ref().map_or(0, |own| own.step_time_ns));
    let ms = |ns: u64| ns as f64 / 1e6;
    page.line(&match differ.is_empty() {
        true => "the plans decide the same".to_owned(),
        false => format!(
            "step time: A {:.3} ms, B {:.3} ms, {} in B",
            ms(x),
            ms(y),
            match y <= x {
                true => format!("{} less", percent(1.0 - y as f64 / (x.max(1)) as f64)),
                false => format!("{} more", percent(y as f64 / (x.max(1)) as f64 - 1.0)),
            }
        ),
    });
    let told: Vec<Value> = differ.iter().map(told).collect();
    let of = |ns: u64| json!({ "step_time_ns": ns });
    page.document(&json!({ "equal": differ.is_empty(), "a": of(x), "b": of(y), "layers": told }));
    Ok(if differ.is_empty() { Exit::DONE } else { Exit::DIFFERS })
}

/// What the steps of two plans are not alike in.
fn unlike(a: &PlanDocument, b: &PlanDocument) -> Option<Diagnostic> {
    let differ = [
        ("samples", a.workload.batch != b.workload.batch),
        ("tokens", a.experts.sequence_length != b.experts.sequence_length),
        ("visits", a.request != b.request),
    ];
    let differ: Vec<&str> = differ.iter().filter(|own| own.1).map(|own| own.0).collect();
    (!differ.is_empty()).then(|| {
        let message = format!("the plans were made for other {}", differ.join(", "));
        Diagnostic::warning("other-setting", message)
            .hint("the difference of their step times is not one of parts and slices alone")
    })
}

/// What is decided of a layer.
#[derive(Clone, Copy, PartialEq)]
struct Decided<'p> {
    /// Parts forward and backward, bytes beside the experts' backward pass and beside the rest's.
    figures: [u64; 4],
    /// Orders of pieces, forward and backward.
    orders: [&'p [StreamDocument]; 2],
}

fn by_layer(plan: &PlanDocument) -> BTreeMap<u32, Decided<'_>> {
    let of = |(at, own): (usize, &'_ ExpertLayersDocument)| {
        let order = |pass| {
            let name = name(at, pass);
            let cell = plan.schedule.cells.iter().find(|own| own.cell == name);
            cell.map_or(&[][..], |own| &own.streams)
        };
        let parts = [own.r_fwd, own.r_bwd].map(|own| u64::from(own.unwrap_or_default()));
        let bytes = [own.gradient_bytes, own.others_gradient_bytes].map(Option::unwrap_or_default);
        let figures = [parts[0], parts[1], bytes[0], bytes[1]];
        Decided { figures, orders: [order(Pass::Forward), order(Pass::Backward)] }
    };
    let entries: Vec<Decided<'_>> = plan.experts.layers.iter().enumerate().map(of).collect();
    let all = plan.experts.layers.iter().zip(entries);
    all.flat_map(|(own, decided)| own.layers.iter().map(move |layer| (*layer, decided))).collect()
}

/// Layers of which two plans decide otherwise, alike ones together.
type Differing<'p> = (Vec<u32>, [Option<Decided<'p>>; 2]);

fn differing<'p>(a: &'p PlanDocument, b: &'p PlanDocument) -> Vec<Differing<'p>> {
    let (a, b) = (by_layer(a), by_layer(b));
    let mut found: Vec<Differing<'p>> = Vec::new();
    let layers: std::collections::BTreeSet<u32> = a.keys().chain(b.keys()).copied().collect();
    for layer in layers {
        let both = [a.get(&layer).copied(), b.get(&layer).copied()];
        if both[0] == both[1] {
            continue;
        }
        match found.iter_mut().find(|(_, own)| *own == both) {
            Some((layers, _)) => layers.push(layer),
            None => found.push((vec![layer], both)),
        }
    }
    found
}

/// What differs of layers, in words.
const FIGURES: [&str; 4] = ["r_fwd", "r_bwd", "gradient_bytes", "others_gradient_bytes"];

/// A row for each figure that differs of layers that do so alike.
fn table(differ: &[Differing<'_>], rows: Rows, page: &Page) {
    let columns =
        [Column::Text("layers"), Column::Text("what"), Column::Number("A"), Column::Number("B")];
    let mut table = Vec::new();
    for (layers, both) in differ {
        let row = |what: &str, [a, b]: [String; 2]| vec![ranges(layers), what.to_owned(), a, b];
        let figure = |at: usize| both.map(|own| own.map(|own| own.figures[at]));
        let before = table.len();
        for (at, what) in FIGURES.iter().enumerate() {
            let of = figure(at);
            let text = |own: Option<u64>| own.map_or_else(|| "-".to_owned(), |own| own.to_string());
            if of[0] != of[1] {
                table.push(row(what, of.map(text)));
            }
        }
        if table.len() == before {
            let of = |own: &str| own.to_owned();
            table.push(row("order of pieces", [of("stated"), of("another")]));
        }
    }
    rows.table(&columns, table.into_iter(), page);
}

fn told((layers, both): &Differing<'_>) -> Value {
    let of = |own: &Option<Decided<'_>>| {
        own.as_ref().map(|own| {
            let each = FIGURES.iter().zip(own.figures);
            each.map(|(name, own)| ((*name).to_owned(), json!(own)))
                .collect::<serde_json::Map<_, _>>()
        })
    };
    let same_orders = match both {
        [Some(a), Some(b)] => a.orders == b.orders,
        _ => false,
    };
    json!({ "layers": layers, "a": of(&both[0]), "b": of(&both[1]), "same_orders": same_orders })
}
