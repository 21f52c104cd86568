//! Sequencing of a fixed placement: a chronological branch and bound that starts any subset of
//! the pieces that could start at each event, and a search for any order that fits in memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::tasks::{PerDevice, Tasks, bits, fits};

/// States remembered at most; past it the search goes on without remembering more.
const MAX_REMEMBERED: usize = 2_000_000;

/// Nodes between two questions whether to stop.
const NODES_PER_QUESTION: u64 = 512;

/// Asked now and then with the nodes spent since the last time; `true` ends the search.
pub(super) type Stop<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Start times of all pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Nanoseconds by piece.
    pub(super) starts: Vec<u64>,
    /// End of the last piece.
    pub(super) makespan: u64,
}

/// Multiplicative hash of words: states are looked up by the million.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

type Words<V> = HashMap<Box<[u64]>, V, BuildHasherDefault<WordHasher>>;

/// What has been decided at an instant.
#[derive(Clone, Copy)]
struct State {
    now: u64,
    started: u64,
    ended: u64,
    /// Pieces that were passed over at this instant.
    passed: u64,
    /// Pieces that need not start at this instant, see [`Search::tardy`].
    tardy: u64,
    /// Resources of pieces that run and started before `now`.
    held: u64,
    /// Resources of all pieces that run.
    busy: u64,
}

/// One search.
pub(super) struct Search<'a> {
    tasks: &'a Tasks,
    limits: PerDevice,
    /// Only schedules that end before this are of interest.
    upper: u64,
    /// Nothing ends before this.
    floor: u64,
    best: Option<Vec<u64>>,
    starts: Vec<u64>,
    ready: Vec<u64>,
    remembered: Words<u64>,
    stop: Stop<'a>,
    unreported: u64,
    stopped: bool,
}

/// The shortest schedule of `tasks` that ends before `upper` under `limits`, or `None`.
/// `floor` is a bound that ends the search when it is met.
pub(super) fn shortest(
    tasks: &Tasks,
    limits: PerDevice,
    upper: u64,
    floor: u64,
    stop: &mut dyn FnMut(u64) -> bool,
) -> Option<Times> {
    let n = tasks.pieces.len();
    let mut search = Search {
        tasks,
        limits,
        upper,
        floor,
        best: None,
        starts: vec![0; n],
        ready: vec![0; n],
        remembered: Words::default(),
        stop,
        unreported: 0,
        stopped: false,
    };
    let start = State { now: 0, started: 0, ended: 0, passed: 0, tardy: 0, held: 0, busy: 0 };
    search.decide(start);
    let nodes = search.unreported;
    let makespan = search.upper;
    let best = search.best.take();
    (search.stop)(nodes);
    best.map(|starts| Times { starts, makespan })
}

