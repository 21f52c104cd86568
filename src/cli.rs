//! The flags: what can be said on the command line, and nothing of what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use engine::request::value::positive;
use engine::request::{
    CompareRequest, ExplainRequest, ExportRequest, ImportRequest, PlanOnModel, ReplayRequest,
    SimulateRequest, VerifyRequest,
};
use ir::diagnostic::Diagnostic;

use crate::client_flags::JobsArgs;
use crate::listing_flags::{ClusterArgs, CompletionsArgs, DevicesArgs};
use crate::measure_flags::{CalibrateArgs, LoopbackArgs, ProfileArgs, ValidateArgs};
use crate::plan_flags::{ModelFlags, PlanArgs, ProblemFlags};
use crate::plan_inputs;
use crate::service_flags::{
    BackupArgs, ReplanArgs, RequestArgs, ServeArgs, TokenArgs, ViewArgs, WorkerArgs,
};
use crate::submit_flags::Submission;
use crate::version::VERSION;

/// Plans how large models are trained, placed and served, and proves how far from optimal a plan can be
#[derive(Debug, Parser)]
#[command(name = "meshwright", version = VERSION, max_term_width = 100)]
#[command(infer_subcommands = false)]
#[command(
    after_help = "Example: meshwright train config.json --cluster cluster.yaml --global-batch 512 -o plan.json\n\
    Exit codes: 0 done, 1 internal error, 2 usage, 3 bad input, 4 infeasible, 5 no plan found,\n\
    6 illegal plan, 10 plans differ, 130 interrupted"
)]
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
    /// Plan a training run (nothing is started): parallelism, schedule, recomputation, sharding
    #[command(
        after_help = "Examples:\n  meshwright train config.json --cluster pod.yaml --global-batch 512 \\\n      \
        --for megatron -o plan.json --export megatron=run.args\n  \
        meshwright train config.json --cluster pod.yaml --tokens-per-step 4194304 \\\n      \
        --sequence-length 8192 --pin tensor=8 -o plan.json"
    )]
    Train(Box<PlanArgs>),
    /// Place the operators of a model on devices (nothing is started)
    #[command(
        after_help = "Examples:\n  meshwright place gpt2.onnx --cluster pod.yaml --batch 8 --for accelerate\n  \
        meshwright place gpt2.onnx --cluster pod.yaml --workload training --batch 64 \\\n      \
        --objective max-load --algorithm milp -o plan.json"
    )]
    Place(Box<PlanArgs>),
    /// Plan inference (nothing is started): serving workers, experts, pipelines
    #[command(
        after_help = "Examples:\n  meshwright infer config.json --cluster pod.yaml --rate 50 \\\n      \
        --input-tokens 4000 --output-tokens 1000 --ttft 2s --tpot 30ms -o plan.json\n  \
        meshwright infer config.json --cluster pod.yaml --phase decode --batch 256 \\\n      \
        --expert-skew routed.json --algorithm 'expert-placement(slots=36)'"
    )]
    Infer(Box<PlanArgs>),
    /// Solve an instance whose file states all costs (no model, no cluster)
    #[command(
        after_help = "Examples:\n  meshwright solve bert.json.gz --accelerators 8 -o solution.json\n  \
        meshwright solve bert.json.gz --objective latency --time-limit 60s"
    )]
    Solve(Box<PlanArgs>),
    /// Deprecated: guesses which of train, place, infer and solve is meant
    #[command(after_help = "Example: meshwright plan gpt2.onnx --cluster pod.yaml -o plan.json")]
    Plan(Box<PlanArgs>),
    /// Have a service plan: `submit train`, `place`, `infer` or `solve` (docs/service.md)
    #[command(after_help = "Example: meshwright submit place gpt2.onnx --cluster pod.yaml \
        --server http://plans:8080 -o plan.json --force --fallback last")]
    Submit(Box<Submission>),
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
    /// List which ops of a model have a cost rule, or a sharding rule
    #[command(after_help = "Example: meshwright support gpt2.onnx")]
    Support(SupportArgs),
    /// Replay a plan and report times and memory
    #[command(after_help = "Example: meshwright simulate plan.json")]
    Simulate(SimulateArgs),
    /// Check a plan against every rule; exit code 6 if it breaks one
    #[command(after_help = "Example: meshwright verify plan.json")]
    Verify(VerifyArgs),
    /// Say where the step time goes; trace every number of an op, a transfer or a device
    #[command(after_help = "Examples:\n  meshwright explain plan.json --op layer_norm\n  \
        meshwright explain plan.json --why-not tensor=8")]
    Explain(ExplainArgs),
    /// Compare two plans; exit code 10 if they differ
    #[command(after_help = "Example: meshwright compare a.json b.json")]
    Compare(CompareArgs),
    /// Write a plan in an executor's format
    #[command(after_help = "Example: meshwright export plan.json --target trace -o trace.json")]
    Export(ExportArgs),
    /// List the algorithms
    #[command(after_help = "Example: meshwright algorithms")]
    Algorithms,
    /// List the devices and links that cluster files can name
    #[command(after_help = "Example: meshwright devices --links")]
    Devices(DevicesArgs),
    /// Start a cluster file from what machines print; what they do not say is left blank
    #[command(
        after_help = "Example: meshwright cluster --from topo.txt --from hostfile > cluster.yaml"
    )]
    Cluster(ClusterArgs),
    /// Measure this machine and write a profile for `--profile`
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
    #[command(after_help = "Example: meshwright view plan.json")]
    View(ViewArgs),
    /// Make plans for servers on other machines that share a PostgreSQL
    #[command(after_help = "Example: meshwright worker --database postgres://plans@db.local/plans")]
    Worker(WorkerArgs),
    /// Plan all that a service has planned again: what this version makes better or worse
    #[command(after_help = "Example: meshwright replan --database plans.db\n\
        Exit code 10 if a plan became worse, 6 if a stored plan breaks a rule")]
    Replan(ReplanArgs),
    /// Make a token for a service (printed once), list tokens, revoke them
    #[command(
        after_help = "Examples:\n  meshwright token launcher --scope plan --database plans.db\n  \
        meshwright token --list --database plans.db\n  \
        meshwright token --revoke launcher --database plans.db"
    )]
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

