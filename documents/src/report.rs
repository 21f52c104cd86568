//! The report document: what `plan --json` prints.
//!
//! Plain data that the caller fills; durations are given twice, `_ns` exact and `_s`.

pub mod training;
pub mod why_not;

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;
use crate::quantity::seconds;

pub use crate::trust::{IntervalDocument, OriginDocument, PeakIntervalDocument};

/// The version that this crate writes and reads.
pub const FORMAT: &str = "meshwright.report/1";

/// Something that a device holds at its peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HoldingDocument {
    /// `parameter`, `graph-input`, `output`, `copy` or `temporary`.
    pub kind: String,
    /// The tensor, or the op of a temporary.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Where the time and the memory of a device go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceDocument {
    /// Name of the device.
    pub id: String,
    /// Nanoseconds in which it computes.
    pub busy_ns: u64,
    /// Seconds in which it computes.
    pub busy_s: f64,
    /// Nanoseconds in which a transfer of it is under way.
    pub communication_ns: u64,
    /// Seconds in which a transfer of it is under way.
    pub communication_s: f64,
    /// Nanoseconds in which it does neither.
    pub idle_ns: u64,
    /// Seconds in which it does neither.
    pub idle_s: f64,
    /// Most bytes at any instant.
    pub peak_memory_bytes: u64,
    /// The first instant of the peak, in nanoseconds from the start.
    pub peak_at_ns: u64,
    /// The same in seconds.
    pub peak_at_s: f64,
    /// Capacity less context and reserve; absent = unlimited.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// Memory of the device; absent = unlimited.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// Held by the driver's context.
    #[serde(default)]
    pub context_bytes: u64,
    /// Kept free.
    #[serde(default)]
    pub reserve_bytes: u64,
    /// Parameters with all that they drag along.
    pub parameter_bytes: u64,
    /// What is alive at the peak, largest first, cut after a few.
    #[serde(default)]
    pub what_peaks: Vec<HoldingDocument>,
    /// Computing and exposed communication by the origin of the durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginDocument>,
}

impl DeviceDocument {
    /// With the durations filled in, and nothing else but the name.
    #[must_use]
    pub fn with_times(id: &str, busy_ns: u64, communication_ns: u64, idle_ns: u64) -> Self {
        Self {
            id: id.to_owned(),
            busy_ns,
            busy_s: seconds(busy_ns),
            communication_ns,
            communication_s: seconds(communication_ns),
            idle_ns,
            idle_s: seconds(idle_ns),
            ..Self::default()
        }
    }

    /// With the peak filled in.
    #[must_use]
    pub fn with_peak(mut self, bytes: u64, at_ns: u64) -> Self {
        self.peak_memory_bytes = bytes;
        self.peak_at_ns = at_ns;
        self.peak_at_s = seconds(at_ns);
        self
    }
}

/// What went over a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkDocument {
    /// Name of the channel.
    pub channel: String,
    /// Nanoseconds in which it is occupied.
    pub busy_ns: u64,
    /// Seconds in which it is occupied.
    pub busy_s: f64,
    /// Bytes that went over it.
    pub bytes: u64,
    /// Number of transfers.
    pub n_transfers: u64,
}

impl LinkDocument {
    /// From whole nanoseconds.
    #[must_use]
    pub fn new(channel: &str, busy_ns: u64, bytes: u64, n_transfers: u64) -> Self {
        Self { channel: channel.to_owned(), busy_ns, busy_s: seconds(busy_ns), bytes, n_transfers }
    }
}

/// Where the step goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StepDocument {
    /// Nanoseconds of one step.
    pub step_time_ns: u64,
    /// Seconds of one step.
    pub step_time_s: f64,
    /// Whether any cost was not measured on the user's hardware.
    pub nominal: bool,
    /// Where the truth lies in eight cases of ten; absent where all durations are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalDocument>,
    /// The critical path by the origin of its durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginDocument>,
    /// By device, in the order of the cluster.
    pub devices: Vec<DeviceDocument>,
    /// By channel that carries anything.
    pub links: Vec<LinkDocument>,
}

impl StepDocument {
    /// From whole nanoseconds, without devices and links yet.
    #[must_use]
    pub fn new(step_time_ns: u64, nominal: bool) -> Self {
        Self {
            step_time_ns,
            step_time_s: seconds(step_time_ns),
            nominal,
            interval: None,
            origins: Vec::new(),
            devices: Vec::new(),
            links: Vec::new(),
        }
    }
}

/// A value that no plan can beat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BoundDocument {
    /// Nanoseconds.
    pub value_ns: u64,
    /// Seconds.
    pub value_s: f64,
    /// Which bound it is.
    pub method: String,
}

