//! Traces whose ends were cut, and what is said of it. Expectations are counted by hand.

use importers::{Import, ImportOptions, read_bytes};
use serde_json::{Value, json};

fn import(name: &str, bytes: &[u8]) -> Result<Import, ir::diagnostic::Diagnostic> {
    read_bytes(name, bytes, &ImportOptions::default())
}

/// A call of a profile in microseconds, on 64 x 64 numbers.
fn call(name: &str, start: u64, pid: u64) -> Value {
    json!({"ph": "X", "cat": "cpu_op", "name": name, "pid": pid, "tid": 1, "ts": start, "dur": 10,
        "args": {"External id": start, "Input Dims": [[64, 64], [64, 64]],
            "Input type": ["float", "float"], "Concrete Inputs": ["", ""]}})
}

fn step(number: u64, start: u64, duration: u64, pid: u64) -> Value {
    json!({"ph": "X", "cat": "user_annotation", "name": format!("ProfilerStep#{number}"), "pid": pid,
        "tid": 1, "ts": start, "dur": duration, "args": {}})
}

fn profile(events: Vec<Value>) -> Result<Import, ir::diagnostic::Diagnostic> {
    let document = json!({"schemaVersion": 1, "deviceProperties": [], "traceEvents": events});
    import("a.json", document.to_string().as_bytes())
}

fn warned(import: &Import, code: &str) -> String {
    let warning = import.warnings.iter().find(|warning| warning.code == code);
    warning.unwrap_or_else(|| panic!("no {code}: {:?}", import.warnings)).message.clone()
}

const MM: &str = "aten::mm";
const RELU: &str = "aten::relu";
const ZERO: &str = "aten::zero_";

/// Marks and calls `(step, starts)`: each step is 100 us long from 100 times its number on.
fn steps(all: &[(u64, &[&str])]) -> Vec<Value> {
    let mut events = Vec::new();
    for (number, names) in all {
        events.push(step(*number, 100 * number, 90, 7));
        let starts = (0..).map(|at| 100 * number + 1 + 11 * at);
        events.extend(names.iter().zip(starts).map(|(name, start)| call(name, start, 7)));
    }
    events
}

/// Of complete steps that are equally long the last is read, and which one that is, is said. A product of 64 x 64 x 64
/// is 524,288 FLOP.
#[test]
fn tails_and_cut_steps_are_not_read() {
    let full: &[&str] = &[MM, RELU, MM, RELU];
    let cases: &[(&[(u64, &[&str])], u64, usize, u64)] = &[
        // The tail that `prof.step()` opens: empty, another op, a start of the step, half of it.
        (&[(1, full), (2, &[])], 1, 4, 2),
        (&[(1, full), (2, &[ZERO])], 1, 4, 2),
        (&[(1, full), (2, full), (3, &[MM])], 2, 4, 2),
        (&[(1, full), (2, full), (3, &[MM, RELU])], 2, 4, 2),
        (&[(1, full), (2, full), (3, &[MM, RELU, MM])], 2, 4, 2),
        // Steps that only devices are at work in.
        (&[(1, full), (2, &[]), (3, &[])], 1, 4, 2),
        // Whole ones to the end: equal, or without what only the first has to make.
        (&[(1, full), (2, full)], 2, 4, 2),
        (&[(1, &[MM, ZERO, RELU, ZERO, MM]), (2, &[MM, RELU, MM])], 2, 3, 2),
        // Cut at the beginning.
        (&[(1, &[RELU]), (2, full)], 2, 4, 2),
        (&[(1, &[RELU]), (2, full), (3, &[MM])], 2, 4, 2),
    ];
    for (marks, number, ops, products) in cases {
        let found = profile(steps(marks)).unwrap();
        assert_eq!(found.graph.ops.len(), *ops, "{marks:?}");
        assert_eq!(found.graph.flops().get(), products * 524_288, "{marks:?}");
        let said = warned(&found, "one-step");
        let is_read = format!(
            "the trace holds {} steps, of which `ProfilerStep#{number}` is read",
            marks.len()
        );
        assert!(said.starts_with(&is_read), "{said}");
        let last = marks.last().unwrap().0;
        assert_eq!(said.contains(&format!("`ProfilerStep#{last}`")), true, "{said}");
    }
}

/// A lone mark is the step; what is outside of it is said. A lone mark of less than a third of the
/// calls is the tail of a step whose own mark is missing.
#[test]
fn a_lone_mark_is_the_step_unless_it_is_a_tail() {
    let of = |names: &[&str]| {
        let mut events = steps(&[(2, names)]);
        events.extend([call(MM, 1, 7), call(RELU, 12, 7)]);
        profile(events).unwrap()
    };
    let whole = of(&[MM, RELU, MM]);
    assert_eq!((whole.graph.ops.len(), whole.graph.flops().get()), (3, 2 * 524_288));
    assert!(
        warned(&whole, "one-step").contains("2 calls of operators outside of `ProfilerStep#2`")
    );
    let mut events = steps(&[(2, &[ZERO])]);
    events.extend([1, 12, 23].map(|start| call(MM, start, 7)));
    let tail = profile(events).unwrap();
    assert_eq!((tail.graph.ops.len(), tail.graph.flops().get()), (4, 3 * 524_288));
    assert!(warned(&tail, "one-step").contains("1 of 4 calls"));
    // Without calls outside of it nothing is said.
    let alone = profile(steps(&[(2, &[MM])])).unwrap();
    assert!(
        alone.warnings.iter().all(|warning| warning.code != "one-step"),
        "{:?}",
        alone.warnings
    );
}

