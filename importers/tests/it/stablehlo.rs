//! Programs that jax lowered, against what their jaxprs say; `python/consumers/jax_programs.py`
//! writes both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions, read};
use ir::op::Work;
use ir::tensor::DType;
use serde_json::Value;

/// Op types that stand for a primitive.
const CLASSES: [(&str, &str); 16] = [
    ("MatMul", "dot_general"),
    ("Einsum", "dot_general"),
    ("Conv", "conv_general_dilated"),
    ("ConvTranspose", "conv_general_dilated"),
    ("Exp", "exp"),
    ("Tanh", "tanh"),
    ("Reciprocal", "rsqrt"),
    ("ReduceSum", "reduce_sum"),
    ("ReduceMax", "reduce_max"),
    ("Gather", "gather"),
    ("Sub", "sub"),
    ("Div", "div"),
    ("Max", "max"),
    ("AllReduce", "psum"),
    ("AllGather", "all_gather"),
    ("ScatterND", "scatter-add"),
];

type Results = BTreeMap<(String, Vec<u64>), u64>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/stablehlo")
}

fn program(name: &str, options: &ImportOptions) -> Import {
    read(&folder().join(format!("{name}.mlir")), options).unwrap()
}

fn results(import: &Import) -> Results {
    let mut found = Results::new();
    for op in import.graph.ops.iter().filter(|op| op.work != Work::View) {
        let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == op.op_type) else {
            continue;
        };
        for output in op.outputs.iter().map(|id| import.graph.tensor(*id)) {
            if !output.shape.is_empty() && output.dtype == DType::F32 {
                *found.entry(((*class).to_owned(), output.shape.clone())).or_default() += 1;
            }
        }
    }
    found
}

fn wanted_results(wanted: &Value) -> Results {
    let mut found = Results::new();
    for row in wanted["results"].as_array().unwrap() {
        let name = row[0].as_str().unwrap().replace("psum_invariant", "psum");
        let shape: Vec<u64> = serde_json::from_value(row[1].clone()).unwrap();
        *found.entry((name, shape)).or_default() += row[2].as_u64().unwrap();
    }
    found
}

#[test]
fn programs_are_what_their_jaxprs_say() {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let all: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(all.len() >= 15);
    for (name, wanted) in &all {
        let import = program(name, &ImportOptions::default());
        assert_eq!(import.graph.flops().get(), wanted["flops"].as_u64().unwrap(), "{name}");
        let outputs: Vec<Vec<u64>> =
            import.graph.outputs.iter().map(|id| import.graph.tensor(*id).shape.clone()).collect();
        assert_eq!(serde_json::json!(outputs), wanted["outputs"], "{name}");
        assert_eq!(results(&import), wanted_results(wanted), "{name}");
        assert_eq!(serde_json::json!(import.summary.pins), wanted["pins"], "{name}");
        let mut codes: Vec<&str> = import.warnings.iter().map(|warning| warning.code).collect();
        codes.sort_unstable();
        assert_eq!(serde_json::json!(codes), wanted["warnings"], "{name}");
        assert!(import.summary.guessed_share.abs() < f64::EPSILON, "{name}");
    }
}

#[test]
fn names_and_scopes_are_those_of_the_program() {
    let import = program("mlp", &ImportOptions::default());
    let graph = &import.graph;
    let inputs: Vec<&str> = graph.inputs.iter().map(|id| graph.tensor(*id).name.as_str()).collect();
    assert_eq!(inputs, ["x"]);
    let weights: Vec<&str> = graph
        .tensors
        .iter()
        .filter(|tensor| tensor.trainable && tensor.shape.len() == 2)
        .map(|tensor| tensor.name.as_str())
        .collect();
    assert_eq!(weights, ["params[0]['w']", "params[1]['w']", "params[2]['w']"]);
    let modules: Vec<&str> = graph.ops.iter().filter_map(|op| op.module.as_deref()).collect();
    assert_eq!(modules.len(), graph.ops.len());
    assert_eq!((modules[0], modules[8]), ("layer_0", "layer_2"));
    // Biases are added as they are: no op repeats them.
    let types: Vec<&str> = graph.ops.iter().map(|op| op.op_type.as_str()).collect();
    assert_eq!(types, ["MatMul", "Add", "Tanh"].repeat(3));
}

#[test]
fn another_type_and_batch_change_bytes_and_work() {
    let of = |options: &ImportOptions| {
        let import = program("mlp", options);
        let read = |op: &ir::op::Op| match &op.work {
            Work::Kernel(kernel) => kernel.bytes_read.get(),
            _ => 0,
        };
        let first = read(&import.graph.ops[0]);
        (import.summary.forward_flops, first, import.summary.parameter_bytes)
    };
    let (flops, bytes, weights) = of(&ImportOptions::default());
    // x [4, 16] and w [16, 32].
    assert_eq!(bytes, 4 * (4 * 16 + 16 * 32));
    let half = ImportOptions { dtype: Some(DType::Bf16), ..ImportOptions::default() };
    assert_eq!(of(&half), (flops, bytes / 2, weights / 2));
    let one = ImportOptions { batch: Some(1), ..ImportOptions::default() };
    assert_eq!(of(&one), (flops / 4, 4 * (16 + 16 * 32), weights));
}

/// `jax.lax.scan` over stacked weights is a stack of layers, each with weights of its own.
#[test]
fn scans_over_weights_are_layers() {
    let import = program("scan", &ImportOptions::default());
    let graph = &import.graph;
    assert!(graph.ops.iter().all(|op| op.op_type != "Loop"));
    let names: Vec<&str> = graph
        .ops
        .iter()
        .filter(|op| op.op_type == "MatMul")
        .flat_map(|op| op.parameters.iter().map(|id| graph.tensor(*id).name.as_str()))
        .collect();
    assert_eq!(names.len(), 12);
    assert_eq!((names[0], names[11]), ("params['up'][0]", "params['down'][5]"));
    // 6 layers of 32 x 64 and 64 x 32 numbers: the stacks are gone.
    assert_eq!(import.summary.initializer_elements, 6 * 2 * 32 * 64 + constants(&import));
    let units: std::collections::BTreeSet<&str> =
        graph.ops.iter().filter_map(|op| op.module.as_deref()).map(ir::module::unit_of).collect();
    assert!(units.len() >= 6, "{units:?}");
}

fn constants(import: &Import) -> u64 {
    let tensors = import.graph.tensors.iter().filter(|tensor| {
        tensor.role == ir::tensor::Role::Parameter && !tensor.name.starts_with("params")
    });
    tensors.map(|tensor| tensor.shape.iter().product::<u64>()).sum()
}
