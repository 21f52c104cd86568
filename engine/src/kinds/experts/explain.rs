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
pub fn explain(on: Legal<'_, Experts>, asked: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { subject, rows, page, .. } = *asked;
    let figures = Figures::of(on.plan, &on.setting.experts);
    let held = match subject {
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
        "device": held,
        "layers": on.plan.experts.layers.iter().map(layer).collect::<Vec<_>>(),
    }))
}

fn layer(own: &ExpertLayersDocument) -> Value {
    let copies: Vec<usize> = own.devices_of_expert.iter().map(Vec::len).collect();
    json!({
        "layers": own.layers,
        "slots": own.slots,
        "copies_of_expert": copies,
        "greatest_load": own.greatest_load,
        "bound": own.bound,
        "bound_method": own.bound_method,
    })
}

/// What a device holds of each layer.
fn held(on: Legal<'_, Experts>, name: &str, rows: Rows, page: &Page) -> Result<Value, Diagnostic> {
    let device = shared::device(on.setting, name)?;
    let columns = [Column::Text("layers"), Column::Number("load"), Column::Text("experts, copies")];
    let n_devices = on.setting.host.len();
    let mut table = Vec::new();
    let mut told = Vec::new();
    for (own, copies) in on.plan.experts.layers.iter().zip(&on.judged.copies) {
        let shares = shares(&own.visits).unwrap_or_default();
        let load = loads(&shares, copies, n_devices).get(device).copied().unwrap_or_default();
        let here = copies.iter().map(|own| own.iter().filter(|at| **at == device).count());
        let held: Vec<(usize, usize)> = here.enumerate().filter(|(_, n)| *n > 0).collect();
        let words = held.iter().map(|(expert, here)| match copies[*expert].len() {
            1 => expert.to_string(),
            n => format!("{expert} ({here} of {n})"),
        });
        table.push(vec![
            ranges(&own.layers),
            format!("{:.4}", load * n_devices as f64),
            words.collect::<Vec<_>>().join(", "),
        ]);
        let (experts, here): (Vec<usize>, Vec<usize>) = held.into_iter().unzip();
        let layer = json!({
            "layers": own.layers, "load": load, "experts": experts, "copies": here,
        });
        told.push(layer);
    }
    rows.table(&columns, table.into_iter(), page);
    page.line(&format!("what `{name}` holds; loads over the mean of all devices"));
    Ok(json!({ "name": name, "layers": told }))
}
