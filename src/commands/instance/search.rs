//! The search on an instance, which ends in time whatever its methods do.

use std::sync::Arc;
use std::time::Instant;

use cost_model::given::{Goal, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use planner::given::runner::{Answer, Request, solve_observed};
use planner::run::Event;
use planner::run::watch::Watch;

use crate::publisher::Publisher;

use engine::given::document;

/// Nodes from which a plan takes long to write: then not every better one is published.
const MANY_NODES: usize = 10_000;
/// So many times as long as a plan took to write, none is written.
const REST: u32 = 20;

/// What is solved.
pub(super) struct Question {
    pub(super) instance: Arc<Instance>,
    pub(super) goal: Goal,
    pub(super) algorithm: String,
    pub(super) request: Request,
}

/// Solves the question and publishes what is found on the way.
///
/// # Errors
/// Those of `solve_observed`.
pub(super) fn solve(
    question: Question,
    watch: &Watch,
    publisher: &mut Publisher,
) -> Result<Answer, Diagnostic> {
    let Question { instance, goal, algorithm, request } = question;
    let own = Arc::clone(&instance);
    let mut written = None;
    let mut observe = |event: &Event<Instance>| {
        let is_time = own.n_nodes() < MANY_NODES
            || written.is_none_or(|(at, took)| Instant::elapsed(&at) >= took * REST);
        if matches!(event, Event::Incumbent { .. }) && !is_time {
            return;
        }
        let now = Instant::now();
        let shown = |value| own.unit().text(value);
        publisher.hear(event, (row(goal).name, &shown), |_, value, bound, solution| {
            document::bytes(&document::document(&own, goal, value, bound, solution))
        });
        if matches!(event, Event::Incumbent { .. }) {
            written = Some((Instant::now(), now.elapsed()));
        }
    };
    let answer = solve_observed((instance, goal), &algorithm, (&request, watch), &mut observe);
    publisher.rest();
    answer
}

/// Why there is no plan.
pub(super) fn none(answer: &Answer) -> Diagnostic {
    if answer.is_proved {
        let message = "no plan fits into the memory of the devices";
        return Diagnostic::error(Blame::Infeasible, "infeasible", message)
            .fact("proof", "all plans were searched")
            .hint("give the devices more memory, or add devices");
    }
    Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
        .fact("stopped", answer.stop.name())
        .hint("raise the time limit, or give the devices more memory")
}
