//! Three graphs of a given size, as an instance file and as ONNX.

use std::io::Write;
use std::path::Path;

use onnx_protobuf::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TypeProto, ValueInfoProto, tensor_proto, tensor_shape_proto, type_proto,
};
use protobuf::{EnumOrUnknown, Message, MessageField};

/// A graph by its edges: for each op the ops that it reads.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) inputs: Vec<Vec<usize>>,
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, seeded, the same everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Blocks of 20 ops: a chain with a residual edge over it and two parallel branches inside.
pub(crate) fn chain(n: usize) -> Shape {
    let inputs = (0..n)
        .map(|op| match (op, op % 20) {
            (0, _) => vec![],
            (_, 5) => vec![op - 5],
            (_, 10) => vec![op - 6, op - 1],
            (_, 19) => vec![op - 19, op - 1],
            _ => vec![op - 1],
        })
        .collect();
    Shape { name: "transformer-like chain", inputs }
}

/// Layers of 100 ops, each reading two random ops of the layer before.
pub(crate) fn layers(n: usize) -> Shape {
    let mut random = Random(2);
    let inputs = (0..n)
        .map(|op| match op / 100 {
            0 => vec![],
            layer => {
                let base = (layer - 1) * 100;
                let first = base + random.below(100);
                let second = base + random.below(100);
                if first == second { vec![first] } else { vec![first, second] }
            }
        })
        .collect();
    Shape { name: "layers x 100, two random predecessors", inputs }
}

/// Each op reads one to three of the last 500.
pub(crate) fn window(n: usize) -> Shape {
    let mut random = Random(3);
    let inputs = (0..n)
        .map(|op| {
            let mut reads: Vec<usize> = (0..op.min(1 + random.below(3)))
                .map(|_| op - 1 - random.below(op.min(500)))
                .collect();
            reads.sort_unstable();
            reads.dedup();
            reads
        })
        .collect();
    Shape { name: "random, predecessors among the last 500", inputs }
}

/// Writes the instance file: 16 devices, each with `limit` bytes.
pub(crate) fn write_instance(
    shape: &Shape,
    path: &Path,
    limit: Option<u64>,
) -> std::io::Result<()> {
    let mut random = Random(7);
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    write!(out, "{{\"ops\": [")?;
    for (op, inputs) in shape.inputs.iter().enumerate() {
        if op > 0 {
            writeln!(out, ",")?;
        }
        write!(
            out,
            "{{\"id\": {op}, \"name\": \"op{op}\", \"time_ns\": {{\"gpu\": {}}}, \
             \"persistent\": {}, \"temp\": {}, \"inputs\": {inputs:?}, \
             \"outputs\": [{{\"tensor\": {op}, \"bytes\": {}}}]}}",
            2_000 + random.below(400_000),
            random.below(2_000_000),
            random.below(200_000),
            1_000 + random.below(1_000_000),
        )?;
    }
    write!(out, "], \"devices\": [")?;
    for device in 0..16 {
        let comma = if device > 0 { ", " } else { "" };
        match limit {
            Some(limit) => {
                write!(out, "{comma}{{\"id\": {device}, \"kind\": \"gpu\", \"limit\": {limit}}}")?;
            }
            None => write!(out, "{comma}{{\"id\": {device}, \"kind\": \"gpu\"}}")?,
        }
    }
    write!(
        out,
        "], \"link\": {{\"latency_ns\": 10000, \"bytes_per_s\": 2.0e11, \"duplex\": \"full\"}}}}"
    )?;
    out.flush()
}

/// Writes the graph as ONNX: products with an external weight where an op has one input, sums
/// where it has more.
pub(crate) fn write_onnx(shape: &Shape, path: &Path) -> std::io::Result<()> {
    let mut graph = GraphProto { name: "scale".into(), ..GraphProto::default() };
    graph.input.push(value("x", [64, 256]));
    let mut random = Random(7);
    let mut read = vec![false; shape.inputs.len()];
    for (op, inputs) in shape.inputs.iter().enumerate() {
        let mut node = NodeProto { output: vec![format!("t{op}")], ..NodeProto::default() };
        node.input = if inputs.is_empty() {
            vec!["x".into()]
        } else {
            inputs.iter().map(|input| format!("t{input}")).collect()
        };
        inputs.iter().for_each(|input| read[*input] = true);
        if node.input.len() == 1 && random.below(2) == 0 {
            let weight = format!("w{op}");
            graph.initializer.push(external(&weight, &[256, 256]));
            node.op_type = "MatMul".into();
            node.input.push(weight);
        } else {
            node.op_type = if node.input.len() == 1 { "Relu" } else { "Sum" }.into();
        }
        graph.node.push(node);
    }
    for (op, read) in read.iter().enumerate() {
        if !read {
            graph.output.push(value(&format!("t{op}"), [64, 256]));
        }
    }
    let model = ModelProto { graph: MessageField::some(graph), ..head() };
    std::fs::write(path, model.write_to_bytes()?)
}

/// A model without a graph.
pub(crate) fn head() -> ModelProto {
    let opset = OperatorSetIdProto { version: 18, ..OperatorSetIdProto::default() };
    ModelProto { ir_version: 8, opset_import: vec![opset], ..ModelProto::default() }
}

/// A value of floats.
pub(crate) fn value(name: &str, extents: [i64; 2]) -> ValueInfoProto {
    let dim = |extent| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(extent)),
        ..tensor_shape_proto::Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: 1,
        shape: MessageField::some(onnx_protobuf::TensorShapeProto {
            dim: extents.map(dim).to_vec(),
            ..onnx_protobuf::TensorShapeProto::default()
        }),
        ..type_proto::Tensor::default()
    };
    ValueInfoProto {
        name: name.into(),
        type_: MessageField::some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn external(name: &str, dims: &[i64]) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
        ..StringStringEntryProto::default()
    };
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        data_location: EnumOrUnknown::new(tensor_proto::DataLocation::EXTERNAL),
        external_data: vec![entry("location", "weights.bin"), entry("offset", "0")],
        ..TensorProto::default()
    }
}
