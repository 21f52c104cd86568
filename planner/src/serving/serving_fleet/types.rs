//! Worker types: all shapes on all pools in all roles, each sized or refused.

use std::collections::BTreeMap;

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::fault::Fault;
use cost_model::serving::worker::Shape;

use super::question::{Link, Price, Promises, Question, Reason};
use super::shapes::{is_whole, of_devices};
use super::size::{Candidate, Sized, memory, room};
use super::stream::{Stream, lengths};
use crate::run::Control;
use crate::serving::fleet::{Pool, Role, WorkerType};

/// A worker type with the settings of its engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its figures in the fleet.
    pub figures: WorkerType,
    /// Its shape.
    pub shape: Shape,
    /// Running requests of an attention data-parallel rank at most.
    pub max_num_seqs: u64,
    /// Tokens of an iteration at most.
    pub max_num_batched_tokens: u64,
    /// Tokens of keys and values of an attention data-parallel rank.
    pub kv_tokens: u64,
    /// Number of the link that a prefill worker hands over by.
    pub link: Option<usize>,
    /// Number of the level that it is sized for.
    pub level: usize,
    /// What its batches serve.
    pub stream: Stream,
}

/// A candidate that is no worker type.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Number of the pool.
    pub pool: usize,
    /// Its role.
    pub role: Role,
    /// Its shape.
    pub shape: Shape,
    /// Why.
    pub reason: Reason,
}

/// All worker types, and what is none.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// Worker types.
    pub workers: Vec<Worker>,
    /// Candidates that are none.
    pub rejected: Vec<Rejected>,
    /// Shapes on pools in roles that were enumerated.
    pub n_enumerated: u64,
    /// Of these, such that became one worker type or more.
    pub n_accepted: u64,
}

impl Types {
    /// Rejected candidates by reason. With [`Self::n_accepted`] they add up to [`Self::n_enumerated`].
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for rejected in &self.rejected {
            *counts.entry(rejected.reason.name()).or_default() += 1;
        }
        counts
    }
}

/// What a model misses on the devices that there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortfall {
    /// Number of the pool.
    pub pool: usize,
    /// The shape that misses least.
    pub shape: Shape,
    /// Bytes that are missing on a device, or tokens of its cache.
    pub reason: Reason,
    /// Fewest devices in hosts of this pool that the model and one request fit on, and their shape; none where
    /// more than [`MOST_SEARCHED`] would be needed.
    pub smallest: Option<(u32, Shape)>,
}

/// Devices up to which a place for a model is looked for.
pub const MOST_SEARCHED: u32 = 64;

/// Part of the rate that smaller workers were sized for below which candidates that they dominate are sized again.
const LOWERED: f64 = 0.9;

/// Looks for worker types.
pub(super) struct Search<'q> {
    question: &'q Question<'q>,
    control: &'q Control,
    /// By role, requests as it sees them and their share of all.
    mixes: [(Role, Vec<Length>, f64); 3],
    /// Bytes that a request hands over.
    pub(super) bytes: f64,
    /// By number of a worker type, requests/s after replays of fleets lowered them.
    replayed_per_s: Vec<f64>,
    pub(super) types: Types,
}

impl<'q> Search<'q> {
    pub(super) fn new(question: &'q Question<'q>, control: &'q Control) -> Self {
        let share = |mix: &[Length]| mix.iter().map(|length| length.share).sum::<f64>();
        let all = share(&question.mix);
        let of = |role: Role| {
            let mix = lengths(&question.mix, role);
            let part = share(&mix) / all;
            (role, mix, part)
        };
        let one = memory(question, &Shape::one(question.model), 1, 0);
        let bytes = |length: &Length| {
            one.request_bytes(u64::from(length.n_input)).sum::<f64>() * length.share / all
        };
        Self {
            question,
            control,
            mixes: [of(Role::Aggregated), of(Role::Prefill), of(Role::Decode)],
            bytes: question.mix.iter().map(bytes).sum(),
            replayed_per_s: Vec::new(),
            types: Types::default(),
        }
    }

