//! Published layers, and laws of parts and slices.

use cost_model::streams::moe::{PartTimes, bound_s, cell, closed_form_s, replayed_s};
use cost_model::streams::moe_step::{Layer, Model, Parts, Reduce, Violation};
use cost_model::streams::replay::replay;
use cost_model::streams::verify::verify;
use cost_model::streams::{Order, Slowdowns, bound::bound};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::gradients::{Line, Slice, Way};
use super::published::{self, Constants, Shape, TESTBED_B, TOOL, layer};
use super::{Score, best, cut, solve};

const MIXTRAL: Shape = Shape {
    visits: 4.0 * 1024.0 * 2.4,
    hidden: 4096.0,
    width: 14336.0,
    products: 3.0,
    shards: 8.0,
};
const GPT2_XL: Shape =
    Shape { hidden: 1600.0, width: 6400.0, products: 2.0, shards: 4.0, ..MIXTRAL };

/// Times in 1, 2, 4 and 8 parts in hundredths of a millisecond, the best number of parts, and its time.
type Row = ([i64; 4], u32, i64);

/// Derived by a program of its own from the page of the paper's facts.
#[test]
fn published_layers_take_what_was_derived_by_hand() {
    let on_b = Shape { shards: 4.0, ..MIXTRAL };
    let rows: [(&Shape, &Constants, [Row; 2]); 3] = [
        (
            &MIXTRAL,
            &TOOL,
            [([8741, 6412, 5970, 5786], 12, 5758), ([10149, 6868, 5970, 6271], 6, 5864)],
        ),
        (
            &on_b,
            &TESTBED_B,
            [([3948, 2994, 2558, 2423], 8, 2423), ([5890, 4963, 4582, 4558], 6, 4529)],
        ),
        (&GPT2_XL, &TESTBED_B, [([1051, 696, 651, 649], 6, 645), ([1292, 945, 827, 879], 5, 825)]),
    ];
    let hundredths = |seconds: f64| (seconds * 1e5).round() as i64;
    for (shape, constants, wanted) in rows {
        let layer = layer(shape, constants, 0);
        for (times, (some, n, least)) in [&layer.forward, &layer.backward].into_iter().zip(wanted) {
            for (n, wanted) in [1_u32, 2, 4, 8].into_iter().zip(some) {
                let times = &times[n as usize - 1];
                let (replayed, closed) = (replayed_s(times, n, 0.0), closed_form_s(times, n, 0.0));
                assert_eq!([replayed, closed].map(hundredths), [wanted; 2], "{shape:?} {n}");
                assert!((replayed / closed - 1.0).abs() < 1e-12);
            }
            for score in [Score::Replay, Score::ClosedForm] {
                let (found, seconds) = best(times, 0.0, score);
                assert_eq!((found, hundredths(seconds)), (n, least), "{shape:?} {score:?}");
            }
        }
    }
}

fn random_times(random: &mut SmallRng, is_even: bool) -> PartTimes {
    let mut one = || random.random_range(0.01..2.0);
    let (exchange_s, gather_s, experts_s, scatter_s) = (one(), one(), one(), one());
    let scatter_s = if is_even { gather_s } else { scatter_s };
    PartTimes { exchange_s, gather_s, experts_s, scatter_s }
}

#[test]
fn the_closed_form_is_not_below_the_replay_where_gather_and_scatter_are_even() {
    let mut random = SmallRng::seed_from_u64(18);
    let mut n_below = 0;
    for case in 0..10_000 {
        let times = random_times(&mut random, true);
        let n = random.random_range(1..=64);
        let gradients_s = if case % 2 == 0 { 0.0 } else { random.random_range(0.0..40.0) };
        let (replayed, closed) =
            (replayed_s(&times, n, gradients_s), closed_form_s(&times, n, gradients_s));
        assert!(replayed <= closed * (1.0 + 1e-12), "{times:?} {n} {gradients_s}");
        assert!(bound_s(&times, n, gradients_s) <= replayed * (1.0 + 1e-12), "{times:?} {n}");
        n_below += usize::from(replayed < closed * (1.0 - 1e-9));
    }
    // It promises too little in many of them.
    assert!(n_below > 2000, "{n_below}");
    // Where they are uneven, it is no bound.
    let is_above = |_: &u32| {
        let (times, n) = (random_times(&mut random, false), random.random_range(1..=64));
        replayed_s(&times, n, 0.0) > closed_form_s(&times, n, 0.0) * (1.0 + 1e-9)
    };
    let n_above = (0_u32..1000).filter(is_above).count();
    assert!(n_above > 50, "{n_above}");
}