impl BoundDocument {
    /// From whole nanoseconds.
    #[must_use]
    pub fn new(value_ns: u64, method: &str) -> Self {
        Self { value_ns, value_s: seconds(value_ns), method: method.to_owned() }
    }
}

/// What is known of the space of plans that the best one does not lie in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OtherSpaceDocument {
    /// `placements-of-whole-ops` or `degrees-of-parallelism`.
    pub space: String,
    /// Seconds of its best plan that is known; null where none is.
    pub step_time_s: Option<f64>,
    /// Seconds that none of its plans is below; null where the answer's bound does not cover it.
    pub bound_s: Option<f64>,
    /// Why it was not searched; null where it was.
    pub unsearched: Option<String>,
    /// What the step takes on one device, as placements price it over how degrees do; null where it
    /// was not looked at. A placement is taken only where it wins at the dearer price.
    pub price_ratio: Option<f64>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AttemptResult {
    /// A plan.
    Plan {
        /// Nanoseconds of one step.
        step_time_ns: u64,
        /// Seconds of one step.
        step_time_s: f64,
        /// Largest peak over the devices.
        peak_memory_bytes: u64,
        /// Nanoseconds of what is minimised; absent where that is the step time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_ns: Option<u64>,
    },
    /// None.
    NoPlan(DiagnosticDocument),
}

impl AttemptResult {
    /// A plan, from whole nanoseconds.
    #[must_use]
    pub fn plan(step_time_ns: u64, peak_memory_bytes: u64) -> Self {
        let step_time_s = seconds(step_time_ns);
        Self::Plan { step_time_ns, step_time_s, peak_memory_bytes, value_ns: None }
    }

    /// The same with the value of another objective than the step time.
    #[must_use]
    pub fn with_value(self, value: Option<u64>) -> Self {
        match self {
            Self::Plan { step_time_ns, step_time_s, peak_memory_bytes, .. } => {
                Self::Plan { step_time_ns, step_time_s, peak_memory_bytes, value_ns: value }
            }
            Self::NoPlan(_) => self,
        }
    }
}

/// One recipe that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AttemptDocument {
    /// The recipe.
    pub algorithm: String,
    /// What came of it.
    pub result: AttemptResult,
}

/// A moment of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TracePointDocument {
    /// Seconds since the start.
    pub elapsed_s: f64,
    /// Best value so far in nanoseconds.
    #[serde(default)]
    pub value_ns: Option<u64>,
    /// Best bound so far in nanoseconds.
    #[serde(default)]
    pub bound_ns: Option<u64>,
}

/// How the run went: everything that may differ between two runs of the same request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunDocument {
    /// Seconds of planning.
    pub planning_time_s: f64,
    /// Seconds that each attempt took, in their order.
    pub attempts_s: Vec<f64>,
    /// The search over time.
    pub trace: Vec<TracePointDocument>,
    /// The machine, such as `x86_64-linux, 8 threads`.
    pub host: String,
    /// Version of meshwright.
    pub version: String,
}

/// Everything that a planning run has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReportDocument {
    /// [`FORMAT`].
    pub format: String,
    /// The plan.
    pub plan: PlanDocument,
    /// Where its step goes.
    pub report: StepDocument,
    /// What no plan can beat.
    pub bound: BoundDocument,
    /// `value / bound - 1` of what is minimised; absent where the bound is 0.
    #[serde(default)]
    pub gap: Option<f64>,
    /// Value of the fastest plan, in nanoseconds, where a plan with fewer devices or transfers within 0.5 %
    /// of it is recommended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fastest_ns: Option<u64>,
    /// Share of the ops whose times are guessed, in 0..=1.
    #[serde(default)]
    pub guessed_share: f64,
    /// Memory traffic in bytes of attention that is priced unfused, between its two matrix products, that
    /// fused kernels would save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfused_attention_bytes: Option<u64>,
    /// Why the search ended, such as `proved-optimal`.
    pub stop_reason: String,
    /// The recipe that found the plan.
    pub algorithm: String,
    /// The other plans of a training run, which the bound covers where something is known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_space: Option<OtherSpaceDocument>,
    /// Worth knowing.
    #[serde(default)]
    pub warnings: Vec<DiagnosticDocument>,
    /// What was tried.
    #[serde(default)]
    pub attempts: Vec<AttemptDocument>,
    /// How the run went.
    pub run: RunDocument,
}

/// What most kinds of plans answer: the plan, its figures and how it was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, schemars(rename = "Found{F}"))]
pub struct FoundDocument<F> {
    /// The plan.
    pub plan: PlanDocument,
    /// What is said of it.
    #[serde(flatten)]
    pub figures: F,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}

/// Why there is no answer, and what was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FailureDocument {
    /// Why.
    pub error: DiagnosticDocument,
    /// How the program ends.
    pub exit_code: u8,
    /// What was tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptDocument>,
    /// Worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<DiagnosticDocument>,
}
