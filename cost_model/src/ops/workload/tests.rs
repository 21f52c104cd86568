pub(super) mod sample;

use std::collections::BTreeSet;

use ir::id::{OpId, TensorId};
use ir::op::{Kernel, Op, Product};
use ir::tensor::{DType, Role};
use ir::units::{Bytes, Flops};
use ir::workload::Optimizer;

use super::*;
use sample::{Model, perceptron};

/// The step op by op.
fn apply(graph: Graph, workload: &Workload) -> Result<(Graph, Vec<Diagnostic>), Diagnostic> {
    step(graph, workload, false)
}

fn training(optimizer: Optimizer) -> Workload {
    Workload { mode: Mode::Training, optimizer, ..Workload::default() }
}

fn trained(graph: Graph) -> Graph {
    apply(graph, &training(Optimizer::AdamW)).unwrap().0
}

fn op<'a>(graph: &'a Graph, name: &str) -> &'a Op {
    graph.ops.iter().find(|op| op.name == name).unwrap_or_else(|| panic!("no op {name}"))
}

fn named(graph: &Graph, tensors: &[TensorId]) -> Vec<String> {
    tensors.iter().map(|t| graph.tensor(*t).name.clone()).collect()
}

fn kernel(op: &Op) -> &Kernel {
    match &op.work {
        Work::Kernel(kernel) => kernel,
        other => panic!("{} is {other:?}", op.name),
    }
}

/// What importers promise of a graph.
fn check(graph: &Graph) {
    let producers = graph.producers();
    let mut names = BTreeSet::new();
    for id in graph.op_ids() {
        let op = graph.op(id);
        assert!(names.insert(op.name.clone()), "two ops {}", op.name);
        for input in &op.inputs {
            assert!(producers[input.index()].is_none_or(|p| p < id), "{} reads ahead", op.name);
            assert_ne!(graph.tensor(*input).role, Role::Parameter);
        }
        assert!(op.group.is_none_or(|group| group.index() < graph.n_groups));
    }
    let tensors: BTreeSet<&str> = graph.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(tensors.len(), graph.tensors.len());
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let produced = producers[index].is_some();
        assert_eq!(produced, tensor.role == Role::Activation, "{}", tensor.name);
    }
}

#[test]
fn inference_is_left_alone() {
    let (graph, warnings) = apply(perceptron(), &Workload::default()).unwrap();
    assert_eq!((graph, warnings), (perceptron(), vec![]));
}

#[test]
fn a_perceptron_gets_its_backward_ops() {
    let graph = trained(perceptron());
    check(&graph);
    let names: Vec<&str> = graph.ops.iter().skip(4).map(|op| op.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "loss",
            "MatMul3@backward-input",
            "MatMul3@backward-weight",
            "Relu2@backward-input",
            "Add1@backward-input",
            "Add1@backward-weight",
            "MatMul0@backward-weight",
            "w1@optimizer",
            "b1@optimizer",
            "w2@optimizer",
        ]
    );
    // Forward 2 x 4 x 8 x 16 + 2 x 4 x 16 x 2 = 1280; twice that less the gradient of x (1024).
    assert_eq!(graph.flops(), Flops(3 * 1_280 - 1_024));
    let input = op(&graph, "MatMul3@backward-input");
    assert_eq!(kernel(input).products, [Product { count: 1, m: 4, k: 2, n: 16 }]);
    assert_eq!(named(&graph, &input.inputs), ["MatMul3.out@grad"]);
    assert_eq!(named(&graph, &input.parameters), ["w2"]);
    // Reads the gradient (4 x 2) and w2 (16 x 2), writes 4 x 16.
    assert_eq!(kernel(input).bytes_read, Bytes(2 * (8 + 32)));
    assert_eq!(kernel(input).bytes_written, Bytes(2 * 64));
    let weight = op(&graph, "MatMul3@backward-weight");
    assert_eq!(kernel(weight).products, [Product { count: 1, m: 16, k: 4, n: 2 }]);
    assert_eq!(named(&graph, &weight.inputs), ["MatMul3.out@grad", "Relu2.out"]);
    // fp32 gradients of 16 x 2.
    assert_eq!(kernel(weight).bytes_written, Bytes(128));
    assert_eq!(graph.tensor(weight.outputs[0]).bytes, Bytes::ZERO);
    assert_eq!(op(&graph, "w2@optimizer").inputs, weight.outputs);
    let relu = op(&graph, "Relu2@backward-input");
    assert_eq!(
        named(&graph, &relu.inputs),
        ["MatMul3.out@grad", "Relu2.out"]
            .map(|name| name.replace("MatMul3.out@grad", "Relu2.out@grad"))
    );
    assert_eq!(op(&graph, "Add1@backward-input").work, Work::View);
    assert_eq!(named(&graph, &graph.outputs), ["loss"]);
}

