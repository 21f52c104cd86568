//! `explain` of a placement of experts: loads by layer, and what a device holds.

use cost_model::experts::{loads, shares};
use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::figures::{Figures, table};
use super::on_model::{OnModel, read};
use super::verify::violations;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::answer::{suggest, violations as judged};
use crate::kinds::slots;
use crate::request::PlanOnModel;
use crate::request::subject::Subject;

/// `explain`.
///
/// # Errors
/// Those of reading; `not-for-experts` for ops and transfers, `unknown-device`.
pub fn explain(
    document: &PlanDocument,
    (on, subject): (&PlanOnModel, &Subject),
    page: &Page,
) -> CommandResult {
    let rows = Rows::of(on.target.all);
    let device = match subject {
        Subject::Op(_) | Subject::Transfer(_) => {
            let message = "a placement of experts has no ops: `--op` and `--transfer` name none";
            return Err(Diagnostic::usage("not-for-experts", message)
                .hint("leave them out, or name a device with --device"));
        }
        Subject::Step { longest: Some(_) } => {
            let message = "a placement of experts has no critical path: `--longest` names none";
            return Err(Diagnostic::usage("not-for-experts", message).hint("leave it out"));
        }
        Subject::Device(name) => Some(name),
        Subject::Step { .. } => None,
    };
    let on = read(document, &on.model, &on.target)?;
    let broken = violations(&on);
    page.warnings(&on.warnings);
    if let Some(exit) = judged::instead(&broken, rows, page) {
        return Ok(exit);
    }
    if document.experts.host.is_some() {
        slots::explain::explain(document, (&on, device.map(String::as_str)), rows, page)?;
        return Ok(Exit::DONE);
    }
    let figures = Figures::of(document, &on.setting.experts);
    let held = match device {
        Some(name) => Some(held(&on, name, rows, page)?),
        None => {
            table(document, rows, page);
            None
        }
    };
    page.line(&figures.sentence(document, &on.setting.experts));
    page.document(&json!({
        "load": figures.load,
        "bound": figures.bound,
        "busiest_visits": figures.busiest_visits,
        "even_visits": figures.even_visits,
        "device": held,
        "layers": document.experts.layers.iter().map(layer).collect::<Vec<_>>(),
    }));
    Ok(Exit::DONE)
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
fn held(on: &OnModel<'_>, name: &str, rows: Rows, page: &Page) -> Result<Value, Diagnostic> {
    let names = || on.setting.cluster.devices.iter().map(|own| own.name.as_str());
    let device = names().position(|own| own == name).ok_or_else(|| {
        Diagnostic::usage("unknown-device", format!("the plan uses no device `{name}`"))
            .hint(suggest::hint(name, names()))
    })?;
    let columns = [Column::Text("layers"), Column::Number("load"), Column::Text("experts, copies")];
    let n_devices = on.setting.host.len();
    let mut table = Vec::new();
    let mut told = Vec::new();
    for (own, copies) in on.document.experts.layers.iter().zip(&on.copies) {
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
