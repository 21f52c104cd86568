//! Flags of the verb that compares methods on benchmark instances.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::flag_values::{count, duration};

/// Flags of `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What is compared: placement, training or layered
    #[arg(value_enum, hide_possible_values = true)]
    pub(crate) suite: Suite,
    /// Folder with instances (docs/data.md)
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Only instances whose path holds this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) only: String,
    /// Longest time of one method on one instance
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) time_limit: Duration,
    /// Also max-load with these numbers of accelerators, such as 2,3,4,8
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count)]
    pub(crate) accelerators: Vec<usize>,
    /// Longest time of each of those
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) accelerators_time: Duration,
    /// Where the table goes, as Markdown
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Suites by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    Placement,
    Training,
    Layered,
}
