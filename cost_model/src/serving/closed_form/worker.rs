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

    /// Squared coefficient of variation of the time for a request's steps and prompt, of a mean prompt so
    /// many seconds.
    pub(super) fn variation(&self, step_s: f64, prompt_s: f64) -> f64 {
        let stay = |class: &Class| class.n_steps * step_s + class.n_new / self.n_new * prompt_s;
        let moment = |power: i32| -> f64 {
            self.classes.iter().map(|class| class.share * stay(class).powi(power)).sum()
        };
        (moment(2) / moment(1).powi(2).max(f64::MIN_POSITIVE) - 1.0).max(0.0)
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
        Class { share, n_new: of(|class| class.n_new), n_steps: of(|class| class.n_steps) }
    };
    let groups = classes.chunks(classes.len().div_ceil(MOST_CLASSES)).map(mean);
    groups.filter(|class| class.share > 0.0).collect()
}
