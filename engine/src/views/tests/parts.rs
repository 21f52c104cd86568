//! Lanes, curves and layouts against plain loops.

use super::Random;
use crate::views::bytes::{Section, Writer};
use crate::views::curve::{self, Change, Curve, Level};
use crate::views::kind::{Kind, N_KINDS};
use crate::views::lane::{self, Lane, Slice};
use crate::views::layout::lay_out;

/// Random slices, some of no length, and their end.
fn slices(random: &mut Random, n: u64) -> (Vec<Slice>, u64) {
    let mut at = 0;
    let slices = (0..n)
        .map(|thing| {
            let kind = Kind::ALL[random.below(N_KINDS as u64) as usize];
            let slice = Slice { start: at, kind, thing: thing as u32, micro_batch: None };
            at += random.below(5) * random.below(40);
            slice
        })
        .collect();
    (slices, at + 1)
}

#[test]
fn sums_and_longest_slices_are_those_of_a_plain_loop() {
    let mut random = Random(7);
    for n in [0, 1, 63, 64, 65, 257, 4096, 5000] {
        let (slices, end) = slices(&mut random, n);
        let mut writer = Writer::default();
        // Something lies before it.
        lane::write(&slices[..slices.len() / 2], end, &mut writer);
        let place = lane::write(&slices, end, &mut writer);
        let file = writer.finished();
        let lane = Lane::open(&file, place, n, end).unwrap();
        let end_of = |at: usize| slices.get(at + 1).map_or(end, |next| next.start);
        for _ in 0..200 {
            let to = random.below(end + 1);
            let next = lane.from(to).unwrap();
            let first = slices.iter().position(|slice| slice.start >= to);
            assert_eq!(next, if to == end { slices.len() } else { first.unwrap_or(slices.len()) });
            let sums = lane.sums(to, next).unwrap();
            let mut ns = [0; N_KINDS];
            for (at, slice) in slices.iter().enumerate().filter(|(_, slice)| slice.start <= to) {
                ns[slice.kind as usize] += end_of(at).min(to) - slice.start;
            }
            assert_eq!(sums.ns, ns, "{n} slices to {to}");
            assert_eq!(ns.iter().sum::<u64>(), if n == 0 { 0 } else { to });
            let started = slices.iter().take(next).filter(|slice| slice.kind.is_work()).count();
            assert_eq!(sums.n_started, started as u64);
            let a = random.below(n + 1) as usize;
            let b = a + random.below(n + 1 - a as u64) as usize;
            let key = |at: &usize| (slices[*at].kind.is_work(), end_of(*at) - slices[*at].start);
            let best = (a..b).max_by_key(|at| (key(at), std::cmp::Reverse(*at)));
            assert_eq!(lane.longest(a..b), best, "{a}..{b} of {n}");
        }
    }
}

#[test]
fn curves_are_those_of_a_plain_loop() {
    let mut random = Random(11);
    for n in [0u64, 1, 40, 700, 3000] {
        let end = 1 + n * 2;
        let mut changes = Vec::new();
        for _ in 0..n {
            let (from, to) = (random.below(end), random.below(end));
            let (from, to) = (from.min(to), from.max(to));
            let (kind, bytes) = (random.below(5) as usize, 1 + random.below(1 << 40));
            changes.push(Change { at: from, kind, comes: bytes, goes: 0 });
            changes.push(Change { at: to, kind, comes: 0, goes: bytes });
        }
        let level = |at: u64| {
            let mut bytes = [0i128; 5];
            for change in changes.iter().filter(|change| change.at <= at) {
                bytes[change.kind] += i128::from(change.comes) - i128::from(change.goes);
            }
            Level { at, bytes: bytes.map(|sum| sum as u64) }
        };
        let mut writer = Writer::default();
        let place = curve::write(changes.clone(), &mut writer);
        let file = writer.finished();
        let curve = Curve::open(&file, place).unwrap();
        let mut instants: Vec<u64> = changes.iter().map(|change| change.at).chain([0]).collect();
        instants.sort_unstable();
        instants.dedup();
        let all: Vec<Level> = instants.iter().map(|at| level(*at)).collect();
        assert_eq!(curve.levels(usize::MAX).unwrap(), (all.clone(), false));
        for n_parts in [1, 3, 17] {
            let part = end.div_ceil(n_parts);
            let (mut from, mut start) = (0, 0);
            while from < end {
                let to = (from + part).min(end);
                let (found, next) = curve.greatest((from, to), start).unwrap();
                let within = all.iter().filter(|level| level.at > from && level.at < to).copied();
                let best = within.fold(level(from), |best, level| {
                    if level.total() > best.total() { level } else { best }
                });
                assert_eq!(found, best, "{n} changes, {from}..{to}");
                (from, start) = (to, next);
            }
        }
    }
}

