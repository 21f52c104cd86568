//! That no plan fits: what the one that needs least is short of, and what binds.

use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;
use planner::run::StopReason;

/// That memory is exceeded, whatever is planned where that `is_proved`.
#[must_use]
pub fn exceeded(is_proved: bool, message: impl Into<String>) -> Diagnostic {
    let blame = if is_proved { Blame::Infeasible } else { Blame::NotFound };
    Diagnostic::error(blame, "memory-exceeded", message)
}

/// That even the plan that needs least does not fit: what a device needs and has for it, and what takes most.
#[must_use]
pub fn smallest(
    is_proved: bool,
    (need, have): (Bytes, Bytes),
    most: &str,
    open: &str,
) -> Diagnostic {
    let lacks = Bytes(need.0.saturating_sub(have.0));
    let (what, open) = match is_proved {
        true => ("no plan fits", String::new()),
        false => ("no plan was found that fits", format!("; {open}")),
    };
    let message = format!(
        "{what}: the smallest needs {need} per device, {lacks} more than is usable; most of it is {most}{open}"
    );
    exceeded(is_proved, message).fact("need", need).fact("have", have)
}

/// The search ended before there was a plan.
#[must_use]
pub fn too_early(stop: StopReason, n_judged: u64) -> Diagnostic {
    let message = "the search was stopped before it found a plan that fits";
    let hint = match stop {
        StopReason::NodeBudget => "give it more nodes with --node-budget",
        StopReason::SizeLimit => {
            "choose a --global-batch with larger divisors, or name a cluster of fewer sorts of nodes"
        }
        _ => "give it more time with --time-limit",
    };
    Diagnostic::error(Blame::NotFound, "no-plan", message)
        .fact("stopped", stop.name())
        .fact("judged", n_judged)
        .hint(hint)
}

/// Which parts of the plan that needs least have too little: `rank 0` and the like, with the bytes missing.
#[must_use]
pub fn short(part: &str, needs: impl Iterator<Item = u64>, limit: u64) -> Vec<(String, Bytes)> {
    let short = needs.enumerate().filter(|(_, need)| *need > limit);
    short.map(|(at, need)| (format!("{part} {at}"), Bytes(need - limit))).collect()
}