#[test]
fn layers_keep_the_rules_of_streams_and_what_is_passed_over_is_no_better() {
    let mut random = SmallRng::seed_from_u64(3);
    for _ in 0..300 {
        let whole = random_times(&mut random, false);
        let start_up = random.random_range(0.0..0.2);
        let part = |n: u32| {
            let of = |all: f64| start_up + all / f64::from(n);
            PartTimes {
                exchange_s: of(whole.exchange_s),
                gather_s: of(whole.gather_s),
                experts_s: of(whole.experts_s),
                scatter_s: of(whole.scatter_s),
            }
        };
        let times: Vec<PartTimes> = (1..=64).map(part).collect();
        let gradients_s = random.random_range(-1.0..3.0_f64).max(0.0);
        let (n, seconds) = best(&times, gradients_s, Score::Replay);
        let all = (1..).zip(&times).map(|(n, part_times)| replayed_s(part_times, n, gradients_s));
        assert!((all.fold(f64::INFINITY, f64::min) / seconds - 1.0).abs() < 1e-12);
        let cell = cell(&times[n as usize - 1], n, gradients_s);
        let timetable = replay(&cell, &Slowdowns::default()).unwrap();
        assert_eq!(verify(&cell, &timetable, &Slowdowns::default()), []);
        assert!(bound(&cell) <= seconds * (1.0 + 1e-12));
    }
}

#[test]
fn no_order_is_below_what_streams_carry_and_the_papers_is_not_always_the_best() {
    let mut random = SmallRng::seed_from_u64(4);
    let mut n_faster = 0;
    for _ in 0..3000 {
        let (times, n) = (random_times(&mut random, false), random.random_range(2..=4));
        let gradients_s = random.random_range(-1.0..3.0_f64).max(0.0);
        let cell = cell(&times, n, gradients_s);
        let usual = replay(&cell, &Slowdowns::default()).unwrap();
        let mut other = cell.stated(&usual);
        for stream in &mut other.streams {
            let Order::Stated(order) = &mut stream.order else { continue };
            for _ in 0..random.random_range(0..3) {
                let at = random.random_range(1..order.len());
                order.swap(at - 1, at);
            }
        }
        // Some wait for each other.
        let Ok(other) = replay(&other, &Slowdowns::default()) else { continue };
        assert!(bound_s(&times, n, gradients_s) <= other.seconds() * (1.0 + 1e-12));
        n_faster += usize::from(other.seconds() < usual.seconds() * (1.0 - 1e-9));
    }
    assert!(n_faster > 0);
}

#[test]
fn the_published_grid_differs_between_forward_and_backward_in_hundreds_of_layers() {
    let shapes = published::grid();
    assert_eq!(shapes.len(), 1458);
    // Heads, of which there are three numbers, change nothing here.
    let each = shapes.iter().step_by(3);
    let n_differ = 3 * each
        .filter(|shape| {
            let layer = layer(shape, &TESTBED_B, 0);
            best(&layer.forward, 0.0, Score::Replay).0
                != best(&layer.backward, 0.0, Score::Replay).0
        })
        .count();
    assert!((300..1458).contains(&n_differ), "{n_differ}");
}

/// Seconds of the best ways and slices of a line, all looked at.
fn enumerated(line: &Line<'_>, busy: &[Vec<f64>]) -> f64 {
    fn walk(line: &Line<'_>, busy: &[Vec<f64>], (slot, sent): (usize, u64)) -> f64 {
        let Some((kind, existing)) = line.slots.get(slot) else {
            return line.reduce.seconds(line.all - sent);
        };
        let beside = |bytes: u64| {
            let each = line.kinds[*kind].iter().zip(&busy[*kind]);
            let seconds = each.map(|(way, busy_s)| match bytes {
                0 => way.seconds,
                _ => way.seconds.max(busy_s + line.reduce.seconds(bytes)),
            });
            seconds.fold(f64::INFINITY, f64::min) + walk(line, busy, (slot + 1, sent + bytes))
        };
        (0..=existing - sent).map(beside).fold(f64::INFINITY, f64::min)
    }
    walk(line, busy, (0, 0))
}

/// Seconds of slices.
fn taken_s(line: &Line<'_>, busy: &[Vec<f64>], slices: &[Slice]) -> f64 {
    let each = line.slots.iter().zip(slices).map(|((kind, _), slice)| {
        let at = slice.parts as usize;
        let alone_s = line.kinds[*kind][at].seconds;
        match slice.bytes {
            0 => alone_s,
            bytes => alone_s.max(busy[*kind][at] + line.reduce.seconds(bytes)),
        }
    });
    let sent: u64 = slices.iter().map(|slice| slice.bytes).sum();
    each.sum::<f64>() + line.reduce.seconds(line.all - sent)
}

