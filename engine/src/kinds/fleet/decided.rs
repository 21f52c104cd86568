//! What a fleet decides: workers on devices; from a search, from a document, and judged.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::serving::memory::Term;
use cost_model::serving::worker::Shape;
use documents::plan::fleet::{
    FleetDocument, LengthDocument, RoleDocument, WorkerDocument, WorkerMemoryDocument,
    are_equal_hosts,
};
use documents::plan::head::Head;
use documents::plan::{ModeDocument, PlanDocument, WorkloadDocument};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::Bytes;
use planner::serving::fleet::{Objective, Role};
pub use planner::serving::serving_fleet::JudgedWorker;
use planner::serving::serving_fleet::{self, Answer, Question, Reason, Stated};

use super::setting::{Setting, stated};
use super::words::{latency, role, shape, statistic};
use crate::kinds::kind::illegal;
use crate::request::serving::ServingMode;

/// Equal workers on their devices.
#[derive(Clone, Debug)]
pub struct Workers {
    /// Settings and rate of each.
    pub stated: Stated,
    /// By replica the devices, stage by stage.
    pub replicas: Vec<Vec<DeviceId>>,
}

/// Workers and what they hold and do.
#[derive(Clone, Debug)]
pub struct Judged {
    /// By type.
    pub workers: Vec<(Workers, JudgedWorker)>,
    /// Requests per second of all.
    pub requests_per_s: f64,
    /// Devices, idle ones of hosts that a wide worker takes whole included.
    pub n_devices: u64,
    /// Price of an hour.
    pub price_per_hour: Option<f64>,
}

/// Workers of an answer, on hosts in the order of the cluster.
#[must_use]
pub fn of_answer(setting: &Setting, answer: &Answer) -> Option<Vec<Workers>> {
    let plan = answer.found.best.as_ref()?;
    let of = |replayed: &serving_fleet::Replayed| {
        let worker = &answer.types.workers[replayed.of];
        let stated = Stated {
            pool: worker.figures.pool,
            role: worker.figures.role,
            shape: worker.shape.clone(),
            max_num_seqs: worker.max_num_seqs,
            max_num_batched_tokens: worker.max_num_batched_tokens,
            link: worker.link,
            requests_per_s: replayed.requests_per_s,
        };
        (replayed.of, Workers { stated, replicas: Vec::new() })
    };
    let mut all: BTreeMap<usize, Workers> = answer.replays.iter().map(of).collect();
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    for group in &plan.hosts {
        let hosts = &setting.pools.get(group.pool)?.hosts;
        for _ in 0..group.times {
            let first = next.entry(group.pool).or_default();
            let taken = hosts.get(*first..first.saturating_add(group.n_hosts as usize))?;
            *first += group.n_hosts as usize;
            let mut devices = taken.iter().flatten().copied();
            for (at, count) in &group.workers {
                let worker = all.get_mut(at)?;
                let n = usize::try_from(worker.stated.shape.devices()).ok()?;
                for _ in 0..*count {
                    worker.replicas.push(devices.by_ref().take(n).collect());
                }
            }
        }
    }
    let order = |workers: &Workers| (role(workers.stated.role), workers.stated.pool);
    let mut all: Vec<Workers> = all.into_values().collect();
    all.sort_by_key(order);
    Some(all)
}

/// The workers of a document.
///
/// # Errors
/// All of what is none.
pub fn of_document(
    setting: &Setting,
    fleet: &FleetDocument,
) -> Result<Vec<Workers>, Vec<Diagnostic>> {
    let cluster = &setting.run.cluster;
    let known: BTreeMap<&str, DeviceId> =
        cluster.device_ids().map(|id| (cluster.devices[id.index()].name.as_str(), id)).collect();
    let mut found = Vec::new();
    let mut broken = Vec::new();
    let mut taken = BTreeSet::new();
    for (at, worker) in fleet.workers.iter().enumerate() {
        let mut replicas = Vec::new();
        for names in &worker.replicas {
            let devices: Result<Vec<DeviceId>, &String> =
                names.iter().map(|name| known.get(name.as_str()).copied().ok_or(name)).collect();
            match devices {
                Ok(devices) => replicas.push(devices),
                Err(name) => {
                    broken.push(unplaced(at, &format!("names `{name}`, which the cluster lacks")))
                }
            }
        }
        for id in replicas.iter().flatten() {
            if !taken.insert(*id) {
                let name = &cluster.devices[id.index()].name;
                broken.push(unplaced(at, &format!("takes `{name}`, which another worker has")));
            }
        }
        match workers_of(setting, (at, worker), replicas) {
            Ok(workers) => found.push(workers),
            Err(why) => broken.push(why),
        }
    }
    if broken.is_empty() { Ok(found) } else { Err(broken) }
}

