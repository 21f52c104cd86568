//! A worker under a mix of lengths: seconds of mean iterations.

use std::cell::RefCell;

use crate::serving::arrivals::{Length, Request, total_share};
use crate::serving::fault::Fault;
use crate::serving::replay::{Admission, Mixing, Scheduler};
use crate::serving::{Chunk, Iteration, IterationTime};

/// Requests of one length.
#[derive(Clone, Copy)]
pub(super) struct Class {
    pub(super) share: f64,
    /// Prompt tokens that are computed.
    pub(super) n_new: f64,
    n_steps: f64,
    /// Cached tokens while it decodes, mean over its steps.
    n_cached: f64,
}

/// Iterations of a prompt, prompts of an iteration and lengths that are told apart.
const MOST_CHUNKS: u32 = 256;
const MOST_PROMPTS: f64 = 4_096.0;
const MOST_CLASSES: usize = 16;

pub(super) struct Worker<'a> {
    pub(super) scheduler: &'a Scheduler,
    price: &'a dyn IterationTime,
    pub(super) classes: Vec<Class>,
    /// Mean prompt tokens that are computed, and that are not.
    pub(super) n_new: f64,
    n_shared: f64,
    /// Mean decode steps of a request.
    pub(super) n_steps: f64,
    /// Cached tokens of a request that decodes, mean over its steps.
    n_cached: f64,
    /// Running requests at most.
    pub(super) most_running: f64,
    iteration: RefCell<Iteration>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        mix: &[Length],
        scheduler: &'a Scheduler,
        price: &'a dyn IterationTime,
    ) -> Result<Self, Fault> {
        let total = total_share(mix)?;
        let at_once = |length: &Length| Request {
            arrival_s: 0.0,
            n_input: length.n_input,
            n_output: length.n_output,
        };
        scheduler.check(&mix.iter().map(at_once).collect::<Vec<_>>())?;
        let mean = |of: &dyn Fn(&Length) -> f64| -> f64 {
            mix.iter().map(|length| length.share / total * of(length)).sum()
        };
        let block = f64::from(scheduler.block_tokens);
        let shared = |length: &Length| scheduler.shared_blocks(length.n_input) as f64 * block;
        let new = |length: &Length| f64::from(length.n_input) - shared(length);
        let steps = |length: &Length| f64::from(length.n_output) - 1.0;
        let context = |length: &Length| f64::from(length.n_input) + (steps(length) - 1.0) / 2.0;
        let longest = f64::from(MOST_CHUNKS) * scheduler.max_num_batched_tokens as f64 / 2.0;
        if let Some(index) = mix.iter().position(|length| new(length) > longest) {
            return Err(Fault::Chunks { index, limit: MOST_CHUNKS });
        }
        let n_steps = mean(&steps);
        let held = |length: &Length| {
            let n_tokens = match scheduler.admission {
                Admission::Answer => f64::from(length.n_input) + steps(length),
                Admission::Chunk | Admission::Prompt => context(length).max(1.0),
            };
            // The last block of a request is half full in the mean.
            (n_tokens + (block - 1.0) / 2.0 - shared(length)) / block * (steps(length) + 1.0)
        };
        let n_blocks = mean(&held) / (n_steps + 1.0);
        let common = u64::from(scheduler.shared_prefix / scheduler.block_tokens);
        let free = scheduler.kv_blocks.saturating_sub(common) as f64;
        let class = |length: &Length| Class {
            share: length.share / total,
            n_new: new(length),
            n_steps: steps(length),
            n_cached: context(length),
        };
        let weighted = |length: &Length| steps(length) * context(length);
        Ok(Self {
            scheduler,
            price,
            classes: merged(mix.iter().map(class).collect()),
            n_new: mean(&new),
            n_shared: mean(&shared),
            n_steps,
            n_cached: if n_steps > 0.0 { mean(&weighted) / n_steps } else { 0.0 },
            most_running: (free / n_blocks).floor().clamp(1.0, scheduler.max_num_seqs as f64),
            iteration: RefCell::default(),
        })
    }

    /// What a request makes all others wait for beside the steps of a mean one: its prompt, of a mean one
    /// `prompt_s`, and the cached tokens that it has more than others.
    fn own_s(&self, class: &Class, (cached_s, prompt_s): (f64, f64)) -> f64 {
        let more = class.n_cached - self.n_cached;
        class.n_new / self.n_new * prompt_s + class.n_steps * more * cached_s
    }

    /// Seconds that a request stays where a token takes `token_s`.
    fn stay_s(&self, class: &Class, (token_s, prompt_s): (f64, f64)) -> f64 {
        class.n_steps * token_s + class.n_new / self.n_new * prompt_s
    }

    /// The wait for a place at a load, over that where lengths are exponentially distributed: between the time
    /// until the first of those that run ends (light load; Burman and Smith 1983) and what a worker with no place
    /// left still has to do (heavy load; Pollaczek and Khinchine), on a line (Boxma, Cohen and Huffels 1979).
    /// `seconds`: of a token, a mean prompt and a cached token.
    pub(super) fn variation(
        &self,
        [token_s, prompt_s, cached_s]: [f64; 3],
        places: f64,
        load: f64,
    ) -> Result<f64, Fault> {
        let step_s = self.seconds(places, 0.0)? / places;
        let work_s =
            |class: &Class| class.n_steps * step_s + self.own_s(class, (cached_s, prompt_s));
        let moment = |power: i32| -> f64 {
            self.classes.iter().map(|class| class.share * work_s(class).powi(power)).sum()
        };
        let heavy = moment(2) / (2.0 * moment(1).powi(2)).max(f64::MIN_POSITIVE);
        let stay = |class: &Class| (self.stay_s(class, (token_s, prompt_s)), class.share);
        let light = first_to_end(self.classes.iter().map(stay).collect(), places);
        Ok(load * heavy + (1.0 - load) * light)
    }

    /// Variance of the number of requests under way, over that where they share in turns what each takes of the
    /// worker. A prompt goes before all steps instead, and so an arrival counts for as long as it stays, and as
    /// many as would have ended meanwhile count for as long as others stay (shot noise; of a single length the
    /// variance of Borel and Tanner's distribution). `seconds`: of a token, a mean prompt and a cached token.
    pub(super) fn spread(&self, rate: f64, [token_s, prompt_s, cached_s]: [f64; 3]) -> f64 {
        let free = (1.0 - rate * prompt_s).max(f64::MIN_POSITIVE);
        let stay_s = |class: &Class| self.stay_s(class, (token_s, prompt_s));
        let ends = |class: &Class| rate * class.share / free;
        let both_s = |one: &Class| -> f64 {
            let of = |other| ends(other) * stay_s(one).min(stay_s(other));
            self.classes.iter().map(of).sum()
        };
        let all_s: f64 = self.classes.iter().map(|class| ends(class) * both_s(class)).sum();
        let (mut mean, mut variance) = (0.0, 0.0);
        for class in &self.classes {
            let own_s = self.own_s(class, (cached_s, prompt_s));
            let put_off_s = own_s * (2.0 * both_s(class) + own_s * all_s);
            mean += rate * class.share * stay_s(class);
            variance += rate * class.share * (stay_s(class) + put_off_s);
        }
        variance * free / mean.max(f64::MIN_POSITIVE)
    }

    /// Seconds that a cached token adds to a step beside so many requests.
    pub(super) fn cached_s(&self, n: f64) -> Result<f64, Fault> {
        let n = n.max(1.0).floor();
        let more = (n * self.n_cached).round().max(1.0);
        let seconds = |cached: f64| {
            let seconds = self.price.seconds(&Iteration {
                prompts: Vec::new(),
                n_decoding: n as u64,
                decoding_cached: cached as u64,
            });
            let is_sound = seconds.is_finite() && seconds >= 0.0;
            is_sound.then_some(seconds).ok_or(Fault::Price { seconds })
        };
        Ok((seconds(2.0 * more)? - seconds(more)?) / more)
    }

    /// Mean seconds between the tokens of a request, and of all its steps, where the first iterations after
    /// its prompt take `after` and the later ones `then_s`.
    pub(super) fn tokens_s(&self, after: &[f64], then_s: f64) -> (f64, f64) {
        let steps_s = |class: &Class| {
            let near = after.iter().take(class.n_steps as usize);
            class.n_steps * then_s + near.map(|seconds| seconds - then_s).sum::<f64>()
        };
        let decoding = self.classes.iter().filter(|class| class.n_steps > 0.0);
        let (mut share, mut token_s, mut all_s) = (0.0, 0.0, 0.0);
        for class in decoding {
            share += class.share;
            token_s += class.share * steps_s(class) / class.n_steps;
            all_s += class.share * steps_s(class);
        }
        (if share > 0.0 { token_s / share } else { 0.0 }, all_s)
    }

    /// Others of its batch beside a request in a step of it, where prompts leave a share of the time to plain steps,
    /// and the spread of their number. They begin earlier or later by a third of a batch in the mean.
    pub(super) fn n_batch(&self, alone: f64) -> (f64, f64) {
        let batch = super::batch(alone);
        let apart = (batch + 1.0) / 3.0 * self.n_new / self.room(0.0);
        ((batch - 1.0) * self.overlap() / (1.0 + apart / self.n_steps), batch)
    }

    /// Share of a request's steps in which another one decodes that began with it.
    fn overlap(&self) -> f64 {
        let decoding = || self.classes.iter().filter(|class| class.n_steps > 0.0);
        let total: f64 = decoding().map(|class| class.share).sum();
        let with = |one: &Class| -> f64 {
            let of = |other: &Class| other.share * (other.n_steps / one.n_steps).min(1.0);
            one.share * decoding().map(of).sum::<f64>()
        };
        decoding().map(with).sum::<f64>() / (total * total)
    }

    /// Mean and most decode steps of requests.
    pub(super) fn steps(&self) -> [f64; 2] {
        [self.n_steps, self.classes.iter().map(|class| class.n_steps).fold(0.0, f64::max)]
    }

    pub(super) fn is_mixed(&self) -> bool {
        self.scheduler.mixing == Mixing::Mixed
    }

    /// Iterations for which the place of a request stays empty that ends while others run.
    pub(super) fn ahead(&self, running: f64) -> f64 {
        if self.scheduler.is_ahead && running > 1.0 { 1.0 } else { 0.0 }
    }

    /// Prompt tokens that an iteration takes beside `n` requests that decode.
    pub(super) fn room(&self, n: f64) -> f64 {
        let budget = self.scheduler.max_num_batched_tokens as f64;
        if self.is_mixed() { (budget - n).max(1.0) } else { budget }
    }

    /// Seconds of an iteration with `n` requests that decode, between whole numbers on a line, and with
    /// `n_tokens` of prompts.
    pub(super) fn seconds(&self, n: f64, n_tokens: f64) -> Result<f64, Fault> {
        let low = n.floor();
        let below = self.whole(low, n_tokens)?;
        if n - low < 1e-9 {
            return Ok(below);
        }
        let above = self.whole(low + 1.0, n_tokens)?;
        Ok(below + (n - low) * (above - below))
    }

    fn whole(&self, n: f64, n_tokens: f64) -> Result<f64, Fault> {
        let iteration = &mut *self.iteration.borrow_mut();
        iteration.n_decoding = n as u64;
        iteration.decoding_cached = (n * self.n_cached).round() as u64;
        iteration.prompts.clear();
        let mut left = n_tokens.round();
        let longest = self.n_new.max(left / MOST_PROMPTS).round();
        while left >= 1.0 {
            let new = left.min(longest);
            // A chunk lies in the middle of its prompt, in the mean.
            let cached = self.n_shared + (self.n_new - new).max(0.0) / 2.0;
            iteration.prompts.push(Chunk { new: new as u64, cached: cached as u64 });
            left -= new;
        }
        if iteration.n_tokens() == 0 {
            return Ok(0.0);
        }
        let seconds = self.price.seconds(iteration);
        (seconds.is_finite() && seconds >= 0.0).then_some(seconds).ok_or(Fault::Price { seconds })
    }
}

