//! Slowdowns from measured overlaps.

use std::collections::BTreeMap;

use ir::measured::Stream;

use super::Slowdowns;
use super::alone::GroupShape;
use super::sample::Sample;
use crate::numeric::least_squares::{Parameter, fit_from};

/// Slowdowns of one set: ordered pairs of different streams.
pub const N_CONSTANTS: u32 = 12;
/// A slowdown beyond which two streams are serial for all purposes.
const SERIAL: f64 = 30.0;
/// First guesses of a slowdown, tried in all pairs on the rows of two streams.
const GUESSES: [f64; 6] = [0.1, 0.3, 1.0, 3.0, 10.0, 25.0];
/// First guess where no row says anything, and the second start of the search.
const MIDDLE: f64 = 0.3;
/// Samples that the nearest possible shape lends to one that was not measured.
const LENT: f64 = 200.0;
/// Distance between a collective inside a host and one across hosts; a doubling of either extent
/// of the group counts 1.
const TIER_DISTANCE: f64 = 2.0;

/// The ordered pairs of different streams: position of the slowed one, of the other.
fn ordered_pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..4).flat_map(|slowed| (0..4).map(move |other| (slowed, other))).filter(|(a, b)| a != b)
}

/// The share of its full rate of each stream, by the set of streams that run (bit = position).
struct Shares([[f64; 4]; 16]);

impl Shares {
    fn new(values: &[f64]) -> Self {
        let mut factors = [[0.0; 4]; 4];
        for ((slowed, other), value) in ordered_pairs().zip(values) {
            factors[slowed][other] = *value;
        }
        let mut shares = [[1.0; 4]; 16];
        for (set, row) in shares.iter_mut().enumerate() {
            for (share, factors) in row.iter_mut().zip(factors) {
                let beside =
                    factors.iter().enumerate().filter(|(other, _)| set & (1 << other) != 0);
                *share = 1.0 / (1.0 + beside.map(|(_, factor)| factor).sum::<f64>());
            }
        }
        Self(shares)
    }

    /// Seconds of streams that start at once; their rates change whenever one ends.
    fn together(&self, alone_s: [f64; 4]) -> f64 {
        let mut remaining = alone_s;
        let mut time_s = 0.0;
        loop {
            let mut set = 0;
            for (position, left) in remaining.iter().enumerate() {
                set |= usize::from(*left > 0.0) << position;
            }
            if set == 0 {
                return time_s;
            }
            let shares = &self.0[set];
            let (mut first, mut wait_s) = (0, f64::INFINITY);
            for (position, (left, share)) in remaining.iter().zip(shares).enumerate() {
                if *left > 0.0 && left / share < wait_s {
                    (first, wait_s) = (position, left / share);
                }
            }
            if !wait_s.is_finite() {
                return f64::INFINITY;
            }
            for (left, share) in remaining.iter_mut().zip(shares) {
                *left = (*left - share * wait_s).max(0.0);
            }
            remaining[first] = 0.0;
            time_s += wait_s;
        }
    }
}

/// How long streams take together that start at once, in seconds.
#[must_use]
pub fn predict(slowdowns: &Slowdowns, alone_s: [f64; 4]) -> f64 {
    let at = |position: usize| Stream::ALL.get(position).copied().unwrap_or(Stream::Compute);
    let values: Vec<f64> =
        ordered_pairs().map(|(slowed, other)| slowdowns.factor(at(slowed), at(other))).collect();
    Shares::new(&values).together(alone_s)
}

/// The twelve slowdowns that come closest to the samples. Pairs of streams that never ran together
/// get a middling one.
#[must_use]
pub fn slowdowns(samples: &[&Sample]) -> Slowdowns {
    let measured: Vec<f64> = samples.iter().map(|sample| sample.measured_s).collect();
    let start = |value: &f64| Parameter::new(*value, 0.0, SERIAL);
    let starts = [first_guesses(samples), vec![MIDDLE; N_CONSTANTS as usize]];
    let starts = starts.map(|values| values.iter().map(start).collect());
    let fitted = fit_from(&starts, &measured, |values, out| {
        let shares = Shares::new(values);
        for (time_s, sample) in out.iter_mut().zip(samples) {
            *time_s = shares.together(sample.alone_s);
        }
    });
    let mut factors = [[0.0; 4]; 4];
    for ((slowed, other), value) in ordered_pairs().zip(fitted.values) {
        factors[slowed][other] = value;
    }
    Slowdowns::new(factors).unwrap_or_default()
}

