//! A mean field of continuous batching, for searches: what a replay of a long run says in the mean, from
//! a few dozen prices.
//!
//! Requests that decode share the iterations (processor sharing, whose answer hangs on mean lengths
//! alone); prompts that wait at the beginnings of iterations are a Markov chain over the token budget
//! (`chain`). A first token comes after the rest of the iteration that runs, the prompts in front, and the
//! prompt's own iterations; of an engine that is ahead, one iteration more, but where nothing decodes: there
//! first tokens come up to 18 % later in 19 of 20 draws. Where no place is left, requests wait for one: how often
//! hangs on how much their number varies (`Worker::spread`), how long on how the lengths do (`Worker::variation`).
//! Between the tokens of a request no more prompts come than there are other places.
//! Preemptions are left out: KV blocks bound the running requests by what they hold in the mean.

mod chain;
mod decoding;
#[cfg(test)]
mod tests;
mod wave;
mod worker;

use super::IterationTime;
use super::arrivals::Length;
use super::fault::Fault;
use super::replay::Scheduler;
use chain::{Arriving, Prompts, Waiting};
use decoding::{Decoding, MOST_SHORTER, SHORTER, lesser};
use wave::Wave;
use worker::Worker;

/// Means over completed requests of a long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// Completed requests/s.
    pub requests_per_s: f64,
    /// Requests under way, those that wait included.
    pub concurrency: f64,
    /// Iterations with prompts in them while a request decodes.
    pub n_mixed: f64,
    /// Iterations without.
    pub n_decode: f64,
    /// Seconds to the first token.
    pub ttft_s: f64,
    /// Seconds between tokens; 0 where all answers have one.
    pub tpot_s: f64,
    /// Seconds to the last token.
    pub latency_s: f64,
}

