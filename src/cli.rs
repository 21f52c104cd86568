//! The flags: what can be said on the command line, and nothing of what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use engine::request::element_type;
use engine::request::executor::Executor;
use engine::request::{
    CompareRequest, ExplainRequest, ExportRequest, ImportRequest, ModelRequest, ObjectiveName,
    PlanOnModel, PlanRequest, ProblemRequest, ReplayRequest, SimulateRequest, VerifyRequest,
};
use ir::tensor::DType;
use ir::workload::{Mode, Optimizer, StepPhase};

use crate::client_flags::{Fallback, JobsArgs, ServerFlags};
use crate::limit_flags::LimitFlags;
use crate::listing_flags::{CompletionsArgs, DevicesArgs};
use crate::measure_flags::{CalibrateArgs, LoopbackArgs, ProfileArgs, ValidateArgs};
use crate::publisher::Follow;
use crate::service_flags::{
    BackupArgs, ReplanArgs, RequestArgs, ServeArgs, TokenArgs, ViewArgs, WorkerArgs,
};
use crate::training_flags::TrainingFlags;
use crate::version::VERSION;
use engine::request::value::{Written, count, dimension, duration, extent, positive};

/// Plans where and how large models run, and says how far from optimal the plan can be
#[derive(Debug, Parser)]
#[command(name = "meshwright", version = VERSION, max_term_width = 100)]
#[command(infer_subcommands = false)]
#[command(after_help = "Example: meshwright plan model.onnx --cluster cluster.yaml -o plan.json\n\
    Exit codes: 0 done, 1 our fault, 2 usage, 3 bad input, 4 infeasible, 5 no plan found,\n\
    6 illegal plan, 10 plans differ, 130 interrupted")]