fn unplaced(at: usize, what: &str) -> Diagnostic {
    illegal("worker-devices", format!("worker {at} {what}"))
}

/// Checked device assignment of a worker type: each replica on one host, or on whole hosts of one pool.
fn workers_of(
    setting: &Setting,
    (at, worker): (usize, &WorkerDocument),
    replicas: Vec<Vec<DeviceId>>,
) -> Result<Workers, Diagnostic> {
    let shape = shape(worker);
    let first = replicas.first().and_then(|devices| devices.first());
    let is_of = |id: &DeviceId| {
        let has = |host: &Vec<DeviceId>| host.contains(id);
        setting.pools.iter().position(|pool| pool.hosts.iter().any(has))
    };
    let pool = first.and_then(is_of).ok_or_else(|| unplaced(at, "has no devices"))?;
    let of = &setting.pools[pool];
    if of.kind != worker.kind {
        return Err(unplaced(at, &format!("lies on {}, not {}", of.kind, worker.kind)));
    }
    for devices in &replicas {
        if devices.len() as u64 != shape.devices() {
            let (n, needs) = (devices.len(), shape.devices());
            return Err(unplaced(at, &format!("has {n} devices, and its degrees need {needs}")));
        }
        let on = |host: &&Vec<DeviceId>| host.iter().any(|id| devices.contains(id));
        let hosts: Vec<&Vec<DeviceId>> = of.hosts.iter().filter(on).collect();
        let here = |id: &DeviceId| hosts.iter().any(|host| host.contains(id));
        let is_whole =
            hosts.len() == 1 || hosts.iter().all(|host| host.iter().all(|id| devices.contains(id)));
        if !is_whole || !devices.iter().all(here) {
            return Err(unplaced(at, "lies neither on one host nor on whole hosts of its pool"));
        }
    }
    let is_prefill = worker.role == RoleDocument::Prefill;
    let goes = |link: &serving_fleet::Link| link.from == pool && Some(link.to) == worker.to_pool;
    let link = setting.links.iter().position(goes);
    if is_prefill && link.is_none() {
        return Err(unplaced(at, "hands keys and values over to no pool that it reaches"));
    }
    Ok(Workers {
        stated: Stated {
            pool,
            role: match worker.role {
                RoleDocument::Prefill => Role::Prefill,
                RoleDocument::Decode => Role::Decode,
                RoleDocument::Aggregated => Role::Aggregated,
            },
            shape,
            max_num_seqs: worker.max_num_seqs,
            max_num_batched_tokens: worker.max_num_batched_tokens,
            link: link.filter(|_| is_prefill),
            requests_per_s: worker.requests_per_s,
        },
        replicas,
    })
}

/// Hosts of the prefill workers that hand over by a link where all that it joins are within equal hosts.
fn hosts_within(setting: &Setting, all: &[Workers], link: usize) -> Option<BTreeSet<usize>> {
    let host = |id: &DeviceId| setting.hosts.of(*id);
    let to = setting.links[link].to;
    let sends = |of: &&Workers| of.stated.link == Some(link);
    let receives = |of: &&Workers| of.stated.role == Role::Decode && of.stated.pool == to;
    let connected = all.iter().filter(|of| sends(of) || receives(of)).enumerate();
    let replicas = connected.flat_map(|(at, of)| {
        of.replicas.iter().map(move |ids| (at, ids.iter().map(host).collect()))
    });
    let hosts = all.iter().filter(sends).flat_map(|of| of.replicas.iter().flatten().map(host));
    let hosts: BTreeSet<usize> = hosts.collect();
    (!hosts.is_empty() && are_equal_hosts(replicas)).then_some(hosts)
}

/// The number of hosts where all keys and values that are handed over stay within each.
#[must_use]
pub fn n_hosts_within(setting: &Setting, all: &[Workers]) -> Option<usize> {
    let used: BTreeSet<usize> = all.iter().filter_map(|of| of.stated.link).collect();
    let hosts = used.into_iter().map(|link| hosts_within(setting, all, link));
    let hosts: Vec<BTreeSet<usize>> = hosts.collect::<Option<_>>()?;
    let hosts: BTreeSet<usize> = hosts.into_iter().flatten().collect();
    (!hosts.is_empty()).then_some(hosts.len())
}

