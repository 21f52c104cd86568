//! What clients send to a server, so that all uploads end together.
//!
//! # Decides
//! The bytes of each client.
//!
//! # Idea
//! All send for as long as the slowest client takes for its share: `min(bytes, T x rate)`.
//!
//! # Paper
//! Bandwidth-aware and overlap-weighted compression (BWA), ICPP 2024.
//!
//! # Guarantee
//! Optimal: no round is shorter where every client sends its share, and none sends more in the time.
//!
//! # Complexity
//! Clients.
//!
//! # Limits
//! Rates are the clients' own: the server's link is not shared.
//!
//! # Example
//! Shares of 1 % of 100 MB at 1 and 4 MB/s: 1 s each, 1 and 4 MB.

use cost_model::given::Goal;
use cost_model::given::averaging::{bound_uploads, upload_time};
use ir::instance::{AveragingInstance, Instance, Peers};

use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::UploadTime],
    effort: Effort::Quick,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Averaging(instance) = run.instance() else { return Ok(()) };
        run.offer(Solution::Uploads(shares(instance))).map(|_| ())
    },
};

/// Bytes of each client.
fn shares(instance: &AveragingInstance) -> Vec<u64> {
    let Peers::Server { bytes_per_s } = &instance.peers else { return Vec::new() };
    let end = bound_uploads(instance);
    let share = |(at, (bytes, rate)): (usize, (&u64, &f64))| {
        let most = ((end.seconds() * rate) as u64).clamp(instance.sent(at), *bytes);
        // Not a byte that rounding would make late.
        let is_late = upload_time(instance, at, most).is_some_and(|time| time > end);
        if is_late { most.saturating_sub(1).max(instance.sent(at)) } else { most }
    };
    instance.bytes.iter().zip(bytes_per_s).enumerate().map(share).collect()
}
