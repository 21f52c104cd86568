//! Two kernels of which everything was measured, and laws of nano-batches.

use cost_model::streams::interference::{Interference, Mode};
use cost_model::streams::period::{Orders, Period, Step};
use cost_model::streams::{Resource, Slowdowns};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Planned, Split, Threshold, best, orders, solve};

const NONE: Threshold = Threshold { tokens: 0, gain: 0.0 };

/// Chains of as many pieces, on compute and a link in turn.
fn period(times: &[Vec<f64>]) -> Period {
    let step = |(at, seconds): (usize, &f64)| Step { stream: at % 2, seconds: *seconds };
    let chain = |times: &Vec<f64>| times.iter().enumerate().map(step).collect();
    Period {
        streams: vec![Resource::Compute, Resource::InterNode],
        chains: times.iter().map(chain).collect(),
    }
}

fn drawn(rng: &mut SmallRng, n: usize) -> Vec<f64> {
    (0..n).map(|_| 10_f64.powf(rng.random_range(-1.0..1.0))).collect()
}

/// The published eight-step order: attention(1), dispatch(0), expert(0), dispatch(1), expert(1),
/// combine(0), attention(0), combine(1), with so many pieces of either nano-batch a layer ahead.
fn eight_steps(ahead: [usize; 2]) -> Orders {
    Orders {
        streams: vec![vec![(1, 0), (0, 2), (1, 2), (0, 0)], vec![(0, 1), (1, 1), (0, 3), (1, 3)]],
        ahead: ahead.to_vec(),
    }
}

/// The best of it with either nano-batch a layer ahead in whatever pieces.
fn published_s(period: &Period, slowdowns: &Slowdowns) -> f64 {
    let all = (0..25).map(|code| eight_steps([code / 5, code % 5]));
    all.filter_map(|orders| period.cycle_s(&orders, slowdowns)).fold(f64::INFINITY, f64::min)
}

/// Slowdowns of all pairs of pieces.
fn slowdowns(period: &Period, each: impl Fn(usize, usize) -> f64) -> Slowdowns {
    let n = period.steps().len();
    let pairs = (0..n).flat_map(|a| (0..n).map(move |b| (a, b)));
    Slowdowns::new(pairs.map(|(a, b)| ((a as u32, b as u32), each(a, b) - 1.0))).unwrap()
}

#[test]
fn kernels_of_other_units_share_a_device_and_multiprocessors_of_their_own_lose() {
    let (ops, own_us) = ((0, 1), [110.3, 44.2]);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 0.05, "{a} {b}");
    let mut isolated = Interference::default();
    isolated.add((0, 1), Mode::Isolation, 1.0);
    isolated.add((1, 0), Mode::Isolation, 1.0);
    // Isolated they lose against turns, and so take these.
    let turns = isolated.shared(ops, own_us, Some(148));
    assert_eq!(turns.mode, None);
    near(turns.seconds, 154.5);
    let slowed = Interference::default().shared(ops, own_us, Some(148));
    assert_eq!((slowed.mode, slowed.factors), (None, [2.0, 2.0]));
    let best = isolated.isolated(ops, own_us, Some(148)).unwrap();
    assert_eq!(best.multiprocessors, Some(105));
    near(best.seconds, 155.5);
    let mut both = isolated;
    both.add((0, 1), Mode::Complementary, 1.24);
    for (ops, own_us) in [(ops, own_us), ((1, 0), [44.2, 110.3])] {
        let shared = both.shared(ops, own_us, Some(148));
        assert_eq!(shared.mode, Some(Mode::Complementary));
        near(shared.seconds, 124.6);
        // At these factors both end together.
        near(shared.factors[0] * own_us[0], 124.6);
        near(shared.factors[1] * own_us[1], 124.6);
    }
    // One kernel of both, as fast as was measured; nothing is faster than the longer one alone.
    let mut fused = Interference::default();
    fused.add((0, 1), Mode::Fused, 154.5 / 111.7);
    near(fused.fused_s(ops, own_us).unwrap(), 111.7);
    fused.add((0, 1), Mode::Fused, 4.0);
    near(fused.fused_s(ops, own_us).unwrap(), 110.3);
}

