//! Streams of one device that run together and slow each other: processor sharing.
//!
//! A stream that runs beside others does its work at the rate `1 / (1 + sum of slowdowns)`, one
//! slowdown per ordered pair of streams: 0 means that the other costs it nothing, 1 that it runs
//! at half speed. Rates change whenever a task starts or ends. All arithmetic of the simulation is
//! on integers (`docs/conventions.md`, "Processor sharing"): work that remains is counted in
//! 2^-20 ns, a rate is a whole number over 2^20, a task ends at the first whole nanosecond at which
//! nothing of it remains, and of tasks that end together the least id comes first.

use std::collections::BTreeMap;

use ir::measured::Stream;
use ir::units::Nanos;

pub mod alone;
pub mod fit;
pub mod sample;

/// Binary digits of a rate and of the work that remains.
const FRACTION_BITS: u32 = 20;
/// The rate of a stream that nothing slows.
pub const FULL_RATE: u64 = 1 << FRACTION_BITS;

/// How much each stream slows each other one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slowdowns {
    /// Row: the slowed stream, column: the one beside it, both in the order of [`Stream::ALL`].
    factors: [[f64; 4]; 4],
}

impl Slowdowns {
    /// Slowdowns by slowed stream, then by the stream beside it, in the order of [`Stream::ALL`];
    /// the diagonal is ignored. `None` if one is negative or not finite.
    #[must_use]
    pub fn new(factors: [[f64; 4]; 4]) -> Option<Self> {
        let legal = factors.iter().flatten().all(|factor| factor.is_finite() && *factor >= 0.0);
        legal.then_some(Self { factors })
    }

    /// What `other` costs `stream`: work that takes 1 s alone takes 1 s plus this.
    #[must_use]
    pub fn factor(&self, stream: Stream, other: Stream) -> f64 {
        if stream == other { 0.0 } else { self.factors[stream as usize][other as usize] }
    }

    /// The share of its full rate at which a stream runs beside others, above 0, at most 1.
    #[must_use]
    pub fn share(&self, stream: Stream, beside: impl Iterator<Item = Stream>) -> f64 {
        1.0 / (1.0 + beside.map(|other| self.factor(stream, other)).sum::<f64>())
    }

    /// The same as a whole number over [`FULL_RATE`], rounded to nearest, at least 1.
    #[must_use]
    pub fn rate(&self, stream: Stream, beside: impl Iterator<Item = Stream>) -> u64 {
        let rate = (self.share(stream, beside) * FULL_RATE as f64).round();
        // A float cast saturates.
        (rate as u64).clamp(1, FULL_RATE)
    }
}

/// A task that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    id: u64,
    /// In 2^-20 ns at full rate.
    remaining: u128,
}

/// A stream that runs one task at a time was asked for a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The stream.
    pub stream: Stream,
    /// The task that it runs.
    pub id: u64,
}

/// One device in time: at most one task per stream runs, all that run share the device.
#[derive(Clone, Debug)]
pub struct Sharing<'a> {
    slowdowns: &'a Slowdowns,
    now: u64,
    running: BTreeMap<Stream, Running>,
}

