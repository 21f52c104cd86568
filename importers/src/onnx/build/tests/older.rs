//! Operators as older and the newest operator sets define them, and fused ones: shapes and work by
//! hand from their definitions.

use super::*;

/// The shape and the products of a single node.
fn alone(
    opset: i64,
    node: RawNode,
    inputs: &[(&str, &[u64])],
    constants: Vec<RawTensor>,
) -> (Vec<u64>, u64) {
    let inputs = inputs.iter().map(|(name, shape)| value(name, shape)).collect();
    let import = import_at(opset, &graph(inputs, constants, vec![node], &["y"]), &plain());
    assert_eq!(codes(&import), [""; 0]);
    let shape = import.graph.tensor(import.graph.outputs[0]).shape.clone();
    (shape, import.summary.forward_flops)
}

fn plain() -> ImportOptions {
    ImportOptions::default()
}

#[test]
fn second_inputs_lie_on_named_axes_before_opset_7() {
    let data: &[u64] = &[2, 3, 4, 5];
    // Shapes of the definition of `Add` in opset 6.
    for (right, axis) in [(&[3, 4][..], Some(1)), (&[2], Some(0)), (&[5], None), (&[], None)] {
        for op_type in ["Add", "Sub", "Mul", "Div", "Pow", "Equal", "Less", "And"] {
            let mut op =
                with(node(op_type, &["x", "b"], &["y"]), "broadcast", RawAttribute::Int(1));
            if let Some(axis) = axis {
                op = with(op, "axis", RawAttribute::Int(axis));
            }
            let (shape, _) = alone(6, op, &[("x", data), ("b", right)], vec![]);
            assert_eq!(shape, data, "{op_type} {right:?}");
        }
    }
    let slopes = vec![weight("s", &[3])];
    let (shape, _) = alone(6, node("PRelu", &["x", "s"], &["y"]), &[("x", data)], slopes);
    assert_eq!(shape, data);
    // Constants fold with the same alignment: rows of 1 and 2 plus columns would differ.
    let op = with(node("Mul", &["m", "v"], &["t"]), "broadcast", RawAttribute::Int(1));
    let op = with(op, "axis", RawAttribute::Int(0));
    let square = RawTensor { dims: vec![2, 2], ..ints("m", &[1, 1, 1, 1]) };
    let nodes = vec![
        op,
        node("Reshape", &["t", "flat"], &["target"]),
        node("Reshape", &["x", "target"], &["y"]),
    ];
    let constants = vec![square, ints("v", &[2, 3]), ints("flat", &[4])];
    let import = import_at(6, &graph(vec![value("x", &[36])], constants, nodes, &["y"]), &plain());
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [2, 2, 3, 3]);
}

#[test]
fn names_of_types_and_attributes_of_opset_1_are_read() {
    let op = with(node("Cast", &["x"], &["y"]), "to", RawAttribute::Text("DOUBLE".into()));
    let model = graph(vec![value("x", &[2])], vec![], vec![op], &["y"]);
    let import = import_at(1, &model, &plain());
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).dtype, DType::F64);
    let op = node("Pad", &["x"], &["y"]);
    let op = with(op, "paddings", RawAttribute::Ints(vec![0, 1, 0, 2]));
    assert_eq!(alone(1, op, &[("x", &[2, 3])], vec![]).0, [2, 6]);
    let op = node("Tile", &["x", "times", "on"], &["y"]);
    let constants = vec![ints("times", &[3]), ints("on", &[1])];
    assert_eq!(alone(1, op, &[("x", &[2, 3])], constants).0, [2, 9]);
    let op = with(node("Upsample", &["x"], &["y"]), "height_scale", RawAttribute::Float(2.0));
    let op = with(op, "width_scale", RawAttribute::Float(3.0));
    assert_eq!(alone(1, op, &[("x", &[1, 2, 4, 5])], vec![]).0, [1, 2, 8, 15]);
}

