//! Tables of own steps: CSV files whose rows name the config of their model, their cluster file and
//! their stack.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine::tools::calibrate::steps::judged;
use importers::measurements::steps::{self, OwnStep};
use ir::diagnostic::{Diagnostic, Value};
use ir::measured::StepRow;

use super::Found;
use crate::line::Line;
use crate::readers::Left;

/// Tables of the data folder that other parts read.
const OTHERS: [&str; 2] = ["devices.csv", "links.csv"];

/// Judges the steps of a table, or of each table of a folder.
///
/// # Errors
/// `unreadable-file` for a folder that can't be listed.
pub(super) fn judge(data: &Path) -> Result<Found, Diagnostic> {
    let mut found = Found::default();
    for table in tables(data)? {
        match steps::has_column(&table, "config") {
            Ok(true) => of_table(&table, &mut found),
            Ok(false) => {
                let message = "no column `config`: the table is not judged";
                let of_file = Diagnostic::input("not-steps", message)
                    .fact("file", table.display().to_string())
                    .hint("columns: docs/data.md, steps of `meshwright calibrate --steps`");
                found.left.0.push(of_file);
            }
            Err(error) => found.left.0.push(error),
        }
    }
    Ok(found)
}

fn tables(data: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if data.is_file() {
        return Ok(vec![data.to_owned()]);
    }
    let unreadable = |error: std::io::Error| {
        Diagnostic::input("unreadable-file", format!("cannot read the folder: {error}"))
            .fact("file", data.display().to_string())
    };
    let entries = fs::read_dir(data).map_err(unreadable)?;
    let is_table = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        name.ends_with(".csv") && !OTHERS.contains(&name.as_str())
    };
    let mut tables: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_table).collect();
    tables.sort();
    Ok(tables)
}

fn of_table(table: &Path, found: &mut Found) {
    let folder = table.parent().unwrap_or(Path::new(""));
    let mut groups: BTreeMap<(PathBuf, String), Vec<StepRow>> = BTreeMap::new();
    for OwnStep { cluster, stack, row } in
        found.left.rows(table, |fields| steps::own(fields, folder))
    {
        groups.entry((cluster, stack)).or_default().push(row);
    }
    for ((cluster, stack), rows) in groups {
        found.lines.extend(of_group((table, rows), (&cluster, &stack), &mut found.left));
    }
}

/// Lines of steps of one cluster and stack; a row that is no run is left out.
fn of_group(
    (table, mut rows): (&Path, Vec<StepRow>),
    (cluster, stack): (&Path, &str),
    left: &mut Left,
) -> Vec<Line> {
    while !rows.is_empty() {
        let error = match judged(table, &rows, (cluster, stack)) {
            Ok(judged) => {
                let name = table.file_name().unwrap_or_default().to_string_lossy();
                let n_constants =
                    judged.constants.iter().filter(|own| own.value != own.nominal).count();
                left.0.extend(judged.warnings);
                let line = |way, score, n_constants| Line {
                    table: "runs",
                    part: format!("{name}, {stack}"),
                    way,
                    score,
                    n_constants,
                    ..Line::default()
                };
                return vec![
                    line("nominal", judged.before, 0),
                    line("in sample", judged.after, n_constants as u32),
                ];
            }
            Err(error) => error,
        };
        let line = error.facts.iter().find(|(name, _)| *name == "row");
        let line = match line {
            Some((_, Value::Count(line))) => Some(*line),
            _ => None,
        };
        let n_before = rows.len();
        rows.retain(|row| Some(row.line) != line);
        left.0.push(error);
        if rows.len() == n_before {
            break;
        }
    }
    Vec::new()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const HEAD: &str =
        "model,config,stack,cluster,gpus,tp,pp,micro_batch,global_batch,seq,recompute,iter_s\n";

    fn written(rows: &str) -> (tempfile::TempDir, Found) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("mine.csv", &format!("{HEAD}{rows}"));
        write("one.yaml", "nodes: [{device: h100_sxm5_80gb, devices: 1}]\n");
        write(
            "m.json",
            r#"{"model_type":"llama","hidden_size":2048,"num_hidden_layers":16,"num_attention_heads":32,
            "num_key_value_heads":8,"intermediate_size":8192,"vocab_size":128256}"#,
        );
        let found = judge(folder.path()).unwrap();
        (folder, found)
    }

    /// What can be judged is, each other row is left out with its reason.
    #[test]
    fn one_unknown_row_leaves_the_others() {
        let good = "m,m.json,torchtitan,one.yaml,1,1,1,2,4,4096,none,0.314\n";
        let rows = format!(
            "{good}m,gone.json,torchtitan,one.yaml,1,1,1,2,4,4096,none,0.3\n\
             m,m.json,nobody,one.yaml,1,1,1,2,4,4096,none,0.3\n\
             m,m.json,torchtitan,one.yaml,3,2,1,2,4,4096,none,0.3\n"
        );
        let (_folder, found) = written(&rows);
        let judged: Vec<usize> = found.lines.iter().map(|line| line.score.n).collect();
        assert_eq!(judged, [1, 1]);
        let codes: Vec<&str> = found.left.0.iter().map(|error| error.code).collect();
        assert!(codes.contains(&"bad-cell") && codes.contains(&"unknown-stack"), "{codes:?}");
        assert!(codes.len() >= 3, "{codes:?}");
    }

    #[test]
    fn a_table_of_something_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.csv"), "a,b\n1,2\n").unwrap();
        let found = judge(folder.path()).unwrap();
        assert_eq!((found.lines.len(), found.left.0[0].code), (0, "not-steps"));
    }
}
