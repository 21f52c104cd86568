//! Bounds that no solver has a part in.

use super::ground::{Ground, Kept};
use super::question::{Question, Role, WorkerType};
use super::units::{enough, workers};

/// Steps of the dynamic programs, types x costs; beyond, costs are rounded down.
const MOST_STEPS: u64 = 5_000_000;

/// Devices that no fleet can do without, at the best rate per device of any type of a role, whole numbers
/// left aside: R x min(1 / prefill + 1 / decode, 1 / aggregated), for R requests per second and rates per
/// device. `None` where no types serve whole requests. Promises count, pools don't.
#[must_use]
pub fn speed_of_light(question: &Question, requests_per_s: f64) -> Option<f64> {
    let best = |role: Role| {
        let types = question.types.iter().filter(|of| of.role == role);
        let kept = types.filter(|of| question.broken(of).is_none());
        let each =
            |of: &WorkerType| of.rate() / question.pools[of.pool].footprint(of.n_devices) as f64;
        kept.map(each).max_by(f64::total_cmp)
    };
    let split = best(Role::Prefill).zip(best(Role::Decode)).map(|(p, d)| 1.0 / p + 1.0 / d);
    let whole = best(Role::Aggregated).map(|rate| 1.0 / rate);
    let least = split.into_iter().chain(whole).min_by(f64::total_cmp)?;
    Some(requests_per_s * least)
}

/// Rates of workers of each role by what they cost, in grains: units of cost, or several of them, so that the
/// tables stay small. Costs are rounded down to grains, which leaves bounds bounds.
struct Tables {
    grain: u64,
    prefill: Vec<i128>,
    decode: Vec<i128>,
    whole: Vec<i128>,
}

impl Tables {
    /// The greatest rates at costs up to `most`, in units: exact, one type after the other (a knapsack of as
    /// many of each as wanted). `None` where a type costs less than a grain.
    fn new(ground: &Ground, most: u64) -> Option<Self> {
        let n_steps = most.checked_add(1)?.checked_mul(ground.kept.len() as u64 + 20)?;
        let grain = n_steps.div_ceil(MOST_STEPS);
        if ground.kept.iter().any(|of| of.cost < grain) {
            return None;
        }
        let most = usize::try_from(most / grain).ok()?;
        let rates = |role: Role| {
            let mut rates = vec![0_i128; most + 1];
            for of in ground.kept.iter().filter(|of| of.role == role) {
                let cost = usize::try_from(of.cost / grain).unwrap_or(usize::MAX);
                for spent in cost..=most {
                    rates[spent] = rates[spent].max(rates[spent - cost] + of.rate);
                }
            }
            rates
        };
        let (prefill, decode) = (rates(Role::Prefill), rates(Role::Decode));
        Some(Self { grain, prefill, decode, whole: rates(Role::Aggregated) })
    }
}

/// The least cost, in units, of workers that serve the demand, where hosts, hand-overs and limits do not
/// count: every number of every type is looked at. `None` where a type is free or nothing serves.
pub(super) fn least_cost(ground: &Ground) -> Option<u64> {
    let demand = ground.demand?;
    let Tables { grain, prefill, decode, whole } =
        Tables::new(ground, simple_cost(ground, demand)?)?;
    // Rates never fall with costs.
    let reach = |rates: &[i128], wanted: i128| {
        let cost = rates.partition_point(|rate| *rate < wanted.max(0));
        (cost < rates.len()).then_some(cost)
    };
    let split = |(spent, rate): (usize, &i128)| {
        let left = demand - rate;
        Some(spent + reach(&prefill, left)? + reach(&decode, left)?)
    };
    whole.iter().enumerate().filter_map(split).min().map(|cost| cost as u64 * grain)
}

/// What the best fleet of one type for each role costs, hosts aside.
fn simple_cost(ground: &Ground, demand: i128) -> Option<u64> {
    let best = |role: Role| {
        let types = ground.kept.iter().filter(|of| of.role == role);
        types.map(|of| workers(demand, of.rate).saturating_mul(of.cost)).min()
    };
    let split = best(Role::Prefill).zip(best(Role::Decode)).map(|(p, d)| p.saturating_add(d));
    split.into_iter().chain(best(Role::Aggregated)).min()
}

/// The greatest rate, in units, of workers that cost at most so much, where hosts and hand-overs do not
/// count. `None` where a type is free.
pub(super) fn greatest_rate(ground: &Ground, most: u64) -> Option<i128> {
    let Tables { prefill, decode, whole, .. } = Tables::new(ground, most)?;
    let n = prefill.len();
    let split = |left: usize| {
        // The least cost of prefill workers with which they are not behind the decode workers.
        let (mut low, mut high) = (0, left);
        while low < high {
            let middle = usize::midpoint(low, high);
            if prefill[middle] < decode[left - middle] { low = middle + 1 } else { high = middle }
        }
        let of = |cost: usize| prefill[cost].min(decode[left - cost]);
        of(low).max(low.checked_sub(1).map_or(0, of))
    };
    (0..n).map(|spent| whole[spent] + split(n - 1 - spent)).max()
}

