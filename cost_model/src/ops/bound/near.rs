//! Ancestors that are too near to be elsewhere.
//!
//! Say that op `v` starts at `T` or sooner, on device `d`. An ancestor `u` that is elsewhere pays at
//! least one transfer on the way to `v`: if its head, its time, the transfer to a consumer that is on
//! `d`, and the way from there to `v` pass `T`, then `u` is on `d`. Going back from `v` this gives a
//! set `S(T)` of ancestors that all are on `d` (each consumer in the set is on `d` by the same
//! argument; members of a colocation group share a device anyway). One device runs one op at a
//! time: no op of `S(T)` starts before its head, and after its end its way to `v` follows, so that
//! `v` can't start before the preemptive schedule of these heads, times and tails is through
//! (Jackson's rule; Carlier, EJOR 11(1), 1982). And `d` must hold their parameters. If either fails,
//! `T` is too small, and so is every `T` below the least arrival of an ancestor of the set, because
//! the set stays the same until then. The first `T` that passes is a head of `v`. Tails follow with
//! time reversed.
//!
//! With equal transfers and unlimited devices this is the bound of Papadimitriou and Yannakakis,
//! SIAM J. Comput. 19(2), 1990; here it holds with any transfers, release times and memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ir::id::OpId;

use super::device_types::DeviceTypes;
use super::paths::{Paths, same_group};
use crate::numeric::csr::Csr;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// At most so many ancestors of an op are looked at; fewer only relax the bound.
const MOST_ANCESTORS: usize = 192;
/// At most so many values of `T` are tried per op.
const MOST_TRIES: usize = 48;
/// Edges looked at in all; what comes after keeps what it has.
const MOST_EFFORT: u64 = 20_000_000;
/// The same where none of them has raised anything so far.
const MOST_IN_VAIN: u64 = 2_000_000;

/// Raises heads and tails where ancestors or descendants are too near.
pub(super) fn raise(problem: &Problem, types: &DeviceTypes, paths: &mut Paths) {
    let order = problem.topological_order();
    let work: Vec<u64> = (0..problem.n_ops())
        .map(|op| types.times(OpId::new(op)).iter().copied().min().unwrap_or(UNSUPPORTED))
        .collect();
    let transfer: Vec<u64> = paths
        .edges
        .iter()
        .map(|edge| {
            let pairs = (0..types.n()).flat_map(|a| (0..types.n()).map(move |b| (a, b)));
            let ways = pairs.map(|(a, b)| types.remote(problem, a, b, &edge.bytes));
            ways.min().unwrap_or(u64::MAX)
        })
        .collect();
    let forward: Vec<(u32, u32)> = paths.edges.iter().map(|e| (e.from.0, e.to.0)).collect();
    let backward: Vec<(u32, u32)> = forward.iter().map(|(from, to)| (*to, *from)).collect();
    let heads = Sweep::new(problem, &work, &transfer, &forward, &order);
    let heads = heads.run(&order, &paths.least_head);
    let reversed: Vec<OpId> = order.iter().rev().copied().collect();
    let tails = Sweep::new(problem, &work, &transfer, &backward, &reversed);
    let tails = tails.run(&reversed, &paths.least_tail);
    paths.raise(problem, types, &heads, &tails);
}

/// An op that must be on the device of the op in question.
#[derive(Clone, Copy, Debug)]
struct Member {
    release: u64,
    work: u64,
    /// From its end to the start of the op in question.
    tail: u64,
}

/// One direction: "before" and "after" are those of the order in which ops are taken.
struct Sweep<'a> {
    problem: &'a Problem,
    work: &'a [u64],
    /// By edge.
    transfer: &'a [u64],
    /// (before, after) by edge.
    ends: &'a [(u32, u32)],
    incoming: Csr<u32>,
    outgoing: Csr<u32>,
    position: Vec<u32>,
    most_memory: u64,
    value: Vec<u64>,
    /// The round in which an op was found to be on the device, or was queued.
    inside: Vec<u32>,
    queued: Vec<u32>,
    /// From the start of an op inside to the start of the op in question.
    through: Vec<u64>,
    round: u32,
    effort: u64,
    members: Vec<Member>,
    parameters: Vec<u32>,
}

