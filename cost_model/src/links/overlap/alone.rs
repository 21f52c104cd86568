//! What each stream takes alone, by device, group shape and amount of work.

use std::collections::BTreeMap;

use ir::measured::{OverlapRow, Stream};

/// GPUs of a run and how its collectives lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupShape {
    /// GPUs of the whole run.
    pub gpus: u64,
    /// GPUs of one collective in one host.
    pub ranks_per_node: u64,
    /// Hosts of one collective.
    pub nodes: u64,
}

impl GroupShape {
    /// The shape of a row.
    #[must_use]
    pub fn of(row: &OverlapRow) -> Self {
        Self { gpus: row.gpus, ranks_per_node: row.ranks_per_node, nodes: row.nodes }
    }
}

/// A measured duration and what it is taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alone {
    /// As measured, in seconds.
    pub measured_s: f64,
    /// The same under the law that more work never takes less time, in seconds.
    pub monotone_s: f64,
}

/// Durations of streams alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AloneTimes {
    tables: BTreeMap<(String, GroupShape, Stream), BTreeMap<u64, Alone>>,
}

impl AloneTimes {
    /// Collects the rows in which one stream ran. Of rows with the same work the last one counts.
    ///
    /// Single measurements are noisy: collectives across hosts were seen to take longer for less
    /// work. Logarithms of neighbours that contradict the law are therefore averaged until none
    /// does (pool adjacent violators).
    #[must_use]
    pub fn from_rows<'a>(rows: impl Iterator<Item = &'a OverlapRow>) -> Self {
        let mut times = Self::default();
        for row in rows {
            let mut active =
                Stream::ALL.into_iter().zip(row.work).filter_map(|(s, w)| Some((s, w?)));
            let (Some((stream, work)), None) = (active.next(), active.next()) else {
                continue;
            };
            let key = (row.gpu.clone(), GroupShape::of(row), stream);
            let alone = Alone { measured_s: row.time_s, monotone_s: row.time_s };
            times.tables.entry(key).or_default().insert(work, alone);
        }
        for table in times.tables.values_mut() {
            let pooled = monotone(table.values().map(|alone| alone.measured_s.ln()));
            for (alone, logarithm) in table.values_mut().zip(pooled) {
                alone.monotone_s = logarithm.exp();
            }
        }
        times
    }

    /// What a stream takes alone: measured, or between two measured amounts on the line through
    /// both, below the least one as the least, above the greatest one in proportion. `None` where
    /// the stream was never measured alone in this shape.
    #[must_use]
    pub fn get(&self, gpu: &str, shape: GroupShape, stream: Stream, work: u64) -> Option<Alone> {
        let table = self.tables.get(&(gpu.to_owned(), shape, stream))?;
        if let Some(same) = table.get(&work) {
            return Some(*same);
        }
        match (table.range(..work).next_back(), table.range(work..).next()) {
            (Some((a, low)), Some((b, high))) => {
                Some(low.mixed(high, (work - a) as f64 / (b - a) as f64))
            }
            (Some((a, low)), None) => Some(low.scaled(work as f64 / (*a).max(1) as f64)),
            (None, least) => least.map(|(_, alone)| *alone),
        }
    }
}

impl Alone {
    fn mixed(&self, other: &Self, share: f64) -> Self {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        Self {
            measured_s: mix(self.measured_s, other.measured_s),
            monotone_s: mix(self.monotone_s, other.monotone_s),
        }
    }

    fn scaled(&self, factor: f64) -> Self {
        Self { measured_s: self.measured_s * factor, monotone_s: self.monotone_s * factor }
    }
}

/// The non-decreasing sequence nearest to the given one in squares.
fn monotone(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for value in values {
        let mut block = (value, 1);
        while let Some(&(before, n)) = blocks.last() {
            if before <= block.0 {
                break;
            }
            blocks.pop();
            let total = n + block.1;
            block = ((before * n as f64 + block.0 * block.1 as f64) / total as f64, total);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, n)| std::iter::repeat_n(value, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(work: u64, time_s: f64) -> OverlapRow {
        let work = [None, Some(work), None, None];
        OverlapRow { gpu: "a".to_owned(), gpus: 8, ranks_per_node: 8, nodes: 1, work, time_s }
    }

    #[test]
    fn neighbours_that_contradict_each_other_are_pooled() {
        assert_eq!(monotone([1.0, 3.0, 2.0, 4.0].into_iter()), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(monotone([3.0, 2.0, 1.0].into_iter()), [2.0, 2.0, 2.0]);
        assert!(monotone(std::iter::empty()).is_empty());
    }

    #[test]
    fn between_and_beyond_measured_amounts() {
        let rows = [row(10, 1.0), row(20, 3.0), row(40, 5.0)];
        let times = AloneTimes::from_rows(rows.iter());
        let shape = GroupShape::of(&rows[0]);
        let get = |work| times.get("a", shape, Stream::Collective, work).map(|a| a.measured_s);
        let wanted = [(5, 1.0), (10, 1.0), (15, 2.0), (20, 3.0), (30, 4.0), (40, 5.0), (80, 10.0)];
        for (work, time_s) in wanted {
            assert!((get(work).unwrap() - time_s).abs() < 1e-12, "{work}");
        }
        assert_eq!(times.get("a", shape, Stream::Compute, 10), None);
        assert_eq!(times.get("b", shape, Stream::Collective, 10), None);
    }

    #[test]
    fn rows_of_several_streams_are_none_of_a_stream_alone() {
        let mut both = row(10, 1.0);
        both.work[0] = Some(1);
        let times = AloneTimes::from_rows([both.clone()].iter());
        assert_eq!(times.get("a", GroupShape::of(&both), Stream::Collective, 10), None);
    }
}
