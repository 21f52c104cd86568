//! Heads, tails and the critical path, with the transfers that can't be avoided.
//!
//! **Head** of op `o` on device type `c`: no legal plan that has `o` on a device of that type
//! starts `o` earlier. **Tail**: no such plan ends sooner after the end of `o`.
//!
//! *Proof for heads, by induction along the graph.* Take a plan with `o` on device `d` of type `c`.
//! Each producer `p` of an input is either on `d` or elsewhere. Those on `d` run there one after
//! the other, each no sooner than its own head on `c` and no shorter than its least time on `c`, and
//! all end before `o` starts: `o` starts no sooner than the earliest end of such a sequence, which
//! is what running them in order of their heads gives. One that is elsewhere, on type `b`, ends no
//! sooner than head plus time on `b`, and its tensors then come one after another over the same
//! channels; the least over `b` is its *arrival*. So for some division of the producers the start
//! is at least the maximum of both parts, and [`join`] takes the least over all divisions. For
//! tails the same holds with time reversed, because the consumers on `d` also run one after the
//! other, and those elsewhere wait for the transfers.

use ir::id::OpId;

use super::device_types::DeviceTypes;
use crate::numeric::csr::Csr;
use crate::ops::problem::{Problem, UNSUPPORTED};

/// At most this many neighbours of an op are divided exactly; the rest only relax the bound.
const MAX_LOCAL: usize = 64;

/// All tensors that go from one op to another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: OpId,
    pub(super) to: OpId,
    pub(super) bytes: Vec<u64>,
}

/// Heads and tails.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) edges: Vec<Edge>,
    /// `op * n_types + type`; `u64::MAX` where the op can't be in any legal plan.
    head: Vec<u64>,
    tail: Vec<u64>,
    n_types: usize,
    /// By op, the least over types.
    pub(super) least_head: Vec<u64>,
    /// By op, the least over types.
    pub(super) least_tail: Vec<u64>,
    longest: u64,
}

/// A neighbour, seen from one op on one type.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    /// When its data is here at the earliest if it is on another device; `u64::MAX` = never.
    arrival: u64,
    /// When it starts at the earliest if it is on the same device.
    release: u64,
    /// How long it then takes at least; [`UNSUPPORTED`] = it can't be here.
    work: u64,
}

impl Paths {
    /// `None` if some op can't be reached by its inputs on any device, or the graph has a circle.
    pub(super) fn new(problem: &Problem, types: &DeviceTypes) -> Option<Self> {
        let order = problem.topological_order();
        if order.len() != problem.actions.len() {
            return None;
        }
        let edges = edges(problem);
        let pairs = |key: fn(&Edge) -> OpId| -> Vec<(usize, u32)> {
            edges.iter().zip(0u32..).map(|(edge, i)| (key(edge).index(), i)).collect()
        };
        let incoming = Csr::from_pairs(problem.n_ops(), &pairs(|edge| edge.to));
        let outgoing = Csr::from_pairs(problem.n_ops(), &pairs(|edge| edge.from));
        let head = sweep(problem, types, &edges, &incoming, order.iter(), Direction::Forward);
        let tail =
            sweep(problem, types, &edges, &outgoing, order.iter().rev(), Direction::Backward);
        let n_types = types.n();
        let mut paths = Self {
            edges,
            head,
            tail,
            n_types,
            least_head: vec![0; problem.n_ops()],
            least_tail: vec![0; problem.n_ops()],
            longest: 0,
        };
        paths.sum_up(problem, types).then_some(paths)
    }

    /// Least heads, least tails and the longest path; whether every op can be somewhere.
    fn sum_up(&mut self, problem: &Problem, types: &DeviceTypes) -> bool {
        for &op in &problem.actions {
            let (mut least_head, mut least_tail, mut through) = (u64::MAX, u64::MAX, u64::MAX);
            for (c, &time) in types.times(op).iter().enumerate() {
                let (head, tail) = (self.head(op, c), self.tail(op, c));
                if time != UNSUPPORTED && head != u64::MAX && tail != u64::MAX {
                    least_head = least_head.min(head);
                    least_tail = least_tail.min(tail);
                    through = through.min(head.saturating_add(time).saturating_add(tail));
                }
            }
            if through == u64::MAX {
                return false;
            }
            self.least_head[op.index()] = least_head;
            self.least_tail[op.index()] = least_tail;
            self.longest = self.longest.max(through);
        }
        true
    }

    /// Takes heads and tails by op that hold on every type, where they are greater.
    pub(super) fn raise(
        &mut self,
        problem: &Problem,
        types: &DeviceTypes,
        heads: &[u64],
        tails: &[u64],
    ) {
        let n_types = self.n_types;
        for &op in &problem.actions {
            for slot in op.index() * n_types..(op.index() + 1) * n_types {
                // Where the op can't be, it stays so.
                self.head[slot] = self.head[slot].max(heads[op.index()]);
                self.tail[slot] = self.tail[slot].max(tails[op.index()]);
            }
        }
        self.sum_up(problem, types);
    }