/// A file of two processes is read as that of one, and both marks of a step are one step.
#[test]
fn one_process_of_a_joined_profile_is_read() {
    let mut events = steps(&[(1, &[MM, RELU]), (2, &[])]);
    events.extend([step(1, 101, 90, 8), call(MM, 105, 8), step(2, 201, 5, 8)]);
    let found = profile(events).unwrap();
    assert_eq!((found.graph.ops.len(), found.graph.flops().get()), (2, 524_288));
    assert!(warned(&found, "one-process").contains("2 processes, of which process 7 is read"));
    assert!(warned(&found, "one-step").contains("holds 2 steps, of which `ProfilerStep#1`"));
}

#[test]
fn kernels_without_calls_are_named() {
    let kernel = json!({"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 5,
        "dur": 3, "args": {"correlation": 4, "device": 0}});
    let error = profile(vec![step(1, 1, 50, 7), kernel]).unwrap_err();
    assert_eq!(error.code, "no-ops");
    assert!(error.message.contains("1 kernels and no operator calls"), "{}", error.message);
}

/// A node of an ExecutionTrace.
fn node(id: u64, name: &str, parent: u64, io: [Value; 2]) -> Value {
    let attributes = [("rf_id", json!(id)), ("seq_id", json!(-1)), ("scope", json!(0))];
    let attributes = attributes.map(|(name, value)| json!({"name": name, "value": value}));
    let [inputs, outputs] = io;
    json!({"id": id, "name": name, "ctrl_deps": parent, "inputs": inputs, "outputs": outputs,
        "attrs": attributes})
}

fn io(values: Value, shapes: Value, types: &[&str]) -> Value {
    json!({"values": values, "shapes": shapes, "types": types})
}

/// A tensor of 64 x 64 numbers.
fn tensor(id: u64, bytes: u64) -> Value {
    json!([id, id, 0, 4096, bytes, "cuda:0"])
}

fn traced(nodes: Vec<Value>) -> Result<Import, ir::diagnostic::Diagnostic> {
    let document = json!({"schema": "1.1.1-chakra.0.0.4", "pid": 1, "nodes": nodes});
    import("a.et.json", document.to_string().as_bytes())
}

fn none() -> Value {
    io(json!([]), json!([]), &[])
}

/// Lists of lists hold the tensors that they hold, each of its own type: 64 x 64 numbers of 4 and of 2
/// bytes.
#[test]
fn lists_of_lists_of_tensors_are_read() {
    let square = || json!([64, 64]);
    let nested = |kind: &str| {
        let (a, b) = (tensor(13, 4), tensor(14, 2));
        let (values, shapes) = (json!([[[a], [b]]]), json!([[[square()], [square()]]]));
        let of = format!("{kind}[GenericList[Tensor(float)],GenericList[Tensor(c10::Half)]]");
        io(values, shapes, &[&of])
    };
    for kind in ["GenericList", "Tuple"] {
        let gathered =
            io(json!([[tensor(12, 4)]]), json!([[square()]]), &["GenericList[Tensor(float)]"]);
        let one = |id, bytes, of| io(json!([tensor(id, bytes)]), json!([square()]), &[of]);
        let found = traced(vec![
            node(1, "[pytorch|profiler|execution_trace|process]", 1, [none(), none()]),
            node(2, "aten::relu", 1, [one(11, 4, "Tensor(float)"), one(12, 4, "Tensor(float)")]),
            node(3, "record_param_comms", 1, [gathered, nested(kind)]),
            node(
                4,
                "aten::relu",
                1,
                [one(14, 2, "Tensor(c10::Half)"), one(15, 2, "Tensor(c10::Half)")],
            ),
        ])
        .unwrap();
        assert_eq!(found.graph.ops.len(), 3);
        let written: Vec<u64> = found.graph.ops[1]
            .outputs
            .iter()
            .map(|tensor| found.graph.tensor(*tensor).bytes.get())
            .collect();
        // Its results; a collective may write what it is given, too.
        assert_eq!(written[..2], [16_384, 8_192], "{kind}");
        assert_eq!(found.graph.ops[2].inputs, found.graph.ops[1].outputs[1..2], "{kind}");
    }
}

/// A root that was left out makes the calls below it calls of their own.
#[test]
fn absent_parents_are_counted() {
    let io = || {
        let list = |id| io(json!([tensor(id, 4)]), json!([[64, 64]]), &["Tensor(float)"]);
        [list(11), list(12)]
    };
    let found =
        traced(vec![node(4, "aten::relu", 2, io()), node(5, "aten::relu", 3, io())]).unwrap();
    assert_eq!(found.graph.ops.len(), 2);
    assert!(warned(&found, "absent-nodes").starts_with("2 nodes name a parent"));
}

/// Node `id` of a Chakra trace, with the nodes that it waits for.
fn chakra(id: u8, control: &[u8], data: &[u8]) -> Vec<u8> {
    let mut node = vec![8, id, 0x12, 8];
    node.extend(b"aten::mm");
    node.extend([0x18, 4]);
    control.iter().for_each(|other| node.extend([0x20, *other]));
    data.iter().for_each(|other| node.extend([0x28, *other]));
    [&[node.len() as u8], &node[..]].concat()
}

/// Dependencies on nodes that a converter left out are counted; those on others stay.
#[test]
fn absent_dependencies_of_chakra_are_counted() {
    let file = [vec![2, 0x0a, 0], chakra(5, &[3], &[4]), chakra(6, &[], &[5, 4])].concat();
    let found = import("a.et", &file).unwrap();
    assert_eq!(found.graph.ops.len(), 2);
    assert_eq!(found.graph.ops[1].inputs, found.graph.ops[0].outputs);
    let said = warned(&found, "absent-nodes");
    assert!(said.starts_with("3 dependencies are on 2 nodes"), "{said}");
}
