//! The fleet of worker types: the integer program, and the share of the rate that each worker gets.

use super::question::Question;
use super::types::Worker;
use crate::serving::fleet::{self, HandOver, Plan, Role};

/// The program over worker types.
pub(super) fn of(question: &Question, workers: &[Worker], bytes: f64) -> fleet::Question {
    let with = |is_in: &dyn Fn(&Worker) -> bool| -> Vec<usize> {
        (0..workers.len()).filter(|at| is_in(&workers[*at])).collect()
    };
    let hand_over = |(at, link): (usize, &super::question::Link)| HandOver {
        from: with(&|worker| worker.link == Some(at)),
        to: with(&|worker| (worker.figures.role, worker.figures.pool) == (Role::Decode, link.to)),
        bytes_per_s: None,
    };
    // Types that replays leave out are late for any promise.
    let any = |promise: Option<f64>, of_means: Option<f64>| {
        promise.map(|_| of_means.unwrap_or(f64::MAX / 2.0))
    };
    let (promises, of_means) = (question.promises, question.promises.of_means());
    fleet::Question {
        pools: question.devices.iter().map(|devices| devices.pool).collect(),
        types: workers.iter().map(|worker| worker.figures).collect(),
        objective: question.objective,
        requests_per_s: question.requests_per_s,
        ttft_s: any(promises.ttft_s, of_means.ttft_s),
        tpot_s: any(promises.tpot_s, of_means.tpot_s),
        most_price_per_hour: question.most_price_per_hour,
        most_devices: question.most_devices,
        hand_overs: question.links.iter().enumerate().map(hand_over).collect(),
        bytes_per_request: bytes,
    }
}

/// Requests/s of each worker of a type in a fleet that serves so many, in proportion to their rates.
pub(super) fn load(
    (program, workers): (&fleet::Question, &[Worker]),
    plan: &Plan,
    requests_per_s: f64,
) -> Vec<(usize, f64)> {
    let links = &plan.figures.handed_over_per_s;
    let sum = |is_in: &dyn Fn(&Worker) -> bool| -> f64 {
        let here = plan.counts.iter().filter(|(at, _)| is_in(&workers[*at]));
        here.map(|(at, count)| program.types[*at].rate() * f64::from(*count)).sum()
    };
    let of = |at: usize| {
        let worker = &workers[at];
        let figures = &worker.figures;
        let part = match figures.role {
            Role::Aggregated => 1.0,
            Role::Prefill => {
                let handed = worker.link.and_then(|link| links.get(link)).copied();
                handed.unwrap_or(0.0)
                    / sum(&|other| other.link == worker.link && other.link.is_some())
            }
            Role::Decode => {
                let is_here = |hand_over: &HandOver| hand_over.to.contains(&at);
                let lanes = program.hand_overs.iter().zip(links).filter(|(lane, _)| is_here(lane));
                let handed: f64 = lanes.map(|(_, rate)| rate).sum();
                let peers = |other: &Worker| {
                    (other.figures.role, other.figures.pool) == (Role::Decode, figures.pool)
                };
                handed / sum(&peers)
            }
        };
        part * program.types[at].rate()
    };
    let scale = requests_per_s / plan.figures.requests_per_s;
    plan.counts.iter().map(|(at, _)| (*at, scale * of(*at))).collect()
}
