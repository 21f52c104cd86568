//! The form of ONNX files: weights are passed over, nesting and budgets hold, functions are inlined.

use std::io::{Seek, SeekFrom, Write};

use crate::writer::{bytes, header, message, model, node, number, opset, text, value};
use importers::{Import, ImportOptions, read, read_bytes};
use ir::diagnostic::Diagnostic;

fn import(bytes: &[u8]) -> Result<Import, Diagnostic> {
    read_bytes("case.onnx", bytes, &ImportOptions::default())
}

fn code(bytes: &[u8]) -> &'static str {
    import(bytes).unwrap_err().code
}

/// `y = Relu(x)` with more graph fields.
fn relu(more: &[Vec<u8>]) -> Vec<u8> {
    let mut graph =
        [bytes(1, &node("Relu", &["x"], &["y"], &[])), value(11, "x"), value(12, "y")].concat();
    more.iter().for_each(|field| graph.extend(field));
    graph
}

/// The fields of an initializer in front of `length` bytes of data in `field`.
fn weight(field: u64, length: u64) -> Vec<u8> {
    [text(8, "w"), number(1, length / 4), number(2, 1), header(field, length)].concat()
}

/// A file of which only the first and last bytes are written; the data is a hole.
fn sparse_model(field: u64, length: u64) -> tempfile::NamedTempFile {
    let inside = weight(field, length);
    let front = [header(5, inside.len() as u64 + length), inside].concat();
    let tail = relu(&[]);
    let graph_length = front.len() as u64 + length + tail.len() as u64;
    let mut file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    file.write_all(&[number(1, 10), header(7, graph_length), front].concat()).unwrap();
    file.seek(SeekFrom::Current(length as i64)).unwrap();
    file.write_all(&[tail, opset("", 20)].concat()).unwrap();
    file
}

#[test]
fn a_tebibyte_of_inline_weights_is_passed_over() {
    // raw_data, and float_data, which is packed; whoever reads them is not done today.
    for field in [9, 4] {
        let file = sparse_model(field, 1 << 40);
        let import = read(file.path(), &ImportOptions::default()).unwrap();
        assert_eq!(import.summary.initializer_elements, 1 << 38);
    }
}

#[test]
fn inline_data_is_held_against_its_shape() {
    let tensor = |data: Vec<u8>| {
        let tensor = [text(8, "w"), number(1, 3), number(2, 1), data].concat();
        import(&model(&relu(&[bytes(5, &tensor)]), &[])).map_err(|error| error.code)
    };
    let one = |field: u64| vec![(field << 3 | 5) as u8, 0, 0, 0, 0];
    assert!(tensor(bytes(9, &[0; 12])).is_ok());
    assert_eq!(tensor(bytes(9, &[0; 11])).unwrap_err(), "data-too-short");
    assert!(tensor(bytes(4, &[0; 12])).is_ok());
    assert_eq!(tensor(bytes(4, &[0; 8])).unwrap_err(), "data-too-short");
    assert_eq!(tensor(bytes(4, &[0; 10])).unwrap_err(), "invalid-protobuf");
    assert!(tensor(one(4).repeat(3)).is_ok());
    assert_eq!(tensor(one(4).repeat(2)).unwrap_err(), "data-too-short");
    // Models without weights are fine.
    assert!(tensor(Vec::new()).is_ok());
}

/// A graph with `depth` conditionals inside each other.
fn nested(depth: usize) -> Vec<u8> {
    // The type of the innermost value is three messages further down than its graph.
    let kind = message(2, &[message(1, &[number(1, 1)])]);
    let innermost = message(12, &[text(1, "z0"), kind]);
    let named = |name: &str| message(12, &[text(1, name)]);
    let mut graph = [bytes(1, &node("Relu", &["x"], &["z0"], &[])), innermost].concat();
    for level in 1..=depth {
        let out = format!("z{level}");
        let branch = |name: &str| message(5, &[text(1, name), bytes(6, &graph), number(20, 5)]);
        // One branch holds the rest, the other is small, or the file would double each time.
        let small = [bytes(1, &node("Relu", &["x"], &["e"], &[])), named("e")].concat();
        let other = message(5, &[text(1, "else_branch"), bytes(6, &small), number(20, 5)]);
        let node = node("If", &["c"], &[&out], &[branch("then_branch"), other]);
        graph = [bytes(1, &node), named(&out)].concat();
    }
    [graph, value(11, "x"), value(11, "c")].concat()
}

#[test]
fn thirty_two_conditionals_fit_and_more_do_not() {
    import(&model(&nested(32), &[])).unwrap();
    assert_eq!(code(&model(&nested(33), &[])), "nesting-limit");
    assert_eq!(code(&model(&nested(34), &[])), "nesting-limit");
}

#[test]
fn millions_of_empty_messages_meet_the_budget() {
    for field in [1, 5, 11] {
        let graph = header(field, 0).repeat(5_000_000);
        assert_eq!(code(&model(&graph, &[])), "size-budget", "field {field}");
    }
    let long = [header(1, 200 << 20), vec![b'a'; 1 << 10]].concat();
    assert_eq!(
        code(&model(&[header(1, long.len() as u64), long].concat(), &[])),
        "invalid-protobuf"
    );
}

