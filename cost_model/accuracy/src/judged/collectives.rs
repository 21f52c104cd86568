//! Collectives: closed forms and tables on measured curves, and published training throughput.

use cost_model::links::collective::curve::{Curve, Form};
use cost_model::links::collective::table::{Interpolation, Table, TableKey, tables};
use cost_model::numeric::score::{Score, score};
use ir::measured::CollectiveRow;
use ir::units::Bytes;

use super::published;
use crate::line::{Line, Published};

pub mod exchange;
mod models;

/// A kind of curves, told by the library.
struct Kind {
    part: &'static str,
    holds: fn(&TableKey) -> bool,
    /// Mean errors to reach in percent: closed form, interpolation.
    targets: Option<(f64, f64)>,
    published: &'static [Published],
}

/// Sweeps of one file format carry `nccl/` or `oneccl/` and a version; sizes of the other sources
/// begin at 1 MB or are not given with their unit.
const KINDS: [Kind; 4] = [
    Kind {
        part: "collectives in a node, NCCL",
        holds: |key| key.library.contains("ccl/"),
        targets: Some((4.5, 4.4)),
        published: &published::NCCL,
    },
    Kind {
        part: "custom all-reduce",
        holds: |key| {
            ["custom", "trtllm"].iter().any(|name| key.library.to_lowercase().contains(name))
        },
        targets: None,
        published: &published::CUSTOM,
    },
    Kind {
        part: "nccl-tests all-reduce from 1 MB",
        holds: |key| key.library.starts_with("nccl-tests"),
        targets: None,
        published: &published::FROM_1_MB,
    },
    Kind {
        part: "torch.distributed, unit of sizes unknown",
        holds: |key| key.library.starts_with("torch.distributed"),
        targets: None,
        published: &published::NO_UNIT,
    },
];

/// The lines of the table: closed forms in sample, and interpolation with each inner point left out
/// in turn, per kind of curves; then published throughput of data-parallel training.
#[must_use]
pub fn lines(rows: &[CollectiveRow]) -> Vec<Line> {
    let tables = tables(rows);
    let mut lines = Vec::new();
    for kind in &KINDS {
        let chosen: Vec<(&TableKey, &Table)> =
            tables.iter().filter(|(key, _)| (kind.holds)(key)).collect();
        if !chosen.is_empty() {
            lines.extend(kind_lines(kind, &chosen));
        }
    }
    lines.extend(exchange::lines());
    lines
}

fn kind_lines(kind: &Kind, tables: &[(&TableKey, &Table)]) -> Vec<Line> {
    let line = |way, note: &str, score, n_constants, target, peers| Line {
        table: "collectives",
        part: kind.part.to_owned(),
        way,
        score,
        n_constants,
        target,
        peers,
        note: format!("{} curves; {note}", tables.len()),
        published: kind.published.to_vec(),
        ..Line::default()
    };
    let plain = in_sample(tables, Form::Line).mape;
    let root = in_sample(tables, Form::Root).mape;
    let two = in_sample(tables, Form::TwoLines);
    let others = |way: &'static str, interpolation| (way, left_out(tables, interpolation).mape);
    vec![
        line(
            "in sample",
            "two lines with a break, per curve",
            two,
            Form::TwoLines.n_constants(),
            kind.targets.map(|targets| targets.0),
            vec![("a + n/B", plain), ("a + n/B + c sqrt n", root)],
        ),
        line(
            "leave one point out",
            "linear in bytes from point to point",
            left_out(tables, Interpolation::Linear),
            0,
            kind.targets.map(|targets| targets.1),
            vec![
                others("log-log", Interpolation::LogLog),
                others("monotone cubic", Interpolation::MonotoneCubic),
            ],
        ),
    ]
}

fn name(key: &TableKey, bytes: f64) -> String {
    let TableKey { system, library, operation, ranks, .. } = key;
    format!("{system} {library} {operation:?} of {ranks}, {bytes} bytes")
}

fn size(bytes: f64) -> Bytes {
    // A float cast saturates.
    Bytes(bytes as u64)
}

fn in_sample(tables: &[(&TableKey, &Table)], form: Form) -> Score {
    let fitted = tables
        .iter()
        .filter_map(|(key, table)| Curve::fit(table, form).map(|curve| (*key, *table, curve)));
    score(fitted.flat_map(|(key, table, curve)| {
        let judge = move |(n, t): &(f64, f64)| (curve.time(size(*n)), *t, name(key, *n));
        table.points().iter().map(judge)
    }))
}

fn left_out(tables: &[(&TableKey, &Table)], interpolation: Interpolation) -> Score {
    score(tables.iter().flat_map(|(key, table)| {
        let inner = table.points().iter().enumerate().skip(1);
        inner.take(table.points().len().saturating_sub(2)).map(move |(index, (n, t))| {
            let time = table.without(index).time(size(*n), interpolation);
            (time.unwrap_or(f64::NAN), *t, name(key, *n))
        })
    }))
}

#[cfg(test)]
mod tests {
    use ir::measured::CollectiveOperation;

    use super::*;

    fn row(library: &str, power: u32) -> CollectiveRow {
        CollectiveRow {
            system: "a".to_owned(),
            library: library.to_owned(),
            operation: CollectiveOperation::AllReduce,
            ranks: 8,
            ranks_per_node: 8,
            bytes: 1 << power,
            time_s: 1e-5 + f64::from(1 << power) / 1e11,
        }
    }

    #[test]
    fn curves_of_the_plain_law_are_met_in_all_ways() {
        let libraries = ["nccl/2.27", "oneccl/2021.17", "vLLM_custom_graph/0.24"];
        let rows: Vec<CollectiveRow> =
            libraries.iter().flat_map(|lib| (9..29).map(|power| row(lib, power))).collect();
        let lines = lines(&rows);
        let nccl: Vec<&Line> = lines.iter().filter(|line| line.part == KINDS[0].part).collect();
        assert_eq!(nccl.iter().map(|line| line.score.n).collect::<Vec<_>>(), [40, 36]);
        assert!(nccl.iter().all(|line| line.score.worst < 1e-6), "{nccl:?}");
        assert_eq!(lines.iter().filter(|line| line.part == KINDS[1].part).count(), 2);
        assert!(lines.iter().all(|line| line.part != KINDS[2].part));
    }
}
