//! A fleet of serving workers: how many of each type, on which devices, with a proof.
//!
//! # Decides
//! Prefill, decode and aggregated workers of any types on pools of any devices, for the fewest devices, the
//! lowest price, or the most requests per second; and on which hosts they are.
//!
//! # Idea
//! Types that break a promise are left out, and so are those that another one dominates. What remains is a
//! small integer program: rates of prefill and of decode workers, each with those of aggregated ones, reach
//! the request rate; hand-overs keep to their links; workers fit on hosts, by counts where widths divide each
//! other, else along a flow. Equal fleets are told apart by fewest devices, types, then workers.
//!
//! # Paper
//! Huangfu and Hall, Mathematical Programming Computation 10, 2018 (HiGHS). Hosts: Coffman, Garey and Johnson,
//! Journal of Complexity 3(4), 1987; Valério de Carvalho, Annals of Operations Research 86, 1999.
//!
//! # Guarantee
//! Every plan passes [`verify()`], which knows nothing of the program and adds rates exactly. "Optimal" needs
//! either a bound by counting (every number of every type, hosts and hand-overs aside, in whole numbers), or
//! the solver's word and a second run without presolve that finds nothing better. "Infeasible" needs two such
//! runs. The greatest throughput is proved to 2^-20 (10^-6) of it. The bound of a search that was stopped is the
//! better one of counting and the solver's word less 10^-6.
//!
//! # Complexity
//! Exponential in types at worst; counting: types x cost of the fleet.
//!
//! # Limits
//! Rates add up: no queue is looked at. A worker wider than a host takes whole hosts. Widths within a host
//! may lie on any of its devices. A million devices of each type; a node budget is one for each run.
//!
//! # Example
//! Prefill workers of 2.0819 requests/s on 1 device, decode workers of 7.2151 on 4: 50 requests/s need 25 and
//! 7 of them, 53 devices; 24 prefill workers serve 49.97.

mod bound;
mod flow;
mod form;
mod front;
mod ground;
#[cfg(test)]
mod laws;
mod packing;
mod question;
mod search;
#[cfg(test)]
mod tests;
mod units;
mod verify;

pub use bound::speed_of_light;
pub use front::{Point, Reach, Step, fewest, front, more_devices, other_promises, reach};
pub use ground::LeftOut;
pub use question::{Broken, HandOver, Objective, Pool, Question, Refused, Role, WorkerType};
pub use verify::{Figures, Flaw, HostGroup, Plan, verify};

use crate::run::{Control, StopReason};
use ground::Ground;

/// What is known for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The fleet is optimal.
    Optimal,
    /// There is no fleet.
    Infeasible,
    /// Neither is certain.
    Open,
}

/// Why a fleet is optimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No numbers of workers are better, hosts and hand-overs aside: no solver has a part in it.
    Counted,
    /// The linear program without hand-overs and widths, by prices of devices that a sum shows to be right: no
    /// solver has a part in it.
    Relaxed,
    /// Two runs of the solver.
    Program,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The best fleet, where one was found.
    pub best: Option<Plan>,
    /// Devices or price that no fleet is below, or requests per second that none is above (but for 2^-20 of
    /// it); equal to the value of the fleet where that is proved.
    pub bound: Option<f64>,
    /// The same by counting, hosts and hand-overs aside; none where a type is free.
    pub counted: Option<f64>,
    /// The same by the linear program, hand-overs and widths aside, from prices of devices.
    pub relaxed: Option<f64>,
    /// Why the fleet is optimal, if it is.
    pub proof: Option<Proof>,
    /// What is certain.
    pub verdict: Verdict,
    /// Whether no equal fleet has fewer devices, else fewer types, else fewer workers.
    pub ties_proved: bool,
    /// Types that were not looked at, by number.
    pub left_out: Vec<(usize, LeftOut)>,
    /// Why the search ended.
    pub stop: StopReason,
}

/// Finds the best fleet.
///
/// # Errors
/// If the question is refused.
pub fn solve(question: &Question, control: &Control) -> Result<Found, Refused> {
    answer(question, control, true)
}

/// The same, ties aside.
pub(in crate::serving) fn value(question: &Question, control: &Control) -> Result<Found, Refused> {
    answer(question, control, false)
}

fn answer(question: &Question, control: &Control, ties: bool) -> Result<Found, Refused> {
    let ground = Ground::new(question)?;
    let searched = search::search(&ground, control, ties);
    if ground.is_cut && searched.verdict == Verdict::Infeasible {
        return Err(Refused::TooMany("devices"));
    }
    let of = |units: i128| match question.objective {
        Objective::Throughput => ground.scale.rate(units),
        _ => ground.cost(units),
    };
    let value = searched.best.as_ref().map(|plan| plan.value(question.objective));
    let bound = match searched.verdict {
        Verdict::Optimal => value,
        _ => searched.bound.map(of),
    };
    Ok(Found {
        best: searched.best,
        bound,
        counted: searched.counted.map(of),
        relaxed: searched.relaxed.map(of),
        proof: searched.proof,
        verdict: searched.verdict,
        ties_proved: searched.ties_proved,
        left_out: ground.left_out,
        stop: searched.stop,
    })
}
