//! Worked by hand.

use super::bound::{is_below, spread};
use super::*;

/// Two devices of 10 and 30 ns a block, a head of 4 and 8 ns; a block has 5 bytes of weights and a batch 2
/// of cache in it; 7 ns between them, 3 back.
fn pair(limits: [Option<u64>; 2]) -> Costs {
    let speed = |block: u64, head| Speed {
        before: (0..=4).map(|n| n * block).collect(),
        embedding: 1,
        head,
    };
    Costs {
        speeds: vec![speed(10, 4), speed(30, 8)],
        speed_of: vec![0, 1],
        limits: limits.to_vec(),
        held: Held {
            weights: vec![0, 5, 10, 15, 20],
            cache: vec![0, 2, 4, 6, 8],
            embedding: 6,
            head: 1,
            copy: 6,
            scratch: [1, 2],
        },
        ways: Ways {
            kinds: vec![Way { pass: 7, back: 3, tier: 0 }],
            of: vec![0; 4],
            n_tiers: 1,
            send: vec![0, 1],
            receive: vec![2, 3],
        },
    }
}

fn pieces(of: &[(usize, u32)]) -> Vec<Piece> {
    let mut next = 0;
    let piece = |(device, n): &(usize, u32)| {
        next += n;
        Piece { device: *device, blocks: next - n..next }
    };
    of.iter().map(piece).collect()
}

#[test]
fn two_devices_by_hand() {
    let costs = pair([None; 2]);
    // Alone: 1 + 4 x 10 + 4 ns; 20 bytes of blocks, 6 + 1 of ends, 8 of cache, 2 beside.
    let alone = costs.judge(&pieces(&[(0, 4)]), Goal::Throughput).unwrap();
    assert_eq!((alone.latency, alone.period, alone.stages[0].peak), (45, 45, 37));
    // Slow one first, with a block: 1 + 30 and 7, then 3 x 10 + 4 and 3 back: 75 ns. Two batches in
    // flight: the second stage takes 34, and half of the latency is 38.
    let both = costs.judge(&pieces(&[(1, 1), (0, 3)]), Goal::Throughput).unwrap();
    assert_eq!((both.latency, both.period, both.in_flight), (75, 38, 2));
    let figures: Vec<_> =
        both.stages.iter().map(|stage| (stage.ns, stage.way_ns, stage.peak)).collect();
    // 5 + 6 weights, 2 x 2 cache, 1 beside; 15 + 1 + 6 (a tied copy), 2 x 6, 2.
    assert_eq!(figures, [(31, 7, 16), (34, 3, 36)]);
    // One batch alone takes all of its latency, and has one batch's cache.
    let one = costs.judge(&pieces(&[(1, 1), (0, 3)]), Goal::Latency).unwrap();
    assert_eq!((one.period, one.stages[1].peak), (75, 30));
    // 34 is less than half of any round trip of two stages, so that 38 is the least.
    let never = || false;
    assert_eq!(is_below(&costs, Goal::Throughput, 38, &never), Some(false));
    assert_eq!(is_below(&costs, Goal::Throughput, 39, &never), Some(true));
    assert_eq!(is_below(&costs, Goal::Latency, 45, &never), Some(false));
    // Four blocks within 30 ns: three on the first, one on the second; its head is done by then.
    assert_eq!(spread(&costs, Goal::Throughput), 30);
    assert_eq!(spread(&costs, Goal::Latency), 4 + 1 + 40);
    // 20 bytes beside scratch leave room for two blocks of 7: the other two go to the slow one. No boundary
    // counts where one device has room for all, as the slow one has; two of it need one.
    assert_eq!(spread(&pair([Some(21), None]), Goal::Latency), 4 + 1 + 20 + 60);
    assert_eq!(spread(&pair([Some(21), Some(21)]), Goal::Latency), 4 + 1 + 20 + 60 + 7 + 3);
}

#[test]
fn broken_rules_are_named() {
    let costs = pair([Some(36), None]);
    let of = |parts: &[(usize, u32)]| costs.judge(&pieces(parts), Goal::Throughput);
    assert_eq!(of(&[(0, 4)]), Err(Violation::Memory { stage: 0, bytes: 37, limit: 36 }));
    assert_eq!(of(&[]), Err(Violation::Unfinished));
    assert_eq!(of(&[(1, 3)]), Err(Violation::Unfinished));
    assert_eq!(of(&[(1, 0), (0, 4)]), Err(Violation::Blocks { stage: 0 }));
    assert_eq!(of(&[(1, 2), (1, 2)]), Err(Violation::Twice { device: 1 }));
    let mut apart = pair([None; 2]);
    apart.ways.of = vec![u16::MAX; 4];
    let judged = apart.judge(&pieces(&[(0, 2), (1, 2)]), Goal::Latency);
    assert_eq!(judged, Err(Violation::Unreachable { from: 0, to: 1 }));
    // One channel for both directions is busy with both ways.
    let mut half = pair([None; 2]);
    half.ways = Ways { send: vec![0, 1], receive: vec![0, 1], ..half.ways };
    half.ways.kinds[0] = Way { pass: 40, back: 3, tier: 0 };
    let judged = half.judge(&pieces(&[(1, 1), (0, 3)]), Goal::Throughput).unwrap();
    assert_eq!(judged.period, 54);
    half.ways.kinds[0].pass = 200;
    let judged = half.judge(&pieces(&[(1, 1), (0, 3)]), Goal::Throughput).unwrap();
    assert_eq!(judged.period, 203);
}
