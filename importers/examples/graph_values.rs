//! Prints what is read of model files, for judges in other languages: a line of JSON per file with
//! its ops, their work and the shapes of their results.

use std::path::Path;
use std::process::ExitCode;

use importers::ImportOptions;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::Work;
use serde_json::{Value, json};

fn tensor(graph: &Graph, id: TensorId) -> Value {
    let tensor = graph.tensor(id);
    json!({
        "name": tensor.name,
        "dtype": tensor.dtype.name(),
        "shape": tensor.shape,
        "bytes": tensor.bytes.get(),
        "role": format!("{:?}", tensor.role).to_lowercase(),
        "trainable": tensor.trainable,
    })
}

fn document(path: &str) -> Value {
    let import = match importers::read(Path::new(path), &ImportOptions::default()) {
        Ok(import) => import,
        Err(error) => return json!({ "file": path, "code": error.code, "message": error.message }),
    };
    let graph = &import.graph;
    let tensors = |ids: &[TensorId]| ids.iter().map(|id| tensor(graph, *id)).collect::<Vec<_>>();
    let ops = graph.ops.iter().map(|op| {
        let flops = match &op.work {
            Work::Kernel(kernel) => kernel.flops().get(),
            Work::View | Work::Given(_) => 0,
        };
        json!({
            "name": op.name,
            "type": op.op_type,
            "module": op.module,
            "phase": format!("{:?}", op.phase),
            "flops": flops,
            "is_view": op.work == Work::View,
            "inputs": tensors(&op.inputs),
            "parameters": tensors(&op.parameters),
            "outputs": tensors(&op.outputs),
        })
    });
    json!({
        "file": path,
        "name": graph.name,
        "ops": ops.collect::<Vec<_>>(),
        "inputs": tensors(&graph.inputs),
        "outputs": tensors(&graph.outputs),
        "flops": graph.flops().get(),
        "guessed_share": import.summary.guessed_share,
        "pins": import.summary.pins,
        "warnings": import.warnings.iter().map(|warning| json!({
            "code": warning.code, "message": warning.message,
        })).collect::<Vec<_>>(),
    })
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn main() -> ExitCode {
    for path in std::env::args().skip(1) {
        println!("{}", document(&path));
    }
    ExitCode::SUCCESS
}