#[test]
fn ops_of_one_parameter_share_a_device() {
    let graph = trained(perceptron());
    assert_eq!(graph.n_groups, 4);
    let group = |name: &str| op(&graph, name).group.unwrap();
    for (a, b) in [
        ("MatMul0", "MatMul0@backward-weight"),
        ("MatMul0", "w1@optimizer"),
        ("Add1", "b1@optimizer"),
        ("Relu2", "Relu2@backward-input"),
        ("MatMul3", "MatMul3@backward-input"),
        ("MatMul3", "loss"),
    ] {
        assert_eq!(group(a), group(b), "{a} {b}");
    }
    assert_ne!(group("MatMul0"), group("MatMul3"));
}

#[test]
fn state_bytes_follow_the_optimizer() {
    // w1 has 128 elements: 18 bytes each in all with AdamW.
    let bytes = |optimizer| {
        let graph = apply(perceptron(), &training(optimizer)).unwrap().0;
        let w1 = &graph.tensors[1];
        assert_eq!(w1.name, "w1");
        (w1.bytes + w1.state_bytes).get()
    };
    assert_eq!(bytes(Optimizer::AdamW), 18 * 128);
    assert_eq!(bytes(Optimizer::Sgd), 10 * 128);
    assert_eq!(bytes(Optimizer::Adafactor), 10 * 128 + 4 * (8 + 16));
}

#[test]
fn backward_is_twice_forward_where_both_factors_need_gradients() {
    let mut model = Model::default();
    let x = model.input("x", &[1, 8, 16]);
    let table = model.parameter("table", &[100, 16]);
    let embedded = model.op("Gather", &[x, table], &[1, 8, 16], None);
    let w: Vec<TensorId> =
        ["q", "k", "v", "o"].iter().map(|name| model.parameter(name, &[16, 16])).collect();
    let [q, k, v] = [0, 1, 2].map(|i| model.matmul(embedded, w[i], [1, 8, 16, 16]));
    let flat = model.op("Reshape", &[k], &[1, 16, 8], None);
    let scores = model.matmul(q, flat, [1, 8, 16, 8]);
    let shares = model.op("Softmax", &[scores], &[1, 8, 8], None);
    let mixed = model.matmul(shares, v, [1, 8, 8, 16]);
    let out = model.matmul(mixed, w[3], [1, 8, 16, 16]);
    let y = model.op("Add", &[out, embedded], &[1, 8, 16], None);
    let forward = model.returning(&[y]);
    let graph = trained(forward.clone());
    check(&graph);
    assert_eq!(graph.flops().get(), 3 * forward.flops().get());
    let scores = op(&graph, "MatMul5@backward-input");
    assert_eq!(kernel(scores).products.len(), 2, "both factors are activations");
    assert_eq!(named(&graph, &scores.inputs), ["MatMul5.out@grad", "MatMul1.out", "Reshape4.out"]);
    // Four ops read the embedding: the residual sum, q, k and v; three sums join their gradients.
    let sums = graph.ops.iter().filter(|op| op.name.starts_with("Gather0.out@sum")).count();
    assert_eq!(sums, 3);
    // A gather writes the gradient of the 8 rows that it read.
    assert_eq!(kernel(op(&graph, "Gather0@backward-weight")).bytes_written, Bytes(8 * 16 * 4));
}

#[test]
fn tied_matrices_join_and_shared_vectors_split() {
    let mut model = Model::default();
    let x = model.input("x", &[1, 4, 4]);
    let (w, b) = (model.parameter("w", &[4, 4]), model.parameter("b", &[4]));
    let one = model.matmul(x, w, [1, 4, 4, 4]);
    let two = model.op("Add", &[one, b], &[1, 4, 4], None);
    let three = model.op("Add", &[two, b], &[1, 4, 4], None);
    let four = model.matmul(three, w, [1, 4, 4, 4]);
    let (graph, warnings) = apply(model.returning(&[four]), &training(Optimizer::Sgd)).unwrap();
    check(&graph);
    assert_eq!(warnings[0].code, "merged-initializers");
    assert_eq!(op(&graph, "MatMul0").group, op(&graph, "MatMul3").group);
    assert_ne!(op(&graph, "Add1").group, op(&graph, "Add2").group);
    assert_eq!(op(&graph, "w@optimizer").inputs.len(), 2);
    assert_eq!(named(&graph, &op(&graph, "Add2").parameters), ["b@Add2"]);
}

