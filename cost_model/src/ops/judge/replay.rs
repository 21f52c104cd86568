//! Replays a plan: when each op and each transfer starts and ends.
//!
//! Every action starts as early as its inputs, its device's order, its channels' orders and the
//! plan's waits allow: the longest path in the task graph, over whole nanoseconds. The replay never
//! chooses; an order that can't go on is a [`Violation`] that names the circle.

use ir::plan::Plan;
use ir::schedule::Task;
use ir::units::Nanos;

use crate::ops::judge::lower::TaskGraph;
use crate::ops::judge::violation::Violation;
use crate::ops::problem::Problem;

pub use super::timeline::{Span, Timeline, TransferSpan};

/// Times of a plan. Memory limits, pins and groups are not looked at; see [`crate::ops::judge::verify`].
///
/// # Errors
/// The first defect that leaves the times undefined: an op that is not placed, not in its device's
/// order, or can't run there; a transfer that is missing, needless, repeated, on a wrong channel or
/// without a way; a wait that names nothing; orders and waits that form a circle.
pub fn replay(problem: &Problem, plan: &Plan) -> Result<Timeline, Violation> {
    replay_tasks(problem, plan, &TaskGraph::lower(problem, plan)?)
}

/// As [`replay`], where the plan was lowered on this problem or on one with other rates.
///
/// # Errors
/// Orders and waits that form a circle.
pub fn replay_tasks(
    problem: &Problem,
    plan: &Plan,
    tasks: &TaskGraph,
) -> Result<Timeline, Violation> {
    let durations = tasks.durations(problem, plan);
    let starts = earliest(tasks, &durations)?;
    let span = |task: usize| Span {
        start: starts[task],
        end: starts[task].saturating_add(durations[task]),
    };
    let mut step_time = 0;
    let mut ops = vec![None; problem.n_ops()];
    for &op in &problem.actions {
        let span = span(op.index());
        step_time = step_time.max(span.end);
        ops[op.index()] = Some(span);
    }
    let mut transfers: Vec<TransferSpan> = tasks
        .transfers
        .iter()
        .enumerate()
        .map(|(position, t)| TransferSpan {
            transfer: t.transfer,
            from: t.from,
            span: span(tasks.n_ops + position),
        })
        .collect();
    transfers.sort_unstable_by_key(|t| (t.span.start, t.transfer));
    let last = transfers.iter().map(|t| t.span.end).max().unwrap_or(0);
    Ok(Timeline { ops, transfers, step_time: Nanos(step_time.max(last)) })
}

/// Start of each task by Kahn's algorithm: a task is taken when all that it waits for was taken.
fn earliest(tasks: &TaskGraph, durations: &[u64]) -> Result<Vec<u64>, Violation> {
    let n_tasks = tasks.n_tasks();
    let mut starts = vec![0u64; n_tasks];
    let mut missing = tasks.n_before.clone();
    let mut ready: Vec<u32> =
        (0u32..).take(n_tasks).filter(|task| missing[*task as usize] == 0).collect();
    let mut n_taken = 0;
    while let Some(task) = ready.pop() {
        n_taken += 1;
        let end = starts[task as usize].saturating_add(durations[task as usize]);
        for &next in tasks.after(task as usize) {
            let slot = next as usize;
            starts[slot] = starts[slot].max(end);
            missing[slot] -= 1;
            if missing[slot] == 0 {
                ready.push(next);
            }
        }
    }
    if n_taken == n_tasks { Ok(starts) } else { Err(circle(tasks, &missing)) }
}

/// A circle among the tasks that were never taken, each followed by one that waits for it.
fn circle(tasks: &TaskGraph, missing: &[u32]) -> Violation {
    let mut before: Vec<Option<usize>> = vec![None; missing.len()];
    for task in (0..missing.len()).filter(|task| missing[*task] > 0) {
        for &next in tasks.after(task) {
            before[next as usize].get_or_insert(task);
        }
    }
    let mut visited = vec![false; missing.len()];
    // Each stuck task waits for a stuck one, so going back must come round.
    let mut at = missing.iter().position(|count| *count > 0).unwrap_or(0);
    while !visited[at] {
        visited[at] = true;
        at = before[at].unwrap_or(at);
    }
    let mut cycle = vec![at];
    let mut back = before[at].unwrap_or(at);
    while back != at {
        cycle.push(back);
        back = before[back].unwrap_or(at);
    }
    cycle.reverse();
    let least = (0..cycle.len()).min_by_key(|position| cycle[*position]).unwrap_or(0);
    cycle.rotate_left(least);
    Violation::Deadlock { cycle: cycle.into_iter().map(|task| named(tasks, task)).collect() }
}

fn named(tasks: &TaskGraph, task: usize) -> Task {
    match task.checked_sub(tasks.n_ops) {
        None => Task::Op(ir::id::OpId::new(task)),
        Some(position) => Task::Transfer(tasks.transfers[position].transfer),
    }
}
