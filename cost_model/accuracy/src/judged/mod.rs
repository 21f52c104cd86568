//! How right the cost model is: each part judged on published measurements, by a stated protocol.
//!
//! A part never judges a row on constants that were fitted on it, except where the way says
//! `in sample`.

pub mod attention;
pub mod collectives;
pub mod gemm;
pub mod intervals;
pub mod memory;
pub mod moe;
pub mod overlap;
pub mod own_steps;
pub mod passes;
mod published;
pub mod runs;
pub mod serving;
pub mod steps;

use cost_model::numeric::score::Score;

use crate::line::mean;

/// Seeds of the five random halves.
pub const SEEDS: [u64; 5] = [0, 1, 2, 3, 4];

/// A random half of `n` items: exactly `n / 2` entries are true, the same for the same seed.
#[must_use]
pub fn half(n: usize, seed: u64) -> Vec<bool> {
    let mut chosen = vec![false; n];
    for index in shuffled(n, seed).into_iter().take(n / 2) {
        if let Some(entry) = chosen.get_mut(index) {
            *entry = true;
        }
    }
    chosen
}

/// The places of `n` items in a random order, the same for the same seed.
pub(crate) fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = seed;
    for last in (1..n).rev() {
        let pick = (next(&mut state) % (last as u64 + 1)) as usize;
        order.swap(last, pick);
    }
    order
}

/// Scores of a closed form and of the form with its table, means over the random halves: `judged` fits
/// on the items that it is given first and judges on the others.
fn half_and_half<T: Clone>(items: &[T], judged: impl Fn(&[T], &[T]) -> [Score; 2]) -> [Score; 2] {
    let scores = SEEDS.map(|seed| {
        let half = half(items.len(), seed);
        let pick = |wanted: bool| {
            let chosen = items.iter().zip(&half).filter(|(_, fitted)| **fitted == wanted);
            chosen.map(|(item, _)| item.clone()).collect::<Vec<_>>()
        };
        judged(&pick(true), &pick(false))
    });
    [0, 1].map(|way| mean(&scores.each_ref().map(|both| both[way].clone())))
}

/// SplitMix64 (Steele, Lea, Flood 2014), fixed here so that halves never change with a library.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_a_half_and_repeats() {
        for n in [0, 1, 2, 7, 100] {
            assert_eq!(half(n, 3).iter().filter(|x| **x).count(), n / 2);
            assert_eq!(half(n, 3), half(n, 3));
        }
        assert_ne!(half(100, 0), half(100, 1));
    }
}