/// Files that keep weights apart say what is tied.
#[test]
fn shared_vectors_stay_tied_where_nothing_was_merged() {
    let mut model = Model::default();
    let x = model.input("x", &[1, 4, 4]);
    let b = model.parameter("b", &[4]);
    let one = model.op("Add", &[x, b], &[1, 4, 4], None);
    let two = model.op("Add", &[one, b], &[1, 4, 4], None);
    let graph = Graph { merges_equal_values: false, ..model.returning(&[two]) };
    let (graph, warnings) = apply(graph, &training(Optimizer::Sgd)).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(op(&graph, "Add0").group, op(&graph, "Add1").group);
    assert_eq!(op(&graph, "b@optimizer").inputs.len(), 2);
}

#[test]
fn tables_that_only_elementwise_ops_share_are_constants() {
    let mut model = Model::default();
    let x = model.input("x", &[1, 4, 4]);
    let (w, mask) = (model.parameter("w", &[4, 4]), model.parameter("mask", &[4, 4]));
    let scores = model.matmul(x, w, [1, 4, 4, 4]);
    let one = model.op("Add", &[scores, mask], &[1, 4, 4], None);
    let two = model.op("Add", &[one, mask], &[1, 4, 4], None);
    let (graph, warnings) = apply(model.returning(&[two]), &training(Optimizer::Sgd)).unwrap();
    assert_eq!(warnings[0].code, "constant-tables");
    assert!(graph.ops.iter().all(|op| op.name != "mask@optimizer"));
    // Nothing is left to do for a sum with a constant.
    let add =
        graph.ops.iter().filter(|op| op.name.starts_with("Add") && op.phase != Phase::Forward);
    assert!(add.clone().count() == 2 && add.clone().all(|op| op.work == Work::View));
    assert_eq!(op(&graph, "Add1").group, None);
}

#[test]
fn rotary_frequencies_are_constants() {
    let mut model = Model::default();
    let ids = model.tensor("ids", DType::I64, &[1, 8], Role::Input);
    let (table, frequencies) =
        (model.parameter("table", &[100, 4]), model.parameter("frequencies", &[4, 1]));
    let embedded = model.op("Gather", &[ids, table], &[8, 4], None);
    let positions = model.op("Cast", &[ids], &[1, 8], None);
    let angles = model.matmul(frequencies, positions, [1, 4, 1, 8]);
    let waves = model.op("Cos", &[angles], &[8, 4], None);
    let turned = model.op("Mul", &[embedded, waves], &[8, 4], None);
    let (graph, warnings) = apply(model.returning(&[turned]), &training(Optimizer::Sgd)).unwrap();
    assert_eq!(warnings[0].code, "constant-tables");
    let updates = graph.ops.iter().filter(|op| op.phase == Phase::Optimizer);
    assert_eq!(updates.map(|op| op.name.as_str()).collect::<Vec<_>>(), ["table@optimizer"]);
    // The embedding is no factor of a wanted gradient, so it need not be kept.
    assert_eq!(
        named(&graph, &op(&graph, "Mul4@backward-input").inputs),
        ["Mul4.out@grad", "Cos3.out"]
    );
}

#[test]
fn gradients_stop_where_nothing_is_trained() {
    let mut model = Model::default();
    let x = model.input("x", &[1, 4, 4]);
    let w = model.parameter("w", &[4, 4]);
    let early = model.op("Exp", &[x], &[1, 4, 4], None);
    let masked = model.op("Greater", &[early], &[1, 4, 4], None);
    let y = model.matmul(early, w, [1, 4, 4, 4]);
    let dead = model.op("Tanh", &[y], &[1, 4, 4], None);
    let odd = model.op("Mystery", &[y], &[1, 4, 4], None);
    let graph = trained(model.returning(&[odd, masked]));
    check(&graph);
    let backward = graph.ops.iter().filter(|op| op.phase != Phase::Forward);
    let names: Vec<&str> = backward.map(|op| op.name.as_str()).collect();
    assert_eq!(
        names,
        ["loss", "Mystery4@backward-input", "MatMul2@backward-weight", "w@optimizer"]
    );
    let guessed = op(&graph, "Mystery4@backward-input");
    assert_eq!(kernel(guessed).origin, ir::op::Origin::Guessed);
    assert!(graph.tensor(dead).name.starts_with("Tanh"));
}