pub(crate) struct Cli {
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan a model on a cluster (which flag goes with what: docs/plan-flags.md)
    #[command(after_help = "Example: meshwright plan gpt2.onnx --cluster pod.yaml \
        --batch 64 -o plan.json\n\
        Training run: meshwright plan config.json --cluster pod.yaml --global-batch 512 --for megatron")]
    Plan(Box<PlanArgs>),
    /// Have a service plan a model: as `plan`, with its flags (docs/service.md)
    #[command(after_help = "Example: meshwright submit gpt2.onnx --cluster pod.yaml \
        --server http://plans:8080 -o plan.json --force --fallback last")]
    Submit(Box<SubmitArgs>),
    /// List, follow and cancel the plans of a service
    #[command(after_help = "Example: meshwright jobs --server http://plans:8080 --state running")]
    Jobs(JobsArgs),
    /// Show what is understood of a model: ops, FLOPs, bytes, warnings
    #[command(after_help = format!(
        "Example: meshwright import gpt2.onnx --dim sequence=128 --batch 4\n\
        Formats, told by content:\n{}",
        engine::tools::import::formats()
    ))]
    Import(ImportArgs),
    /// Say which ops of a model have a cost rule, before any solve
    #[command(after_help = "Example: meshwright support gpt2.onnx")]
    Support(SupportArgs),
    /// Replay a plan and report times and memory
    #[command(
        after_help = "Example: meshwright simulate plan.json --model gpt2.onnx --cluster two-nodes.yaml"
    )]
    Simulate(SimulateArgs),
    /// Check a plan against every rule; exit code 6 if it breaks one
    #[command(
        after_help = "Example: meshwright verify plan.json --model gpt2.onnx --cluster two-nodes.yaml"
    )]
    Verify(VerifyArgs),
    /// Say where the step time goes; trace every number of an op, a transfer or a device
    #[command(after_help = "Example: meshwright explain plan.json --model gpt2.onnx \
        --cluster two-nodes.yaml --op layer_norm")]
    Explain(ExplainArgs),
    /// Compare two plans; exit code 10 if they differ
    #[command(
        after_help = "Example: meshwright compare a.json b.json --model gpt2.onnx --cluster two-nodes.yaml"
    )]
    Compare(CompareArgs),
    /// Write a plan in an executor's format
    #[command(after_help = "Example: meshwright export plan.json --model gpt2.onnx \
        --cluster two-nodes.yaml --target trace -o trace.json")]
    Export(ExportArgs),
    /// List the algorithms
    #[command(after_help = "Example: meshwright algorithms")]
    Algorithms,
    /// List the devices and links that cluster files can name
    #[command(after_help = "Example: meshwright devices --links")]
    Devices(DevicesArgs),
    /// Measure this machine and write a profile for `plan --profile`
    #[command(after_help = "Example: meshwright profile --backend host -o profile.json")]
    Profile(ProfileArgs),
    /// Fit a profile to measured kernels, transfers, collectives and training steps
    #[command(
        after_help = "Example: meshwright calibrate gemm.csv nccl.csv --kind a100_sxm4_80gb \
        -o profile.json\n         meshwright calibrate --steps measured.csv --cluster cluster.yaml \
        -o profile.json\nFiles: CSV or JSON tables (docs/data.md), Kineto traces; names of columns end \
        with units"
    )]
    Calibrate(CalibrateArgs),
    /// Judge the cost model on published measurements (docs/data.md)
    #[command(after_help = "Example: meshwright validate data")]
    Validate(ValidateArgs),
    /// Plan for others: a queue of requests over HTTP (docs/service.md)
    #[command(after_help = "Example: meshwright serve --listen 127.0.0.1:8080")]
    Serve(ServeArgs),
    /// Show a plan file in the browser, from a service of its own that leaves nothing behind
    #[command(after_help = "Example: meshwright view plan.json --model gpt2.onnx \
        --cluster two-nodes.yaml")]
    View(ViewArgs),
    /// Make plans for servers on other machines that share a PostgreSQL
    #[command(after_help = "Example: meshwright worker --database postgres://plans@db.local/plans")]
    Worker(WorkerArgs),
    /// Plan all that a service has planned again: what this version makes better or worse
    #[command(after_help = "Example: meshwright replan --database plans.db\n\
        Exit code 10 if a plan became worse, 6 if a stored plan breaks a rule")]
    Replan(ReplanArgs),
    /// Make a token for a service; it is printed once
    #[command(after_help = "Example: meshwright token launcher --scope plan --database plans.db")]
    Token(TokenArgs),
    /// Back up the database of a service, which may go on running
    #[command(after_help = "Example: meshwright backup plans-monday.db --database plans.db\n\
        `meshwright serve --database plans-monday.db` serves the copy")]
    Backup(BackupArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example: meshwright completions bash > meshwright.bash")]
    Completions(CompletionsArgs),
    /// Run the request on stdin, and tell of it as JSON lines
    #[command(hide = true, name = "run-request")]
    RunRequest(RequestArgs),
    /// Hold the far end of the link that `profile` measures
    #[command(hide = true, name = "answer-loopback")]
    AnswerLoopback(LoopbackArgs),
}

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
    /// Float type that replaces the wide floats of the file
    #[arg(long, value_name = "TYPE", value_parser = element_type::named, help_heading = "Model")]
    pub(crate) dtype: Option<DType>,
    /// Price QuantizeLinear and DequantizeLinear as they stand
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
    /// inference or training [default: inference, or as planned]
    #[arg(long, value_parser = named(Mode::ALL, Mode::name), hide_possible_values = true)]
    pub(crate) workload: Option<Mode>,
    /// adamw, sgd or adafactor [default: adamw, or as planned]
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
    /// Times the file's: memory, power, links, or a way such as nvlink4
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
        let own = self.clone();
        ProblemRequest {
            lost: Vec::new(),
            without: Vec::new(),
            board_limit: None,
            margin: None,
            given: own.given,
            model: own.model.request(),
            cluster: own.cluster,
            profile: own.profile,
            workload: own.workload,
            optimizer: own.optimizer,
            pin: own.pin,
            forbid: own.forbid,
            colocate: own.colocate,
            constraints: own.constraints,
            scale: own.scale,
        }
    }
}

