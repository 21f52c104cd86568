//! A plan for a fleet, and the checker of plans: it shares no code with the program.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{self, Lane};
use super::question::{Broken, Objective, PRICE_PARTS, Question, Refused, Role};
use super::units::{Scale, enough, limit_parts, parts};

/// Hosts with the same workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGroup {
    /// Pool of the hosts.
    pub pool: usize,
    /// Hosts that its workers take together: more than 1 for a worker wider than a host.
    pub n_hosts: u32,
    /// How many times there are such hosts.
    pub times: u32,
    /// Number of each type, and its workers there.
    pub workers: Vec<(usize, u32)>,
}

/// What a fleet is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests per second that it serves.
    pub requests_per_s: f64,
    /// Requests per second over each hand-over then, by number.
    pub handed_over_per_s: Vec<f64>,
    /// Devices, with idle ones of hosts that a wide worker takes whole.
    pub n_devices: u64,
    /// Price of an hour, where every pool in use has a price.
    pub price_per_hour: Option<f64>,
    /// Seconds to the first token of the slowest type in use.
    pub ttft_s: Option<f64>,
    /// Seconds per further token of the slowest type in use.
    pub tpot_s: Option<f64>,
}

/// A fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of each type in use and its workers, by number.
    pub counts: Vec<(usize, u32)>,
    /// Where they are.
    pub hosts: Vec<HostGroup>,
    /// What they are worth.
    pub figures: Figures,
}

impl Plan {
    /// Its value by an objective: devices, price per hour, or requests per second.
    #[must_use]
    pub fn value(&self, objective: Objective) -> f64 {
        match objective {
            Objective::FewestDevices => self.figures.n_devices as f64,
            Objective::LowestPrice => self.figures.price_per_hour.unwrap_or(f64::INFINITY),
            Objective::Throughput => self.figures.requests_per_s,
        }
    }