#[test]
fn products_of_a_factor_save_the_other() {
    let mut model = Model::default();
    let x = model.input("x", &[4, 4]);
    let (w, scale) = (model.parameter("w", &[4, 4]), model.parameter("scale", &[1]));
    let a = model.matmul(x, w, [1, 4, 4, 4]);
    let scaled = model.op("Mul", &[a, scale], &[1, 4, 4], None);
    let square = model.op("Mul", &[scaled], &[1, 4, 4], None);
    let graph = trained(model.returning(&[square]));
    // A single element is a constant of the formula: nothing of `a` need be kept for it.
    let by_constant = op(&graph, "Mul1@backward-input");
    assert_eq!(named(&graph, &by_constant.inputs), ["Mul1.out@grad"]);
    assert_eq!(named(&graph, &by_constant.parameters), ["scale"]);
    let squared = op(&graph, "Mul2@backward-input");
    assert_eq!(named(&graph, &squared.inputs), ["Mul2.out@grad", "Mul1.out"]);
    assert!(graph.ops.iter().all(|op| op.name != "scale@optimizer"));
}

#[test]
fn micro_batches_share_parameters_and_wait_for_each_other() {
    let workload = Workload { batch: Some(10), micro_batch: Some(4), ..training(Optimizer::AdamW) };
    let (graph, warnings) = apply(perceptron(), &workload).unwrap();
    check(&graph);
    assert_eq!(warnings[0].code, "ragged-micro-batch");
    // Three copies of 11 forward and backward ops, three updates.
    assert_eq!(graph.ops.len(), 3 * 11 + 3);
    assert_eq!(graph.flops(), Flops(3 * (3 * 1_280 - 1_024)));
    assert_eq!(graph.tensors.iter().filter(|t| t.role == Role::Parameter).count(), 3);
    assert_eq!(graph.inputs.len(), 3);
    assert_eq!(graph.n_groups, 4);
    assert_eq!(op(&graph, "MatMul0@mb0").group, op(&graph, "MatMul0@mb2").group);
    assert_eq!(op(&graph, "MatMul0@mb0").group, op(&graph, "w1@optimizer").group);
    assert_eq!(
        named(&graph, &op(&graph, "w1@optimizer").inputs),
        [0, 1, 2].map(|i| format!("MatMul0@weight-gradient@mb{i}"))
    );
    // The buffer is read and written: 32 fp32 gradients each way, and what one copy reads.
    let weight = kernel(op(&graph, "MatMul3@backward-weight@mb1"));
    assert_eq!(weight.bytes_read, Bytes(2 * (8 + 64) + 128));
}

#[test]
fn micro_batches_of_inference_stay_together() {
    let workload = Workload { batch: Some(8), micro_batch: Some(4), ..Workload::default() };
    let (graph, warnings) = apply(perceptron(), &workload).unwrap();
    check(&graph);
    assert!(warnings.is_empty());
    assert_eq!((graph.ops.len(), graph.n_groups, graph.outputs.len()), (8, 4, 2));
    assert_eq!(graph.op(OpId(0)).group, graph.op(OpId(4)).group);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let refusal = |graph: Graph, workload: &Workload| apply(graph, workload).unwrap_err().code;
    let training = training(Optimizer::AdamW);
    let mut given = perceptron();
    given.ops[0].work = Work::Given(ir::op::GivenCost::default());
    assert_eq!(refusal(given, &training), "training-needs-work");
    let mut twice = perceptron();
    twice.ops[0].phase = Phase::BackwardInput;
    assert_eq!(refusal(twice, &training), "training-twice");
    let mut frozen = perceptron();
    frozen.tensors.iter_mut().for_each(|t| t.trainable = false);
    assert_eq!(refusal(frozen, &training), "nothing-to-train");
    let mut reversed = perceptron();
    reversed.ops.reverse();
    assert_eq!(refusal(reversed, &training), "graph-order");
    let huge = Workload { batch: Some(u64::MAX), micro_batch: Some(1), ..Workload::default() };
    assert_eq!(refusal(perceptron(), &huge), "too-many-ops");
}
