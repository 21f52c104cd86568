//! A module that predicts a later token: what layers leave and the embedding of the next token, each normed, are joined
//! by a product in front of a layer (DeepSeek-AI 2024, arXiv:2412.19437, section 2.2). Embedding and head are those of
//! the model.

use super::graph::Work;
use super::lettered::Lettered;
use super::rules::{Rule, embedding, lettered};

/// The letter of the width that both are joined to, which is the hidden one.
pub(super) const JOINED: char = 'y';

const NORM: (&str, bool) = ("bs", false);

/// Tensors that the backward pass reads.
pub(super) struct Saved {
    pub name: String,
    /// Of what layers leave, and of the embedding: what is normed, the norm, its weight.
    parts: [[usize; 3]; 2],
}

/// Elements of the weight that joins, of a hidden width.
pub(super) const fn weights(hidden: u64) -> u64 {
    hidden.saturating_mul(hidden).saturating_mul(2)
}

/// Another letter for a width.
fn renamed() -> Vec<Rule> {
    lettered(&["abc"], &["abc"], &[vec![0]])
}

/// The forward pass: of what layers leave, ids and the embedding's table to what the module's layer reads.
pub(super) fn forward(
    of: &mut Lettered,
    layer: &str,
    [x, ids, table]: [usize; 3],
) -> (Saved, usize) {
    let name = |name: &str| format!("{layer}.{name}");
    let e = of.add(&name("embedding"), 0.0, &[ids, table], "bsh", embedding());
    let mut both = Vec::new();
    let parts = [("hidden", x), ("embedding", e)].map(|(part, read)| {
        let name = |of: &str| name(&format!("{part}_{of}"));
        let norm = of.each(&name("norm"), &[read], NORM);
        let weight = of.parameter(&name("projection.weight"), "hy");
        both.push(of.einsum(&name("projection"), [norm, weight], "bsy"));
        [read, norm, weight]
    });
    let sum = of.each(&name("projection"), &both, ("bsy", true));
    let joined = of.add(&name("joined"), 0.0, &[sum], "bsh", renamed());
    of.priced(Work::View);
    let parts = parts.map(|[read, norm, weight]| [of.saved(read), of.saved(norm), weight]);
    (Saved { name: layer.to_owned(), parts }, joined)
}

/// The backward pass: to the gradients of what layers leave and of the embedding.
pub(super) fn backward(of: &mut Lettered, saved: &Saved, d_joined: usize) -> (usize, usize) {
    let name = |name: &str| format!("{}.{name}", saved.name);
    let d_sum = of.add(&name("joined.backward"), 0.0, &[d_joined], "bsy", renamed());
    of.priced(Work::View);
    let [d_hidden, d_embedding] = [("hidden", 0), ("embedding", 1)].map(|(part, at)| {
        let name = |of: &str| name(&format!("{part}_{of}"));
        let [read, norm, weight] = saved.parts[at];
        of.gradient(&name("projection.weight.grad"), [norm, d_sum], weight);
        let weight = of.store(weight);
        let d_norm = of.einsum(&name("projection.backward"), [d_sum, weight], "bsh");
        of.each(&name("norm.backward"), &[read, d_norm], NORM)
    });
    (d_hidden, d_embedding)
}
