//! How many requests decode at once, and what a step of a request takes beside the others.

use super::chain::Arriving;
use super::worker::Worker;
use super::{Field, drawn};
use crate::serving::fault::Fault;

/// How many requests run, where each slows the others.
pub(super) struct Decoding {
    /// Share of the time in which none does.
    pub(super) empty: f64,
    /// Mean of the rest of the time.
    pub(super) n_busy: f64,
    /// Share in which there is no place left.
    pub(super) full: f64,
    /// Mean wait for a place, of all requests.
    wait_s: f64,
    /// Variance of the number, over its mean.
    spread: f64,
    steps: Steps,
}

/// Turns of the fixed point of how many decode beside a request and how long its steps take.
const MOST_TURNS: usize = 4;
/// Turns of a stay that shrinks, and by how little it is near enough.
pub(super) const MOST_SHORTER: usize = 32;
pub(super) const SHORTER: f64 = 1e-6;
/// Standard deviations beyond which a number is never.
const BEYOND: f64 = 8.0;
/// Share of the time in which all places are taken that adds too little to a mean.
const NEGLIGIBLE: f64 = 1e-3;
/// Running requests that are told apart.
const LARGEST: f64 = 4_096.0;

impl Decoding {
    /// All answers have one token.
    pub(super) const NONE: Self = Self {
        empty: 1.0,
        n_busy: 1.0,
        full: 0.0,
        wait_s: 0.0,
        spread: 1.0,
        steps: Steps(Vec::new()),
    };

    /// Each of `j` requests stays for its steps and for what the prompts of all `j` take. As prompts
    /// interrupt and steps are shared, the probability of `j` is that of `j - 1` times the arrivals
    /// during such a stay, over `j`, whatever the distribution of lengths (Kelly 1979, symmetric
    /// queues).
    pub(super) fn new(worker: &Worker, rate: f64, capacity: f64) -> Result<Self, Fault> {
        let most = worker.most_running.min(LARGEST);
        let n_steps = worker.n_steps + (worker.n_new / worker.room(0.0)).ceil();
        // The most likely number, and what a prompt adds beside so many.
        let (mut n, mut prompt_s) = (1.0, 0.0);
        for _ in 0..4 {
            let field = Field::new(worker, n)?;
            let waiting = field.waiting(Arriving::InTime(rate), false);
            let token_s = field.token_s(&waiting);
            prompt_s = ((1.0 - field.seconds[0] / token_s) / rate).max(0.0);
            let next = (rate * n_steps * token_s).clamp(1.0, most);
            if (next - n).abs() < 0.01 * n {
                break;
            }
            n = next;
        }
        let steps = Steps::new(worker, n, most)?;
        let step_s = |j: f64| steps.seconds(j);
        let stay_s = |j: f64| n_steps * step_s(j) + j * prompt_s;
        let (mut log, mut logs) = (0.0, vec![0.0]);
        for j in 1..=most as u64 {
            log += (rate * stay_s(j as f64) / j as f64).ln();
            logs.push(log);
        }
        // The place of who ends stays empty for an iteration of an engine that is ahead.
        let held_s = stay_s(most) * (1.0 + worker.ahead(most) / n_steps);
        let load = (rate * held_s / most).min(rate / capacity);
        let seconds = [stay_s(n) / n_steps, prompt_s, worker.cached_s(n)?];
        let even = weights(logs.iter().copied());
        let empty = even[0] / moment(&even, 0);
        let weights = dispersed(&logs, worker.spread(rate, seconds));
        // Past the most that run, others wait in order.
        let waiting = weights[weights.len() - 1] * load / (1.0 - load);
        let total = moment(&weights, 0) + waiting;
        let n_running = (moment(&weights, 1) + most * waiting) / total;
        let longer = worker.variation(seconds, most, load)?;
        let [mean, square] = [1, 2].map(|power| moment(&weights, power) / moment(&weights, 0));
        Ok(Self {
            empty,
            n_busy: n_running / (1.0 - empty),
            full: Some((weights[weights.len() - 1] + waiting) / total)
                .filter(|full| *full > NEGLIGIBLE)
                .unwrap_or_default(),
            wait_s: waiting / (1.0 - load) / total * longer / rate,
            steps,
            spread: square / mean - mean,
        })
    }

