//! What is asked: a model on a cluster, for what work, under which limits.

pub mod catalogue;
pub mod element_type;
pub mod executor;
pub mod fields;
mod objective;
pub mod serving;
pub mod subject;
pub mod task;
pub mod tuning;
pub mod value;
pub mod verb;

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use cost_model::runs::forms::run::Gradients;
use ir::card::Skew;
use ir::card::stored::CacheType;
use ir::tensor::DType;
use ir::tuning::Adapter;
use ir::units::{Bytes, Watts};
use ir::workload::{Mode, Optimizer, StepPhase};
use planner::run::{self, watch::Watch};
use profiler::options::{Busy, Engine, Peer};
use serde::{Deserialize, Serialize};

use crate::request::executor::Executor;
pub use crate::request::objective::ObjectiveName;
use crate::request::serving::ServingRequest;
use crate::request::task::Task;
use crate::request::tuning::Frozen;

/// The fact of an error that names the flag of a memory limit below that of the margin.
pub(crate) const LIMIT_OF_FLAG: &str = "limit";

/// How a model file is read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ModelRequest {
    /// Extents of named dimensions.
    #[serde(with = "value::pairs")]
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, u64>"))]
    pub dims: Vec<(String, u64)>,
    /// Samples of one step over all devices.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub batch: Option<u64>,
    /// Samples in the model at once; `None` = the whole batch.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub micro_batch: Option<u64>,
    /// By input, the axis that counts samples.
    #[serde(with = "value::pairs")]
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, u64>"))]
    pub batch_axis: Vec<(String, u64)>,
    /// Compute type; replaces fp32 in the model.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub dtype: Option<DType>,
    /// Whether `QuantizeLinear` and `DequantizeLinear` are priced as they stand, not as integer
    /// kernels.
    pub qdq_as_written: bool,
    /// Profiles of runs of the model (Kineto), whose durations its ops take.
    pub traces: Vec<PathBuf>,
}

/// A model that is looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ImportRequest {
    /// The file.
    pub model: PathBuf,
    /// How it is read.
    #[serde(flatten)]
    pub flags: ModelRequest,
    /// Whether everything is listed.
    pub all: bool,
    /// Whether the modules are listed.
    pub tree: bool,
    /// Whether sharding rules are listed, not cost rules.
    pub sharding: bool,
}

/// What makes a planning problem out of a model; `None` and empty = the usual, or as planned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ProblemRequest {
    /// How the model is read.
    #[serde(flatten)]
    pub model: ModelRequest,
    /// The cluster's file, or FILE#NAME.
    pub cluster: Option<PathBuf>,
    /// A profile, or a folder of measured layers.
    pub profile: Option<PathBuf>,
    /// A table of measured costs: seconds of operators and modules by kind of device, bytes.
    pub costs: Option<PathBuf>,
    /// Devices and hosts of the cluster that were lost: what a plan states, or `--lost`.
    #[serde(skip)]
    pub lost: Vec<String>,
    /// Devices and hosts that are left out: what a plan states, or what a search tries.
    #[serde(skip)]
    pub without: Vec<String>,
    /// Share of what it may draw that each board is limited to: what a plan states, or what a search tries.
    #[serde(skip)]
    pub board_limit: Option<f64>,
    /// Share of each device's memory that is kept free, whatever the cluster file says: what a plan states, or
    /// what a search tries.
    #[serde(skip)]
    pub margin: Option<f64>,
    /// Inference unless stated.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub workload: Option<Mode>,
    /// Of a training run.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub optimizer: Option<Optimizer>,
    /// `PATTERN=DEVICE`, or `FIELD=VALUE` of a training run.
    pub pin: Vec<String>,
    /// `PATTERN=DEVICE`.
    pub forbid: Vec<String>,
    /// Patterns of ops that share a device.
    pub colocate: Vec<String>,
    /// A file with pin, forbid and colocate.
    pub constraints: Option<PathBuf>,
    /// `NAME=FACTOR`: what of the cluster is so many times what its file says. NAME is `memory`,
    /// `links` (all ways between devices), or the name of a way; factors of the same multiply.
    pub scale: Vec<String>,
    /// Names of the fields that were asked for, by which they are refused where they mean nothing.
    #[serde(skip)]
    pub given: Vec<String>,
}