#[test]
fn boxes_do_not_overlap_and_edges_end_at_their_boxes() {
    let mut random = Random(3);
    for n in [0u64, 1, 2, 30, 400] {
        let sizes: Vec<[i64; 2]> =
            (0..n).map(|_| [20 + random.below(200) as i64, 10 + random.below(90) as i64]).collect();
        let mut edges: Vec<(usize, usize)> = (0..2 * n)
            .map(|_| {
                let from = random.below(n);
                let near = from + random.below(12);
                let to = if random.below(10) == 0 { random.below(n) } else { near.min(n - 1) };
                (from as usize, to as usize)
            })
            .collect();
        edges.extend((0..n.saturating_sub(1) as usize).map(|at| (at, at + 1)));
        edges.push((0, n as usize + 5));
        let laid = lay_out(&sizes, &edges);
        assert_eq!(laid, lay_out(&sizes, &edges), "not the same twice");
        for (a, ([x, y], [width, height])) in laid.nodes.iter().zip(&sizes).enumerate() {
            assert!(*x >= 0 && *y >= 0 && x + width <= laid.size[0] && y + height <= laid.size[1]);
            for (b, ([x2, y2], [width2, height2])) in laid.nodes.iter().zip(&sizes).enumerate() {
                let is_apart = x + width <= *x2
                    || x2 + width2 <= *x
                    || y + height <= *y2
                    || y2 + height2 <= *y;
                assert!(a == b || is_apart, "{a} and {b} of {n} overlap");
            }
        }
        for ((from, to), points) in edges.iter().zip(&laid.edges) {
            if from == to || *to >= n as usize {
                assert!(points.is_empty());
                continue;
            }
            let middle = |at: usize| laid.nodes[at][0] + sizes[at][0] / 2;
            let near = |point: &[i64; 2], at: usize| (point[0] - middle(at)).abs() <= 1;
            assert!(near(points.first().unwrap(), *from) && near(points.last().unwrap(), *to));
            let is_down = points.windows(2).all(|pair| pair[0][1] <= pair[1][1]);
            let is_up = points.windows(2).all(|pair| pair[0][1] >= pair[1][1]);
            assert!(if from < to { is_down } else { is_up }, "{points:?}");
        }
    }
}

#[test]
fn a_diamond_is_laid_out_as_by_hand() {
    let laid = lay_out(&[[100, 40]; 4], &[(0, 1), (0, 2), (1, 3), (2, 3)]);
    assert_eq!(laid.nodes, [[62, 0], [0, 80], [124, 80], [62, 160]]);
    assert_eq!(laid.size, [224, 200]);
    assert_eq!(laid.edges[0], [[112, 40], [50, 80]]);
}

#[test]
fn sections_are_where_the_table_says() {
    let mut writer = Writer::default();
    writer.of(Section::Names).extend(b"abc");
    let file = writer.finished();
    let part = crate::views::bytes::Part::section(&file, Section::Names).unwrap();
    assert_eq!(part.0, b"abc");
    assert!(crate::views::bytes::Part::section(&file[..file.len() - 1], Section::Names).is_none());
}
