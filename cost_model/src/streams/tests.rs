//! Cells by hand, and laws of random ones.

use super::bound::bound;
use super::replay::{Stuck, replay};
use super::verify::{self, Violation, verify};
use super::{Cell, Order, Piece, Resource, Slowdowns, Span, Stream, Timetable};

fn piece(op: u32, stream: usize, seconds: f64, after: &[usize]) -> Piece {
    Piece { op, nano_batch: 0, part: 0, stream, seconds, after: after.to_vec() }
}

/// Two kernels one after the other, and two messages, of which the first waits for the first kernel.
fn cell(links: Order) -> Cell {
    let stream = |resource, order| Stream { resource, order };
    let mut cell = Cell::new([
        stream(Resource::Compute, Order::Stated(vec![0, 1])),
        stream(Resource::InterNode, links),
    ]);
    cell.add(piece(0, 0, 2.0, &[]));
    cell.add(piece(1, 0, 3.0, &[]));
    cell.add(piece(2, 1, 1.0, &[0]));
    cell.add(piece(3, 1, 1.0, &[]));
    cell
}

fn none() -> Slowdowns {
    Slowdowns::default()
}

fn spans(times: &Timetable) -> Vec<(f64, f64)> {
    times.spans.iter().map(|span| (span.start_s, span.end_s)).collect()
}

#[test]
fn a_stated_order_waits_and_the_first_that_is_ready_does_not() {
    let stated = cell(Order::Stated(vec![2, 3]));
    let times = replay(&stated, &none()).unwrap();
    assert_eq!(spans(&times), [(0.0, 2.0), (2.0, 5.0), (2.0, 3.0), (3.0, 4.0)]);
    let free = cell(Order::FirstReady);
    let times = replay(&free, &none()).unwrap();
    assert_eq!(spans(&times), [(0.0, 2.0), (2.0, 5.0), (2.0, 3.0), (0.0, 1.0)]);
    assert_eq!(times.orders, [[0, 1], [3, 2]]);
    assert_eq!((bound(&free), times.seconds()), (5.0, 5.0));
}

#[test]
fn ops_slow_each_other_while_they_run_together() {
    let both = Slowdowns::new([((0, 3), 0.5), ((3, 0), 0.5)]).unwrap();
    let cell = cell(Order::FirstReady);
    let times = replay(&cell, &both).unwrap();
    // The message takes 1.5 s, by when a second of the kernel is done.
    assert_eq!(spans(&times), [(0.0, 2.5), (2.5, 5.5), (2.5, 3.5), (0.0, 1.5)]);
    assert_eq!(verify(&cell, &times, &both), []);
    assert_eq!(verify(&cell, &times, &none()), [0, 3].map(|piece| Violation::BadSpan { piece }));
    assert!(Slowdowns::new([((0, 1), -0.1)]).is_none());
    assert!(Slowdowns::new([((0, 1), f64::NAN)]).is_none());
}

#[test]
fn what_waits_for_itself_is_stuck() {
    let stuck = |pieces: &[usize]| Err(Stuck { pieces: pieces.to_vec() });
    let mut circle = cell(Order::FirstReady);
    circle.pieces[0].after = vec![2];
    assert_eq!(replay(&circle, &none()), stuck(&[0, 1, 2]));
    assert_eq!(bound(&circle), 0.0);
    // Orders that name a piece twice, lack one, or name one that there is none of.
    assert_eq!(replay(&cell(Order::Stated(vec![3, 3])), &none()), stuck(&[2]));
    assert_eq!(replay(&cell(Order::Stated(vec![3])), &none()), stuck(&[2]));
    assert_eq!(replay(&cell(Order::Stated(vec![9, 3, 2])), &none()), stuck(&[2, 3]));
    let mut nowhere = cell(Order::FirstReady);
    (nowhere.pieces[3].stream, nowhere.pieces[1].after) = (7, vec![99]);
    assert_eq!(replay(&nowhere, &none()), stuck(&[1, 3]));
}

