//! A plan of nano-batches as people read it: by entry of layers, what takes how long.

use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use serde_json::{Value, json};

use super::NanoBatches;
use super::decided::{self, Entry, piece, timetable};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::kinds::cells::check_layer;
use crate::kinds::kind::{Asked, Legal};

/// What a step takes; when the pieces of one layer run, where one is named.
///
/// # Errors
/// `unknown-layer`.
pub fn explain(on: Legal<'_, NanoBatches>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { layer, rows, page, .. } = *query;
    let entries = on.judged;
    if let Some(layer) = layer {
        check_layer(layer, on.setting.layers.len())?;
        return Ok(of_layer(entries, layer, rows, page));
    }
    let documents = table(entries, rows, page);
    let pairs = pairs(entries, rows, page);
    thresholds(on.plan, page);
    let [seconds, bound_s, unsplit_s] = decided::seconds(entries);
    Ok(json!({
        "seconds": seconds, "bound_seconds": bound_s, "unsplit_seconds": unsplit_s,
        "layers": documents, "beside": pairs,
    }))
}

/// When each piece of a layer of the steady state runs.
fn of_layer(entries: &[Entry], layer: u32, rows: Rows, page: &Page) -> Value {
    let found = entries.iter().find(|entry| entry.layers.contains(&layer));
    let columns = Column::row("stream | op | #nano-batch | #alone, ms | #start, ms | #end, ms");
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    if let Some(entry) = found {
        let period = &entry.cut.split.period;
        let mut times = timetable(entry);
        times.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]).then(a.0.cmp(&b.0)));
        for (at, [start_s, end_s]) in times {
            let (piece, step) = (piece(&entry.cut, at), period.chains[at.0][at.1]);
            let stream = period.streams[step.stream].name();
            let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
            table.push(vec![
                stream.to_owned(),
                piece.op.clone(),
                piece.nano_batch.to_string(),
                ms(step.seconds),
                ms(start_s),
                ms(end_s),
            ]);
            documents.push(json!({
                "stream": stream, "op": piece.op, "nano_batch": piece.nano_batch,
                "part": piece.part, "seconds": step.seconds, "start_s": start_s, "end_s": end_s,
            }));
        }
        page.line(&format!(
            "layer {layer} in the steady state: the next one starts {:.3} ms later",
            entry.cycle_s * 1e3
        ));
    }
    rows.table(&columns, table.into_iter(), page);
    json!({ "layer": layer, "pieces": documents })
}

/// A row for each entry, as many as are shown; all of them as a document.
pub fn table(entries: &[Entry], rows: Rows, page: &Page) -> Vec<Value> {
    let columns = Column::row(
        "layers | samples | #a layer, ms | #not cut, ms | #bound, ms | #compute \
             | #links",
    );
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for entry in entries {
        let busy = [0, 1].map(|stream| entry.cut.split.period.stream_s(stream));
        let share = |busy_s: f64| match entry.cycle_s > 0.0 {
            true => format!("{:.0} %", 100.0 * busy_s / entry.cycle_s),
            false => "-".to_owned(),
        };
        let samples = entry.cut.split.samples.iter().map(u64::to_string).collect::<Vec<_>>();
        let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
        table.push(vec![
            ranges(&entry.layers),
            samples.join(" + "),
            ms(entry.cycle_s),
            ms(entry.unsplit_s),
            ms(entry.bound_s),
            share(busy[0]),
            share(busy[1]),
        ]);
        documents.push(json!({
            "layers": entry.layers, "samples": entry.cut.split.samples,
            "cycle_seconds": entry.cycle_s, "unsplit_seconds": entry.unsplit_s,
            "bound_seconds": entry.bound_s,
            "compute_seconds": busy[0], "link_seconds": busy[1], "pieces": entry.cut.names,
        }));
    }
    rows.table(&columns, table.into_iter(), page);
    page.line("shares are work alone over the time of a layer");
    documents
}

/// Pieces that may run at the same time, and how they share the device.
fn pairs(entries: &[Entry], rows: Rows, page: &Page) -> Vec<Value> {
    let columns =
        Column::row("layers | computes | on links | mode | #both alone, ms | #both together, ms");
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for entry in entries {
        let alone = |at: (usize, usize)| entry.cut.split.period.chains[at.0][at.1].seconds;
        for ([compute, exchange], shared) in &entry.cut.beside {
            let name = |at: (usize, usize)| {
                let piece = piece(&entry.cut, at);
                format!("{}({})", piece.op, piece.nano_batch)
            };
            let mode = shared.mode.map_or("turns", |mode| mode.name());
            let on = shared.multiprocessors;
            let alone_s = alone(*compute) + alone(*exchange);
            table.push(vec![
                ranges(&entry.layers),
                name(*compute),
                name(*exchange),
                on.map_or(mode.to_owned(), |n| format!("{mode}, {n} multiprocessors")),
                format!("{:.3}", alone_s * 1e3),
                format!("{:.3}", shared.seconds * 1e3),
            ]);
            documents.push(json!({
                "layers": entry.layers, "compute": name(*compute), "exchange": name(*exchange),
                "mode": mode, "multiprocessors": on, "alone_seconds": alone_s,
                "together_seconds": shared.seconds,
            }));
        }
    }
    if !table.is_empty() {
        rows.table(&columns, table.into_iter(), page);
    }
    documents
}

/// From how many tokens on steps are cut.
pub fn thresholds(plan: &PlanDocument, page: &Page) {
    let Some(serving) = &plan.experts.serving else { return };
    for phase in [StepPhase::Prefill, StepPhase::Decode] {
        let of_phase =
            serving.thresholds.iter().filter(|threshold| StepPhase::from(threshold.phase) == phase);
        let each = of_phase.map(|threshold| match threshold.tokens {
            0 => format!("{}", threshold.nano_batches),
            tokens => format!("{} from {tokens} tokens on", threshold.nano_batches),
        });
        let each = each.collect::<Vec<_>>().join(", ");
        page.line(&format!("nano-batches of a step of {} on a replica: {each}", phase.name()));
    }
}
