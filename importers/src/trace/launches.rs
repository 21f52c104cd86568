//! Which call of an operator launched what a device ran.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::kineto::{Run, Span};

/// A call of the runtime of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    /// Nanoseconds, as of a [`Span`].
    pub(super) start: i64,
    /// Number of the thread that made it.
    pub(super) thread: u32,
    /// Number of the operator's call around it; 0 where the trace does not say it.
    pub(super) external: u64,
}

/// Gives every run the number of the call that launched it: as the trace states it, or that of the
/// innermost call of an operator around its launch. Profilers before PyTorch 2.1 state in its place
/// the number that a kernel shares with its launch, which may be that of any other call.
pub(super) fn settle(runs: &mut [Run], launches: &BTreeMap<u64, Launch>, calls: Vec<Span>) {
    let n_shared = runs.iter().filter(|run| run.external == run.correlation).count();
    let is_shared = 2 * n_shared > runs.len() && !launches.is_empty();
    let is_stated = |external: u64| external != 0 && !is_shared;
    let around = around(launches, calls);
    for run in runs.iter_mut().filter(|run| !is_stated(run.external)) {
        let launch = launches.get(&run.correlation);
        run.external = match launch.map(|launch| launch.external) {
            Some(external) if is_stated(external) => external,
            _ => around.get(&run.correlation).copied().unwrap_or(0),
        };
    }
}

/// By correlation, the innermost call of an operator around each launch.
fn around(launches: &BTreeMap<u64, Launch>, mut calls: Vec<Span>) -> HashMap<u64, u64> {
    calls.sort_unstable_by_key(|span| (span.thread, span.start, Reverse(span.duration)));
    let mut order: Vec<(&u64, &Launch)> = launches.iter().collect();
    order.sort_unstable_by_key(|(_, launch)| (launch.thread, launch.start));
    let mut calls = calls.into_iter().peekable();
    let mut stack: Vec<Span> = Vec::new();
    let mut found = HashMap::new();
    for (correlation, launch) in order {
        let place = (launch.thread, launch.start);
        while let Some(call) = calls.next_if(|call| (call.thread, call.start) <= place) {
            stack.retain(|open| open.thread == call.thread && open.end() > call.start);
            stack.push(call);
        }
        stack.retain(|open| open.thread == launch.thread && open.end() >= launch.start);
        if let Some(call) = stack.last() {
            found.insert(*correlation, call.external);
        }
    }
    found
}
