//! Axes that merge the batch with others, against counts by hand.

use super::*;

const STEPS: u64 = 10;
const HEADS: u64 = 4;
const WIDTH: u64 = 16;

fn transposed(input: &str, output: &str, order: &[i64]) -> RawNode {
    let order = RawAttribute::Ints(order.to_vec());
    with(node("Transpose", &[input], &[output]), "perm", order)
}

/// Self-attention as `torch.nn.MultiheadAttention` computes it: sequence first, rows of
/// `sequence x batch`, heads as `batch x heads`; every extent is a number of the file.
fn attention(batch: u64) -> RawGraph {
    let features = HEADS * WIDTH;
    let [s, b, h, w, e] = [STEPS, batch, HEADS, WIDTH, features].map(|n| n as i64);
    let mut nodes = vec![transposed("x", "first", &[1, 0, 2])];
    for name in ["q", "k", "v"] {
        let [product, split] = [format!("{name}_product"), format!("{name}_split")];
        let heads: &[i64] = if name == "k" { &[1, 2, 0] } else { &[1, 0, 2] };
        nodes.push(node("MatMul", &["first", "w"], &[&product]));
        nodes.push(node("Reshape", &[&product, "heads"], &[&split]));
        nodes.push(transposed(&split, name, heads));
    }
    nodes.extend([
        node("MatMul", &["q", "k"], &["scores"]),
        node("Softmax", &["scores"], &["weights"]),
        node("MatMul", &["weights", "v"], &["mixed"]),
        transposed("mixed", "joined", &[1, 0, 2]),
        node("Reshape", &["joined", "rows"], &["out_rows"]),
        node("MatMul", &["out_rows", "w"], &["out"]),
        node("Reshape", &["out", "back"], &["out_first"]),
        transposed("out_first", "y", &[1, 0, 2]),
    ]);
    let constants = vec![
        ints("rows", &[s * b, e]),
        ints("heads", &[s, b * h, w]),
        ints("back", &[s, b, e]),
        weight("w", &[features, features]),
    ];
    graph(vec![value("x", &[batch, STEPS, features])], constants, nodes, &["y"])
}

/// Four projections, scores and their product with the values.
fn flops(batch: u64) -> u64 {
    let features = HEADS * WIDTH;
    batch * (4 * 2 * STEPS * features * features + HEADS * 2 * 2 * STEPS * STEPS * WIDTH)
}

#[test]
fn attention_over_a_merged_axis_grows_with_the_batch() {
    for from in [1, 2, 3, 5] {
        for to in [1, 2, 6, 7, 8] {
            let import = import(&attention(from), &at_batch(to));
            assert_eq!(import.summary.forward_flops, flops(to), "{from} to {to}");
            assert_eq!(import.summary.scaled_share, 0.0, "{from} to {to}");
            assert_eq!(codes(&import), [""; 0], "{from} to {to}");
            let shape = &import.graph.tensor(import.graph.outputs[0]).shape;
            assert_eq!(*shape, [to, STEPS, HEADS * WIDTH], "{from} to {to}");
        }
    }
}

#[test]
fn samples_multiplied_by_each_other_are_named() {
    // Every sample against every other, as contrastive losses have it.
    let nodes = vec![transposed("x", "t", &[1, 0]), node("MatMul", &["x", "t"], &["y"])];
    let model = graph(vec![value("x", &[2, 8])], vec![], nodes, &["y"]);
    let import = import(&model, &at_batch(6));
    assert_eq!(import.summary.forward_flops, 2 * 6 * 8 * 6);
    assert_eq!(codes(&import), ["batch-outgrown"]);
}
