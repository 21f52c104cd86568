//! The step of a dense decoder: forward and backward pass of all layers, between an embedding and a vocabulary head with
//! cross-entropy.
//!
//! Letters of dimensions: `b` sequences, `s` tokens, `h` hidden, `n` query heads, `m` key and value heads, `d` elements
//! of a head, `f` inner width, `v` vocabulary.

use ir::card::{Attention, Head, TransformerCard};

use super::graph::{Graph, Work};
use super::lettered::Lettered;
use super::rules::{
    attention, attention_backward, cross_entropy, elementwise, embedding, embedding_backward,
};

const NORM: (&str, bool) = ("bs", false);
const SUM: (&str, bool) = ("bsh", true);
const INNER: (&str, bool) = ("bsf", false);
/// Work of the backward pass of attention, which computes scores again, in forward passes.
const BACKWARD: f64 = 2.5;

/// The op of the loss.
pub const LOSS: &str = "cross_entropy";

/// How a step is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Sequences that go through together.
    pub n_sequences: u64,
    /// Whether equal layers are one copy.
    pub is_collapsed: bool,
    /// Whether what the backward pass reads is stored in one placement, which a budget can count; else whatever
    /// one pass has gathered the other one has, too.
    pub stores: bool,
    /// Whether layers store their input alone and run again in the backward pass.
    pub recomputes: bool,
    /// Bytes of an element of activations and weights, and of gradients of weights.
    pub element_bytes: [f64; 2],
    /// Bytes that the optimizer moves for a parameter.
    pub update_bytes: f64,
}

impl Run {
    /// So many sequences through all layers, by time alone.
    #[must_use]
    pub const fn timed(n_sequences: u64, is_collapsed: bool) -> Self {
        Self {
            n_sequences,
            is_collapsed,
            stores: false,
            recomputes: false,
            element_bytes: [2.0; 2],
            update_bytes: 0.0,
        }
    }
}

/// A step with what memory is counted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its ops.
    pub graph: Graph,
    /// Numbers of parameters, and copies.
    pub parameters: Vec<(usize, u32)>,
    /// Numbers of tensors that are stored between passes, and copies.
    pub stored: Vec<(usize, u32)>,
}

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

/// The graph of a step. None of mixtures of experts and of latent attention, which have other ops.
#[must_use]
pub fn step(card: &TransformerCard, run: &Run) -> Option<Step> {
    if card.experts.is_some() || matches!(card.attention, Attention::Latent { .. }) {
        return None;
    }
    let Run { n_sequences, is_collapsed, .. } = *run;
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
    of.element_bytes = run.element_bytes[0];
    let pairs = card.sequence as f64 * card.sequence as f64 * card.window_share();
    // Scores and their products with values, of the causal half.
    let attention_flops = 2.0 * n_sequences as f64 * pairs * (card.n_heads * query) as f64;
    let table = parameter(&mut of, run, "embedding.weight", "vh");
    let ids = of.source("tokens", "bs");
    of.graph.tensors[ids].element_bytes = 8.0;
    let mut x = of.add("embedding", 0.0, &[ids, table], "bsh", embedding());
    let n_copies = if is_collapsed { 1 } else { card.n_layers };
    let mut layers = Vec::new();
    let label = |at: u32| if is_collapsed { "*".to_owned() } else { at.to_string() };
    for at in 0..n_copies {
        if is_collapsed {
            x = of.repeated("layers.input", x, card.n_layers);
        }
        of.times = of.copies * if run.recomputes { 2 } else { 1 };
        let (saved, next) = forward(&mut of, (&label(at), card, run), x, attention_flops);
        layers.push(saved);
        of.times = of.copies;
        x = if is_collapsed { of.ended("layers.output", next) } else { next };
    }
    let last = of.each("norm", &[x], NORM);
    let head = match card.head {
        Head::Tied => table,
        _ => parameter(&mut of, run, "head.weight", "vh"),
    };
    let logits = of.einsum("head", [last, head], "bsv");
    let d_logits = of.add(LOSS, 0.0, &[logits], "bsv", cross_entropy());
    gradient(&mut of, run, "head.weight.grad", ([last, d_logits], head));
    let d_last = of.einsum("head.backward", [d_logits, head], "bsh");
    let mut d_x = of.each("norm.backward", &[x, d_last], NORM);
    for (at, layer) in (0..).zip(&layers).collect::<Vec<_>>().into_iter().rev() {
        if is_collapsed {
            d_x = of.repeated("layers.output.grad", d_x, card.n_layers);
        }
        d_x = backward(&mut of, (&label(at), card, run), layer, (d_x, attention_flops));
        if is_collapsed {
            d_x = of.ended("layers.input.grad", d_x);
        }
    }
    of.element_bytes = run.element_bytes[1];
    let d_table = of.add("embedding.weight.grad", 0.0, &[ids, d_x], "vh", embedding_backward());
    of.pin(d_table, table);
    let is_parameter = |op: &&super::graph::Op| op.inputs.is_empty() && op.name.ends_with("weight");
    let parameters = of.graph.ops.iter().filter(is_parameter);
    let parameters = parameters.map(|op| (op.outputs[0], op.times)).collect();
    Some(Step { parameters, stored: of.stored, graph: of.graph })
}