/// Flags of `plan`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    /// Model of any format of docs/formats.md, or a folder with a config.json
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) problem: ProblemFlags,
    /// Algorithm or recipe, such as m-etf or fuse,m-sct
    #[arg(long, value_name = "NAME", default_value = "auto", env = "MESHWRIGHT_ALGORITHM")]
    #[arg(hide_env = true, help_heading = "Search")]
    pub(crate) algorithm: String,
    /// What is optimised [default: step-time, serving: throughput]
    #[arg(long, value_parser = named(ObjectiveName::all(), ObjectiveName::name))]
    #[arg(help_heading = "Search", hide_possible_values = true)]
    pub(crate) objective: Option<ObjectiveName>,
    /// Accelerators of an instance, not its file's
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub(crate) accelerators: Option<usize>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    /// Keep to what an executor can run, such as megatron, or any
    #[arg(long = "for", value_name = "EXECUTOR", help_heading = "Search")]
    #[arg(value_parser = <Executor as Written>::read)]
    pub(crate) executor: Option<Executor>,
    /// Accept pipeline parallelism alone, with --for vllm or sglang
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
    /// training, prefill or decode: of experts, streams, a serving pipeline
    #[arg(long, value_parser = named(StepPhase::ALL, StepPhase::name), hide_possible_values = true)]
    #[arg(value_name = "PHASE", help_heading = "Search")]
    pub(crate) phase: Option<StepPhase>,
    /// Of experts: where each token of a run went, as lines of JSON
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub(crate) routing_trace: Option<PathBuf>,
    /// Of a serving step: tokens of each sample that are cached
    #[arg(long = "cached", value_name = "N", help_heading = "Search")]
    pub(crate) cached_tokens: Option<u64>,
    /// Of a serving step: what ops do to each other, as lines of CSV
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub(crate) interference: Option<PathBuf>,
}

impl PlanArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> PlanRequest {
        PlanRequest {
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
            interference: self.interference.clone(),
            pue: self.limits.pue,
            power_cap: self.limits.power_cap,
            allow_lossy: self.limits.allow_lossy.clone(),
            exports: Vec::new(),
            plot: self.plot.is_some(),
            all: self.all,
        }
    }
}

/// Flags of `submit`: those of `plan`, and how the service is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// 0 to 9; higher ones are planned first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Service")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(crate) priority: u8,
    /// Longest that the run takes before the fallback, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    #[arg(help_heading = "Service")]
    pub(crate) wait: Duration,
    /// Where the service gives no answer: fail, last (keep the plan of -o if it is legal), or
    /// heuristic (a quick plan, made here)
    #[arg(long, value_name = "HOW", value_enum, default_value = "fail", help_heading = "Service")]
    #[arg(hide_possible_values = true)]
    pub(crate) fallback: Fallback,
    /// Have it planned anew, even where the service has the answer
    #[arg(long, help_heading = "Service")]
    pub(crate) no_cache: bool,
}

/// Flags of `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    all: SupportArgs,
    /// List the modules with their parameters and work
    #[arg(long)]
    pub(crate) tree: bool,
}

impl ImportArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ImportRequest {
        ImportRequest { tree: self.tree, ..self.all.request() }
    }
}

/// Flags of `support`, and part of those of `import`.
#[derive(Args, Debug)]
pub(crate) struct SupportArgs {
    /// Model file, or - for standard input; `import --help` and docs/formats.md list the formats
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) flags: ModelFlags,
    /// List everything, however long
    #[arg(long)]
    pub(crate) all: bool,
}

impl SupportArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ImportRequest {
        let (model, flags) = (self.model.clone(), self.flags.request());
        ImportRequest { model, flags, all: self.all, tree: false }
    }
}

/// Flags of `verify`, and part of those of `simulate`, `explain` and `export`.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Plan file
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The model that the plan was made for
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) target: ReplayFlags,
}

/// Flags of `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
    /// The trace that experts in slots were planned from: all is derived again
    #[arg(long, value_name = "FILE")]
    routing_trace: Option<PathBuf>,
}

impl VerifyArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> VerifyRequest {
        VerifyRequest { on: self.replay.request(), routing_trace: self.routing_trace.clone() }
    }
}

/// Flags of `simulate`.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
    /// Micro-batches of a replica in a step of a training run [default: as planned]
    #[arg(long, value_name = "N", value_parser = positive)]
    micro_batches: Option<u64>,
}

impl SimulateArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> SimulateRequest {
        SimulateRequest { on: self.replay.request(), micro_batches: self.micro_batches }
    }
}