    /// Seconds by which a step of a request takes longer than with as many as decode in the mean of the time: it
    /// decodes beside all that come while it does (each step meets as many as an arrival does) and beside those that
    /// began with it.
    pub(super) fn more_s(&self, worker: &Worker, rate: f64, (token_s, alone): (f64, f64)) -> f64 {
        if self.steps.0.is_empty() {
            return 0.0;
        }
        let (least_s, mut more_s) = (self.steps.seconds(self.n_busy), 0.0);
        let (others, batch) = worker.n_batch(alone);
        let spread = batch.max(self.spread);
        for _ in 0..MOST_TURNS {
            let n_come = rate * worker.n_steps * (token_s + more_s / alone);
            let of = |n: f64| self.steps.seconds(1.0 + n);
            more_s = mean_of(n_come + others, worker.most_running - 1.0, spread, of) - least_s;
        }
        more_s
    }

    /// What waiting for a place adds to the mean time to the first token: who has waited starts where another
    /// ends, at the end of an iteration.
    pub(super) fn slot_s(&self, worker: &Worker) -> Result<f64, Fault> {
        if self.full <= 0.0 {
            return Ok(self.wait_s);
        }
        let steady = drawn(worker, worker.most_running)?;
        let empty_s = worker.ahead(worker.most_running) * steady.tpot_s;
        Ok(self.wait_s + self.full * (steady.ttft_s - empty_s))
    }
}

/// Sum of weights by numbers, times a power of the number.
fn moment(weights: &[f64], power: i32) -> f64 {
    weights.iter().enumerate().map(|(n, weight)| weight * (n as f64).powi(power)).sum()
}

/// Weights of numbers from their logarithms.
fn weights(logs: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    logs.map(|log| (log - largest).exp()).collect()
}

/// Steps of Newton's method, and how near the mean is near enough.
const MOST_STEPS: usize = 6;
const NEAR: f64 = 1e-3;

/// Numbers that vary so many times as much about the same mean: the root of their weights (as Conway and Maxwell
/// 1962 of Poisson ones), tilted exponentially.
fn dispersed(logs: &[f64], spread: f64) -> Vec<f64> {
    let plain = weights(logs.iter().copied());
    let mean = moment(&plain, 1) / moment(&plain, 0);
    let mut tilt = 0.0;
    for _ in 0..MOST_STEPS {
        let of = logs.iter().enumerate().map(|(n, log)| log / spread + tilt * n as f64);
        let found = weights(of);
        let total = moment(&found, 0);
        let left = mean - moment(&found, 1) / total;
        if left.abs() < NEAR * mean {
            return found;
        }
        // The variance is what the mean changes by.
        let variance = moment(&found, 2) / total - (mean - left).powi(2);
        tilt += (left / variance.max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0);
    }
    plain
}

/// Seconds of a decode step by how many decode, on lines between powers of two and one number more: the same
/// lines, however many there is room for.
struct Steps(Vec<(f64, f64)>);

impl Steps {
    fn new(worker: &Worker, likely: f64, most: f64) -> Result<Self, Fault> {
        let n_powers = most.log2().ceil().max(1.0) as i32;
        let mut numbers: Vec<f64> = (0..=n_powers).map(|power| 2.0_f64.powi(power)).collect();
        numbers.push(likely);
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        let priced = numbers.into_iter().map(|n| Ok((n, worker.seconds(n, 0.0)?)));
        priced.collect::<Result<_, Fault>>().map(Self)
    }

    fn seconds(&self, n: f64) -> f64 {
        let at = self.0.partition_point(|(number, _)| *number < n).clamp(1, self.0.len() - 1);
        let ((low, from), (high, to)) = (self.0[at - 1], self.0[at]);
        from + (n - low) / (high - low) * (to - from)
    }
}

/// Mean of the lesser of a number and of one that is given, as [`mean_of`].
pub(super) fn lesser(mean: f64, most: f64, spread: f64) -> f64 {
    match mean + BEYOND * (mean * spread).sqrt() < most {
        true => mean,
        false => mean_of(mean, most, spread, |n| n),
    }
}

/// Mean of a function of the lesser of a number and of one that is given: a Poisson number, or one that varies
/// `spread` times as much about its mean (negative binomial).
fn mean_of(mean: f64, most: f64, spread: f64, of: impl Fn(f64) -> f64) -> f64 {
    let more = spread - 1.0;
    let mut chance =
        if more > SHORTER { (-mean * spread.ln() / more).exp() } else { (-mean).exp() };
    if chance <= 0.0 {
        return of(mean.min(most));
    }
    let (mut beyond, mut sum) = (1.0, 0.0);
    for at in 0..most as u64 {
        sum += chance * of(at as f64);
        beyond -= chance;
        if beyond < SHORTER {
            return sum;
        }
        chance *= (mean + at as f64 * more) / (spread * (at + 1) as f64);
    }
    sum + beyond * of(most)
}
