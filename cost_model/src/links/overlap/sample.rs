//! Measured overlaps with what each stream takes alone, and rows that cannot be right.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::measured::{OverlapRow, Stream};

use super::alone::{AloneTimes, GroupShape};

/// Streams that take less than this share of the longest of them alone are refused: nothing that a
/// device does makes work shorter than that, so the row names something else than it measured.
pub const LEAST_SHARE: f64 = 0.6;

/// Streams that ran together.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What each takes alone in seconds, in the order of [`Stream::ALL`], 0 where idle.
    pub alone_s: [f64; 4],
    /// What they took together in seconds.
    pub measured_s: f64,
    /// Name of the row.
    pub name: String,
}

/// Samples by device and group shape, and what is not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Samples in the order of the rows.
    pub groups: BTreeMap<(String, GroupShape), Vec<Sample>>,
    /// One warning per device, shape and streams of which rows were refused.
    pub refused: Vec<Diagnostic>,
    /// Rows refused, by device.
    pub n_refused: BTreeMap<String, usize>,
    /// Rows of streams that were not measured alone in their shape.
    pub n_without_alone: usize,
}

/// Pairs rows of several streams with the rows of each stream alone.
#[must_use]
pub fn samples(rows: &[OverlapRow]) -> Samples {
    let alone = AloneTimes::from_rows(rows.iter());
    let mut samples = Samples::default();
    let mut refused: BTreeMap<(String, GroupShape, String), Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.work.iter().flatten().count() > 1) {
        let Some((longest_s, alone_s)) = alone_times(row, &alone) else {
            samples.n_without_alone += 1;
            continue;
        };
        let key = (row.gpu.clone(), GroupShape::of(row));
        if row.time_s < LEAST_SHARE * longest_s {
            *samples.n_refused.entry(key.0.clone()).or_default() += 1;
            refused.entry((key.0, key.1, letters(row))).or_default().push(row.time_s / longest_s);
            continue;
        }
        let sample = Sample { alone_s, measured_s: row.time_s, name: name(row) };
        samples.groups.entry(key).or_default().push(sample);
    }
    samples.refused = refused.iter().map(|(key, shares)| warning(key, shares)).collect();
    samples
}

/// The longest stream alone as measured, and all alone under the law of [`AloneTimes`].
fn alone_times(row: &OverlapRow, times: &AloneTimes) -> Option<(f64, [f64; 4])> {
    let mut alone_s = [0.0; 4];
    let mut longest_s = 0.0_f64;
    for ((entry, stream), work) in alone_s.iter_mut().zip(Stream::ALL).zip(row.work) {
        let Some(work) = work else {
            continue;
        };
        let alone = times.get(&row.gpu, GroupShape::of(row), stream, work)?;
        longest_s = longest_s.max(alone.measured_s);
        *entry = alone.monotone_s;
    }
    Some((longest_s, alone_s))
}

/// Letters of the streams as in the table: compute, collective (G), host in, host out (D).
fn letters(row: &OverlapRow) -> String {
    "CGHD".chars().zip(row.work).filter_map(|(letter, work)| work.map(|_| letter)).collect()
}

fn shape_name(shape: GroupShape) -> String {
    format!("{} GPUs ({}x{})", shape.gpus, shape.ranks_per_node, shape.nodes)
}

fn name(row: &OverlapRow) -> String {
    let work: Vec<String> = row.work.iter().flatten().map(ToString::to_string).collect();
    let shape = shape_name(GroupShape::of(row));
    format!("{} {shape} {} {}", row.gpu, letters(row), work.join(" "))
}

fn warning((gpu, shape, letters): &(String, GroupShape, String), shares: &[f64]) -> Diagnostic {
    let shape = shape_name(*shape);
    let message = format!(
        "{} rows of `{gpu}`, {shape}, streams `{letters}` are shorter than {LEAST_SHARE} of their \
         longest stream alone and are left out",
        shares.len()
    );
    Diagnostic::warning("impossible-overlap", message)
        .fact("gpu", gpu.as_str())
        .fact("shape", shape)
        .fact("streams", letters.as_str())
        .fact("rows", shares.len())
        .fact("least_share", shares.iter().copied().fold(f64::INFINITY, f64::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(work: [Option<u64>; 4], time_s: f64) -> OverlapRow {
        OverlapRow { gpu: "a".to_owned(), gpus: 8, ranks_per_node: 8, nodes: 1, work, time_s }
    }

    #[test]
    fn impossible_rows_are_refused_by_name() {
        let rows = [
            row([Some(5), None, None, None], 1.0),
            row([None, Some(7), None, None], 2.0),
            row([Some(5), Some(7), None, None], 1.19),
            row([Some(5), Some(7), None, None], 1.21),
            row([Some(5), None, Some(1), None], 3.0),
        ];
        let samples = samples(&rows);
        let accepted: Vec<&Sample> = samples.groups.values().flatten().collect();
        assert_eq!(accepted.len(), 1);
        assert_eq!((accepted[0].alone_s, accepted[0].measured_s), ([1.0, 2.0, 0.0, 0.0], 1.21));
        assert_eq!(accepted[0].name, "a 8 GPUs (8x1) CG 5 7");
        assert_eq!((samples.n_refused["a"], samples.n_without_alone), (1, 1));
        assert_eq!(samples.refused.len(), 1);
        assert_eq!(samples.refused[0].code, "impossible-overlap");
        assert!(samples.refused[0].message.contains("`CG`"));
    }
}
