//! Flags of those who ask a planning service.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use engine::answer::files::input_file;
use engine::request::value::duration;
use ir::diagnostic::Diagnostic;
use web::client::Service;

use crate::interrupt;

/// Longest file of a token, in bytes.
const MOST_OF_TOKEN: u64 = 4096;

/// Which service is asked, and by whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerFlags {
    /// Address of the service
    #[arg(long, value_name = "URL", env = "MESHWRIGHT_SERVER", hide_env_values = true)]
    #[arg(help_heading = "Service")]
    pub(crate) server: String,
    /// File that holds the token [default: that in MESHWRIGHT_TOKEN, or none]
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ServerFlags {
    /// The service, for so long.
    ///
    /// # Errors
    /// Those of [`Service::new`]; `bad-token` where its file can not be read.
    pub(crate) fn service(&self, total: Duration) -> Result<Service, Diagnostic> {
        let read = |file: &PathBuf| {
            let bytes = input_file::read(file, MOST_OF_TOKEN).map_err(|reason| {
                let message = format!("`{}` holds no token", file.display());
                Diagnostic::usage("bad-token", message).fact("reason", reason)
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let token = match &self.token_file {
            Some(file) => Some(read(file)?),
            None => std::env::var("MESHWRIGHT_TOKEN").ok(),
        };
        let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        Service::new(&self.server, token, total, interrupt::flag())
    }
}

/// What becomes of a run that gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fallback {
    /// The plan that was written last, if it is legal.
    Last,
    /// A quick plan, made here.
    Heuristic,
    /// None.
    Fail,
}

/// Flags of `jobs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Only those that are queued, running, done, infeasible, cancelled or failed
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// How many, of the newest
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    /// Tell what happens to a plan, until it ends
    #[arg(long, value_name = "ID", conflicts_with_all = ["state", "limit"])]
    pub(crate) follow: Option<String>,
    /// End a plan with the best so far
    #[arg(long, value_name = "ID", conflicts_with_all = ["state", "limit", "follow"])]
    pub(crate) cancel: Option<String>,
    /// Only say whether the service takes plans
    #[arg(long, conflicts_with_all = ["state", "limit", "follow", "cancel"])]
    pub(crate) check: bool,
    /// Longest that the run takes [default: 1h for --follow, else 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}
