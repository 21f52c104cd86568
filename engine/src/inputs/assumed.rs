//! No proof rests on a type of weights that nobody stated.

use ir::diagnostic::{Blame, Diagnostic};

use crate::request::PlanRequest;

/// What only a proof has.
const OF_PROOFS: [&str; 2] = ["certificate", "resolved_by"];

/// What makes a certain answer of one that rests on bytes that nobody knows.
const UNQUANTIZED: &str =
    "plan the model before quantization: leave `quantization_config` out of the config";

/// A proof that no plan fits as what it is where the types of weights are assumed: a search that found none.
/// Training runs have a type of their own.
pub(crate) fn unproved(request: &PlanRequest, error: Diagnostic) -> Diagnostic {
    let is_of_weights = error.blame == Blame::Infeasible
        && error.code.starts_with("memory")
        && request.training.asks().is_none()
        && importers::is_config(&request.model);
    let read = || importers::config::stored::assumed(&request.model, request.problem.model.dtype);
    let Some(assumed) = is_of_weights
        .then(read)
        .and_then(Result::ok)
        .and_then(|assumptions| assumptions.into_iter().next())
    else {
        return error;
    };
    let why = match assumed.code {
        "quantization-unknown" => "how weights are quantised is not understood",
        "part-dtype" => "parts of the model state other types of weights",
        _ => "the config states no type of its weights",
    };
    let message = format!("no plan was found, and none is proved impossible: {why}");
    let mut diagnostic = Diagnostic::error(Blame::NotFound, "no-plan", message)
        .fact("reason", format!("with the type that is assumed, {}", error.message));
    diagnostic.facts.extend(error.facts.into_iter().filter(|fact| !OF_PROOFS.contains(&fact.0)));
    let diagnostic = match (assumed.code, request.phase.is_some()) {
        ("quantization-unknown", true) => diagnostic.hint(UNQUANTIZED),
        ("quantization-unknown", false) => diagnostic
            .hint("give the model as ONNX or .pt2, which state the bytes of each weight")
            .hint(UNQUANTIZED),
        _ => diagnostic.hint("state the type with --dtype, such as --dtype fp16"),
    };
    error.hints.into_iter().fold(diagnostic, Diagnostic::hint)
}