#[test]
fn factors_of_two_streams_hold_until_the_shorter_one_ends() {
    let mut table = Interference::default();
    table.add((0, 1), Mode::TwoStreams, 1.25);
    // The other one's factor is not stated: nothing is known of both.
    assert_eq!(table.shared((0, 1), [3.0, 1.0], None).mode, None);
    table.add((1, 0), Mode::TwoStreams, 1.5);
    let shared = table.shared((0, 1), [3.0, 1.0], None);
    // 1.5 for the shorter, in which 1.2 of the longer are done.
    assert!((shared.seconds - 3.3).abs() < 1e-12, "{shared:?}");
}

#[test]
fn no_period_takes_longer_than_the_eight_steps() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut n_below = 0;
    for _ in 0..10_000 {
        let period = period(&[drawn(&mut rng, 4), drawn(&mut rng, 4)]);
        let (_, seconds) = best(&period, &Slowdowns::default(), 2.0).unwrap();
        let published = published_s(&period, &Slowdowns::default());
        assert!(seconds <= published * (1.0 + 1e-9), "{seconds} {published} {period:?}");
        assert!(period.bound_s(2.0) <= seconds * (1.0 + 1e-9), "{period:?}");
        n_below += usize::from(seconds < published * (1.0 - 1e-9));
    }
    assert!((1_000..10_000).contains(&n_below), "{n_below}");
}

#[test]
fn slowed_periods_too_are_no_longer_than_the_eight_steps_nor_below_their_bound() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..100 {
        let period = period(&[drawn(&mut rng, 4), drawn(&mut rng, 4)]);
        let factors: Vec<f64> = (0..64).map(|_| rng.random_range(1.0..2.0)).collect();
        let slowed = slowdowns(&period, |a, b| factors[8 * a + b]);
        let rate = |pair: usize| 1.0 / factors[pair] + 1.0 / factors[pair % 8 * 8 + pair / 8];
        let rate = (0..64).map(rate).fold(1.0, f64::max);
        let (_, seconds) = best(&period, &slowed, rate).unwrap();
        assert!(seconds <= published_s(&period, &slowed) * (1.0 + 1e-9), "{period:?}");
        assert!(period.bound_s(rate) <= seconds * (1.0 + 1e-9), "{period:?}");
    }
}

