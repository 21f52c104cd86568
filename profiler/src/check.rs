//! How well a profile predicts what was measured apart from it.

use ir::profile::Profile;

use crate::form::{Rates, product_seconds};
use crate::measurement::{Measurement, Task};
use crate::statistic::median;

/// Errors of predicted times as shares of the measured ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Samples that the profile predicts.
    pub n: usize,
    /// Samples that it says nothing about.
    pub n_unknown: usize,
    /// Median error.
    pub median_error: f64,
    /// Largest error.
    pub worst_error: f64,
    /// What was worst predicted.
    pub worst: Option<Task>,
}

/// Seconds that a task takes on a kind of device, if the profile has constants for it.
#[must_use]
pub fn predict(profile: &Profile, kind: &str, task: &Task) -> Option<f64> {
    match task {
        Task::Product { dtype, .. } => {
            let constants = profile.constants(kind, *dtype)?;
            let rates = profile.rates.get(kind)?;
            let peak = rates.peak.get(dtype)?.get();
            let rates = Rates { peak, bandwidth: rates.memory_bandwidth?.get() };
            let values = [
                constants.launch.get(),
                constants.compute_efficiency,
                constants.memory_efficiency,
                constants.p_norm,
            ];
            Some(product_seconds(task, rates, values))
        }
        Task::Stream { family, .. } => {
            let (launch_s, memory_s) = profile.streams.get(kind)?.get(family)?.parts(task.bytes());
            Some(launch_s + memory_s)
        }
        Task::Transfer { link, .. } => {
            let link = profile.links.get(link)?;
            Some(link.latency.get() + task.bytes() / link.bandwidth.get())
        }
    }
}

/// Compares a profile with a measurement that it was not fitted to.
#[must_use]
pub fn check(profile: &Profile, other: &Measurement) -> Check {
    let mut errors: Vec<(f64, &Task)> = Vec::new();
    for sample in &other.samples {
        if let Some(predicted) = predict(profile, &other.kind, &sample.task) {
            errors.push(((predicted / sample.median_s - 1.0).abs(), &sample.task));
        }
    }
    let worst = errors.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    Check {
        n: errors.len(),
        n_unknown: other.samples.len() - errors.len(),
        median_error: median(errors.iter().map(|(error, _)| *error).collect())
            .unwrap_or(f64::INFINITY),
        worst_error: worst.map_or(f64::INFINITY, |(error, _)| *error),
        worst: worst.map(|(_, task)| (*task).clone()),
    }
}
