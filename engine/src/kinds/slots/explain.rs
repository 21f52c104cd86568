//! `explain` of offloaded experts: what layers hold and fetch, and what lies on a device.

use documents::plan::experts::ExpertLayersDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::Slots;
use super::figures::{hit_ratio, sentences, sums, table};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::kinds::expert_layers as shared;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// What layers hold and fetch, or what lies on a device.
///
/// # Errors
/// `unknown-device`.
pub fn explain(on: Legal<'_, Slots>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { subject, rows, page, .. } = *query;
    let device = match subject {
        Subject::Device(name) => Some(held(on, name, rows, page)?),
        _ => {
            table(on.plan, rows, page);
            None
        }
    };
    sentences(on.plan).iter().for_each(|line| page.line(line));
    let sum = sums(&on.plan.experts);
    Ok(json!({
        "hit_ratio": hit_ratio(&sum),
        "missed": sum.missed,
        "ahead": sum.ahead,
        "host": on.plan.experts.host,
        "device": device,
        "layers": on.plan.experts.layers.iter().map(layer).collect::<Vec<_>>(),
    }))
}

fn layer(entry: &ExpertLayersDocument) -> Value {
    json!({
        "layers": entry.layers,
        "slots": entry.slots,
        "resident": entry.resident,
        "prefetch": entry.prefetch,
        "cache": entry.cache,
        "hit_ratio": hit_ratio(&entry.cache.unwrap_or_default()),
    })
}

/// What a device holds of each layer at first.
fn held(on: Legal<'_, Slots>, name: &str, rows: Rows, page: &Page) -> Result<Value, Diagnostic> {
    shared::device(&on.setting.setting, name)?;
    let columns = Column::row("layer | #slots | experts at first");
    let mut table = Vec::new();
    let mut documents = Vec::new();
    for entry in &on.plan.experts.layers {
        let is_here = |expert: &&u32| {
            let devices = entry.devices_of_expert.get(**expert as usize);
            devices.is_some_and(|devices| devices.iter().any(|device| device == name))
        };
        let experts: Vec<u32> = entry.resident.iter().filter(is_here).copied().collect();
        table.push(vec![ranges(&entry.layers), entry.slots.to_string(), ranges(&experts)]);
        documents.push(json!({ "layers": entry.layers, "slots": entry.slots, "experts": experts }));
    }
    rows.table(&columns, table.into_iter(), page);
    Ok(json!({ "name": name, "layers": documents }))
}
