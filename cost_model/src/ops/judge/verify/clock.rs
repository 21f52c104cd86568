//! The verifier's clock: an event simulation. Devices and channels are queues; whenever something
//! ends, whatever stands at the head of its queues and has all that it needs starts at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ir::id::{ChannelId, OpId};
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};

use super::structure::Needed;
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
    queues: Vec<Vec<usize>>,
    head: Vec<usize>,
    is_busy: Vec<bool>,
    /// By task: the queues that it must lead (one for an op, one or two for a transfer).
    places: Vec<Vec<usize>>,
    /// By task: how many ends it still waits for, apart from its queues.
    missing: Vec<usize>,
    /// By task: who waits for its end.
    wakes: Vec<Vec<usize>>,
    times: Vec<(u64, u64)>,
    has_ended: Vec<bool>,
    running: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
    n_ended: usize,
    n_expected: usize,
}

impl<'a> Clock<'a> {
    fn new(problem: &'a Problem, plan: &Plan, needed: &Needed) -> Self {
        let n_ops = problem.n_ops();
        let n_tasks = n_ops + needed.len();
        let transfers: Vec<(Transfer, u64)> = needed
            .iter()
            .map(|(t, way)| (*t, problem.transfer_ns(t.tensor, way.from, t.to)))
            .collect();
        let position: BTreeMap<Transfer, usize> =
            transfers.iter().enumerate().map(|(i, (t, _))| (*t, n_ops + i)).collect();
        let mut clock = Self {
            problem,
            transfers,
            queues: Vec::new(),
            head: Vec::new(),
            is_busy: Vec::new(),
            places: vec![Vec::new(); n_tasks],
            missing: vec![0; n_tasks],
            wakes: vec![Vec::new(); n_tasks],
            times: vec![(0, 0); n_tasks],
            has_ended: vec![false; n_tasks],
            running: BinaryHeap::new(),
            now: 0,
            n_ended: 0,
            n_expected: problem.actions.len() + needed.len(),
        };
        for row in &plan.schedule.actions {
            clock.add_queue(row.iter().map(|Action::Op(op)| op.index()).collect());
        }
        let orders: &BTreeMap<ChannelId, Vec<Transfer>> = &plan.schedule.channels;
        for order in orders.values() {
            clock.add_queue(order.iter().filter_map(|t| position.get(t).copied()).collect());
        }
        clock.link(plan, &position);
        clock
    }

    fn add_queue(&mut self, queue: Vec<usize>) {
        for &task in &queue {
            self.places[task].push(self.queues.len());
        }
        self.queues.push(queue);
        self.head.push(0);
        self.is_busy.push(false);
    }

    fn link(&mut self, plan: &Plan, position: &BTreeMap<Transfer, usize>) {
        let problem = self.problem;
        for &reader in &problem.actions {
            let Some(to) = plan.placement.of(reader) else { continue };
            for &tensor in problem.inputs(reader) {
                let Some(maker) = problem.producer(tensor) else { continue };
                let bringer = position.get(&Transfer { tensor, to }).copied();
                let source = match bringer {
                    Some(transfer) if plan.placement.of(maker) != Some(to) => transfer,
                    _ => maker.index(),
                };
                self.wait_for(reader.index(), source);
            }
        }
        for (transfer, &task) in position {
            if let Some(maker) = problem.producer(transfer.tensor) {
                self.wait_for(task, maker.index());
            }
        }
        let number = |task: &Task| match task {
            Task::Op(op) => Some(op.index()),
            Task::Transfer(transfer) => position.get(transfer).copied(),
        };
        for wait in &plan.schedule.after {
            let Some(waiter) = number(&wait.task) else { continue };
            for earlier in wait.after.iter().filter_map(number) {
                self.wait_for(waiter, earlier);
            }
        }
    }

    fn wait_for(&mut self, waiter: usize, earlier: usize) {
        self.missing[waiter] += 1;
        self.wakes[earlier].push(waiter);
    }

    fn play(&mut self) {
        let mut agenda: Vec<usize> = (0..self.queues.len()).collect();
        loop {
            while let Some(queue) = agenda.pop() {
                self.try_start(queue);
            }
            let Some(Reverse((end, task))) = self.running.pop() else { return };
            self.now = end;
            self.has_ended[task] = true;
            self.n_ended += 1;
            for index in 0..self.places[task].len() {
                let queue = self.places[task][index];
                self.is_busy[queue] = false;
                self.head[queue] += 1;
                agenda.push(queue);
            }
            for index in 0..self.wakes[task].len() {
                let waiter = self.wakes[task][index];
                self.missing[waiter] -= 1;
                if self.missing[waiter] == 0 {
                    agenda.extend_from_slice(&self.places[waiter]);
                }
            }
        }
    }

    fn try_start(&mut self, queue: usize) {
        let Some(&task) = self.queues[queue].get(self.head[queue]) else { return };
        let leads = self.places[task]
            .iter()
            .all(|&q| !self.is_busy[q] && self.queues[q].get(self.head[q]) == Some(&task));
        if self.missing[task] > 0 || !leads {
            return;
        }
        for &place in &self.places[task] {
            self.is_busy[place] = true;
        }
        let end = self.now.saturating_add(self.duration(task, queue));
        self.times[task] = (self.now, end);
        self.running.push(Reverse((end, task)));
    }

    /// An op's first queue is its device.
    fn duration(&self, task: usize, queue: usize) -> u64 {
        match task.checked_sub(self.problem.n_ops()) {
            Some(index) => self.transfers[index].1,
            None => self.problem.time_ns(OpId::new(task), ir::id::DeviceId::new(queue)),
        }
    }

    /// From any stuck task to what it waits for, until that comes round.
    fn circle(&self, plan: &Plan) -> Vec<Task> {
        let stuck = |task: usize| !self.has_ended[task];
        let mut blocker: Vec<Option<usize>> = vec![None; self.missing.len()];
        for queue in &self.queues {
            for pair in queue.windows(2) {
                if let [earlier, later] = pair
                    && stuck(*earlier)
                {
                    blocker[*later] = Some(*earlier);
                }
            }
        }
        for earlier in (0..self.wakes.len()).filter(|task| stuck(*task)) {
            for &waiter in &self.wakes[earlier] {
                blocker[waiter] = Some(earlier);
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
