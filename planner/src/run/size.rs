//! Whether sums of all times and bytes of a problem stay in 64 bits.

use cost_model::ops::problem::{Problem, UNSUPPORTED};
use ir::diagnostic::Diagnostic;
use ir::units::Bytes;

use super::no_plan::{NoPlan, Reason};

/// A quarter of the range of `i64`: sums below it can be added and compared without care.
const MOST: u64 = 1 << 61;

/// Refuses problems whose schedule could pass 2^61 ns or 2^61 bytes: rates that are off by many
/// orders of magnitude, whose times are saturated and mean nothing.
pub(crate) fn check(problem: &Problem) -> Result<(), NoPlan> {
    let n_devices = problem.cluster.n_devices() as u64;
    let mut time = 0u64;
    let mut bytes = 0u64;
    for &op in &problem.actions {
        let slowest = (0..problem.cluster.kinds.len())
            .map(|kind| problem.time_on_kind_ns(op, kind))
            .filter(|time| *time != UNSUPPORTED)
            .max();
        time = time.saturating_add(slowest.unwrap_or(0));
        bytes = bytes.saturating_add(problem.temporary(op));
    }
    for tensor in (0..problem.n_tensors()).map(ir::id::TensorId::new) {
        let tensor_bytes = problem.persistent_bytes(tensor).max(problem.bytes(tensor));
        bytes = bytes.saturating_add(tensor_bytes.saturating_mul(n_devices));
        if problem.producer(tensor).is_none() || problem.consumers(tensor).is_empty() {
            continue;
        }
        let size = Bytes(problem.bytes(tensor));
        let slowest = problem.cluster.links.kinds.iter().map(|kind| kind.time(size).get()).max();
        time = time.saturating_add(slowest.unwrap_or(0).saturating_mul(n_devices));
    }
    if time > MOST {
        return Err(refusal("durations", "2^61 nanoseconds (73 years)"));
    }
    if bytes > MOST {
        return Err(refusal("sizes", "2^61 bytes"));
    }
    Ok(())
}

fn refusal(what: &str, limit: &str) -> NoPlan {
    let message = format!("the {what} of the problem sum to more than {limit}");
    let diagnostic = Diagnostic::input("out-of-range", message)
        .hint("check the rates of the kinds and links, and the costs that the model states");
    NoPlan::new(Reason::Unsupported, diagnostic)
}
