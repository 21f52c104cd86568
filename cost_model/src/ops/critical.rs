//! The critical path: which ops and transfers, one after the other, make the step as long as it is.

use ir::id::OpId;
use ir::plan::Plan;
use ir::schedule::{Task, Transfer};

use crate::kernels::origin::{Origin, Shares};
use crate::ops::judge::lower::TaskGraph;
use crate::ops::judge::replay::{Span, Timeline};
use crate::ops::problem::Problem;

/// A task of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub task: Task,
    /// When.
    pub span: Span,
    /// Where its duration comes from.
    pub origin: Origin,
}

/// The tasks of the critical path from the start of the step to its end; each starts when the one
/// before it ends, so that their durations add up to the step time.
///
/// Of several paths it is the one whose tasks, from the end on, have the least number (ops by id,
/// then transfers by tensor and destination). Tasks without duration are left out. A timeline that
/// is not the replay of the plan has no path.
#[must_use]
pub fn path(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Vec<Step> {
    let tasks = TaskGraph::lower(problem, plan);
    tasks.map_or_else(|_| Vec::new(), |tasks| path_of_tasks(problem, plan, timeline, &tasks))
}

/// As [`path`], where the plan was lowered on this problem or on one with other rates.
#[must_use]
pub fn path_of_tasks(
    problem: &Problem,
    plan: &Plan,
    timeline: &Timeline,
    tasks: &TaskGraph,
) -> Vec<Step> {
    let spans = spans(tasks, timeline);
    let n_tasks = tasks.n_tasks();
    // The task that ends last before each task that starts with it.
    let mut before: Vec<Option<usize>> = vec![None; n_tasks];
    for task in 0..n_tasks {
        let Some(span) = spans[task] else { continue };
        for &next in tasks.after(task) {
            let next = next as usize;
            if spans[next].is_some_and(|other| other.start == span.end) && task != next {
                before[next].get_or_insert(task);
            }
        }
    }
    let end = timeline.step_time.get();
    let last = (0..n_tasks).find(|task| spans[*task].is_some_and(|span| span.end == end));
    let mut steps = Vec::new();
    let mut at = last;
    while let Some(task) = at {
        if let Some(span) = spans[task].filter(|span| span.end > span.start) {
            steps.push(step(problem, plan, tasks, task, span));
        }
        at = before[task];
    }
    steps.reverse();
    steps
}

/// Nanoseconds of the critical path by origin; they add up to the step time.
#[must_use]
pub fn shares(path: &[Step]) -> Shares {
    let mut shares = Shares::default();
    for step in path {
        shares.add(step.origin, step.span.end - step.span.start);
    }
    shares
}

fn spans(tasks: &TaskGraph, timeline: &Timeline) -> Vec<Option<Span>> {
    let mut spans: Vec<Option<Span>> = timeline.ops.clone();
    spans.resize(tasks.n_tasks(), None);
    let position = |transfer: Transfer| {
        let found =
            tasks.transfers.binary_search_by_key(&transfer, |needed| needed.transfer).ok()?;
        Some(tasks.n_ops + found)
    };
    for sent in &timeline.transfers {
        if let Some(slot) = position(sent.transfer).and_then(|task| spans.get_mut(task)) {
            *slot = Some(sent.span);
        }
    }
    spans
}

fn step(problem: &Problem, plan: &Plan, tasks: &TaskGraph, task: usize, span: Span) -> Step {
    match task.checked_sub(tasks.n_ops).and_then(|position| tasks.transfers.get(position)) {
        Some(needed) => Step {
            task: Task::Transfer(needed.transfer),
            span,
            origin: problem.transfer_origin(needed.from, needed.transfer.to),
        },
        None => {
            let op = OpId::new(task);
            let device = plan.placement.of(op);
            let origin = device.map_or(Origin::Given, |device| problem.op_origin(op, device));
            Step { task: Task::Op(op), span, origin }
        }
    }
}
