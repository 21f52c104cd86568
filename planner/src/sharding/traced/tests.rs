//! A small step, by hand and from the splits of its ops.

use ir::op::Kernel;
use ir::tensor::{DType, Tensor};

use super::super::goldens::{mesh, solved};
use super::super::layers::tied;
use super::super::lettered::Lettered;
use super::super::program::stated;
use super::*;

const SIZES: [(char, u64); 3] = [('b', 4096), ('h', 1024), ('f', 4096)];

fn size(letter: char) -> u64 {
    SIZES.iter().find(|(of, _)| *of == letter).map_or(1, |of| of.1)
}

/// A graph from words of letters, each op with those that it reads.
struct Sketch(Ops, Vec<String>);

impl Sketch {
    fn tensor(&mut self, name: &str, word: &str, role: Role) -> TensorId {
        let shape: Vec<u64> = word.chars().map(size).collect();
        let bytes = DType::Bf16.size_of(shape.iter().product()).unwrap();
        let trainable = role == Role::Parameter;
        let (name, dtype) = (name.to_owned(), DType::Bf16);
        let tensor = Tensor {
            name,
            dtype,
            shape,
            bytes,
            state_bytes: ir::units::Bytes::ZERO,
            role,
            trainable,
        };
        self.0.tensors.push(tensor);
        self.1.push(word.to_owned());
        TensorId::new(self.0.tensors.len() - 1)
    }

    fn op(&mut self, kind: &str, name: &str, reads: &[TensorId], word: &str) -> TensorId {
        let output = self.tensor(name, word, Role::Activation);
        let (parameters, inputs): (Vec<TensorId>, Vec<TensorId>) =
            reads.iter().partition(|of| self.0.tensor(**of).role == Role::Parameter);
        let all = inputs.iter().chain(&parameters).chain([&output]);
        let words: Vec<String> = all.map(|of| self.1[of.index()].clone()).collect();
        let is_product = kind == "MatMul";
        let product = is_product.then(|| {
            let [m, k] = [0, 1].map(|dim| self.0.tensor(reads[0]).shape[dim]);
            Product { count: 1, m, k, n: self.0.tensor(output).shape[1] }
        });
        let products = product.into_iter().collect();
        self.0.ops.push(Op {
            name: name.to_owned(),
            op_type: kind.to_owned(),
            module: None,
            phase: ir::op::Phase::Forward,
            inputs,
            parameters,
            outputs: vec![output],
            work: Does::Kernel(Kernel { products, ..Kernel::default() }),
            group: None,
            splits: Splits {
                words,
                linear: if is_product { Linear::InEach(2) } else { Linear::No },
            },
        });
        output
    }
}

fn sketch() -> Ops {
    let mut of = Sketch(Ops::default(), Vec::new());
    let x = of.tensor("x", "bh", Role::Input);
    let up = of.tensor("up.weight", "hf", Role::Parameter);
    let down = of.tensor("down.weight", "fh", Role::Parameter);
    let inner = of.op("MatMul", "up", &[x, up], "bf");
    let active = of.op("Gelu", "gelu", &[inner], "bf");
    let y = of.op("MatMul", "down", &[active, down], "bh");
    of.0.outputs = vec![y];
    of.0
}

/// The same step, each op of both passes by hand.
fn by_hand() -> Graph {
    let mut of = Lettered::new(&SIZES);
    let x = of.source("x", "bh");
    let up = of.parameter("up.weight", "hf");
    let inner = of.einsum("up", [x, up], "bf");
    let active = of.each("gelu", &[inner], ("bf", false));
    let down = of.parameter("down.weight", "fh");
    let y = of.einsum("down", [active, down], "bh");
    let d_y = of.each("loss", &[y], ("b", false));
    let d_active = of.einsum("down.backward", [d_y, down], "bf");
    of.gradient("down.weight.grad", [active, d_y], down);
    let d_inner = of.each("gelu.backward", &[d_active, inner], ("bf", false));
    of.gradient("up.weight.grad", [x, d_inner], up);
    of.graph
}

/// The backward pass that follows from splits is the one by hand.
#[test]
fn a_graph_costs_what_its_ops_cost_by_hand() {
    let run = Run { element_bytes: [2.0; 2], ..Run::timed(1, false) };
    let graph = step(&sketch(), &run).unwrap().graph;
    let hand = by_hand();
    assert_eq!(graph.ops.len(), hand.ops.len());
    for axes in [&[(8, 10e-6, 300e9)][..], &[(4, 20e-6, 25e9), (8, 10e-6, 300e9)]] {
        let [one, other] = [&graph, &hand].map(|of| solved(of, axes).unwrap());
        assert!((one.seconds - other.seconds).abs() < 1e-12, "{one:?} {other:?}");
        assert!((one.seconds - one.bound_s).abs() < 1e-9);
    }
}

