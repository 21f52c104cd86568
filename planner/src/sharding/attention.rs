//! The attention part of a layer, between its norm and its residual: heads of their own keys, or of latent ones.
//!
//! Letters of dimensions, beside those of [`decoder`](super::decoder): of latent attention `q` and `r` ranks of queries
//! and of keys and values, `p` and `o` elements of a key without and with position, `a` elements of a value.

use ir::card::{Attention, TransformerCard};

use super::graph::Work;
use super::lettered::Lettered;
use super::rules::{attention, attention_backward, latent_attention, latent_attention_backward};

const NORM: (&str, bool) = ("bs", false);
/// Work of the backward pass of attention, which computes scores again, in forward passes.
const BACKWARD: f64 = 2.5;

/// A product with a weight, and what it reads.
#[derive(Clone, Copy)]
struct Product {
    input: usize,
    weight: usize,
    output: usize,
}

/// A product with a narrow tensor, its norm, and products with that.
struct Narrow {
    first: Product,
    norm: usize,
}

/// Tensors that the backward pass reads.
pub(super) struct Saved {
    /// The narrow tensors of queries, and of keys and values.
    narrow: [Option<Narrow>; 2],
    /// What attention reads, in its order.
    read: Vec<Product>,
    attended: usize,
    output_weight: usize,
    flops: f64,
}

/// Sizes of dimensions, by a card.
pub(super) fn sizes(card: &TransformerCard) -> Vec<(char, u64)> {
    let (query, value) = card.head_dims();
    let mut sizes = vec![('n', card.n_heads), ('m', card.n_kv_heads), ('d', query), ('a', value)];
    if let Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } = card.attention {
        let rank = query_rank.unwrap_or(1);
        sizes.extend([('q', rank), ('r', key_value_rank), ('p', plain), ('o', rotary)]);
    }
    sizes
}

/// Words of the tensors that attention reads, of the weights that make them, and letters for names.
fn words(card: &TransformerCard) -> Vec<(&'static str, &'static str, &'static str)> {
    match card.attention {
        Attention::Latent { query_rank, .. } => {
            let query = if query_rank.is_some() { "qnd" } else { "hnd" };
            vec![
                ("q", query, "bsnd"),
                ("k", "rnp", "bsnp"),
                ("k_rotary", "ho", "bso"),
                ("v", "rna", "bsna"),
            ]
        }
        _ => vec![("q", "hnd", "bsnd"), ("k", "hmd", "bsmd"), ("v", "hmd", "bsmd")],
    }
}

fn product(of: &mut Lettered, name: &str, input: usize, [weight, word]: [&str; 2]) -> Product {
    let weight = of.parameter(&format!("{name}.weight"), weight);
    let output = of.einsum(name, [input, weight], word);
    Product { input, weight, output }
}

/// A product with a narrow tensor and its norm.
fn narrow(of: &mut Lettered, name: &str, input: usize, words: [&str; 2]) -> Narrow {
    let first = product(of, name, input, words);
    let norm = of.each(&format!("{name}_norm"), &[first.output], NORM);
    Narrow { first, norm }
}

/// The forward pass: what the layer's norm gives to what the residual is given.
pub(super) fn forward(
    of: &mut Lettered,
    name: &dyn Fn(&str) -> String,
    (card, n_sequences): (&TransformerCard, u64),
    input: usize,
) -> (Saved, usize) {
    let (is_latent, rank) = match card.attention {
        Attention::Latent { query_rank, .. } => (true, query_rank),
        _ => (false, None),
    };
    let query = rank.map(|_| narrow(of, &name("attention.q_narrow"), input, ["hq", "bsq"]));
    let keys = is_latent.then(|| narrow(of, &name("attention.kv_narrow"), input, ["hr", "bsr"]));
    let mut read = Vec::new();
    for (letter, weight, word) in words(card) {
        let from = match weight.chars().next() {
            Some('q') => query.as_ref().map(|of| of.norm),
            Some('r') => keys.as_ref().map(|of| of.norm),
            _ => None,
        };
        let name = name(&format!("attention.{letter}"));
        read.push(product(of, &name, from.unwrap_or(input), [weight, word]));
    }
    let (key, value) = card.head_dims();
    let pairs = card.sequence as f64 * card.sequence as f64 * card.window_share();
    // Scores and their products with values, of the causal half.
    let flops = n_sequences as f64 * pairs * (card.n_heads * (key + value)) as f64;
    let tensors: Vec<usize> = read.iter().map(|of| of.output).collect();
    let (rules, [word, output]) = match is_latent {
        true => (latent_attention(), ["bsna", "nah"]),
        false => (attention(card.n_kv_heads < card.n_heads), ["bsnd", "ndh"]),
    };
    let output_weight = of.parameter(&name("attention.o.weight"), output);
    let attended = of.add(&name("attention"), flops, &tensors, word, rules);
    of.priced(core(card, false));
    let back = of.einsum(&name("attention.o"), [attended, output_weight], "bsh");
    let narrow = [query, keys].map(|of_rank| {
        of_rank.map(|found| Narrow { first: saved(of, found.first), norm: of.saved(found.norm) })
    });
    let read = read.into_iter().map(|product| saved(of, product)).collect();
    let attended = of.saved(attended);
    (Saved { narrow, read, attended, output_weight, flops }, back)
}

