//! How many samples a step has.

use ir::diagnostic::Diagnostic;

use crate::request::PlanRequest;

/// Samples of one step: one figure, whichever flags state it.
///
/// # Errors
/// `global-batch` where flags contradict each other, or none states it; `sequence-fixed` for tokens of samples
/// without any.
pub(crate) fn samples(
    args: &PlanRequest,
    tokens: Option<u64>,
    is_graph: bool,
) -> Result<u64, Diagnostic> {
    let flags = &args.training;
    let wrong = |message: String| Diagnostic::usage("global-batch", message);
    if flags.tokens_per_step.is_some() && tokens.is_none() {
        let message = "`--tokens-per-step`: samples of this model have no length in tokens";
        return Err(Diagnostic::usage("sequence-fixed", message)
            .hint("state the samples of a step with --global-batch"));
    }
    let sequence = tokens.unwrap_or(1);
    let of_tokens = match flags.tokens_per_step {
        Some(tokens) if sequence > 0 && tokens.is_multiple_of(sequence) => Some(tokens / sequence),
        None => None,
        Some(tokens) => {
            let message = format!("{tokens} tokens are no whole number of samples of {sequence}");
            return Err(wrong(message).hint("give a multiple of --sequence-length"));
        }
    };
    match (flags.global_batch.or(of_tokens), args.problem.model.batch) {
        (Some(all), Some(batch)) if all != batch => {
            let message = format!("`--batch {batch}` contradicts {all} samples of one step");
            Err(wrong(message).hint("leave out --batch; --micro-batch is what runs at once"))
        }
        (Some(all), _) | (None, Some(all)) => Ok(all),
        (None, None) => {
            let asks = args.training.asks();
            let why = asks.as_ref().map(|flag| format!("`{flag}` plans a training run, but "));
            let message =
                format!("{}the samples of one step are not stated", why.unwrap_or_default());
            let error = wrong(message).hint("add --global-batch N or --tokens-per-step N");
            Err(match asks.filter(|_| is_graph) {
                Some(flag) => error.hint(format!("leave out {flag} to place the ops of the model")),
                None => error,
            })
        }
    }
}
