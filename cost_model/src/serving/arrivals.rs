//! What arrives at a worker, and when.

use super::fault::Fault;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Seconds.
    pub arrival_s: f64,
    /// Tokens of the prompt, a cached prefix included.
    pub n_input: u32,
    /// Tokens of the answer.
    pub n_output: u32,
}

/// Requests of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Tokens of the prompt, a cached prefix included.
    pub n_input: u32,
    /// Tokens of the answer.
    pub n_output: u32,
    /// Weight among all requests; the sum need not be 1.
    pub share: f64,
}

/// Times between arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Exponentially distributed.
    Poisson,
    /// All the same.
    Uniform,
}

/// `n` requests at `rate` a second from second 0 on, each length drawn by its share. The same seed
/// gives the same requests; an infinite rate gives a backlog: all arrive at second 0.
///
/// # Errors
/// [`Fault::Traffic`], [`Fault::Request`] (index: of the length).
pub fn at_rate(
    mix: &[Length],
    rate: f64,
    spacing: Spacing,
    n: usize,
    seed: u64,
) -> Result<Vec<Request>, Fault> {
    let total = total_share(mix)?;
    if rate.is_nan() || rate <= 0.0 {
        return Err(Fault::Traffic);
    }
    let mut random = SplitMix(seed);
    let mut arrival_s = 0.0;
    let request = |index: usize| {
        match spacing {
            Spacing::Poisson => arrival_s -= (1.0 - random.unit()).ln() / rate,
            Spacing::Uniform => arrival_s = index as f64 / rate,
        }
        let length = at_share(mix, random.unit() * total);
        Request { arrival_s, n_input: length.n_input, n_output: length.n_output }
    };
    Ok((0..n).map(request).collect())
}

/// (1 + sqrt 5) / 2.
const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;

/// `n` requests that are there at second 0, of which any stretch holds the lengths by their shares, as nearly
/// as it can (multiples of the golden ratio, modulo 1).
pub(super) fn backlog(mix: &[Length], n: usize) -> Result<Vec<Request>, Fault> {
    let total = total_share(mix)?;
    let request = |index: usize| {
        let place = (index as f64 * GOLDEN_RATIO).fract();
        let length = at_share(mix, place * total);
        Request { arrival_s: 0.0, n_input: length.n_input, n_output: length.n_output }
    };
    Ok((0..n).map(request).collect())
}

/// The length at a place among the shares, one after the other.
fn at_share(mix: &[Length], mut place: f64) -> Length {
    let found = mix.iter().find(|length| {
        place -= length.share;
        place < 0.0
    });
    *found.unwrap_or(&mix[mix.len() - 1])
}

/// Sum of the shares.
pub(super) fn total_share(mix: &[Length]) -> Result<f64, Fault> {
    if let Some(index) = mix.iter().position(|length| length.n_input == 0 || length.n_output == 0) {
        return Err(Fault::Request { index });
    }
    let total: f64 = mix.iter().map(|length| length.share).sum();
    let is_sound = mix.iter().all(|length| length.share >= 0.0) && total > 0.0 && total.is_finite();
    is_sound.then_some(total).ok_or(Fault::Traffic)
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, seeded, the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
