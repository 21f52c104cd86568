//! `explain` of experts in slots: what layers hold and fetch, and what lies on a device.

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::figures::{hit_ratio, sentences, sums, table};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::suggest;
use crate::answer::words::ranges;
use crate::kinds::experts::on_model::OnModel;

/// What is said of a legal plan.
///
/// # Errors
/// `unknown-device`.
pub fn explain(
    document: &PlanDocument,
    (on, device): (&OnModel<'_>, Option<&str>),
    rows: Rows,
    page: &Page,
) -> Result<(), Diagnostic> {
    let held = match device {
        Some(name) => Some(held(on, name, rows, page)?),
        None => {
            table(document, rows, page);
            None
        }
    };
    sentences(document).iter().for_each(|line| page.line(line));
    let sum = sums(&document.experts);
    page.document(&json!({
        "hit_ratio": hit_ratio(&sum),
        "missed": sum.missed,
        "ahead": sum.ahead,
        "host": document.experts.host,
        "device": held,
        "layers": document.experts.layers.iter().map(layer).collect::<Vec<_>>(),
    }));
    Ok(())
}

fn layer(own: &ExpertLayersDocument) -> Value {
    json!({
        "layers": own.layers,
        "slots": own.slots,
        "resident": own.resident,
        "prefetch": own.prefetch,
        "cache": own.cache,
        "hit_ratio": hit_ratio(&own.cache.unwrap_or_default()),
    })
}

/// What a device holds of each layer at first.
fn held(on: &OnModel<'_>, name: &str, rows: Rows, page: &Page) -> Result<Value, Diagnostic> {
    let names = || on.setting.cluster.devices.iter().map(|own| own.name.as_str());
    if !names().any(|own| own == name) {
        return Err(Diagnostic::usage(
            "unknown-device",
            format!("the plan uses no device `{name}`"),
        )
        .hint(suggest::hint(name, names())));
    }
    let columns =
        [Column::Text("layer"), Column::Number("slots"), Column::Text("experts at first")];
    let mut table = Vec::new();
    let mut told = Vec::new();
    for own in &on.document.experts.layers {
        let is_here = |expert: &&u32| {
            let devices = own.devices_of_expert.get(**expert as usize);
            devices.is_some_and(|devices| devices.iter().any(|own| own == name))
        };
        let experts: Vec<u32> = own.resident.iter().filter(is_here).copied().collect();
        table.push(vec![ranges(&own.layers), own.slots.to_string(), ranges(&experts)]);
        told.push(json!({ "layers": own.layers, "slots": own.slots, "experts": experts }));
    }
    rows.table(&columns, table.into_iter(), page);
    Ok(json!({ "name": name, "layers": told }))
}
