//! Small programs, right and wrong, written by hand.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::import::{Import, ImportOptions};

fn tensor(sizes: &[u64]) -> Value {
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    let ints = |numbers: &[u64]| numbers.iter().map(|n| json!({ "as_int": n })).collect::<Vec<_>>();
    json!({ "dtype": 7, "sizes": ints(sizes), "strides": ints(&strides), "requires_grad": true })
}

fn named(name: &str) -> Value {
    json!({ "as_tensor": { "name": name } })
}

fn node(target: &str, inputs: &[(&str, Value)], output: &str) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, arg)| json!({ "name": name, "arg": arg, "kind": 1 })).collect();
    json!({
        "target": target, "inputs": inputs, "outputs": [named(output)],
        "metadata": { "nn_module_stack": "k,a.b@1,torch.nn.Linear" },
    })
}

/// `linear(x, w)` of `[4, 8]` by `[16, 8]`, then a slice of its result.
fn program() -> Value {
    json!({
        "graph_module": {
            "graph": {
                "inputs": [named("w"), named("x")],
                "outputs": [named("part")],
                "nodes": [
                    node("torch.ops.aten.linear.default",
                         &[("input", named("x")), ("weight", named("w"))], "y"),
                    node("torch.ops.aten.slice.Tensor", &[("self", named("y"))], "part"),
                ],
                "tensor_values": {
                    "w": tensor(&[16, 8]), "x": tensor(&[4, 8]), "y": tensor(&[4, 16]),
                    "part": tensor(&[2, 16]),
                },
            },
            "signature": {
                "input_specs": [
                    { "parameter": { "arg": { "name": "w" }, "parameter_name": "a.b.weight" } },
                    { "user_input": { "arg": named("x") } },
                ],
                "output_specs": [{ "user_output": { "arg": named("part") } }],
            },
        },
        "schema_version": { "major": 8, "minor": 99 },
        "range_constraints": {},
    })
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn read(program: &Value) -> Result<Import, ir::diagnostic::Diagnostic> {
    let text = serde_json::to_vec(program).unwrap();
    let bytes = archive(&[("m/models/model.json", &text)]);
    crate::read_bytes("m.pt2", &bytes, &ImportOptions::default())
}

/// The code of the error after a change of the program.
fn code(change: impl Fn(&mut Value)) -> &'static str {
    let mut program = program();
    change(&mut program);
    read(&program).unwrap_err().code
}

#[test]
fn a_small_program_by_hand() {
    let import = read(&program()).unwrap();
    assert_eq!(import.summary.forward_flops, 2 * 4 * 8 * 16);
    assert_eq!(import.summary.initializer_elements, 16 * 8);
    assert_eq!(import.graph.ops[0].module.as_deref(), Some("a.b"));
    assert_eq!(import.graph.ops[1].work, ir::op::Work::View);
    // Archives of torch 2.7 and older do not say where weights lie.
    assert_eq!(import.warnings[0].code, "unknown-ties");
    let text = serde_json::to_vec(&program()).unwrap();
    let old = archive(&[("serialized_exported_program.json", &text)]);
    let old = crate::read_bytes("m.pt2", &old, &ImportOptions::default()).unwrap();
    assert_eq!(
        old.graph,
        crate::read_bytes(
            "m",
            &archive(&[("m/models/model.json", &text)]),
            &ImportOptions::default()
        )
        .unwrap()
        .graph
    );
}

