//! Whether there is any placement at all: classes in the memory of the accelerators.

use std::cell::Cell;

use cost_model::given::Goal;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::LoadInstance;

use super::certificate::{Certificate, Reason};
use super::check::check;
use super::frame::Frame;
use super::local_search::Heat;
use super::model::Model;
use super::search::Search;
use crate::given::milp;

/// Nodes of the integer program that looks for a first placement.
const MOST_NODES: u64 = 20_000;
/// Moves from a first placement.
const MOVES: u64 = 200_000;

/// What a search that has proved it says.
pub(super) fn infeasible(instance: &LoadInstance) -> Diagnostic {
    let message = "no placement keeps to the memory of the accelerators";
    Diagnostic::error(Blame::Infeasible, "infeasible", message)
        .fact("instance", instance.name.as_str())
        .hint("use accelerators with more memory, more of them, or a CPU core")
}

/// Whether counting alone says that there is none: a class that no device takes, or more bytes than
/// all accelerators hold.
pub(super) fn is_hopeless(model: &Model) -> bool {
    let all: u128 = model.bytes.iter().map(|bytes| u128::from(*bytes)).sum();
    let most = u128::from(model.limit_bytes) * model.n_accelerators as u128;
    let is_stuck = |class| model.n_accelerators == 0 || !model.is_on_accelerators(class);
    model.n_cpus == 0 && (all > most || (0..model.n_classes()).any(is_stuck))
}

/// Whether the checker, which tries all placements itself, finds none either.
pub(super) fn is_none(instance: &LoadInstance, frame: &Frame) -> bool {
    let all = |time: &f64| if time.is_finite() { *time } else { 0.0 };
    let model = &frame.model;
    let work: f64 = model.accelerator.iter().chain(&model.cpu).map(all).sum();
    let nets: f64 = model.nets.iter().map(|net| net.weight).sum();
    let first = model.first_nodes();
    let certificate = Certificate {
        limit_ns: (work + nets) as u64 + 1,
        followers: Vec::new(),
        rounds: Vec::new(),
        order: frame.order.iter().map(|class| first[*class as usize]).collect(),
        reason: Reason::Exhausted,
    };
    check(instance, &certificate).is_ok()
}

/// Device of each class: the largest first, each on the first accelerator that has room, else on
/// the first core; `None` where neither is there.
fn fit(model: &Model) -> Option<Vec<u32>> {
    let mut order: Vec<usize> = (0..model.n_classes()).collect();
    order.sort_by_key(|class| (std::cmp::Reverse(model.bytes[*class]), *class));
    let mut free = vec![model.limit_bytes; model.n_accelerators];
    let mut device_of = vec![0; model.n_classes()];
    for class in order {
        let bytes = model.bytes[class];
        let can = model.is_on_accelerators(class);
        let device = free.iter().position(|free| can && *free >= bytes);
        if let Some(device) = device {
            free[device] -= bytes;
        }
        let core = (model.n_cpus > 0).then_some(model.n_accelerators);
        device_of[class] = device.or(core)? as u32;
    }
    Some(device_of)
}

impl Search<'_> {
    /// A first placement where chains find none; by an integer program as a last resort, which may
    /// also prove that there is none.
    pub(super) fn first_fit(&mut self) {
        let frame = self.frame.clone();
        if let Some(device_of) = fit(&frame.model) {
            self.anneal(&frame, &device_of, MOVES, Heat::Full, 2);
        }
        if self.value.is_finite() || self.control.is_over() {
            return;
        }
        let is_found = Cell::new(false);
        let control = self.control;
        let stop = || is_found.get() || control.is_over();
        let options = milp::Options {
            time: Some(std::time::Duration::from_secs_f64(control.seconds_left().min(1e6))),
            nodes: Some(MOST_NODES),
            start: None,
        };
        let found = milp::solve(self.instance, Goal::MaxLoad, &options, &stop, &mut |news| {
            is_found.set(is_found.get() || news.plan.is_some());
        });
        self.is_empty = found.verdict == milp::Verdict::Infeasible;
        if let Some((_, nodes)) = found.best {
            let mut device_of = vec![0; frame.model.n_classes()];
            for (class, device) in frame.model.class_of.iter().zip(&nodes) {
                device_of[*class as usize] = *device;
            }
            self.anneal(&frame, &device_of, MOVES, Heat::Full, 3);
        }
    }
}
