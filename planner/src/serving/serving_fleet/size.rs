//! The rate of a worker: the greatest at which it keeps the promises.

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::closed_form::most_running;
use cost_model::serving::engine::Engine;
use cost_model::serving::fault::Fault;
use cost_model::serving::memory::{Memory, Settings};
use cost_model::serving::worker::Shape;

use super::question::{Link, Promises, Question, Reason};
use super::stream::{self, Stream};
use crate::run::Control;
use crate::serving::fleet::Role;

/// Rates are powers of two of so many parts of one (0.27 % apart), so that more memory or a looser promise
/// never moves them.
const PARTS: f64 = 256.0;
/// Load at most where no promise bounds it.
pub(super) const MOST_LOAD: f64 = 0.9;
/// Rates that are looked at reach down by so many powers of two.
const DEEPEST: f64 = 16.0;
/// Running requests at most are powers of two of so many parts of one (9 % apart), so that a worker with more
/// memory may have as many as one with less.
const LIMIT_PARTS: f64 = 8.0;
/// Standard deviations of the number of running requests beyond which a limit bears on nothing.
const FREE: f64 = 10.0;
/// What a worker does at most rises with its running requests, but for so much, as requests of one length go
/// in waves; and up to a number of them, as iterations beyond what graphs cover take longer: it is looked at for
/// limits so many numbers apart.
const NEAR: f64 = 0.95;
const APART: usize = 8;
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
pub(super) struct Room {
    pub(super) stream: Stream,
    pub(super) budget: u64,
    /// Tokens of keys and values of an attention data-parallel rank.
    pub(super) kv_tokens: u64,
    /// Running requests of a batch at most, to choose from; the most first.
    pub(super) limits: Vec<u64>,
    /// TTFT and TPOT of a request that is alone.
    alone_s: [f64; 2],
    /// Of some limits, by their number in `limits`, the first one included: requests/s at most, promises aside.
    some_per_s: Vec<(usize, f64)>,
    /// The greatest of these.
    pub(super) most_per_s: f64,
}

/// What a worker does at its rate.
pub(super) struct Sized {
    pub(super) stream: Stream,
    pub(super) budget: u64,
    /// Tokens of keys and values of an attention data-parallel rank.
    pub(super) kv_tokens: u64,
    /// Requests/s of the worker.
    pub(super) requests_per_s: f64,
    /// TTFT and TPOT.
    pub(super) seconds: [f64; 2],
}

/// A look at a number of running requests.
struct Tried {
    /// Where it is better than the floor.
    sized: Option<Sized>,
    /// Requests under way at the greatest rate that keeps the promises, or at the least that misses them.
    concurrency: f64,
    /// TTFT and TPOT at the least rate that misses them, where that has a steady state.
    missed: Option<[f64; 2]>,
}