/// All times are whole eighths of a second and a byte takes one, so that ways hide whole bytes.
#[test]
fn slices_are_those_of_enumeration_and_so_is_the_bound() {
    let mut random = SmallRng::seed_from_u64(9);
    let mut n_hidden = 0;
    for case in 0..400 {
        let mut eighths =
            |least: u32, most: u32| f64::from(random.random_range(least..=most)) / 8.0;
        let reduce = Reduce { start_up_s: eighths(0, 3), per_byte_s: 0.125 };
        let (mut kinds, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let times: Vec<(f64, f64)> = (0..3)
                .map(|_| {
                    let alone_s = eighths(4, 16);
                    (alone_s, (alone_s - eighths(0, 8)).max(0.0))
                })
                .collect();
            kinds.push((0..).zip(&times).map(|(n, pair)| Way::new(n, *pair, reduce)).collect());
            busy.push(times.into_iter().map(|pair| pair.1).collect::<Vec<f64>>());
        }
        let n = random.random_range(1..=4);
        let made: Vec<u64> = (0..n).map(|_| random.random_range(0..5)).collect();
        let mut existing = 0;
        let slots: Vec<(usize, u64)> = made
            .iter()
            .map(|bytes| {
                let before = existing;
                existing += bytes;
                (random.random_range(0..2), before)
            })
            .collect();
        let line = Line { kinds: &kinds, slots: &slots, all: existing, reduce };
        let found = line.sliced();
        let (found_s, least_s) = (taken_s(&line, &busy, &found), enumerated(&line, &busy));
        // Where the first layer makes none, a last start-up may be saved.
        let off = if made.last() == Some(&0) { reduce.start_up_s } else { 0.0 };
        assert!((-1e-9..=off + 1e-9).contains(&(found_s - least_s)), "{case}: {line:?} {found:?}");
        let bound_s = line.bound_s();
        assert!((-1e-9..=off + 1e-9).contains(&(least_s - bound_s)), "{case}: {line:?} {bound_s}");
        n_hidden += found.iter().filter(|slice| slice.bytes > 0).count();
    }
    assert!(n_hidden > 300, "{n_hidden}");
}

#[test]
fn bounds_of_merged_states_hold() {
    let mut random = SmallRng::seed_from_u64(10);
    let reduce = Reduce { start_up_s: 1e-5, per_byte_s: 1e-9 };
    let mut ways = |n: u32| -> Vec<Way> {
        let mut seconds = 1e-3;
        let each = (0..n).map(|n| {
            seconds += random.random_range(0.0..1e-5);
            Way::new(n, (seconds, 9e-4 - f64::from(n) * random.random_range(1e-5..2e-5)), reduce)
        });
        each.collect()
    };
    let kinds: Vec<Vec<Way>> = (0..6).map(|_| ways(12)).collect();
    let busy: Vec<Vec<f64>> = kinds
        .iter()
        .map(|ways| ways.iter().map(|way| way.seconds - 1e-5 - way.free * 1e-9).collect())
        .collect();
    // Two million states at most, shared out over slots: thousands each, and some dozens.
    for (n, within) in [(600, 0.002), (60_000, 0.05)] {
        let slots: Vec<(usize, u64)> = (0..n).map(|at| (at % 6, at as u64 * 200_000)).collect();
        let line = Line { kinds: &kinds, slots: &slots, all: n as u64 * 200_000, reduce };
        let (seconds, bound_s) = (taken_s(&line, &busy, &line.sliced()), line.bound_s());
        assert!(bound_s <= seconds, "{n}: {bound_s} {seconds}");
        assert!(seconds < (1.0 + within) * bound_s, "{n}: {bound_s} {seconds}");
    }
}

/// All parts and slices of the backward passes of a step.
fn for_each_step(model: &Model, parts: u32, bytes: u64, see: &mut impl FnMut(&[Parts])) {
    fn walk(chosen: &mut Vec<Parts>, n: usize, each: &[Parts], see: &mut impl FnMut(&[Parts])) {
        if chosen.len() == n {
            return see(chosen);
        }
        for parts in each {
            chosen.push(*parts);
            walk(chosen, n, each, see);
            chosen.pop();
        }
    }
    let of = |backward| {
        (0..=bytes).flat_map(move |gradient_bytes| {
            (0..=bytes).map(move |others_gradient_bytes| Parts {
                forward: 1,
                backward,
                gradient_bytes,
                others_gradient_bytes,
            })
        })
    };
    let each: Vec<Parts> = (1..=parts).flat_map(of).collect();
    walk(&mut Vec::new(), model.layers.len(), &each, see);
}

