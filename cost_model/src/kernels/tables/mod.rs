//! Times of kernels from measured tables of a serving engine.
//!
//! A measured size has its measured time; between measured sizes, times are interpolated; elsewhere the
//! utilisation (speed of light over time) of similar kernels is transferred. Each time has its class
//! and source.
//!
//! Kernels are looked up once by shape, heads and degrees; tokens and requests are the arguments of a
//! lookup.

mod answer;
mod attention;
mod bound;
mod exchange;
mod gemm;
mod grid;
mod moe;

use ir::engine_tables::SystemRates;

pub use answer::{Answer, Class};
pub use attention::{Attention, Mla, MlaBmm};
pub use exchange::{AllReduce, Collective};
pub use gemm::Gemm;
pub use moe::Moe;

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
