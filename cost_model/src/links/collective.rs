//! What communication costs: closed forms of the usual algorithms over links with a start-up cost
//! and a rate and curves fitted to measured collectives.
//!
//! Sizes count as the nccl-tests count them: the buffer of one device; for an all-gather and a
//! reduce-scatter, the gathered buffer. With `P` devices, `n` bytes, start-up `a` and rate `B`:
//!
//! ```text
//! point to point   a + n/B
//! broadcast        (P-1) a + n/B
//! all-reduce       2 (P-1) a + 2 (P-1)/P n/B
//! all-gather       (P-1) a + (P-1)/P n/B
//! reduce-scatter   as all-gather
//! all-to-all       as all-gather
//! ```
//!
//! Broadcast is a pipelined chain (Thakur, Rabenseifner and Gropp 2005).

use ir::measured::CollectiveOperation;
use ir::units::{Bytes, BytesPerSecond};

pub mod curve;
pub mod gradient;
mod least_relative;
pub mod table;

/// A way with a start-up cost per message and a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Seconds per message.
    pub start_up_s: f64,
    /// Rate in one direction.
    pub rate: BytesPerSecond,
}

impl Link {
    /// Start-up of so many messages one after the other, and so many bytes.
    fn time(self, messages: f64, bytes: f64) -> f64 {
        messages * self.start_up_s + bytes / self.rate.get()
    }
}

/// Seconds of a ring algorithm; zero for a group of one.
#[must_use]
pub fn ring(operation: CollectiveOperation, ranks: u64, bytes: Bytes, link: Link) -> f64 {
    if ranks <= 1 {
        return 0.0;
    }
    let steps = (ranks - 1) as f64;
    let (part, bytes) = (steps / ranks as f64, bytes.as_f64());
    match operation {
        CollectiveOperation::PointToPoint => link.time(1.0, bytes),
        CollectiveOperation::Broadcast => link.time(steps, bytes),
        CollectiveOperation::AllReduce => link.time(2.0 * steps, 2.0 * part * bytes),
        CollectiveOperation::AllGather
        | CollectiveOperation::ReduceScatter
        | CollectiveOperation::AllToAll => link.time(steps, part * bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::CollectiveOperation::{
        AllGather, AllReduce, AllToAll, Broadcast, PointToPoint, ReduceScatter,
    };
    use super::*;

    const GIB: Bytes = Bytes(1 << 30);
    const MIB: Bytes = Bytes(1 << 20);

    fn link(start_up_s: f64, rate: f64) -> Link {
        Link { start_up_s, rate: BytesPerSecond::new(rate).unwrap() }
    }

    fn near(value: f64, wanted: f64) {
        assert!((value / wanted - 1.0).abs() < 1e-6, "{value} is not {wanted}");
    }

    #[test]
    fn rings_by_hand() {
        let (fast, slow) = (link(10e-6, 200e9), link(5e-6, 100e9));
        near(ring(AllReduce, 8, GIB, fast), 9.535241e-3);
        near(ring(AllReduce, 4, MIB, slow), 45.72864e-6);
        near(ring(AllGather, 8, GIB, fast), 4.767620e-3);
        near(ring(ReduceScatter, 4, MIB, slow), 22.86432e-6);
        near(ring(AllToAll, 4, MIB, slow), 22.86432e-6);
        near(ring(PointToPoint, 2, Bytes(100), link(1.0, 50.0)), 3.0);
        near(ring(Broadcast, 4, Bytes(100), link(1.0, 50.0)), 5.0);
        assert_eq!(ring(AllReduce, 1, GIB, fast), 0.0);
    }
}