    /// Workers of all types.
    #[must_use]
    pub fn n_workers(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Flaw {
    /// The question itself.
    Refused(Refused),
    /// A type of this number is unknown, named twice or without workers.
    Type(usize),
    /// A type of this number breaks a promise.
    Promise(usize, Broken),
    /// Workers of this type on hosts are not as many as counted.
    Placed(usize),
    /// A host of this pool has more workers than devices, or a wide worker too few hosts.
    Host(usize),
    /// More hosts of this pool than there are.
    Hosts(usize),
    /// More devices than allowed.
    Devices(u64),
    /// A higher price than allowed.
    Price(f64),
    /// Fewer requests per second than asked for.
    Rate(f64),
    /// A stated figure is another.
    Stated(Box<Figures>),
}

/// Checks a plan against its question: promises, hosts, limits, the rate through all hand-overs in whole
/// numbers, and the stated figures. A rate counts as kept where it misses by less than 2^-40 (9.1e-13) of
/// itself, which covers the rounding of decimals.
///
/// # Errors
/// The first flaw.
pub fn verify(question: &Question, plan: &Plan) -> Result<(), Flaw> {
    question.check().map_err(Flaw::Refused)?;
    let mut named = BTreeSet::new();
    for (at, count) in &plan.counts {
        let of = question.types.get(*at).ok_or(Flaw::Type(*at))?;
        if *count == 0 || !named.insert(*at) {
            return Err(Flaw::Type(*at));
        }
        if let Some(broken) = question.broken(of) {
            return Err(Flaw::Promise(*at, broken));
        }
    }
    check_hosts(question, plan)?;
    let figures = figures(question, &plan.counts);
    if question.most_devices.is_some_and(|most| figures.n_devices > most) {
        return Err(Flaw::Devices(figures.n_devices));
    }
    if let Some(most) = question.most_price_per_hour {
        let price = price_parts(question, &plan.counts);
        if price.is_none_or(|price| price > u128::from(limit_parts(most))) {
            return Err(Flaw::Price(figures.price_per_hour.unwrap_or(f64::INFINITY)));
        }
    }
    if let Some(rate) = question.requests_per_s {
        let scale = Scale::of(question);
        if served(question, scale, &plan.counts).0 < enough(scale.units(rate)) {
            return Err(Flaw::Rate(figures.requests_per_s));
        }
    }
    if figures != plan.figures {
        return Err(Flaw::Stated(Box::new(figures)));
    }
    Ok(())
}

fn check_hosts(question: &Question, plan: &Plan) -> Result<(), Flaw> {
    let mut placed: BTreeMap<usize, u64> = BTreeMap::new();
    let mut hosts = vec![0_u64; question.pools.len()];
    for group in &plan.hosts {
        let pool = question.pools.get(group.pool).ok_or(Flaw::Host(group.pool))?;
        let mut n_devices = 0_u64;
        for (at, count) in &group.workers {
            let of = question.types.get(*at).ok_or(Flaw::Type(*at))?;
            let is_alone = group.workers.len() == 1 && *count == 1;
            if of.pool != group.pool || (group.n_hosts != 1 && !is_alone) {
                return Err(Flaw::Host(group.pool));
            }
            n_devices += u64::from(of.n_devices) * u64::from(*count);
            let here = placed.entry(*at).or_default();
            *here = here.saturating_add(u64::from(*count) * u64::from(group.times));
        }
        if n_devices > u64::from(group.n_hosts) * u64::from(pool.devices_per_host) {
            return Err(Flaw::Host(group.pool));
        }
        let more = u64::from(group.n_hosts) * u64::from(group.times);
        hosts[group.pool] = hosts[group.pool].saturating_add(more);
    }
    for (at, pool) in question.pools.iter().enumerate() {
        if pool.hosts.is_some_and(|most| hosts[at] > u64::from(most)) {
            return Err(Flaw::Hosts(at));
        }
    }
    let counted: BTreeMap<usize, u64> =
        plan.counts.iter().map(|(at, count)| (*at, u64::from(*count))).collect();
    let types = counted.keys().chain(placed.keys());
    match types.into_iter().find(|at| counted.get(at) != placed.get(at)) {
        Some(at) => Err(Flaw::Placed(*at)),
        None => Ok(()),
    }
}

/// Price of an hour in whole parts; `None` where a pool in use has no price.
fn price_parts(question: &Question, counts: &[(usize, u32)]) -> Option<u128> {
    let each = counts.iter().map(|(at, count)| {
        let of = &question.types[*at];
        let pool = &question.pools[of.pool];
        let price = u128::from(parts(pool.price_per_hour?));
        Some(price * u128::from(pool.footprint(of.n_devices)) * u128::from(*count))
    });
    each.sum()
}

/// What workers of some types are worth, wherever they are.
pub(super) fn figures(question: &Question, counts: &[(usize, u32)]) -> Figures {
    let used = || counts.iter().map(|(at, count)| (&question.types[*at], u64::from(*count)));
    let n_devices =
        used().map(|(of, count)| question.pools[of.pool].footprint(of.n_devices) * count).sum();
    let scale = Scale::of(question);
    let (requests, handed) = served(question, scale, counts);
    Figures {
        requests_per_s: scale.rate(requests),
        handed_over_per_s: handed.into_iter().map(|units| scale.rate(units)).collect(),
        n_devices,
        price_per_hour: price_parts(question, counts).map(|parts| parts as f64 / PRICE_PARTS),
        ttft_s: used().filter_map(|(of, _)| of.ttft()).max_by(f64::total_cmp),
        tpot_s: used().filter_map(|(of, _)| of.tpot()).max_by(f64::total_cmp),
    }
}

/// Requests per second that workers of some types serve, in units: whole requests by aggregated workers,
/// and what prefill workers can hand over to decode workers; and what of it goes over each hand-over.
pub(super) fn served(
    question: &Question,
    scale: Scale,
    counts: &[(usize, u32)],
) -> (i128, Vec<i128>) {
    let of = |role: Role| {
        let with = counts.iter().filter(move |(at, _)| question.types[*at].role == role);
        let rate = |(at, count): &(usize, u32)| {
            (*at, scale.units(question.types[*at].rate()) * i128::from(*count))
        };
        with.map(rate).collect::<Vec<(usize, i128)>>()
    };
    let sum = |of: &[(usize, i128)]| of.iter().map(|(_, rate)| rate).sum::<i128>();
    let (prefill, decode) = (of(Role::Prefill), of(Role::Decode));
    let (handed, through) = if question.hand_overs.is_empty() {
        (sum(&prefill).min(sum(&decode)), Vec::new())
    } else {
        let ends = |of: &[(usize, i128)], types: &[usize]| {
            let is_named = |at: &usize| types.contains(&of[*at].0);
            (0..of.len()).filter(is_named).collect::<Vec<usize>>()
        };
        let lanes: Vec<Lane> = question
            .hand_overs
            .iter()
            .map(|hand_over| Lane {
                from: ends(&prefill, &hand_over.from),
                to: ends(&decode, &hand_over.to),
                most: question.hand_over_rate(hand_over).map(|rate| scale.units(rate)),
            })
            .collect();
        let rates = |of: &[(usize, i128)]| of.iter().map(|(_, rate)| *rate).collect::<Vec<_>>();
        flow::greatest(&rates(&prefill), &rates(&decode), &lanes)
    };
    (sum(&of(Role::Aggregated)) + handed, through)
}
