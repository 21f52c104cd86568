//! `validate`: how right the cost model is on published measurements.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use cost_model::accuracy;
use cost_model::score::Line;
use importers::measurements;
use ir::diagnostic::{Blame, Diagnostic};
use ir::measured::GpuFacts;
use serde_json::{Value, json};

use crate::commands::{CommandResult, Exit};
use crate::measure_flags::ValidateArgs;
use crate::printer::Printer;
use crate::table::Column;

/// Data sheet figures by GPU name.
type Facts = BTreeMap<String, GpuFacts>;
/// Reads one table and judges a part of the cost model on it.
type Part = fn(&Path) -> Result<Vec<Line>, Diagnostic>;

/// The slowest first, so that two cores end together.
const PARTS: [Part; 5] = [overlap, gemm, attention, moe, collectives];

pub(crate) fn run(args: &ValidateArgs, printer: &Printer) -> CommandResult {
    let tables = args.folder.join("measurements");
    let mut lines = Vec::new();
    for part in judged(&tables)? {
        lines.extend(part?);
    }
    print(&lines, printer);
    printer.document(&json!({ "lines": lines.iter().map(document).collect::<Vec<_>>() }));
    Ok(Exit::DONE)
}

/// Every part, on a thread of its own.
fn judged(tables: &Path) -> Result<Vec<Result<Vec<Line>, Diagnostic>>, Diagnostic> {
    thread::scope(|scope| {
        let parts: Vec<_> = PARTS.iter().map(|part| scope.spawn(|| part(tables))).collect();
        parts
            .into_iter()
            .map(|part| {
                part.join().map_err(|_| {
                    Diagnostic::error(Blame::Internal, "internal", "a part of the table failed")
                })
            })
            .collect()
    })
}

fn gemm(tables: &Path) -> Result<Vec<Line>, Diagnostic> {
    let rows = measurements::gemm::read(&tables.join("gemm.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::gemm::lines(&rows, &facts))
}

fn attention(tables: &Path) -> Result<Vec<Line>, Diagnostic> {
    let rows = measurements::attention::read(&tables.join("attention.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::attention::lines(&rows, &facts))
}

fn moe(tables: &Path) -> Result<Vec<Line>, Diagnostic> {
    let rows = measurements::moe::read(&tables.join("moe.csv"))?;
    let facts = facts(rows.iter().map(|row| row.gpu.as_str()))?;
    Ok(accuracy::moe::lines(&rows, &facts))
}

fn collectives(tables: &Path) -> Result<Vec<Line>, Diagnostic> {
    let rows = measurements::collectives::read(&tables.join("collectives.csv"))?;
    Ok(accuracy::collectives::lines(&rows))
}

fn overlap(tables: &Path) -> Result<Vec<Line>, Diagnostic> {
    let rows = measurements::overlap::read(&tables.join("overlap.csv"))?;
    Ok(accuracy::overlap::lines(&rows))
}

fn facts<'a>(gpus: impl Iterator<Item = &'a str>) -> Result<Facts, Diagnostic> {
    let mut all = Facts::new();
    for gpu in gpus {
        if !all.contains_key(gpu)
            && let Some(facts) = measurements::devices::facts(gpu)?
        {
            all.insert(gpu.to_owned(), facts);
        }
    }
    Ok(all)
}

fn print(lines: &[Line], printer: &Printer) {
    let columns = [
        Column::Name("part"),
        Column::Name("way"),
        Column::Number("rows"),
        Column::Number("mean"),
        Column::Number("median"),
        Column::Number("p90"),
        Column::Number("to reach"),
        Column::Text(""),
    ];
    let row = |line: &Line| {
        let missed = line.target.is_some_and(|target| line.score.mape > target);
        vec![
            line.part.clone(),
            line.way.to_owned(),
            line.score.n.to_string(),
            percent(line.score.mape),
            percent(line.score.median),
            percent(line.score.p90),
            line.target.map_or_else(|| "-".to_owned(), percent),
            if missed { "missed" } else { "" }.to_owned(),
        ]
    };
    printer.table(&columns, lines.iter().map(row).collect());
    let (judged, reached) = lines.iter().filter_map(|line| Some((line, line.target?))).fold(
        (0, 0),
        |(judged, reached), (line, target)| {
            (judged + 1, reached + usize::from(line.score.mape <= target))
        },
    );
    printer.line(&format!(
        "errors of predicted time; {reached} of {judged} lines with a figure to reach do"
    ));
}

fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

fn document(line: &Line) -> Value {
    json!({
        "table": line.table,
        "part": line.part,
        "way": line.way,
        "rows": line.score.n,
        "mean_percent": line.score.mape,
        "median_percent": line.score.median,
        "p90_percent": line.score.p90,
        "worst_percent": line.score.worst,
        "worst_row": line.score.worst_row,
        "constants_per_system": line.n_constants,
        "to_reach_percent": line.target,
        "peers": line.peers.iter().map(|(name, error)| json!({ "name": name, "mean_percent": error })).collect::<Vec<_>>(),
        "note": line.note,
    })
}
