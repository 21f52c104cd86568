//! What users see of a replay: means and percentiles over completed requests.

use std::ops::Range;

use super::{Replay, Times};
use crate::serving::arrivals::Request;

/// Values of requests, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    sorted: Vec<f64>,
    mean: f64,
}

impl Distribution {
    /// `None` without values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (!values.is_empty()).then_some(Self { sorted: values, mean })
    }

    /// Arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Percentile by nearest rank: the smallest value that `percent` of the values don't exceed.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = rank(percent, self.sorted.len() as u64).unwrap_or(1);
        self.sorted[rank as usize - 1]
    }
}

/// Nearest rank of a percentile among `n` values, from 1.
pub(super) fn rank(percent: f64, n: u64) -> Option<u64> {
    (n > 0).then(|| ((percent / 100.0 * n as f64).ceil() as u64).clamp(1, n))
}

/// Latencies of completed requests, seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Arrival to first token.
    pub ttft: Distribution,
    /// (last - first token) / (output tokens - 1); `None` where all answers have one token.
    pub tpot: Option<Distribution>,
    /// Arrival to last token.
    pub latency: Distribution,
    /// Requests/s between the first arrival and the last token.
    pub requests_per_s: f64,
    /// Output tokens/s, likewise.
    pub tokens_per_s: f64,
}

impl Replay {
    /// Of some requests, by position, so that those which find an empty worker can be left out;
    /// `None` for none.
    #[must_use]
    pub fn summary(&self, requests: &[Request], range: Range<usize>) -> Option<Summary> {
        let times = self.times.get(range.clone())?;
        let requests = requests.get(range)?;
        let tpot = |(times, request): (&Times, &Request)| {
            let n_gaps = request.n_output.checked_sub(1).filter(|n| *n > 0)?;
            Some((times.last_token_s - times.first_token_s) / f64::from(n_gaps))
        };
        let start_s = times.first()?.arrival_s;
        let end_s = times.iter().map(|times| times.last_token_s).fold(start_s, f64::max);
        let n_tokens: f64 = requests.iter().map(|request| f64::from(request.n_output)).sum();
        let from_arrival = |to: fn(&Times) -> f64| {
            Distribution::of(times.iter().map(|times| to(times) - times.arrival_s).collect())
        };
        Some(Summary {
            ttft: from_arrival(|times| times.first_token_s)?,
            tpot: Distribution::of(times.iter().zip(requests).filter_map(tpot).collect()),
            latency: from_arrival(|times| times.last_token_s)?,
            requests_per_s: times.len() as f64 / (end_s - start_s),
            tokens_per_s: n_tokens / (end_s - start_s),
        })
    }
}
