//! Constants for a device that was never measured, from those of devices that were.
//!
//! One rule for every form. A *sibling* is a device whose memory bandwidth lies within a factor of
//! 1.75, whose peak rate and count of multiprocessors lie within 1.5 of the other's: another
//! product of the same architecture. The nearest sibling, by the sum of the logarithms of these
//! three ratios, lends its constants. Without one, each constant is the median over the families
//! of siblings among the sources (a family counts as the mean of its members), where constants
//! that are times of the host or of the clock are taken in clock cycles.

use crate::numeric::median;
use ir::measured::GpuFacts;

/// Largest ratios of bandwidths, peak rates and multiprocessors of siblings.
const RATIOS: [f64; 3] = [1.75, 1.5, 1.5];

/// Who lent constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Donor {
    /// The source at this position.
    Sibling(usize),
    /// All: medians.
    Medians,
}

/// How far two data sheets are apart; `None` when they are no siblings.
#[must_use]
pub fn distance(a: &GpuFacts, b: &GpuFacts) -> Option<f64> {
    let logs = [
        (a.memory_bandwidth / b.memory_bandwidth).ln(),
        (a.peak / b.peak).ln(),
        (f64::from(a.n_multiprocessors) / f64::from(b.n_multiprocessors)).ln(),
    ];
    let close = logs.iter().zip(RATIOS).all(|(log, ratio)| log.abs() <= ratio.ln());
    close.then(|| logs.iter().map(|log| log.abs()).sum())
}

/// Constants for a device by the rule of this module; `None` without sources. The constants at the
/// positions `clocked` count in cycles where they are medians and both clocks are known.
#[must_use]
pub fn transfer<const N: usize>(
    facts: &GpuFacts,
    sources: &[(GpuFacts, [f64; N])],
    clocked: &[usize],
) -> Option<([f64; N], Donor)> {
    let siblings = sources
        .iter()
        .enumerate()
        .filter_map(|(at, (theirs, constants))| Some((distance(facts, theirs)?, at, constants)));
    if let Some((_, at, constants)) = siblings.min_by(|a, b| a.0.total_cmp(&b.0)) {
        return Some((*constants, Donor::Sibling(at)));
    }
    let mut families: Vec<Vec<&(GpuFacts, [f64; N])>> = Vec::new();
    for source in sources {
        let same_family = |family: &&mut Vec<&(GpuFacts, [f64; N])>| {
            family.first().is_some_and(|first| distance(&first.0, &source.0).is_some())
        };
        match families.iter_mut().find(same_family) {
            Some(family) => family.push(source),
            None => families.push(vec![source]),
        }
    }
    let means: Vec<[f64; N]> = families.iter().map(|family| mean(family, facts, clocked)).collect();
    let mut constants = [0.0; N];
    for (at, constant) in constants.iter_mut().enumerate() {
        *constant = median(means.iter().map(|family| family[at]).collect())?;
    }
    Some((constants, Donor::Medians))
}

fn mean<const N: usize>(
    family: &[&(GpuFacts, [f64; N])],
    facts: &GpuFacts,
    clocked: &[usize],
) -> [f64; N] {
    let mut sum = [0.0; N];
    for (theirs, constants) in family {
        let cycles = theirs.clock.zip(facts.clock).map_or(1.0, |(theirs, ours)| theirs / ours);
        for (at, (total, constant)) in sum.iter_mut().zip(constants).enumerate() {
            let ratio = if clocked.contains(&at) { cycles } else { 1.0 };
            *total += constant * ratio / family.len() as f64;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory_bandwidth: f64, peak: f64, n_multiprocessors: u32) -> GpuFacts {
        GpuFacts {
            memory_bandwidth,
            peak,
            n_multiprocessors,
            last_level_cache: None,
            clock: Some(1e9),
        }
    }

    #[test]
    fn the_nearest_sibling_lends() {
        let sources = [(facts(2e12, 3e14, 108), [1.0]), (facts(1.7e12, 3e14, 108), [2.0])];
        let got = transfer(&facts(1.6e12, 3e14, 108), &sources, &[0]);
        assert_eq!(got, Some(([2.0], Donor::Sibling(1))));
    }

    #[test]
    fn strangers_take_medians_over_families_in_cycles() {
        let slow = GpuFacts { clock: Some(0.5e9), ..facts(1e12, 1e14, 10) };
        let sources = [
            (facts(2e12, 3e14, 108), [1.0, 1.0]),
            (facts(2e12, 3e14, 108), [3.0, 3.0]),
            (facts(9e12, 3e15, 150), [7.0, 7.0]),
            (facts(9e11, 3e12, 1), [9.0, 9.0]),
        ];
        // Families 2, 7 and 9; half the clock makes the first constant twice as long.
        assert_eq!(transfer(&slow, &sources, &[0]), Some(([14.0, 7.0], Donor::Medians)));
        assert_eq!(transfer::<1>(&slow, &[], &[]), None);
    }
}