    /// Head of an op on a type, `u64::MAX` if it can't be there.
    pub(super) fn head(&self, op: OpId, device_type: usize) -> u64 {
        self.head[op.index() * self.n_types + device_type]
    }

    /// Tail of an op on a type, `u64::MAX` if it can't be there.
    pub(super) fn tail(&self, op: OpId, device_type: usize) -> u64 {
        self.tail[op.index() * self.n_types + device_type]
    }

    /// The critical path: for some type of its device, each op takes head, time and tail.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }
}

fn edges(problem: &Problem) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    let mut triples: Vec<(OpId, u64)> = Vec::new();
    for &to in &problem.actions {
        triples.clear();
        for &tensor in problem.inputs(to) {
            if let Some(from) = problem.producer(tensor) {
                triples.push((from, problem.bytes(tensor)));
            }
        }
        triples.sort_unstable();
        for chunk in triples.chunk_by(|a, b| a.0 == b.0) {
            let bytes = chunk.iter().map(|(_, bytes)| *bytes).collect();
            edges.push(Edge { from: chunk[0].0, to, bytes });
        }
    }
    edges
}

#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Backward,
}

/// Heads (forward) or tails (backward) of all ops; see the module's proof.
fn sweep<'a>(
    problem: &Problem,
    types: &DeviceTypes,
    edges: &[Edge],
    touching: &Csr<u32>,
    order: impl Iterator<Item = &'a OpId>,
    direction: Direction,
) -> Vec<u64> {
    let n = types.n();
    let mut value = vec![u64::MAX; problem.n_ops() * n];
    let mut neighbours = Vec::new();
    for &op in order {
        let here = touching.of(op.index());
        for c in (0..n).filter(|c| types.times(op)[*c] != UNSUPPORTED) {
            neighbours.clear();
            for &index in here {
                let edge = &edges[index as usize];
                let other = match direction {
                    Direction::Forward => edge.from,
                    Direction::Backward => edge.to,
                };
                let brought = |b: usize| match direction {
                    Direction::Forward => types.remote(problem, b, c, &edge.bytes),
                    Direction::Backward => types.remote(problem, c, b, &edge.bytes),
                };
                let times = types.times(other);
                let release = value[other.index() * n + c];
                let shares = same_group(problem, op, other);
                let arrival = (0..n)
                    .filter(|b| !shares && times[*b] != UNSUPPORTED)
                    .map(|b| {
                        value[other.index() * n + b]
                            .saturating_add(times[b])
                            .saturating_add(brought(b))
                    })
                    .min()
                    .unwrap_or(u64::MAX);
                let work = if release == u64::MAX { UNSUPPORTED } else { times[c] };
                neighbours.push(Neighbour { arrival, release, work });
            }
            value[op.index() * n + c] = join(&mut neighbours);
        }
    }
    value
}

/// Whether two ops must share a device.
pub(super) fn same_group(problem: &Problem, a: OpId, b: OpId) -> bool {
    problem.group_of(a).is_some_and(|group| problem.group_of(b) == Some(group))
}

/// The least over all divisions of the neighbours into local and remote ones of the later of: the
/// end of the local ones run one after the other, the last arrival of the remote ones.
///
/// Making a neighbour local never helps unless all that arrive later are local too, so only the
/// divisions along the order of arrival are tried.
fn join(neighbours: &mut [Neighbour]) -> u64 {
    neighbours.sort_unstable_by_key(|n| std::cmp::Reverse(n.arrival));
    let mut local: Vec<(u64, u64)> = Vec::new();
    let mut local_end = 0;
    let mut best = u64::MAX;
    for neighbour in neighbours.iter() {
        best = best.min(local_end.max(neighbour.arrival));
        // From here on the end of the local ones alone is no better.
        if local_end >= neighbour.arrival || neighbour.work == UNSUPPORTED {
            return best;
        }
        if local.len() == MAX_LOCAL {
            return best.min(local_end);
        }
        let at = local.partition_point(|(release, _)| *release <= neighbour.release);
        local.insert(at, (neighbour.release, neighbour.work));
        local_end = local
            .iter()
            .fold(0, |end: u64, (release, work)| end.max(*release).saturating_add(*work));
    }
    best.min(local_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(arrival: u64, release: u64, work: u64) -> Neighbour {
        Neighbour { arrival, release, work }
    }

    #[test]
    fn a_join_weighs_running_here_against_waiting_for_the_transfer() {
        // Two producers of 4 ns each, ready at 0, transfers of 3: one stays, one comes: 7.
        let mut two = [neighbour(7, 0, 4), neighbour(7, 0, 4)];
        assert_eq!(join(&mut two), 7);
        // Transfers of 10: both here, 8.
        let mut two = [neighbour(14, 0, 4), neighbour(14, 0, 4)];
        assert_eq!(join(&mut two), 8);
        // The first can't be here.
        let mut two = [neighbour(14, 0, UNSUPPORTED), neighbour(14, 0, 4)];
        assert_eq!(join(&mut two), 14);
        assert_eq!(join(&mut []), 0);
        assert_eq!(join(&mut [neighbour(u64::MAX, 3, 2)]), 5);
    }
}
