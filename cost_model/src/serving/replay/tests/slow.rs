//! The scheduler once more, one token at a time: lists that are walked, blocks that have owners.

use std::collections::VecDeque;

use crate::serving::arrivals::Request;
use crate::serving::replay::{Admission, Mixing, Scheduler, Times, Traffic};
use crate::serving::{Chunk, Iteration, IterationTime};

#[derive(Default)]
pub(super) struct Slow {
    pub(super) times: Vec<Times>,
    pub(super) gaps: Vec<f64>,
    pub(super) n_iterations: u64,
    pub(super) n_preemptions: u64,
    pub(super) peak: u64,
}

struct State {
    computed: u64,
    emitted: Vec<f64>,
    owned: u64,
    is_decoding: bool,
}

struct World<'a> {
    requests: &'a [Request],
    scheduler: &'a Scheduler,
    states: Vec<State>,
    running: Vec<usize>,
    waiting: VecDeque<usize>,
    /// Have ended since the next iteration was put together.
    leaving: Vec<usize>,
    n_preempted: u64,
}

impl World<'_> {
    fn shared(&self, request: usize) -> u64 {
        let block = self.scheduler.block_tokens;
        u64::from(self.scheduler.shared_prefix.min(self.requests[request].n_input - 1) / block)
    }

    fn used(&self) -> u64 {
        let shared = self.scheduler.shared_prefix / self.scheduler.block_tokens;
        u64::from(shared) + self.states.iter().map(|state| state.owned).sum::<u64>()
    }

    /// Makes a request own blocks for so many tokens.
    fn allocate(&mut self, request: usize, n_tokens: u64) -> bool {
        let wanted =
            n_tokens.div_ceil(u64::from(self.scheduler.block_tokens)) - self.shared(request);
        let wanted = wanted.max(self.states[request].owned);
        let is_free = self.used() + wanted - self.states[request].owned <= self.scheduler.kv_blocks;
        if is_free {
            self.states[request].owned = wanted;
        }
        is_free
    }

    fn known(&self, request: usize) -> u64 {
        u64::from(self.requests[request].n_input) + self.states[request].emitted.len() as u64
    }

    fn preempt(&mut self) -> usize {
        let latest = self.running.pop().unwrap();
        self.n_preempted += 1;
        self.states[latest].owned = 0;
        self.states[latest].computed = 0;
        self.states[latest].is_decoding = false;
        self.waiting.push_front(latest);
        latest
    }

    /// What each running request computes, in order; requests that decode or that don't.
    fn run_on(
        &mut self,
        plan: &mut Vec<(usize, u64)>,
        budget: &mut u64,
        decoders: bool,
        prompts: bool,
    ) {
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let request = self.running[at];
            let is_decoding = self.states[request].is_decoding;
            if (is_decoding && !decoders) || (!is_decoding && !prompts) {
                at += 1;
                continue;
            }
            let new = (self.known(request) - self.states[request].computed).min(*budget);
            let mut is_preempted = false;
            while !self.allocate(request, self.states[request].computed + new) {
                if self.preempt() == request {
                    is_preempted = true;
                    break;
                }
            }
            if is_preempted {
                break;
            }
            plan.push((request, new));
            if self.scheduler.mixing == Mixing::Mixed || !is_decoding {
                *budget -= new;
            }
            at += 1;
        }
    }

    fn admit(
        &mut self,
        plan: &mut Vec<(usize, u64)>,
        budget: &mut u64,
        now: f64,
        times: &mut [Times],
    ) {
        while let Some(&request) = self.waiting.front() {
            let n_running = self.running.len() + self.leaving.len();
            if *budget == 0 || n_running as u64 == self.scheduler.max_num_seqs {
                break;
            }
            let start = self.shared(request) * u64::from(self.scheduler.block_tokens);
            let left = self.known(request) - start;
            if left > *budget && !self.scheduler.is_chunked {
                break;
            }
            let new = left.min(*budget);
            let answer =
                u64::from(self.requests[request].n_input + self.requests[request].n_output) - 1;
            let fits = match self.scheduler.admission {
                Admission::Chunk => self.allocate(request, start + new),
                Admission::Answer => self.allocate(request, answer),
                Admission::Prompt => {
                    let fits = self.allocate(request, self.known(request));
                    self.states[request].owned = 0;
                    fits && self.allocate(request, start + new)
                }
            };
            if !fits {
                break;
            }
            self.waiting.pop_front();
            self.running.push(request);
            self.states[request].computed = start;
            if times[request].scheduled_s.is_nan() {
                times[request].scheduled_s = now;
            }
            plan.push((request, new));
            *budget -= new;
        }
    }

    fn plan(&mut self, now: f64, times: &mut [Times]) -> Vec<(usize, u64)> {
        let mut plan = Vec::new();
        let mut budget = self.scheduler.max_num_batched_tokens;
        let before = self.n_preempted;
        let is_mixed = self.scheduler.mixing == Mixing::Mixed;
        self.run_on(&mut plan, &mut budget, is_mixed, true);
        if self.n_preempted == before {
            self.admit(&mut plan, &mut budget, now, times);
        }
        if !is_mixed && plan.is_empty() {
            budget = u64::MAX;
            self.run_on(&mut plan, &mut budget, true, false);
        }
        for request in std::mem::take(&mut self.leaving) {
            self.states[request].owned = 0;
        }
        plan
    }
}