#[test]
fn fused_products_move_the_first_axis_to_the_rows() {
    let fused = |flags: &[&str]| {
        let mut op = node("FusedMatMul", &["a", "b"], &["y"]);
        op.domain = "com.microsoft".to_owned();
        flags.iter().fold(op, |op, flag| with(op, flag, RawAttribute::Int(1)))
    };
    let check = |flags: &[&str], a: &[u64], b: &[u64], shape: &[u64], flops: u64| {
        let model = graph(vec![value("a", a), value("b", b)], vec![], vec![fused(flags)], &["y"]);
        let import = import(&model, &plain());
        assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, shape, "{flags:?}");
        assert_eq!(import.summary.forward_flops, flops, "{flags:?}");
    };
    let flops = 2 * 7 * 4 * 5 * 6;
    check(&["transBatchA"], &[4, 7, 5], &[7, 5, 6], &[7, 4, 6], flops);
    check(&["transBatchB"], &[7, 4, 5], &[5, 7, 6], &[7, 4, 6], flops);
    check(&["transBatchA", "transA"], &[5, 7, 4], &[7, 5, 6], &[7, 4, 6], flops);
    check(&["transBatchB", "transB"], &[7, 4, 5], &[6, 7, 5], &[7, 4, 6], flops);
    check(&["transBatchA"], &[4, 2, 7, 5], &[2, 7, 5, 6], &[2, 7, 4, 6], 2 * flops);
}

#[test]
fn operators_of_opsets_26_to_28_have_shapes_and_work() {
    let op = with(node("BitCast", &["x"], &["y"]), "to", RawAttribute::Int(6));
    assert_eq!(alone(26, op, &[("x", &[2, 3])], vec![]), (vec![2, 3], 0));
    let op = node("SwiGLU", &["a", "b"], &["y"]);
    assert_eq!(alone(28, op, &[("a", &[2, 8]), ("b", &[2, 8])], vec![]), (vec![2, 8], 0));
    // 2 sequences of 5 steps, 6 channels, 4 taps each.
    let op = node("CausalConvWithState", &["x", "w"], &["y", "state"]);
    let constants = vec![weight("w", &[6, 1, 4])];
    let conv = alone(27, op, &[("x", &[2, 6, 5])], constants);
    assert_eq!(conv, (vec![2, 6, 5], 2 * 2 * 6 * 5 * 4));
    // 4 query heads on 2 states of 8 x 16: per step each state takes one outer product and each
    // query reads one; the delta rule reads a state once more.
    for (rule, reads) in [("linear", 0), ("gated", 0), ("delta", 1), ("gated_delta", 1)] {
        let op = node("LinearAttention", &["q", "k", "v"], &["y", "state"]);
        let op = with(op, "q_num_heads", RawAttribute::Int(4));
        let op = with(op, "kv_num_heads", RawAttribute::Int(2));
        let op = with(op, "update_rule", RawAttribute::Text(rule.into()));
        let inputs = [("q", &[3, 7, 32][..]), ("k", &[3, 7, 16]), ("v", &[3, 7, 32])];
        let state = 2 * 8 * 16;
        let by_hand = 3 * 7 * state * (2 + 4 + 2 * reads);
        assert_eq!(alone(27, op, &inputs, vec![]), (vec![3, 7, 64], by_hand), "{rule}");
    }
}

#[test]
fn a_bernoulli_draw_has_the_type_that_is_asked_for() {
    let op = node("Bernoulli", &["x"], &["y"]);
    let of = |op| {
        let model = graph(vec![value("x", &[4])], vec![], vec![op], &["y"]);
        let import = import(&model, &plain());
        let output = import.graph.tensor(import.graph.outputs[0]);
        (output.dtype, output.bytes)
    };
    assert_eq!(of(op.clone()), (DType::F32, Bytes(16)));
    assert_eq!(of(with(op, "dtype", RawAttribute::Int(9))), (DType::Bool, Bytes(4)));
}
