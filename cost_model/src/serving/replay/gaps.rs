//! Gaps between the tokens of requests, as counts by length.

/// Times between one token of a request and its next, of all requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    n: u64,
    total_s: f64,
    /// Index of the first count.
    base: u64,
    counts: Vec<u64>,
}

/// Bits of a double's fraction that a count tells apart: 256 lengths an octave, at most 0.4 % wide.
const BITS: u32 = 8;

fn index(seconds: f64) -> u64 {
    seconds.max(0.0).to_bits() >> (52 - BITS)
}

/// The shortest gap of a count.
fn lower(index: u64) -> f64 {
    f64::from_bits(index << (52 - BITS))
}

impl Gaps {
    /// `n` gaps of `seconds`.
    pub(super) fn add(&mut self, seconds: f64, n: u64) {
        if n > 0 {
            self.total_s += seconds * n as f64;
            self.count(index(seconds), n);
        }
    }

    /// `n` gaps each of `first`, `first + more`, .., `steps` of them.
    pub(super) fn add_steps(&mut self, first: f64, more: f64, steps: u64, n: u64) {
        if n == 0 || steps == 0 {
            return;
        }
        let pairs = steps as f64 * (steps - 1) as f64 / 2.0;
        self.total_s += n as f64 * (first * steps as f64 + more * pairs);
        let at = |step: u64| index(first + more * step as f64);
        let mut step = 0;
        while step < steps {
            let here = at(step);
            let mut next = steps;
            if at(steps - 1) != here {
                // Lengths rise or fall throughout: the last step of this count is found by halving.
                let (mut low, mut high) = (step, steps - 1);
                while low + 1 < high {
                    let middle = low.midpoint(high);
                    match at(middle) == here {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                next = high;
            }
            self.count(here, (next - step) * n);
            step = next;
        }
    }

    fn count(&mut self, index: u64, n: u64) {
        if self.counts.is_empty() {
            self.base = index;
        }
        if index < self.base {
            let more = (self.base - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.base = index;
        }
        let at = (index - self.base) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += n;
        self.n += n;
    }

    /// Number of gaps.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean, seconds; `None` without gaps.
    #[must_use]
    pub fn mean_s(&self) -> Option<f64> {
        (self.n > 0).then(|| self.total_s / self.n as f64)
    }

    /// Percentile by nearest rank, seconds, at most 0.4 % below; `None` without gaps.
    #[must_use]
    pub fn percentile_s(&self, percent: f64) -> Option<f64> {
        let rank = super::summary::rank(percent, self.n)?;
        let mut before = 0;
        let reaches = |count: &u64| {
            before += count;
            before >= rank
        };
        let at = self.counts.iter().position(reaches)?;
        Some(lower(self.base + at as u64))
    }
}
