//! What can run tasks and say how long they took, and the timing that is the same for all.

use std::time::{Duration, Instant};

use ir::diagnostic::{Blame, Diagnostic};

use crate::measurement::{Sample, Task};
use crate::statistic::spread;

/// Something that runs tasks.
pub(crate) trait Driver {
    /// Makes the operands of a task; what a former task held may be dropped.
    ///
    /// # Errors
    /// Whatever keeps the task from running.
    fn prepare(&mut self, task: &Task) -> Result<(), Diagnostic>;

    /// Seconds that `runs` runs of the prepared task take one after the other.
    ///
    /// # Errors
    /// Whatever stops the task.
    fn run(&mut self, runs: u32) -> Result<f64, Diagnostic>;
}

/// How often a task is repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Timed batches.
    pub(crate) repeats: usize,
    /// Seconds that one batch lasts at least, so that the clock's grain does not matter.
    pub(crate) batch_s: f64,
    /// No sample starts after so long.
    pub(crate) time: Duration,
}

/// Runs in one batch at most.
const MOST_RUNS: f64 = 10_000.0;

/// Times tasks in order until the time is up; the rest is counted.
pub(crate) fn time_all(
    driver: &mut dyn Driver,
    tasks: &[Task],
    pace: Pace,
) -> Result<(Vec<Sample>, usize), Diagnostic> {
    let start = Instant::now();
    let mut samples = Vec::with_capacity(tasks.len());
    for task in tasks {
        if start.elapsed() >= pace.time {
            break;
        }
        samples.push(time(driver, task, pace)?);
    }
    let n_skipped = tasks.len() - samples.len();
    Ok((samples, n_skipped))
}

/// Two runs to warm up, the second of which sets the length of a batch; then the timed batches.
fn time(driver: &mut dyn Driver, task: &Task, pace: Pace) -> Result<Sample, Diagnostic> {
    driver.prepare(task)?;
    driver.run(1)?;
    let once = driver.run(1)?.max(1e-9);
    let runs = (pace.batch_s / once).ceil().clamp(1.0, MOST_RUNS) as u32;
    let mut times = Vec::with_capacity(pace.repeats);
    for _ in 0..pace.repeats.max(1) {
        times.push(driver.run(runs)? / f64::from(runs));
    }
    let n_batches = times.len();
    match spread(times) {
        Some((median_s, dispersion)) if median_s.is_finite() && median_s > 0.0 => {
            Ok(Sample { task: task.clone(), median_s, dispersion, n_batches })
        }
        _ => Err(Diagnostic::error(
            Blame::Internal,
            "clock",
            format!("the clock gave no positive time for {task:?}"),
        )),
    }
}
