//! Sizes that depend on data, at the most that the graph allows, by the operators' definitions.

use super::*;

fn shape_of<'g>(import: &'g Import, name: &str) -> &'g [u64] {
    let tensor = import.graph.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    &tensor.shape
}

/// A detector's end: the best boxes of each class, then their features through a layer.
fn detector(max_boxes: Vec<RawTensor>, values: Vec<RawValue>) -> RawGraph {
    let mut inputs = vec![
        value("boxes", &[2, 1000, 4]),
        value("scores", &[2, 80, 1000]),
        value("features", &[2, 256]),
    ];
    inputs.extend(values);
    let nodes = vec![
        node("NonMaxSuppression", &["boxes", "scores", "max"], &["kept"]),
        with(node("Gather", &["kept", "first"], &["sample"]), "axis", RawAttribute::Int(1)),
        node("Gather", &["features", "sample"], &["picked"]),
        node("MatMul", &["picked", "w"], &["y"]),
    ];
    let mut constants = vec![ints("first", &[0]), weight("w", &[256, 10])];
    constants.extend(max_boxes);
    graph(inputs, constants, nodes, &["y"])
}

#[test]
fn boxes_are_as_many_as_may_be_kept() {
    let int = |dtype, name: &str| RawValue { dtype: Some(dtype), ..value(name, &[1]) };
    for (max, values, per_class) in [
        (vec![ints("max", &[20])], vec![], 20),
        // More than there are, and a number that comes with the data: all of them.
        (vec![ints("max", &[i64::MAX])], vec![], 1000),
        (vec![], vec![int(DType::I64, "max")], 1000),
    ] {
        let import = import(&detector(max, values), &ImportOptions::default());
        let rows = 2 * 80 * per_class;
        assert_eq!(shape_of(&import, "kept"), [rows, 3]);
        assert_eq!(import.summary.forward_flops, 2 * rows * 256 * 10);
        assert_eq!(codes(&import), ["data-dependent-size"]);
        // All of the work hangs on the count, and none is a guess.
        let shares = (import.summary.guessed_share, import.summary.bounded_share);
        assert_eq!(shares, (0.0, 1.0));
    }
}

#[test]
fn what_does_not_depend_on_the_count_is_no_guess() {
    // Updates at counted places of a fixed tensor; a count that depends on data, taken from it.
    let nodes = vec![
        node("NonZero", &["x"], &["at"]),
        node("Transpose", &["at"], &["places"]),
        node("ScatterND", &["x", "places", "updates"], &["z"]),
        node("MatMul", &["z", "w"], &["y"]),
        node("TopK", &["x", "k"], &["best", "which"]),
    ];
    let inputs = vec![
        value("x", &[4, 8]),
        value("updates", &[32]),
        RawValue { dtype: Some(DType::I64), ..value("k", &[1]) },
    ];
    let import =
        import(&graph(inputs, vec![weight("w", &[8, 8])], nodes, &["y", "best"]), &plain());
    assert_eq!(shape_of(&import, "at"), [2, 32]);
    assert_eq!(shape_of(&import, "z"), [4, 8]);
    assert_eq!(shape_of(&import, "best"), [4, 8]);
    let origin = |name: &str| {
        let op = import.graph.ops.iter().find(|op| op.name == name).unwrap();
        kernel(op).origin
    };
    assert_eq!((origin("y"), origin("best")), (Origin::Rule, Origin::Bounded));
}

#[test]
fn counts_that_agree_only_at_run_time_contradict_nothing() {
    // Both sides hold as many elements as are not zero; their greatest sizes differ.
    let nodes = vec![
        node("NonZero", &["x"], &["at"]),
        with(node("Compress", &["x", "flags"], &["some"]), "axis", RawAttribute::Int(0)),
        node("Add", &["at", "some"], &["y"]),
    ];
    let inputs =
        vec![value("x", &[5]), RawValue { dtype: Some(DType::Bool), ..value("flags", &[3]) }];
    let import = import(&graph(inputs, vec![], nodes, &["y"]), &plain());
    assert_eq!(shape_of(&import, "some"), [3]);
    assert_eq!(codes(&import), ["unknown-shape", "data-dependent-size"]);
}

#[test]
fn a_view_of_unknown_size_is_told() {
    let target = RawValue { dtype: Some(DType::I64), ..value("target", &[2]) };
    let nodes = vec![node("Reshape", &["x", "target"], &["y"])];
    let import = import(&graph(vec![value("x", &[6]), target], vec![], nodes, &["y"]), &plain());
    assert_eq!(codes(&import), ["unknown-shape"]);
}

#[test]
fn what_the_exporter_saw_is_better_than_a_greatest_size() {
    let nodes = vec![node("NonZero", &["x"], &["at"]), node("Neg", &["at"], &["y"])];
    let mut model = graph(vec![value("x", &[5])], vec![], nodes, &["y"]);
    model.value_info.push(value("at", &[1, 2]));
    let import = import(&model, &plain());
    assert_eq!(shape_of(&import, "y"), [1, 2]);
    assert_eq!(codes(&import), [""; 0]);
}

fn plain() -> ImportOptions {
    ImportOptions::default()
}
