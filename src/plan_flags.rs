//! Flags of a model, of a problem and of a plan.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use engine::request::element_type;
use engine::request::executor::Executor;
use engine::request::task::Task;
use engine::request::value::{Written, count, dimension, extent, positive};
use engine::request::{ModelRequest, ObjectiveName, PlanRequest, ProblemRequest};
use ir::tensor::DType;
use ir::workload::{Mode, Optimizer, StepPhase};

use crate::limit_flags::LimitFlags;
use crate::publisher::Follow;
use crate::serving_flags::ServingFlags;
use crate::training_flags::TrainingFlags;

/// How a model file is read.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ModelFlags {
    /// Extent of a named dimension
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dimension, help_heading = "Model")]
    pub(crate) dims: Vec<(String, u64)>,
    /// Samples of one step over all devices
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Model")]
    pub(crate) batch: Option<u64>,
    /// Samples in the model at once [default: the whole batch]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Model")]
    pub(crate) micro_batch: Option<u64>,
    /// Which axis of an input counts samples
    #[arg(long, value_name = "INPUT=AXIS", value_parser = extent, help_heading = "Model")]
    pub(crate) batch_axis: Vec<(String, u64)>,
    /// Compute type; replaces fp32 in the model
    #[arg(long, value_name = "TYPE", value_parser = element_type::named, help_heading = "Model")]
    pub(crate) dtype: Option<DType>,
    /// Do not fuse QuantizeLinear/DequantizeLinear pairs
    #[arg(long, help_heading = "Model")]
    pub(crate) qdq_as_written: bool,
    /// Profile of a run (Kineto) with durations of ops; may be repeated
    #[arg(long = "trace", value_name = "FILE", help_heading = "Model")]
    pub(crate) traces: Vec<PathBuf>,
}

/// What makes a planning problem out of a model.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ProblemFlags {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Cluster file, or FILE#NAME
    #[arg(long, value_name = "FILE", env = "MESHWRIGHT_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<PathBuf>,
    /// Profile, or folder of measured layers
    #[arg(long, value_name = "FILE", env = "MESHWRIGHT_PROFILE", hide_env_values = true)]
    pub(crate) profile: Option<PathBuf>,
    /// Measured costs: a CSV of op or module, seconds by kind, bytes
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub(crate) costs: Option<PathBuf>,
    /// inference or training [default: inference, or as planned]
    #[arg(long, value_parser = named(Mode::ALL, Mode::name), hide_possible_values = true)]
    pub(crate) workload: Option<Mode>,
    /// adamw, adamw-8bit, paged-adamw, lion, muon, .. [default: adamw, or as planned]
    #[arg(long, value_parser = named(Optimizer::ALL, Optimizer::name), hide_possible_values = true)]
    pub(crate) optimizer: Option<Optimizer>,
    /// Run these ops only there; in a training run FIELD=VALUE (tensor=8)
    #[arg(long, value_name = "PATTERN=DEVICE", help_heading = "Model")]
    pub(crate) pin: Vec<String>,
    /// Never run these ops there
    #[arg(long, value_name = "PATTERN=DEVICE", help_heading = "Model")]
    pub(crate) forbid: Vec<String>,
    /// Run all of these ops on one device
    #[arg(long, value_name = "PATTERN", help_heading = "Model")]
    pub(crate) colocate: Vec<String>,
    /// YAML file with pin, forbid and colocate
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub(crate) constraints: Option<PathBuf>,
    /// Scale a cluster value, e.g. memory=1.5, nvlink4=2
    #[arg(long, value_name = "NAME=FACTOR")]
    pub(crate) scale: Vec<String>,
    /// What stands on the command line, by its names in the parser.
    #[arg(skip)]
    pub(crate) given: Vec<String>,
}

impl ModelFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> ModelRequest {
        let Self { dims, batch, micro_batch, batch_axis, dtype, qdq_as_written, traces } =
            self.clone();
        ModelRequest { dims, batch, micro_batch, batch_axis, dtype, qdq_as_written, traces }
    }
}

impl ProblemFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> ProblemRequest {
        let flags = self.clone();
        ProblemRequest {
            lost: Vec::new(),
            without: Vec::new(),
            board_limit: None,
            margin: None,
            given: flags.given,
            model: flags.model.request(),
            cluster: flags.cluster,
            profile: flags.profile,
            costs: flags.costs,
            workload: flags.workload,
            optimizer: flags.optimizer,
            pin: flags.pin,
            forbid: flags.forbid,
            colocate: flags.colocate,
            constraints: flags.constraints,
            scale: flags.scale,
        }
    }
}

