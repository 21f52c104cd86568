//! The clock and the queues of a replay.

use super::decoding::{Decoder, Decoding};
use super::{Admission, Gaps, Mixing, Ran, Replay, Scheduler, Times, Traffic};
use crate::serving::arrivals::Request;
use crate::serving::fault::Fault;
use crate::serving::{Chunk, Iteration, IterationTime};

/// A request without KV blocks, or with those of its first chunks.
#[derive(Clone, Copy)]
struct Prompt {
    request: usize,
    /// Tokens of the prompt and of the answer until now.
    n_tokens: u64,
    /// Of these, cached.
    n_cached: u64,
    n_generated: u64,
    last_token_s: f64,
    n_reserved: u64,
}

pub(super) struct Engine<'a> {
    requests: &'a [Request],
    scheduler: &'a Scheduler,
    price: &'a dyn IterationTime,
    now: f64,
    /// Beginning of the latest iteration.
    started_s: f64,
    times: Vec<Times>,
    /// Requests whose arrival is known: all, or those that a completion has let in.
    n_released: usize,
    /// Requests that the scheduler has seen.
    n_seen: usize,
    /// Requests that have started.
    n_started: usize,
    n_completed: usize,
    /// Requests that lost their blocks, the first to start again last.
    preempted: Vec<Prompt>,
    decoding: Decoding,
    /// The running request of which a chunk is left, always the latest.
    partial: Option<Prompt>,
    /// Prompts in the iteration that is put together.
    prefilling: Vec<Prompt>,
    iteration: Iteration,
    /// Decoding requests by when they got their last token.
    cohorts: Vec<(f64, u64)>,
    last_decode_s: f64,
    n_blocks: u64,
    /// Requests that ended after the next iteration had been put together, and their blocks.
    leaving: (u64, u64),
    /// Iterations that prompts have waited for more.
    n_waited: u64,
    running_s: f64,
    /// The first iterations, and how many of them at most.
    ran: (Vec<Ran>, usize),
    /// Counts; `times` is put in at the end.
    replay: Replay,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        requests: &'a [Request],
        traffic: Traffic,
        scheduler: &'a Scheduler,
        price: &'a dyn IterationTime,
    ) -> Self {
        let mut engine = Self {
            requests,
            scheduler,
            price,
            now: 0.0,
            started_s: 0.0,
            times: vec![
                Times {
                    arrival_s: f64::INFINITY,
                    queued_s: 0.0,
                    scheduled_s: 0.0,
                    first_token_s: 0.0,
                    last_token_s: 0.0,
                };
                requests.len()
            ],
            n_released: 0,
            n_seen: 0,
            n_started: 0,
            n_completed: 0,
            preempted: Vec::new(),
            decoding: Decoding::new(scheduler.block_tokens as usize),
            partial: None,
            prefilling: Vec::new(),
            iteration: Iteration::default(),
            cohorts: Vec::new(),
            last_decode_s: f64::NEG_INFINITY,
            n_blocks: u64::from(scheduler.shared_prefix / scheduler.block_tokens),
            leaving: (0, 0),
            n_waited: 0,
            running_s: 0.0,
            ran: (Vec::new(), 0),
            replay: Replay {
                times: Vec::new(),
                gaps: Gaps::default(),
                n_iterations: 0,
                n_rounds: 0,
                n_preemptions: 0,
                peak_kv_blocks: 0,
                total_s: 0.0,
                mean_running: 0.0,
            },
        };
        let (n, is_open) = match traffic {
            Traffic::Open => (requests.len(), true),
            Traffic::Closed { concurrency } => (concurrency.min(requests.len()), false),
        };
        for (times, request) in engine.times[..n].iter_mut().zip(requests) {
            times.arrival_s = if is_open { request.arrival_s } else { 0.0 };
        }
        engine.n_released = n;
        engine.see();
        engine
    }

    pub(super) fn run(mut self) -> Result<Replay, Fault> {
        while self.n_completed < self.requests.len() {
            if self.replay.n_rounds == self.scheduler.max_rounds {
                let (limit, n_completed) = (self.scheduler.max_rounds, self.n_completed);
                return Err(Fault::Rounds { limit, n_completed });
            }
            self.replay.n_rounds += 1;
            self.round()?;
        }
        self.replay.total_s = self.now;
        self.replay.mean_running = if self.now > 0.0 { self.running_s / self.now } else { 0.0 };
        Ok(Replay { times: self.times, ..self.replay })
    }

    /// The first iterations, at most so many.
    pub(super) fn first(mut self, most: usize) -> Result<Vec<Ran>, Fault> {
        self.ran.1 = most;
        while self.n_completed < self.requests.len() && self.ran.0.len() < most {
            self.round()?;
        }
        Ok(self.ran.0)
    }

    /// Notes an iteration that begins now.
    fn note(&mut self, n_iterations: u64, seconds: f64) {
        if self.ran.0.len() < self.ran.1 {
            self.ran.0.push(Ran {
                start_s: self.now,
                seconds,
                n_iterations,
                n_prompts: self.iteration.prompts.len() as u64,
                n_prompt_tokens: self.iteration.prompts.iter().map(|chunk| chunk.new).sum(),
                n_decoding: self.iteration.n_decoding,
            });
        }
    }

    /// Puts an iteration together and runs it; where only decoding happens, several.
    fn round(&mut self) -> Result<(), Fault> {
        let is_mixed = self.scheduler.mixing == Mixing::Mixed;
        self.prefilling.clear();
        self.iteration.prompts.clear();
        let n_before = self.replay.n_preemptions;
        let (n_leaving, freed) = std::mem::take(&mut self.leaving);
        let mut budget = self.scheduler.max_num_batched_tokens;
        if is_mixed {
            self.grow();
            budget -= self.decoding.n();
        }
        self.go_on(&mut budget);
        let gathers = self.gathers(budget, n_leaving);
        let mut is_blocked = false;
        if self.replay.n_preemptions == n_before && !gathers {
            is_blocked = self.admit(&mut budget, n_leaving);
        }
        if self.prefilling.is_empty() && !is_mixed {
            self.grow();
        }
        self.n_blocks -= freed;
        if !self.prefilling.is_empty() {
            return self.prefill(is_mixed);
        }
        if self.decoding.n() == 0 {
            self.idle();
            return Ok(());
        }
        // Who lost blocks, or waits for them or for a place, may start in the next iteration.
        let is_next = self.replay.n_preemptions > n_before || n_leaving > 0 || gathers;
        let limit = if is_next { 1 } else { u64::MAX };
        self.decode(limit, is_blocked)
    }

    /// Takes the blocks of a decode step, from the latest requests where none are free.
    fn grow(&mut self) {
        while self.n_blocks + self.decoding.growth(0, 1) > self.scheduler.kv_blocks {
            if let Some(prompt) = self.partial.take() {
                self.preempt(prompt);
            } else if let Some((decoder, n_tokens)) = self.decoding.pop_latest() {
                let last_token_s = decoder.since_s.max(self.last_decode_s);
                self.leave_cohort(last_token_s);
                let n_generated = decoder.n_generated + n_tokens;
                let input = u64::from(self.requests[decoder.request].n_input);
                self.preempt(Prompt {
                    request: decoder.request,
                    n_tokens: input + n_generated,
                    n_cached: decoder.n_cached + n_tokens,
                    n_generated,
                    last_token_s,
                    n_reserved: decoder.n_reserved,
                });
            } else {
                return;
            }
        }
        self.n_blocks += self.decoding.growth(0, 1);
    }

    fn preempt(&mut self, prompt: Prompt) {
        self.replay.n_preemptions += 1;
        self.n_blocks -= self.held(&prompt);
        let n_cached = self.n_shared(prompt.request);
        self.preempted.push(Prompt { n_cached, n_reserved: 0, ..prompt });
    }

    /// Tokens of a request that the shared prefix holds.
    fn n_shared(&self, request: usize) -> u64 {
        let shared = self.scheduler.shared_blocks(self.requests[request].n_input);
        shared * u64::from(self.scheduler.block_tokens)
    }

    /// Blocks of a request beside those of the shared prefix, with so many cached tokens.
    fn own_blocks(&self, request: usize, n_cached: u64) -> u64 {
        let shared = self.scheduler.shared_blocks(self.requests[request].n_input);
        self.scheduler.blocks(n_cached) - shared
    }

    fn held(&self, prompt: &Prompt) -> u64 {
        match prompt.n_reserved {
            0 => self.own_blocks(prompt.request, prompt.n_cached),
            reserved => reserved,
        }
    }

    /// Gives the running prompt its next chunk; without blocks for it, it is the latest and loses its
    /// own.
    fn go_on(&mut self, budget: &mut u64) {
        let Some(prompt) = self.partial.take() else { return };
        let chunk = (prompt.n_tokens - prompt.n_cached).min(*budget);
        let more = match prompt.n_reserved {
            0 => self.own_blocks(prompt.request, prompt.n_cached + chunk) - self.held(&prompt),
            _ => 0,
        };
        if self.n_blocks + more > self.scheduler.kv_blocks {
            return self.preempt(prompt);
        }
        self.n_blocks += more;
        self.schedule(prompt, chunk, budget);
    }

    fn schedule(&mut self, mut prompt: Prompt, chunk: u64, budget: &mut u64) {
        self.iteration.prompts.push(Chunk { new: chunk, cached: prompt.n_cached });
        prompt.n_cached += chunk;
        *budget -= chunk;
        self.prefilling.push(prompt);
    }

    /// Starts waiting requests in their order; whether one has to wait for others to end.
    fn admit(&mut self, budget: &mut u64, n_leaving: u64) -> bool {
        loop {
            let n_running = self.decoding.n() + self.prefilling.len() as u64 + n_leaving;
            if n_running == self.scheduler.max_num_seqs || *budget == 0 {
                return true;
            }
            let fresh = (self.n_started < self.n_seen).then(|| self.fresh(self.n_started));
            let Some(mut prompt) = self.preempted.last().copied().or(fresh) else {
                return false;
            };
            let left = prompt.n_tokens - prompt.n_cached;
            if !self.scheduler.is_chunked && left > *budget {
                return true;
            }
            let chunk = left.min(*budget);
            let request = self.requests[prompt.request];
            let whole = u64::from(request.n_input) + u64::from(request.n_output) - 1;
            let (taken, needed) = match self.scheduler.admission {
                Admission::Chunk => (prompt.n_cached + chunk, prompt.n_cached + chunk),
                Admission::Prompt => (prompt.n_cached + chunk, prompt.n_tokens),
                Admission::Answer => (whole, whole),
            };
            let needed = self.own_blocks(prompt.request, needed);
            if self.n_blocks + needed > self.scheduler.kv_blocks {
                return true;
            }
            let taken = self.own_blocks(prompt.request, taken);
            self.n_blocks += taken;
            if self.scheduler.admission == Admission::Answer {
                prompt.n_reserved = taken;
            }
            if self.preempted.pop().is_none() {
                self.times[self.n_started].scheduled_s = self.known_s();
                self.n_started += 1;
            }
            self.schedule(prompt, chunk, budget);
        }
    }

    /// Whether prompts that could start wait for more, beside requests that decode.
    fn gathers(&mut self, budget: u64, n_leaving: u64) -> bool {
        let Some(gathering) = self.scheduler.gathering else { return false };
        let n_running = self.decoding.n();
        let n_free = self.scheduler.max_num_seqs.saturating_sub(n_running + n_leaving) as usize;
        let waiting = (self.n_started..self.n_seen).take(n_free).map(|request| self.fresh(request));
        let mut n_blocks = self.n_blocks;
        let mut n_tokens = 0;
        for prompt in waiting {
            n_blocks += self.own_blocks(prompt.request, prompt.n_tokens);
            if n_tokens >= budget || n_blocks > self.scheduler.kv_blocks {
                break;
            }
            n_tokens += prompt.n_tokens - prompt.n_cached;
        }
        if n_running == 0 || n_tokens == 0 {
            return false;
        }
        let is_enough = n_tokens.min(budget) + n_running >= gathering.tokens;
        let waits = !is_enough && self.n_waited < gathering.iterations;
        self.n_waited = if waits { self.n_waited + 1 } else { 0 };
        waits
    }

    fn fresh(&self, request: usize) -> Prompt {
        Prompt {
            request,
            n_tokens: u64::from(self.requests[request].n_input),
            n_cached: self.n_shared(request),
            n_generated: 0,
            last_token_s: 0.0,
            n_reserved: 0,
        }
    }

    fn priced(&mut self, n_decoding: u64, decoding_cached: u64) -> Result<f64, Fault> {
        self.iteration.n_decoding = n_decoding;
        self.iteration.decoding_cached = decoding_cached;
        let seconds = self.price.seconds(&self.iteration);
        (seconds.is_finite() && seconds >= 0.0).then_some(seconds).ok_or(Fault::Price { seconds })
    }

    /// An iteration with prompts in it.
    fn prefill(&mut self, is_mixed: bool) -> Result<(), Fault> {
        let n = if is_mixed { self.decoding.n() } else { 0 };
        let seconds = self.priced(n, if n > 0 { self.decoding.n_cached() } else { 0 })?;
        let n_running = self.decoding.n() + self.prefilling.len() as u64;
        self.running_s += n_running as f64 * seconds;
        self.replay.n_iterations += 1;
        self.replay.peak_kv_blocks = self.replay.peak_kv_blocks.max(self.n_blocks);
        self.note(1, seconds);
        self.started_s = self.now;
        self.now += seconds;
        self.see();
        if n > 0 {
            self.first_gaps(self.now);
            self.decoding.advance(1);
            self.end_decoders();
        }
        for at in 0..self.prefilling.len() {
            let prompt = self.prefilling[at];
            match prompt.n_cached < prompt.n_tokens {
                true => self.partial = Some(prompt),
                false => self.prefilled(prompt),
            }
        }
        Ok(())
    }

    /// A prompt has been computed: its next token is there.
    fn prefilled(&mut self, prompt: Prompt) {
        let request = prompt.request;
        let n_generated = prompt.n_generated + 1;
        if n_generated == 1 {
            self.times[request].first_token_s = self.now;
        } else {
            self.replay.gaps.add(self.now - prompt.last_token_s, 1);
        }
        let n_left = u64::from(self.requests[request].n_output) - n_generated;
        if n_left == 0 {
            let held = self.held(&prompt);
            return self.complete(request, held);
        }
        let decoder = Decoder {
            request,
            n_generated,
            n_cached: prompt.n_cached,
            since_s: self.now,
            n_reserved: prompt.n_reserved,
        };
        self.decoding.push(decoder, n_left);
        match self.cohorts.last_mut() {
            Some((last, n)) if *last == self.now => *n += 1,
            _ => self.cohorts.push((self.now, 1)),
        }
    }

    fn complete(&mut self, request: usize, held: u64) {
        match self.scheduler.is_ahead {
            true => self.leaving = (self.leaving.0 + 1, self.leaving.1 + held),
            false => self.n_blocks -= held,
        }
        self.times[request].last_token_s = self.now;
        self.n_completed += 1;
        if let Some(next) = self.times.get_mut(self.n_released) {
            next.arrival_s = self.now;
            self.n_released += 1;
            self.see();
        }
    }

    /// The next tokens of all that decode are there at `end_s`: gaps since their last ones.
    fn first_gaps(&mut self, end_s: f64) {
        for (last_token_s, n) in self.cohorts.drain(..) {
            self.replay.gaps.add(end_s - last_token_s, n);
        }
        self.cohorts.push((end_s, self.decoding.n()));
        self.last_decode_s = end_s;
    }

    fn leave_cohort(&mut self, last_token_s: f64) {
        let is_its = |(last, n): &&mut (f64, u64)| *last == last_token_s && *n > 0;
        if let Some((_, n)) = self.cohorts.iter_mut().find(is_its) {
            *n -= 1;
        }
    }

    fn end_decoders(&mut self) {
        while let Some((decoder, n_tokens)) = self.decoding.pop_ended() {
            self.leave_cohort(self.now);
            let held = match decoder.n_reserved {
                0 => self.own_blocks(decoder.request, decoder.n_cached + n_tokens),
                reserved => reserved,
            };
            self.complete(decoder.request, held);
        }
    }

    /// Iterations in which all decode, until one ends, blocks run out, or one arrives that can start.
    fn decode(&mut self, limit: u64, is_blocked: bool) -> Result<(), Fault> {
        let (n, n_cached) = (self.decoding.n(), self.decoding.n_cached());
        let stride = match self.scheduler.stride {
            0 | 1 => 1,
            stride => stride.max(n_cached / (16 * n)),
        };
        let most = limit.min(stride).min(self.decoding.steps_to_end());
        let free = self.scheduler.kv_blocks - self.n_blocks;
        let steps = 1 + self.decoding.steps_within(1, most - 1, free);
        let first = self.priced(n, n_cached)?;
        let more = match steps {
            1 => 0.0,
            _ => (self.priced(n, n_cached + (steps - 1) * n)? - first) / (steps - 1) as f64,
        };
        let line = Line { start_s: self.now, first, more };
        let ahead = u64::from(self.scheduler.is_ahead);
        let mut run = steps;
        if !is_blocked && let Some(next) = self.times.get(self.n_seen) {
            run = (line.reached(next.arrival_s, steps) + ahead).clamp(1, steps);
        }
        self.started_s = line.end_s(run - 1);
        while let Some(next) = self.times.get_mut(self.n_seen) {
            if next.arrival_s > line.end_s(run - ahead) {
                break;
            }
            next.queued_s = line.end_s(line.reached(next.arrival_s, run));
            self.n_seen += 1;
        }
        self.n_blocks += self.decoding.growth(1, run - 1);
        self.replay.peak_kv_blocks = self.replay.peak_kv_blocks.max(self.n_blocks);
        self.replay.n_iterations += run;
        self.running_s += n as f64 * (line.end_s(run) - self.now);
        self.note(run, line.end_s(run) - self.now);
        self.first_gaps(line.end_s(1));
        self.replay.gaps.add_steps(first + more, more, run - 1, n);
        self.now = line.end_s(run);
        self.last_decode_s = self.now;
        self.cohorts[0].0 = self.now;
        self.decoding.advance(run);
        self.end_decoders();
        Ok(())
    }

    /// Nothing runs: who has come, or waited for a place, starts now; where there is nobody, the next to
    /// come.
    fn idle(&mut self) {
        self.started_s = self.now;
        self.see();
        let is_empty = self.n_started == self.n_seen && self.preempted.is_empty();
        if is_empty && let Some(next) = self.times.get(self.n_seen) {
            self.now = self.now.max(next.arrival_s);
            self.started_s = self.now;
            self.see();
        }
    }

    /// When the next iteration is put together.
    const fn known_s(&self) -> f64 {
        if self.scheduler.is_ahead { self.started_s } else { self.now }
    }

    /// The scheduler sees who has arrived.
    fn see(&mut self) {
        let known_s = self.known_s();
        while let Some(next) = self.times.get_mut(self.n_seen) {
            if next.arrival_s > known_s {
                break;
            }
            next.queued_s = known_s;
            self.n_seen += 1;
        }
    }
}

/// Iterations whose seconds lie on a line.
#[derive(Clone, Copy)]
struct Line {
    start_s: f64,
    first: f64,
    more: f64,
}

impl Line {
    fn end_s(&self, steps: u64) -> f64 {
        let n = steps as f64;
        self.start_s + n * self.first + self.more * (n * (n - 1.0) / 2.0)
    }

    /// The same; none of them where the first begins at or after the time.
    fn reached(&self, time_s: f64, most: u64) -> u64 {
        if time_s <= self.start_s { 0 } else { self.reach(time_s, most) }
    }

    /// The first of `most` iterations to end at or after a time; the last where none does.
    fn reach(&self, time_s: f64, most: u64) -> u64 {
        let (mut low, mut high) = (1, most);
        while low < high {
            let middle = low.midpoint(high);
            match self.end_s(middle) >= time_s {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}