/// A product as the backward pass reads it.
fn saved(of: &mut Lettered, product: Product) -> Product {
    let [input, output] = [product.input, product.output].map(|tensor| of.saved(tensor));
    Product { input, output, ..product }
}

fn core(card: &TransformerCard, is_backward: bool) -> Work {
    Work::Attention { tokens: card.span(), head: card.head_dims().0, is_backward, queries: Some(1) }
}

/// The backward pass: of the gradient of what the residual is given to the summands of that of what was read.
pub(super) fn backward(
    of: &mut Lettered,
    name: &dyn Fn(&str) -> String,
    (card, saved): (&TransformerCard, &Saved),
    d_back: usize,
) -> Vec<usize> {
    let is_latent = matches!(card.attention, Attention::Latent { .. });
    let (word, rules) = match is_latent {
        true => ("bsna", latent_attention_backward()),
        false => ("bsnd", attention_backward(card.n_kv_heads < card.n_heads)),
    };
    of.gradient(&name("attention.o.weight.grad"), [saved.attended, d_back], saved.output_weight);
    let output = [d_back, of.store(saved.output_weight)];
    let d_attended = of.einsum(&name("attention.o.backward"), output, word);
    let words = words(card);
    let grad = |(letter, _, word): &(&str, &str, &str)| {
        of.tensor(&name(&format!("attention.{letter}.grad")), word)
    };
    let d_read: Vec<usize> = words.iter().map(grad).collect();
    let inputs = saved.read.iter().map(|of| of.output).chain([d_attended]);
    let inputs: Vec<usize> = inputs.collect();
    of.op(&name("attention.backward"), BACKWARD * saved.flops, [&inputs, &d_read], rules);
    of.priced(core(card, true));
    let (mut parts, mut narrow) = (Vec::new(), [Vec::new(), Vec::new()]);
    for ((product, (letter, weight, _)), d_output) in saved.read.iter().zip(&words).zip(d_read) {
        let name = |of: &str| name(&format!("attention.{letter}.{of}"));
        let first = weight.chars().next();
        let (into, word) = match first {
            Some('q') => (&mut narrow[0], "bsq"),
            Some('r') => (&mut narrow[1], "bsr"),
            _ => (&mut parts, "bsh"),
        };
        of.gradient(&name("weight.grad"), [product.input, d_output], product.weight);
        let weight = of.store(product.weight);
        into.push(of.einsum(&name("backward"), [d_output, weight], word));
    }
    let pairs = saved.narrow.iter().zip(&narrow).zip(["q", "kv"]);
    for ((saved, d_norm), letter) in pairs {
        let Some(Narrow { first, .. }) = saved else { continue };
        let name = |of: &str| name(&format!("attention.{letter}_narrow.{of}"));
        let word = if letter == "q" { "bsq" } else { "bsr" };
        let d_norm = of.sum(&name("sum"), d_norm, word);
        let d_first = of.each(&name("norm.backward"), &[first.output, d_norm], NORM);
        of.gradient(&name("weight.grad"), [first.input, d_first], first.weight);
        let weight = of.store(first.weight);
        parts.push(of.einsum(&name("backward"), [d_first, weight], "bsh"));
    }
    parts
}