impl Search<'_> {
    fn end(&self, at: usize) -> u64 {
        self.starts[at].saturating_add(self.tasks.pieces[at].duration)
    }

    /// Whether a piece could start now. A piece of no length may also slip in before one that
    /// starts at this very instant.
    fn can_start(&self, at: usize, state: &State) -> bool {
        let piece = &self.tasks.pieces[at];
        let taken = if piece.duration == 0 { state.held } else { state.busy };
        piece.before & !state.ended == 0 && piece.resources & taken == 0
    }

    fn candidate(&self, state: &State) -> Option<usize> {
        let open = self.tasks.all() & !(state.started | state.passed | state.tardy);
        // The longest way to the end first: good schedules come early.
        bits(open).filter(|at| self.can_start(*at, state)).max_by_key(|at| {
            (
                self.tasks.tails[*at].saturating_add(self.tasks.pieces[*at].duration),
                u64::MAX - *at as u64,
            )
        })
    }

    /// Starts or passes each piece that could start at this instant, each subset once.
    fn decide(&mut self, state: State) {
        if self.stopped || self.upper <= self.floor {
            return;
        }
        let Some(at) = self.candidate(&state) else {
            self.advance(&state);
            return;
        };
        let bit = 1 << at;
        let piece = &self.tasks.pieces[at];
        let mut started = State { started: state.started | bit, ..state };
        if piece.duration == 0 {
            started.ended |= bit;
            // What follows it on its resources could not have started earlier after all.
            started.tardy &= !self.sharing(at);
        } else {
            started.busy |= piece.resources;
        }
        self.starts[at] = state.now;
        self.decide(started);
        self.decide(State { passed: state.passed | bit, ..state });
    }

    /// Closes the instant and goes to the next end.
    fn advance(&mut self, state: &State) {
        self.unreported += 1;
        if self.unreported >= NODES_PER_QUESTION {
            self.stopped = (self.stop)(self.unreported);
            self.unreported = 0;
        }
        let running = state.started & !state.ended;
        let usage = self.tasks.usage(state.started, state.ended);
        if state.started == self.tasks.all() {
            let end = bits(running).map(|at| self.end(at)).max().unwrap_or(state.now);
            if end < self.upper && fits(&usage, &self.limits) {
                self.upper = end;
                self.best = Some(self.starts.clone());
            }
            return;
        }
        let Some(now) = bits(running).map(|at| self.end(at)).min() else { return };
        if !fits(&usage, &self.limits) {
            return;
        }
        let tardy = self.tardy(state, &usage);
        let mut next = State { now, passed: 0, tardy, held: 0, ..*state };
        for at in bits(running) {
            if self.end(at) == now {
                next.ended |= 1 << at;
            } else {
                next.held |= self.tasks.pieces[at].resources;
            }
        }
        next.busy = next.held;
        if self.bound(&next) < self.upper && self.is_new(&next) {
            self.decide(next);
        }
    }

    /// Pieces of some length that need one of the resources of a piece.
    fn sharing(&self, at: usize) -> u64 {
        let resources = self.tasks.pieces[at].resources;
        bits(self.tasks.all())
            .filter(|other| {
                let piece = &self.tasks.pieces[*other];
                piece.duration > 0 && piece.resources & resources != 0
            })
            .fold(0, |mask, other| mask | 1 << other)
    }

    /// Pieces that stood idle over the interval that ends now although memory and resources had
    /// room for them throughout: to start one of them right now is never needed, since it could
    /// start at the beginning of the interval with all else unchanged (its bytes fit there, and
    /// it frees no later). The exchange lowers the sum of start times, so it ends. It fails for a
    /// piece that comes right after one of no length on the same resource: there it would be in
    /// that one's way.
    fn tardy(&self, state: &State, usage: &PerDevice) -> u64 {
        bits(self.tasks.all() & !state.started)
            .filter(|at| {
                let piece = &self.tasks.pieces[*at];
                let bytes = usage[piece.device].saturating_add(piece.need);
                bytes <= self.limits[piece.device] && self.can_start(*at, state)
            })
            .fold(0, |mask, at| mask | 1 << at)
    }

    /// Least end of any completion: heads and tails, and what each resource still has to do.
    fn bound(&mut self, state: &State) -> u64 {
        let pieces = &self.tasks.pieces;
        let n_resources = self.tasks.n_resources;
        let mut free = [0u64; 64];
        let mut bound = state.now;
        for at in bits(state.started & !state.ended) {
            let end = self.end(at);
            bound = bound.max(end.saturating_add(self.tasks.tails[at]));
            bits(pieces[at].resources).for_each(|r| free[r] = end);
        }
        let mut first = [u64::MAX; 64];
        let mut work = [0u64; 64];
        let mut tail = [u64::MAX; 64];
        for at in bits(self.tasks.all() & !state.started) {
            let piece = &pieces[at];
            let mut ready = state.now;
            for b in bits(piece.before & !state.ended) {
                let end = if state.started >> b & 1 == 1 {
                    self.end(b)
                } else {
                    self.ready[b].saturating_add(pieces[b].duration)
                };
                ready = ready.max(end);
            }
            // A piece of no length may share the instant at which an occupant starts, never
            // this one's: it started earlier.
            bits(piece.resources).for_each(|r| ready = ready.max(free[r]));
            self.ready[at] = ready;
            let rest = self.tasks.tails[at];
            bound = bound.max(ready.saturating_add(piece.duration).saturating_add(rest));
            for r in bits(piece.resources) {
                first[r] = first[r].min(ready);
                work[r] = work[r].saturating_add(piece.duration);
                tail[r] = tail[r].min(rest);
            }
        }
        for r in 0..n_resources {
            if first[r] != u64::MAX {
                bound = bound.max(first[r].saturating_add(work[r]).saturating_add(tail[r]));
            }
        }
        bound
    }

    /// Whether no equal state was reached as early. What is held, and all that may follow, is a
    /// function of what has started, what remains of what runs, and what must not start now; so
    /// an equal state at an earlier time leads to nothing worse.
    fn is_new(&mut self, state: &State) -> bool {
        let running = state.started & !state.ended;
        let key: Box<[u64]> = [state.started, running, state.tardy]
            .into_iter()
            .chain(bits(running).map(|at| self.end(at) - state.now))
            .collect();
        if let Some(earliest) = self.remembered.get_mut(&key) {
            let is_new = state.now < *earliest;
            *earliest = state.now.min(*earliest);
            return is_new;
        }
        if self.remembered.len() < MAX_REMEMBERED {
            self.remembered.insert(key, state.now);
        }
        true
    }
}

