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

/// Flags of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
