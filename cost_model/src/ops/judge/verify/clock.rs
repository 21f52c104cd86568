//! The verifier's clock: an event simulation. Devices and channels are queues; whenever something
//! ends, whatever stands at the head of its queues and has all that it needs starts at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ir::id::{ChannelId, DeviceId, OpId};
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};

use super::structure::Needed;
use crate::numeric::csr::Csr;
use crate::ops::problem::Problem;

/// When everything happens.
#[derive(Debug)]
pub(super) struct Times {
    /// Start and end by op id; (0, 0) for views.
    pub(super) ops: Vec<(u64, u64)>,
    /// Start and end by position in the needed transfers.
    pub(super) transfers: Vec<(u64, u64)>,
    /// End of all.
    pub(super) step_time: u64,
}

/// Times of a plan of sound structure, or the circle in which it gets stuck.
pub(super) fn run(problem: &Problem, plan: &Plan, needed: &Needed) -> Result<Times, Vec<Task>> {
    let mut clock = Clock::new(problem, plan, needed);
    clock.play();
    if clock.n_ended == clock.n_expected {
        let (ops, transfers) = clock.times.split_at(problem.n_ops());
        return Ok(Times {
            ops: ops.to_vec(),
            transfers: transfers.to_vec(),
            step_time: clock.now,
        });
    }
    Err(clock.circle(plan))
}

/// Tasks are ops by id, then transfers by position in the needed ones.
struct Clock<'a> {
    problem: &'a Problem,
    transfers: Vec<(Transfer, u64)>,
    /// Devices first, then the channels in use.
    queues: Vec<Vec<u32>>,
    head: Vec<usize>,
    is_busy: Vec<bool>,
    /// By task: the queues that it must lead (one for an op, one or two for a transfer).
    places: Csr<u32>,
    /// By task: how many ends it still waits for, apart from its queues.
    missing: Vec<u32>,
    /// By task: who waits for its end.
    wakes: Csr<u32>,
    times: Vec<(u64, u64)>,
    has_ended: Vec<bool>,
    running: BinaryHeap<Reverse<(u64, u32)>>,
    now: u64,
    n_ended: usize,
    n_expected: usize,
}

impl<'a> Clock<'a> {
    fn new(problem: &'a Problem, plan: &Plan, needed: &Needed) -> Self {
        let n_tasks = problem.n_ops() + needed.len();
        let transfers: Vec<(Transfer, u64)> = needed
            .iter()
            .map(|(t, way)| (*t, problem.transfer_ns(t.tensor, way.from, t.to)))
            .collect();
        let number = |transfer: &Transfer| number(problem, &transfers, transfer);
        let rows = plan.schedule.actions.iter();
        let mut queues: Vec<Vec<u32>> =
            rows.map(|row| row.iter().map(|Action::Op(op)| op.0).collect()).collect();
        let orders: &BTreeMap<ChannelId, Vec<Transfer>> = &plan.schedule.channels;
        queues.extend(orders.values().map(|order| order.iter().filter_map(number).collect()));
        let mut places = Vec::with_capacity(n_tasks);
        for (queue, tasks) in (0u32..).zip(&queues) {
            places.extend(tasks.iter().map(|task| (*task as usize, queue)));
        }
        let waits = waits(problem, plan, &transfers);
        let mut missing = vec![0; n_tasks];
        waits.iter().for_each(|(_, waiter)| missing[*waiter as usize] += 1);
        Self {
            problem,
            head: vec![0; queues.len()],
            is_busy: vec![false; queues.len()],
            places: Csr::from_pairs(n_tasks, &places),
            missing,
            wakes: Csr::from_pairs(n_tasks, &waits),
            queues,
            times: vec![(0, 0); n_tasks],
            has_ended: vec![false; n_tasks],
            running: BinaryHeap::new(),
            now: 0,
            n_ended: 0,
            n_expected: problem.actions.len() + transfers.len(),
            transfers,
        }
    }

    fn play(&mut self) {
        let mut agenda: Vec<u32> = (0u32..).take(self.queues.len()).collect();
        loop {
            while let Some(queue) = agenda.pop() {
                self.try_start(queue);
            }
            let Some(Reverse((end, task))) = self.running.pop() else { return };
            self.now = end;
            self.has_ended[task as usize] = true;
            self.n_ended += 1;
            for &queue in self.places.of(task as usize) {
                self.is_busy[queue as usize] = false;
                self.head[queue as usize] += 1;
                agenda.push(queue);
            }
            for &waiter in self.wakes.of(task as usize) {
                self.missing[waiter as usize] -= 1;
                if self.missing[waiter as usize] == 0 {
                    agenda.extend_from_slice(self.places.of(waiter as usize));
                }
            }
        }
    }

