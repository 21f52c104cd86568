//! What makes two ops of a line look the same, and where the line repeats itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use cost_model::ops::problem::Problem;
use ir::id::OpId;

use super::Stretch;

/// Longest period.
const LONGEST: usize = 8_192;
/// Ops that make up a context.
const CONTEXT: usize = 8;

/// By position: a hash of what the op costs, whatever stands around it. `DefaultHasher::new` has
/// fixed keys, so that equal inputs give equal plans.
pub(super) fn own(problem: &Problem, line: &[OpId]) -> Vec<u64> {
    let hash = |op: &OpId| {
        let mut hasher = DefaultHasher::new();
        problem.graph.op(*op).op_type.hash(&mut hasher);
        for kind in 0..problem.cluster.kinds.len() {
            problem.time_on_kind_ns(*op, kind).hash(&mut hasher);
        }
        problem.temporary(*op).hash(&mut hasher);
        for tensor in problem.outputs(*op) {
            problem.bytes(*tensor).hash(&mut hasher);
        }
        problem.outputs(*op).len().hash(&mut hasher);
        for tensor in problem.parameters(*op) {
            problem.persistent_bytes(*tensor).hash(&mut hasher);
        }
        problem.inputs(*op).len().hash(&mut hasher);
        hasher.finish()
    };
    line.iter().map(hash).collect()
}

/// The most common distances between equal contexts, the most common first, the shorter of two
/// first; those that account for at least one in `least_part` of the line only.
pub(crate) fn periods(hashes: &[u64], most: usize, least_part: usize) -> Vec<usize> {
    let mut last: HashMap<u64, usize> = HashMap::new();
    let mut count: BTreeMap<usize, usize> = BTreeMap::new();
    for end in CONTEXT..=hashes.len() {
        let mut hasher = DefaultHasher::new();
        hashes[end - CONTEXT..end].hash(&mut hasher);
        if let Some(before) = last.insert(hasher.finish(), end)
            && end - before <= LONGEST
        {
            *count.entry(end - before).or_default() += 1;
        }
    }
    let mut periods: Vec<(usize, usize)> = count.into_iter().collect();
    periods.retain(|(period, n)| *period > 1 && n * least_part >= hashes.len());
    periods.sort_by_key(|(period, n)| (std::cmp::Reverse(*n), *period));
    periods.into_iter().take(most).map(|(period, _)| period).collect()
}

/// By position: the op's own hash, with the distances to the makers of its inputs. What comes from
/// further away than one period is far, however far it is.
pub(super) fn in_context(
    problem: &Problem,
    line: &[OpId],
    hashes: &[u64],
    period: usize,
) -> Vec<u64> {
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in line.iter().enumerate() {
        position[op.index()] = at;
    }
    let mark = |(at, op): (usize, &OpId)| {
        let mut hasher = DefaultHasher::new();
        hashes[at].hash(&mut hasher);
        for tensor in problem.inputs(*op) {
            let maker = problem.producer(*tensor).map_or(0, |maker| position[maker.index()]);
            let distance = at.saturating_sub(maker);
            (if distance > period { 0 } else { distance }).hash(&mut hasher);
        }
        hasher.finish()
    };
    line.iter().enumerate().map(mark).collect()
}

/// Parts of the line, at least two periods long, in which each mark comes again one period later
/// and nothing is taken yet.
pub(crate) fn stretches(marks: &[u64], period: usize, is_taken: &[bool]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut start = None;
    for at in period..=marks.len() {
        let repeats = at < marks.len()
            && marks[at] == marks[at - period]
            && !is_taken[at]
            && !is_taken[at - period];
        match (repeats, start) {
            (true, None) => start = Some(at - period),
            (false, Some(first)) => {
                if at - first >= 2 * period {
                    stretches.push(Stretch { start: first, end: at, period });
                }
                start = None;
            }
            _ => {}
        }
    }
    stretches
}