/// Mean time until the first of so many requests ends that have been met at any time of their stays, over that of
/// exponentially distributed stays with the same mean. `stays`: seconds and shares.
fn first_to_end(mut stays: Vec<(f64, f64)>, n: f64) -> f64 {
    stays.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mean: f64 = stays.iter().map(|(seconds, share)| seconds * share).sum();
    // The probability that one stays for longer than `from` falls on lines between stays.
    let (mut longer, mut alive, mut from, mut sum) = (1.0, 1.0, 0.0, 0.0);
    for (seconds, share) in stays {
        let next = (longer - alive * (seconds - from) / mean).max(0.0);
        sum += (f64::powf(longer, n + 1.0) - f64::powf(next, n + 1.0)) / alive;
        (longer, from) = (next, seconds);
        alive = (alive - share).max(f64::MIN_POSITIVE);
    }
    n / (n + 1.0) * sum
}

/// Of many lengths, neighbours as one, with their means.
fn merged(mut classes: Vec<Class>) -> Vec<Class> {
    if classes.len() <= MOST_CLASSES {
        return classes;
    }
    classes.sort_by(|one, other| one.n_new.total_cmp(&other.n_new));
    let mean = |group: &[Class]| {
        let share: f64 = group.iter().map(|class| class.share).sum();
        let of = |value: fn(&Class) -> f64| {
            group.iter().map(|class| class.share * value(class)).sum::<f64>() / share
        };
        let n_steps = of(|class| class.n_steps);
        let n_cached = of(|class| class.n_steps * class.n_cached) / n_steps.max(f64::MIN_POSITIVE);
        Class { share, n_new: of(|class| class.n_new), n_steps, n_cached }
    };
    let groups = classes.chunks(classes.len().div_ceil(MOST_CLASSES)).map(mean);
    groups.filter(|class| class.share > 0.0).collect()
}
