//! A decoder layer with its backward pass, on prices of round figures: optima that a program in Python found to the
//! same hundredth of a microsecond.

use super::answer::{Refused, Sharding};
use super::graph::{Budget, Graph};
use super::lettered::Lettered;
use super::mesh::{Axis, Collective, Mesh, Rings};
use super::program::plan;
use super::rules::{attention, attention_backward, cross_entropy, embedding, embedding_backward};
use crate::run::{Control, Limits};

const HIDDEN: u64 = 4096;
const HEADS: [u64; 2] = [32, 128];
const INNER: u64 = 4 * HIDDEN;
const VOCABULARY: u64 = 32_000;
const FAST: (u64, f64, f64) = (8, 10e-6, 300e9);
const SLOW: (u64, f64, f64) = (4, 20e-6, 25e9);

/// Sequences, tokens of each, and the sizes of a layer.
pub(super) fn lettered([b, s]: [u64; 2]) -> Lettered {
    Lettered::new(&[
        ('b', b),
        ('s', s),
        ('h', HIDDEN),
        ('n', HEADS[0]),
        ('d', HEADS[1]),
        ('f', INNER),
        ('v', VOCABULARY),
    ])
}

const NORM: (&str, bool) = ("bs", false);
const ADD: (&str, bool) = ("bsh", true);

/// What the backward pass of a layer needs.
struct Forward {
    weights: [usize; 6],
    x0: usize,
    x1: usize,
    n1: usize,
    n2: usize,
    qkv: [usize; 3],
    o: usize,
    u: usize,
    g: usize,
}

fn forward(of: &mut Lettered, x0: usize) -> (Forward, usize) {
    let names = ["Wq", "Wk", "Wv", "Wo", "W1", "W2"];
    let words = ["hnd", "hnd", "hnd", "ndh", "hf", "fh"];
    let mut at = 0;
    let weights = names.map(|name| {
        at += 1;
        of.source(name, words[at - 1])
    });
    let [wq, wk, wv, wo, w1, w2] = weights;
    let n1 = of.each("n1", &[x0], NORM);
    let qkv = [("q", wq), ("k", wk), ("v", wv)].map(|(name, w)| of.einsum(name, [n1, w], "bsnd"));
    let o = of.tensor("o", "bsnd");
    let flops = attention_flops(of);
    of.op("attention", flops, [&qkv, &[o]], attention(false));
    let a = of.einsum("a", [o, wo], "bsh");
    let x1 = of.each("x1", &[x0, a], ADD);
    let n2 = of.each("n2", &[x1], NORM);
    let u = of.einsum("u", [n2, w1], "bsf");
    let g = of.each("g", &[u], ("bsf", false));
    let m = of.einsum("m", [g, w2], "bsh");
    let x2 = of.each("x2", &[x1, m], ADD);
    (Forward { weights, x0, x1, n1, n2, qkv, o, u, g }, x2)
}

fn attention_flops(of: &Lettered) -> f64 {
    let [b, s] = ['b', 's'].map(|letter| of.size(letter) as f64);
    2.0 * b * s * s * HIDDEN as f64
}

fn backward(of: &mut Lettered, layer: &Forward, dx2: usize) -> usize {
    let Forward { weights, x0, x1, n1, n2, qkv, o, u, g } = *layer;
    let [wq, wk, wv, wo, w1, w2] = weights;
    of.gradient("dW2", [g, dx2], w2);
    let dg = of.einsum("dg", [dx2, w2], "bsf");
    let du = of.each("du", &[u, dg], ("bsf", false));
    of.gradient("dW1", [n2, du], w1);
    let dn2 = of.einsum("dn2", [du, w1], "bsh");
    let dxn2 = of.each("dxn2", &[x1, dn2], NORM);
    let dx1 = of.each("dx1", &[dx2, dxn2], ADD);
    of.gradient("dWo", [o, dx1], wo);
    let d_out = of.einsum("do", [dx1, wo], "bsnd");
    let dqkv = ["dq", "dk", "dv"].map(|name| of.tensor(name, "bsnd"));
    let flops = 2.5 * attention_flops(of);
    let inputs = [qkv[0], qkv[1], qkv[2], d_out];
    of.op("attention backward", flops, [&inputs, &dqkv], attention_backward(false));
    let mut parts = Vec::new();
    for (at, w) in [wq, wk, wv].into_iter().enumerate() {
        of.gradient("dW of q, k, v", [n1, dqkv[at]], w);
        parts.push(of.einsum("dn1 of q, k, v", [dqkv[at], w], "bsh"));
    }
    let dn1qk = of.each("dn1qk", &[parts[0], parts[1]], ADD);
    let dn1 = of.each("dn1", &[dn1qk, parts[2]], ADD);
    let dxn1 = of.each("dxn1", &[x0, dn1], NORM);
    of.each("dx0", &[dx1, dxn1], ADD)
}

fn layer([b, tokens]: [u64; 2]) -> Graph {
    let mut of = lettered([b, tokens / b]);
    let x0 = of.source("x0", "bsh");
    let dx2 = of.source("dx2", "bsh");
    let (saved, x2) = forward(&mut of, x0);
    let dx0 = backward(&mut of, &saved, dx2);
    of.pin(x2, x0);
    of.pin(dx0, dx2);
    of.graph
}

