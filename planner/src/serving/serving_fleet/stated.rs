//! Workers that a plan states: what they hold, and what their replays say.

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::{self, Length, Spacing};
use cost_model::serving::fault::Fault;
use cost_model::serving::memory::{Memory, StageMemory, Term};
use cost_model::serving::replay::{Distribution, Ran, first_iterations};
use cost_model::serving::worker::Shape;

use super::question::{Price, Question, Reason};
use super::replayed::{Latencies, Rounds};
use super::size;
use super::stream::{self, Stream};
use crate::run::Control;
use crate::serving::fleet::Role;

/// A worker with the settings of its engine, at a rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// Number of the pool.
    pub pool: usize,
    /// What it serves.
    pub role: Role,
    /// Its shape.
    pub shape: Shape,
    /// Running requests of an attention data-parallel rank at most, of all stages together.
    pub max_num_seqs: u64,
    /// Tokens of an iteration at most.
    pub max_num_batched_tokens: u64,
    /// Number of the link that a prefill worker hands over by.
    pub link: Option<usize>,
    /// Requests/s of the worker.
    pub requests_per_s: f64,
}

/// What a stated worker holds and does.
#[derive(Clone, Debug)]
pub struct JudgedWorker {
    /// Tokens of keys and values of an attention data-parallel rank.
    pub kv_tokens: u64,
    /// What a device of the fullest stage holds: of most bytes beside keys and values.
    pub fullest: StageMemory,
    /// What its replays say.
    pub replayed: Result<Latencies, Fault>,
    /// TTFT, TPOT, and arrival to last token of the requests of all replays; none where there are none.
    pub distributions: [Option<Distribution>; 3],
    /// Whether they keep the promises.
    pub is_kept: bool,
}

/// Judges a worker as it is stated: whether it fits, and what its replays say at its rate.
///
/// # Errors
/// Why it is no worker.
pub fn judge(
    (question, price): (&Question<'_>, &Price<'_>),
    stated: &Stated,
) -> Result<JudgedWorker, Reason> {
    let Stated { pool, role, shape, .. } = stated;
    let (stream, memory, kv_tokens) = built(question, stated)?;
    let control = Control::default();
    let rounds = Rounds::new((question, price), &control);
    let capacity = |mix: &[Length], price: &dyn IterationTime| stream.capacity(mix, price);
    let of = (*pool, shape, &stream);
    let mut all: [Vec<f64>; 3] = Default::default();
    let mut keep =
        |own: [Vec<f64>; 3]| all.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
    let replayed =
        match rounds.latencies_of(of, &capacity, stated.requests_per_s, (None, &mut keep)) {
            Ok(replayed) => replayed,
            // Nothing ends the control.
            Err(_) => return Err(Reason::Stopped),
        };
    let promises = rounds.promises_of(*role);
    let is_kept = matches!(replayed, Ok(of) if promises.admit(of.upper_s));
    let beside = |stage: &StageMemory| {
        let bytes = |term: &Term| stage.get(*term);
        Term::ALL.iter().filter(|term| **term != Term::Cache).map(bytes).sum::<u64>()
    };
    let fullest = memory.stages.into_iter().max_by_key(beside);
    let fullest = fullest.ok_or(Reason::Memory { missing: 0 })?;
    let distributions = all.map(Distribution::of);
    Ok(JudgedWorker { kv_tokens, fullest, replayed, distributions, is_kept })
}

/// The first iterations of a batch of a stated worker that was empty, at most so many, one by one; what a decode
/// worker takes in decodes.
///
/// # Errors
/// Why it is no worker.
pub fn iterations(
    (question, price): (&Question<'_>, &Price<'_>),
    stated: &Stated,
    most: usize,
) -> Result<Vec<Ran>, Reason> {
    let (stream, ..) = built(question, stated)?;
    let mix = stream::lengths(&question.mix, stated.role);
    let share = stream::share(&question.mix, &mix);
    let rate = stated.requests_per_s * share / stream.n_streams as f64;
    let price = price(stated.pool, &stated.shape)?;
    // Each takes an iteration with its prompt, or begins in one with others.
    let requests = arrivals::at_rate(&mix, rate, Spacing::Poisson, most, question.seed);
    let requests = requests.map_err(Reason::Unsteady)?;
    let first =
        |price: &dyn IterationTime| first_iterations(&requests, &stream.scheduler, price, most);
    let mut all = stream.priced(&*price, first).map_err(Reason::Unsteady)?;
    if stated.role == Role::Decode {
        for ran in &mut all {
            ran.n_decoding += std::mem::take(&mut ran.n_prompts);
            ran.n_prompt_tokens = 0;
        }
    }
    Ok(all)
}

/// A batch of a stated worker, its memory, and tokens of keys and values of an attention data-parallel rank.
pub(super) fn built(
    question: &Question<'_>,
    stated: &Stated,
) -> Result<(Stream, Memory, u64), Reason> {
    let Stated { pool, role, shape, .. } = stated;
    shape.check(question.model).map_err(Reason::Invalid)?;
    let budget = stated.max_num_batched_tokens;
    let memory = size::memory(question, shape, budget, question.devices[*pool].memory);
    let room = size::room(question, shape, &memory)?;
    let n_stages = (shape.stages.len() as u64).max(1);
    let link = match role {
        Role::Prefill => stated.link.and_then(|at| question.links.get(at)).copied(),
        _ => None,
    };
    let mix = stream::lengths(&question.mix, *role);
    let whole = Stream {
        role: *role,
        scheduler: stream::scheduler((question, *role), &mix, budget, room),
        n_streams: u64::from(shape.data).saturating_mul(n_stages),
        handed: link.map(|link| (super::bytes_per_request(question), link)),
    };
    let stream = whole.with_running((stated.max_num_seqs / n_stages).max(1));
    Ok((stream, memory, room * n_stages))
}