pub(super) fn replay(
    requests: &[Request],
    traffic: Traffic,
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Slow {
    let never = Times {
        arrival_s: f64::INFINITY,
        queued_s: f64::NAN,
        scheduled_s: f64::NAN,
        first_token_s: f64::NAN,
        last_token_s: f64::NAN,
    };
    let mut slow = Slow { times: vec![never; requests.len()], ..Slow::default() };
    for (index, times) in slow.times.iter_mut().enumerate() {
        match traffic {
            Traffic::Open => times.arrival_s = requests[index].arrival_s,
            Traffic::Closed { concurrency } if index < concurrency => times.arrival_s = 0.0,
            Traffic::Closed { .. } => {}
        }
    }
    let states = requests.iter().map(|_| State {
        computed: 0,
        emitted: Vec::new(),
        owned: 0,
        is_decoding: false,
    });
    let mut world = World {
        requests,
        scheduler,
        states: states.collect(),
        running: Vec::new(),
        waiting: VecDeque::new(),
        leaving: Vec::new(),
        n_preempted: 0,
    };
    let (mut now, mut started) = (0.0, 0.0);
    let mut n_done = 0;
    while n_done < requests.len() {
        let known = if scheduler.is_ahead { started } else { now };
        for (request, times) in slow.times.iter_mut().enumerate() {
            if times.queued_s.is_nan() && times.arrival_s <= known {
                times.queued_s = known;
                world.waiting.push_back(request);
            }
        }
        let plan = world.plan(known, &mut slow.times);
        if plan.is_empty() {
            if scheduler.is_ahead && started < now {
                started = now;
            } else if world.running.is_empty() && world.waiting.is_empty() {
                let next = slow.times.iter().filter(|times| times.queued_s.is_nan());
                now = next.map(|times| times.arrival_s).fold(f64::INFINITY, f64::min);
                started = now;
            }
            continue;
        }
        let mut iteration = Iteration::default();
        for (request, new) in &plan {
            let cached = world.states[*request].computed;
            if world.states[*request].is_decoding {
                iteration.n_decoding += 1;
                iteration.decoding_cached += cached;
            } else {
                iteration.prompts.push(Chunk { new: *new, cached });
            }
        }
        slow.peak = slow.peak.max(world.used());
        started = now;
        now += price.seconds(&iteration);
        slow.n_iterations += 1;
        // Who decodes leaves before who ends a prompt.
        for (request, new) in &plan {
            world.states[*request].computed += new;
            if world.states[*request].computed == world.known(*request) {
                world.states[*request].emitted.push(now);
                world.states[*request].is_decoding = true;
            }
        }
        let is_done = |request: &usize| {
            world.states[*request].emitted.len() == requests[*request].n_output as usize
        };
        let done: Vec<usize> = world.running.iter().copied().filter(is_done).collect();
        for request in done {
            world.running.retain(|other| *other != request);
            match scheduler.is_ahead {
                true => world.leaving.push(request),
                false => world.states[request].owned = 0,
            }
            n_done += 1;
            let next = slow.times.iter_mut().find(|times| times.arrival_s.is_infinite());
            if let Some(next) = next {
                next.arrival_s = now;
            }
        }
    }
    slow.n_preemptions = world.n_preempted;
    for (state, times) in world.states.iter().zip(&mut slow.times) {
        times.first_token_s = state.emitted[0];
        times.last_token_s = state.emitted[state.emitted.len() - 1];
        slow.gaps.extend(state.emitted.windows(2).map(|pair| pair[1] - pair[0]));
    }
    slow
}
