//! Pairs that quantise and dequantise, as integer kernels and as written.

use super::*;

fn narrow(name: &str, dims: &[u64], dtype: DType) -> RawTensor {
    let tensor = weight(name, dims);
    RawTensor { dtype, bytes: Bytes(tensor.n_elements), ..tensor }
}

fn scalar(name: &str) -> RawTensor {
    RawTensor { values: Some(RawValues::Floats(vec![0.5])), ..weight(name, &[]) }
}

/// `relu(x @ w)` of 8 x 64 by 64 x 32, all quantised.
fn product() -> RawModel {
    let graph = RawGraph {
        nodes: vec![
            node("QuantizeLinear", &["x", "s", "z"], &["x_q"]),
            node("DequantizeLinear", &["x_q", "s", "z"], &["x_d"]),
            node("DequantizeLinear", &["w", "s"], &["w_d"]),
            node("MatMul", &["x_d", "w_d"], &["y"]),
            node("Relu", &["y"], &["r"]),
            node("QuantizeLinear", &["r", "s", "z"], &["r_q"]),
            node("DequantizeLinear", &["r_q", "s", "z"], &["out"]),
        ],
        initializers: vec![
            scalar("s"),
            RawTensor { values: Some(RawValues::Ints(vec![0])), ..narrow("z", &[], DType::I8) },
            narrow("w", &[64, 32], DType::I8),
        ],
        inputs: vec![value("x", &[8, 64])],
        outputs: vec![value("out", &[8, 32])],
        ..RawGraph::default()
    };
    RawModel { opsets: BTreeMap::from([(String::new(), 21)]), graph }
}

fn kernel_of<'a>(import: &'a Import, name: &str) -> Option<&'a Kernel> {
    let op = import.graph.ops.iter().find(|op| op.name == name)?;
    match &op.work {
        Work::Kernel(kernel) => Some(kernel),
        _ => None,
    }
}

#[test]
fn pairs_are_the_integer_kernels_of_executors() {
    let import = build(product(), "q", &ImportOptions::default(), Vec::new()).unwrap();
    // Data of 8 x 64 and a weight of 64 x 32 come in as bytes, 8 x 32 go out.
    let kernel = kernel_of(&import, "y").unwrap();
    assert_eq!(kernel.dtype, Some(DType::I8));
    assert_eq!((kernel.bytes_read, kernel.bytes_written), (Bytes(512 + 2048), Bytes(256)));
    for part in ["x_d", "w_d", "r", "r_q"] {
        assert!(kernel_of(&import, part).is_none(), "{part} is part of the product");
    }
    // What stands at the borders is work: floats in, bytes out, and back.
    assert_eq!(kernel_of(&import, "x_q").unwrap().bytes_written, Bytes(512));
    assert_eq!(kernel_of(&import, "out").unwrap().bytes_written, Bytes(1024));
}

#[test]
fn as_written_every_node_does_its_own() {
    let options = ImportOptions { qdq_as_written: true, ..ImportOptions::default() };
    let import = build(product(), "q", &options, Vec::new()).unwrap();
    let kernel = kernel_of(&import, "y").unwrap();
    // Only the weight is read as stored: it is dequantised on the way, into the product's floats.
    assert_eq!(kernel.dtype, Some(DType::F32));
    assert_eq!((kernel.bytes_read, kernel.bytes_written), (Bytes(2048 + 2048), Bytes(1024)));
    assert!(kernel_of(&import, "x_d").is_some() && kernel_of(&import, "r_q").is_some());
    // Without pairs there is nothing that the flag could change.
    let mut plain = product();
    plain.graph.nodes.retain(|node| node.op_type == "MatMul");
    plain.graph.nodes[0].inputs[0] = "x".into();
    plain.graph.nodes[0].inputs[1] = "x".into();
    plain.graph.inputs = vec![value("x", &[8, 8])];
    plain.graph.outputs = vec![value("y", &[8, 8])];
    let import = build(plain, "q", &options, Vec::new()).unwrap();
    assert!(import.warnings.iter().any(|warning| warning.code == "flag-without-effect"));
}

#[test]
fn values_that_others_read_as_floats_stay_floats() {
    let mut model = product();
    model.graph.outputs.push(value("y", &[8, 32]));
    let import = build(model, "q", &ImportOptions::default(), Vec::new()).unwrap();
    let kernel = kernel_of(&import, "y").unwrap();
    assert_eq!((kernel.dtype, kernel.bytes_written), (Some(DType::I8), Bytes(1024)));
    assert!(kernel_of(&import, "r_q").is_some());
}

#[test]
fn weights_that_are_quantised_in_the_graph_are_held_as_integers() {
    let mut model = product();
    model.graph.initializers.pop();
    model.graph.initializers.push(weight("v", &[32, 64]));
    model.graph.nodes[2] = node("DequantizeLinear", &["v_q", "s", "z"], &["v_d"]);
    model.graph.nodes.insert(2, node("QuantizeLinear", &["v", "s", "z"], &["v_q"]));
    model.graph.nodes.insert(4, node("Transpose", &["v_d"], &["w_d"]));
    let import = build(model.clone(), "q", &ImportOptions::default(), Vec::new()).unwrap();
    let kernel = kernel_of(&import, "y").unwrap();
    assert_eq!((kernel.dtype, kernel.bytes_read), (Some(DType::I8), Bytes(512 + 2048)));
    let weight = import.graph.tensors.iter().find(|tensor| tensor.name == "v_q").unwrap();
    assert_eq!((weight.role, weight.bytes), (Role::Parameter, Bytes(2048)));
    // In training the floats are what is trained.
    let options = ImportOptions { trains: true, ..ImportOptions::default() };
    let import = build(model, "q", &options, Vec::new()).unwrap();
    let trained = import.graph.tensors.iter().find(|tensor| tensor.name == "v").unwrap();
    assert_eq!((trained.role, trained.bytes), (Role::Parameter, Bytes(8192)));
}
