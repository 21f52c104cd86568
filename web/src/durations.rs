//! How long plans wait and take: histograms in the database, which all its servers and workers share
//! and which outlive the plans.

use std::fmt::Write;

use crate::problem::Problem;
use crate::store::sql::Sql;

/// From the request of a plan to the start of planning.
pub(crate) const WAIT: &str = "queue_wait";
/// From the request of a plan to its answer.
pub(crate) const LATENCY: &str = "plan_latency";

/// Name and meaning of each histogram.
pub(crate) const ALL: [(&str, &str); 2] =
    [(WAIT, "From request to start of planning."), (LATENCY, "From request to answer.")];

/// Upper ends of the buckets, in milliseconds; one without an end follows.
const ENDS_MS: [i64; 10] =
    [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_600_000];

/// What a histogram counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Durations by bucket, the last without an end.
    buckets: [i64; ENDS_MS.len() + 1],
    /// Sum of all durations, in milliseconds.
    sum_ms: i64,
}

fn bucket(ms: i64) -> usize {
    ENDS_MS.iter().position(|end| ms <= *end).unwrap_or(ENDS_MS.len())
}

/// Counts a duration.
pub(crate) fn add(sql: &mut dyn Sql, histogram: &str, ms: i64) -> Result<(), Problem> {
    // Clocks of several machines may differ.
    let ms = ms.max(0);
    let bucket = i64::try_from(bucket(ms)).unwrap_or(0);
    let statement = "INSERT INTO durations (histogram, bucket, n, sum_ms) VALUES ($1, $2, 1, $3) \
        ON CONFLICT (histogram, bucket) DO UPDATE \
        SET n = durations.n + 1, sum_ms = durations.sum_ms + excluded.sum_ms";
    sql.run(statement, &[histogram.into(), bucket.into(), ms.into()])?;
    Ok(())
}

/// What was counted so far.
pub(crate) fn counted(sql: &mut dyn Sql, histogram: &str) -> Result<Counted, Problem> {
    let statement = "SELECT bucket, n, sum_ms FROM durations WHERE histogram = $1";
    let mut counted = Counted::default();
    for mut row in sql.rows(statement, &[histogram.into()])? {
        let bucket = usize::try_from(row.int()).unwrap_or(ENDS_MS.len());
        if let Some(n) = counted.buckets.get_mut(bucket) {
            *n += row.int();
            counted.sum_ms += row.int();
        }
    }
    Ok(counted)
}

impl Counted {
    /// In the text format of Prometheus.
    pub(crate) fn write(&self, text: &mut String, name: &str) {
        let ends = ENDS_MS.iter().map(|end| (*end as f64 / 1000.0).to_string());
        let mut n = 0;
        for (end, count) in ends.chain(["+Inf".to_owned()]).zip(self.buckets) {
            n += count;
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {n}");
        }
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {n}", self.sum_ms as f64 / 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::in_memory;

    #[test]
    fn a_histogram_is_one_of_prometheus() {
        let mut sql = in_memory();
        for ms in [-5, 100, 101, 2_000, 7_200_000] {
            add(&mut *sql, WAIT, ms).unwrap();
        }
        let counted = counted(&mut *sql, WAIT).unwrap();
        let mut text = String::new();
        counted.write(&mut text, "wait");
        let expected = [
            ("0.1", 2),
            ("0.3", 3),
            ("1", 3),
            ("3", 4),
            ("10", 4),
            ("30", 4),
            ("100", 4),
            ("300", 4),
            ("1000", 4),
            ("3600", 4),
            ("+Inf", 5),
        ];
        let lines = expected.map(|(end, n)| format!("wait_bucket{{le=\"{end}\"}} {n}\n")).concat();
        assert_eq!(text, lines + "wait_sum 7202.201\nwait_count 5\n");
    }
}
