//! Pipelining schedules of torch: one row per rank, one action per cell. They say when stages run,
//! not what a model is, so a valid one is recognised and refused.

use std::collections::{BTreeMap, HashSet};

use ir::diagnostic::Diagnostic;

use crate::source::{self, Source};
use crate::{Import, ImportOptions};

/// Largest schedule, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Actions that name a micro-batch.
const WITH_MICRO_BATCH: [&str; 10] =
    ["F", "B", "I", "W", "SEND_F", "RECV_F", "SEND_B", "RECV_B", "WAIT_SEND_F", "WAIT_SEND_B"];

/// Actions of a whole stage.
const WITHOUT_MICRO_BATCH: [&str; 4] = ["UNSHARD", "RESHARD", "REDUCE_GRAD", "WAIT_REDUCE_GRAD"];

/// Checks a schedule.
///
/// # Errors
/// `bad-action`, `stage-on-two-ranks`, `backward-before-forward`, `invalid-csv`, `empty-file`; and
/// `unsupported-format` for a valid one.
pub(crate) fn read(source: &dyn Source, _: &str, _: &ImportOptions) -> Result<Import, Diagnostic> {
    check(&source::read_all(source, MAX_BYTES)?)?;
    Err(Diagnostic::input(
        "unsupported-format",
        "a pipelining schedule is recognised, but it holds no model and cannot be planned",
    )
    .hint("give the model that it schedules, exported to ONNX"))
}

fn check(bytes: &[u8]) -> Result<(), Diagnostic> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut rank_of: BTreeMap<u32, usize> = BTreeMap::new();
    let mut n_rows = 0;
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| {
            Diagnostic::input("invalid-csv", format!("this is no valid CSV: {error}"))
        })?;
        n_rows += 1;
        let mut forwards: HashSet<(u32, u32)> = HashSet::new();
        for (column, cell) in record.iter().enumerate() {
            let cell = cell.trim();
            let actions = actions(cell).ok_or_else(|| bad_action(cell, row, column))?;
            for action in actions {
                let rank = *rank_of.entry(action.stage).or_insert(row);
                if rank != row {
                    return Err(Diagnostic::input(
                        "stage-on-two-ranks",
                        format!("stage {} stands on ranks {rank} and {row}", action.stage),
                    ));
                }
                let Some(micro_batch) = action.micro_batch else { continue };
                let key = (action.stage, micro_batch);
                if action.kind == "F" {
                    forwards.insert(key);
                } else if matches!(action.kind, "B" | "I" | "W") && !forwards.contains(&key) {
                    return Err(Diagnostic::input(
                        "backward-before-forward",
                        format!("backward before forward: `{cell}` at row {row} column {column}"),
                    ));
                }
            }
        }
    }
    if n_rows == 0 {
        return Err(Diagnostic::input("empty-file", "the schedule is empty"));
    }
    Ok(())
}

fn bad_action(cell: &str, row: usize, column: usize) -> Diagnostic {
    let shown: String = cell.chars().take(40).collect();
    Diagnostic::input("bad-action", format!("bad action `{shown}` at row {row} column {column}"))
        .fact("row", row)
        .fact("column", column)
        .hint("actions look like 0F0, 0B0, 0I0, 0W0 or (0F1;0B0)OVERLAP_F_B")
}

struct Action<'a> {
    stage: u32,
    kind: &'a str,
    micro_batch: Option<u32>,
}

/// The actions of a cell, none for an empty one; `None` if it does not follow the grammar.
fn actions(cell: &str) -> Option<Vec<Action<'_>>> {
    if cell.is_empty() {
        return Some(Vec::new());
    }
    if let Some(rest) = cell.strip_prefix('(') {
        let inner = rest.strip_suffix(")OVERLAP_F_B")?;
        return inner.split(';').map(|part| simple(part.trim())).collect();
    }
    simple(cell).map(|action| vec![action])
}

fn simple(text: &str) -> Option<Action<'_>> {
    let kind_start = text.find(|c: char| !c.is_ascii_digit())?;
    let (stage, rest) = text.split_at(kind_start);
    let kind_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (kind, micro_batch) = rest.split_at(kind_end);
    let stage = stage.parse().ok()?;
    if micro_batch.is_empty() {
        let is_whole = WITHOUT_MICRO_BATCH.contains(&kind);
        return is_whole.then_some(Action { stage, kind, micro_batch: None });
    }
    let micro_batch = Some(micro_batch.parse().ok()?);
    WITH_MICRO_BATCH.contains(&kind).then_some(Action { stage, kind, micro_batch })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn valid_schedules_pass() {
        let one_f_one_b = "0F0,0F1,,,0B0,0F2,0B1,0F3,0B2,0B3\n,1F0,1B0,1F1,1B1,1F2,1B2,1F3,1B3\n";
        check(one_f_one_b.as_bytes()).unwrap();
        check(b"0F0,0SEND_F0,0WAIT_SEND_F0,0RECV_B0,0I0,0W0,0REDUCE_GRAD,0WAIT_REDUCE_GRAD")
            .unwrap();
        check(b"0F0,0F1,(0B0;0F2)OVERLAP_F_B").unwrap();
    }

    #[test]
    fn faults_have_codes() {
        let code = |text: &str| check(text.as_bytes()).unwrap_err().code;
        for bad in [
            "0Q0",
            "0f0",
            "0F",
            "F0",
            "0F0x",
            "0UNSHARD1",
            "99999999999F0",
            "(0F0",
            "()OVERLAP_F_B",
        ] {
            assert_eq!(code(bad), "bad-action", "{bad}");
        }
        assert_eq!(code("0F0\n0B0"), "stage-on-two-ranks");
        assert_eq!(code("0W0,0F0"), "backward-before-forward");
        assert_eq!(code(""), "empty-file");
    }
}
