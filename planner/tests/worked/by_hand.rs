//! More problems worked out on paper, each drawn above its test data, for m-TOPO, m-ETF and m-SCT.
//!
//! Drawings: `A3` is an op of 3 ns, `-x4->` a tensor of 4 bytes. Links take 1 ns and 1 ns per byte
//! unless said otherwise; devices are `d0`, `d1`, ...

use super::sketch::Sketch;
use super::{Expected, Worked};

/// All of them.
pub(crate) fn examples() -> Vec<Worked> {
    vec![
        shared_tensor(),
        two_senders(),
        group_that_no_longer_fits(),
        parameter_placed_late(),
        cap_with_unlike_limits(),
        empty_tensor_first(),
        four_alike(),
        favourite_before_position(),
    ]
}

/// The same answer from several algorithms.
fn alike(algorithms: &[&'static str], answer: &Expected) -> Vec<Expected> {
    algorithms.iter().map(|algorithm| Expected { algorithm, ..*answer }).collect()
}

/// ```text
/// A3 -x4-> B6 -y1-> D2     d0, d1: 20 bytes
///     \--> C7 -z2-/
/// ```
/// m-TOPO: mem 4, 1, 2, 0; cap = floor(7 x 20 / 40) + 4 = 7 holds all: 3 + 6 + 7 + 2 = 18.
/// At `B..D`, x 4, y 1 and z 2 are all alive over [9, 16): 7 bytes.
///
/// m-ETF: at 3 B takes d0 by position; C would start on d1 at 3 + 5 = 8, and does. D at 15: z to d0
/// would arrive at 18, y left d0 at 9 and is on d1 since 11: D runs on d1. d0: x over [0, 9) (its
/// transfer ends at 8) and y from 3: 5. d1: x 4 and z 2 and y 1 over [9, 15): 7.
///
/// m-SCT: with x1 = 1 - x2, x3 = 1 - x4 the paths are 11 + 5 x1 + 2 x3 and 20 - 5 x1 - 3 x3; the
/// least maximum is 15 at x1 = 0.4, x3 = 1. Only C-D (x4 = 0) is a favourite, and it runs where
/// m-ETF puts it.
///
/// Least: A, C on d0 to 10; x to d1 [3, 8), B [8, 14), z [10, 13), D on d1 [14, 16).
fn shared_tensor() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 20)
        .device("a", 20)
        .op("A", "a", 3, "", "x:4")
        .op("B", "a", 6, "x", "y:1")
        .op("C", "a", 7, "x", "z:2")
        .op("D", "a", 2, "y z", "");
    let mut expected = vec![Expected {
        algorithm: "m-topo",
        step_time: 18,
        peaks: "7 0",
        orders: "A B C D | ",
        channels: "",
        after: "",
        spans: "A@0[0,3) B@0[3,9) C@0[9,16) D@0[16,18)",
    }];
    expected.extend(alike(
        &["m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 17,
            peaks: "5 7",
            orders: "A B | C D",
            channels: "recv1 x>1 y>1 | send0 x>1 y>1",
            after: "",
            spans: "A@0[0,3) B@0[3,9) x>1[3,8) C@1[8,15) y>1[9,11) D@1[15,17)",
        },
    ));
    Worked { name: "shared_tensor", sketch, least: 16, expected }
}

/// ```text
/// A4 (d0 only) -x2-> C3 (d2 only)
/// B4 (d1 only) -y5-/
/// ```
/// Both producers end at 4; A has the lower id (and C the same position for both in the sweep), so
/// x takes d2's receive channel over [4, 7) and y, although its own sender is free, [7, 13). C ends
/// at 16. y is on d1 to 13; d2 holds x 2 and y 5 over [7, 16). The other order takes 6 + 3 as well.
fn two_senders() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("b", 10)
        .device("c", 10)
        .op("A", "a", 4, "", "x:2")
        .op("B", "b", 4, "", "y:5")
        .op("C", "c", 3, "x y", "");
    let expected = alike(
        &["m-topo", "m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 16,
            peaks: "2 5 7",
            orders: "A | B | C",
            channels: "recv2 x>2 y>2 | send0 x>2 | send1 y>2",
            after: "",
            spans: "A@0[0,4) B@1[0,4) x>2[4,7) y>2[7,13) C@2[13,16)",
        },
    );
    Worked { name: "two_senders", sketch, least: 16, expected }
}