impl ProblemRequest {
    /// All files that a run reads.
    #[must_use]
    pub fn inputs<'a>(&'a self, model: &'a Path) -> Vec<&'a Path> {
        let others = [&self.cluster, &self.profile, &self.constraints, &self.costs];
        let others = others.into_iter().filter_map(|file| file.as_deref());
        let traces = self.model.traces.iter().map(PathBuf::as_path);
        std::iter::once(model).chain(others).chain(traces).collect()
    }
}

/// Expert load imbalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpertSkew {
    /// By a law.
    Law(Skew),
    /// As the histogram of a file says.
    File(PathBuf),
}

/// What is asked of a search over degrees of parallelism.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TrainingRequest {
    /// Samples of one step over all replicas.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub global_batch: Option<u64>,
    /// Tokens of a sample.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub sequence_length: Option<u64>,
    /// Tokens of one step, in place of the batch.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub tokens_per_step: Option<u64>,
    /// How many devices may be used.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub devices: Option<RangeInclusive<u32>>,
    /// What a device may hold at most.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub max_memory_per_device: Option<Bytes>,
    /// Share of each device's memory that stays free.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub memory_margin: Option<f64>,
    /// Software stack, by the name of a preset.
    pub stack: Option<String>,
    /// Expert load imbalance: `balanced`, `zipf:S`, or a file with the routed tokens of each expert.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub expert_skew: Option<ExpertSkew>,
    /// Adapters beside frozen weights: `lora:rank=16,targets=q+v`, `qlora:..`, `dora:..`, `qdora:..`.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub adapter: Option<Adapter>,
    /// Frozen parts: modules joined by `+` and `layers=N`, with a comma between.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub freeze: Option<Frozen>,
    /// Whether optimizer states stay on the devices.
    pub no_offload: bool,
    /// Whether the fastest plan is wanted where a simpler one is about as fast.
    pub fastest: bool,
    /// So many devices at least are not used: those that are least useful.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub spares: Option<u64>,
    /// A running plan of a training run, to go on from with its settings.
    pub replace: Option<PathBuf>,
    /// Devices, hosts or kinds of devices to plan without: of a running plan, those that it lost.
    pub lost: Vec<String>,
}

impl TrainingRequest {
    /// The first of its flags that was given.
    #[must_use]
    pub fn asks(&self) -> Option<&'static str> {
        let given = [
            ("--global-batch", self.global_batch.is_some()),
            ("--sequence-length", self.sequence_length.is_some()),
            ("--tokens-per-step", self.tokens_per_step.is_some()),
            ("--devices", self.devices.is_some()),
            ("--max-memory-per-device", self.max_memory_per_device.is_some()),
            ("--memory-margin", self.memory_margin.is_some()),
            ("--stack", self.stack.is_some()),
            ("--expert-skew", self.expert_skew.is_some()),
            ("--adapter", self.adapter.is_some()),
            ("--freeze", self.freeze.is_some()),
            ("--no-offload", self.no_offload),
            ("--spares", self.spares.is_some()),
            ("--replace", self.replace.is_some()),
            ("--lost", !self.lost.is_empty()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }
}

/// When a search stops, and what its choices may depend on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Limits {
    /// Wall-clock time.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub time_limit: Option<Duration>,
    /// Enough once value / bound - 1 is this small.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub gap: Option<f64>,
    /// Search nodes.
    pub node_budget: Option<u64>,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads; `None` = all cores.
    pub threads: Option<NonZeroUsize>,
    /// Whether nothing may depend on the clock.
    pub deterministic: bool,
}

impl Limits {
    /// As limits of a run that is watched; `usual` is its time where nobody states any.
    #[must_use]
    pub fn within(&self, watch: &Watch, usual: Option<Duration>) -> run::Limits {
        run::Limits {
            time: watch.left().or(usual),
            nodes: self.node_budget,
            gap: self.gap.unwrap_or(0.0),
            seed: self.seed,
            threads: self.threads.map_or(0, NonZeroUsize::get),
            deterministic: self.deterministic,
            is_usual_time: usual.is_some(),
            cancel: Arc::clone(&watch.cancel),
        }
    }
}

/// The recipe that tries others.
pub const AUTO: &str = "auto";

/// Power usage effectiveness of a site, 1 to 10.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pue(pub f64);

