//! Flags of the planning service.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use engine::request::value::{Written, duration};
use engine::request::{OpenRequest, ProblemRequest};
use ir::diagnostic::Diagnostic;
use ir::units::Bytes;
use web::{Limits, Place, Quota, Scope};

fn bytes(text: &str) -> Result<u64, String> {
    <Bytes as Written>::read(text).map(Bytes::get)
}

fn place(text: &str) -> Result<Place, String> {
    text.parse()
}

fn scope(text: &str) -> Result<Scope, String> {
    let found = Scope::ALL.into_iter().find(|scope| scope.name() == text);
    found.ok_or_else(|| "scopes: read, plan, admin".to_owned())
}

/// Where the service keeps what it knows.
#[derive(Args, Clone, Debug)]
pub(crate) struct DatabaseFlags {
    /// File of the database, or postgres://..., for several servers and workers
    #[arg(long, value_name = "FILE|URL", value_parser = place, default_value = "meshwright.db")]
    #[arg(env = "MESHWRIGHT_DATABASE", hide_env_values = true)]
    database: Place,
}

impl DatabaseFlags {
    /// Where it lies.
    ///
    /// # Errors
    /// `no-postgres`: a URL in a program without that feature.
    pub(crate) fn place(&self) -> Result<Place, Diagnostic> {
        match &self.database {
            Place::Url(_) if !cfg!(feature = "postgres") => {
                let message = "this program was built without PostgreSQL";
                Err(Diagnostic::usage("no-postgres", message).hint(
                    "cargo build --release --features postgres, or the container image \
                     (Containerfile); a file needs neither: --database plans.db",
                ))
            }
            place => Ok(place.clone()),
        }
    }
}

/// What the process of one plan may use.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProcessFlags {
    /// Address space that one plan may take
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "8GiB")]
    #[arg(help_heading = "Work")]
    pub(crate) job_memory: u64,
    /// Longest that one plan may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    #[arg(help_heading = "Work")]
    pub(crate) job_time: Duration,
}

impl ProcessFlags {
    pub(crate) const fn limits(&self) -> Limits {
        Limits { memory: self.job_memory, time: self.job_time }
    }
}

/// How a process plans for others.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkFlags {
    /// Plans that this process makes at once [default: half of the cores]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub(crate) workers: Option<usize>,
    #[command(flatten)]
    pub(crate) process: ProcessFlags,
    /// How long plans that run may go on after SIGTERM; then they are queued again
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    #[arg(help_heading = "Work")]
    pub(crate) drain: Duration,
    /// Folder for files that plans read while they are made [default: beside the database]
    #[arg(long, value_name = "FOLDER", help_heading = "Work")]
    pub(crate) work_folder: Option<PathBuf>,
}

/// What a token, or whoever needs none, may use.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuotaFlags {
    /// Plans that may wait or run at once
    #[arg(long, value_name = "N", default_value_t = 20_000, help_heading = "Quota")]
    pub(crate) most_jobs: u32,
    /// Processor time of plans an hour
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1000h")]
    #[arg(help_heading = "Quota")]
    pub(crate) most_time: Duration,
    /// Bytes of uploaded files
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "64GiB")]
    #[arg(help_heading = "Quota")]
    pub(crate) most_bytes: u64,
}

impl QuotaFlags {
    pub(crate) fn quota(&self) -> Quota {
        Quota {
            jobs: self.most_jobs.into(),
            cpu_ms: i64::try_from(self.most_time.as_millis()).unwrap_or(i64::MAX),
            bytes: i64::try_from(self.most_bytes).unwrap_or(i64::MAX),
        }
    }
}

/// Flags of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Address and port; port 0 takes any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    /// Let everybody who can reach another address than this machine's plan without a token
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Longest upload
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "2GiB")]
    pub(crate) most_upload: u64,
    /// Forget plans this long after their end [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) keep_for: Option<Duration>,
    /// Forget the oldest plans once the files of all take more than this [default: never]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) most_stored: Option<u64>,
    /// Tell this address of each plan that ended; MESHWRIGHT_WEBHOOK_SECRET signs what it is told
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// Log every request, not only those that change something or fail
    #[arg(long)]
    pub(crate) log_all: bool,
    /// Requests of one token in a second
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Quota")]
    pub(crate) most_requests: NonZeroU32,
    /// Connections at once; those past it are closed
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) connections: usize,
    #[command(flatten)]
    pub(crate) work: WorkFlags,
    #[command(flatten)]
    pub(crate) quota: QuotaFlags,
}

/// Flags of `view`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ViewArgs {
    /// Plan file
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The model that the plan was made for; with it all views are there [default: where it was]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Cluster file, or FILE#NAME (unless the model carries one)
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) cluster: Option<PathBuf>,
    /// Profile that the plan was made with
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) profile: Option<PathBuf>,
    /// What of the cluster was changed for the plan, as `plan` was told
    #[arg(long, value_name = "NAME=FACTOR", requires = "model")]
    pub(crate) scale: Vec<String>,
    /// Address of this machine and port; port 0 takes any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

impl ViewArgs {
    /// What they ask for.
    pub(crate) fn request(&self) -> OpenRequest {
        let args = self.clone();
        let named = [("cluster", args.cluster.is_some()), ("profile", args.profile.is_some())];
        let given = named.into_iter().filter(|(_, is_named)| *is_named);
        let problem = ProblemRequest {
            given: given.map(|(name, _)| name.to_owned()).collect(),
            cluster: args.cluster,
            profile: args.profile,
            scale: args.scale,
            ..ProblemRequest::default()
        };
        OpenRequest { plan: args.plan, model: args.model, problem }
    }
}

/// Flags of `worker`.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    #[command(flatten)]
    pub(crate) work: WorkFlags,
}

/// Flags of `token`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    /// Who uses the token: a person, a team, a launcher
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "revoke"])]
    #[arg(conflicts_with_all = ["list", "revoke"])]
    pub(crate) name: Option<String>,
    /// List the tokens and what they use
    #[arg(long, conflicts_with = "revoke")]
    pub(crate) list: bool,
    /// Revoke a token, by its id in the list or its name
    #[arg(long, value_name = "ID|NAME")]
    pub(crate) revoke: Option<String>,
    /// read, plan or admin
    #[arg(long, value_parser = scope, default_value = "plan")]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    #[command(flatten)]
    pub(crate) quota: QuotaFlags,
}

/// Flags of `backup`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BackupArgs {
    /// Where the copy goes
    #[arg(value_name = "FILE")]
    pub(crate) copy: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Flags of `replan`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplanArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
    #[command(flatten)]
    pub(crate) limits: ProcessFlags,
    /// List plans that stayed as they were too
    #[arg(long)]
    pub(crate) all: bool,
}

/// Flags of `run-request`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RequestArgs {
    /// Answer with the text that the command line prints
    #[arg(long)]
    pub(crate) as_text: bool,
    /// Address space of this process
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<u64>,
    /// Id of the process that started it, with which it ends
    #[arg(long, value_name = "PID", requires = "memory")]
    pub(crate) parent: Option<i32>,
    /// Answer a request a line until there is none, with files that never change
    #[arg(long)]
    pub(crate) lines: bool,
}
