//! ONNX files of a gibibyte, read by the real command in a child process.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;

use onnx_protobuf::{GraphProto, NodeProto};
use protobuf::Message;

use crate::graphs::{head, value};
use crate::watched;

const GIB: u64 = 1 << 30;

pub(crate) fn run(folder: &Path) {
    println!(
        "\n### Large ONNX files\n\n| file | time | peak resident | answer |\n|---|---|---|---|"
    );
    let path = folder.join("raw.onnx");
    one_weight(&path, 9).unwrap();
    measure("1 GiB of inline raw_data", &path);
    one_weight(&path, 4).unwrap();
    measure("1 GiB of packed float_data", &path);
    many_weights(&path, 10_000_000).unwrap();
    measure("10,000,000 initializers of 16 bytes", &path);
}

fn measure(what: &str, path: &Path) {
    let arguments = ["import", path.to_str().unwrap(), "--json"];
    let runs = [(); 3].map(|()| watched(&arguments, Stdio::null()));
    let best = runs.iter().min_by_key(|run| run.time).unwrap();
    let peak = runs.iter().map(|run| run.peak).max().unwrap();
    println!(
        "| {what} | {:.0} ms | {:.0} MB | {} |",
        best.time.as_secs_f64() * 1e3,
        peak as f64 / 1e6,
        best.code
    );
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// `y = x W` with `W` of 16384 x 16384 floats in TensorProto field `payload`; the payload itself
/// is a hole in the file.
fn one_weight(path: &Path, payload: u64) -> std::io::Result<()> {
    let mut tensor = Vec::new();
    number_field(&mut tensor, 1, 16_384);
    number_field(&mut tensor, 1, 16_384);
    number_field(&mut tensor, 2, 1);
    bytes_field(&mut tensor, 8, b"w");
    varint(&mut tensor, payload << 3 | 2);
    varint(&mut tensor, GIB);

    let mut graph = around("MatMul", &["x", "w"])?;
    varint(&mut graph, 5 << 3 | 2);
    varint(&mut graph, tensor.len() as u64 + GIB);
    graph.extend_from_slice(&tensor);

    let mut model = head().write_to_bytes()?;
    varint(&mut model, 7 << 3 | 2);
    varint(&mut model, graph.len() as u64 + GIB);
    model.extend_from_slice(&graph);
    let mut file = File::create(path)?;
    file.write_all(&model)?;
    file.seek(SeekFrom::Start(0))?;
    file.set_len(model.len() as u64 + GIB)
}

fn many_weights(path: &Path, n: u64) -> std::io::Result<()> {
    let tensor = |index: u64| {
        let mut tensor = Vec::new();
        number_field(&mut tensor, 1, 4);
        number_field(&mut tensor, 2, 1);
        bytes_field(&mut tensor, 8, format!("w{index:08}").as_bytes());
        bytes_field(&mut tensor, 9, &[0; 16]);
        let mut field = Vec::new();
        bytes_field(&mut field, 5, &tensor);
        field
    };
    let graph = around("Relu", &["x"])?;
    let each = tensor(0).len() as u64;
    let mut out = BufWriter::new(File::create(path)?);
    let mut model = head().write_to_bytes()?;
    varint(&mut model, 7 << 3 | 2);
    varint(&mut model, graph.len() as u64 + each * n);
    out.write_all(&model)?;
    out.write_all(&graph)?;
    for index in 0..n {
        out.write_all(&tensor(index))?;
    }
    out.flush()
}

/// A graph of one op from `x` to `y`, open for initializers.
fn around(op: &str, inputs: &[&str]) -> std::io::Result<Vec<u8>> {
    let node = NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec!["y".into()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        input: vec![value("x", [16_384; 2])],
        output: vec![value("y", [16_384; 2])],
        ..GraphProto::default()
    };
    Ok(graph.write_to_bytes()?)
}
