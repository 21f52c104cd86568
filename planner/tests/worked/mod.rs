//! Problems small enough to check by hand, with what each algorithm makes of them.
//!
//! Links take 1 ns and 1 ns per byte. A span `A@0[0,2)` is an op on a device, `x>1[2,5)` a transfer
//! to a device.

pub(crate) mod by_hand;
pub(crate) mod sketch;

use self::sketch::Sketch;

/// What an algorithm makes of a problem.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) algorithm: &'static str,
    /// Nanoseconds.
    pub(crate) step_time: u64,
    /// Bytes by device.
    pub(crate) peaks: &'static str,
    /// Ops by device, separated by `|`.
    pub(crate) orders: &'static str,
    /// Transfers by channel, channels by name.
    pub(crate) channels: &'static str,
    /// Waits.
    pub(crate) after: &'static str,
    /// Everything by start.
    pub(crate) spans: &'static str,
}

/// A problem with its answers.
pub(crate) struct Worked {
    pub(crate) name: &'static str,
    pub(crate) sketch: Sketch,
    /// The least step time there is, nanoseconds.
    pub(crate) least: u64,
    pub(crate) expected: Vec<Expected>,
}

/// All of them.
pub(crate) fn examples() -> Vec<Worked> {
    vec![
        join(),
        receive_channel(),
        group(),
        late_parameter(),
        share_with_equality(),
        zero_bytes(),
        ties(),
        favourite(),
        transfer_waits(),
        known_late(),
    ]
}

fn join() -> Worked {
    // The join: B goes first on d0, so D finds y on d1 before z could be on d0.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("A", "a", 2, "", "x:2")
        .op("B", "a", 4, "x", "y:1")
        .op("C", "a", 5, "x", "z:1")
        .op("D", "a", 1, "y z", "");
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 11,
        peaks: "3 4",
        orders: "A B | C D",
        channels: "recv1 x>1 y>1 | send0 x>1 y>1",
        after: "",
        spans: "A@0[0,2) B@0[2,6) x>1[2,5) C@1[5,10) y>1[6,8) D@1[10,11)",
    }];
    Worked { name: "join", sketch, least: 10, expected }
}

fn receive_channel() -> Worked {
    // Both tensors need d2's receive channel: x holds it over [2,6), y follows.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .device("b", 10)
        .op("A", "a", 2, "", "x:3")
        .op("B", "a", 3, "", "y:2")
        .op("C", "b", 4, "x y", "");
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 13,
        peaks: "3 2 5",
        orders: "A | B | C",
        channels: "recv2 x>2 y>2 | send0 x>2 | send1 y>2",
        after: "",
        spans: "A@0[0,2) B@1[0,3) x>2[2,6) y>2[6,9) C@2[9,13)",
    }];
    Worked { name: "receive_channel", sketch, least: 13, expected }
}

fn group() -> Worked {
    // B + C weigh 6 beside A's 6 on d0, limit 10: the group goes where x must be sent.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("A", "a", 2, "", "x:1")
        .persistent(6)
        .op("B", "a", 2, "x", "y:1")
        .persistent(3)
        .group()
        .op("C", "a", 2, "y", "")
        .persistent(3)
        .group();
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 8,
        peaks: "7 8",
        orders: "A | B C",
        channels: "recv1 x>1 | send0 x>1",
        after: "",
        spans: "A@0[0,2) x>1[2,4) B@1[4,6) C@1[6,8)",
    }];
    Worked { name: "group", sketch, least: 8, expected }
}

fn late_parameter() -> Worked {
    // A's peak of 9 counts against B's 4, although A is over when B starts.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("A", "a", 2, "", "x:1")
        .temporary(8)
        .op("B", "a", 3, "x", "")
        .persistent(4);
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 7,
        peaks: "9 5",
        orders: "A | B",
        channels: "recv1 x>1 | send0 x>1",
        after: "",
        spans: "A@0[0,2) x>1[2,4) B@1[4,7)",
    }];
    Worked { name: "late_parameter", sketch, least: 7, expected }
}

fn share_with_equality() -> Worked {
    // Sum 10, share 10/2 + 4 = 9 = 2 + 3 + 4: C still goes to d0.
    let sketch = Sketch::new(1.0)
        .device("a", 20)
        .device("a", 20)
        .op("A", "a", 2, "", "x:1")
        .persistent(1)
        .op("B", "a", 3, "x", "y:1")
        .temporary(2)
        .op("C", "a", 2, "y", "z:1")
        .persistent(3)
        .op("D", "a", 1, "z", "")
        .persistent(1);
    let expected = vec![Expected {
        algorithm: "m-topo",
        step_time: 10,
        peaks: "8 2",
        orders: "A B C | D",
        channels: "recv1 z>1 | send0 z>1",
        after: "",
        spans: "A@0[0,2) B@0[2,5) C@0[5,7) z>1[7,9) D@1[9,10)",
    }];
    Worked { name: "share_with_equality", sketch, least: 8, expected }
}

