//! The registry of algorithms.

use planner::algorithm::{Guarantee, OptionRow};
use planner::registry::{Entry, entries};
use serde_json::{Map, Value, json};

use crate::answer::page::{Column, Page};

/// `heuristic`, or by what is planned where the promises differ.
fn promises(entry: &Entry) -> String {
    let all = entry.promises();
    match all.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.name(),
        _ => {
            let each = all.iter().map(|(kind, promise)| format!("{kind}: {}", promise.name()));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Lists all rows and their options.
pub fn list(page: &Page) {
    let columns =
        Column::row("@algorithm | @kind | objectives | decides | promises | summary | paper");
    let rows = entries().iter().map(|entry| {
        let decides: Vec<&str> = entry.decides.iter().map(|field| field.name()).collect();
        vec![
            entry.name.to_owned(),
            entry.kind.name().to_owned(),
            entry.objectives().join(", "),
            decides.join(", "),
            promises(entry),
            entry.summary.to_owned(),
            entry.paper.to_owned(),
        ]
    });
    page.table(&columns, rows.collect());
    page.text("\n");
    let columns = Column::row("@option | values | @default | meaning");
    let option = |entry: &Entry, option: &OptionRow| {
        vec![
            format!("{}({})", entry.name, option.name),
            option.unit.to_owned(),
            option.default.to_owned(),
            option.summary.to_owned(),
        ]
    };
    let rows =
        entries().iter().flat_map(|entry| entry.options.iter().map(move |o| option(entry, o)));
    page.table(&columns, rows.collect());
    page.text("\n");
    page.line("recipe: transforms, then what decides, then what improves, such as fuse,m-sct");
    page.document(&document());
}

/// The registry, row by row, in its own order.
#[must_use]
pub fn document() -> Value {
    json!({ "algorithms": entries().iter().map(row_document).collect::<Vec<_>>() })
}

fn row_document(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "kind": entry.kind.name(),
        "runs_on": entry.promises().iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        "guarantees": entry.promises().into_iter().map(promise).collect::<Map<_, _>>(),
        "objectives": entry.objectives(),
        "decides": entry.decides.iter().map(|f| f.name()).collect::<Vec<_>>(),
        "paper": entry.paper,
        "summary": entry.summary,
        "options": entry.options.iter().map(option_document).collect::<Vec<_>>(),
    })
}

fn promise((kind, guarantee): (&str, Guarantee)) -> (String, Value) {
    (kind.to_owned(), guarantee.name().into())
}

fn option_document(option: &OptionRow) -> Value {
    json!({
        "name": option.name,
        "unit": option.unit,
        "default": option.default,
        "summary": option.summary,
    })
}
