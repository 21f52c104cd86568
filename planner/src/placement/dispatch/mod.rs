//! A fast dispatcher: what step time and memory peaks a placement and a priority of its ops give.
//!
//! Local search asks it thousands of times a second, so it works on flat arrays, keeps its scratch
//! space, and gives up as soon as a step can't stay below a cutoff. Whenever a device is idle, it
//! starts the waiting op of the least key; a transfer is appended to its channels when its producer
//! ends. The orders that come out, replayed by the judge, give the same times, because nothing in
//! them starts later than its inputs, its device and its channels allow. It never waits for memory:
//! what exceeds a limit is told as such. A filter only: every plan is judged by `Run::offer`.

mod copies;
mod kernel;
mod network;
#[cfg(test)]
mod tests;

pub(crate) use kernel::{Dispatcher, Score, Way};
pub(crate) use network::Network;
