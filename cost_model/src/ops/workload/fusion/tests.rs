use ir::graph::Graph;
use ir::op::{Fused, Kernel, Op, Product, Work};
use ir::units::Bytes;
use ir::workload::{Mode, Workload};

use super::super::apply;
use super::super::tests::sample::Model;
use super::pass::priced;

fn trained(graph: Graph) -> Graph {
    let workload = Workload { mode: Mode::Training, ..Workload::default() };
    apply(graph, &workload).unwrap().0
}

fn op<'g>(graph: &'g Graph, name: &str) -> &'g Op {
    graph.ops.iter().find(|op| op.name == name).unwrap_or_else(|| panic!("no op {name}"))
}

fn kernel<'g>(graph: &'g Graph, name: &str) -> &'g Kernel {
    match &op(graph, name).work {
        Work::Kernel(kernel) => kernel,
        other => panic!("{name} is {other:?}"),
    }
}

fn bytes(graph: &Graph, tensor: &str) -> u64 {
    graph.tensors.iter().find(|candidate| candidate.name == tensor).unwrap().bytes.get()
}

/// Pointwise ops say what they move, as importers do.
fn moving(mut graph: Graph) -> Graph {
    for at in 0..graph.ops.len() {
        let size = |t: &ir::id::TensorId| graph.tensor(*t).bytes;
        let read: Bytes = graph.ops[at].inputs.iter().map(size).sum();
        let written: Bytes = graph.ops[at].outputs.iter().map(size).sum();
        if let Work::Kernel(kernel) = &mut graph.ops[at].work {
            (kernel.bytes_read, kernel.bytes_written) = (read, written);
        }
    }
    graph
}

/// x -> MatMul -> Sigmoid -> Mul by its own input (SiLU) -> MatMul, 4 rows of 16 in bf16.
fn silu() -> Graph {
    let mut model = Model::default();
    let x = model.input("x", &[4, 8]);
    let (w1, w2) = (model.parameter("w1", &[8, 16]), model.parameter("w2", &[16, 2]));
    let before = model.matmul(x, w1, [1, 4, 8, 16]);
    let gate = model.op("Sigmoid", &[before], &[1, 4, 16], None);
    let active = model.op("Mul", &[before, gate], &[1, 4, 16], None);
    let y = model.matmul(active, w2, [1, 4, 16, 2]);
    moving(model.returning(&[y]))
}

/// The chain reads what the product made and writes what the next one reads, 2 x 4 x 16 bytes each;
/// its gradient reads that and the gradient behind and writes one before.
#[test]
fn a_chain_moves_what_crosses_its_ends_and_keeps_its_input_alone() {
    let graph = trained(silu());
    assert_eq!(bytes(&graph, "Sigmoid1.out"), 0);
    assert_eq!(bytes(&graph, "Mul2.out"), 128);
    let moved = |names: &[&str]| {
        let kernels = names.iter().map(|name| kernel(&graph, name));
        kernels.map(|kernel| (kernel.bytes_read + kernel.bytes_written).get()).sum::<u64>()
    };
    assert_eq!(moved(&["Sigmoid1", "Mul2"]), 2 * 128);
    assert_eq!(kernel(&graph, "Sigmoid1").fused, Fused::Alone);
    assert_eq!(kernel(&graph, "Mul2").fused, Fused::Chain);
    let backward = ["Mul2@backward-input", "Sigmoid1@backward-input", "MatMul0.out@sum"];
    assert_eq!(moved(&backward), 3 * 128);
    // The sigmoid is computed again from what it read.
    for name in &backward[..2] {
        let read: Vec<&str> = op(&graph, name)
            .inputs
            .iter()
            .map(|t| graph.tensor(*t).name.as_str())
            .filter(|name| !name.contains("@grad"))
            .collect();
        assert_eq!(read, ["MatMul0.out"], "{name}");
    }
    let group = |name: &str| op(&graph, name).group.unwrap();
    assert_eq!(group("Sigmoid1"), group("Mul2"));
    assert_ne!(group("MatMul0"), group("Mul2"));
}

