//! The step of a dense decoder: forward and backward pass of all layers, between an embedding and a vocabulary head with
//! cross-entropy.
//!
//! Letters of dimensions: `b` sequences, `s` tokens, `h` hidden, `n` query heads, `m` key and value heads, `d` elements
//! of a head, `f` inner width, `v` vocabulary.

use ir::card::{Attention, Head, TransformerCard};

use super::graph::Graph;
use super::lettered::Lettered;
use super::rules::{
    attention, attention_backward, cross_entropy, elementwise, embedding, embedding_backward,
};

const NORM: (&str, bool) = ("bs", false);
const SUM: (&str, bool) = ("bsh", true);
const INNER: (&str, bool) = ("bsf", false);
/// Work of the backward pass of attention, which computes scores again, in forward passes.
const BACKWARD: f64 = 2.5;

/// Tensors that the backward pass of a layer reads.
struct Saved {
    /// Of queries, keys, values and the output.
    attention_weights: [usize; 4],
    /// Of the inner width, its gate and the way back.
    inner_weights: (usize, Option<usize>, usize),
    input: usize,
    middle: usize,
    norms: [usize; 2],
    qkv: [usize; 3],
    attended: usize,
    inner: (usize, Option<usize>),
    active: usize,
}

/// The graph of a step of so many sequences; of equal layers one copy if it `is_collapsed`. None of mixtures of experts
/// and of latent attention, which have other ops.
#[must_use]
pub fn step(card: &TransformerCard, n_sequences: u64, is_collapsed: bool) -> Option<Graph> {
    if card.experts.is_some() || matches!(card.attention, Attention::Latent { .. }) {
        return None;
    }
    let (query, _) = card.head_dims();
    let mut of = Lettered::new(&[
        ('b', n_sequences),
        ('s', card.sequence),
        ('h', card.hidden),
        ('n', card.n_heads),
        ('m', card.n_kv_heads),
        ('d', query),
        ('f', card.feed_forward),
        ('v', card.vocabulary),
    ]);
    let pairs = card.sequence as f64 * card.sequence as f64 * card.window_share();
    // Scores and their products with values, of the causal half.
    let attention_flops = 2.0 * n_sequences as f64 * pairs * (card.n_heads * query) as f64;
    let table = of.source("embedding.weight", "vh");
    let ids = of.source("tokens", "bs");
    of.graph.tensors[ids].element_bytes = 8.0;
    let mut x = of.add("embedding", 0.0, &[ids, table], "bsh", embedding());
    let n_copies = if is_collapsed { 1 } else { card.n_layers };
    let mut layers = Vec::new();
    for at in 0..n_copies {
        if is_collapsed {
            x = of.repeated("layers.input", x, card.n_layers);
        }
        let (saved, next) = forward(&mut of, (at, card), x, attention_flops);
        layers.push(saved);
        x = if is_collapsed { of.ended("layers.output", next) } else { next };
    }
    let last = of.each("norm", &[x], NORM);
    let head = match card.head {
        Head::Tied => table,
        _ => of.source("head.weight", "vh"),
    };
    let logits = of.einsum("head", [last, head], "bsv");
    let d_logits = of.add("cross_entropy", 0.0, &[logits], "bsv", cross_entropy());
    of.gradient("head.weight.grad", [last, d_logits], head);
    let d_last = of.einsum("head.backward", [d_logits, head], "bsh");
    let mut d_x = of.each("norm.backward", &[x, d_last], NORM);
    for (at, layer) in layers.iter().enumerate().rev() {
        if is_collapsed {
            d_x = of.repeated("layers.output.grad", d_x, card.n_layers);
        }
        d_x = backward(&mut of, at, layer, (d_x, attention_flops));
        if is_collapsed {
            d_x = of.ended("layers.input.grad", d_x);
        }
    }
    let d_table = of.add("embedding.weight.grad", 0.0, &[ids, d_x], "vh", embedding_backward());
    of.pin(d_table, table);
    Some(of.graph)
}

fn forward(
    of: &mut Lettered,
    (at, card): (u32, &TransformerCard),
    input: usize,
    flops: f64,
) -> (Saved, usize) {
    let name = |of: &str| format!("layers.{at}.{of}");
    let words = [("q", "hnd", "bsnd"), ("k", "hmd", "bsmd"), ("v", "hmd", "bsmd")];
    let first = of.each(&name("attention_norm"), &[input], NORM);
    let projected = words.map(|(letter, weight, word)| {
        let weight = of.source(&name(&format!("attention.{letter}.weight")), weight);
        (weight, of.einsum(&name(&format!("attention.{letter}")), [first, weight], word))
    });
    let output = of.source(&name("attention.o.weight"), "ndh");
    let qkv = projected.map(|(_, tensor)| tensor);
    let is_grouped = of.size('m') < of.size('n');
    let attended = of.add(&name("attention"), flops, &qkv, "bsnd", attention(is_grouped));
    let back = of.einsum(&name("attention.o"), [attended, output], "bsh");
    let middle = of.each(&name("attention.residual"), &[input, back], SUM);
    let second = of.each(&name("mlp_norm"), &[middle], NORM);
    let up = of.source(&name("mlp.up.weight"), "hf");
    let inner = of.einsum(&name("mlp.up"), [second, up], "bsf");
    let gate = card.form.is_gated().then(|| {
        let weight = of.source(&name("mlp.gate.weight"), "hf");
        (weight, of.einsum(&name("mlp.gate"), [second, weight], "bsf"))
    });
    let both: Vec<usize> = gate.iter().map(|(_, tensor)| *tensor).chain([inner]).collect();
    let active = of.each(&name("mlp.activation"), &both, INNER);
    let down = of.source(&name("mlp.down.weight"), "fh");
    let added = of.einsum(&name("mlp.down"), [active, down], "bsh");
    let next = of.each(&name("mlp.residual"), &[middle, added], SUM);
    let [q, k, v] = projected.map(|(weight, _)| weight);
    let saved = Saved {
        attention_weights: [q, k, v, output],
        inner_weights: (up, gate.map(|(weight, _)| weight), down),
        input,
        middle,
        norms: [first, second],
        qkv,
        attended,
        inner: (inner, gate.map(|(_, tensor)| tensor)),
        active,
    };
    (saved, next)
}