/// A plan that is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PlanRequest {
    /// The question; `None` = the one that the other fields ask.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub task: Option<Task>,
    /// ONNX, a graph, a config, or an instance with given costs.
    pub model: PathBuf,
    /// What is made of it.
    #[serde(flatten)]
    pub problem: ProblemRequest,
    /// A row of the registry, or a recipe of several; `None` = [`AUTO`].
    pub algorithm: Option<String>,
    /// What is minimised; `None` = the step time, or the instance's own.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub objective: Option<ObjectiveName>,
    /// Accelerators of an instance, in place of its file's.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU16>"))]
    pub accelerators: Option<usize>,
    /// When the search stops.
    #[serde(flatten)]
    pub limits: Limits,
    /// Whose limits are kept to.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub executor: Option<Executor>,
    /// Whether a plan for a server may leave out tensor, expert and data parallelism.
    pub pipeline_only: bool,
    /// Of a search over degrees.
    #[serde(flatten)]
    pub training: TrainingRequest,
    /// Of a placement of experts: what a step does; `None` = prefill.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub phase: Option<StepPhase>,
    /// Of experts: which of them each token of a run went to, line by line.
    pub routing_trace: Option<PathBuf>,
    /// Of nano-batches: tokens of each sample that are cached; `None` = none in prefill, those of a sample
    /// in decode.
    pub cached_tokens: Option<u64>,
    /// Of a step that serves: type of cached keys and values; `None` = as the checkpoint states, or that of the
    /// products.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub kv_dtype: Option<CacheType>,
    /// Of a pipeline that llama.cpp serves: the mixture of types that `llama-quantize` makes, such as `Q4_K_M`;
    /// `None` = as the model's file states.
    pub quantization: Option<String>,
    /// Of nano-batches: what ops do to each other on a device, line by line.
    pub interference: Option<PathBuf>,
    /// Of a fleet of serving workers.
    #[serde(flatten)]
    pub serving: ServingRequest,
    /// Power usage effectiveness of the site; `None` = 1.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub pue: Option<Pue>,
    /// Watts at the wall that are drawn at most.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub power_cap: Option<Watts>,
    /// Lossy gradient or activation compression, which changes the result. Gradients: `all`, or names such as
    /// `top-k`, each with `=DENSITY` to override the usual one. Activations between stages of a training run:
    /// `ada-top-k=DENSITY`.
    pub allow_lossy: Vec<String>,
    /// Formats in which the plan is wanted as well.
    #[serde(rename = "export")]
    pub exports: Vec<String>,
    /// Whether a picture of the search is wanted.
    pub plot: bool,
    /// Whether everything is listed.
    pub all: bool,
    /// Whether the plan file will state where its inputs are, so that other verbs find them.
    #[serde(skip)]
    pub states_inputs: bool,
}

impl PlanRequest {
    /// Whether a pipeline of llama.cpp is asked for: by its name, by a mixture of its types, or by a GGUF file
    /// where neither another server nor a flag of fleets is named.
    #[must_use]
    pub fn is_for_llama_cpp(&self) -> bool {
        let is_open = self.recipe() == AUTO && matches!(self.task, None | Some(task::Task::Infer));
        match self.executor {
            Some(executor) => {
                is_open && self.task.is_some() && executor.target() == exporters::serving::LLAMA_CPP
            }
            None => {
                let is_asked = self.quantization.is_some() || importers::gguf::is_file(&self.model);
                is_open && self.task.is_some() && is_asked && self.serving.asks().is_none()
            }
        }
    }

    /// All files that a run reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Path> {
        let mut all = self.problem.inputs(&self.model);
        if let Some(ExpertSkew::File(file)) = &self.training.expert_skew {
            all.push(file);
        }
        all.extend(self.routing_trace.as_deref());
        all.extend(self.interference.as_deref());
        all.extend(self.serving.requests.as_deref());
        all.extend(self.training.replace.as_deref());
        all
    }

    /// Whether its profile is a folder of measured layers.
    #[must_use]
    pub fn is_on_layers(&self) -> bool {
        self.problem.profile.as_deref().is_some_and(importers::layers::is_folder)
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &str {
        self.algorithm.as_deref().unwrap_or(AUTO)
    }
}

/// A plan that is put on its model again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ReplayRequest {
    /// What differs from what it was planned for.
    #[serde(flatten)]
    pub problem: ProblemRequest,
    /// Whether model, cluster and profile may have changed.
    pub allow_mismatch: bool,
    /// Whether everything is listed.
    pub all: bool,
}

