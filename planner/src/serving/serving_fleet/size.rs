//! The rate of a worker: the greatest at which it keeps the promises.

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::fault::Fault;
use cost_model::serving::memory::{Memory, Settings};
use cost_model::serving::worker::Shape;

use super::question::{Link, Promises, Question, Reason};
use super::stream::{self, Stream};
use crate::serving::fleet::Role;

/// Rates are powers of two of so many parts of one (0.27 % apart), so that more memory or a looser promise
/// never moves them.
const PARTS: f64 = 256.0;
/// Load at most where no promise bounds it.
const MOST_LOAD: f64 = 0.9;
/// Rates that are looked at reach down by so many powers of two.
const DEEPEST: f64 = 16.0;
/// Standard deviations of the number of running requests that a limit leaves room for, the first that will do.
const DEVIATIONS: [f64; 3] = [4.0, 8.0, 16.0];

/// A shape on devices of a pool in a role.
pub(super) struct Candidate<'q> {
    pub(super) question: &'q Question<'q>,
    pub(super) pool: usize,
    pub(super) shape: &'q Shape,
    pub(super) role: Role,
    /// Requests as the role sees them.
    pub(super) mix: &'q [Length],
    /// Share of all requests that reach it.
    pub(super) share: f64,
}

/// A worker in a role with a token budget, and what it can do at most.
pub(super) struct Settled {
    pub(super) stream: Stream,
    pub(super) budget: u64,
    /// Tokens of keys and values of an attention data-parallel rank.
    pub(super) kv_tokens: u64,
    /// Requests/s of the worker at most, promises aside.
    pub(super) most_per_s: f64,
}

/// What a worker does at its rate.
pub(super) struct Sized {
    pub(super) settled: Settled,
    /// Requests/s of the worker.
    pub(super) requests_per_s: f64,
    /// TTFT and TPOT.
    pub(super) seconds: [f64; 2],
}

/// Memory of a shape with a token budget, on devices of so many bytes.
pub(super) fn memory(question: &Question, shape: &Shape, budget: u64, capacity: u64) -> Memory {
    let settings = Settings {
        engine: question.engine,
        fraction: None,
        max_tokens: budget,
        graph_requests: question.engine.graph_requests(),
        max_length: question.max_length(),
    };
    Memory::of((question.model, question.dtype), shape, &settings, capacity)
}

/// Tokens of keys and values that a batch has room for, where one request of the longest length fits.
pub(super) fn room(question: &Question, shape: &Shape, memory: &Memory) -> Result<u64, Reason> {
    let missing = memory.shortfall();
    if missing > 0 {
        return Err(Reason::Memory { missing });
    }
    let room = memory.cache_tokens() / (shape.stages.len() as u64).max(1);
    let block = question.engine.block_tokens();
    let needed = question.max_length().div_ceil(block) * block;
    match room >= needed {
        true => Ok(room),
        false => Err(Reason::Cache { room, needed }),
    }
}