/// Flags of `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    all: ReadArgs,
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

/// Flags of `support`.
#[derive(Args, Debug)]
pub(crate) struct SupportArgs {
    #[command(flatten)]
    all: ReadArgs,
    /// List the sharding rules of a .pt2 model's ops instead
    #[arg(long)]
    pub(crate) sharding: bool,
}

impl SupportArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ImportRequest {
        ImportRequest { sharding: self.sharding, ..self.all.request() }
    }
}

/// Flags of `import` and `support`.
#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    /// Model file, or - for standard input; `import --help` and docs/formats.md list the formats
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) flags: ModelFlags,
    /// List everything, however long
    #[arg(long)]
    pub(crate) all: bool,
}

impl ReadArgs {
    /// What they ask for.
    fn request(&self) -> ImportRequest {
        let (model, flags) = (self.model.clone(), self.flags.request());
        ImportRequest { model, flags, all: self.all, ..Default::default() }
    }
}

/// Flags of `verify`, and part of those of `simulate`, `explain` and `export`.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Plan file
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The model that the plan was made for [default: where it was, as the plan states]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) target: ReplayFlags,
}

/// Flags of `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
    /// The trace that offloaded experts were planned from: all is derived again
    #[arg(long, value_name = "FILE")]
    routing_trace: Option<PathBuf>,
}

impl VerifyArgs {
    /// What they ask for.
    ///
    /// # Errors
    /// Those of [`ReplayArgs::request`].
    pub(crate) fn request(&self) -> Result<VerifyRequest, Diagnostic> {
        let on = self.replay.request()?;
        Ok(VerifyRequest { on, routing_trace: self.routing_trace.clone() })
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
    /// Arrivals and lengths of requests that serving workers replay, as CSV
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
}

impl SimulateArgs {
    /// What they ask for.
    ///
    /// # Errors
    /// Those of [`ReplayArgs::request`].
    pub(crate) fn request(&self) -> Result<SimulateRequest, Diagnostic> {
        let Self { replay, micro_batches, requests } = self;
        let (micro_batches, requests) = (*micro_batches, requests.clone());
        Ok(SimulateRequest { on: replay.request()?, micro_batches, requests })
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
    ///
    /// # Errors
    /// Those of [`plan_inputs::on`].
    pub(crate) fn request(&self) -> Result<PlanOnModel, Diagnostic> {
        plan_inputs::on(&self.plan, self.model.as_deref(), self.target.request())
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
    /// Compare a training run with the fastest plan that has this setting, such as tensor=8 or
    /// recompute=none: step and memory, term by term; several: all of them
    #[arg(long, value_name = "FIELD=VALUE")]
    #[arg(conflicts_with_all = ["op", "transfer", "device", "longest", "layer", "break_even"])]
    pub(crate) why_not: Vec<String>,
}

impl ExplainArgs {
    /// What they ask for.
    ///
    /// # Errors
    /// Those of [`ReplayArgs::request`].
    pub(crate) fn request(&self) -> Result<ExplainRequest, Diagnostic> {
        let Self { replay, op, transfer, device, longest, layer, break_even, why_not } = self;
        let (op, transfer, device) = (op.clone(), transfer.clone(), device.clone());
        let (longest, layer, break_even) = (*longest, *layer, break_even.clone());
        let (on, why_not) = (replay.request()?, why_not.clone());
        Ok(ExplainRequest { on, op, transfer, device, longest, layer, break_even, why_not })
    }
}

/// Flags of `compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Plan file, or the current setup: flags, script or recipe of a launcher, DeepSpeed JSON, a device map
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Plan file, or how A ran: what `Run.measure` of meshwright.torch wrote
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// The model that both were made for; says where the difference comes from [default: where it was,
    /// as both plans state]
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
    ///
    /// # Errors
    /// Those of [`ReplayArgs::request`].
    pub(crate) fn request(&self) -> Result<ExportRequest, Diagnostic> {
        let torchrun = || "torchrun".to_owned();
        let launcher = self.to.as_ref().map(|_| self.launcher.clone().unwrap_or_else(torchrun));
        Ok(ExportRequest { on: self.replay.request()?, target: self.target.clone(), launcher })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
