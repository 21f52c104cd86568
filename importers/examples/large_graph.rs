//! A training graph of 10,000 ops in blocks, as ONNX, whose plan on 64 devices with 32 micro-batches has
//! about a million slices: what the pages are walked on. `large_graph FILE`. Ops are drawn with the
//! seed that `benches/scale/graphs.rs` states (7), so that the file is the same everywhere.
#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "it stops at the first surprise")]

#[allow(dead_code, reason = "the graphs of a bench")]
#[path = "../../benches/scale/graphs.rs"]
mod graphs;

use std::path::Path;

use onnx_protobuf::ModelProto;
use protobuf::Message;

const N_OPS: usize = 10_000;
/// Ops of a block of `chain`.
const BLOCK: usize = 20;

fn main() {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("the first word is the file to write");
        std::process::exit(2);
    };
    let path = Path::new(&path);
    graphs::write_onnx(&graphs::chain(N_OPS), path).unwrap();
    let mut model = ModelProto::parse_from_bytes(&std::fs::read(path).unwrap()).unwrap();
    for (op, node) in model.graph.as_mut().unwrap().node.iter_mut().enumerate() {
        node.name = format!("/model/blocks.{}/{}_{}", op / BLOCK, node.op_type, op % BLOCK);
    }
    std::fs::write(path, model.write_to_bytes().unwrap()).unwrap();
}
