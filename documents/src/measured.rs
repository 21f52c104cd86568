//! How a plan ran: what `Run.measure` of the Python package writes.

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

/// The version that this crate reads.
pub const FORMAT: &str = "meshwright.measured/1";

/// Steps of a plan, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredDocument {
    /// [`FORMAT`].
    pub format: String,
    /// The plan that ran.
    pub plan: RanDocument,
    /// Version of torch.
    pub torch: String,
    /// What it ran on: `cpu` or `cuda`.
    pub device: String,
    /// How torch calls the schedule; `None` without a pipeline.
    pub schedule: Option<String>,
    /// Steps that count.
    pub n_steps: u64,
    /// Seconds of a step, the median.
    pub step_time_s: f64,
    /// Seconds of each step.
    pub steps_s: Vec<f64>,
    /// By process.
    pub ranks: Vec<MeasuredRankDocument>,
}

/// The plan that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RanDocument {
    /// SHA-256 of its file.
    pub sha256: String,
    /// Seconds of a step that it states.
    pub step_time_s: Option<f64>,
    /// The largest peak that it states.
    pub peak_bytes: Option<u64>,
}

/// Where the step of a process went: the median of each over the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredRankDocument {
    /// Replica, from 0.
    pub replica: u32,
    /// Pipeline rank, from 0.
    pub pipeline_rank: u32,
    /// Seconds in which it computes.
    pub compute_s: f64,
    /// Seconds in which it waits for others.
    pub waiting_s: f64,
    /// Seconds in which it waits for bytes.
    pub transfer_s: f64,
    /// The most bytes of tensors at any time.
    pub peak_bytes: u64,
}

impl MeasuredDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// `bad-measured` where it is no such document, or states what no run can measure.
    pub fn parse(text: &[u8]) -> Result<Self, Diagnostic> {
        let bad = |what: String| Diagnostic::input("bad-measured", what);
        let read: Self = serde_json::from_slice(text)
            .map_err(|error| bad(format!("it is no measured run: {error}")))?;
        if read.format != FORMAT {
            return Err(bad(format!("it is of the format `{}`, not `{FORMAT}`", read.format)));
        }
        let ranks =
            read.ranks.iter().flat_map(|own| [own.compute_s, own.waiting_s, own.transfer_s]);
        let are_times = ranks.chain([read.step_time_s]).all(|s| s.is_finite() && s >= 0.0);
        if read.ranks.is_empty() || read.step_time_s == 0.0 || !are_times {
            return Err(bad("its times are none".to_owned()));
        }
        Ok(read)
    }
}
