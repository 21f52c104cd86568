//! What other promises and other numbers of devices give.

use super::question::{Broken, Objective, Question, Refused, WorkerType};
use super::verify::Plan;
use super::{Found, Verdict, solve, value};
use crate::run::Control;

/// A fleet of the Pareto front of cost and TPOT.
#[derive(Clone, Debug)]
pub struct Point {
    /// The TPOT that it keeps, in seconds.
    pub tpot_s: f64,
    /// The best fleet that keeps it.
    pub found: Found,
}

/// The best fleet under another promise.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which promise.
    pub promise: Broken,
    /// What is promised instead, in seconds.
    pub seconds: f64,
    /// The best fleet that keeps it.
    pub found: Found,
}

/// The shortest times that can be kept, one by one, everything else as asked; with a fleet for each.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Seconds to the first token.
    pub ttft: Option<(f64, Plan)>,
    /// Seconds per further token.
    pub tpot: Option<(f64, Plan)>,
}

/// The Pareto front of the objective and TPOT, shortest TPOT first: no fleet that keeps a TPOT in between
/// costs less (or serves more) than the point before it. Only TPOTs of types can make a difference; of those,
/// the front is halved until both ends are worth the same.
///
/// # Errors
/// If the question is refused.
pub fn front(question: &Question, control: &Control) -> Result<Vec<Point>, Refused> {
    let times = times(question, Broken::Tpot)?;
    let mut found: Vec<Option<Found>> = vec![None; times.len()];
    let with = |at: usize| promised(question, Broken::Tpot, Some(times[at]));
    let mut open = match times.len() {
        0 => Vec::new(),
        n => vec![(0, n - 1)],
    };
    while let Some((low, high)) = open.pop() {
        for at in [low, high] {
            if found[at].is_none() {
                found[at] = Some(value(&with(at), control)?);
            }
        }
        let is_same = match (&found[low], &found[high]) {
            (Some(low), Some(high)) => is_same(question.objective, low, high),
            _ => false,
        };
        if high - low > 1 && !is_same {
            let middle = usize::midpoint(low, high);
            open.extend([(middle, high), (low, middle)]);
        }
    }
    let mut points: Vec<Point> = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        let Some(best) = found.and_then(|found| found.best) else { continue };
        let of = |plan: &Plan| match question.objective {
            Objective::Throughput => -plan.value(question.objective),
            _ => plan.value(question.objective),
        };
        let last = points.last().and_then(|point| point.found.best.as_ref());
        if last.is_none_or(|last| of(&best) < of(last)) {
            points.push(Point { tpot_s: times[at], found: solve(&with(at), control)? });
        }
    }
    Ok(points)
}

/// Whether two searches found fleets of the same value, or none, for certain.
fn is_same(objective: Objective, one: &Found, other: &Found) -> bool {
    match (one.verdict, other.verdict) {
        (Verdict::Infeasible, Verdict::Infeasible) => true,
        (Verdict::Optimal, Verdict::Optimal) => {
            let value = |found: &Found| found.best.as_ref().map(|plan| plan.value(objective));
            value(one) == value(other)
        }
        _ => false,
    }
}

/// Distinct times of types that break no promise, shortest first.
fn times(question: &Question, promise: Broken) -> Result<Vec<f64>, Refused> {
    question.check()?;
    let free = promised(question, promise, None);
    let kept = question.types.iter().filter(|of| free.broken(of).is_none());
    let time = |of: &WorkerType| match promise {
        Broken::Ttft => of.ttft(),
        Broken::Tpot => of.tpot(),
    };
    let mut times: Vec<f64> = kept.filter_map(time).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let asked = asked(question, promise);
    times.retain(|time| asked.is_none_or(|asked| *time <= asked));
    Ok(times)
}

fn asked(question: &Question, promise: Broken) -> Option<f64> {
    match promise {
        Broken::Ttft => question.ttft_s,
        Broken::Tpot => question.tpot_s,
    }
}

/// The question with another promise.
fn promised(question: &Question, promise: Broken, seconds: Option<f64>) -> Question {
    let mut question = question.clone();
    match promise {
        Broken::Ttft => question.ttft_s = seconds,
        Broken::Tpot => question.tpot_s = seconds,
    }
    question
}

/// The most requests per second on at most so many devices, and on one more.
///
/// # Errors
/// If the question is refused.
pub fn more_devices(
    question: &Question,
    n_devices: u64,
    control: &Control,
) -> Result<[Found; 2], Refused> {
    let with = |most: u64| Question {
        objective: Objective::Throughput,
        requests_per_s: None,
        most_devices: Some(most),
        ..question.clone()
    };
    Ok([value(&with(n_devices), control)?, value(&with(n_devices + 1), control)?])
}

/// What the next other promises cost: of each that is made, the next shorter time that `plan` does not keep,
/// and the next longer time that lets another type in.
///
/// # Errors
/// If the question is refused.
pub fn other_promises(
    question: &Question,
    plan: &Plan,
    control: &Control,
) -> Result<Vec<Step>, Refused> {
    let mut steps = Vec::new();
    for (promise, now) in [(Broken::Ttft, plan.figures.ttft_s), (Broken::Tpot, plan.figures.tpot_s)]
    {
        let Some(asked) = asked(question, promise) else { continue };
        let times = times(&promised(question, promise, None), promise)?;
        let shorter = times.iter().rev().find(|time| now.is_some_and(|now| **time < now));
        let longer = times.iter().find(|time| **time > asked);
        for seconds in shorter.into_iter().chain(longer).copied() {
            let found = solve(&promised(question, promise, Some(seconds)), control)?;
            steps.push(Step { promise, seconds, found });
        }
    }
    Ok(steps)
}

/// The shortest times that can be kept, where a question has no answer: for each promise, by halving the
/// times of types, with the other promise, the rate and all limits as they are.
///
/// # Errors
/// If the question is refused.
pub fn reach(question: &Question, control: &Control) -> Result<Reach, Refused> {
    let of = |promise: Broken| -> Result<Option<(f64, Plan)>, Refused> {
        let times = times(&promised(question, promise, None), promise)?;
        let with = |at: usize| value(&promised(question, promise, Some(times[at])), control);
        let (mut low, mut high) = (0, times.len());
        let mut best = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            match with(middle)?.best {
                Some(plan) => {
                    best = Some((times[middle], plan));
                    high = middle;
                }
                None => low = middle + 1,
            }
        }
        Ok(best)
    };
    Ok(Reach { ttft: of(Broken::Ttft)?, tpot: of(Broken::Tpot)? })
}

/// The fewest devices that suffice where every pool has as many hosts as wanted.
///
/// # Errors
/// If the question is refused.
pub fn fewest(question: &Question, control: &Control) -> Result<Found, Refused> {
    let mut free = question.clone();
    free.objective = Objective::FewestDevices;
    free.most_devices = None;
    for pool in &mut free.pools {
        pool.hosts = None;
    }
    solve(&free, control)
}