    /// All worker types, those of few devices first; sized once for all fleets at a price.
    pub(super) fn run(mut self, price: &Price<'_>) -> Self {
        if let Some(types) = self.question.known.of(self.question) {
            return Self { types, ..self };
        }
        for pool in 0..self.question.devices.len() {
            let of = self.question.devices[pool].pool;
            let hosts = of.hosts.unwrap_or(u32::MAX);
            let most = hosts.saturating_mul(of.devices_per_host);
            let most = most.min(self.question.most_devices_of_worker);
            let least = self.question.least_devices_of_worker.max(1);
            for devices in (least..=most).filter(|n| is_whole(*n, of.devices_per_host)) {
                let is_asked = |shape: &Shape| {
                    !self.question.tensor_alone || u64::from(shape.tensor) == shape.devices()
                };
                let mut shapes = of_devices(self.question.model, devices);
                shapes.retain(is_asked);
                for shape in shapes {
                    self.shape(pool, &shape, price);
                }
            }
        }
        if self.control.stop().is_none() {
            self.question.known.keep(self.question, &self.types);
        }
        self
    }

    /// Sizes candidates again that smaller workers no longer dominate, as replays lowered the rates that these were
    /// sized for; whether there are more worker types then.
    pub(super) fn again(&mut self, replayed_per_s: Vec<f64>, price: &Price<'_>) -> bool {
        let n_types = self.types.workers.len();
        self.replayed_per_s = replayed_per_s;
        let rejected = std::mem::take(&mut self.types.rejected);
        let (again, rest): (Vec<_>, Vec<_>) =
            rejected.into_iter().partition(|rejected| self.is_freed(&rejected.reason));
        self.types.rejected = rest;
        for Rejected { pool, role, shape, .. } in again {
            let added =
                price(pool, &shape).and_then(|price| self.role((pool, role), &shape, &*price));
            self.count((pool, role), &shape, added);
        }
        self.types.workers.len() > n_types
    }

    /// Whether the rate that dominated a candidate is much lower by now, and lower than the most of the candidate.
    fn is_freed(&self, reason: &Reason) -> bool {
        let Reason::Dominated { by, times, served_per_s, most_per_s } = reason else {
            return false;
        };
        let left = f64::from(*times) * self.rate(*by);
        left < LOWERED * served_per_s && left < *most_per_s
    }

    /// Requests/s of a worker type, after replays of fleets lowered them.
    fn rate(&self, at: usize) -> f64 {
        let sized_for = self.types.workers[at].figures.requests_per_s;
        self.replayed_per_s.get(at).copied().unwrap_or(sized_for)
    }

    fn count(&mut self, (pool, role): (usize, Role), shape: &Shape, added: Result<(), Reason>) {
        let reason = match added {
            Ok(()) => {
                self.types.n_accepted += 1;
                return;
            }
            // No price is one, then.
            Err(_) if self.control.stop().is_some() => Reason::Stopped,
            Err(reason) => reason,
        };
        self.types.rejected.push(Rejected { pool, role, shape: shape.clone(), reason });
    }

    fn shape(&mut self, pool: usize, shape: &Shape, price: &Price<'_>) {
        let roles = self.question.roles(pool);
        self.types.n_enumerated += roles.len() as u64;
        let priced = match shape.check(self.question.model) {
            _ if self.control.stop().is_some() => Err(Reason::Stopped),
            Err(invalid) => Err(Reason::Invalid(invalid)),
            Ok(()) => self.fits(pool, shape).and_then(|()| price(pool, shape)),
        };
        for role in roles {
            let per_host = self.question.devices[pool].pool.devices_per_host;
            let lacks = self.question.lacks(role, shape, per_host);
            let added = match &priced {
                Ok(_) if lacks.is_some() => Err(Reason::Engine(lacks.unwrap_or_default())),
                Ok(price) => self.role((pool, role), shape, &**price),
                Err(reason) => Err(reason.clone()),
            };
            self.count((pool, role), shape, added);
        }
    }

    /// Whether the model and one request fit with the smallest token budget.
    fn fits(&self, pool: usize, shape: &Shape) -> Result<(), Reason> {
        let budget = *self.question.budgets.iter().min().unwrap_or(&1);
        let memory = memory(self.question, shape, budget, self.question.devices[pool].memory);
        room(self.question, shape, &memory).map(|_| ())
    }