/// ```text
/// A2 (5 persistent) -x2-> [ B3 (4) -y1-> C1 (3) ]     d0: 10 bytes, d1: 12 bytes
/// ```
/// m-TOPO: mem(A) = 7, mem(BC) = 7 + 1 = 8, sum 15; cap(d0) = floor(15 x 10 / 22) + 8 = 14 < 15,
/// so the group goes to d1. m-ETF and m-SCT: B's own 4 bytes would fit on d0, the group's 7 beside
/// 5 + 2 do not. x [2, 5), B [5, 8), C [8, 9). d1: 7 + x 2 + y 1 over [5, 8) = 10.
fn group_that_no_longer_fits() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 12)
        .op("A", "a", 2, "", "x:2")
        .persistent(5)
        .op("B", "a", 3, "x", "y:1")
        .persistent(4)
        .group()
        .op("C", "a", 1, "y", "")
        .persistent(3)
        .group();
    let expected = alike(
        &["m-topo", "m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 9,
            peaks: "7 10",
            orders: "A | B C",
            channels: "recv1 x>1 | send0 x>1",
            after: "",
            spans: "A@0[0,2) x>1[2,5) B@1[5,8) C@1[8,9)",
        },
    );
    Worked { name: "group_that_no_longer_fits", sketch, least: 9, expected }
}

/// ```text
/// A3 (7 temporary) -x2-> B2 -y1-> C4 (4 persistent)     d0, d1: 12 bytes
/// ```
/// A's 7 + 2 over [0, 3) and C's 4 from 0 make 13 on one device. m-ETF and m-SCT: B stays on d0
/// (3 against 3 + 3), C must leave: y [5, 7), C [7, 11). d0: 9; d1: 4 + y 1.
///
/// m-TOPO finds no plan, see `m_topo_sees_the_late_parameter_too_late`: its cap is
/// floor(14 x 12 / 24) + 9 = 16.
fn parameter_placed_late() -> Worked {
    let expected = alike(
        &["m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 11,
            peaks: "9 5",
            orders: "A B | C",
            channels: "recv1 y>1 | send0 y>1",
            after: "",
            spans: "A@0[0,3) B@0[3,5) y>1[5,7) C@1[7,11)",
        },
    );
    Worked { name: "parameter_placed_late", sketch: late_sketch(), least: 11, expected }
}

/// The problem of [`parameter_placed_late`].
pub(crate) fn late_sketch() -> Sketch {
    Sketch::new(1.0)
        .device("a", 12)
        .device("a", 12)
        .op("A", "a", 3, "", "x:2")
        .temporary(7)
        .op("B", "a", 2, "x", "y:1")
        .op("C", "a", 4, "y", "")
        .persistent(4)
}

/// ```text
/// A2 (3 persistent) -x1-> B3 (3 temporary) -y2-> C4 (2) -z1-> D1 (4)     d0: 10, d1: 30 bytes
/// ```
/// m-TOPO: mem 4, 5, 3, 4, sum 16; cap(d0) = floor(16 x 10 / 40) + 5 = 9 = 4 + 5: B stays, with
/// equality, C goes on to d1 (cap 17). y [5, 8), C [8, 12), D [12, 13). d0 over [2, 5): 3 + x 1 +
/// 3 + y 2 = 9; d1 over [8, 12): 6 + y 2 + z 1 = 9.
///
/// m-ETF and m-SCT come to the same plan by memory: C's 2 bytes on top of d0's 9 are over 10.
///
/// Least: all on d1, 10.
fn cap_with_unlike_limits() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 30)
        .op("A", "a", 2, "", "x:1")
        .persistent(3)
        .op("B", "a", 3, "x", "y:2")
        .temporary(3)
        .op("C", "a", 4, "y", "z:1")
        .persistent(2)
        .op("D", "a", 1, "z", "")
        .persistent(4);
    let expected = alike(
        &["m-topo", "m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 13,
            peaks: "9 9",
            orders: "A B | C D",
            channels: "recv1 y>1 | send0 y>1",
            after: "",
            spans: "A@0[0,2) B@0[2,5) y>1[5,8) C@1[8,12) D@1[12,13)",
        },
    );
    Worked { name: "cap_with_unlike_limits", sketch, least: 10, expected }
}

