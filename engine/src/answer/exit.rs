//! How a run ends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ir::diagnostic::Diagnostic;

/// The process exit code of a run that was not an error of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const DONE: Self = Self(0);
    /// Interrupted with nothing to keep.
    pub const INTERRUPTED: Self = Self(130);
    /// `compare` found a difference.
    pub const DIFFERS: Self = Self(10);
}

/// What every verb returns: how it went, or the error that is printed last.
pub type CommandResult = Result<Exit, Diagnostic>;

/// The flag that ends a search, asked for when one begins: until then a signal ends the program.
pub type Cancel<'a> = &'a dyn Fn() -> Arc<AtomicBool>;