/// A plan that is put on its model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PlanOnModel {
    /// The plan's file.
    pub plan: PathBuf,
    /// The model that it was made for.
    pub model: PathBuf,
    /// What it is put on.
    #[serde(flatten)]
    pub target: ReplayRequest,
}

/// A plan file that is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OpenRequest {
    /// The plan's file.
    pub plan: PathBuf,
    /// The model that it was made for; `None` = what the file alone says.
    pub model: Option<PathBuf>,
    /// What it was planned for besides.
    #[serde(flatten)]
    pub problem: ProblemRequest,
}

/// A plan that is checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct VerifyRequest {
    /// The plan on its model.
    #[serde(flatten)]
    pub on: PlanOnModel,
    /// The trace that offloaded experts were planned from: all is derived again.
    pub routing_trace: Option<PathBuf>,
}

/// A plan that is replayed, perhaps with other sizes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SimulateRequest {
    /// The plan on its model.
    #[serde(flatten)]
    pub on: PlanOnModel,
    /// Micro-batches of a replica in a step of a training run; `None` = as planned.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub micro_batches: Option<u64>,
    /// Requests that serving workers replay.
    pub requests: Option<PathBuf>,
}

/// A plan that is explained: the step as a whole, or one thing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ExplainRequest {
    /// The plan on its model.
    #[serde(flatten)]
    pub on: PlanOnModel,
    /// An op, by name.
    pub op: Option<String>,
    /// The transfers of a tensor, by its name.
    pub transfer: Option<String>,
    /// A device, by name.
    pub device: Option<String>,
    /// So many tasks of the critical path are listed, the longest; `None` = all.
    #[serde(with = "value")]
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU64>"))]
    pub longest: Option<u64>,
    /// Of a plan of streams, a layer by its position from 0.
    pub layer: Option<u32>,
    /// Of a training run, at which rate a boundary takes as long as a stage: at a share of the peak,
    /// such as `0.4` or `40%`, or `as-planned`.
    pub break_even: Option<String>,
    /// Of a training run, settings such as `tensor=8` that the plan is compared with: the fastest plan with
    /// all of them, and the terms of the difference.
    pub why_not: Vec<String>,
}

/// A plan that is wanted in another format.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ExportRequest {
    /// The plan on its model.
    #[serde(flatten)]
    pub on: PlanOnModel,
    /// The format, `name` or `name@version`.
    pub target: String,
    /// Who starts the plan: `torchrun`, `slurm` or `k8s`; all files that they need are written. Empty =
    /// one file in the format.
    pub launcher: Option<String>,
}

/// Two plans that are compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CompareRequest {
    /// A plan's file, or the current setup.
    pub a: PathBuf,
    /// A plan's file.
    pub b: PathBuf,
    /// The model that both were made for.
    pub model: Option<PathBuf>,
    /// What they are put on.
    #[serde(flatten)]
    pub target: ReplayRequest,
}

/// Measurements that a profile is fitted to.
#[derive(Clone, Debug)]
pub struct CalibrateRequest {
    /// CSV or JSON tables, samples of a profiler, Kineto traces.
    pub files: Vec<PathBuf>,
    /// Measured training steps.
    pub steps: Option<PathBuf>,
    /// Their software stack.
    pub stack: String,
    /// Their cluster.
    pub cluster: Option<PathBuf>,
    /// Numbers in which they sum and exchange gradients; `None` = those of the stack.
    pub gradients: Option<Gradients>,
    /// The one kind of device that all rows are of.
    pub kind: Option<String>,
    /// The profile that is extended.
    pub base: Option<PathBuf>,
    /// Where the profile goes.
    pub output: PathBuf,
    /// Whether a file there is replaced.
    pub force: bool,
    /// Whether every part is listed.
    pub all: bool,
}

/// A measurement of this machine.
#[derive(Clone, Debug)]
pub struct MeasureRequest {
    /// What is measured, and by what.
    pub engine: Engine,
    /// Name of the device kind.
    pub kind: Option<String>,
    /// Whether other programs may run.
    pub busy: Busy,
    /// Who holds the far end of the link.
    pub peer: Peer,
    /// Where the profile goes.
    pub output: PathBuf,
    /// Whether a file there is replaced.
    pub force: bool,
    /// A profile that is checked, in place of a new one.
    pub check: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
