//! Published layers, and laws of parts and slices.

use cost_model::streams::moe::{PartTimes, bound_s, cell, closed_form_s, replayed_s};
use cost_model::streams::moe_step::{Layer, Model, Parts, Reduce, Violation};
use cost_model::streams::replay::replay;
use cost_model::streams::verify::verify;
use cost_model::streams::{Slowdowns, bound::bound};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::gradients::{Line, Slot, n_units};
use super::published::{self, Constants, Shape, TESTBED_B, TOOL, layer};
use super::{Score, best, cut};

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
        let own = layer(shape, constants, 0);
        for (times, (some, n, least)) in [&own.forward, &own.backward].into_iter().zip(wanted) {
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
        let all = (1..).zip(&times).map(|(n, own)| replayed_s(own, n, gradients_s));
        assert!((all.fold(f64::INFINITY, f64::min) / seconds - 1.0).abs() < 1e-12);
        let cell = cell(&times[n as usize - 1], n, gradients_s);
        let timetable = replay(&cell, &Slowdowns::default()).unwrap();
        assert_eq!(verify(&cell, &timetable, &Slowdowns::default()), []);
        assert!(bound(&cell) <= seconds * (1.0 + 1e-12));
    }
}

#[test]
fn the_published_grid_differs_between_forward_and_backward_in_hundreds_of_layers() {
    let shapes = published::grid();
    assert_eq!(shapes.len(), 1458);
    // Heads, of which there are three numbers, change nothing here.
    let each = shapes.iter().step_by(3);
    let n_differ = 3 * each
        .filter(|shape| {
            let own = layer(shape, &TESTBED_B, 0);
            best(&own.forward, 0.0, Score::Replay).0 != best(&own.backward, 0.0, Score::Replay).0
        })
        .count();
    assert!((300..1458).contains(&n_differ), "{n_differ}");
}

/// All ways to send units within what exists.
fn enumerated(line: &Line<'_>) -> f64 {
    fn walk(line: &Line<'_>, units: &mut Vec<usize>, best: &mut f64) {
        let Some((_, existing)) = line.slots.get(units.len()) else {
            *best = best.min(line.seconds(units));
            return;
        };
        let n = n_units(line.all, line.unit);
        let sent: usize = units.iter().sum();
        for k in 0..=n - sent {
            let is_legal = k == 0 || line.bytes(sent + k) <= *existing;
            if is_legal {
                units.push(k);
                walk(line, units, best);
                units.pop();
            }
        }
    }
    let mut best = f64::INFINITY;
    walk(line, &mut Vec::new(), &mut best);
    best
}

#[test]
fn slices_are_those_of_enumeration_and_no_bound_is_beaten() {
    let mut random = SmallRng::seed_from_u64(9);
    for case in 0..400 {
        let reduce = Reduce {
            start_up_s: random.random_range(0.0..0.3),
            per_byte_s: random.random_range(0.0..0.2),
        };
        let (n_layers, n_kinds) = (random.random_range(1..=4), 2);
        let made: Vec<u64> = (0..n_layers).map(|_| random.random_range(0..4)).collect();
        let (all, unit) = (made.iter().sum::<u64>(), random.random_range(1..=2));
        let beside = |alone_s: f64, busy_s: f64| Slot {
            beside_s: (0..=n_units(all, unit))
                .map(|n| alone_s.max(busy_s + reduce.seconds((n as u64 * unit).min(all))))
                .collect(),
            alone_s: vec![(alone_s, busy_s)],
        };
        let kinds: Vec<Slot> = (0..n_kinds)
            .map(|_| {
                let alone_s = random.random_range(0.1..2.0);
                beside(alone_s, random.random_range(0.0..alone_s))
            })
            .collect();
        let mut existing = 0;
        let slots: Vec<(usize, u64)> = made
            .iter()
            .map(|own| {
                let before = existing;
                existing += own;
                (random.random_range(0..n_kinds), before)
            })
            .collect();
        let line = Line { kinds: &kinds, slots: &slots, unit, all, reduce };
        let found = line.sliced();
        let wanted = enumerated(&line);
        assert!((found.seconds - wanted).abs() < 1e-9, "{case}: {found:?} {wanted}");
        assert!((line.seconds(&found.units) - wanted).abs() < 1e-9, "{case}");
        assert!(line.bound_s() <= wanted + 1e-9, "{case}: {} {wanted}", line.bound_s());
    }
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
        assert!(found.bound_s <= found.seconds * (1.0 + 1e-12), "{case}");
        let closed = cut(&model, Score::ClosedForm);
        assert_eq!(model.verify(&closed.layers), []);
        assert!(found.seconds <= closed.seconds * (1.0 + 1e-9), "{case}");
        // Nothing beside anything is no better.
        let apart = found.layers.iter().map(|own| {
            let (gradient_bytes, others_gradient_bytes) = (0, 0);
            Parts { gradient_bytes, others_gradient_bytes, ..*own }
        });
        assert!(found.seconds <= model.seconds(&apart.collect::<Vec<_>>()) * (1.0 + 1e-9));
    }
}

#[test]
fn each_broken_rule_of_a_step_is_named() {
    let kinds = vec![layer(&GPT2_XL, &TESTBED_B, 10)];
    let model = Model { kinds, layers: vec![0, 0], reduce: published::reduce(&TESTBED_B) };
    let own = Parts { forward: 2, backward: 3, ..Parts::default() };
    assert_eq!(model.verify(&[Parts { gradient_bytes: 10, ..own }, own]), []);
    assert_eq!(model.verify(&[own]), [Violation::OtherLayers { stated: 1, layers: 2 }]);
    let uncut = Violation::BadParts { layer: 1, parts: 65 };
    assert_eq!(model.verify(&[own, Parts { forward: 65, ..own }]), [uncut]);
    let early = |layer, sent, existing| Violation::TooEarly { layer, sent, existing };
    assert_eq!(model.verify(&[own, Parts { gradient_bytes: 1, ..own }]), [early(1, 1, 0)]);
    let beyond = Parts { gradient_bytes: 6, others_gradient_bytes: 6, ..own };
    assert_eq!(model.verify(&[beyond, own]), [early(0, 12, 10)]);
}
