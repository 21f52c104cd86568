//! Modules of a model and devices of a host, as executors name them that move whole modules.

pub(crate) mod devices;
pub(crate) mod layout;

use ir::diagnostic::Diagnostic;

/// The refusal of a plan, or of a model, by a target that has no words for it.
pub(crate) fn refusal(target: &'static str, message: String) -> Diagnostic {
    Diagnostic::input("cannot-express", message).fact("target", target)
}
