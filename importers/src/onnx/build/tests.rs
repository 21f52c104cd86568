//! Graphs of hand-made models.

mod bounded;
mod integers;
mod merged;
mod older;

use std::collections::BTreeMap;

use ir::op::{Kernel, Op, Origin, Product, Work};
use ir::tensor::{DType, Role};
use ir::units::Bytes;

use crate::import::{Import, ImportOptions};
use crate::onnx::build::build;
use crate::onnx::raw::{
    RawAttribute, RawDim, RawGraph, RawModel, RawNode, RawTensor, RawValue, RawValues,
};

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> RawNode {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    RawNode {
        op_type: op_type.to_owned(),
        inputs: owned(inputs),
        outputs: owned(outputs),
        ..RawNode::default()
    }
}

fn with(mut node: RawNode, name: &str, attribute: RawAttribute) -> RawNode {
    node.attributes.insert(name.to_owned(), attribute);
    node
}

fn value(name: &str, shape: &[u64]) -> RawValue {
    RawValue {
        name: name.to_owned(),
        dtype: Some(DType::F32),
        shape: Some(shape.iter().map(|extent| RawDim::Known(*extent)).collect()),
    }
}

fn weight(name: &str, dims: &[u64]) -> RawTensor {
    let n_elements = dims.iter().product();
    RawTensor {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: dims.to_vec(),
        n_elements,
        bytes: Bytes(4 * n_elements),
        values: None,
        place: None,
    }
}

fn ints(name: &str, values: &[i64]) -> RawTensor {
    RawTensor {
        dtype: DType::I64,
        values: Some(RawValues::Ints(values.to_vec())),
        ..weight(name, &[values.len() as u64])
    }
}

fn graph(
    inputs: Vec<RawValue>,
    initializers: Vec<RawTensor>,
    nodes: Vec<RawNode>,
    outputs: &[&str],
) -> RawGraph {
    let named = |name: &&str| RawValue { name: (*name).to_owned(), ..RawValue::default() };
    let outputs = outputs.iter().map(named).collect();
    RawGraph { nodes, initializers, inputs, outputs, ..RawGraph::default() }
}

fn import(graph: &RawGraph, options: &ImportOptions) -> Import {
    import_at(20, graph, options)
}

fn import_at(opset: i64, graph: &RawGraph, options: &ImportOptions) -> Import {
    let opsets = BTreeMap::from([(String::new(), opset)]);
    let model = RawModel { opsets, graph: graph.clone() };
    build(model, "test", options, Vec::new()).unwrap()
}

fn kernel(op: &Op) -> &Kernel {
    match &op.work {
        Work::Kernel(kernel) => kernel,
        other => panic!("no kernel but {other:?}"),
    }
}

fn codes(import: &Import) -> Vec<&str> {
    import.warnings.iter().map(|warning| warning.code).collect()
}

fn at_batch(batch: u64) -> ImportOptions {
    ImportOptions { batch: Some(batch), ..ImportOptions::default() }
}

#[test]
fn shape_arithmetic_leaves_no_ops_and_no_parameters() {
    // [2, 3, 4] flattened to [2, 12] by way of Shape, Gather, Concat.
    let model = graph(
        vec![value("x", &[2, 3, 4])],
        vec![ints("zero", &[0]), ints("minus", &[-1])],
        vec![
            node("Shape", &["x"], &["s"]),
            node("Gather", &["s", "zero"], &["b"]),
            with(node("Concat", &["b", "minus"], &["t"]), "axis", RawAttribute::Int(0)),
            node("Reshape", &["x", "t"], &["y"]),
            node("Relu", &["y"], &["z"]),
            node("Relu", &["y"], &["nobody"]),
        ],
        &["z"],
    );
    let import = import(&model, &ImportOptions::default());
    let names: Vec<_> = import.graph.ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(names, ["y", "z"]);
    assert_eq!(import.graph.ops[0].work, Work::View);
    assert_eq!(import.graph.tensor(import.graph.ops[0].outputs[0]).shape, [2, 12]);
    assert!(import.graph.tensors.iter().all(|tensor| tensor.role != Role::Parameter));
    assert_eq!(import.summary.n_parameters, 2);
}

#[test]
fn a_constant_that_holds_the_batch_lets_it_through() {
    // Attention heads split off and joined again by numbers, then a Reshape that mixes batch and
    // sequence into one axis and back.
    let model = graph(
        vec![value("x", &[2, 6, 8])],
        vec![
            ints("split", &[2, 6, 2, 4]),
            ints("mixed", &[12, 8]),
            ints("back", &[2, -1, 8]),
            weight("w", &[8, 8]),
        ],
        vec![
            node("Reshape", &["x", "split"], &["a"]),
            with(node("Transpose", &["a"], &["b"]), "perm", RawAttribute::Ints(vec![0, 2, 1, 3])),
            node("Reshape", &["b", "mixed"], &["c"]),
            node("MatMul", &["c", "w"], &["d"]),
            node("Reshape", &["d", "back"], &["y"]),
        ],
        &["y"],
    );
    let import = import(&model, &at_batch(6));
    assert_eq!(codes(&import), [""; 0]);
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [6, 6, 8]);
    let product = kernel(&import.graph.ops[3]).products[0];
    assert_eq!(product, Product { count: 1, m: 36, k: 8, n: 8 });
    assert_eq!(import.summary.scaled_share, 0.0);
}