/// All sequences of a stream's pieces.
fn permutations(steps: &[(usize, usize)]) -> Vec<Vec<(usize, usize)>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let without = |at: usize| {
        let mut rest = steps.to_vec();
        let first = rest.remove(at);
        permutations(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (0..steps.len()).flat_map(without).collect()
}

/// The least of all sequences of both streams with all pieces ahead that can be, and how many live.
fn enumerated(period: &Period, slowdowns: &Slowdowns) -> f64 {
    let on = |stream: usize| -> Vec<(usize, usize)> {
        let of = |nano_batch: usize| {
            (0..period.chains[nano_batch].len()).map(move |at| (nano_batch, at))
        };
        let all = (0..period.chains.len()).flat_map(of);
        all.filter(|at| period.chains[at.0][at.1].stream == stream).collect()
    };
    let [first, second] = [0, 1].map(|stream| permutations(&on(stream)));
    let n = period.chains[0].len() + 1;
    let mut least = f64::INFINITY;
    for one in &first {
        for other in &second {
            for cut in 0..n * n {
                let ahead = vec![cut / n, cut % n];
                let orders = Orders { streams: vec![one.clone(), other.clone()], ahead };
                least = period.cycle_s(&orders, slowdowns).unwrap_or(f64::INFINITY).min(least);
            }
        }
    }
    least
}

#[test]
fn small_periods_are_enumerated() {
    let mut rng = SmallRng::seed_from_u64(3);
    for at in 0..40 {
        let n = 2 + at % 3;
        let period = period(&[drawn(&mut rng, n), drawn(&mut rng, n)]);
        let (_, seconds) = best(&period, &Slowdowns::default(), 2.0).unwrap();
        let least = enumerated(&period, &Slowdowns::default());
        assert!((seconds / least - 1.0).abs() < 1e-9, "{seconds} {least} {period:?}");
    }
}

#[test]
fn many_layers_take_what_one_of_the_steady_state_does() {
    let mut rng = SmallRng::seed_from_u64(4);
    for _ in 0..200 {
        let period = period(&[drawn(&mut rng, 4), drawn(&mut rng, 4)]);
        for orders in orders(&period) {
            let Some(seconds) = period.cycle_s(&orders, &Slowdowns::default()) else { continue };
            let end = |n| period.replayed(&orders, n, &Slowdowns::default()).unwrap().seconds();
            let each = (end(49) - end(25)) / 24.0;
            assert!((each / seconds - 1.0).abs() < 1e-6, "{each} {seconds} {period:?} {orders:?}");
            break;
        }
    }
}

/// One sample as it is, and a half of each in two nano-batches, with so much to gain from streams.
fn halves(times: &[f64], factor: f64) -> Vec<Split> {
    let of = |n: usize| {
        let part_times = times.iter().map(|seconds| seconds / n as f64).collect();
        let period = period(&vec![part_times; n]);
        let slowdowns = slowdowns(&period, |_, _| factor);
        let samples = vec![64 / n as u64; n];
        Split { tokens: samples[0], samples, period, slowdowns, rate: 2.0 / factor }
    };
    vec![of(1), of(2)]
}

#[test]
fn nothing_is_split_that_gains_nothing() {
    let of = |splits: &[Split], threshold: &Threshold| solve(splits, threshold, 32).unwrap().split;
    let times = [2.0, 1.0, 2.0, 1.0];
    let free = halves(&times, 1.0);
    let planned: Planned = solve(&free, &NONE, 32).unwrap();
    assert!((planned.split, planned.cycle_s) == (1, 4.0), "{planned:?}");
    assert!(planned.bound_s <= planned.cycle_s);
    // An empty table: who runs beside another takes turns with it.
    assert_eq!(of(&halves(&times, 2.0), &NONE), 0);
    // No other device takes part.
    assert_eq!(of(&halves(&[2.0, 0.0, 2.0, 0.0], 1.0), &NONE), 0);
    // Few tokens, and a gain that prices are off by.
    assert_eq!(of(&free, &Threshold { tokens: 33, ..NONE }), 0);
    assert_eq!(of(&free, &Threshold { gain: 0.34, ..NONE }), 0);
    assert_eq!(of(&free, &Threshold { gain: 0.33, ..NONE }), 1);
    // One layer has no steady state: its first piece runs beside nothing, and its last one.
    assert_eq!(solve(&halves(&[1.0, 2.0], 1.0), &NONE, 1).unwrap().split, 1);
    assert!(solve(&[], &NONE, 32).is_none());
}

#[test]
fn orders_that_wait_for_each_other_are_none() {
    let four_steps = period(&[vec![1.0; 4], vec![1.0; 4]]);
    assert_eq!(four_steps.cycle_s(&eight_steps([1, 0]), &Slowdowns::default()), Some(4.0));
    // Attention(0) is last and of the same layer: dispatch(0) waits for it, and it for combine(0).
    assert_eq!(four_steps.cycle_s(&eight_steps([0, 0]), &Slowdowns::default()), None);
    let mut lacking = eight_steps([1, 0]);
    lacking.streams[0].pop();
    assert_eq!(four_steps.cycle_s(&lacking, &Slowdowns::default()), None);
    assert_eq!(orders(&four_steps).count(), 72);
    assert_eq!(orders(&period(&[vec![1.0; 6], vec![1.0; 6]])).count(), 1_200);
}