/// The question with the ways that keys and values take between workers on their devices.
#[must_use]
pub fn question_on<'s>(setting: &'s Setting, all: &[Workers]) -> Question<'s> {
    let mut question = setting.question();
    let links = question.links.iter_mut().zip(&setting.links_of_a_host);
    for (at, (link, near)) in links.enumerate() {
        if hosts_within(setting, all, at).is_some() {
            *link = *near;
        }
    }
    question
}

/// Workers of an answer, where all replays are within the latency targets.
pub(super) fn judge_answer(setting: &Setting, answer: &Answer) -> Option<Judged> {
    let workers = of_answer(setting, answer).filter(|_| answer.is_kept())?;
    judge(setting, workers).ok()
}

/// What workers hold and do.
///
/// # Errors
/// All rules that they break.
pub fn judge(setting: &Setting, all: Vec<Workers>) -> Result<Judged, Vec<Diagnostic>> {
    let question = question_on(setting, &all);
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let mut broken = Vec::new();
    let mut workers = Vec::new();
    for (at, each) in all.into_iter().enumerate() {
        match serving_fleet::judge((&question, &price), &each.stated) {
            Ok(judged) => {
                broken.extend(missed(setting, (at, each.stated.role), &judged));
                workers.push((each, judged));
            }
            Err(reason) => broken.push(no_worker(at, &reason)),
        }
    }
    let requests_per_s = served(&workers);
    broken.extend(unasked(setting, &workers));
    if let Some(asked) =
        setting.asked.traffic.rate.filter(|asked| requests_per_s < asked * (1.0 - 1e-9))
    {
        let message = format!("the workers serve {requests_per_s:.4} requests/s of {asked}");
        broken.push(illegal("rate-missed", message));
    }
    broken.extend(missed_by_all(setting, &workers));
    let (n_devices, price_per_hour) = cost(setting, &workers);
    if let Some(most) = setting.asked.most_devices.filter(|most| n_devices > *most) {
        broken.push(illegal("device-count", format!("{n_devices} devices, at most {most}")));
    }
    match broken.is_empty() {
        true => Ok(Judged { workers, requests_per_s, n_devices, price_per_hour }),
        false => Err(broken),
    }
}

/// Requests per second of workers together.
pub(super) fn served(workers: &[(Workers, JudgedWorker)]) -> f64 {
    let rate = |role: Role| -> f64 {
        let here = workers.iter().filter(|(of, _)| of.stated.role == role);
        here.map(|(of, _)| of.stated.requests_per_s * of.replicas.len() as f64).sum()
    };
    let handed = rate(Role::Prefill).min(rate(Role::Decode));
    (rate(Role::Aggregated) + handed).max(0.0)
}

/// Roles that the mode does not allow, and an objective that the rate does not go with.
fn unasked(setting: &Setting, workers: &[(Workers, JudgedWorker)]) -> Vec<Diagnostic> {
    let asked = &setting.asked;
    let is_whole = |(of, _): &(Workers, JudgedWorker)| of.stated.role == Role::Aggregated;
    let is_other = match asked.mode {
        ServingMode::Auto => false,
        ServingMode::Aggregated => !workers.iter().all(is_whole),
        ServingMode::Disaggregated => workers.iter().any(is_whole),
    };
    let mode = is_other.then(|| {
        illegal(
            "other-mode",
            format!("workers of roles that `{}` does not have", asked.mode.name()),
        )
    });
    let is_most = asked.objective == Objective::Throughput;
    let rate = (asked.traffic.has_demand() == is_most)
        .then(|| illegal("other-objective", "a rate and the most requests/s at once".to_owned()));
    mode.into_iter().chain(rate).collect()
}

/// Requests that are under way in workers, mean of their replays.
#[must_use]
pub(super) fn n_under_way(workers: &[(Workers, JudgedWorker)]) -> f64 {
    let of = |(of, judged): &(Workers, JudgedWorker)| {
        let each = judged.replayed.as_ref().map_or(0.0, |replayed| replayed.n_under_way);
        each * of.replicas.len() as f64
    };
    workers.iter().map(of).sum()
}

/// Request latency of the slowest workers of each role, seconds: the mean, or the promised percentile, of prefill
/// and decode together an upper bound.
#[must_use]
pub(super) fn latency_s(workers: &[(Workers, JudgedWorker)]) -> f64 {
    let stay = |(of, judged): &(Workers, JudgedWorker)| {
        let replayed = judged.replayed.as_ref().ok()?;
        Some((of.stated.role, replayed.stay_s))
    };
    slowest_s(workers.iter().filter_map(stay))
}

