//! What suffices where no fleet is found: more devices, or a longer request latency.

use planner::run::Control;
use planner::serving::fleet::{Objective, Role};
use planner::serving::fleets::Fleets;
use planner::serving::serving_fleet::{Answer, Question};

use super::decided::{Judged, judge_answer};
use super::setting::Setting;
use super::{search, words};

/// Longer request latencies tried where none fits, and the factor from each to the next.
const MOST_EASED: usize = 8;
const EASED: f64 = 1.5;

/// A fleet by its replays: workers in words, devices, requests/s.
pub(super) struct Suffices {
    pub(super) workers: String,
    pub(super) n_devices: u64,
    /// By pool.
    pub(super) devices: Vec<u64>,
    pub(super) requests_per_s: f64,
    /// Requests/s that no fleet serves more than, where that is known.
    pub(super) bound_per_s: Option<f64>,
    /// Whether prefill workers hand keys and values over.
    pub(super) hands_over: bool,
}

/// What the devices serve at most, and the fewest devices of their kinds, on as many hosts, that serve the rate; both
/// by replays.
pub(super) fn enough(
    setting: &Setting,
    most: Option<(Answer, Judged)>,
    (door, control): (&Fleets, &Control),
) -> [Option<Suffices>; 2] {
    let suffices = |answer: &Answer, requests_per_s: f64| {
        let best = answer.found.best.as_ref()?;
        let (figures, types) = (&best.figures, &answer.types.workers);
        let mut devices = vec![0; setting.pools.len()];
        for (at, count) in &best.counts {
            let figures = types.get(*at)?.figures;
            let pool = answer.program.pools.get(figures.pool)?;
            devices[figures.pool] += pool.footprint(figures.n_devices) * u64::from(*count);
        }
        let mut roles = best.counts.iter().filter_map(|(at, _)| types.get(*at));
        Some(Suffices {
            hands_over: roles.any(|of| of.figures.role == Role::Prefill),
            workers: words::workers(&words::found(setting, answer)),
            n_devices: figures.n_devices,
            devices,
            requests_per_s,
            bound_per_s: answer.found.bound,
        })
    };
    let free = || {
        let (objective, most_devices) = (Objective::FewestDevices, None);
        let mut free = Question { objective, most_devices, ..setting.question() };
        free.devices.iter_mut().for_each(|devices| devices.pool.hosts = None);
        let answer = search::search(setting, &free, (door.0, control)).ok()?;
        let answer = Some(answer).filter(|of| of.is_kept() && control.stop().is_none())?;
        let requests_per_s = answer.found.best.as_ref()?.figures.requests_per_s;
        suffices(&answer, requests_per_s)
    };
    let has_demand = setting.asked.traffic.has_demand();
    let most = most.and_then(|(answer, judged)| suffices(&answer, judged.requests_per_s));
    [most, has_demand.then(free).flatten()]
}

/// A request latency that a fleet of the devices keeps: that of the first one found for limits each half as long
/// again, in milliseconds rounded up, where it is found for this limit too.
pub(super) fn longer_s(setting: &Setting, door: &Fleets, control: &Control) -> Option<f64> {
    let mut eased = setting.clone();
    let found = |eased: &Setting| {
        let answer = search::search(eased, &eased.question(), (door.0, control)).ok()?;
        judge_answer(eased, &answer).map(|_| search::latency_s(&answer))
    };
    for _ in 0..MOST_EASED {
        let latency_s = EASED * eased.asked.latency_s?;
        eased.asked.latency_s = Some(latency_s);
        if let Some(seconds) = found(&eased) {
            let tight = Some((1e3 * seconds).ceil() / 1e3);
            eased.asked.latency_s = tight;
            return tight.filter(|_| found(&eased).is_some()).or(Some(latency_s));
        }
    }
    None
}