#[test]
fn faults_have_codes() {
    let graph = "/graph_module/graph";
    let at = |path: &str| format!("{graph}{path}");
    let set = |path: String, value: Value| {
        move |program: &mut Value| *program.pointer_mut(&path).unwrap() = value.clone()
    };
    assert_eq!(code(set("/schema_version/major".into(), json!(9))), "unsupported-schema");
    assert_eq!(code(set(at("/nodes/0/inputs/0/arg"), named("ghost"))), "undefined-tensor");
    assert_eq!(code(set(at("/nodes/1/outputs"), json!([named("y")]))), "duplicate-tensor");
    assert_eq!(code(set(at("/tensor_values"), json!({}))), "undefined-tensor");
    assert_eq!(code(set(at("/tensor_values/y/dtype"), json!(99))), "unknown-dtype");
    assert_eq!(code(set(at("/tensor_values/y/dtype"), json!("f32"))), "invalid-document");
    assert_eq!(
        code(set(at("/nodes/0/inputs/0/arg"), json!({ "as_dream": 1 }))),
        "invalid-document"
    );
    assert_eq!(code(set(at("/nodes"), json!([]))), "undefined-tensor");
    let wide = json!([{ "as_int": 1u64 << 40 }, { "as_int": 1u64 << 40 }]);
    assert_eq!(code(set(at("/tensor_values/y/sizes"), wide)), "size-overflow");
    // A graph within a graph within a graph: the JSON itself nests too deep.
    let mut inner = json!({ "inputs": [], "outputs": [], "nodes": [], "tensor_values": {} });
    for _ in 0..40 {
        let wrap = node(
            "torch.ops.higher_order.wrap",
            &[("", json!({ "as_graph": { "name": "g", "graph": inner } }))],
            "z",
        );
        inner = json!({ "inputs": [], "outputs": [], "nodes": [wrap], "tensor_values": {} });
    }
    assert_eq!(code(set(at("/nodes"), inner["nodes"].clone())), "nesting-limit");
}

#[test]
fn sizes_without_a_value_are_unknown_and_negative_ones_too() {
    let mut program = program();
    let unbacked = json!({ "as_expr": { "expr_str": "Symbol('u0', integer=True)", "hint": null } });
    *program.pointer_mut("/graph_module/graph/tensor_values/x/sizes/0").unwrap() = unbacked;
    let import = read(&program).unwrap();
    assert!(import.warnings.iter().any(|warning| warning.code == "unknown-shape"));
    assert!(import.summary.guessed_share > 0.0);
    // With a bound it is the most that it can be.
    program["range_constraints"] = json!({ "u0": { "min_val": 0, "max_val": 16 } });
    let import = read(&program).unwrap();
    assert!(import.warnings.iter().any(|warning| warning.code == "data-dependent-size"));
    assert_eq!(import.summary.forward_flops, 2 * 16 * 8 * 16);
}

#[test]
fn other_archives_are_named() {
    let code = |members: &[(&str, &[u8])]| {
        let error = crate::read_bytes("m.pt2", &archive(members), &ImportOptions::default());
        let error = error.unwrap_err();
        (error.code, error.message)
    };
    let (found, said) = code(&[("archive/data.pkl", b"")]);
    assert!(found == "unsupported-format" && said.contains("torch.save"), "{said}");
    let (found, said) = code(&[("a/constants.pkl", b""), ("a/data.pkl", b"")]);
    assert!(found == "unsupported-format" && said.contains("TorchScript"), "{said}");
    assert_eq!(code(&[("m/archive_format", b"pt2")]).0, "no-program");
    assert_eq!(
        code(&[("m/models/a.json", b"{}"), ("m/models/b.json", b"{}")]).0,
        "ambiguous-archive"
    );
    assert_eq!(code(&[("m/models/a.json", b"{\"a\":1,\"a\":2}")]).0, "duplicate-key");
    let bomb = vec![b' '; 65 << 20];
    assert_eq!(code(&[("m/models/a.json", &bomb)]).0, "size-budget");
}

