//! Flags of commands that list what there is.

use clap::Args;

/// Flags of `devices`.
#[derive(Args, Debug)]
pub(crate) struct DevicesArgs {
    /// List links instead
    #[arg(long, conflicts_with = "here")]
    pub(crate) links: bool,
    /// List the backends of this machine instead
    #[arg(long)]
    pub(crate) here: bool,
}

/// Flags of `cluster`.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    /// What `nvidia-smi topo -m` or `nvidia-smi -L` prints, or a hostfile; several complete each other
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) from: Vec<std::path::PathBuf>,
}

/// Flags of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
