//! What is before the first block and after the last one: embedding, head and loss.

use ir::stack::Stack;

use super::block::floor;
use super::constants::{Constant, Constants};
use super::precision;
use super::run::Sharded;
use super::system::System;
use crate::runs::counts::padded_vocabulary;

/// Rows of the head on one device. Only a vocabulary that is shared out is padded.
#[must_use]
pub fn vocabulary(run: Sharded<'_>) -> u64 {
    let tensor = u64::from(run.parallelism.tensor.max(1));
    match tensor {
        1 => run.card.vocabulary,
        _ => padded_vocabulary(run.card.vocabulary, tensor) / tensor,
    }
}

/// Parameters of the embedding, or of the head, on one device.
#[must_use]
pub fn parameters(run: Sharded<'_>) -> f64 {
    vocabulary(run) as f64 * run.card.hidden as f64
}

/// Seconds of head, loss and their backward pass for one micro-batch, a third of it forward.
/// Launching them, and the embedding, takes at least [`Constant::Ends`] launch floors, which a
/// processor takes besides.
#[must_use]
pub fn head(run: Sharded<'_>, system: &System, stack: &Stack, constants: &Constants) -> f64 {
    let rates = system.rates(stack, constants, precision::beside(run.dtype));
    let context = u64::from(run.parallelism.context.max(1));
    let tokens = run.parallelism.micro_batch.saturating_mul(run.card.sequence.div_ceil(context));
    let (rows, hidden) = (vocabulary(run), run.card.hidden);
    let products = [[tokens, rows, hidden], [tokens, hidden, rows], [rows, hidden, tokens]];
    let products: f64 = products.iter().map(|extents| rates.product(1, *extents)).sum();
    // Logits are written and read.
    let bytes = stack.loss_bytes + 2.0 * precision::element(run.dtype);
    let work = products + rates.pointwise(bytes * tokens as f64 * rows as f64);
    stack.launch.joined(work, constants.get(Constant::Ends) * floor(run, stack, constants))
}

/// Rows that servers pad a vocabulary to a multiple of (vLLM, `DEFAULT_VOCAB_PADDING_SIZE`).
const SERVED_MULTIPLE: u64 = 64;

/// Seconds of the head of so many tokens alone, forward, logits read once more by whoever samples; launches
/// as a third of those of [`head`].
#[must_use]
pub fn sampled(
    run: Sharded<'_>,
    tokens: u64,
    system: &System,
    (stack, constants): (&Stack, &Constants),
) -> f64 {
    let rates = system.rates(stack, constants, precision::beside(run.dtype));
    let rates = rates.of_weights(run.held.weight);
    let rows = vocabulary(run).div_ceil(SERVED_MULTIPLE).saturating_mul(SERVED_MULTIPLE);
    let logits = precision::element(run.dtype) * tokens as f64 * rows as f64;
    let work = rates.by_weight(1, [tokens, rows, run.card.hidden]) + rates.pointwise(logits);
    let floors = constants.get(Constant::Ends) / 3.0 * floor(run, stack, constants);
    stack.launch.joined(work, floors)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::gpt;
    use super::super::system::tests::a100;
    use super::*;
    use crate::kernels::stack::{compiled, megatron_deepspeed_2021};

    #[test]
    fn only_a_shared_vocabulary_is_padded() {
        let mut run = gpt();
        run.card.vocabulary = 50_257;
        assert_eq!(vocabulary(run.sharded()), 50_257);
        run.parallelism.tensor = 4;
        assert_eq!(vocabulary(run.sharded()), 12_672);
    }

    #[test]
    fn launches_bound_a_small_head_from_below_where_there_are_any() {
        let (system, run) = (a100(), gpt());
        let stack = megatron_deepspeed_2021();
        let constants = Constants::nominal(&stack);
        assert_eq!(head(run.sharded(), &system, &stack, &constants), 5.0 * 0.8e-3);
        assert!(head(run.sharded(), &system, &compiled(), &constants) < 4e-3);
    }
}