impl Candidate<'_> {
    /// What it can do with each token budget that memory admits, over each link; the most first.
    pub(super) fn settle(
        &self,
        price: &dyn IterationTime,
        links: &[Option<(f64, Link)>],
    ) -> Result<Vec<Settled>, Reason> {
        let (mut settled, mut refused) = (Vec::new(), None);
        let one = [*self.question.budgets.iter().min().unwrap_or(&1)];
        // A decode worker computes no more tokens at once than requests.
        let budgets = if self.role == Role::Decode { &one[..] } else { &self.question.budgets };
        for budget in budgets {
            let capacity = self.question.devices[self.pool].memory;
            let memory = memory(self.question, self.shape, *budget, capacity);
            let kv_tokens = match room(self.question, self.shape, &memory) {
                Ok(tokens) => tokens,
                Err(reason) => {
                    refused.get_or_insert(reason);
                    continue;
                }
            };
            for handed in links {
                match self.with((*budget, kv_tokens), *handed, price) {
                    Ok(of) => settled.push(of),
                    Err(fault) => refused = Some(Reason::Unsteady(fault)),
                }
            }
        }
        settled.sort_by(|one: &Settled, other| other.most_per_s.total_cmp(&one.most_per_s));
        match refused {
            Some(reason) if settled.is_empty() => Err(reason),
            _ => Ok(settled),
        }
    }

    fn with(
        &self,
        (budget, kv_tokens): (u64, u64),
        handed: Option<(f64, Link)>,
        price: &dyn IterationTime,
    ) -> Result<Settled, Fault> {
        let (question, shape) = (self.question, self.shape);
        let n_stages = (shape.stages.len() as u64).max(1);
        let engine = (question.engine, self.role);
        let limits = (question.most_running, budget);
        let stream = Stream {
            role: self.role,
            scheduler: stream::scheduler(engine, self.mix, limits, kv_tokens),
            n_streams: u64::from(shape.data).saturating_mul(n_stages),
            handed,
        };
        let all_s = stream.most_per_s(self.mix, price)? * stream.n_streams as f64 / self.share;
        let sent = handed.map_or(f64::INFINITY, |(bytes, link)| link.bytes_per_s / bytes);
        let most_per_s = MOST_LOAD * all_s.min(sent);
        Ok(Settled { stream, budget, kv_tokens: kv_tokens * n_stages, most_per_s })
    }

    /// The greatest rate with which a settled worker keeps promises; none where that is no more than a floor.
    pub(super) fn size(
        &self,
        settled: Settled,
        promises: &Promises,
        floor_per_s: f64,
        price: &dyn IterationTime,
    ) -> Result<Option<Sized>, Reason> {
        let alone = settled.stream.alone_s(self.mix, price).map_err(Reason::Unsteady)?;
        broken(promises, alone)?;
        let each = settled.stream.n_streams as f64 / self.share;
        let rate = |at: f64| (at / PARTS).exp2();
        let mut seconds = alone;
        let mut concurrency = 1.0;
        let mut keeps = |at: f64| match settled.stream.steady(self.mix, rate(at), price) {
            Ok((of, n)) if promises.admit(of) => {
                (seconds, concurrency) = (of, n);
                true
            }
            _ => false,
        };
        let grid = |per_s: f64| (PARTS * (per_s / each).log2()).floor();
        let highest = grid(settled.most_per_s);
        let mut low = highest - PARTS * DEEPEST;
        if floor_per_s > 0.0 {
            low = low.max(grid(floor_per_s));
            if low >= highest {
                return Ok(None);
            }
        }
        let start = low;
        let mut high = highest + 1.0;
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high).floor();
            if keeps(middle) { low = middle } else { high = middle }
        }
        if low <= start {
            if floor_per_s <= 0.0 {
                let (seconds, _) = settled
                    .stream
                    .steady(self.mix, rate(start), price)
                    .map_err(Reason::Unsteady)?;
                broken(promises, seconds)?;
            }
            return Ok(None);
        }
        let (stream, seconds) =
            self.limited(&settled.stream, promises, rate(low), (seconds, concurrency), price);
        let requests_per_s = rate(low) * each;
        Ok(Some(Sized { settled: Settled { stream, ..settled }, requests_per_s, seconds }))
    }

    /// No more running requests than there will be, where the promises are kept with so many.
    fn limited(
        &self,
        stream: &Stream,
        promises: &Promises,
        rate: f64,
        (seconds, n): ([f64; 2], f64),
        price: &dyn IterationTime,
    ) -> (Stream, [f64; 2]) {
        for deviations in DEVIATIONS {
            let most = (n + deviations * n.sqrt()).ceil() as u64;
            let most = most.next_multiple_of(8).min(stream.scheduler.max_num_seqs);
            let limited = stream.with_running(most);
            match limited.steady(self.mix, rate, price) {
                Ok((seconds, _)) if promises.admit(seconds) => return (limited, seconds),
                _ => {}
            }
        }
        (stream.clone(), seconds)
    }
}

/// Which promise a request that is alone breaks.
fn broken(promises: &Promises, [ttft_s, tpot_s]: [f64; 2]) -> Result<(), Reason> {
    if promises.ttft_s.is_some_and(|most| ttft_s > most) {
        return Err(Reason::Ttft { seconds: ttft_s });
    }
    if promises.tpot_s.is_some_and(|most| tpot_s > most) {
        return Err(Reason::Tpot { seconds: tpot_s });
    }
    Ok(())
}
