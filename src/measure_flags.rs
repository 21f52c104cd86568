//! Flags of the verbs that measure and that judge the cost model.

use std::ffi::OsString;
use std::path::PathBuf;

use accuracy::ValidateRequest;
use clap::{ArgGroup, Args, ValueEnum};
use engine::request::{CalibrateRequest, Gradients, MeasureRequest};
use engine::tools::measure::{Busy, Clock, Engine, Peer};

/// Flags of `profile`.
#[derive(Args, Debug)]
pub(crate) struct ProfileArgs {
    /// What is measured: host, torch or cuda
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) backend: BackendName,
    /// Name of the device kind in the profile, as cluster files call it
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Option<String>,
    /// Python interpreter that can import torch
    #[arg(long, value_name = "FILE", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Measure although other programs are running
    #[arg(long)]
    pub(crate) busy: bool,
    /// Where the profile goes
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub(crate) output: PathBuf,
    /// Write nothing: measure 30 other products and say how well this profile predicts them
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["output", "force"])]
    pub(crate) check: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl ProfileArgs {
    /// What they ask for, of the program that the words `again` start.
    pub(crate) fn request(&self, again: &[OsString]) -> MeasureRequest {
        let engine = match self.backend {
            BackendName::Host => Engine::Host,
            BackendName::Torch => {
                Engine::Torch { python: self.python.clone(), script: None, clock: Clock::Wall }
            }
            BackendName::Cuda => Engine::Cuda { device: 0 },
        };
        let peer = match again.split_first() {
            Some((program, rest)) => {
                let rest = rest.iter().map(|word| word.to_string_lossy().into_owned());
                let arguments = rest.chain(["answer-loopback".to_owned()]).collect();
                Peer::Process { program: program.into(), arguments }
            }
            None => Peer::Thread,
        };
        MeasureRequest {
            engine,
            kind: self.kind.clone(),
            busy: if self.busy { Busy::Allowed } else { Busy::Refused },
            peer,
            output: self.output.clone(),
            force: self.force,
            check: self.check.clone(),
        }
    }
}

/// Flags of `calibrate`.
#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// Measurements: CSV or JSON tables, samples of a profiler, Kineto traces
    #[arg(value_name = "FILE", required_unless_present = "steps")]
    pub(crate) files: Vec<PathBuf>,
    /// Measured training steps (CSV of docs/data.md): corrects the constants of a software stack
    #[arg(long, value_name = "CSV")]
    pub(crate) steps: Option<PathBuf>,
    /// Software stack of the steps
    #[arg(
        long,
        value_name = "NAME",
        default_value = engine::inputs::run::setting::STACK,
        requires = "steps"
    )]
    pub(crate) stack: String,
    /// Cluster of the steps; without one, hosts of eight A100 with 22.5 GB/s of network each
    #[arg(long, value_name = "CLUSTER", requires = "steps")]
    pub(crate) cluster: Option<PathBuf>,
    /// Numbers in which the steps sum and exchange gradients: half or full; without it, those of the
    /// stack
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "NUMBERS",
        requires = "steps"
    )]
    pub(crate) gradients: Option<GradientName>,
    /// The one kind of device that all rows are of, as cluster files call it
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Option<String>,
    /// Profile to extend; its constants are the nominal ones
    #[arg(long, value_name = "PROFILE")]
    pub(crate) base: Option<PathBuf>,
    /// Where the profile goes
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub(crate) output: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// List every part
    #[arg(long)]
    pub(crate) all: bool,
}

impl CalibrateArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> CalibrateRequest {
        CalibrateRequest {
            files: self.files.clone(),
            steps: self.steps.clone(),
            stack: self.stack.clone(),
            cluster: self.cluster.clone(),
            gradients: self.gradients.map(|name| match name {
                GradientName::Half => Gradients::Half,
                GradientName::Full => Gradients::Full,
            }),
            kind: self.kind.clone(),
            base: self.base.clone(),
            output: self.output.clone(),
            force: self.force,
            all: self.all,
        }
    }
}

/// Numbers of gradients by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GradientName {
    /// 16 bits.
    Half,
    /// 32 bits.
    Full,
}

/// Backends by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    #[default]
    Host,
    Torch,
    Cuda,
}

/// Flags of the hidden verb that holds the far end of the loopback link.
#[derive(Args, Debug)]
pub(crate) struct LoopbackArgs {
    /// Port of the near end on 127.0.0.1
    pub(crate) port: u16,
}

/// Flags of `validate`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("files").args(["output", "rows"]).multiple(true))]
pub(crate) struct ValidateArgs {
    /// Folder with the tables of docs/data.md (`measurements/*.csv`, `steptimes/*.csv`)
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Judge load tests of servers too (aiconfigurator's `silicon_sample.csv`)
    #[arg(long, value_name = "FILE")]
    pub(crate) load_tests: Option<PathBuf>,
    /// Print the worst row, other models and a note of each line as well
    #[arg(long)]
    pub(crate) detail: bool,
    /// Print the accuracy page (docs/accuracy.md) instead
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Write the page to a file
    #[arg(short, long, value_name = "FILE", requires = "markdown")]
    pub(crate) output: Option<PathBuf>,
    /// Write predicted and measured values of each run to a CSV file (docs/accuracy.csv)
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long, requires = "files")]
    pub(crate) force: bool,
}

impl ValidateArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> ValidateRequest {
        ValidateRequest {
            folder: self.folder.clone(),
            load_tests: self.load_tests.clone(),
            detail: self.detail,
            markdown: self.markdown,
            rows: self.rows.clone(),
            output: self.output.clone(),
            force: self.force,
        }
    }
}
