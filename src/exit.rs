//! How a run ends.

use ir::diagnostic::Diagnostic;

/// The process exit code of a run that was not an error of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// Done.
    pub(crate) const DONE: Self = Self(0);
    /// `compare` found a difference.
    pub(crate) const DIFFERS: Self = Self(10);
}

/// What every verb returns: how it went, or the error that is printed last.
pub(crate) type CommandResult = Result<Exit, Diagnostic>;
