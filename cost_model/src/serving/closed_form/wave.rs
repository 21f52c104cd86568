//! When the first tokens of requests are there that keep their order.

/// What is less than that below a whole number is one.
const WHOLE: f64 = 1e-9;
/// Iterations that are added up one by one.
const MOST_TURNS: f64 = 4_096.0;

/// Prompts of requests of one length, one behind the other: iterations of `mixed_s` seconds, then one that is not
/// full.
pub(super) struct Wave {
    running: f64,
    /// Prompts that an iteration ends.
    each: f64,
    /// Iterations that are full.
    full: f64,
    rest_s: f64,
    mixed_s: f64,
}

impl Wave {
    /// `n_running` requests of `n_new` tokens in iterations of `n_tokens` and `mixed_s` seconds, all of which take
    /// `prompts_s`.
    pub(super) fn new(
        [n_running, n_new, n_tokens]: [f64; 3],
        [mixed_s, prompts_s]: [f64; 2],
    ) -> Self {
        let full = (n_running * n_new / n_tokens + WHOLE).floor();
        let rest_s = (prompts_s - full * mixed_s).max(0.0);
        Self { running: n_running, each: n_tokens / n_new, full, rest_s, mixed_s }
    }

    /// Mean seconds of the last `window` iterations up to the one in which a prompt ends, where those before the
    /// wave take `before_s`.
    pub(super) fn first_s(&self, (window, before_s): (f64, f64)) -> f64 {
        let ended = |n: f64| (n * self.each + WHOLE).floor().min(self.running);
        let until_s = |n: f64| n * self.mixed_s + (window - n).max(0.0) * before_s;
        let turns = window.min(self.full).min(MOST_TURNS).floor();
        let one = |at: u64| (ended(at as f64) - ended(at as f64 - 1.0)) * until_s(at as f64);
        let first: f64 = (1..=turns as u64).map(one).sum();
        let between = window.min(f64::midpoint(turns, self.full)) * self.mixed_s;
        let middle = (ended(self.full) - ended(turns)) * between;
        let beside = self.full.min(window - 1.0).max(0.0);
        let before = (window - 1.0 - beside).max(0.0);
        let last_s = self.rest_s + beside * self.mixed_s + before * before_s;
        (first + middle + (self.running - ended(self.full)) * last_s) / self.running
    }
}
