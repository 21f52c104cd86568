//! What a partial schedule must still take: per rank, the preemptive schedule of what is left, with
//! heads and tails.

use std::collections::BinaryHeap;

use super::passes::Passes;
use super::sweep::State;

/// Bound of the empty schedule.
pub(super) fn root(passes: &Passes) -> u64 {
    Heads::default().bound(passes, &State::empty(passes))
}

/// Workspace, kept from state to state.
#[derive(Default)]
pub(super) struct Heads {
    /// By kind: earliest end of each pass that is left, by micro-batch.
    ends: Vec<Vec<u64>>,
    /// Head, time, tail.
    jobs: Vec<(u64, u64, u64)>,
}

impl Heads {
    /// No completion of the state ends earlier.
    pub(super) fn bound(&mut self, passes: &Passes, state: &State) -> u64 {
        self.ends.resize(passes.kinds.len(), Vec::new());
        for ends in &mut self.ends {
            ends.resize(passes.n_micro_batches, 0);
        }
        self.heads(passes, state);
        let mut bound = state.clocks[..passes.n_ranks].iter().copied().max().unwrap_or(0);
        for rank in 0..passes.n_ranks {
            self.jobs.clear();
            for (kind, entry) in
                passes.kinds.iter().enumerate().filter(|(_, entry)| entry.rank == rank)
            {
                let left = usize::from(state.counts[kind])..passes.n_micro_batches;
                self.jobs.extend(left.map(|k| {
                    let head = self.ends[kind][k].saturating_sub(entry.time);
                    (head, entry.time, passes.tails[kind][k])
                }));
            }
            bound = bound.max(preemptive(&mut self.jobs));
        }
        bound
    }

    /// Earliest ends, were no rank busy with anything else. Kinds of a stage stand in the order in
    /// which they need each other, but gradients come from later stages: two passes, forward kinds
    /// along the stages, the others back.
    fn heads(&mut self, passes: &Passes, state: &State) {
        use ir::grid::Pass;
        let n = passes.kinds.len();
        let early =
            |kind: &usize| matches!(passes.kinds[*kind].pass, Pass::Forward | Pass::Recompute);
        for kind in (0..n).filter(early) {
            self.heads_of(kind, passes, state);
        }
        // A weight part stands behind its input part, so each stage goes in its own order.
        let mut end = n;
        while end > 0 {
            let stage = passes.kinds[end - 1].stage;
            let start = passes.kinds.iter().position(|kind| kind.stage == stage).unwrap_or(0);
            for kind in (start..end).filter(|kind| !early(kind)) {
                self.heads_of(kind, passes, state);
            }
            end = start;
        }
    }

    fn heads_of(&mut self, kind: usize, passes: &Passes, state: &State) {
        let entry = &passes.kinds[kind];
        let mut before = state.clocks[entry.rank];
        for k in usize::from(state.counts[kind])..passes.n_micro_batches {
            let mut start = before;
            for (position, input) in entry.inputs.iter().enumerate() {
                let ready = if k < usize::from(state.counts[input.from]) {
                    state.arrival(passes, kind, position, k)
                } else {
                    self.ends[input.from][k].saturating_add(input.way.unwrap_or(0))
                };
                start = start.max(ready);
            }
            before = start.saturating_add(entry.time);
            self.ends[kind][k] = before;
        }
    }
}

/// Jackson's preemptive schedule: at any time the job that is there with the longest tail.
fn preemptive(jobs: &mut [(u64, u64, u64)]) -> u64 {
    jobs.sort_unstable();
    let mut ready: BinaryHeap<(u64, u64)> = BinaryHeap::new();
    let (mut now, mut next, mut bound) = (0u64, 0usize, 0u64);
    while next < jobs.len() || !ready.is_empty() {
        if ready.is_empty() {
            now = now.max(jobs[next].0);
        }
        while next < jobs.len() && jobs[next].0 <= now {
            ready.push((jobs[next].2, jobs[next].1));
            next += 1;
        }
        let Some((tail, left)) = ready.pop() else { break };
        let until = jobs.get(next).map_or(u64::MAX, |job| job.0);
        let end = now.saturating_add(left);
        if end > until {
            ready.push((tail, end - until));
            now = until;
        } else {
            now = end;
            bound = bound.max(end.saturating_add(tail));
        }
    }
    bound
}
