//! The block of Llama-3-8B, repeated: an instance of any size.
//!
//! Ops, edges and shapes are those of one decoder layer of the ONNX export (hidden 4,096, 32 heads
//! of 128, 8 of them for keys and values, feed-forward 14,336, 2,048 tokens, f32, views left out).
//! Durations are *nominal*: the longer of the floating-point operations at 156 TFLOP/s and the
//! bytes moved at 2,039 GB/s (TF32 and memory of the A100 SXM4 80 GB, NVIDIA data sheet 2021).

use std::io::{BufWriter, Write};
use std::path::Path;

/// Operations and bytes per second of a device; bytes per second and latency of its links (one
/// direction of NVLink 3, same data sheet; the latency is nominal).
const FLOPS: f64 = 156e12;
const MEMORY: f64 = 2039e9;
const LINK: f64 = 300e9;
const LATENCY_NS: u64 = 10_000;

const TOKENS: u64 = 2048;
const HIDDEN: u64 = 4096;
const HEADS: u64 = 32;
const HEAD: u64 = 128;
const KEYS: u64 = 1024;
const FORWARD: u64 = 14_336;
const ELEMENT: u64 = 4;

/// Elements of the values of a block.
const X: u64 = TOKENS * HIDDEN;
const ROW: u64 = TOKENS;
const K: u64 = TOKENS * KEYS;
const SCORES: u64 = HEADS * TOKENS * TOKENS;
const F: u64 = TOKENS * FORWARD;
const ANGLES: u64 = TOKENS * HEAD;