impl<'a> Sharing<'a> {
    /// An idle device at time 0.
    #[must_use]
    pub fn new(slowdowns: &'a Slowdowns) -> Self {
        Self { slowdowns, now: 0, running: BTreeMap::new() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(self.now)
    }

    /// Starts a task now that would take `work` alone.
    ///
    /// # Errors
    /// The stream runs a task already.
    pub fn start(&mut self, id: u64, stream: Stream, work: Nanos) -> Result<(), Busy> {
        if let Some(running) = self.running.get(&stream) {
            return Err(Busy { stream, id: running.id });
        }
        let remaining = u128::from(work.get()) << FRACTION_BITS;
        self.running.insert(stream, Running { id, remaining });
        Ok(())
    }

    fn rate(&self, stream: Stream) -> u128 {
        let beside = self.running.keys().copied().filter(|other| *other != stream);
        u128::from(self.slowdowns.rate(stream, beside))
    }

    /// The task that ends next if none starts before, and when.
    #[must_use]
    pub fn next_end(&self) -> Option<(Nanos, u64)> {
        self.first().map(|(end, id, _)| (Nanos(end), id))
    }

    fn first(&self) -> Option<(u64, u64, Stream)> {
        let end = |(stream, running): (&Stream, &Running)| {
            let wait = running.remaining.div_ceil(self.rate(*stream));
            let wait = u64::try_from(wait).unwrap_or(u64::MAX);
            (self.now.saturating_add(wait), running.id, *stream)
        };
        self.running.iter().map(end).min()
    }

    /// Lets time pass up to an instant, which should not be after the next end; an instant in the
    /// past does nothing.
    pub fn advance(&mut self, to: Nanos) {
        let elapsed = u128::from(to.get().saturating_sub(self.now));
        let rates: Vec<u128> = self.running.keys().map(|stream| self.rate(*stream)).collect();
        for (running, rate) in self.running.values_mut().zip(rates) {
            running.remaining = running.remaining.saturating_sub(rate * elapsed);
        }
        self.now = self.now.max(to.get());
    }

    /// Lets time pass up to the next end and takes the task out: when it ended, and its id.
    pub fn finish_next(&mut self) -> Option<(Nanos, u64)> {
        let (end, id, stream) = self.first()?;
        self.advance(Nanos(end));
        self.running.remove(&stream);
        Some((Nanos(end), id))
    }
}

/// How long streams take together that start at once, from what each takes alone, in the order of
/// [`Stream::ALL`]; zero where a stream is idle.
#[must_use]
pub fn together(slowdowns: &Slowdowns, alone: [Nanos; 4]) -> Nanos {
    let mut sharing = Sharing::new(slowdowns);
    for (id, (stream, work)) in (0..).zip(Stream::ALL.into_iter().zip(alone)) {
        if work > Nanos::ZERO {
            // Four tasks on four streams: none is busy.
            let _ = sharing.start(id, stream, work);
        }
    }
    let mut last = Nanos::ZERO;
    while let Some((end, _)) = sharing.finish_next() {
        last = end;
    }
    last
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Compute at half speed beside a collective, which compute slows to a third.
    fn pair() -> Slowdowns {
        let mut factors = [[0.0; 4]; 4];
        factors[0][1] = 1.0;
        factors[1][0] = 2.0;
        Slowdowns::new(factors).unwrap()
    }

    #[test]
    fn two_streams_by_hand() {
        // Compute ends at 200; by then 200 / 3 of the collective are done, 233.3 remain.
        let alone = [Nanos(100), Nanos(300), Nanos::ZERO, Nanos::ZERO];
        assert_eq!(together(&pair(), alone), Nanos(434));
        assert_eq!(together(&Slowdowns::default(), alone), Nanos(300));
        assert_eq!(together(&pair(), [Nanos::ZERO; 4]), Nanos::ZERO);
    }

    #[test]
    fn a_task_that_starts_later_slows_from_then_on() {
        let slowdowns = pair();
        let mut sharing = Sharing::new(&slowdowns);
        sharing.start(7, Stream::Compute, Nanos(100)).unwrap();
        assert_eq!(sharing.next_end(), Some((Nanos(100), 7)));
        sharing.advance(Nanos(40));
        sharing.start(3, Stream::Collective, Nanos(10)).unwrap();
        let busy = Busy { stream: Stream::Collective, id: 3 };
        assert_eq!(sharing.start(4, Stream::Collective, Nanos(1)), Err(busy));
        // The collective needs 30 ns, and 1 more because a third of 2^20 is rounded down; compute
        // does 15.5 of its 60 ns meanwhile, and 44.5 alone.
        assert_eq!(sharing.finish_next(), Some((Nanos(71), 3)));
        assert_eq!(sharing.finish_next(), Some((Nanos(116), 7)));
        assert_eq!((sharing.finish_next(), sharing.now()), (None, Nanos(116)));
    }

    #[test]
    fn ends_at_one_instant_come_by_id() {
        let none = Slowdowns::default();
        let mut sharing = Sharing::new(&none);
        sharing.start(9, Stream::Compute, Nanos(5)).unwrap();
        sharing.start(2, Stream::HostOut, Nanos(5)).unwrap();
        assert_eq!(sharing.finish_next(), Some((Nanos(5), 2)));
        assert_eq!(sharing.finish_next(), Some((Nanos(5), 9)));
    }

    #[test]
    fn never_faster_than_the_longest_nor_stuck_at_the_top_of_the_range() {
        let serial = Slowdowns::new([[1e9; 4]; 4]).unwrap();
        let alone = [Nanos(10), Nanos(20), Nanos(30), Nanos(40)];
        assert!(together(&serial, alone) >= Nanos(40));
        assert_eq!(together(&serial, [Nanos::MAX; 4]), Nanos::MAX);
        assert_eq!(Slowdowns::new([[-1.0; 4]; 4]), None);
        assert_eq!(Slowdowns::new([[f64::NAN; 4]; 4]), None);
    }
}