/// The slowest aggregated worker, or the slowest prefill and decode workers together: of roles and seconds.
pub(super) fn slowest_s(stays: impl Iterator<Item = (Role, f64)>) -> f64 {
    let [mut aggregated, mut prefill, mut decode] = [0.0_f64; 3];
    for (role, seconds) in stays {
        let slowest = match role {
            Role::Aggregated => &mut aggregated,
            Role::Prefill => &mut prefill,
            Role::Decode => &mut decode,
        };
        *slowest = slowest.max(seconds);
    }
    aggregated.max(prefill + decode)
}

/// A concurrency, or a request latency, that the workers together miss.
fn missed_by_all(setting: &Setting, workers: &[(Workers, JudgedWorker)]) -> Vec<Diagnostic> {
    let held = n_under_way(workers);
    let asked = setting.asked.traffic.concurrency.filter(|n| held < *n as f64 * (1.0 - 1e-9));
    let fewer = asked
        .map(|n| illegal("rate-missed", format!("{held:.2} requests in flight, {n} requested")));
    let seconds = latency_s(workers);
    let promised = setting.asked.latency_s.filter(|most| seconds > *most);
    let longer = promised.map(|most| {
        let (seconds, most) = (latency(seconds), latency(most));
        let of = statistic(&stated(&setting.asked));
        illegal("promise-missed", format!("a request takes {seconds} ({of}), limit {most}"))
    });
    fewer.into_iter().chain(longer).collect()
}

/// Devices, and the price of an hour where all of them have one.
pub(super) fn cost(setting: &Setting, workers: &[(Workers, JudgedWorker)]) -> (u64, Option<f64>) {
    let question = setting.question();
    let mut all = (0, Some(0.0));
    for (of, _) in workers {
        let pool = question.devices[of.stated.pool].pool;
        let n = u32::try_from(of.stated.shape.devices()).unwrap_or(u32::MAX);
        let n = pool.footprint(n) * of.replicas.len() as u64;
        all.0 += n;
        all.1 = all.1.zip(pool.price_per_hour).map(|(sum, each)| sum + each * n as f64);
    }
    all
}

/// The promise that a worker's replay misses.
fn missed(
    setting: &Setting,
    (at, role): (usize, Role),
    judged: &JudgedWorker,
) -> Option<Diagnostic> {
    if judged.is_kept {
        return None;
    }
    let message = match &judged.replayed {
        Err(fault) => format!("worker {at} has no steady state at its rate: {fault}"),
        Ok(of) => {
            let figure = |at: usize, name: &str| match of.upper_s[at].is_finite() {
                true => {
                    let [mean, upper] = [of.seconds[at], of.upper_s[at]].map(latency);
                    format!("{name} {mean} (up to {upper})")
                }
                // Its link takes longer than its iterations.
                false => format!("{name} that grows: KV caches are sent more slowly than made"),
            };
            let figures = match role {
                Role::Aggregated => format!("{}, {}", figure(0, "TTFT"), figure(1, "TPOT")),
                Role::Prefill => figure(0, "TTFT"),
                Role::Decode => figure(1, "TPOT"),
            };
            format!("worker {at} may miss a promise: its replays have {figures}; 1 % is left free")
        }
    };
    let promises = &setting.asked.promises;
    let error = illegal("promise-missed", message);
    let error = promises.ttft_s.iter().fold(error, |error, most| error.fact("ttft_s", *most));
    Some(promises.tpot_s.iter().fold(error, |error, most| error.fact("tpot_s", *most)))
}

pub(super) fn no_worker(at: usize, reason: &Reason) -> Diagnostic {
    let message = format!("worker {at} cannot serve: {}", why(reason));
    let code = match reason {
        Reason::Memory { .. } | Reason::Cache { .. } => "memory-exceeded",
        _ => "worker-shape",
    };
    illegal(code, message)
}

/// A reason with its numbers.
pub(super) fn why(reason: &Reason) -> String {
    match reason {
        Reason::Invalid(invalid) => invalid.to_string(),
        Reason::Unpriced(what) => what.clone(),
        Reason::Engine(what) => (*what).to_owned(),
        Reason::Memory { missing } => {
            format!("{} short per device", Bytes(*missing))
        }
        Reason::Cache { room, needed } => {
            format!("the KV cache has room for {room} of {needed} tokens of one request")
        }
        Reason::Ttft { alone_s: [seconds, _] } => {
            format!("TTFT is {seconds:.3} s with one request")
        }
        Reason::Tpot { alone_s: [_, seconds] } => {
            format!("TPOT is {:.2} ms with one request", 1e3 * seconds)
        }
        Reason::Dominated { times, most_per_s, .. } => {
            let plural = if *times == 1 { " serves" } else { "s serve" };
            format!("{times} smaller worker{plural} at least its {most_per_s:.3} requests/s")
        }
        Reason::Unsteady(fault) => fault.to_string(),
        Reason::Stopped => "not searched".to_owned(),
    }
}