/// What passes store is read by backward ops alone, and each parameter's gradient ends where that lies.
#[test]
fn what_is_read_again_is_stored() {
    let run = Run { stores: true, element_bytes: [2.0; 2], ..Run::timed(1, false) };
    let found = step(&sketch(), &run).unwrap();
    let names = |of: &[usize]| -> Vec<&str> {
        of.iter().map(|tensor| found.graph.tensors[*tensor].name.as_str()).collect()
    };
    assert_eq!(names(&found.parameters), ["up.weight", "down.weight"]);
    assert_eq!(
        names(&found.stored),
        ["down.weight.stored", "gelu.stored", "up.stored", "x.stored"]
    );
    let pins = found.graph.pins.iter().map(|pin| [pin.tensor, pin.like]);
    let pins: Vec<_> = pins.map(|pair| names(&pair).concat()).collect();
    assert_eq!(pins, ["up.weight.gradup.weight", "down.weight.graddown.weight"]);
}

#[test]
fn a_model_without_parameters_has_no_step() {
    let mut graph = sketch();
    graph.tensors.iter_mut().for_each(|tensor| tensor.trainable = false);
    assert!(step(&graph, &Run::timed(1, false)).is_none());
}

/// Layers of a list, each as the sketch, one after another.
fn layered(n: usize) -> Ops {
    let mut of = Sketch(Ops::default(), Vec::new());
    let mut x = of.tensor("x", "bh", Role::Input);
    for layer in 0..n {
        let name = |of: &str| format!("layers.{layer}.{of}");
        let up = of.tensor(&name("up.weight"), "hf", Role::Parameter);
        let down = of.tensor(&name("down.weight"), "fh", Role::Parameter);
        let inner = of.op("MatMul", &name("up"), &[x, up], "bf");
        let active = of.op("Gelu", &name("gelu"), &[inner], "bf");
        x = of.op("MatMul", &name("down"), &[active, down], "bh");
        let ops = of.0.ops.iter_mut().rev().take(3);
        ops.for_each(|op| op.module = Some(format!("layers.{layer}.feed_forward")));
    }
    of.0.outputs = vec![x];
    of.0
}

/// Equal layers are one in the program: each op has the strategy of the first of them, and the cost is that of all.
#[test]
fn equal_layers_share_their_strategies() {
    let run = Run { stores: true, element_bytes: [2.0; 2], ..Run::timed(1, false) };
    let whole = step(&layered(8), &run).unwrap().graph;
    let shared = Graph { tied: tied(&whole), ..whole.clone() };
    let n_own = (0..whole.ops.len()).filter(|op| shared.is_own(*op)).count();
    assert!(2 * n_own < whole.ops.len(), "{n_own} of {}", whole.ops.len());
    for axes in [&[(8, 10e-6, 300e9)][..], &[(4, 20e-6, 25e9), (8, 10e-6, 300e9)]] {
        let [one, each] = [&shared, &whole].map(|of| solved(of, axes).unwrap());
        for (op, first) in shared.tied.iter().enumerate() {
            assert_eq!(one.strategies[op], one.strategies[*first], "{}", whole.ops[op].name);
        }
        let (mesh, prices) = mesh(axes);
        let placements: Vec<_> = one.strategies.iter().map(|of| of.placements.clone()).collect();
        let again = stated(&whole, &mesh, &prices, &placements).unwrap();
        assert!((again.seconds / one.seconds - 1.0).abs() < 1e-9, "{again:?}");
        assert!((one.seconds / one.bound_s - 1.0).abs() < 1e-9);
        assert!(each.seconds <= one.seconds * (1.0 + 1e-9));
        assert!(one.n_columns < each.n_columns / 2);
    }
    // A layer that takes longer is no copy of the others.
    let mut other = whole;
    let slow = other.ops.iter().position(|op| op.name == "layers.3.gelu").unwrap();
    other.ops[slow].flops = 1.0;
    let tied = tied(&other);
    assert!(other.ops.iter().zip(0..).all(|(op, at)| op.layer != "layers.3" || tied[at] == at));
}