    fn try_start(&mut self, queue: u32) {
        let row = &self.queues[queue as usize];
        let Some(&task) = row.get(self.head[queue as usize]) else { return };
        let at = task as usize;
        let leads = |q: &u32| {
            let q = *q as usize;
            !self.is_busy[q] && self.queues[q].get(self.head[q]) == Some(&task)
        };
        if self.missing[at] > 0 || !self.places.of(at).iter().all(leads) {
            return;
        }
        for &place in self.places.of(at) {
            self.is_busy[place as usize] = true;
        }
        let end = self.now.saturating_add(self.duration(at, queue));
        self.times[at] = (self.now, end);
        self.running.push(Reverse((end, task)));
    }

    /// An op's first queue is its device.
    fn duration(&self, task: usize, queue: u32) -> u64 {
        match task.checked_sub(self.problem.n_ops()) {
            Some(index) => self.transfers[index].1,
            None => self.problem.time_ns(OpId::new(task), DeviceId(queue)),
        }
    }

    /// From any stuck task to what it waits for, until that comes round.
    fn circle(&self, plan: &Plan) -> Vec<Task> {
        let stuck = |task: usize| !self.has_ended[task];
        let mut blocker: Vec<Option<usize>> = vec![None; self.missing.len()];
        for queue in &self.queues {
            for pair in queue.windows(2) {
                if let [earlier, later] = pair
                    && stuck(*earlier as usize)
                {
                    blocker[*later as usize] = Some(*earlier as usize);
                }
            }
        }
        for earlier in (0..self.missing.len()).filter(|task| stuck(*task)) {
            for &waiter in self.wakes.of(earlier) {
                blocker[waiter as usize] = Some(earlier);
            }
        }
        let placed = |task: &usize| {
            *task >= self.problem.n_ops() || plan.placement.of(OpId::new(*task)).is_some()
        };
        let start = (0..blocker.len()).filter(placed).find(|t| stuck(*t) && blocker[*t].is_some());
        let Some(mut at) = start else { return Vec::new() };
        let mut steps = BTreeMap::new();
        let mut path = Vec::new();
        while !steps.contains_key(&at) {
            steps.insert(at, path.len());
            path.push(at);
            at = blocker[at].unwrap_or(at);
        }
        let mut cycle = path.split_off(steps[&at]);
        cycle.reverse();
        cycle
            .into_iter()
            .map(|task| match task.checked_sub(self.problem.n_ops()) {
                None => Task::Op(OpId::new(task)),
                Some(index) => Task::Transfer(self.transfers[index].0),
            })
            .collect()
    }
}

/// The task of a needed transfer.
fn number(problem: &Problem, transfers: &[(Transfer, u64)], transfer: &Transfer) -> Option<u32> {
    let index = transfers.binary_search_by_key(transfer, |(key, _)| *key).ok()?;
    u32::try_from(problem.n_ops() + index).ok()
}

/// Pairs of a task and one that waits for its end, apart from queues.
fn waits(problem: &Problem, plan: &Plan, transfers: &[(Transfer, u64)]) -> Vec<(usize, u32)> {
    let number = |transfer: &Transfer| number(problem, transfers, transfer);
    let mut waits = Vec::with_capacity(2 * problem.n_ops());
    for &reader in &problem.actions {
        let Some(to) = plan.placement.of(reader) else { continue };
        for &tensor in problem.inputs(reader) {
            let Some(maker) = problem.producer(tensor) else { continue };
            let is_here = plan.placement.of(maker) == Some(to);
            let bringer = if is_here { None } else { number(&Transfer { tensor, to }) };
            waits.push((bringer.unwrap_or(maker.0) as usize, reader.0));
        }
    }
    for (transfer, _) in transfers {
        if let (Some(maker), Some(task)) = (problem.producer(transfer.tensor), number(transfer)) {
            waits.push((maker.index(), task));
        }
    }
    let number = |task: &Task| match task {
        Task::Op(op) => Some(op.0),
        Task::Transfer(transfer) => number(transfer),
    };
    for wait in &plan.schedule.after {
        let Some(waiter) = number(&wait.task) else { continue };
        waits.extend(wait.after.iter().filter_map(number).map(|before| (before as usize, waiter)));
    }
    waits
}