/// For each pair of streams, the two guesses that come closest to the rows in which only they ran.
fn first_guesses(samples: &[&Sample]) -> Vec<f64> {
    let mut values = vec![MIDDLE; N_CONSTANTS as usize];
    for (index, pair) in ordered_pairs().enumerate().filter(|(_, (a, b))| a < b) {
        let back = ordered_pairs().position(|(a, b)| (b, a) == pair).unwrap_or(index);
        let only_they = |sample: &&&Sample| {
            let runs = sample.alone_s.iter().enumerate().filter(|(_, time)| **time > 0.0);
            runs.map(|(position, _)| position).eq([pair.0, pair.1])
        };
        let rows: Vec<&&Sample> = samples.iter().filter(only_they).collect();
        let mut best = f64::INFINITY;
        if rows.is_empty() {
            continue;
        }
        for (forth_guess, back_guess) in
            GUESSES.iter().flat_map(|a| GUESSES.iter().map(move |b| (*a, *b)))
        {
            let mut guess = vec![0.0; N_CONSTANTS as usize];
            guess[index] = forth_guess;
            guess[back] = back_guess;
            let shares = Shares::new(&guess);
            let error = |row: &&&Sample| (shares.together(row.alone_s) / row.measured_s).ln().abs();
            let loss: f64 = rows.iter().map(error).sum();
            if loss < best {
                best = loss;
                (values[index], values[back]) = (forth_guess, back_guess);
            }
        }
    }
    values
}

/// How unlike two shapes are.
fn distance(a: GroupShape, b: GroupShape) -> f64 {
    let doublings = |x: u64, y: u64| ((x.max(1) as f64) / (y.max(1) as f64)).log2().abs();
    let across =
        if (a.nodes > 1) == (b.nodes > 1) { doublings(a.nodes, b.nodes) } else { TIER_DISTANCE };
    doublings(a.ranks_per_node, b.ranks_per_node) + across
}

/// The slowdowns of a shape that was not measured, from the others of its device: each lends
/// `200 exp(-distance)` samples, evenly spread. `None` without others.
#[must_use]
pub fn for_unmeasured(
    groups: &BTreeMap<(String, GroupShape), Vec<Sample>>,
    gpu: &str,
    shape: GroupShape,
) -> Option<Slowdowns> {
    let mut transferred: Vec<&Sample> = Vec::new();
    for ((_, other), samples) in groups.iter().filter(|((g, s), _)| g == gpu && *s != shape) {
        let wanted = (LENT * (-distance(shape, *other)).exp()).ceil() as usize;
        transferred.extend(spread(samples, wanted));
    }
    (!transferred.is_empty()).then(|| slowdowns(&transferred))
}

/// At most `wanted` samples, evenly spread over the list.
fn spread(samples: &[Sample], wanted: usize) -> impl Iterator<Item = &Sample> {
    let n = wanted.min(samples.len());
    (0..n).filter_map(move |i| samples.get(i * samples.len() / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Slowdowns {
        let mut factors = [[0.2; 4]; 4];
        factors[0][1] = 1.5;
        factors[3][2] = 4.0;
        Slowdowns::new(factors).unwrap()
    }

    /// Amounts of work in all 15 sets of streams.
    fn amounts() -> Vec<[f64; 4]> {
        let mut amounts = Vec::new();
        for set in 1..16_u32 {
            for i in 0..12_u32 {
                let amount = |s: u32| {
                    if set & (1 << s) == 0 { 0.0 } else { 1e-3 * f64::from(1 + (i * (s + 3)) % 7) }
                };
                amounts.push([amount(0), amount(1), amount(2), amount(3)]);
            }
        }
        amounts
    }

    #[test]
    fn two_streams_by_hand() {
        // Compute at half speed beside a collective, which compute slows to a third.
        let mut factors = [[0.0; 4]; 4];
        factors[0][1] = 1.0;
        factors[1][0] = 2.0;
        let pair = Slowdowns::new(factors).unwrap();
        // Compute ends at 200; by then 200 / 3 of the collective are done, 233.3 remain.
        let alone = [100.0, 300.0, 0.0, 0.0];
        assert!((predict(&pair, alone) - (200.0 + 300.0 - 200.0 / 3.0)).abs() < 1e-9);
        assert_eq!(predict(&Slowdowns::default(), alone), 300.0);
        assert_eq!(predict(&pair, [0.0; 4]), 0.0);
        // Never faster than the longest.
        let serial = Slowdowns::new([[1e9; 4]; 4]).unwrap();
        assert!(predict(&serial, [10.0, 20.0, 30.0, 40.0]) >= 40.0);
    }

    #[test]
    fn finds_the_slowdowns_that_made_the_samples() {
        let sample = |alone_s| Sample {
            alone_s,
            measured_s: predict(&truth(), alone_s),
            name: String::new(),
        };
        let samples: Vec<Sample> = amounts().into_iter().map(sample).collect();
        let fitted = slowdowns(&samples.iter().collect::<Vec<_>>());
        for sample in &samples {
            let error = predict(&fitted, sample.alone_s) / sample.measured_s - 1.0;
            assert!(error.abs() < 0.01, "{sample:?} {error}");
        }
    }

    #[test]
    fn the_nearest_shape_lends_most() {
        let shape = |gpus, ranks_per_node, nodes| GroupShape { gpus, ranks_per_node, nodes };
        let across = shape(32, 8, 4);
        assert!(distance(across, shape(16, 8, 2)) < distance(across, shape(8, 8, 1)));
        assert!(distance(across, shape(32, 4, 4)) < distance(across, shape(16, 4, 2)));
        assert_eq!(spread(&[], 3).count(), 0);
        assert_eq!(for_unmeasured(&BTreeMap::new(), "a", across), None);
    }
}
