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
        match read.wrong() {
            Some(what) => Err(bad(what)),
            None => Ok(read),
        }
    }

    /// What no run can measure, if anything.
    fn wrong(&self) -> Option<String> {
        let n = self.steps_s.len();
        if self.ranks.is_empty() || n == 0 || self.n_steps != n as u64 {
            let (stated, ranks) = (self.n_steps, self.ranks.len());
            return Some(format!(
                "it has `n_steps` {stated}, {n} of `steps_s` and {ranks} of `ranks`"
            ));
        }
        let is_step = |s: &f64| *s > 0.0 && *s <= LONGEST_STEP_S;
        if let Some(s) = self.steps_s.iter().find(|s| !is_step(s)) {
            return Some(format!("a step of {s:?} s is none"));
        }
        let mut steps = self.steps_s.clone();
        steps.sort_by(f64::total_cmp);
        let median = f64::midpoint(steps[(n - 1) / 2], steps[n / 2]);
        if !is_near(self.step_time_s, median) {
            let stated = self.step_time_s;
            return Some(format!(
                "`step_time_s` is {stated:?}, the median of `steps_s` {median:?}"
            ));
        }
        let longest = steps[n - 1];
        let is_part = |s: f64| s >= 0.0 && (s <= longest || is_near(s, longest));
        let parts = self.ranks.iter().enumerate().flat_map(|(at, rank)| {
            let parts = [
                ("compute_s", rank.compute_s),
                ("waiting_s", rank.waiting_s),
                ("transfer_s", rank.transfer_s),
            ];
            parts.map(|(name, s)| (at, name, s))
        });
        let mut wrong = parts.filter(|(.., s)| !is_part(*s));
        wrong.next().map(|(at, name, s)| {
            format!("`{name}` of process {at} is {s:?} in steps of at most {longest:?} s")
        })
    }
}

/// Eleven days.
const LONGEST_STEP_S: f64 = 1e6;

/// Whether two times are the same but for rounding.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b
}