/// What a plan is replayed on.
#[derive(Args, Debug)]
pub(crate) struct ReplayFlags {
    #[command(flatten)]
    pub(crate) problem: ProblemFlags,
    /// Go on where model or cluster changed since the plan was made
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
    /// List everything, however long
    #[arg(long)]
    pub(crate) all: bool,
}

impl ReplayArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> PlanOnModel {
        let Self { plan, model, target } = self;
        PlanOnModel { plan: plan.clone(), model: model.clone(), target: target.request() }
    }
}

impl ReplayFlags {
    /// What they ask for.
    pub(crate) fn request(&self) -> ReplayRequest {
        ReplayRequest {
            problem: self.problem.request(),
            allow_mismatch: self.allow_mismatch,
            all: self.all,
        }
    }
}

/// Flags of `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
    /// Why this op takes as long as it does, and why it runs where and when it does
    #[arg(long, value_name = "NAME")]
    pub(crate) op: Option<String>,
    /// Why the transfers of this tensor take as long as they do
    #[arg(long, value_name = "TENSOR", conflicts_with = "op")]
    pub(crate) transfer: Option<String>,
    /// What this device does, and what its memory holds at the peak
    #[arg(long, value_name = "NAME", conflicts_with_all = ["op", "transfer"])]
    pub(crate) device: Option<String>,
    /// List the longest N ops and transfers of the critical path; --json lists all unless stated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["op", "transfer", "device"])]
    pub(crate) longest: Option<u64>,
    /// When each piece of this layer runs, by its position from 0, in a plan of streams
    #[arg(long, value_name = "N", conflicts_with_all = ["op", "transfer", "device", "longest"])]
    pub(crate) layer: Option<u32>,
    /// At which rate a boundary between stages takes as long as a stage, at this share of the peak
    /// (as planned unless stated), and how many devices of a kind equal one of another
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "as-planned")]
    #[arg(conflicts_with_all = ["op", "transfer", "device", "longest", "layer"])]
    pub(crate) break_even: Option<String>,
}

impl ExplainArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ExplainRequest {
        let Self { replay, op, transfer, device, longest, layer, break_even } = self;
        let (op, transfer, device) = (op.clone(), transfer.clone(), device.clone());
        let (longest, layer, break_even) = (*longest, *layer, break_even.clone());
        ExplainRequest { on: replay.request(), op, transfer, device, longest, layer, break_even }
    }
}

/// Flags of `compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Plan file, or what runs now: Megatron or torchtitan flags, DeepSpeed JSON, a device map
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Plan file, or how A ran: what `Run.measure` of meshwright.torch wrote
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// The model that both were made for; says where the difference comes from
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) target: ReplayFlags,
}

impl CompareArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> CompareRequest {
        let Self { a, b, model, target } = self;
        let target = target.request();
        CompareRequest { a: a.clone(), b: b.clone(), model: model.clone(), target }
    }
}

/// Flags of `export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
    /// Format to write, for a version of its consumer as NAME@VERSION
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: String,
    /// File to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "to")]
    pub(crate) output: Option<PathBuf>,
    /// Folder to write: all files that start the plan
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(crate) to: Option<PathBuf>,
    /// Who starts it: torchrun, slurm or k8s [default: torchrun]
    #[arg(long, value_name = "NAME", requires = "to", conflicts_with = "output")]
    pub(crate) launcher: Option<String>,
    /// Overwrite what exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl ExportArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ExportRequest {
        let torchrun = || "torchrun".to_owned();
        let launcher = self.to.as_ref().map(|_| self.launcher.clone().unwrap_or_else(torchrun));
        ExportRequest { on: self.replay.request(), target: self.target.clone(), launcher }
    }
}

/// A parser of what is named from a list.
fn named<T: Copy + Send + Sync + 'static>(
    known: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let known: Vec<T> = known.into_iter().collect();
    let names: Vec<&str> = known.iter().map(|own| name(*own)).collect();
    PossibleValuesParser::new(names).try_map(move |text| {
        known.iter().copied().find(|own| name(*own) == text).ok_or("is not one of the names")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