/// An op of the block: name, ops it reads (`in` = the block before; the first three ops of the
/// model by name), elements it writes, elements of its parameter, multiply-adds.
type Row = (&'static str, &'static [&'static str], u64, u64, u64);

const BLOCK: &[Row] = &[
    ("pow", &["in"], X, 0, 0),
    ("mean", &["pow"], ROW, 0, 0),
    ("eps", &["mean"], ROW, 0, 0),
    ("sqrt", &["eps"], ROW, 0, 0),
    ("rsqrt", &["sqrt"], ROW, 0, 0),
    ("scale", &["in", "rsqrt"], X, 0, 0),
    ("norm", &["scale"], X, HIDDEN, 0),
    ("wq", &[], HIDDEN * HIDDEN, HIDDEN * HIDDEN, 0),
    ("q", &["norm", "wq"], X, 0, X * HIDDEN),
    ("q_heads", &["q"], X, 0, 0),
    ("wk", &[], HIDDEN * KEYS, HIDDEN * KEYS, 0),
    ("k", &["norm", "wk"], K, 0, K * HIDDEN),
    ("k_heads", &["k"], K, 0, 0),
    ("wv", &[], HIDDEN * KEYS, HIDDEN * KEYS, 0),
    ("v", &["norm", "wv"], K, 0, K * HIDDEN),
    ("v_heads", &["v"], K, 0, 0),
    ("q_cos", &["q_heads", "cos"], X, 0, 0),
    ("q_low", &["q_heads"], X / 2, 0, 0),
    ("q_high", &["q_heads"], X / 2, 0, 0),
    ("q_neg", &["q_high"], X / 2, 0, 0),
    ("q_turned", &["q_neg", "q_low"], X, 0, 0),
    ("q_sin", &["q_turned", "sin"], X, 0, 0),
    ("q_rope", &["q_cos", "q_sin"], X, 0, 0),
    ("k_cos", &["k_heads", "cos"], K, 0, 0),
    ("k_low", &["k_heads"], K / 2, 0, 0),
    ("k_high", &["k_heads"], K / 2, 0, 0),
    ("k_neg", &["k_high"], K / 2, 0, 0),
    ("k_turned", &["k_neg", "k_low"], K, 0, 0),
    ("k_sin", &["k_turned", "sin"], K, 0, 0),
    ("k_rope", &["k_cos", "k_sin"], K, 0, 0),
    ("k_all", &["k_rope"], X, 0, 0),
    ("v_all", &["v_heads"], X, 0, 0),
    ("k_columns", &["k_all"], X, 0, 0),
    ("scores", &["q_rope", "k_columns"], SCORES, 0, SCORES * HEAD),
    ("scaled", &["scores"], SCORES, 0, 0),
    ("masked", &["scaled", "mask"], SCORES, 0, 0),
    ("softmax", &["masked"], SCORES, 0, 0),
    ("attended", &["softmax", "v_all"], X, 0, SCORES * HEAD),
    ("joined", &["attended"], X, 0, 0),
    ("wo", &[], HIDDEN * HIDDEN, HIDDEN * HIDDEN, 0),
    ("o", &["joined", "wo"], X, 0, X * HIDDEN),
    ("residual", &["in", "o"], X, 0, 0),
    ("pow2", &["residual"], X, 0, 0),
    ("mean2", &["pow2"], ROW, 0, 0),
    ("eps2", &["mean2"], ROW, 0, 0),
    ("sqrt2", &["eps2"], ROW, 0, 0),
    ("rsqrt2", &["sqrt2"], ROW, 0, 0),
    ("scale2", &["residual", "rsqrt2"], X, 0, 0),
    ("norm2", &["scale2"], X, HIDDEN, 0),
    ("wgate", &[], HIDDEN * FORWARD, HIDDEN * FORWARD, 0),
    ("gate", &["norm2", "wgate"], F, 0, F * HIDDEN),
    ("sigmoid", &["gate"], F, 0, 0),
    ("silu", &["gate", "sigmoid"], F, 0, 0),
    ("wup", &[], HIDDEN * FORWARD, HIDDEN * FORWARD, 0),
    ("up", &["norm2", "wup"], F, 0, F * HIDDEN),
    ("product", &["silu", "up"], F, 0, 0),
    ("wdown", &[], HIDDEN * FORWARD, HIDDEN * FORWARD, 0),
    ("down", &["product", "wdown"], X, 0, X * FORWARD),
    ("out", &["residual", "down"], X, 0, 0),
];

/// What comes before the blocks: input of the first one, and what every block reads.
const HEAD_OPS: &[(&str, u64)] =
    &[("embed", X), ("cos", ANGLES), ("sin", ANGLES), ("mask", TOKENS * TOKENS)];

/// Writes at least `n_ops` ops in whole blocks and `n_devices` equal devices of `limit` bytes
/// each; returns the number of ops.
pub(crate) fn write(
    path: &Path,
    n_ops: usize,
    n_devices: usize,
    limit: Option<u64>,
) -> std::io::Result<usize> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    write!(out, "{{\"name\": \"llama3_8b_blocks\", \"ops\": [")?;
    for (id, (name, elements)) in HEAD_OPS.iter().enumerate() {
        let comma = if id > 0 { ",\n" } else { "" };
        let ns = time_ns(*elements, 0);
        op(&mut out, comma, &Op { id, name, ns, persistent: 0, reads: &[], elements: *elements })?;
    }
    let n_blocks = n_ops.saturating_sub(HEAD_OPS.len()).div_ceil(BLOCK.len());
    let mut last = 0;
    for block in 0..n_blocks {
        last = one_block(&mut out, block, last)?;
    }
    write!(out, "], \"graph_outputs\": [{last}], \"devices\": [")?;
    let limit = limit.map(|limit| format!(", \"limit\": {limit}")).unwrap_or_default();
    for device in 0..n_devices {
        let comma = if device > 0 { ", " } else { "" };
        write!(out, "{comma}{{\"id\": {device}, \"kind\": \"a100_sxm4_80gb\"{limit}}}")?;
    }
    let link = format!(
        "{{\"latency_ns\": {LATENCY_NS}, \"bytes_per_s\": {LINK:e}, \"duplex\": \"full\"}}"
    );
    write!(out, "], \"link\": {link}}}")?;
    out.flush()?;
    Ok(HEAD_OPS.len() + n_blocks * BLOCK.len())
}

/// Writes one block that reads op `input`; returns its last op.
fn one_block(out: &mut impl Write, block: usize, input: usize) -> std::io::Result<usize> {
    let first = HEAD_OPS.len() + block * BLOCK.len();
    let find = |name: &str| match name {
        "in" => (input, X),
        _ => match HEAD_OPS.iter().position(|(head, _)| *head == name) {
            Some(at) => (at, HEAD_OPS[at].1),
            None => {
                let at = BLOCK.iter().position(|row| row.0 == name).unwrap_or(0);
                (first + at, BLOCK[at].2)
            }
        },
    };
    for (at, (name, reads, elements, parameter, products)) in BLOCK.iter().enumerate() {
        let sources: Vec<(usize, u64)> = reads.iter().map(|name| find(name)).collect();
        let moved = elements + parameter + sources.iter().map(|(_, read)| read).sum::<u64>();
        let reads: Vec<usize> = sources.iter().map(|(id, _)| *id).collect();
        let name = format!("layers.{block}.{name}");
        let persistent = parameter * ELEMENT;
        let ns = time_ns(moved, *products);
        let (name, reads) = (name.as_str(), reads.as_slice());
        op(out, ",\n", &Op { id: first + at, name, ns, persistent, reads, elements: *elements })?;
    }
    Ok(first + BLOCK.len() - 1)
}

/// Nanoseconds of an op that moves so many elements and takes so many multiply-adds.
fn time_ns(elements: u64, products: u64) -> u64 {
    let memory = (elements * ELEMENT) as f64 / MEMORY;
    let arithmetic = 2.0 * products as f64 / FLOPS;
    ((memory.max(arithmetic) * 1e9).round() as u64).max(1)
}

struct Op<'a> {
    id: usize,
    name: &'a str,
    ns: u64,
    persistent: u64,
    reads: &'a [usize],
    elements: u64,
}

fn op(out: &mut impl Write, before: &str, op: &Op) -> std::io::Result<()> {
    write!(
        out,
        "{before}{{\"id\": {id}, \"name\": \"{}\", \"time_ns\": {{\"a100_sxm4_80gb\": {}}}, \
         \"persistent\": {}, \"inputs\": {:?}, \"outputs\": [{{\"tensor\": {id}, \"bytes\": {}}}]}}",
        op.name,
        op.ns,
        op.persistent,
        op.reads,
        op.elements * ELEMENT,
        id = op.id,
    )
}
