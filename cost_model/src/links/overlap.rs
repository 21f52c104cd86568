//! Streams of one device that run together and slow each other.
//!
//! A stream that runs beside others does its work at the rate `1 / (1 + sum of slowdowns)`, one
//! slowdown per ordered pair of streams: 0 means that the other costs it nothing, 1 that it runs
//! at half speed.

use ir::measured::Stream;

pub mod alone;
pub mod fit;
pub mod sample;

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowdowns_are_finite_and_a_stream_costs_itself_nothing() {
        let ones = Slowdowns::new([[1.0; 4]; 4]).unwrap();
        assert_eq!(ones.factor(Stream::Compute, Stream::Collective), 1.0);
        assert_eq!(ones.factor(Stream::Compute, Stream::Compute), 0.0);
        assert_eq!(Slowdowns::new([[-1.0; 4]; 4]), None);
        assert_eq!(Slowdowns::new([[f64::NAN; 4]; 4]), None);
    }
}