#[test]
fn each_broken_rule_is_named() {
    let of = |cell: &Cell| verify::cell(cell);
    let mut broken = cell(Order::Stated(vec![3, 3, 0]));
    broken.pieces[0].seconds = f64::NAN;
    broken.pieces[1].stream = 2;
    broken.pieces[1].after = vec![4];
    let wanted = [
        Violation::BadSeconds { piece: 0 },
        Violation::NoStream { piece: 1 },
        Violation::NoPiece { piece: 1, before: 4 },
        Violation::NotOnce { stream: 0, piece: 1 },
        Violation::NotOnce { stream: 1, piece: 3 },
        Violation::NotOnce { stream: 1, piece: 0 },
        Violation::Missing { stream: 1, piece: 2 },
    ];
    assert_eq!(of(&broken), wanted);
    let sound = cell(Order::FirstReady);
    let times = replay(&sound, &none()).unwrap();
    let moved = |piece: usize, start_s: f64| {
        let mut times = times.clone();
        let seconds = sound.pieces[piece].seconds;
        times.spans[piece] = Span { start_s, end_s: start_s + seconds };
        verify(&sound, &times, &none())
    };
    assert_eq!(moved(2, 2.0), []);
    assert_eq!(moved(2, 1.0), [Violation::TooEarly { piece: 2, before: 0 }]);
    let together = Violation::Together { stream: 0, pieces: [0, 1] };
    assert_eq!(moved(1, 1.0), [together]);
    assert_eq!(moved(3, 4.0), [Violation::OutOfOrder { stream: 1, pieces: [3, 2] }]);
    let other =
        |orders: Vec<Vec<usize>>| verify(&sound, &Timetable { orders, ..times.clone() }, &none());
    assert_eq!(other(vec![vec![0], vec![3, 2]]), [Violation::Missing { stream: 0, piece: 1 }]);
    assert_eq!(
        other(vec![vec![0, 1], vec![3, 2, 3]]),
        [Violation::NotOnce { stream: 1, piece: 3 }]
    );
    let short = Timetable { spans: times.spans[1..].to_vec(), ..times.clone() };
    let wanted = Violation::OtherPieces { timed: 3, pieces: 4 };
    assert_eq!(verify(&sound, &short, &none()), [wanted]);
    let stated = cell(Order::Stated(vec![2, 3]));
    assert_eq!(
        verify(&stated, &times, &none()),
        [Violation::OutOfOrder { stream: 1, pieces: [3, 2] }]
    );
}

#[test]
fn resources_are_read_by_their_names() {
    assert!(
        Resource::ALL.into_iter().all(|resource| Resource::read(resource.name()) == Some(resource))
    );
    assert_eq!(Resource::read("disk"), None);
}

/// A random cell, all of whose predecessors come first, and a number generator.
fn random(seed: u64) -> (Cell, impl FnMut(usize) -> usize) {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut below = move |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n.max(1)
    };
    let n_streams = 1 + below(4);
    let stream = |_| Stream { resource: Resource::Compute, order: Order::FirstReady };
    let mut cell = Cell::new((0..n_streams).map(stream));
    for at in 0..below(40) {
        let after: Vec<usize> = (0..below(4).min(at)).map(|_| below(at)).collect();
        let (op, stream) = (below(5) as u32, below(n_streams));
        // Some take no time.
        cell.add(piece(op, stream, below(6) as f64 * 0.1, &after));
    }
    (cell, below)
}

#[test]
fn random_cells_keep_all_rules_and_no_bound_is_beaten() {
    for seed in 0..2000 {
        let (cell, mut below) = random(seed);
        let slowed =
            (0..below(12)).map(|_| ((below(5) as u32, below(5) as u32), below(20) as f64 * 0.1));
        let slowed = Slowdowns::new(slowed.collect::<Vec<_>>()).unwrap();
        for slowdowns in [none(), slowed] {
            let times = replay(&cell, &slowdowns).unwrap();
            assert_eq!(verify(&cell, &times, &slowdowns), [], "{seed}");
            assert!(bound(&cell) <= times.seconds() * (1.0 + 1e-12), "{seed}");
            let stated = cell.stated(&times);
            assert_eq!(replay(&stated, &slowdowns).unwrap(), times, "{seed}");
        }
    }
}

/// A piece starts when the last of its predecessors and what stands before it on its stream has ended.
#[test]
fn stated_orders_start_everything_as_early_as_can_be() {
    for seed in 0..1000 {
        let (cell, mut below) = random(seed);
        // Any order in which predecessors come first is legal.
        let mut stated = cell.clone();
        let n_streams = cell.streams.len();
        let mut first: Vec<f64> = cell.pieces.iter().map(|_| below(1000) as f64).collect();
        for at in 0..cell.pieces.len() {
            let latest =
                cell.pieces[at].after.iter().map(|before| first[*before]).fold(0.0, f64::max);
            first[at] = first[at].max(latest);
        }
        let mut sorted: Vec<usize> = (0..cell.pieces.len()).collect();
        sorted.sort_by(|a, b| first[*a].total_cmp(&first[*b]).then(a.cmp(b)));
        for stream in 0..n_streams {
            let order = sorted.iter().copied().filter(|piece| cell.pieces[*piece].stream == stream);
            stated.streams[stream].order = Order::Stated(order.collect());
        }
        let times = replay(&stated, &none()).unwrap();
        let (mut end, mut free) = (vec![0.0; sorted.len()], vec![0.0_f64; n_streams]);
        for piece in sorted {
            let current = &cell.pieces[piece];
            let start = current
                .after
                .iter()
                .map(|before| end[*before])
                .fold(free[current.stream], f64::max);
            end[piece] = start + current.seconds;
            free[current.stream] = end[piece];
            assert_eq!(spans(&times)[piece], (start, end[piece]), "{seed}");
        }
        assert_eq!(verify(&stated, &times, &none()), []);
    }
}