/// Two heads of 4 over 4 positions: queries, keys and values of one tensor, keys turned.
fn attention() -> Graph {
    let mut model = Model::default();
    let x = model.input("x", &[4, 8]);
    let w0 = model.parameter("w0", &[8, 8]);
    let x = model.matmul(x, w0, [1, 4, 8, 8]);
    let weights = ["wq", "wk", "wv"].map(|name| model.parameter(name, &[8, 8]));
    let [q, k, v] = weights.map(|w| model.matmul(x, w, [1, 4, 8, 8]));
    let turned = model.op("Transpose", &[k], &[2, 4, 4], None);
    let product = |m, k, n| Some(Product { count: 2, m, k, n });
    let scores = model.op("MatMul", &[q, turned], &[2, 4, 4], product(4, 4, 4));
    let weights = model.op("Softmax", &[scores], &[2, 4, 4], None);
    let y = model.op("MatMul", &[weights, v], &[2, 4, 4], product(4, 4, 4));
    moving(model.returning(&[y]))
}

#[test]
fn attention_is_one_kernel_that_writes_no_scores() {
    let graph = trained(attention());
    for (name, fused) in [
        ("MatMul1", Fused::Beside { columns: 24, is_first: true }),
        ("MatMul3", Fused::Beside { columns: 24, is_first: false }),
        ("MatMul5", Fused::Attention),
        ("Softmax6", Fused::Chain),
        ("MatMul7", Fused::Attention),
        ("MatMul7@backward-input", Fused::Attention),
    ] {
        assert_eq!(kernel(&graph, name).fused, fused, "{name}");
    }
    assert_eq!(op(&graph, "Transpose4").work, Work::View);
    for tensor in ["MatMul5.out", "Softmax6.out", "MatMul5.out@grad", "Softmax6.out@grad"] {
        assert_eq!(bytes(&graph, tensor), 0, "{tensor}");
    }
    // Queries, keys, values and the result, 4 x 8 in bf16, are kept.
    for tensor in ["MatMul1.out", "MatMul2.out", "MatMul3.out"] {
        assert_eq!(bytes(&graph, tensor), 64, "{tensor}");
    }
    let group = |name: &str| op(&graph, name).group.unwrap();
    assert_eq!(group("MatMul5"), group("MatMul7"));
    assert_eq!(group("MatMul1"), group("MatMul3"));
}

/// x -> MatMul -> Add of a vector -> Add of x: PyTorch runs the product and its bias in one kernel, a compiler
/// both additions.
#[test]
fn a_forward_pass_adds_biases_with_products_and_a_compiled_one_in_chains() {
    let mut model = Model::default();
    let x = model.input("x", &[4, 8]);
    let (w, b) = (model.parameter("w", &[8, 8]), model.parameter("b", &[8]));
    let product = model.matmul(x, w, [1, 4, 8, 8]);
    let biased = model.op("Add", &[product, b], &[1, 4, 8], None);
    let y = model.op("Add", &[biased, x], &[1, 4, 8], None);
    let graph = moving(model.returning(&[y]));
    let moved = |graph: &Graph, name: &str| {
        let kernel = kernel(graph, name);
        (kernel.fused, (kernel.bytes_read + kernel.bytes_written).get())
    };
    let eager = priced(&graph, Mode::Inference);
    assert_eq!(moved(&eager, "Add1"), (Fused::Chain, 0));
    assert_eq!(moved(&eager, "Add2"), (Fused::Alone, 3 * 64));
    let compiled = Graph { is_compiled: true, ..graph.clone() };
    let compiled = priced(&compiled, Mode::Inference);
    assert_eq!(
        [moved(&compiled, "Add1").0, moved(&compiled, "Add2").0],
        [Fused::Alone, Fused::Chain]
    );
    // Recorded times are of the ops as they are written, and training steps are fused when they are made.
    assert_eq!(*priced(&graph, Mode::Training), graph);
    let mut recorded = graph.clone();
    if let Work::Kernel(kernel) = &mut recorded.ops[2].work {
        kernel.measured.insert("gpu".to_owned(), ir::units::Nanos(5));
    }
    assert_eq!(*priced(&recorded, Mode::Inference), recorded);
}
