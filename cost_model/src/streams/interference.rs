//! What two ops of different streams do to each other when they run at the same time on a device.
//!
//! Ops that a table says nothing of take turns: each takes twice as long beside the other, and nothing is
//! gained. What it says is, with `a` and `b` seconds alone on `s` multiprocessors:
//!
//! ```text
//! two-streams    either op takes its factor longer beside the other
//! complementary  both together take max(a, b, (a + b) / factor)
//! isolation      one runs on k multiprocessors, the other on the rest: max(a s / k, b s / (s - k)), each
//!                times its factor
//! fused          one kernel takes max(a, b, (a + b) / factor): an op and the one that follows it
//! ```

use std::collections::BTreeMap;

/// How two ops share a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// On two streams, each slowed by its factor.
    TwoStreams,
    /// On two streams, with other units: so many times as fast as one after the other.
    Complementary,
    /// Each on multiprocessors of its own.
    Isolation,
    /// As one kernel.
    Fused,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::TwoStreams, Self::Complementary, Self::Isolation, Self::Fused];

    /// Name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoStreams => "two-streams",
            Self::Complementary => "complementary",
            Self::Isolation => "isolation",
            Self::Fused => "fused",
        }
    }

    /// The mode of a name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether a factor is a gain of both, whichever is named first.
    #[must_use]
    pub const fn is_of_both(self) -> bool {
        matches!(self, Self::Complementary | Self::Fused)
    }
}

/// Factors by op, the op beside it and mode. Ops are numbers that the caller has names for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interference {
    of: BTreeMap<(u32, u32, Mode), f64>,
}

/// How two ops run beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shared {
    /// How; `None` where they take turns.
    pub mode: Option<Mode>,
    /// Seconds from the start of both to the end of both.
    pub seconds: f64,
    /// What a second of either takes beside the other.
    pub factors: [f64; 2],
    /// Multiprocessors of the first one, in isolation.
    pub multiprocessors: Option<u32>,
}

impl Interference {
    /// Adds a row; what gains both is of both. Returns whether it is new.
    pub fn add(&mut self, (op, beside): (u32, u32), mode: Mode, factor: f64) -> bool {
        if mode.is_of_both() {
            self.of.insert((beside, op, mode), factor);
        }
        self.of.insert((op, beside, mode), factor).is_none()
    }

    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What is stated of an op beside another one.
    #[must_use]
    pub fn factor(&self, (op, beside): (u32, u32), mode: Mode) -> Option<f64> {
        self.of.get(&(op, beside, mode)).copied()
    }

    /// Seconds of an op and the one that follows it as one kernel.
    #[must_use]
    pub fn fused_s(&self, ops: (u32, u32), [a_s, b_s]: [f64; 2]) -> Option<f64> {
        let factor = self.factor(ops, Mode::Fused)?;
        Some(((a_s + b_s) / factor).max(a_s).max(b_s))
    }

    /// The way in which both end first that take so many seconds alone, on so many multiprocessors where
    /// those are known.
    #[must_use]
    pub fn shared(&self, ops: (u32, u32), own_s: [f64; 2], multiprocessors: Option<u32>) -> Shared {
        let [a_s, b_s] = own_s;
        let turns =
            Shared { mode: None, seconds: a_s + b_s, factors: [2.0, 2.0], multiprocessors: None };
        let ways = [
            self.two_streams(ops, own_s),
            self.complementary(ops, own_s),
            self.isolated(ops, own_s, multiprocessors),
        ];
        let least =
            |best: Shared, other: Shared| if other.seconds < best.seconds { other } else { best };
        ways.into_iter().flatten().fold(turns, least)
    }

    fn two_streams(&self, ops: (u32, u32), [a_s, b_s]: [f64; 2]) -> Option<Shared> {
        let mode = Mode::TwoStreams;
        let a = self.factor(ops, mode)?;
        let b = self.factor((ops.1, ops.0), mode)?;
        // The shorter one ends, and the rest of the other one runs alone.
        let together = (a_s * a).min(b_s * b);
        let seconds = together + (a_s - together / a).max(0.0) + (b_s - together / b).max(0.0);
        Some(Shared { mode: Some(mode), seconds, factors: [a, b], multiprocessors: None })
    }

    fn complementary(&self, ops: (u32, u32), [a_s, b_s]: [f64; 2]) -> Option<Shared> {
        let mode = Mode::Complementary;
        let factor = self.factor(ops, mode)?;
        let seconds = ((a_s + b_s) / factor).max(a_s).max(b_s);
        let of = |own_s: f64| if own_s > 0.0 { (seconds / own_s).max(1.0) } else { 1.0 };
        Some(Shared {
            mode: Some(mode),
            seconds,
            factors: [of(a_s), of(b_s)],
            multiprocessors: None,
        })
    }

    /// The best share of the multiprocessors.
    #[must_use]
    pub fn isolated(
        &self,
        ops: (u32, u32),
        [a_s, b_s]: [f64; 2],
        multiprocessors: Option<u32>,
    ) -> Option<Shared> {
        let mode = Mode::Isolation;
        let a = self.factor(ops, mode)?;
        let b = self.factor((ops.1, ops.0), mode)?;
        let all = multiprocessors.filter(|n| *n >= 2)?;
        let at = |k: u32| {
            let share = |part: u32| f64::from(all) / f64::from(part);
            let factors = [a * share(k), b * share(all - k)];
            let seconds = (a_s * factors[0]).max(b_s * factors[1]);
            Shared { mode: Some(mode), seconds, factors, multiprocessors: Some(k) }
        };
        (1..all).map(at).min_by(|one, other| one.seconds.total_cmp(&other.seconds))
    }
}