    fn role(
        &mut self,
        (pool, role): (usize, Role),
        shape: &Shape,
        price: &dyn IterationTime,
    ) -> Result<(), Reason> {
        let question = self.question;
        let (_, mix, share) = self.mixes[role_at(role)].clone();
        let candidate = Candidate { question, pool, shape, role, mix: &mix, share };
        let (workers, refused) = self.sized(&candidate, price);
        match refused {
            Some(reason) if workers.is_empty() => return Err(reason),
            _ => self.types.workers.extend(workers),
        }
        Ok(())
    }

    fn sized(
        &self,
        candidate: &Candidate,
        price: &dyn IterationTime,
    ) -> (Vec<Worker>, Option<Reason>) {
        let (question, pool) = (self.question, candidate.pool);
        let (mut workers, mut refused) = (Vec::new(), None);
        for (at, link) in self.ways(pool, candidate.role) {
            let handed = link.map(|link| (self.bytes, link));
            for (level, factor) in question.levels.iter().enumerate() {
                // A tighter TPOT means nothing to a prefill worker.
                let is_free = question.promises.of_means().tpot_s.is_none();
                if level > 0 && (candidate.role == Role::Prefill || is_free) {
                    continue;
                }
                let tpot_s = question.promises.tpot_s.map(|seconds| seconds * factor);
                let promises = Promises { tpot_s, ..question.promises };
                match self.best(candidate, (at, level), handed, &promises, price) {
                    Ok(worker) => workers.push(worker),
                    Err(reason) => refused = refused.or(Some(reason)),
                }
            }
        }
        (workers, refused)
    }

    /// Links of prefill workers of a pool, by number; the fastest of decode workers; none of others.
    fn ways(&self, pool: usize, role: Role) -> Vec<(Option<usize>, Option<Link>)> {
        let links = self.question.links.iter().enumerate().filter(|(_, link)| link.is_way());
        match role {
            Role::Aggregated => vec![(None, None)],
            Role::Prefill => links
                .filter(|(_, link)| link.from == pool)
                .map(|(at, link)| (Some(at), Some(*link)))
                .collect(),
            Role::Decode => {
                let here = links.filter(|(_, link)| link.to == pool).map(|(_, link)| *link);
                let fastest = here.max_by(|a, b| a.bytes_per_s.total_cmp(&b.bytes_per_s));
                vec![(None, fastest)]
            }
        }
    }

    /// The worker of the greatest rate over all token budgets.
    pub(super) fn best(
        &self,
        candidate: &Candidate,
        (link, level): (Option<usize>, usize),
        handed: Option<(f64, Link)>,
        promises: &Promises,
        price: &dyn IterationTime,
    ) -> Result<Worker, Reason> {
        let (mut best, mut refused): (Option<Sized>, Option<Reason>) = (None, None);
        let (rival, of_rivals) = rival(
            (self.question, &self.types.workers),
            (candidate.pool, candidate.role, candidate.n_devices()),
            (link, level),
            &|at| self.rate(at),
        );
        for room in candidate.rooms(price, handed)? {
            let floor = best.as_ref().map_or(of_rivals, |best| best.requests_per_s.max(of_rivals));
            match candidate.best(&room, (promises, floor), price, self.control) {
                Ok(Some(sized)) => best = Some(sized),
                Ok(None) => {
                    let most_per_s = room.most_per_s;
                    let (rate, capacity) = (most_per_s, most_per_s);
                    refused.get_or_insert(match rival {
                        Some((by, times)) => {
                            let served_per_s = of_rivals;
                            Reason::Dominated { by, times, served_per_s, most_per_s }
                        }
                        None => Reason::Unsteady(Fault::Saturated { rate, capacity }),
                    });
                }
                Err(reason) => refused = Some(reason),
            }
        }
        let Some(sized) = best else { return Err(refused.unwrap_or(Reason::Stopped)) };
        Ok(Worker::of(candidate, (link, level), sized))
    }
}

impl Worker {
    /// A candidate with settings.
    pub(super) fn of(candidate: &Candidate, way: (Option<usize>, usize), sized: Sized) -> Self {
        let Sized { stream, budget, kv_tokens, requests_per_s, seconds: [ttft_s, tpot_s] } = sized;
        let n_stages = candidate.shape.stages.len() as u64;
        let figures = WorkerType {
            role: candidate.role,
            pool: candidate.pool,
            n_devices: candidate.n_devices(),
            requests_per_s,
            efficiency: 1.0,
            ttft_s,
            tpot_s,
        };
        Self {
            figures,
            shape: candidate.shape.clone(),
            max_num_seqs: stream.scheduler.max_num_seqs.saturating_mul(n_stages),
            max_num_batched_tokens: budget.max(stream.scheduler.max_num_seqs),
            kv_tokens,
            link: way.0,
            level: way.1,
            stream,
        }
    }
}