#[test]
fn a_message_that_stands_twice_is_refused() {
    let twice = [model(&relu(&[]), &[]), bytes(7, &relu(&[]))].concat();
    assert_eq!(code(&twice), "invalid-protobuf");
    assert_eq!(code(&number(1, 10)), "missing-graph");
}

/// A local function `local::name` with input `i` and output `o`.
fn function(name: &str, nodes: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
    let mut content = [text(1, name), text(10, "local"), text(4, "i"), text(5, "o")].concat();
    nodes.iter().for_each(|node| content.extend(bytes(7, node)));
    more.iter().for_each(|field| content.extend(field));
    bytes(25, &content)
}

fn call(name: &str, input: &str, output: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let domain = text(7, "local");
    node(name, &[input], &[output], &[&[domain], more].concat())
}

#[test]
fn inner_names_of_functions_are_new_for_each_call() {
    let body = [node("Relu", &["i"], &["t"], &[]), node("Exp", &["t"], &["o"], &[])];
    let graph = [
        bytes(1, &call("F", "x", "t", &[])),
        bytes(1, &call("F", "t", "y", &[])),
        value(11, "x"),
        value(12, "y"),
    ]
    .concat();
    let more = [function("F", &body, &[]), opset("local", 1)];
    let graph = import(&model(&graph, &more)).unwrap().graph;
    let types: Vec<&str> = graph.ops.iter().map(|op| op.op_type.as_str()).collect();
    assert_eq!(types, ["Relu", "Exp", "Relu", "Exp"]);
    let names: std::collections::BTreeSet<&str> =
        graph.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), graph.tensors.len());
    assert!(names.contains("t/t") && names.contains("y/t"), "{names:?}");
}

#[test]
fn function_attributes_come_from_the_call_or_the_default() {
    let reference = message(5, &[text(1, "axis"), text(21, "a"), number(20, 2)]);
    let body = [node("Softmax", &["i"], &["o"], &[reference])];
    let axis = |value: u64| vec![message(5, &[text(1, "a"), number(3, value), number(20, 2)])];
    let default = message(11, &[text(1, "a"), number(3, 77), number(20, 2)]);
    let outcome = |more: &[Vec<u8>]| {
        let graph = [bytes(1, &call("F", "x", "y", more)), value(11, "x"), value(12, "y")].concat();
        let more = [function("F", &body, std::slice::from_ref(&default)), opset("local", 1)];
        import(&model(&graph, &more))
    };
    // Axis 77 of a matrix is refused by shape inference, so the attribute that arrives shows.
    assert!(outcome(&axis(1)).is_ok());
    assert!(outcome(&[]).is_err());
}

#[test]
fn functions_that_hand_an_input_on_get_a_view() {
    let content = [text(1, "F"), text(10, "local"), text(4, "o"), text(5, "o")].concat();
    let graph = [bytes(1, &call("F", "x", "y", &[])), value(11, "x"), value(12, "y")].concat();
    let graph = import(&model(&graph, &[bytes(25, &content), opset("local", 1)])).unwrap().graph;
    assert_eq!(graph.ops.len(), 1);
    assert_eq!(graph.ops[0].op_type, "Identity");
}

#[test]
fn functions_may_not_go_round_or_too_deep() {
    let graph = |name: &str| {
        [bytes(1, &call(name, "x", "y", &[])), value(11, "x"), value(12, "y")].concat()
    };
    let round = [
        function("F", &[call("G", "i", "o", &[])], &[]),
        function("G", &[call("F", "i", "o", &[])], &[]),
    ];
    assert_eq!(code(&model(&graph("F"), &round)), "recursive-function");
    let chain: Vec<Vec<u8>> = (0..5_000)
        .map(|at| function(&format!("F{at}"), &[call(&format!("F{}", at + 1), "i", "o", &[])], &[]))
        .collect();
    assert_eq!(code(&model(&graph("F0"), &chain)), "nesting-limit");
}

/// Some exporters write -1 for an extent that is free: `--batch` binds it as it binds an unnamed one.
/// Other negative extents are none.
#[test]
fn minus_one_is_a_free_extent() {
    let input = |first: i64| {
        // Negative numbers are ten bytes of a varint.
        let dim = |n: i64| message(1, &[number(1, n as u64)]);
        let shape = message(2, &[dim(first), dim(5)]);
        let tensor = message(1, &[number(1, 1), shape]);
        message(11, &[text(1, "x"), message(2, &[tensor])])
    };
    let of = |first: i64| {
        let graph = [bytes(1, &node("Relu", &["x"], &["y"], &[])), input(first), value(12, "y")];
        let options = ImportOptions { batch: Some(8), ..ImportOptions::default() };
        read_bytes("case.onnx", &model(&graph.concat(), &[]), &options)
    };
    let found = of(-1).unwrap();
    assert_eq!(found.graph.tensor(found.graph.inputs[0]).shape, [8, 5]);
    for wrong in [-2, i64::MIN] {
        assert_eq!(of(wrong).unwrap_err().code, "negative-dimension", "{wrong}");
    }
}