#[test]
fn no_step_is_below_the_bound_and_none_is_better() {
    let mut random = SmallRng::seed_from_u64(21);
    let mut n_tight = 0;
    for case in 0..60 {
        let per_byte_s = random.random_range(0.05..0.5);
        let reduce = Reduce { start_up_s: random.random_range(0.0..0.3), per_byte_s };
        let mut kind = || Layer {
            forward: vec![random_times(&mut random, false)],
            backward: (0..2).map(|_| random_times(&mut random, false)).collect(),
            others_s: [0.1, random.random_range(0.0..2.0)],
            gradient_bytes: random.random_range(1..4),
        };
        let kinds = vec![kind(), kind()];
        let layers = [0, 1, 0][..2 + case % 2].to_vec();
        let model = Model { kinds, layers, reduce };
        let found = cut(&model, Score::Replay);
        let most = if case % 2 == 0 { 4 } else { 2 };
        let mut least_s = f64::INFINITY;
        for_each_step(&model, 2, most, &mut |step| {
            if model.verify(step).is_empty() {
                let seconds = model.seconds(step);
                assert!(found.bound_s <= seconds + 1e-9, "{case}: {step:?} {seconds} {found:?}");
                least_s = least_s.min(seconds);
            }
        });
        // A slice that no way hides whole loses up to a byte.
        let off = 2.0 * model.layers.len() as f64 * per_byte_s;
        assert!(found.seconds <= least_s + off, "{case}: {least_s} {found:?}");
        n_tight += usize::from(found.seconds <= found.bound_s + off);
    }
    assert!(n_tight > 20, "{n_tight}");
}

/// Experts take longest, forward and backward: what nothing hides are the gradients of the first layer.
#[test]
fn the_bound_counts_gradients_that_nothing_hides() {
    let part = PartTimes { exchange_s: 0.1, gather_s: 0.1, experts_s: 1.0, scatter_s: 0.1 };
    let kinds = vec![Layer {
        forward: vec![part],
        backward: vec![part],
        others_s: [0.0; 2],
        gradient_bytes: 10,
    }];
    let reduce = Reduce { start_up_s: 0.05, per_byte_s: 0.1 };
    let found = solve(&Model { kinds, layers: vec![0; 3], reduce });
    // Six passes of 1.4 s; of each 1.2 s hide 11.5 bytes; the last ten bytes follow.
    assert!((found.seconds - (6.0 * 1.4 + 0.05 + 1.0)).abs() < 1e-9, "{found:?}");
    assert!((found.bound_s - found.seconds).abs() < 1e-9, "{found:?}");
}

#[test]
fn steps_keep_the_prefix_rule_and_are_above_their_bound() {
    let mut random = SmallRng::seed_from_u64(5);
    for case in 0..24 {
        let bytes = random.random_range(0..200_000_000);
        let experts = layer(&GPT2_XL, &TESTBED_B, bytes);
        let kinds = vec![
            Layer { others_s: [0.002, random.random_range(0.0..0.006)], ..experts },
            Layer { others_s: [0.001, 0.002], gradient_bytes: 1000, ..Layer::default() },
        ];
        let layers = (0..6).map(|_| usize::from(random.random_bool(0.3))).collect();
        let model = Model { kinds, layers, reduce: published::reduce(&TESTBED_B) };
        let found = cut(&model, Score::Replay);
        assert_eq!(model.verify(&found.layers), [], "{case}");
        assert!((model.seconds(&found.layers) - found.seconds).abs() < 1e-12);
        assert!(found.bound_s <= found.seconds, "{case}");
        let closed = cut(&model, Score::ClosedForm);
        assert_eq!(model.verify(&closed.layers), []);
        assert!(found.seconds <= closed.seconds * (1.0 + 1e-9), "{case}");
        // Nothing beside anything is no better.
        let apart = found.layers.iter().map(|parts| {
            let (gradient_bytes, others_gradient_bytes) = (0, 0);
            Parts { gradient_bytes, others_gradient_bytes, ..*parts }
        });
        assert!(found.seconds <= model.seconds(&apart.collect::<Vec<_>>()) * (1.0 + 1e-9));
    }
}

#[test]
fn each_broken_rule_of_a_step_is_named() {
    let kinds = vec![layer(&GPT2_XL, &TESTBED_B, 10)];
    let model = Model { kinds, layers: vec![0, 0], reduce: published::reduce(&TESTBED_B) };
    let parts = Parts { forward: 2, backward: 3, ..Parts::default() };
    assert_eq!(model.verify(&[Parts { gradient_bytes: 10, ..parts }, parts]), []);
    assert_eq!(model.verify(&[parts]), [Violation::OtherLayers { stated: 1, layers: 2 }]);
    let uncut = Violation::BadParts { layer: 1, parts: 65 };
    assert_eq!(model.verify(&[parts, Parts { forward: 65, ..parts }]), [uncut]);
    let early = |layer, sent, existing| Violation::TooEarly { layer, sent, existing };
    assert_eq!(model.verify(&[parts, Parts { gradient_bytes: 1, ..parts }]), [early(1, 1, 0)]);
    let beyond = Parts { gradient_bytes: 6, others_gradient_bytes: 6, ..parts };
    assert_eq!(model.verify(&[beyond, parts]), [early(0, 12, 10)]);
}