/// PyTorch writes records of zip64, of 76 bytes, between the directory and its end; the first entry
/// of the directory may be as long.
#[test]
fn archives_of_any_name_are_read() {
    let text = serde_json::to_vec(&program()).unwrap();
    for length in 1..40 {
        let stem = "s".repeat(length);
        let weight = format!("{stem}/data/weights/weight_0");
        let model = format!("{stem}/models/model.json");
        let mut bytes = archive(&[(&weight, b"0123"), (&model, &text)]);
        let end = bytes.len() - 22;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (size, start) = (u64::from(number(end + 12)), u64::from(number(end + 16)));
        let mut wide = b"PK\x06\x06".to_vec();
        wide.extend(44u64.to_le_bytes());
        wide.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for field in [2, 2, size, start] {
            wide.extend(field.to_le_bytes());
        }
        wide.extend(b"PK\x06\x07");
        wide.extend(0u32.to_le_bytes());
        wide.extend((end as u64).to_le_bytes());
        wide.extend(1u32.to_le_bytes());
        assert_eq!(wide.len(), 76);
        bytes.splice(end..end, wide);
        let read = crate::read_bytes("m.pt2", &bytes, &ImportOptions::default());
        assert_eq!(read.unwrap().summary.initializer_elements, 16 * 8, "{length}");
    }
}

/// Weights come first in the archive and are passed over, whatever they hold.
#[test]
fn weights_are_passed_over() {
    let text = serde_json::to_vec(&program()).unwrap();
    let weights = vec![0; 64 << 20];
    let bytes = archive(&[("m/data/weights/weight_0", &weights), ("m/models/model.json", &text)]);
    let read = crate::read_bytes("m.pt2", &bytes, &ImportOptions::default()).unwrap();
    assert_eq!(read.summary.initializer_elements, 16 * 8);
}

/// `linear` into a part of memory that a view named before: `read` is what the model reads, and the
/// memory is made by the program or is a buffer.
fn written_through_a_view(read: &str, is_buffer: bool) -> Value {
    let mut program = program();
    let slice = |output| node("torch.ops.aten.slice.Tensor", &[("self", named("memory"))], output);
    let mut nodes = vec![
        slice("part"),
        slice("other"),
        node(
            "torch.ops.aten.linear.default",
            &[("input", named("x")), ("weight", named("w"))],
            "y",
        ),
        node(
            "torch.ops.aten.copy_.default",
            &[("self", named("part")), ("src", named("y"))],
            "done",
        ),
        node("torch.ops.aten.mm.default", &[("self", named(read)), ("mat2", named("w"))], "result"),
    ];
    let specs = "/graph_module/signature/input_specs/2";
    if is_buffer {
        let buffer = json!({ "buffer": { "arg": { "name": "memory" }, "buffer_name": "m" } });
        program["graph_module"]["signature"]["input_specs"].as_array_mut().unwrap().push(buffer);
        assert!(program.pointer(specs).is_some());
    } else {
        nodes.insert(0, node("torch.ops.aten.zeros.default", &[], "memory"));
    }
    let output = named("result");
    program["graph_module"]["signature"]["output_specs"] =
        json!([{ "user_output": { "arg": output } }]);
    let graph = &mut program["graph_module"]["graph"];
    graph["outputs"] = json!([output]);
    graph["nodes"] = json!(nodes);
    for (name, rows) in [("memory", 12), ("part", 4), ("other", 6), ("y", 4), ("done", 4)] {
        graph["tensor_values"][name] = tensor(&[rows, 16]);
    }
    graph["tensor_values"]["result"] = tensor(&[12, 8]);
    program
}

