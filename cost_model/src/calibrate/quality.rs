//! How well predictions describe samples.

use ir::profile::Quality;

/// Quality of predictions against measured times. Dispersion of repeats is unknown, so 0.
pub(super) fn quality(predicted: &[f64], measured: &[f64], unidentified: Vec<String>) -> Quality {
    let n = predicted.len().min(measured.len());
    let mut errors: Vec<f64> =
        predicted.iter().zip(measured).map(|(p, m)| (p / m - 1.0).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let last = n.saturating_sub(1);
    let at = |index: usize| errors.get(index).copied().unwrap_or_default();
    Quality {
        n_samples: n as u64,
        r_squared: r_squared(predicted, measured),
        median_error: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
        worst_error: at(last),
        dispersion: 0.0,
        unidentified,
    }
}

/// Share of the variance of the logarithm of time that predictions explain; at most 1, and 0 where
/// nothing varies. In logarithms every size counts alike; in seconds the greatest would alone.
pub(super) fn r_squared(predicted: &[f64], measured: &[f64]) -> f64 {
    let logs: Vec<f64> = measured.iter().map(|time| time.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
    let total: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let rest: f64 = predicted.iter().zip(measured).map(|(p, m)| (p / m).ln().powi(2)).sum();
    if total > 0.0 && rest.is_finite() { 1.0 - rest / total } else { 0.0 }
}