/// The plan document, by what is said of the search: row, bound.
#[must_use]
pub fn document(
    setting: &Setting,
    judged: &Judged,
    (algorithm, bound): (&str, Option<f64>),
) -> PlanDocument {
    let run = &setting.run;
    let asked = &setting.asked;
    let length = |of: &cost_model::serving::arrivals::Length| LengthDocument {
        input_tokens: of.n_input,
        output_tokens: of.n_output,
        share: of.share,
    };
    let worker = |(of, judged): &(Workers, JudgedWorker)| worker(setting, of, Some(judged));
    let fleet = FleetDocument {
        engine: asked.engine.name().to_owned(),
        mode: asked.mode.name().to_owned(),
        lengths: asked.traffic.lengths.iter().map(length).collect(),
        shared_prefix: asked.traffic.shared_prefix,
        seed: asked.traffic.seed,
        rate: asked.traffic.rate,
        concurrency: asked.traffic.concurrency,
        promises: stated(asked),
        most_devices: asked.most_devices,
        merged_hosts: asked.is_merged,
        workers: judged.workers.iter().map(worker).collect(),
        requests_per_s: judged.requests_per_s,
        n_devices: judged.n_devices,
        price_per_hour: judged.price_per_hour,
        bound,
        bytes_handed_over: match judged.workers.iter().any(|(of, _)| of.stated.link.is_some()) {
            true => serving_fleet::bytes_per_request(&setting.question()),
            false => 0.0,
        },
    };
    let [model, cluster, profile] = setting.references();
    let mut plan = PlanDocument::new(Head {
        model,
        cluster,
        profile,
        workload: WorkloadDocument {
            mode: ModeDocument::Inference,
            dtype: Some(run.numbers.dtype.name().to_owned()),
            ..WorkloadDocument::default()
        },
        request: run.request.clone(),
        objective: asked.objective.name().to_owned(),
        algorithm: algorithm.to_owned(),
    });
    plan.fleet = Some(Box::new(fleet));
    plan
}

/// Workers as documents state them, before they are judged.
#[must_use]
pub fn stated_workers(setting: &Setting, all: &[Workers]) -> Vec<WorkerDocument> {
    all.iter().map(|of| worker(setting, of, None)).collect()
}

fn worker(setting: &Setting, of: &Workers, judged: Option<&JudgedWorker>) -> WorkerDocument {
    let Workers { stated, replicas } = of;
    let (shape, role_of) = (&stated.shape, role(stated.role));
    let pool = &setting.pools[stated.pool];
    let name = |id: &DeviceId| setting.run.cluster.devices[id.index()].name.clone();
    let latency = |at: usize| Some(judged?.replayed.as_ref().ok()?.seconds[at]);
    let bytes = |term: Term| judged.map_or(0, |judged| judged.fullest.get(term));
    WorkerDocument {
        role: role_of,
        kind: pool.kind.clone(),
        tensor: shape.tensor,
        data: shape.data,
        expert: shape.expert,
        expert_tensor: shape.expert_tensor,
        stages: shape.stages.clone(),
        max_num_seqs: stated.max_num_seqs,
        max_num_batched_tokens: stated.max_num_batched_tokens,
        replicas: replicas.iter().map(|devices| devices.iter().map(name).collect()).collect(),
        kv_tokens: judged.map_or(0, |judged| judged.kv_tokens),
        to_pool: stated.link.and_then(|at| setting.links.get(at)).map(|link| link.to),
        requests_per_s: stated.requests_per_s,
        ttft_s: latency(0).filter(|_| role_of != RoleDocument::Decode),
        // Requests of one token have none.
        tpot_s: latency(1).filter(|seconds| role_of != RoleDocument::Prefill && *seconds > 0.0),
        memory: WorkerMemoryDocument {
            weights: bytes(Term::Weights),
            activations: bytes(Term::Activations),
            graphs: bytes(Term::Graphs),
            collectives: bytes(Term::Collectives),
            runtime: bytes(Term::Runtime),
            cache: bytes(Term::Cache),
            reserve: bytes(Term::Reserve),
            capacity: pool.memory,
        },
    }
}