#[test]
fn what_a_constant_stops_is_scaled_and_named() {
    // A Squeeze of the batch axis can't hold more than one sample.
    let model = graph(
        vec![value("x", &[1, 6, 8])],
        vec![ints("axis", &[0]), weight("w", &[8, 8])],
        vec![node("Squeeze", &["x", "axis"], &["a"]), node("MatMul", &["a", "w"], &["y"])],
        &["y"],
    );
    let import = import(&model, &at_batch(5));
    assert_eq!(codes(&import), ["batch-scaled"]);
    let op = &import.graph.ops[1];
    assert_eq!(kernel(op).origin, Origin::Scaled);
    assert_eq!(import.summary.forward_flops, 5 * 2 * 6 * 8 * 8);
    // Activations grow, the weight is read once.
    assert_eq!(kernel(op).bytes_read, Bytes(5 * 6 * 8 * 4 + 8 * 8 * 4));
    assert_eq!(import.graph.tensor(op.outputs[0]).bytes, Bytes(5 * 6 * 8 * 4));
    assert_eq!(import.summary.scaled_share, 1.0);
}

#[test]
fn a_class_token_grows_with_the_batch() {
    let model = graph(
        vec![value("x", &[1, 4, 8])],
        vec![weight("token", &[1, 1, 8])],
        vec![with(node("Concat", &["token", "x"], &["y"]), "axis", RawAttribute::Int(1))],
        &["y"],
    );
    let import = import(&model, &at_batch(3));
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [3, 5, 8]);
    assert_eq!(import.summary.scaled_share, 0.0);
}

#[test]
fn unknown_operators_are_placeholders() {
    let mut fused = node("Fused", &["x"], &["y"]);
    fused.domain = "com.vendor".to_owned();
    let mut model =
        graph(vec![value("x", &[2, 8])], vec![], vec![fused, node("Relu", &["y"], &["z"])], &["z"]);
    let blind = import(&model, &ImportOptions::default());
    assert_eq!(codes(&blind), ["unknown-op", "unknown-shape"]);
    assert_eq!(blind.graph.ops[0].op_type, "com.vendor::Fused");
    assert_eq!(kernel(&blind.graph.ops[0]).bytes_read, Bytes(64));
    assert_eq!(blind.summary.guessed_share, 1.0);
    // A declared shape ends the guessing behind the placeholder.
    model.value_info.push(value("y", &[2, 16]));
    let declared = import(&model, &ImportOptions::default());
    assert_eq!(kernel(&declared.graph.ops[1]).origin, Origin::Rule);
    assert_eq!(declared.graph.tensor(declared.graph.outputs[0]).shape, [2, 16]);
}

#[test]
fn inference_overrules_declarations() {
    let mut model =
        graph(vec![value("x", &[2, 8])], vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
    model.value_info.push(value("y", &[2, 9]));
    let import = import(&model, &ImportOptions::default());
    assert_eq!(codes(&import), ["shape-contradiction"]);
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [2, 8]);
}

#[test]
fn the_dearer_branch_counts_and_captures_are_inputs() {
    let branch = |nodes, output| graph(vec![], vec![weight("w", &[8, 8])], nodes, &[output]);
    let cheap = branch(vec![node("Relu", &["x"], &["r"])], "r");
    let dear = branch(vec![node("MatMul", &["x", "w"], &["m"])], "m");
    let mut choice = node("If", &["c"], &["y"]);
    choice = with(choice, "then_branch", RawAttribute::Graph(cheap));
    choice = with(choice, "else_branch", RawAttribute::Graph(dear));
    let condition = RawValue { dtype: Some(DType::Bool), ..value("c", &[]) };
    let model = graph(vec![condition, value("x", &[4, 8])], vec![], vec![choice], &["y"]);
    let import = import(&model, &ImportOptions::default());
    assert_eq!(import.summary.forward_flops, 2 * 4 * 8 * 8);
    let names = |ids: &[ir::id::TensorId]| -> Vec<String> {
        ids.iter().map(|id| import.graph.tensor(*id).name.clone()).collect()
    };
    assert_eq!(names(&import.graph.ops[0].inputs), ["c", "x"]);
    assert_eq!(names(&import.graph.ops[0].parameters), ["w"]);
}