/// ```text
/// A2 (d0 only) -x0-> B1 (d1 only)     4 ns latency
///     \--------y3-/
/// ```
/// x has no bytes, yet takes its turn: [2, 6) on the channel. y [6, 13), B [13, 14). d0 holds y
/// over [0, 13), d1 over [6, 14).
fn empty_tensor_first() -> Worked {
    let sketch = Sketch::new(4.0)
        .device("a", 10)
        .device("b", 10)
        .op("A", "a", 2, "", "x:0 y:3")
        .op("B", "b", 1, "x y", "");
    let expected = alike(
        &["m-topo", "m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 14,
            peaks: "3 3",
            orders: "A | B",
            channels: "recv1 x>1 y>1 | send0 x>1 y>1",
            after: "",
            spans: "A@0[0,2) x>1[2,6) y>1[6,13) B@1[13,14)",
        },
    );
    Worked { name: "empty_tensor_first", sketch, least: 14, expected }
}

/// ```text
/// P3   Q3   R3   S3     d0, d1: 10 bytes
/// ```
/// Nothing but ids tells them apart. m-ETF and m-SCT: both devices propose P, d0 is lower; then Q
/// for d1; at 3 R and S likewise. m-TOPO: no bytes, so the cap is 0 and 0 <= 0 holds all on d0.
fn four_alike() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("P", "a", 3, "", "")
        .op("Q", "a", 3, "", "")
        .op("R", "a", 3, "", "")
        .op("S", "a", 3, "", "");
    let mut expected = vec![Expected {
        algorithm: "m-topo",
        step_time: 12,
        peaks: "0 0",
        orders: "P Q R S | ",
        channels: "",
        after: "",
        spans: "P@0[0,3) Q@0[3,6) R@0[6,9) S@0[9,12)",
    }];
    expected.extend(alike(
        &["m-etf", "m-sct"],
        &Expected {
            algorithm: "",
            step_time: 6,
            peaks: "0 0",
            orders: "P R | Q S",
            channels: "",
            after: "",
            spans: "P@0[0,3) Q@1[0,3) R@0[3,6) S@1[3,6)",
        },
    ));
    Worked { name: "four_alike", sketch, least: 6, expected }
}

/// ```text
/// A2 -x3-> B5     C3     D4     d0, d1: 10 bytes
/// ```
/// T1: A C D B. m-TOPO: mem 3, 0, 0, 0; cap = floor(3 x 10 / 20) + 3 = 4: 2 + 3 + 4 + 5 = 14.
///
/// m-ETF: A on d0, C on d1; at 2 D comes before B: d0 [2, 6). At 6 B starts on either (x would be
/// on d1 at 6): d0 [6, 11).
///
/// m-SCT: A-B is the only edge, x = 0. At 2 d0 is awake for B, which starts nowhere earlier; D is
/// not urgent (d1 is busy to 3). B [2, 7) on d0, D [3, 7) on d1, and 14 / 2 = 7 is the least.
fn favourite_before_position() -> Worked {
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("A", "a", 2, "", "x:3")
        .op("B", "a", 5, "x", "")
        .op("C", "a", 3, "", "")
        .op("D", "a", 4, "", "");
    let expected = vec![
        Expected {
            algorithm: "m-topo",
            step_time: 14,
            peaks: "3 0",
            orders: "A C D B | ",
            channels: "",
            after: "",
            spans: "A@0[0,2) C@0[2,5) D@0[5,9) B@0[9,14)",
        },
        Expected {
            algorithm: "m-etf",
            step_time: 11,
            peaks: "3 0",
            orders: "A D B | C",
            channels: "",
            after: "",
            spans: "A@0[0,2) C@1[0,3) D@0[2,6) B@0[6,11)",
        },
        Expected {
            algorithm: "m-sct",
            step_time: 7,
            peaks: "3 0",
            orders: "A B | C D",
            channels: "",
            after: "",
            spans: "A@0[0,2) C@1[0,3) B@0[2,7) D@1[3,7)",
        },
    ];
    Worked { name: "favourite_before_position", sketch, least: 7, expected }
}
