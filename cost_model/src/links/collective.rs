//! What communication costs: closed forms of the usual algorithms over links with a start-up cost
//! and a rate, curves fitted to measured collectives, and groups of devices of a cluster.
//!
//! Sizes count as the nccl-tests count them: the buffer of one device; for an all-gather and a
//! reduce-scatter, the gathered buffer. With `P` devices, `n` bytes, start-up `a` and rate `B`:
//!
//! ```text
//!                  ring                            tree (l = ceil(log2 P))
//! point to point   a + n/B                         a + n/B
//! broadcast        (P-1) a + n/B                   l (a + n/B)
//! all-reduce       2 (P-1) a + 2 (P-1)/P n/B       2 l (a + n/B)
//! all-gather       (P-1) a + (P-1)/P n/B           l a + (P-1)/P n/B
//! reduce-scatter   as all-gather                   as all-gather
//! all-to-all       (P-1) a + (P-1)/P n/B           l (a + n/2B)
//! ```
//!
//! The tree's all-gather and reduce-scatter are recursive doubling and halving, its all-to-all is
//! Bruck's (Thakur, Rabenseifner and Gropp 2005); the ring's broadcast is a pipelined chain.

use ir::measured::CollectiveOperation;
use ir::units::{Bytes, BytesPerSecond};

pub mod curve;
pub mod gradient;
pub mod group;
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
    /// The link as one of `groups` sees it that use it at the same time: each gets the same share
    /// of the rate, and the whole start-up cost.
    #[must_use]
    pub fn shared(self, groups: u64) -> Self {
        let rate = BytesPerSecond::new(self.rate.get() / groups.max(1) as f64);
        Self { rate: rate.unwrap_or(self.rate), ..self }
    }

    /// The network of a host as one of `groups` sees it that leave the host at the same time, each
    /// with its own ring over `adapters` adapters of this rate: `adapters / groups` of them. With
    /// tensor parallelism of size `t` there are `t` data-parallel rings per host.
    #[must_use]
    pub fn of_host(self, adapters: u64, groups: u64) -> Self {
        let rate = self.rate.get() * adapters.max(1) as f64 / groups.max(1) as f64;
        Self { rate: BytesPerSecond::new(rate).unwrap_or(self.rate), ..self }
    }

    /// Start-up of so many messages one after the other, and so many bytes.
    fn time(self, messages: f64, bytes: f64) -> f64 {
        messages * self.start_up_s + bytes / self.rate.get()
    }
}

/// One tier of a group: so many parts, joined by a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Parts that the link joins: devices inside a host, hosts in a network.
    pub parts: u64,
    /// The link between them.
    pub link: Link,
}

/// Seconds of a ring algorithm; zero for a group of one.
#[must_use]
pub fn ring(operation: CollectiveOperation, ranks: u64, bytes: Bytes, link: Link) -> f64 {
    if ranks <= 1 {
        return 0.0;
    }
    ring_of(operation, ranks, bytes.as_f64(), link)
}

fn ring_of(operation: CollectiveOperation, ranks: u64, bytes: f64, link: Link) -> f64 {
    let steps = ranks.saturating_sub(1) as f64;
    let part = steps / ranks.max(1) as f64;
    match operation {
        CollectiveOperation::PointToPoint => link.time(1.0, bytes),
        CollectiveOperation::Broadcast => link.time(steps, bytes),
        CollectiveOperation::AllReduce => link.time(2.0 * steps, 2.0 * part * bytes),
        CollectiveOperation::AllGather
        | CollectiveOperation::ReduceScatter
        | CollectiveOperation::AllToAll => link.time(steps, part * bytes),
    }
}

/// Seconds of a tree algorithm; zero for a group of one.
#[must_use]
pub fn tree(operation: CollectiveOperation, ranks: u64, bytes: Bytes, link: Link) -> f64 {
    if ranks <= 1 {
        return 0.0;
    }
    let levels = f64::from((ranks - 1).ilog2() + 1);
    let part = (ranks - 1) as f64 / ranks as f64;
    let bytes = bytes.as_f64();
    match operation {
        CollectiveOperation::PointToPoint => link.time(1.0, bytes),
        CollectiveOperation::Broadcast => link.time(levels, levels * bytes),
        CollectiveOperation::AllReduce => link.time(2.0 * levels, 2.0 * levels * bytes),
        CollectiveOperation::AllGather | CollectiveOperation::ReduceScatter => {
            link.time(levels, part * bytes)
        }
        CollectiveOperation::AllToAll => link.time(levels, levels * bytes / 2.0),
    }
}