/// Layers between an embedding and a head with cross-entropy.
fn model(n_layers: usize, is_tied: bool) -> Graph {
    let mut of = lettered([8, 512]);
    let table = of.source("E", "vh");
    let head = if is_tied { table } else { of.source("Wh", "vh") };
    let ids = of.source("ids", "bs");
    of.graph.tensors[ids].element_bytes = 0.0;
    let mut x = of.tensor("x0", "bsh");
    of.op("embedding", 0.0, [&[ids, table], &[x]], embedding());
    let mut saved = Vec::new();
    for _ in 0..n_layers {
        let (layer, next) = forward(&mut of, x);
        saved.push(layer);
        x = next;
    }
    let nf = of.each("nf", &[x], NORM);
    let logits = of.einsum("logits", [nf, head], "bsv");
    let dlogits = of.tensor("dlogits", "bsv");
    of.op("cross-entropy", 0.0, [&[logits], &[dlogits]], cross_entropy());
    let dwh = of.einsum("dWh", [nf, dlogits], "vh");
    of.pin(dwh, head);
    let dnf = of.einsum("dnf", [dlogits, head], "bsh");
    let mut dx = of.each("dxf", &[x, dnf], NORM);
    for layer in saved.iter().rev() {
        dx = backward(&mut of, layer, dx);
    }
    let de = of.tensor("dE", "vh");
    of.op("embedding backward", 0.0, [&[ids, dx], &[de]], embedding_backward());
    of.pin(de, table);
    of.graph
}

pub(super) fn mesh(axes: &[(u64, f64, f64)]) -> (Mesh, Rings) {
    let axis = |of: &(u64, f64, f64)| Axis { name: "axis".to_owned(), size: of.0 };
    let mesh = Mesh { axes: axes.iter().map(axis).collect(), is_ordered: false };
    let prices = Rings {
        flops_per_s: 400e12,
        memory_bytes_per_s: 2e12,
        launch_s: 3e-6,
        axes: axes.to_vec(),
    };
    (mesh, prices)
}

pub(super) fn solved(graph: &Graph, axes: &[(u64, f64, f64)]) -> Result<Sharding, Refused> {
    let (mesh, prices) = mesh(axes);
    plan(graph, &mesh, &prices, &Control::new(&Limits::default()))
}

/// Microseconds, which the bound meets.
#[track_caller]
fn is(graph: &Graph, axes: &[(u64, f64, f64)], microseconds: f64) -> Sharding {
    let found = solved(graph, axes).unwrap();
    let [least, bound] = [found.seconds, found.bound_s].map(|seconds| seconds * 1e6);
    assert!((least - microseconds).abs() < 0.005, "{least} {microseconds}");
    assert!((least - bound).abs() < 1e-3, "{least} {bound}");
    found
}

#[test]
fn a_layer_goes_from_megatron_to_data_parallelism() {
    let optima = [
        ([8, 4096], 2716.94),
        ([8, 6144], 3954.42),
        ([8, 8192], 5136.27),
        ([8, 12_288], 7283.01),
        ([8, 16_384], 9452.86),
        ([8, 32_768], 16_942.21),
        ([1, 4096], 2844.19),
    ];
    for (tokens, microseconds) in optima {
        is(&layer(tokens), &[FAST], microseconds);
    }
    let first = is(&layer([8, 4096]), &[FAST], 2716.94);
    assert_eq!((first.n_columns, first.n_strategies), (1668, 226));
    // Eight collectives of tokens x hidden, two bytes each.
    let ring_s = FAST.1 + 2.0 * 4096.0 * 4096.0 * 7.0 / 8.0 / FAST.2;
    let total = |of: &Sharding| of.steps.iter().map(|step| step.seconds).sum::<f64>();
    assert!((total(&first) - 8.0 * ring_s).abs() < 1e-9, "{:?}", first.steps);
    // Gradients of six weights, 12 x hidden^2 elements, all-reduced.
    let last = is(&layer([8, 16_384]), &[FAST], 9452.86);
    let gradients_s = 24.0 * 4096.0 * 4096.0 * 7.0 / 8.0 / FAST.2;
    assert!((total(&last) - 12.0 * FAST.1 - 2.0 * gradients_s).abs() < 1e-9, "{:?}", last.steps);
}

/// 16 bytes per parameter at rest: all of 3.22 GB in eight parts, at no cost.
#[test]
fn a_limit_of_memory_shards_parameters_at_rest() {
    let mut graph = layer([8, 32_768]);
    let weights = graph.ops.iter().filter(|op| op.name.starts_with('W'));
    let tensors = weights.map(|op| (op.outputs[0], 16.0)).collect();
    let budget = |most_bytes| Budget {
        name: "parameters".to_owned(),
        most_bytes,
        tensors,
        operands: Vec::new(),
    };
    graph.budgets.push(budget(0.45e9));
    is(&graph, &[FAST], 16_942.21);
    graph.budgets[0].most_bytes = 0.40e9;
    assert_eq!(solved(&graph, &[FAST]), Err(Refused::Infeasible));
}

#[test]
fn embedding_and_head_of_a_model() {
    is(&model(1, false), &[FAST], 4128.18);
    is(&model(1, true), &[FAST], 4328.81);
    let mut graph = model(1, false);
    graph.without.push(Collective::AllToAll);
    is(&graph, &[FAST], 4328.81);
}

/// Each further layer takes as long as the first.
#[test]
fn layers_add_up() {
    for (n_layers, microseconds) in [(2, 6845.12), (4, 12_278.99), (8, 23_146.74)] {
        is(&model(n_layers, false), &[FAST], microseconds);
    }
}

#[test]
fn two_axes() {
    let first = is(&layer([32, 16_384]), &[SLOW, FAST], 5976.84);
    assert_eq!((first.n_columns, first.n_strategies), (28_800, 1426));
    is(&layer([32, 32_768]), &[SLOW, FAST], 8396.17);
    is(&layer([32, 131_072]), &[SLOW, FAST], 20_202.11);
}