/// Rounds of [`relaxed`].
const N_ROUNDS: usize = 400;
/// What sums of floats may be off by, as a part of them.
const ROUNDING: f64 = 1e-9;

/// Bound of the program without whole numbers, hand-overs and widths: of the cost, in units, or of the rate,
/// in units. `known` is that of a fleet, which steers the search for prices and does not bear on the bound.
///
/// With a price y_k >= 0 for each device of pool k, a request costs at least
/// g(y) = min(prefill + decode, aggregated), each the least (cost + y_k devices) / rate of a type of the role.
/// So a demand R costs R g(y) - sum of y_k N_k at least, and, where nothing else costs, the rate is at most
/// (sum of y_k N_k) / g(y): for any prices, of which the best met are taken (subgradients with Polyak's step,
/// USSR Computational Mathematics 9(3), 1969).
pub(super) fn relaxed(ground: &Ground, known: Option<i128>) -> Option<i128> {
    let pools = ground.question.pools.iter();
    let limits: Vec<Option<f64>> = pools
        .map(|pool| pool.hosts.map(|hosts| f64::from(hosts) * f64::from(pool.devices_per_host)))
        .collect();
    if let Some(demand) = ground.demand {
        let known = known.map(|cost| cost as f64);
        let least = least_relaxed(ground, &limits, demand as f64, known)?;
        return Some((least - ROUNDING * least.abs().max(1.0)).ceil().max(0.0) as i128);
    }
    // Prices that pools would have alone.
    let total: f64 = limits.iter().copied().sum::<Option<f64>>()?;
    let (mut prices, mut most) = (vec![1.0; limits.len()], f64::INFINITY);
    for round in 1..=N_ROUNDS {
        let paid: f64 = prices.iter().zip(&limits).map(|(price, n)| price * n.unwrap_or(0.0)).sum();
        let (each, used) = request(ground, &prices, 0.0)?;
        if each > 0.0 {
            most = most.min(paid / each);
        }
        // A pool that would be overrun gets dearer.
        let rate = paid / each.max(f64::MIN_POSITIVE);
        for ((price, n), used) in prices.iter_mut().zip(&limits).zip(&used) {
            let over = (used * rate - n.unwrap_or(0.0)) / total;
            *price = (*price * (over / (round as f64).sqrt()).clamp(-1.0, 1.0).exp()).max(1e-9);
        }
    }
    (most * (1.0 + ROUNDING)).is_finite().then_some((most * (1.0 + ROUNDING)).ceil() as i128)
}

fn least_relaxed(
    ground: &Ground,
    limits: &[Option<f64>],
    demand: f64,
    known: Option<f64>,
) -> Option<f64> {
    let (mut prices, mut least) = (vec![0.0; limits.len()], f64::NEG_INFINITY);
    let target = known.unwrap_or(f64::INFINITY);
    for round in 1..=N_ROUNDS {
        let (each, used) = request(ground, &prices, 1.0)?;
        let paid: f64 = prices.iter().zip(limits).map(|(price, n)| price * n.unwrap_or(0.0)).sum();
        let now = demand * each - paid;
        least = least.max(now);
        let over = used.iter().zip(limits).map(|(used, n)| n.map_or(0.0, |n| demand * used - n));
        let over: Vec<f64> = over.collect();
        let square: f64 = over.iter().map(|over| over * over).sum();
        // Without a fleet to aim at: as if one cost a little more.
        let goal = if target.is_finite() { target } else { least.abs().max(1.0) * 1.1 };
        let step = (goal - now).max(0.0) / square / (1.0 + round as f64 / 100.0);
        if square == 0.0 || step == 0.0 {
            break;
        }
        for (price, over) in prices.iter_mut().zip(&over) {
            *price = (*price + step * over).max(0.0);
        }
    }
    Some(least)
}

/// The least that a request per unit of rate costs at some prices of devices, and the devices of each pool
/// that it takes then; `cost`: what counts of the objective. `None` where no types serve whole requests.
fn request(ground: &Ground, prices: &[f64], cost: f64) -> Option<(f64, Vec<f64>)> {
    let best = |role: Role| {
        let types = ground.kept.iter().filter(|of| of.role == role);
        let each = |of: &Kept| {
            (cost * of.cost as f64 + prices[of.pool] * of.devices as f64) / of.rate as f64
        };
        types.map(|of| (each(of), of)).min_by(|one, other| one.0.total_cmp(&other.0))
    };
    let split = best(Role::Prefill).zip(best(Role::Decode));
    let split = split.map(|(p, d)| (p.0 + d.0, vec![p.1, d.1]));
    let whole = best(Role::Aggregated).map(|(each, of)| (each, vec![of]));
    let least = split.into_iter().chain(whole).min_by(|one, other| one.0.total_cmp(&other.0));
    let (each, types) = least?;
    let mut used = vec![0.0; prices.len()];
    for of in types {
        used[of.pool] += of.devices as f64 / of.rate as f64;
    }
    Some((each, used))
}

/// Whether a fleet serves as much as a bound, but for rounding.
pub(super) fn meets(served: i128, bound: i128) -> bool {
    served >= enough(bound)
}
