//! What moves beside the products of a block, and how many kernels move it.
//!
//! Bytes per token in 16-bit elements, for a hidden size `h`, a width `f` and `a` heads of `d` elements
//! with `g` of keys, on `t` tensor ranks:
//!
//! ```text
//! of Megatron-LM of 2021   22 h / r + (4 h + 4 f) / t              34 h / r + (18 h + 6 f) / t
//! fused, gated             20 h / r + (4 (a + g) d + 6 f) / t      24 h / r + (4 (a + g) d + 10 f) / t
//! fused, plain             22 h / r + 4 f / t                      24 h / r + 6 f / t
//! as written, gated        56 h / r + (24 (a + g) d + 10 f) / t    72 h / r + (24 (a + g) d + 16 f) / t
//! as written, plain        20 h / r + (16 h + 4 f) / t             48 h / r + (22 h + 8 f) / t
//!   by a formula           20 h / r + (16 h + 36 f) / t            48 h / r + (22 h + 58 f) / t
//! ```
//!
//! forward and backward, `r = t` with sequence parallelism, else 1. Megatron-LM: a layer norm reads and
//! writes (4), a fused bias, dropout and residual reads two tensors and a mask and writes one (7), GELU
//! reads and writes (4 f), scores are scaled, masked and normalised in one kernel (4) and dropped out
//! in another (5). Fused: two norms (4 h each), two residuals (6 h, 7 with dropout), rotary embeddings
//! (4), gate and function (6 f); backward norms read twice, the gate's gradients take 10 f. As written,
//! gated: norms in single precision step by step (22 and 30 h), rotary embeddings as complex numbers
//! (24), function and gate apart.
//!
//! As written, plain (the code of GPT-2 and BERT in Transformers 4): norms are one kernel (4 h, backward
//! 6), residuals another (6 h), queries, keys, values and contexts are copied for batched products
//! (4 h each); backward sums gradients of both ways (12 h) and of biases (2 an element). Dropouts are
//! left to the backward pass, as a forward pass alone has none (5 h each, both ways). GELU as a
//! formula, `x / 2 (1 + tanh(c (x + k x^3)))`, is six kernels of one tensor and two of two (36 f),
//! backward five of one and six of two (56 f). Scores are divided (4), masked (5) and normalised (4)
//! each in its own kernel, and dropped out (5) where they are trained; backward 6 for the softmax.

use ir::card::FeedForward;
use ir::stack::Elementwise;

use super::{Extents, Sharded};

/// Bytes per score of attention whose scores are in memory, forward and backward, of which one belongs
/// to the mask.
pub(super) const fn score_bytes(elementwise: Elementwise) -> [f64; 2] {
    match elementwise {
        Elementwise::Separate => [9.0, 11.0],
        Elementwise::Eager => [13.0, 25.0],
        // Softmax with its mask; its gradient, with what dropout keeps.
        Elementwise::Fused => [5.0, 8.0],
    }
}

/// Kernels of a pass whose starts stand between those of other kernels, forward and backward. Where
/// kernels are longer, they are part of their rate.
///
/// Gated: two norms in eight steps, two residuals, six casts and products of rotary embeddings,
/// function and gate; twice as many backward. Plain: norms, copies, residuals and three kernels of
/// scores; backward two kernels for a norm, sums of four biases, copies, sums of both ways, six of
/// dropouts and three of scores.
pub(super) const fn kernels(elementwise: Elementwise, form: FeedForward) -> [f64; 2] {
    match (elementwise, form) {
        (Elementwise::Separate | Elementwise::Fused, _) => [0.0; 2],
        (Elementwise::Eager, FeedForward::Gated) => [26.0, 52.0],
        (Elementwise::Eager, FeedForward::Plain) => [12.0, 24.0],
        (Elementwise::Eager, FeedForward::Written) => [19.0, 34.0],
    }
}

/// Bytes per pass of tokens that every tensor rank handles, and of those that they share out: forward
/// and backward.
pub(super) fn bytes(
    extents: &Extents,
    run: Sharded<'_>,
    elementwise: Elementwise,
) -> [(f64, f64); 2] {
    let (tokens, form) = (extents.tokens as f64, run.card.form);
    let whole = tokens * extents.hidden as f64;
    let split = whole / extents.tensor as f64;
    let inner = tokens * extents.width as f64;
    match (elementwise, form.is_gated()) {
        (Elementwise::Separate, _) => {
            let wide = inner * (1.0 + form.n_first() as f64) / 2.0;
            [(22.0 * whole, 4.0 * split + 4.0 * wide), (34.0 * whole, 18.0 * split + 6.0 * wide)]
        }
        (Elementwise::Eager, false) => {
            let function = if form == FeedForward::Written { [36.0, 56.0] } else { [4.0, 6.0] };
            [
                (20.0 * whole, 16.0 * split + function[0] * inner),
                (48.0 * whole, 22.0 * split + (2.0 + function[1]) * inner),
            ]
        }
        (Elementwise::Fused, false) => [(22.0 * whole, 4.0 * inner), (24.0 * whole, 6.0 * inner)],
        (_, true) => {
            // What is gated turns queries and keys.
            let key_value = run.card.n_kv_heads.div_ceil(extents.tensor);
            let heads = extents.heads.saturating_add(key_value) as f64;
            let turned = tokens * heads * extents.head_dims.0 as f64;
            match elementwise {
                Elementwise::Fused => [
                    (20.0 * whole, 4.0 * turned + 6.0 * inner),
                    (24.0 * whole, 4.0 * turned + 10.0 * inner),
                ],
                Elementwise::Eager | Elementwise::Separate => [
                    (56.0 * whole, 24.0 * turned + 10.0 * inner),
                    (72.0 * whole, 24.0 * turned + 16.0 * inner),
                ],
            }
        }
    }
}