/// A parameter at rest, which the optimizer updates there.
fn parameter(of: &mut Lettered, run: &Run, name: &str, word: &str) -> usize {
    let times = std::mem::replace(&mut of.times, of.copies);
    let weight = of.source(name, word);
    of.priced(Work::Update(run.update_bytes));
    of.times = times;
    weight
}

/// The gradient of a parameter, which ends in the placement of that at rest.
fn gradient(of: &mut Lettered, run: &Run, name: &str, (inputs, weight): ([usize; 2], usize)) {
    let activations = std::mem::replace(&mut of.element_bytes, run.element_bytes[1]);
    of.gradient(name, inputs, weight);
    of.element_bytes = activations;
}

/// What the backward pass reads of a tensor: where layers run again, all but their inputs and weights are there.
fn store(of: &mut Lettered, run: &Run, tensor: usize, is_there: bool) -> usize {
    if !run.stores || (run.recomputes && is_there) {
        return tensor;
    }
    of.store(tensor)
}

fn forward(
    of: &mut Lettered,
    (at, card, run): (&str, &TransformerCard, &Run),
    input: usize,
    flops: f64,
) -> (Saved, usize) {
    let name = |of: &str| format!("layers.{at}.{of}");
    let words = [("q", "hnd", "bsnd"), ("k", "hmd", "bsmd"), ("v", "hmd", "bsmd")];
    let first = of.each(&name("attention_norm"), &[input], NORM);
    let projected = words.map(|(letter, weight, word)| {
        let weight = parameter(of, run, &name(&format!("attention.{letter}.weight")), weight);
        (weight, of.einsum(&name(&format!("attention.{letter}")), [first, weight], word))
    });
    let output = parameter(of, run, &name("attention.o.weight"), "ndh");
    let qkv = projected.map(|(_, tensor)| tensor);
    let is_grouped = of.size('m') < of.size('n');
    let attended = of.add(&name("attention"), flops, &qkv, "bsnd", attention(is_grouped));
    of.priced(core(card, false));
    let back = of.einsum(&name("attention.o"), [attended, output], "bsh");
    let middle = of.each(&name("attention.residual"), &[input, back], SUM);
    let second = of.each(&name("mlp_norm"), &[middle], NORM);
    let up = parameter(of, run, &name("mlp.up.weight"), "hf");
    let inner = of.einsum(&name("mlp.up"), [second, up], "bsf");
    let gate = card.form.is_gated().then(|| {
        let weight = parameter(of, run, &name("mlp.gate.weight"), "hf");
        (weight, of.einsum(&name("mlp.gate"), [second, weight], "bsf"))
    });
    let both: Vec<usize> = gate.iter().map(|(_, tensor)| *tensor).chain([inner]).collect();
    let active = of.each(&name("mlp.activation"), &both, INNER);
    let down = parameter(of, run, &name("mlp.down.weight"), "fh");
    let added = of.einsum(&name("mlp.down"), [active, down], "bsh");
    let next = of.each(&name("mlp.residual"), &[middle, added], SUM);
    let [q, k, v] = projected.map(|(weight, _)| weight);
    let mut stored = |tensor| store(of, run, tensor, true);
    let saved = Saved {
        attention_weights: [q, k, v, output],
        inner_weights: (up, gate.map(|(weight, _)| weight), down),
        middle: stored(middle),
        norms: [first, second].map(&mut stored),
        qkv: qkv.map(&mut stored),
        attended: stored(attended),
        inner: (stored(inner), gate.map(|(_, tensor)| stored(tensor))),
        active: stored(active),
        input: store(of, run, input, false),
    };
    (saved, next)
}

fn core(card: &TransformerCard, is_backward: bool) -> Work {
    Work::Attention { tokens: card.span(), head: card.head_dims().0, is_backward }
}

