//! `explain` of a placement of experts: loads by layer, and what a device holds.

use cost_model::experts::{loads, shares};
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::Experts;
use super::figures::{Figures, table};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::kinds::expert_layers as shared;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// Loads by layer, or what a device holds.
///
/// # Errors
/// `unknown-device`.
pub fn explain(on: Legal<'_, Experts>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { subject, rows, page, .. } = *query;
    let figures = Figures::of(on.plan, &on.setting.experts);
    let device = match subject {
        Subject::Device(name) => Some(held(on, name, rows, page)?),
        _ => {
            table(on.plan, rows, page);
            None
        }
    };
    page.line(&figures.sentence(on.plan, &on.setting.experts));
    Ok(json!({
        "load": figures.load,
        "bound": figures.bound,
        "busiest_visits": figures.busiest_visits,
        "even_visits": figures.even_visits,
        "device": device,
        "layers": on.plan.experts.layers.iter().map(layer).collect::<Vec<_>>(),
    }))
}

fn layer(entry: &ExpertLayersDocument) -> Value {
    let copies: Vec<usize> = entry.devices_of_expert.iter().map(Vec::len).collect();
    json!({
        "layers": entry.layers,
        "slots": entry.slots,
        "copies_of_expert": copies,
        "greatest_load": entry.greatest_load,
        "bound": entry.bound,
        "bound_method": entry.bound_method,
    })
}

/// What a device holds of each layer.
fn held(on: Legal<'_, Experts>, name: &str, rows: Rows, page: &Page) -> Result<Value, Diagnostic> {
    let device = shared::device(on.setting, name)?;
    let columns = [Column::Text("layers"), Column::Number("load"), Column::Text("experts, copies")];
    let n_devices = on.setting.host.len();
    let mut table = Vec::new();
    let mut documents = Vec::new();
    for (entry, copies) in on.plan.experts.layers.iter().zip(&on.judged.copies) {
        let shares = shares(&entry.visits).unwrap_or_default();
        let load = loads(&shares, copies, n_devices).get(device).copied().unwrap_or_default();
        let here = copies.iter().map(|devices| devices.iter().filter(|at| **at == device).count());
        let present: Vec<(usize, usize)> = here.enumerate().filter(|(_, n)| *n > 0).collect();
        let words = present.iter().map(|(expert, here)| match copies[*expert].len() {
            1 => expert.to_string(),
            n => format!("{expert} ({here} of {n})"),
        });
        table.push(vec![
            ranges(&entry.layers),
            format!("{:.4}", load * n_devices as f64),
            words.collect::<Vec<_>>().join(", "),
        ]);
        let (experts, here): (Vec<usize>, Vec<usize>) = present.into_iter().unzip();
        let layer = json!({
            "layers": entry.layers, "load": load, "experts": experts, "copies": here,
        });
        documents.push(layer);
    }
    rows.table(&columns, table.into_iter(), page);
    page.line(&format!("what `{name}` holds; loads over the mean of all devices"));
    Ok(json!({ "name": name, "layers": documents }))
}