#[test]
fn a_scan_runs_its_body_once_per_slice() {
    let body = graph(
        vec![value("state", &[1, 8]), value("slice", &[1, 8])],
        vec![],
        vec![
            node("MatMul", &["slice", "w"], &["m"]),
            node("Add", &["state", "m"], &["next"]),
            node("Identity", &["next"], &["each"]),
        ],
        &["next", "each"],
    );
    let mut scan = node("Scan", &["zero", "x"], &["last", "all"]);
    scan = with(scan, "body", RawAttribute::Graph(body));
    scan = with(scan, "num_scan_inputs", RawAttribute::Int(1));
    let model = graph(
        vec![value("x", &[7, 1, 8])],
        vec![weight("zero", &[1, 8]), weight("w", &[8, 8])],
        vec![scan],
        &["last", "all"],
    );
    let import = import(&model, &ImportOptions::default());
    assert_eq!(import.summary.forward_flops, 7 * 2 * 8 * 8);
    let shapes: Vec<_> =
        import.graph.outputs.iter().map(|id| import.graph.tensor(*id).shape.clone()).collect();
    assert_eq!(shapes, [vec![1, 8], vec![7, 1, 8]]);
    assert_eq!(import.summary.guessed_share, 0.0);
}

#[test]
fn a_member_of_a_sequence_is_the_member() {
    let model = graph(
        vec![value("x", &[6, 8])],
        vec![ints("second", &[1])],
        vec![
            node("Split", &["x"], &["a", "b", "c"]),
            node("SequenceConstruct", &["a", "b", "c"], &["s"]),
            node("SequenceAt", &["s", "second"], &["m"]),
            node("Relu", &["m"], &["y"]),
        ],
        &["y"],
    );
    let import = import(&model, &ImportOptions::default());
    let types: Vec<_> = import.graph.ops.iter().map(|op| op.op_type.as_str()).collect();
    assert_eq!(types, ["Split", "SequenceAt", "Relu"]);
    let graph = &import.graph;
    let root = graph.roots()[graph.ops[2].inputs[0].index()];
    assert_eq!(graph.tensor(root).name, "b");
    assert_eq!(import.summary.guessed_share, 0.0);
}

#[test]
fn only_weights_are_trainable() {
    let mut scale = weight("scale", &[]);
    scale.values = Some(RawValues::Floats(vec![0.5]));
    let model = graph(
        vec![value("x", &[2, 8])],
        vec![weight("w", &[8, 8]), weight("bias", &[8]), scale],
        vec![
            node("MatMul", &["x", "w"], &["a"]),
            node("Add", &["a", "bias"], &["b"]),
            node("Mul", &["b", "scale"], &["y"]),
        ],
        &["y"],
    );
    let options = ImportOptions { dtype: Some(DType::F8), ..ImportOptions::default() };
    let import = import(&model, &options);
    let trainable: Vec<_> =
        import.graph.tensors.iter().filter(|t| t.trainable).map(|t| t.name.as_str()).collect();
    assert_eq!(trainable, ["w", "bias"]);
    assert!(import.graph.tensors.iter().all(|tensor| tensor.dtype == DType::F8));
    assert_eq!(kernel(&import.graph.ops[0]).dtype, Some(DType::F8));
    assert_eq!(import.summary.parameter_bytes, 64 + 8 + 1);
}

#[test]
fn the_caller_is_told_what_does_not_fit() {
    let mut input = value("x", &[2, 8]);
    input.shape = Some(vec![RawDim::Symbol("batch".to_owned()), RawDim::Symbol("2*s".to_owned())]);
    let model = graph(vec![input], vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
    let read = |options: &ImportOptions| {
        let model = RawModel { graph: model.clone(), ..RawModel::default() };
        build(model, "test", options, Vec::new())
    };
    let error = read(&ImportOptions::default()).unwrap_err();
    assert_eq!(error.code, "unbound-dimension");
    assert_eq!(error.message, "the dimensions `batch`, `s` of the inputs have no value");
    let dims = BTreeMap::from([("s".to_owned(), 3), ("seq".to_owned(), 1)]);
    let import = read(&ImportOptions { dims, ..at_batch(4) }).unwrap();
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [4, 6]);
    assert_eq!(codes(&import), ["unused-dimension"]);
    assert_eq!(read(&at_batch(0)).unwrap_err().code, "invalid-batch");
    let dims = [("batch".to_owned(), 2), ("s".to_owned(), 3)].into();
    let error = read(&ImportOptions { dims, ..at_batch(4) }).unwrap_err();
    assert_eq!((error.code, error.blame), ("batch-sizes", ir::diagnostic::Blame::Usage));
    let batch_axis = BTreeMap::from([("z".to_owned(), 0)]);
    let error = read(&ImportOptions { batch_axis, ..at_batch(4) }).unwrap_err();
    assert_eq!(error.code, "unknown-input");
}
