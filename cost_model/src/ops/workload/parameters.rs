//! Parameters that several ops read.
//!
//! Exporters merge initializers of equal value, so that all zero biases and unit scales of a fresh
//! model become one tensor. They are no tied weights: training would tear them apart, and taking
//! them as tied would chain all layers to one device. So a trainable vector (at most one extent
//! above 1) that several ops read is split into a copy per op. Any other shared tensor is a tied
//! weight.
//!
//! Exporters also write constants of the formula as they write weights. These are told by their
//! use, and are not trained: a tensor of a single element; a table that only elementwise ops share
//! (a causal mask) or whose sine or cosine is taken; a vector that meets nothing but positions,
//! that is, what is computed from whole numbers without any weight (rotary frequencies).

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::tensor::{DType, Role, Tensor};

use super::names::Names;

/// The graph with a copy of each shared vector per op and with shared tables as constants, and
/// what was taken for what.
pub(super) fn untie(mut graph: Graph) -> (Graph, Vec<Diagnostic>) {
    if !graph.merges_equal_values {
        return (graph, Vec::new());
    }
    let mut users: Vec<Vec<OpId>> = vec![Vec::new(); graph.tensors.len()];
    for op in graph.op_ids() {
        for parameter in &graph.op(op).parameters {
            users[parameter.index()].push(op);
        }
    }
    let mut names: Option<Names> = None;
    let (mut vectors, mut tables) = (Vec::new(), Vec::new());
    for parameter in scales_of_positions(&graph) {
        tables.push(graph.tensor(parameter).name.clone());
        graph.tensors[parameter.index()].trainable = false;
    }
    for (index, users) in users.iter().enumerate() {
        let tensor = &graph.tensors[index];
        if users.is_empty() || !is_trained(tensor) {
            continue;
        }
        let all = |test: fn(&str) -> bool| users.iter().all(|op| test(&graph.op(*op).op_type));
        let is_shared = users.len() > 1;
        if is_shared && is_vector(tensor) {
            vectors.push(tensor.name.clone());
            let names = names.get_or_insert_with(|| Names::of_tensors(&graph));
            split(&mut graph, TensorId::new(index), &users[1..], names);
        } else if all(is_wave) || is_shared && all(is_elementwise) {
            tables.push(tensor.name.clone());
            graph.tensors[index].trainable = false;
        }
    }
    let warnings = [
        (
            "merged-initializers",
            "vectors that several ops share are taken as merged by the exporter and split per op",
            vectors,
        ),
        (
            "constant-tables",
            "tensors are taken as constants of the formula and not trained",
            tables,
        ),
    ];
    (
        graph,
        warnings.into_iter().filter_map(|(code, what, names)| noted(code, what, &names)).collect(),
    )
}

fn noted(code: &'static str, what: &str, names: &[String]) -> Option<Diagnostic> {
    let first = names.first()?;
    Some(
        Diagnostic::warning(code, format!("{} {what}, such as `{first}`", names.len()))
            .fact("count", names.len())
            .fact("first", first.clone()),
    )
}

/// Gives each of these ops a copy of its own.
fn split(graph: &mut Graph, vector: TensorId, users: &[OpId], names: &mut Names) {
    for op in users {
        let mut copy = graph.tensor(vector).clone();
        copy.name = names.fresh(format!("{}@{}", copy.name, graph.op(*op).name));
        let id = TensorId::new(graph.tensors.len());
        graph.tensors.push(copy);
        let parameters = &mut graph.ops[op.index()].parameters;
        parameters.iter_mut().filter(|parameter| **parameter == vector).for_each(|p| *p = id);
    }
}

/// Whether at most one extent is above 1.
fn is_vector(tensor: &Tensor) -> bool {
    tensor.shape.iter().filter(|extent| **extent > 1).count() <= 1
}

fn is_wave(op_type: &str) -> bool {
    matches!(op_type, "Sin" | "Cos")
}

/// Vectors that some op multiplies with positions or constants only.
fn scales_of_positions(graph: &Graph) -> Vec<TensorId> {
    let roots = graph.roots();
    // What is computed without any weight, neither from floats that the caller feeds.
    let mut is_position: Vec<bool> =
        graph.tensors.iter().map(|t| t.role == Role::Input && !is_float(t.dtype)).collect();
    let mut found = Vec::new();
    let mut is_found = vec![false; graph.tensors.len()];
    for op in &graph.ops {
        let (mut trained, mut n_partners) = (Vec::new(), 0);
        let mut is_computed = true;
        for tensor in op.inputs.iter().chain(&op.parameters) {
            let root = roots[tensor.index()];
            let parameter = graph.tensor(root);
            if parameter.role != Role::Parameter {
                is_computed &= is_position[tensor.index()];
                n_partners += 1;
            } else if is_trained(parameter) && !is_found[root.index()] {
                trained.push(root);
            } else if super::states::elements(parameter) > 1 {
                n_partners += 1;
            }
        }
        let scales = matches!(op.op_type.as_str(), "Mul" | "MatMul" | "Gemm" | "Einsum")
            && n_partners > 0
            && trained.iter().all(|t| is_vector(graph.tensor(*t)));
        if is_computed && (trained.is_empty() || scales) {
            trained.iter().for_each(|tensor| is_found[tensor.index()] = true);
            found.extend(trained);
            op.outputs.iter().for_each(|t| is_position[t.index()] = true);
        }
    }
    found
}

fn is_elementwise(op_type: &str) -> bool {
    matches!(op_type, "Add" | "Sub" | "Mul" | "Div" | "Where" | "Min" | "Max" | "Pow")
}

/// Whether training updates a tensor. A parameter of a single element is a constant of the formula
/// (a scale, an epsilon), which exporters write as they write weights.
pub(super) fn is_trained(tensor: &Tensor) -> bool {
    tensor.role == Role::Parameter
        && tensor.trainable
        && is_float(tensor.dtype)
        && super::states::elements(tensor) > 1
}

/// Whether a type can carry gradients.
pub(super) fn is_float(dtype: DType) -> bool {
    dtype.is_wide_float() || matches!(dtype, DType::F8 | DType::F4 | DType::C64 | DType::C128)
}