/// Memory of a shape with a token budget, on devices of so many bytes.
pub(super) fn memory(question: &Question, shape: &Shape, budget: u64, capacity: u64) -> Memory {
    let settings = Settings {
        engine: question.engine,
        fraction: None,
        max_tokens: budget,
        max_requests: question.most_running,
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

/// Numbers of running requests to choose from, the most first.
fn limits(most: u64, room: u64) -> Vec<u64> {
    let of = |step: i32| (f64::from(step) / LIMIT_PARTS).exp2().round() as u64;
    let mut limits: Vec<u64> = (0..).map(of).take_while(|limit| *limit < most).collect();
    limits.push(most);
    limits.retain(|limit| *limit <= room);
    limits.dedup();
    limits.reverse();
    limits
}

impl Candidate<'_> {
    pub(super) fn n_devices(&self) -> u32 {
        u32::try_from(self.shape.devices()).unwrap_or(u32::MAX)
    }

    /// What it can do with each token budget that memory admits; the most first.
    pub(super) fn rooms(
        &self,
        price: &dyn IterationTime,
        handed: Option<(f64, Link)>,
    ) -> Result<Vec<Room>, Reason> {
        let (mut rooms, mut refused) = (Vec::new(), None);
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
            match self.with((*budget, kv_tokens), handed, price) {
                Ok(of) => rooms.push(of),
                Err(fault) => refused = Some(Reason::Unsteady(fault)),
            }
        }
        rooms.sort_by(|one: &Room, other| other.most_per_s.total_cmp(&one.most_per_s));
        match refused {
            Some(reason) if rooms.is_empty() => Err(reason),
            _ => Ok(rooms),
        }
    }

    fn with(
        &self,
        (budget, kv_tokens): (u64, u64),
        handed: Option<(f64, Link)>,
        price: &dyn IterationTime,
    ) -> Result<Room, Fault> {
        let (question, shape) = (self.question, self.shape);
        let n_stages = (shape.stages.len() as u64).max(1);
        // vLLM takes no fewer tokens of an iteration than requests, those of all stages together.
        let running = match question.engine {
            Engine::Vllm => question.most_running.min((budget / n_stages).max(1)),
            Engine::Sglang | Engine::TrtLlm => question.most_running,
        };
        let stream = Stream {
            role: self.role,
            scheduler: stream::scheduler((question, self.role), self.mix, budget, kv_tokens),
            n_streams: u64::from(shape.data).saturating_mul(n_stages),
            handed,
        };
        let limits = limits(running, most_running(self.mix, &stream.scheduler)?);
        let (alone_s, _) = stream.alone_s(self.mix, price)?;
        let mut room = Room {
            stream,
            budget,
            kv_tokens: kv_tokens * n_stages,
            limits,
            alone_s,
            some_per_s: Vec::new(),
            most_per_s: 0.0,
        };
        for (at, limit) in room.limits.iter().enumerate().step_by(APART) {
            let most_per_s = match self.most_per_s(&room, *limit, price) {
                Err(fault) if at == 0 => return Err(fault),
                most_per_s => most_per_s.unwrap_or(0.0),
            };
            room.some_per_s.push((at, most_per_s));
            room.most_per_s = room.most_per_s.max(most_per_s);
        }
        Ok(room)
    }

    /// Requests/s of a worker of which each batch runs so many at most, promises aside.
    fn most_per_s(&self, room: &Room, limit: u64, price: &dyn IterationTime) -> Result<f64, Fault> {
        let most_per_s = room.stream.with_running(limit).most_per_s(self.mix, price)?;
        let sent =
            room.stream.handed.map_or(f64::INFINITY, |(bytes, link)| link.bytes_per_s / bytes);
        Ok(MOST_LOAD * (most_per_s * self.each(&room.stream)).min(sent))
    }

    /// Requests/s of all requests for one request/s of a batch.
    fn each(&self, stream: &Stream) -> f64 {
        stream.n_streams as f64 / self.share
    }

    /// The greatest rate that keeps promises, whatever the number of running requests; none where that is no
    /// more than a floor.
    pub(super) fn best(
        &self,
        room: &Room,
        (promises, floor_per_s): (&Promises, f64),
        price: &dyn IterationTime,
        control: &Control,
    ) -> Result<Option<Sized>, Reason> {
        broken(promises, room.alone_s)?;
        let promises = &promises.of_means();
        let (mut best, mut floor_per_s) = (None, floor_per_s);
        let able = room.some_per_s.iter().find(|(_, most_per_s)| *most_per_s > NEAR * floor_per_s);
        let Some((first, _)) = able else { return Ok(None) };
        let mut limits = &room.limits[*first..];
        while let Some(limit) = limits.first().copied() {
            if control.stop().is_some() {
                return if best.is_some() { Ok(best) } else { Err(Reason::Stopped) };
            }
            let most_per_s = self.most_per_s(room, limit, price).map_err(Reason::Unsteady)?;
            limits = &limits[1..];
            if most_per_s <= NEAR * floor_per_s {
                break;
            }
            if most_per_s <= floor_per_s {
                limits = self.able(room, limits, floor_per_s, price);
                continue;
            }
            let stream = room.stream.with_running(limit);
            let tried = self.size((stream, room), promises, (floor_per_s, most_per_s), price)?;
            if let Some(sized) = tried.sized {
                floor_per_s = sized.requests_per_s;
                best = Some(sized);
            }
            // Fewer running requests wait longer for a first token.
            if tried
                .missed
                .is_some_and(|[ttft_s, _]| promises.ttft_s.is_some_and(|most| ttft_s > most))
            {
                break;
            }
            // A limit that bears on nothing is as good as any above it.
            let free = tried.concurrency + FREE * tried.concurrency.sqrt();
            let n_free = limits.partition_point(|limit| *limit as f64 >= free);
            limits = self.able(room, &limits[n_free.saturating_sub(1)..], floor_per_s, price);
        }
        Ok(best)
    }

    /// Limits up to the last one that can be better than a floor, promises aside.
    fn able<'l>(
        &self,
        room: &Room,
        limits: &'l [u64],
        floor_per_s: f64,
        price: &dyn IterationTime,
    ) -> &'l [u64] {
        let (mut able, mut not) = (0, limits.len());
        while able < not {
            let middle = usize::midpoint(able, not);
            let most_per_s = self.most_per_s(room, limits[middle], price);
            match most_per_s.is_ok_and(|most_per_s| most_per_s > NEAR * floor_per_s) {
                true => able = middle + 1,
                false => not = middle,
            }
        }
        &limits[..able]
    }

    /// The greatest rate with which a worker keeps promises, above a floor.
    fn size(
        &self,
        (stream, room): (Stream, &Room),
        promises: &Promises,
        (floor_per_s, most_per_s): (f64, f64),
        price: &dyn IterationTime,
    ) -> Result<Tried, Reason> {
        let each = self.each(&stream);
        let rate = |at: f64| (at / PARTS).exp2();
        let (mut seconds, mut concurrency, mut missed) = (room.alone_s, 1.0, None);
        let mut keeps = |at: f64| {
            let Ok((of, n)) = stream.steady(self.mix, rate(at), price) else {
                missed = None;
                return false;
            };
            concurrency = n;
            let is_kept = promises.admit(of);
            if is_kept {
                seconds = of
            } else {
                missed = Some(of)
            }
            is_kept
        };
        // A rate of the grid is its own number, however its logarithm rounds.
        let grid = |per_s: f64| (PARTS * (per_s / each).log2() + 1e-6).floor();
        let highest = grid(most_per_s);
        let mut low = highest - PARTS * DEEPEST;
        if floor_per_s > 0.0 {
            low = low.max(grid(floor_per_s));
        }
        let (start, mut high) = (low, highest + 1.0);
        // Most of what is looked at again is no better.
        if floor_per_s > 0.0 && low < highest && !keeps(low + 1.0) {
            high = low + 1.0;
        }
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high).floor();
            if keeps(middle) { low = middle } else { high = middle }
        }
        if low <= start {
            if floor_per_s <= 0.0 {
                let steady = stream.steady(self.mix, rate(start), price);
                broken(promises, steady.map_err(Reason::Unsteady)?.0)?;
            }
            return Ok(Tried { sized: None, concurrency, missed });
        }
        let (stream, seconds) =
            self.limited((&stream, room), promises, rate(low), (seconds, concurrency), price);
        let requests_per_s = rate(low) * each;
        let Room { budget, kv_tokens, .. } = *room;
        let sized = Some(Sized { stream, budget, kv_tokens, requests_per_s, seconds });
        Ok(Tried { sized, concurrency, missed })
    }

    /// No more running requests than there will be, where the promises are kept with so many at a load that is no
    /// greater.
    fn limited(
        &self,
        (stream, room): (&Stream, &Room),
        promises: &Promises,
        rate: f64,
        (seconds, n): ([f64; 2], f64),
        price: &dyn IterationTime,
    ) -> (Stream, [f64; 2]) {
        let most_running = stream.scheduler.max_num_seqs;
        let far = DEVIATIONS.map(|deviations| {
            let most = (n + deviations * n.sqrt()).ceil() as u64;
            most.next_multiple_of(8).min(most_running)
        });
        let further = room.limits.iter().rev().copied();
        let further = further.filter(|most| *most > far[DEVIATIONS.len() - 1]);
        for most in far.into_iter().chain(further.take_while(|most| *most < most_running)) {
            let limited = stream.with_running(most);
            let most_per_s = self.most_per_s(room, most, price).unwrap_or(0.0);
            if most_per_s < rate * self.each(stream) {
                continue;
            }
            match limited.steady(self.mix, rate, price) {
                Ok((seconds, _)) if promises.admit(seconds) => return (limited, seconds),
                _ => {}
            }
        }
        (stream.clone(), seconds)
    }
}

/// Which promise a request that is alone breaks.
fn broken(promises: &Promises, alone_s: [f64; 2]) -> Result<(), Reason> {
    let is_above = |at: usize, most: Option<f64>| most.is_some_and(|most| alone_s[at] > most);
    if is_above(0, promises.ttft_s) {
        return Err(Reason::Ttft { alone_s });
    }
    if is_above(1, promises.tpot_s) {
        return Err(Reason::Tpot { alone_s });
    }
    Ok(())
}