/// What other workers of a way (link, level) serve in the place of one of `n_devices`, and which; of those that
/// `rate` (requests/s, by number) counts.
pub(super) fn rival(
    (question, workers): (&Question<'_>, &[Worker]),
    (pool, role, n_devices): (usize, Role, u32),
    way: (Option<usize>, usize),
    rate: &dyn Fn(usize) -> f64,
) -> (Option<(usize, u32)>, f64) {
    let devices = &question.devices[pool].pool;
    let others = workers.iter().enumerate().filter(|(_, worker)| {
        let of = &worker.figures;
        (of.pool, of.role) == (pool, role) && (worker.link, worker.level) == way
    });
    let mut best = (None, 0.0);
    for (at, worker) in others {
        let times = in_place(devices, worker.figures.n_devices, n_devices);
        let rate = f64::from(times) * rate(at);
        if rate > best.1 {
            best = (Some((at, times)), rate);
        }
    }
    best
}

fn role_at(role: Role) -> usize {
    match role {
        Role::Aggregated => 0,
        Role::Prefill => 1,
        Role::Decode => 2,
    }
}

/// Workers of so many devices that fit where one of more is.
fn in_place(pool: &Pool, devices: u32, of: u32) -> u32 {
    let room = u32::try_from(pool.footprint(of)).unwrap_or(u32::MAX);
    let hosts = pool.span(of);
    match (pool.span(devices), hosts) {
        (0, 0) => room / devices.max(1),
        (0, hosts) => hosts.saturating_mul(pool.devices_per_host / devices.max(1)),
        (each, hosts) => hosts / each,
    }
}

/// What is missing on each pool that the model fits on in no shape.
pub(super) fn shortfalls(question: &Question, types: &Types) -> Vec<Shortfall> {
    let is_short = |reason: &Reason| matches!(reason, Reason::Memory { .. } | Reason::Cache { .. });
    let of = |pool: usize| {
        let here = types.rejected.iter().filter(|rejected| rejected.pool == pool);
        let mut valid = here.filter(|rejected| !matches!(rejected.reason, Reason::Invalid(_)));
        if types.workers.iter().any(|worker| worker.figures.pool == pool)
            || !valid.clone().all(|rejected| is_short(&rejected.reason))
        {
            return None;
        }
        let first = valid.next()?;
        let least = valid.fold(first, |one, other| {
            if missing(&other.reason) < missing(&one.reason) { other } else { one }
        });
        let (shape, reason) = (least.shape.clone(), least.reason.clone());
        Some(Shortfall { pool, shape, reason, smallest: smallest(question, pool) })
    };
    (0..question.devices.len()).filter_map(of).collect()
}

/// Missing bytes, then missing tokens.
fn missing(reason: &Reason) -> (u64, u64) {
    match reason {
        Reason::Memory { missing } => (*missing, u64::MAX),
        Reason::Cache { room, needed } => (0, needed - room),
        _ => (u64::MAX, u64::MAX),
    }
}

/// The fewest devices in hosts of a pool, up to [`MOST_SEARCHED`], that the model and one request fit on as the engine
/// runs them.
#[must_use]
pub fn smallest(question: &Question, pool: usize) -> Option<(u32, Shape)> {
    let per_host = question.devices[pool].pool.devices_per_host;
    let budget = *question.budgets.iter().min()?;
    let fits = |shape: &Shape| {
        let memory = memory(question, shape, budget, question.devices[pool].memory);
        shape.check(question.model).is_ok()
            && question.lacks(Role::Aggregated, shape, per_host).is_none()
            && room(question, shape, &memory).is_ok()
    };
    let sizes = (1..=MOST_SEARCHED).filter(|n| is_whole(*n, per_host));
    let mut found = sizes.filter_map(|devices| {
        let shape = of_devices(question.model, devices).into_iter().find(fits)?;
        Some((devices, shape))
    });
    found.next()
}