impl<'a> Sweep<'a> {
    fn new(
        problem: &'a Problem,
        work: &'a [u64],
        transfer: &'a [u64],
        ends: &'a [(u32, u32)],
        order: &[OpId],
    ) -> Self {
        let n_ops = problem.n_ops();
        let pairs = |key: fn(&(u32, u32)) -> u32| -> Vec<(usize, u32)> {
            ends.iter().zip(0u32..).map(|(edge, i)| (key(edge) as usize, i)).collect()
        };
        let mut position = vec![0; n_ops];
        order.iter().zip(0u32..).for_each(|(op, at)| position[op.index()] = at);
        let limits = problem.cluster.device_ids().map(|d| problem.memory_limit(d));
        Self {
            problem,
            work,
            transfer,
            ends,
            incoming: Csr::from_pairs(n_ops, &pairs(|edge| edge.1)),
            outgoing: Csr::from_pairs(n_ops, &pairs(|edge| edge.0)),
            position,
            most_memory: limits.max().unwrap_or(u64::MAX),
            value: vec![0; n_ops],
            inside: vec![0; n_ops],
            queued: vec![0; n_ops],
            through: vec![0; n_ops],
            round: 0,
            effort: 0,
            members: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Heads by op, none below `known`.
    fn run(mut self, order: &[OpId], known: &[u64]) -> Vec<u64> {
        let mut most = MOST_IN_VAIN;
        for &op in order {
            let mut value = known[op.index()];
            for &edge in self.incoming.of(op.index()) {
                let before = self.ends[edge as usize].0 as usize;
                value = value.max(self.value[before].saturating_add(self.work[before]));
            }
            self.value[op.index()] = value;
            if self.effort < most {
                let first = self.first_possible(op, value);
                if first > value {
                    most = MOST_EFFORT;
                }
                self.value[op.index()] = first;
            }
        }
        self.value
    }

    /// The first `T` from `least` on that passes.
    fn first_possible(&mut self, op: OpId, least: u64) -> u64 {
        let mut start = least;
        for _ in 0..MOST_TRIES {
            let arrival = self.explore(op, start);
            if self.members.is_empty() {
                break;
            }
            let through = if self.fits() { preemptive(&mut self.members) } else { u64::MAX };
            let next = through.min(arrival);
            if next <= start || next == u64::MAX {
                break;
            }
            start = next;
        }
        start
    }

    /// Collects the ancestors that must be on the device of `op` if it starts by `start`; gives
    /// the least arrival of one of them from elsewhere.
    fn explore(&mut self, op: OpId, start: u64) -> u64 {
        self.round += 1;
        self.members.clear();
        self.parameters.clear();
        self.parameters.extend(self.problem.parameters(op).iter().map(|t| t.0));
        self.inside[op.index()] = self.round;
        self.through[op.index()] = 0;
        let mut queue = BinaryHeap::new();
        self.enqueue(op.index(), &mut queue);
        let mut least = u64::MAX;
        while let Some((_, at)) = queue.pop() {
            let at = at as usize;
            let here = OpId::new(at);
            let (mut tail, mut away) = (0u64, 0u64);
            for &edge in self.outgoing.of(at) {
                self.effort += 1;
                let after = self.ends[edge as usize].1 as usize;
                if self.inside[after] != self.round {
                    continue;
                }
                tail = tail.max(self.through[after]);
                let shares = same_group(self.problem, here, OpId::new(after));
                let brought = if shares { u64::MAX } else { self.transfer[edge as usize] };
                away = away.max(brought.saturating_add(self.through[after]));
            }
            let ready = self.value[at].saturating_add(self.work[at]);
            let arrival = match same_group(self.problem, here, op) {
                true => u64::MAX,
                false => ready.saturating_add(away),
            };
            if arrival <= start {
                continue;
            }
            least = least.min(arrival);
            self.inside[at] = self.round;
            self.through[at] = self.work[at].saturating_add(tail);
            self.members.push(Member { release: self.value[at], work: self.work[at], tail });
            self.parameters.extend(self.problem.parameters(here).iter().map(|t| t.0));
            if self.members.len() >= MOST_ANCESTORS {
                break;
            }
            self.enqueue(at, &mut queue);
        }
        least
    }

    fn enqueue(&mut self, op: usize, queue: &mut BinaryHeap<(u32, u32)>) {
        for &edge in self.incoming.of(op) {
            let before = self.ends[edge as usize].0;
            if std::mem::replace(&mut self.queued[before as usize], self.round) != self.round {
                queue.push((self.position[before as usize], before));
            }
        }
    }

    /// Whether some device holds the parameters of the members.
    fn fits(&mut self) -> bool {
        let problem = self.problem;
        let bytes = |parameters: &[u32]| {
            let sizes = parameters.iter().map(|t| problem.persistent_bytes(ir::id::TensorId(*t)));
            sizes.fold(0u64, u64::saturating_add)
        };
        if bytes(&self.parameters) <= self.most_memory {
            return true;
        }
        self.parameters.sort_unstable();
        self.parameters.dedup();
        bytes(&self.parameters) <= self.most_memory
    }
}

/// The length of the preemptive schedule of one machine with heads and tails, which is optimal: at
/// each instant runs what is released and has the longest tail.
fn preemptive(members: &mut [Member]) -> u64 {
    members.sort_unstable_by_key(|member| Reverse(member.release));
    let mut waiting: BinaryHeap<(u64, u64)> = BinaryHeap::new();
    let mut left = members.len();
    let (mut now, mut last) = (0u64, 0u64);
    loop {
        if waiting.is_empty() {
            match left.checked_sub(1) {
                Some(next) => now = now.max(members[next].release),
                None => return last,
            }
        }
        while left > 0 && members[left - 1].release <= now {
            left -= 1;
            waiting.push((members[left].tail, members[left].work));
        }
        let Some((tail, work)) = waiting.pop() else { continue };
        let until = match left.checked_sub(1) {
            Some(next) => members[next].release,
            None => u64::MAX,
        };
        let end = now.saturating_add(work);
        if end <= until {
            now = end;
            last = last.max(end.saturating_add(tail));
        } else {
            waiting.push((tail, end - until));
            now = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_tail_goes_first_and_may_be_interrupted() {
        let member = |release, work, tail| Member { release, work, tail };
        // 0-3 the first, 3-5 the second with the longer tail, 5-8 the rest of the first.
        assert_eq!(preemptive(&mut [member(0, 6, 1), member(3, 2, 9)]), 14);
        assert_eq!(preemptive(&mut [member(0, 6, 1), member(0, 2, 9)]), 11);
        assert_eq!(preemptive(&mut [member(4, 0, 0), member(7, 1, 2)]), 10);
    }
}