/// Seconds of rings on each tier, innermost first.
///
/// An all-reduce scatters inside, reduces the parts across, and gathers inside, so that `n / parts`
/// bytes per device leave the inner tier; an all-gather and a reduce-scatter likewise. A broadcast
/// and an all-to-all pass the tiers one after the other; a transfer between two devices takes the
/// outermost tier that has more than one part.
#[must_use]
pub fn hierarchical(operation: CollectiveOperation, levels: &[Level], bytes: Bytes) -> f64 {
    let used: Vec<&Level> = levels.iter().filter(|level| level.parts > 1).collect();
    let mut seconds = 0.0;
    let mut left = bytes.as_f64();
    for (index, level) in used.iter().enumerate() {
        let outermost = index + 1 == used.len();
        seconds += match operation {
            CollectiveOperation::PointToPoint if !outermost => 0.0,
            // A ring all-reduce is a reduce-scatter and an all-gather on the same tier.
            _ => ring_of(operation, level.parts, left, level.link),
        };
        match operation {
            CollectiveOperation::AllReduce
            | CollectiveOperation::AllGather
            | CollectiveOperation::ReduceScatter => left /= level.parts as f64,
            _ => {}
        }
    }
    seconds
}

/// Seconds of the fastest of ring and tree over the whole group, on its slowest link, and of rings
/// per tier.
#[must_use]
pub fn fastest(operation: CollectiveOperation, levels: &[Level], bytes: Bytes) -> f64 {
    let ranks = levels.iter().fold(1_u64, |ranks, level| ranks.saturating_mul(level.parts.max(1)));
    let used = levels.iter().filter(|level| level.parts > 1).map(|level| level.link);
    let slowest = used.reduce(|a, b| Link {
        start_up_s: a.start_up_s.max(b.start_up_s),
        rate: if b.rate < a.rate { b.rate } else { a.rate },
    });
    let Some(slowest) = slowest else {
        return 0.0;
    };
    let flat = ring(operation, ranks, bytes, slowest).min(tree(operation, ranks, bytes, slowest));
    flat.min(hierarchical(operation, levels, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
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

    #[test]
    fn trees_by_hand() {
        let link = link(1.0, 50.0);
        near(tree(Broadcast, 8, Bytes(100), link), 9.0);
        near(tree(AllReduce, 5, Bytes(100), link), 18.0);
        near(tree(AllGather, 8, Bytes(400), link), 3.0 + 7.0);
        near(tree(AllToAll, 8, Bytes(100), link), 6.0);
        assert_eq!(tree(AllReduce, 1, GIB, link), 0.0);
    }

    #[test]
    fn small_messages_take_the_tree_and_great_ones_the_ring() {
        let level = Level { parts: 8, link: link(10e-6, 100e9) };
        assert_eq!(
            fastest(AllReduce, &[level], Bytes(8)),
            tree(AllReduce, 8, Bytes(8), level.link)
        );
        assert_eq!(fastest(AllReduce, &[level], GIB), ring(AllReduce, 8, GIB, level.link));
    }

    #[test]
    fn only_a_part_leaves_the_host() {
        let inner = Level { parts: 4, link: link(0.0, 100.0) };
        let outer = Level { parts: 2, link: link(0.0, 10.0) };
        // 2 x 3/4 x 400 / 100 inside, 2 x 1/2 x 100 / 10 across.
        near(hierarchical(AllReduce, &[inner, outer], Bytes(400)), 6.0 + 10.0);
        near(hierarchical(AllGather, &[inner, outer], Bytes(400)), 3.0 + 5.0);
        near(hierarchical(PointToPoint, &[inner, outer], Bytes(400)), 40.0);
        near(hierarchical(AllReduce, &[outer], Bytes(400)), 40.0);
        assert_eq!(hierarchical(AllReduce, &[], GIB), 0.0);
        assert_eq!(fastest(AllReduce, &[], GIB), 0.0);
    }

    #[test]
    fn shared_links_are_slower() {
        let nic = link(1e-6, 25e9);
        near(nic.shared(4).rate.get(), 6.25e9);
        near(nic.of_host(8, 2).rate.get(), 100e9);
        assert_eq!(nic.shared(0), nic);
    }
}