/// An order in which the pieces, one at a time, never pass a limit; `None` if there is none, and
/// then no schedule fits at all: taking the pieces of any schedule by their starts, one at a
/// time, each finds as much started and at least as much ended as it did there.
pub(super) fn one_at_a_time(
    tasks: &Tasks,
    stop: &mut dyn FnMut(u64) -> bool,
) -> Option<Vec<usize>> {
    if !tasks.each_fits_alone() {
        return None;
    }
    let mut order = Vec::with_capacity(tasks.pieces.len());
    let mut dead = HashSet::default();
    extend(tasks, 0, &mut order, &mut dead, stop).then_some(order)
}

fn extend(
    tasks: &Tasks,
    ended: u64,
    order: &mut Vec<usize>,
    dead: &mut HashSet<u64, BuildHasherDefault<WordHasher>>,
    stop: &mut dyn FnMut(u64) -> bool,
) -> bool {
    if ended == tasks.all() {
        return true;
    }
    if dead.contains(&ended) || stop(1) {
        return false;
    }
    let usage = tasks.usage(ended, ended);
    let mut choices = Vec::new();
    for at in bits(tasks.all() & !ended) {
        let piece = &tasks.pieces[at];
        let with = ended | 1 << at;
        if piece.before & !ended != 0
            || (piece.duration > 0 && !fits(&tasks.usage(with, ended), &tasks.limits))
        {
            continue;
        }
        // A piece that fits and leaves no device with more than it had can go first: put before
        // any other continuation, it only lowers what that one finds.
        if fits(&tasks.usage(with, with), &usage) {
            choices.clear();
            choices.push(at);
            break;
        }
        choices.push(at);
    }
    for at in choices {
        order.push(at);
        if extend(tasks, ended | 1 << at, order, dead, stop) {
            return true;
        }
        order.pop();
    }
    dead.insert(ended);
    false
}

/// The times of the pieces run one at a time in this order.
pub(super) fn serial(tasks: &Tasks, order: &[usize]) -> Times {
    let mut starts = vec![0; tasks.pieces.len()];
    let mut now = 0u64;
    for &at in order {
        starts[at] = now;
        now = now.saturating_add(tasks.pieces[at].duration);
    }
    Times { starts, makespan: now }
}

/// Whether a schedule stays within the limits. Usage rises only where something starts.
pub(super) fn is_within(tasks: &Tasks, times: &Times) -> bool {
    let end = |at: usize| times.starts[at].saturating_add(tasks.pieces[at].duration);
    times.starts.iter().all(|&now| {
        let started = bits(tasks.all()).filter(|at| times.starts[*at] <= now);
        let ended = bits(tasks.all()).filter(|at| end(*at) <= now);
        let set = |mask: u64, at: usize| mask | 1 << at;
        fits(&tasks.usage(started.fold(0, set), ended.fold(0, set)), &tasks.limits)
    })
}