fn backward(
    of: &mut Lettered,
    (at, card, run): (&str, &TransformerCard, &Run),
    layer: &Saved,
    (d_next, flops): (usize, f64),
) -> usize {
    let name = |of: &str| format!("layers.{at}.{of}");
    let (up, gate, down) = layer.inner_weights;
    gradient(of, run, &name("mlp.down.weight.grad"), ([layer.active, d_next], down));
    let down = store(of, run, down, false);
    let d_active = of.einsum(&name("mlp.down.backward"), [d_next, down], "bsf");
    let (inner, gated) = layer.inner;
    let read: Vec<usize> = gated.into_iter().chain([inner, d_active]).collect();
    let d_inner = of.tensor(&name("mlp.up.grad"), "bsf");
    let d_gate = gated.map(|_| of.tensor(&name("mlp.gate.grad"), "bsf"));
    let written: Vec<usize> = std::iter::once(d_inner).chain(d_gate).collect();
    let rules = elementwise(&vec!["bsf"; read.len() + written.len()], "bsf");
    of.op(&name("mlp.activation.backward"), 0.0, [&read, &written], rules);
    gradient(of, run, &name("mlp.up.weight.grad"), ([layer.norms[1], d_inner], up));
    let up = store(of, run, up, false);
    let mut d_norm = of.einsum(&name("mlp.up.backward"), [d_inner, up], "bsh");
    if let (Some(d_gate), Some(gate)) = (d_gate, gate) {
        gradient(of, run, &name("mlp.gate.weight.grad"), ([layer.norms[1], d_gate], gate));
        let gate = store(of, run, gate, false);
        let other = of.einsum(&name("mlp.gate.backward"), [d_gate, gate], "bsh");
        d_norm = of.each(&name("mlp_norm.sum"), &[d_norm, other], SUM);
    }
    let d_second = of.each(&name("mlp_norm.backward"), &[layer.middle, d_norm], NORM);
    let d_middle = of.each(&name("mlp.residual.backward"), &[d_next, d_second], SUM);
    let [.., output] = layer.attention_weights;
    gradient(of, run, &name("attention.o.weight.grad"), ([layer.attended, d_middle], output));
    let output = store(of, run, output, false);
    let d_attended = of.einsum(&name("attention.o.backward"), [d_middle, output], "bsnd");
    let words = ["bsnd", "bsmd", "bsmd"];
    let letters = ["q", "k", "v"];
    let d_qkv =
        [0, 1, 2].map(|i| of.tensor(&name(&format!("attention.{}.grad", letters[i])), words[i]));
    let inputs = [layer.qkv[0], layer.qkv[1], layer.qkv[2], d_attended];
    let is_grouped = of.size('m') < of.size('n');
    let rules = attention_backward(is_grouped);
    of.op(&name("attention.backward"), BACKWARD * flops, [&inputs, &d_qkv], rules);
    of.priced(core(card, true));
    let parts = [0, 1, 2].map(|i| {
        let weight = layer.attention_weights[i];
        let name = |of: &str| name(&format!("attention.{}.{of}", letters[i]));
        gradient(of, run, &name("weight.grad"), ([layer.norms[0], d_qkv[i]], weight));
        let weight = store(of, run, weight, false);
        of.einsum(&name("backward"), [d_qkv[i], weight], "bsh")
    });
    let two = of.each(&name("attention_norm.sum_of_two"), &[parts[0], parts[1]], SUM);
    let three = of.each(&name("attention_norm.sum"), &[two, parts[2]], SUM);
    let d_first = of.each(&name("attention_norm.backward"), &[layer.input, three], NORM);
    of.each(&name("attention.residual.backward"), &[d_middle, d_first], SUM)
}

#[cfg(test)]
pub(super) mod tests {
    use ir::card::{ExpertCard, FeedForward};

    use super::super::goldens::solved;
    use super::*;

    pub(crate) fn llama(n_layers: u32) -> TransformerCard {
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
        assert_eq!(step(&mixture, &Run::timed(8, true)), None);
    }

    /// One copy of equal layers is as fast as all of them, to the digit, and the bounds meet.
    #[test]
    fn one_layer_for_all_is_exact() {
        for n_layers in [1, 2, 5] {
            let [one, all] = [true, false].map(|is_collapsed| {
                let step = step(&llama(n_layers), &Run::timed(8, is_collapsed)).unwrap();
                solved(&step.graph, &[FAST]).unwrap()
            });
            assert!((one.seconds - all.seconds).abs() < 1e-9, "{} {}", one.seconds, all.seconds);
            for of in [&one, &all] {
                assert!((of.seconds - of.bound_s).abs() < 1e-9, "{} {}", of.seconds, of.bound_s);
            }
        }
    }
}