#[test]
fn who_reads_memory_reads_what_was_written_through_a_view() {
    for (read, rows) in [("memory", 12), ("other", 6), ("part", 4), ("done", 4)] {
        for is_buffer in [false, true] {
            let import = read_named(read, is_buffer);
            let product = 2 * 4 * 8 * 16;
            assert_eq!(import.summary.forward_flops, product + 2 * rows * 16 * 8, "{read}");
            assert_eq!(import.warnings.len(), 1, "{:?}", import.warnings);
            let graph = &import.graph;
            let op = graph.ops.iter().find(|op| op.name == "done").unwrap();
            let ir::op::Work::Kernel(kernel) = &op.work else { panic!("{op:?}") };
            // The part alone, of 4 rows.
            assert_eq!((kernel.bytes_read.get(), kernel.bytes_written.get()), (256, 256));
            // The memory stays where it is; of a buffer, which each device has, what changed is sent.
            let bytes = if is_buffer { 256 } else { 0 };
            assert_eq!(graph.tensor(op.outputs[0]).bytes.get(), bytes);
            let roots = graph.roots();
            let last = graph.ops.iter().find(|op| op.name == "result").unwrap();
            assert!(
                last.inputs.iter().any(|input| roots[input.index()] == op.outputs[0]),
                "{read}"
            );
            let name = if is_buffer { "m" } else { "memory" };
            let position = graph.tensors.iter().position(|tensor| tensor.name == name);
            let mut all = last.inputs.iter().chain(&last.parameters);
            assert!(all.any(|input| Some(input.index()) == position), "{last:?}");
            let ir::op::Work::Kernel(kernel) = &last.work else { panic!("{last:?}") };
            assert_eq!(kernel.bytes_read.get(), rows * 64 + 16 * 8 * 4);
        }
    }
}

/// In training it is a tensor of its own, of which there are gradients; so is what is returned.
#[test]
fn memory_that_is_written_in_part_has_its_bytes_in_training() {
    let bytes = |program: &Value, trains: bool| {
        let text = serde_json::to_vec(program).unwrap();
        let bytes = archive(&[("m/models/model.json", &text)]);
        let options = ImportOptions { trains, ..ImportOptions::default() };
        let graph = crate::read_bytes("m.pt2", &bytes, &options).unwrap().graph;
        let op = graph.ops.iter().find(|op| op.name == "done").unwrap();
        graph.tensor(op.outputs[0]).bytes.get()
    };
    let mut program = written_through_a_view("memory", false);
    assert_eq!((bytes(&program, true), bytes(&program, false)), (12 * 64, 0));
    program["graph_module"]["graph"]["outputs"] = json!([named("memory")]);
    let specs = json!([{ "user_output": { "arg": named("memory") } }]);
    program["graph_module"]["signature"]["output_specs"] = specs;
    assert_eq!(bytes(&program, false), 12 * 64);
}

/// Exporters leave out what has no effect, so an operator of one's own whose result nobody reads
/// writes what it is given.
#[test]
fn an_operator_of_ones_own_that_nobody_reads_writes() {
    let mut program = written_through_a_view("other", false);
    let nodes = program.pointer_mut("/graph_module/graph/nodes").unwrap();
    nodes[4]["target"] = json!("torch.ops.mine.store.default");
    let flops = 2 * 4 * 8 * 16 + 2 * 6 * 16 * 8;
    assert_eq!(read(&program).unwrap().summary.forward_flops, flops);
}

fn read_named(name: &str, is_buffer: bool) -> Import {
    read(&written_through_a_view(name, is_buffer)).unwrap()
}

/// Nobody reads it, but the buffer holds it when the model is done.
#[test]
fn what_a_buffer_becomes_is_kept() {
    let mut program = written_through_a_view("x", true);
    program["graph_module"]["graph"]["tensor_values"]["result"] = tensor(&[4, 8]);
    let import = read(&program).unwrap();
    assert!(import.graph.ops.iter().any(|op| op.name == "done"));
    let import = read(&{
        let mut program = written_through_a_view("x", false);
        program["graph_module"]["graph"]["tensor_values"]["result"] = tensor(&[4, 8]);
        program
    });
    assert!(!import.unwrap().graph.ops.iter().any(|op| op.name == "done"));
}

#[test]
fn operators_that_move_a_name_are_warned_of() {
    let mut program = program();
    let nodes = &mut program["graph_module"]["graph"]["nodes"];
    nodes[1] = node("torch.ops.aten.resize_.default", &[("self", named("y"))], "part");
    let import = read(&program).unwrap();
    assert!(import.warnings.iter().any(|warning| warning.code == "rebound-memory"));
}
