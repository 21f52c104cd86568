//! What surrounds every run of `plan`.

use std::time::Instant;

use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;
use planner::run::{Bound, Case, Event};

use crate::exit::Exit;
use crate::follow::{Follower, Incumbent, Watch};
use crate::page::Page;

/// Around a run: what ends it, who follows it, and where its answer goes.
pub struct Run<'r> {
    /// When it began.
    pub start: Instant,
    /// Ends it early.
    pub watch: &'r Watch,
    /// Follows it.
    pub follower: &'r mut dyn Follower,
    /// Takes the answer.
    pub page: &'r Page,
    /// The version of the program, for the answer.
    pub version: &'static str,
}

pub(super) fn late() -> Diagnostic {
    let message = "the time limit passed while the model was read";
    Diagnostic::error(Blame::NotFound, "deadline", message).hint("raise --time-limit")
}

pub(super) fn interrupted(page: &Page) -> Exit {
    let message = "interrupted before there was a plan";
    let diagnostic = Diagnostic::error(Blame::NotFound, "interrupted", message)
        .hint("a later Ctrl-C keeps the best plan so far");
    page.failure(&diagnostic, Exit::INTERRUPTED.0);
    Exit::INTERRUPTED
}

/// What is minimised, and how people read its values.
pub(super) type Measure<'a> = (&'static str, &'a dyn Fn(Nanos) -> String);

/// Takes an event of a run to its follower; `document` writes a solution down.
pub(super) fn tell<C: Case>(
    follower: &mut dyn Follower,
    event: &Event<C>,
    (objective, shown): Measure<'_>,
    document: impl Fn(&str, Nanos, Bound, &C::Solution) -> Result<Vec<u8>, Diagnostic>,
) {
    match event {
        Event::Started { algorithm } => follower.started(algorithm),
        Event::Bound { bound, elapsed } => follower.bound(bound.value, bound.method, *elapsed),
        Event::Incumbent { algorithm, value, bound, solution, elapsed } => {
            follower.incumbent(&Incumbent {
                algorithm,
                objective,
                value: *value,
                bound: bound.value,
                shown,
                elapsed: *elapsed,
                document: &|| document(algorithm, *value, *bound, solution),
            });
        }
    }
}
