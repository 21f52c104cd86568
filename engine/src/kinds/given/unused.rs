//! What says nothing about an instance is refused by name.

use ir::diagnostic::Diagnostic;

use crate::request::ReplayRequest;
use crate::request::fields;

/// Refuses what no instance can honour.
///
/// # Errors
/// `not-for-instances`, with all of it.
pub(super) fn check(request: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&request.problem.given);
    given.extend(request.allow_mismatch.then_some("--allow-mismatch".into()));
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("an instance with given costs has no use for {given}");
    Err(Diagnostic::usage("not-for-instances", message)
        .fact("reason", "its costs, devices and memory are all given, and no executor runs it")
        .hint(format!("leave out {given}")))
}
