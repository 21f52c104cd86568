//! A training graph of 10,000 ops in blocks, as ONNX, whose plan on 64 devices with 32 micro-batches has
//! more than a million slices: what the pages are walked on. `large_graph FILE`. Ops are drawn with the
//! seed that `benches/scale/graphs.rs` states (7), edges between blocks with [`SEED`], so that the file
//! is the same everywhere.
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
/// Of the blocks that a sum reads besides its own.
const SEED: u64 = 11;
/// How many blocks back that is: more than one device holds, and twice as many at most.
const BACK: usize = 8;

/// Blocks in a chain whose sums each read the end of an earlier block, too.
fn shape() -> graphs::Shape {
    let mut random = graphs::Random(SEED);
    let mut shape = graphs::chain(N_OPS);
    for op in (BLOCK * 2 * BACK..N_OPS).filter(|op| [10, 19].contains(&(op % BLOCK))) {
        let block = op / BLOCK - BACK - random.below(BACK);
        shape.inputs[op].push(block * BLOCK + BLOCK - 1);
    }
    shape
}

fn main() {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("the first word is the file to write");
        std::process::exit(2);
    };
    let path = Path::new(&path);
    graphs::write_onnx(&shape(), path).unwrap();
    let mut model = ModelProto::parse_from_bytes(&std::fs::read(path).unwrap()).unwrap();
    for (op, node) in model.graph.as_mut().unwrap().node.iter_mut().enumerate() {
        node.name = format!("/model/blocks.{}/{}_{}", op / BLOCK, node.op_type, op % BLOCK);
    }
    std::fs::write(path, model.write_to_bytes().unwrap()).unwrap();
}