fn backward(of: &mut Lettered, at: usize, layer: &Saved, (d_next, flops): (usize, f64)) -> usize {
    let name = |of: &str| format!("layers.{at}.{of}");
    let (up, gate, down) = layer.inner_weights;
    of.gradient(&name("mlp.down.weight.grad"), [layer.active, d_next], down);
    let d_active = of.einsum(&name("mlp.down.backward"), [d_next, down], "bsf");
    let (inner, gated) = layer.inner;
    let read: Vec<usize> = gated.into_iter().chain([inner, d_active]).collect();
    let d_inner = of.tensor(&name("mlp.up.grad"), "bsf");
    let d_gate = gated.map(|_| of.tensor(&name("mlp.gate.grad"), "bsf"));
    let written: Vec<usize> = std::iter::once(d_inner).chain(d_gate).collect();
    let rules = elementwise(&vec!["bsf"; read.len() + written.len()], "bsf");
    of.op(&name("mlp.activation.backward"), 0.0, [&read, &written], rules);
    let mut d_norm = of.einsum(&name("mlp.up.backward"), [d_inner, up], "bsh");
    of.gradient(&name("mlp.up.weight.grad"), [layer.norms[1], d_inner], up);
    if let (Some(d_gate), Some(gate)) = (d_gate, gate) {
        of.gradient(&name("mlp.gate.weight.grad"), [layer.norms[1], d_gate], gate);
        let other = of.einsum(&name("mlp.gate.backward"), [d_gate, gate], "bsh");
        d_norm = of.each(&name("mlp_norm.sum"), &[d_norm, other], SUM);
    }
    let d_second = of.each(&name("mlp_norm.backward"), &[layer.middle, d_norm], NORM);
    let d_middle = of.each(&name("mlp.residual.backward"), &[d_next, d_second], SUM);
    let [.., output] = layer.attention_weights;
    of.gradient(&name("attention.o.weight.grad"), [layer.attended, d_middle], output);
    let d_attended = of.einsum(&name("attention.o.backward"), [d_middle, output], "bsnd");
    let words = ["bsnd", "bsmd", "bsmd"];
    let letters = ["q", "k", "v"];
    let d_qkv =
        [0, 1, 2].map(|i| of.tensor(&name(&format!("attention.{}.grad", letters[i])), words[i]));
    let inputs = [layer.qkv[0], layer.qkv[1], layer.qkv[2], d_attended];
    let is_grouped = of.size('m') < of.size('n');
    let rules = attention_backward(is_grouped);
    of.op(&name("attention.backward"), BACKWARD * flops, [&inputs, &d_qkv], rules);
    let parts = [0, 1, 2].map(|i| {
        let weight = layer.attention_weights[i];
        let name = |of: &str| name(&format!("attention.{}.{of}", letters[i]));
        of.gradient(&name("weight.grad"), [layer.norms[0], d_qkv[i]], weight);
        of.einsum(&name("backward"), [d_qkv[i], weight], "bsh")
    });
    let two = of.each(&name("attention_norm.sum_of_two"), &[parts[0], parts[1]], SUM);
    let three = of.each(&name("attention_norm.sum"), &[two, parts[2]], SUM);
    let d_first = of.each(&name("attention_norm.backward"), &[layer.input, three], NORM);
    of.each(&name("attention.residual.backward"), &[d_middle, d_first], SUM)
}

#[cfg(test)]
mod tests {
    use ir::card::{ExpertCard, FeedForward};

    use super::super::goldens::solved;
    use super::*;

    fn llama(n_layers: u32) -> TransformerCard {
        TransformerCard {
            name: "llama".to_owned(),
            n_layers,
            hidden: 4096,
            n_heads: 32,
            n_kv_heads: 8,
            feed_forward: 14_336,
            form: FeedForward::Gated,
            sequence: 4096,
            vocabulary: 128_256,
            experts: None,
            attention: Attention::Even,
            head: Head::Separate,
        }
    }

    const FAST: (u64, f64, f64) = (8, 10e-6, 300e9);

    #[test]
    fn other_ops_have_no_graph() {
        let mixture = TransformerCard { experts: Some(ExpertCard::default()), ..llama(1) };
        assert_eq!(step(&mixture, 8, true), None);
    }

    /// One copy of equal layers is as fast as all of them, to the digit, and the bounds meet.
    #[test]
    fn one_layer_for_all_is_exact() {
        for n_layers in [1, 2, 5] {
            let [one, all] = [true, false].map(|is_collapsed| {
                solved(&step(&llama(n_layers), 8, is_collapsed).unwrap(), &[FAST]).unwrap()
            });
            assert!((one.seconds - all.seconds).abs() < 1e-9, "{} {}", one.seconds, all.seconds);
            for of in [&one, &all] {
                assert!((of.seconds - of.bound_s).abs() < 1e-9, "{} {}", of.seconds, of.bound_s);
            }
        }
    }
}
