//! `compare` of two placements of experts, as they state their loads.

use std::collections::{BTreeMap, BTreeSet};

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use crate::answer::differences::other_setting;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::share as percent;
use crate::kinds::kind::Compared;

/// Compares two placements, as they state their loads.
#[must_use]
pub fn compare((a, b): (&PlanDocument, &PlanDocument), (rows, page): (Rows, &Page)) -> Compared {
    let documents = layers(a, b, rows, page);
    let (x, y) = (mean(a), mean(b));
    let is_equal = a.experts.layers == b.experts.layers;
    let change = match y <= x {
        true => format!("{} less", percent(1.0 - y / x)),
        false => format!("{} more", percent(y / x - 1.0)),
    };
    let differs =
        format!("greatest load over the mean, all layers: A {x:.4}, B {y:.4}, {change} in B");
    let document = json!({ "a": { "load": x }, "b": { "load": y }, "layers": documents });
    Compared { is_equal, differs, document }
}

/// What the loads of two placements are not of alike.
pub fn unlike(a: &PlanDocument, b: &PlanDocument) -> Option<Diagnostic> {
    let slots = |plan: &PlanDocument| plan.experts.layers.iter().map(|entry| entry.slots).max();
    let (of_a, of_b) = (by_layer(a), by_layer(b));
    let mut both = of_a.iter().filter_map(|(layer, entry)| Some((entry, of_b.get(layer)?)));
    let differ = [
        ("routed tokens", both.any(|(one, two)| one.visits != two.visits)),
        ("slots", slots(a) != slots(b)),
        ("phase", a.experts.phase != b.experts.phase),
        ("tokens", a.experts.tokens != b.experts.tokens),
        ("groups", a.experts.groups != b.experts.groups),
    ];
    other_setting(&differ, "loads differ because of these, too")
}

/// A row for each layer of either, and as documents.
fn layers(a: &PlanDocument, b: &PlanDocument, rows: Rows, page: &Page) -> Vec<Value> {
    let (of_a, of_b) = (by_layer(a), by_layer(b));
    let layers: BTreeSet<u32> = of_a.keys().chain(of_b.keys()).copied().collect();
    let load = |plan: &PlanDocument, entry: Option<&&ExpertLayersDocument>| {
        entry.map(|entry| entry.greatest_load * f64::from(plan.parallelism.expert))
    };
    let shown =
        |load: Option<f64>| load.map_or_else(|| "-".to_owned(), |load| format!("{load:.4}"));
    let columns = Column::row("#layer | #A | #B | #moved copies");
    let mut table = Vec::new();
    let mut documents = Vec::new();
    for layer in layers {
        let (one, two) = (of_a.get(&layer), of_b.get(&layer));
        let (x, y) = (load(a, one), load(b, two));
        let moved = one.zip(two).map(|(one, two)| moved(one, two));
        let words = moved.map_or_else(|| "-".to_owned(), |n| n.to_string());
        table.push(vec![layer.to_string(), shown(x), shown(y), words]);
        documents.push(json!({ "layer": layer, "a": x, "b": y, "moved": moved }));
    }
    rows.table(&columns, table.into_iter(), page);
    documents
}

fn by_layer(plan: &PlanDocument) -> BTreeMap<u32, &ExpertLayersDocument> {
    let all = plan.experts.layers.iter();
    all.flat_map(|entry| entry.layers.iter().map(move |layer| (*layer, entry))).collect()
}

/// Greatest load over the mean of all devices, the mean of all layers.
fn mean(plan: &PlanDocument) -> f64 {
    let all = by_layer(plan);
    let sum: f64 = all.values().map(|entry| entry.greatest_load).sum();
    sum * f64::from(plan.parallelism.expert) / all.len().max(1) as f64
}

/// Copies of B that lie where A has none of the expert.
fn moved(a: &ExpertLayersDocument, b: &ExpertLayersDocument) -> usize {
    let mut n = 0;
    for (expert, devices) in b.devices_of_expert.iter().enumerate() {
        let mut there = a.devices_of_expert.get(expert).cloned().unwrap_or_default();
        for device in devices {
            match there.iter().position(|other| other == device) {
                Some(at) => drop(there.swap_remove(at)),
                None => n += 1,
            }
        }
    }
    n
}