/// Flags of `train`, `place`, `infer`, `solve` and `plan`; which of them a verb honours, its task says.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    /// The question, where the verb states it.
    #[arg(skip)]
    pub(crate) task: Option<Task>,
    /// Model of any format of docs/formats.md, or a folder with a config.json
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) problem: ProblemFlags,
    /// Algorithm or recipe, such as m-etf or fuse,m-sct
    #[arg(long, value_name = "NAME", default_value = "auto", env = "MESHWRIGHT_ALGORITHM")]
    #[arg(hide_env = true, help_heading = "Search")]
    pub(crate) algorithm: String,
    /// What is optimized [default: step-time, or throughput of inference]
    #[arg(long, value_parser = named(ObjectiveName::all(), ObjectiveName::name))]
    #[arg(help_heading = "Search", hide_possible_values = true)]
    pub(crate) objective: Option<ObjectiveName>,
    /// Override the instance's accelerator count
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub(crate) accelerators: Option<usize>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    /// Limit to what an executor runs, such as megatron; or any
    #[arg(long = "for", value_name = "EXECUTOR", help_heading = "Search")]
    #[arg(value_parser = <Executor as Written>::read)]
    pub(crate) executor: Option<Executor>,
    /// Allow plans of pipeline parallelism only, with --for vllm or sglang
    #[arg(long, help_heading = "Search")]
    pub(crate) pipeline_only: bool,
    /// Write the plan
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// Follow the search: bar, lines (one per better plan) or none
    #[arg(long, value_name = "HOW", value_enum, default_value = "bar", help_heading = "Output")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) progress: Follow,
    /// Draw plan and bound over the time of the search, as SVG
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) plot: Option<PathBuf>,
    /// Write a page that shows the plan: one file, which needs no service
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// Write another format too, such as trace=t.json
    #[arg(long, value_name = "TARGET=FILE", help_heading = "Output")]
    pub(crate) export: Vec<String>,
    /// Overwrite files that exist
    #[arg(long, help_heading = "Output")]
    pub(crate) force: bool,
    /// List everything, however long
    #[arg(long, help_heading = "Output")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) training: TrainingFlags,
    /// training, prefill or decode
    #[arg(long, value_parser = named(StepPhase::ALL, StepPhase::name), hide_possible_values = true)]
    #[arg(value_name = "PHASE", help_heading = "Search")]
    pub(crate) phase: Option<StepPhase>,
    /// Routed tokens of a run by expert, as lines of JSON
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub(crate) routing_trace: Option<PathBuf>,
    /// Cached tokens of each sequence in an inference step
    #[arg(long = "cached", value_name = "N", help_heading = "Search")]
    pub(crate) cached_tokens: Option<u64>,
    /// Slowdown of ops that run side by side, as CSV
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub(crate) interference: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serving: ServingFlags,
}

impl PlanArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> PlanRequest {
        PlanRequest {
            task: self.task,
            model: self.model.clone(),
            problem: self.problem.request(),
            algorithm: Some(self.algorithm.clone()),
            objective: self.objective,
            accelerators: self.accelerators,
            limits: self.limits.request(),
            executor: self.executor,
            pipeline_only: self.pipeline_only,
            training: self.training.request(),
            phase: self.phase,
            routing_trace: self.routing_trace.clone(),
            cached_tokens: self.cached_tokens,
            kv_dtype: self.limits.kv_dtype,
            quantization: self.limits.quantization.clone(),
            interference: self.interference.clone(),
            serving: self.serving.request(),
            pue: self.limits.pue,
            power_cap: self.limits.power_cap,
            allow_lossy: self.limits.allow_lossy.clone(),
            exports: Vec::new(),
            plot: self.plot.is_some(),
            all: self.all,
            states_inputs: false,
        }
    }
}

/// A parser of what is named from a list.
fn named<T: Copy + Send + Sync + 'static>(
    known: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let known: Vec<T> = known.into_iter().collect();
    let names: Vec<&str> = known.iter().map(|value| name(*value)).collect();
    PossibleValuesParser::new(names).try_map(move |text| {
        known.iter().copied().find(|value| name(*value) == text).ok_or("is not one of the names")
    })
}