fn zero_bytes() -> Worked {
    // 0 bytes: 5 ns of latency and no memory.
    let sketch = Sketch::new(5.0)
        .device("a", 10)
        .device("b", 10)
        .op("A", "a", 3, "", "x:0")
        .temporary(4)
        .op("B", "b", 2, "x", "")
        .temporary(2);
    let expected = vec![
        Expected {
            algorithm: "m-etf",
            step_time: 10,
            peaks: "4 2",
            orders: "A | B",
            channels: "recv1 x>1 | send0 x>1",
            after: "",
            spans: "A@0[0,3) x>1[3,8) B@1[8,10)",
        },
        Expected {
            algorithm: "m-topo",
            step_time: 10,
            peaks: "4 2",
            orders: "A | B",
            channels: "recv1 x>1 | send0 x>1",
            after: "",
            spans: "A@0[0,3) x>1[3,8) B@1[8,10)",
        },
    ];
    Worked { name: "zero_bytes", sketch, least: 10, expected }
}

fn ties() -> Worked {
    // At 4 both ops could start on both devices: the position decides, then the device.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("op1", "a", 3, "x", "")
        .op("op2", "a", 4, "", "")
        .op("op5", "a", 4, "", "x:1")
        .op("op9", "a", 4, "", "");
    let expected = vec![
        Expected {
            algorithm: "m-etf",
            step_time: 8,
            peaks: "0 1",
            orders: "op2 op9 | op5 op1",
            channels: "",
            after: "",
            spans: "op2@0[0,4) op5@1[0,4) op1@1[4,7) op9@0[4,8)",
        },
        Expected {
            algorithm: "m-topo",
            step_time: 15,
            peaks: "1 0",
            orders: "op2 op5 op9 op1 | ",
            channels: "",
            after: "",
            spans: "op2@0[0,4) op5@0[4,8) op9@0[8,12) op1@0[12,15)",
        },
    ];
    Worked { name: "ties", sketch, least: 8, expected }
}

fn favourite() -> Worked {
    // A is followed by its favourite B at once; D, not late on d1, waits for C.
    let sketch = Sketch::new(1.0)
        .device("a", 10)
        .device("a", 10)
        .op("A", "a", 1, "", "x:2")
        .op("B", "a", 4, "x", "")
        .op("C", "a", 2, "", "")
        .op("D", "a", 3, "", "");
    let expected = vec![
        Expected {
            algorithm: "m-etf",
            step_time: 8,
            peaks: "2 0",
            orders: "A D B | C",
            channels: "",
            after: "",
            spans: "A@0[0,1) C@1[0,2) D@0[1,4) B@0[4,8)",
        },
        Expected {
            algorithm: "m-sct",
            step_time: 5,
            peaks: "2 0",
            orders: "A B | C D",
            channels: "",
            after: "",
            spans: "A@0[0,1) C@1[0,2) B@0[1,5) D@1[2,5)",
        },
    ];
    Worked { name: "favourite", sketch, least: 5, expected }
}

fn transfer_waits() -> Worked {
    // 4 + 6 > 8 on d1: the transfer starts when B ends.
    let sketch = Sketch::new(1.0)
        .device("a", 8)
        .device("b", 8)
        .op("A", "a", 1, "", "x:4")
        .op("B", "b", 5, "", "")
        .temporary(6)
        .op("C", "b", 2, "x", "");
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 12,
        peaks: "4 6",
        orders: "A | B C",
        channels: "recv1 x>1 | send0 x>1",
        after: "x>1 after B",
        spans: "A@0[0,1) B@1[0,5) x>1[5,10) C@1[10,12)",
    }];
    Worked { name: "transfer_waits", sketch, least: 12, expected }
}

fn known_late() -> Worked {
    // x leaves d0 at 6, but only C's commitment at 11 says that nobody else needs it.
    let sketch = Sketch::new(1.0)
        .device("a", 8)
        .device("b", 10)
        .device("c", 10)
        .op("A", "a", 1, "", "x:4")
        .op("D", "c", 7, "", "y:3")
        .op("P", "a", 5, "", "")
        .temporary(6)
        .op("C", "b", 1, "x y", "");
    let expected = vec![Expected {
        algorithm: "m-etf",
        step_time: 12,
        peaks: "6 7 3",
        orders: "A P | C | D",
        channels: "recv1 x>1 y>1 | send0 x>1 | send2 y>1",
        after: "P after x>1",
        spans: "A@0[0,1) D@2[0,7) x>1[1,6) P@0[6,11) y>1[7,11) C@1[11,12)",
    }];
    Worked { name: "known_late", sketch, least: 12, expected }
}
