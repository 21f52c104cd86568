//! Times of kernels from measured tables of a serving engine.
//!
//! A measured size has its measured time; between measured sizes, times are interpolated; elsewhere the
//! utilisation (speed of light over time) of similar kernels is transferred. Each time has its class
//! and source.
//!
//! Kernels are looked up once by shape, heads and degrees; tokens and requests are the arguments of a
//! lookup.

mod attention;
mod bound;
mod exchange;
mod gemm;
mod grid;
mod moe;

use ir::engine_tables::SystemRates;

pub use attention::{Attention, Mla, MlaBmm};
pub use exchange::{AllReduce, Collective};
pub use gemm::Gemm;
pub use moe::Moe;

/// How a time was found, from most to least certain; a sum has the least certain class of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// From rates of the system: pointwise kernels and pipeline hops.
    #[default]
    Analytic,
    /// Measured at this size.
    Measured,
    /// Interpolated between measured sizes.
    Interpolated,
    /// From the utilisation of GEMMs with similar (n, k).
    Transferred,
    /// From the utilisation at the end of the measured range.
    Extrapolated,
    /// From a published utilisation of this kind of kernel; nothing similar was measured.
    Guessed,
}

/// Time of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// Seconds.
    pub seconds: f64,
    /// How the time was found.
    pub class: Class,
    /// Index of the file in [`ir::engine_tables::EngineTables::sources`]; `None` where none was read.
    pub source: Option<u16>,
}

impl Answer {
    fn guessed(seconds: f64) -> Self {
        Self { seconds, class: Class::Guessed, source: None }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { seconds: self.seconds * factor, ..self }
    }

    /// Sum of two kernels, with class and source of the less certain one.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        let worse = if other.class > self.class { other } else { self };
        Self { seconds: self.seconds + other.seconds, ..worse }
    }
}

/// A pointwise kernel that moves `bytes` bytes.
#[must_use]
pub fn pointwise(rates: &SystemRates, bytes: f64) -> Answer {
    let rate = rates.memory_rate * rates.pointwise_fraction;
    Answer { seconds: bytes / rate + rates.pointwise_s, ..Answer::default() }
}

/// A transfer of `bytes` bytes to the next pipeline stage, on another host.
#[must_use]
pub fn hop(rates: &SystemRates, bytes: f64) -> Answer {
    Answer { seconds: bytes / rates.network_rate + rates.transfer_s, ..Answer::default() }
}

#[cfg(test)]
mod tests;
