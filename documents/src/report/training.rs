//! What `plan --json` prints of a training run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;
use crate::plan::energy::EnergyPointDocument;
use crate::report::OtherSpaceDocument;

/// A judged plan in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainingRunDocument {
    /// Degrees in one line.
    pub degrees: String,
    /// Devices that it takes.
    pub n_devices: u64,
    /// Nanoseconds of one step.
    pub step_time_ns: u64,
    /// Seconds of one step.
    pub step_time_s: f64,
    /// Tokens (or samples, where `unit` says so) per second.
    pub tokens_per_s: f64,
    /// Share of the peak rate that the model's own FLOPs take, of attention the whole square,
    /// without recomputation; null where the device states none.
    pub model_flops_utilisation: Option<f64>,
    /// Most bytes on any device.
    pub peak_bytes: u64,
    /// Share by which the step is longer than that of the recommended plan; negative = faster; absent on
    /// measured layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<f64>,
    /// The part of the step with the largest increase over the recommended plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mostly_by: Option<String>,
    /// Seconds of each part of the step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// By stage, on measured layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<TrainingStageDocument>,
    /// Whether optimizer states are on hosts; absent where the plan states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offloads_optimizer: Option<bool>,
}

/// A stage of a plan on measured layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainingStageDocument {
    /// Its blocks.
    pub n_blocks: u32,
    /// Of these, those with recomputed activations.
    pub n_recomputed: u32,
    /// Of these, those with sharded parameters.
    pub n_zero3: u32,
    /// Most bytes on a device.
    pub peak_bytes: u64,
    /// What a device may hold; null = unlimited.
    pub limit_bytes: Option<u64>,
}

/// What a graph became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainedGraphDocument {
    /// Ops, views included.
    pub n_ops: usize,
    /// Elements of all trained parameters, each once.
    pub n_parameters: u64,
    /// Elements that the plan counts.
    pub n_parameters_of_plan: u64,
    /// What the blocks are, or why they are no transformer's.
    pub kind: String,
    /// By block, the module or op at which it begins.
    pub starts: Vec<String>,
}

/// Where another plan becomes the best: a constant that is off by a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FlipDocument {
    /// The constant.
    pub constant: String,
    /// The factor.
    pub factor: f64,
    /// Degrees of the plan that wins then.
    pub winner: Option<String>,
}

/// Degrees that were left, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OtherDegreesDocument {
    /// Degrees in one line.
    pub degrees: String,
    /// Seconds that no plan of them is below.
    pub bound_s: f64,
}

/// Who runs a plan that was made for nobody by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunnersDocument {
    /// Launchers that run it, under the stack as which it is priced.
    pub targets: Vec<String>,
    /// By other launcher, seconds of a step of the plan that `--for` recommends, priced as the launcher's own
    /// stack; only of searches that ended.
    pub nearest_s: BTreeMap<String, f64>,
    /// Other launchers, for which the search did not end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_finished: Vec<String>,
    /// Software stack as which the plan is priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// A plan that is recommended for being simpler than the fastest one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecommendedDocument {
    /// By how much its step is longer than the fastest one's, as a share of that.
    pub than_fastest: f64,
    /// Criteria in which it comes first, the decisive one first: `judged-terms`, `memory-interval-fits`,
    /// `default-sharding`, `no-pipeline`, `even-stages`, `fewer-virtual-stages`, `no-recompute`,
    /// `tensor-inside-host`, `fewer-devices`.
    pub reason: Vec<String>,
    /// The fastest plan, which the bound and the proof are of.
    pub fastest: FastestDocument,
}

/// The fastest plan of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FastestDocument {
    /// Degrees in one line.
    pub degrees: String,
    /// Nanoseconds of one step.
    pub step_time_ns: u64,
    /// Seconds of one step.
    pub step_time_s: f64,
}

/// Everything that the search for a training run has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainingReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// What the graph became; null where a config states the model.
    pub graph: Option<TrainedGraphDocument>,
    /// What the samples of a step are counted in: tokens or samples.
    pub unit: String,
    /// The plan in figures.
    pub best: TrainingRunDocument,
    /// Why the plan is recommended though another one is faster; absent where it is the fastest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended: Option<RecommendedDocument>,
    /// The best plan that the launcher does not run, where it is faster.
    pub beyond_launcher: Option<TrainingRunDocument>,
    /// The next best.
    pub runners_up: Vec<TrainingRunDocument>,
    /// Part of the Pareto front: the fastest plan within 75, 50 and 25 % of the fastest plan's peak, and, where device
    /// counts were stated, of each count. Plans between them are not listed.
    pub front: Vec<TrainingRunDocument>,
    /// Constants that decide.
    pub turns: Vec<FlipDocument>,
    /// Other degrees with what no plan of them is below, on measured layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherDegreesDocument>,
    /// Operator placements, which the bound covers where something is known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_space: Option<OtherSpaceDocument>,
    /// Who runs the plan, where nobody was named with `--for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_on: Option<RunnersDocument>,
    /// Seconds that no plan of the space is below.
    pub bound_s: f64,
    /// Whether the fastest plan is proved fastest of the search space: the plan, or where another one is
    /// recommended `recommended.fastest`.
    pub is_optimum: bool,
    /// Whether the search ended before it was done.
    pub stopped_early: bool,
    /// Why it ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Plans that were tried for energy, price or under a cap, of which no other is better in all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy_front: Vec<EnergyPointDocument>,
    /// Worth knowing.
    pub warnings: Vec<DiagnosticDocument>,
    /// What the search looked at.
    pub counts: BTreeMap<String, u64>,
}