/// Requests that come as others complete, `concurrency` under way at a time.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`].
pub fn at_concurrency(
    mix: &[Length],
    concurrency: u64,
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<Steady, Fault> {
    if concurrency == 0 {
        return Err(Fault::Traffic);
    }
    let worker = Worker::new(mix, scheduler, price)?;
    let running = worker.most_running.min(concurrency as f64);
    let mut steady = match mix.len() {
        1 => in_step(&worker, running)?,
        _ => drawn(&worker, running)?,
    };
    // Who doesn't run waits in front (Little).
    steady.concurrency = concurrency as f64;
    steady.ttft_s += (concurrency as f64 - running) / steady.requests_per_s;
    steady.latency_s = steady.concurrency / steady.requests_per_s;
    Ok(steady)
}

/// Requests of one length keep the order in which the first wave went through: each completes, and so
/// comes again, in the iteration in which it did before, and is never in another's way.
fn in_step(worker: &Worker, running: f64) -> Result<Steady, Fault> {
    let steps = worker.n_steps;
    let is_cut = !worker.is_mixed() && worker.scheduler.is_chunked;
    let (mut n_own, mut n_tokens, mut n_mixed, mut n_cycle) = (1.0, 0.0, 0.0, 0.0);
    let (mut n_beside, mut ahead) = (running, 0.0);
    // Who computes a prompt leaves room for more of them.
    for _ in 0..4 {
        let room = worker.room(n_beside);
        n_own = (worker.n_new / room).ceil();
        // Whole prompts, but where there are more than that in a cycle; of those that go first, one is cut.
        let each = (room / worker.n_new).floor().min(running);
        let whole = if each < 1.0 || is_cut { room } else { each * worker.n_new };
        // A wave that goes through at once ends at once, and leaves no place empty.
        ahead = if worker.is_mixed() && each < running { worker.ahead(running) } else { 0.0 };
        let all = running * worker.n_new / (steps + n_own + ahead);
        n_tokens = if worker.is_mixed() { all.max(whole).min(room) } else { whole };
        n_mixed = running * worker.n_new / n_tokens;
        if worker.is_mixed() {
            n_cycle = (steps + n_own + ahead).max(n_mixed);
            let in_prompts = (n_own * n_tokens / worker.n_new).min(running);
            n_beside = (running - in_prompts).min(running * steps / n_cycle);
        } else {
            (n_cycle, n_beside) = (steps + n_mixed, 0.0);
        }
    }
    let is_full = worker.is_mixed() && n_cycle > steps + n_own + ahead;
    let mixed_s = worker.seconds(n_beside, n_tokens)?;
    let mut prompts_s = n_mixed * mixed_s;
    if !is_full {
        // The last prompts of a wave don't fill their iteration.
        let rest = running * worker.n_new - n_mixed.floor() * n_tokens;
        prompts_s = n_mixed.floor() * mixed_s;
        if rest > 0.5 {
            prompts_s += worker.seconds(n_beside, rest)?;
        }
        n_mixed = n_mixed.ceil();
        n_cycle = if worker.is_mixed() { n_cycle.max(n_mixed) } else { steps + n_mixed };
    }
    let n_plain = n_cycle - n_mixed;
    let plain_s = worker.seconds(running * steps.max(1.0) / (steps.max(1.0) + ahead), 0.0)?;
    let cycle_s = prompts_s + n_plain * plain_s;
    // Each prompt ends so many iterations after the answer before it; prompts first, all answers end at once.
    let of = if worker.is_mixed() { (n_own + ahead, plain_s) } else { (n_mixed, 0.0) };
    let wave = Wave::new([running, worker.n_new, n_tokens], [mixed_s, prompts_s]);
    let tpot_s = match steps > 0.0 {
        true if is_full => mixed_s,
        true => (cycle_s - wave.first_s(of)).max(0.0) / steps,
        false => 0.0,
    };
    let n_prompts = if worker.is_mixed() { n_own } else { f64::midpoint(n_mixed, n_own) };
    Ok(Steady {
        requests_per_s: running / cycle_s,
        concurrency: running,
        n_mixed: if is_full { steps } else { (n_mixed - n_prompts).max(0.0) },
        n_decode: n_plain,
        ttft_s: cycle_s - steps * tpot_s,
        tpot_s,
        latency_s: cycle_s,
    })
}

/// Requests of several lengths complete, and others come, in any iteration.
fn drawn(worker: &Worker, running: f64) -> Result<Steady, Fault> {
    // Who comes or decodes finds what the others alone would do (Lavenberg and Reiser 1980, the arrival
    // theorem).
    let others = 1.0 - 1.0 / running;
    let steps = worker.n_steps;
    let ahead = worker.ahead(running);
    // So many decode in an iteration, in the mean: found by false position (Illinois), as prompts wait longer
    // with more.
    // No more end their prompts in an iteration than its budget has room for.
    let most = if worker.is_mixed() { steps * worker.room(0.0) / worker.n_new } else { running };
    let (mut low, mut high) = ((0.0, running * steps), (running.min(most), f64::NEG_INFINITY));
    let (mut n, mut side) = (high.0, 0);
    let (waiting, prompt_s) = loop {
        let field = Field::new(worker, n * others)?;
        let waiting = field.waiting(Arriving::AtEnds(n * others / steps.max(1.0)), false);
        let n_prompts = if worker.is_mixed() { waiting.n_iterations } else { 0.0 };
        let left = running * steps - n * (steps + n_prompts + ahead);
        let (last, next_side) = (n, if left > 0.0 { 1 } else { -1 });
        if next_side > 0 {
            (low, high.1) = ((n, left), if side > 0 { high.1 / 2.0 } else { high.1 });
        } else {
            (high, low.1) = ((n, left), if side < 0 { low.1 / 2.0 } else { low.1 });
        }
        side = next_side;
        n = (low.0 * high.1 - high.0 * low.1) / (high.1 - low.1);
        // The first one is the most that there can be.
        let is_done = !n.is_finite() || (n - last).abs() <= 5e-4 * running;
        if is_done || high.0 - low.0 <= 1e-3 * running {
            n = last;
            break (waiting, field.prompt_s());
        }
    };
    let field = Field::new(worker, 1.0 + n * others)?;
    let seen = field.waiting(Arriving::AtEnds(n * others / steps.max(1.0)), false);
    let (token_s, with_prompts) = (field.token_s(&seen), seen.with_prompts);
    // Prompts one after the other, each iteration full of them, bound the throughput, however long they
    // wait.
    let latency_s = (waiting.ttft_s + (steps + ahead) * token_s).max(running * prompt_s);
    Ok(Steady {
        requests_per_s: running / latency_s,
        concurrency: running,
        n_mixed: steps * with_prompts,
        n_decode: steps * (1.0 - with_prompts),
        ttft_s: latency_s - steps * token_s,
        tpot_s: if steps > 0.0 { token_s } else { 0.0 },
        latency_s,
    })
}

/// Requests that a worker runs at once, at most: as many as its limit and, of the mean length, its blocks
/// allow.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`] and [`Fault::Price`].
pub fn most_running(mix: &[Length], scheduler: &Scheduler) -> Result<u64, Fault> {
    Ok(Worker::new(mix, scheduler, &Free)?.most_running as u64)
}

/// Requests/s with as many running as there can be: in step, which is cheap and an upper end; of several
/// lengths where prompts go first, as they are drawn.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`].
pub fn most_per_s(
    mix: &[Length],
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<f64, Fault> {
    let worker = Worker::new(mix, scheduler, price)?;
    Ok(full(&worker, worker.is_mixed() || mix.len() == 1)?.requests_per_s)
}

fn full(worker: &Worker, is_in_step: bool) -> Result<Steady, Fault> {
    let most = worker.most_running;
    if is_in_step { in_step(worker, most) } else { drawn(worker, most) }
}

struct Free;

impl IterationTime for Free {
    fn seconds(&self, _: &super::Iteration) -> f64 {
        0.0
    }
}

/// Requests that arrive at `rate` a second, whatever completes (Poisson).
///
/// # Errors
/// [`Fault`]; [`Fault::Saturated`] where the rate is not below what the worker does with as many requests
/// as it can run.
pub fn at_rate(
    mix: &[Length],
    rate: f64,
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<Steady, Fault> {
    if rate.is_nan() || rate <= 0.0 {
        return Err(Fault::Traffic);
    }
    let worker = Worker::new(mix, scheduler, price)?;
    // Prompts first, what arrives one by one falls out of step, and is served less well.
    let full = full(&worker, worker.is_mixed())?;
    if rate >= full.requests_per_s {
        return Err(Fault::Saturated { rate, capacity: full.requests_per_s });
    }
    let arriving = Arriving::InTime(rate);
    let decoding = match worker.n_steps > 0.0 {
        true => Decoding::new(&worker, rate, full.requests_per_s)?,
        false => Decoding::NONE,
    };
    let field = Field::new(&worker, decoding.n_busy)?;
    let busy = field.waiting(arriving, false);
    let idle = Field::new(&worker, 0.0)?.waiting(arriving, true);
    let ahead_s = if scheduler.is_ahead { busy.iteration_s } else { 0.0 };
    let busy_s = busy.ttft_s + ahead_s;
    let slot_s = decoding.slot_s(&worker)?;
    let ttft_s =
        decoding.empty * idle.ttft_s + (1.0 - decoding.empty - decoding.full) * busy_s + slot_s;
    let token_s = field.token_s(&busy);
    let alone = (field.seconds[0] / token_s).max(LEAST_ALONE);
    let more_s = decoding.more_s(&worker, rate, (token_s, alone));
    let prompt_s = field.prompt_s();
    let (field, token_s) = (field.longer(more_s), token_s + more_s / alone);
    // Who has just been computed decodes beside the prompts that came meanwhile, or after them; up to what a
    // worker with no place left sees.
    let ends = [(&idle, decoding.empty), (&busy, 1.0 - decoding.empty)];
    let after = match worker.is_mixed() {
        true => field.prompts(arriving, false).after(ends, token_s, worker.steps()),
        false => {
            let behind: f64 = ends.iter().map(|(waiting, part)| part * waiting.n_behind()).sum();
            vec![field.seconds[0] + behind * prompt_s / (1.0 - rate * prompt_s).max(1e-9)]
        }
    };
    let (tpot_s, steps_s) = tokens(&worker, (rate, full.tpot_s), (&after, token_s, alone))?;
    let latency_s = ttft_s + steps_s;
    let n_iterations = steps_s / busy.iteration_s;
    Ok(Steady {
        requests_per_s: rate,
        concurrency: rate * latency_s,
        n_mixed: n_iterations * busy.with_prompts,
        n_decode: n_iterations * (1.0 - busy.with_prompts),
        ttft_s,
        tpot_s: if worker.n_steps > 0.0 { tpot_s } else { 0.0 },
        latency_s,
    })
}

/// Seconds between tokens and of all steps, where the first iterations after a prompt take `after` and later ones
/// `token_s`, of which prompts leave a share. With all places taken in step, `full_s`.
fn tokens(
    worker: &Worker,
    (rate, full_s): (f64, f64),
    (after, token_s, alone): (&[f64], f64, f64),
) -> Result<(f64, f64), Fault> {
    let (tpot_s, steps_s) = worker.tokens_s(after, token_s);
    let is_interrupted = worker.is_mixed() && worker.n_steps > 0.0;
    let fewer = match is_interrupted {
        true => fewer_prompts(rate * steps_s, worker.most_running - 1.0, 1.0 - alone),
        false => 1.0,
    };
    // No longer than where all places are taken.
    let most_s = match is_interrupted && token_s.min(fewer * tpot_s) > full_s {
        true => token_s.min(drawn(worker, worker.most_running)?.tpot_s),
        false => token_s,
    };
    let most_s = full_s.max(most_s);
    Ok(((fewer * tpot_s).min(most_s), (fewer * steps_s).min(most_s * worker.n_steps)))
}

/// Seconds for which a request decodes, over those for which it does where so many requests come meanwhile and the
/// prompts of all of them take a share of its time: no more of them start than there are other places.
fn fewer_prompts(n_come: f64, n_places: f64, share: f64) -> f64 {
    let spread = batch(1.0 - share);
    let mut all = 1.0;
    for _ in 0..MOST_SHORTER {
        let n_start = lesser(n_come * all, n_places, spread);
        let next = 1.0 - share + share * n_start / n_come;
        let is_near = all - next < SHORTER;
        all = next;
        if is_near {
            break;
        }
    }
    all
}

/// Share of the time that prompts leave to plain steps at least.
const LEAST_ALONE: f64 = 1e-6;

/// Requests that begin to decode in one batch, itself included, for one that is drawn, where prompts leave a share of
/// the time to plain steps. Prompts that come while others are computed are computed before the next plain step, so
/// that a batch is a busy period of prompts (Borel's distribution, by its requests).
fn batch(alone: f64) -> f64 {
    alone.powi(-2).max(1.0)
}

/// Iterations beside `n` requests that decode.
struct Field<'a> {
    worker: &'a Worker<'a>,
    /// Seconds by units of prompts.
    seconds: Vec<f64>,
    sizes: Vec<(f64, f64)>,
}

/// Parts of an iteration's budget that are told apart.
const FEWEST_UNITS: f64 = 4.0;
const MOST_UNITS: f64 = 64.0;

impl<'a> Field<'a> {
    fn new(worker: &'a Worker<'a>, n: f64) -> Result<Self, Fault> {
        let room = worker.room(n);
        // A unit is a mean prompt, or a part of one: a quarter of the budget at most.
        let parts = (FEWEST_UNITS * worker.n_new / room).ceil().max(1.0);
        let n_units = (parts * room / worker.n_new).round().clamp(FEWEST_UNITS, MOST_UNITS);
        let unit = (room / n_units).min(worker.n_new);
        let prompts = if worker.is_mixed() { n } else { 0.0 };
        let mut seconds = vec![worker.seconds(n, 0.0)?];
        // Powers of two are priced, what lies between is on a line.
        let (mut units, mut before) = (1.0, worker.seconds(prompts, unit)?);
        seconds.push(before);
        while units < n_units {
            let next = (2.0 * units).min(n_units);
            let value = worker.seconds(prompts, unit * next)?;
            let steps = (next - units) as usize;
            let between = |step: usize| before + (value - before) * step as f64 / steps as f64;
            seconds.extend((1..=steps).map(between));
            (units, before) = (next, value);
        }
        let sizes = worker.classes.iter().map(|class| (class.n_new / unit, class.share));
        Ok(Self { worker, seconds, sizes: sizes.collect() })
    }

    /// Each iteration takes so much longer.
    fn longer(mut self, more_s: f64) -> Self {
        self.seconds.iter_mut().for_each(|seconds| *seconds += more_s);
        self
    }

    fn prompts(&self, arriving: Arriving, is_idle: bool) -> Prompts<'_> {
        let is_mixed = self.worker.is_mixed();
        let is_ahead = self.worker.scheduler.is_ahead;
        Prompts {
            seconds: &self.seconds,
            arriving,
            sizes: &self.sizes,
            is_idle,
            is_ahead,
            is_mixed,
        }
    }

    fn waiting(&self, arriving: Arriving, is_idle: bool) -> Waiting {
        self.prompts(arriving, is_idle).solve()
    }

    /// Seconds of a mean prompt where iterations are full of them.
    fn prompt_s(&self) -> f64 {
        let most = self.seconds.len() - 1;
        let mean: f64 = self.sizes.iter().map(|(units, share)| units * share).sum();
        mean / most as f64 * self.seconds[most]
    }

    /// Seconds from a token of a request to its next.
    fn token_s(&self, waiting: &Waiting) -> f64 {
        let decoding = if self.worker.is_mixed() { 1.0 } else { 1.0 - waiting.with_prompts };
        waiting.iteration_s / decoding.max(1e-9)
    }
}
