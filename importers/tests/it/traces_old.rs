//! Traces of older writers, and odd ones. Expectations are counted by hand.

use importers::{Import, ImportOptions, read_bytes};
use ir::diagnostic::Diagnostic;
use ir::op::Work;
use serde_json::{Value, json};

fn import(name: &str, document: &Value) -> Result<Import, Diagnostic> {
    read_bytes(name, document.to_string().as_bytes(), &ImportOptions::default())
}

fn warned(import: &Import, code: &str) -> String {
    let warning = import.warnings.iter().find(|warning| warning.code == code);
    warning.unwrap_or_else(|| panic!("no {code}: {:?}", import.warnings)).message.clone()
}

/// Nanoseconds of each op, in order.
fn times(import: &Import) -> Vec<Option<u64>> {
    let time = |work: &Work| match work {
        Work::Kernel(kernel) => kernel.measured.values().next().map(|time| time.get()),
        Work::View | Work::Given(_) => None,
    };
    import.graph.ops.iter().map(|op| time(&op.work)).collect()
}

/// A node of schema 1.0.1: values, shapes, types and attributes beside each other.
fn flat(id: u64, name: &str, parent: u64, inputs: &[u64], output: u64) -> Value {
    let tensor = |id: &u64| json!([id, id, 0, 4096, 4, "cpu"]);
    let values: Vec<Value> = inputs.iter().map(tensor).collect();
    json!({"name": name, "id": id, "rf_id": id, "parent": parent, "fw_parent": 0, "seq_id": -1,
        "scope": 0, "tid": 1, "fw_tid": 0, "op_schema": "",
        "inputs": values, "input_shapes": vec![json!([64, 64]); values.len()],
        "input_types": vec!["Tensor(float)"; values.len()],
        "outputs": [tensor(&output)], "output_shapes": [[64, 64]],
        "output_types": ["Tensor(float)"]})
}

/// A product of 64 x 64 x 64 is 524,288 FLOP; what is inside `aten::linear` belongs to it.
#[test]
fn schema_1_0_1_is_read() {
    let nodes = json!([
        flat(3, "aten::mm", 2, &[11, 12], 13),
        flat(2, "aten::linear", 1, &[11, 12], 13),
        flat(4, "aten::relu", 1, &[13], 14),
    ]);
    let trace = |nodes: Value| {
        let text = json!({"schema": "1.0.1", "pid": 1, "nodes": nodes, "finish_ts": 5});
        import("a.json", &text)
    };
    let found = trace(nodes.clone()).unwrap();
    assert_eq!((found.graph.ops.len(), found.graph.flops().get()), (2, 524_288));
    assert_eq!(found.graph.ops[1].inputs, found.graph.ops[0].outputs);
    assert_eq!(found.summary.step.as_deref(), Some("the whole trace"));
    for (member, value, named) in [
        ("parent", json!("x"), "ctrl_deps"),
        ("input_types", json!(3), "input_types"),
        ("input_shapes", json!([]), "inputs"),
        ("seq_id", json!("x"), "seq_id"),
    ] {
        let mut nodes = nodes.clone();
        nodes[0][member] = value;
        let error = trace(nodes).unwrap_err();
        assert_eq!(error.code, "invalid-field", "{error:?}");
        assert!(error.message.contains(named), "{error:?}");
    }
}

fn feeder(nodes: Value) -> Result<Import, Diagnostic> {
    import("a.json", &json!({"workload_graph": nodes}))
}

/// The JSON of Chakra's feeder: microseconds, bytes, and a node that is missing.
#[test]
fn chakra_in_json_is_read() {
    let node = |id: u64, kind: u64, before: &[u64]| {
        json!({"Id": id, "Name": format!("op{id}"), "NodeType": kind, "runtime": 7,
            "data_deps": before, "is_cpu_op": true})
    };
    let mut sum = node(3, 7, &[2, 99]);
    (sum["comm_type"], sum["comm_size"], sum["ctrlDeps"]) = (json!(0), json!(4096), json!([1]));
    let nodes = json!([node(1, 4, &[]), node(2, 4, &[1]), sum]);
    let found = feeder(nodes.clone()).unwrap();
    assert_eq!(found.summary.format, "chakra");
    assert_eq!(times(&found), [Some(7_000); 3]);
    assert_eq!(found.graph.ops[2].op_type, "AllReduce");
    assert_eq!(found.graph.tensor(found.graph.ops[2].outputs[0]).bytes.get(), 4_096);
    assert!(warned(&found, "absent-nodes").starts_with("1 dependencies are on 1 nodes"));
    for (at, member, value, code) in [
        (0, "NodeType", json!(9), "invalid-field"),
        (1, "Id", json!(1), "duplicate-id"),
        (1, "data_deps", json!([3]), "graph-cycle"),
        (1, "data_deps", json!("x"), "invalid-document"),
    ] {
        let mut nodes = nodes.clone();
        nodes[at][member] = value;
        assert_eq!(feeder(nodes).unwrap_err().code, code, "{member}");
    }
}

/// A call that waits for its own kernel, which reads what it writes; and one that waits for itself.
#[test]
fn control_cycles_are_left_out() {
    let node = |id: u64, data: &[u64], control: &[u64]| {
        json!({"Id": id, "Name": format!("op{id}"), "NodeType": 4, "runtime": id,
            "data_deps": data, "ctrl_deps": control})
    };
    let found =
        feeder(json!([node(1, &[], &[2]), node(2, &[1], &[]), node(3, &[2], &[3, 1])])).unwrap();
    assert_eq!(found.graph.ops.len(), 3);
    assert!(warned(&found, "control-cycle").starts_with("2 control dependencies"));
    let plain = feeder(json!([node(1, &[], &[]), node(2, &[1], &[1])])).unwrap();
    assert!(plain.warnings.iter().all(|warning| warning.code != "control-cycle"));
}

fn event(cat: &str, name: &str, times: (u64, u64), args: Value) -> Value {
    json!({"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": 1, "ts": times.0, "dur": times.1,
        "args": args})
}

fn profile(events: Vec<Value>) -> Result<Import, Diagnostic> {
    import("a.json", &json!({"schemaVersion": 1, "traceEvents": events}))
}

fn sizes(id: u64) -> Value {
    json!({"External id": id, "Input Dims": [[64, 64], [64, 64]], "Input type": ["float", "float"]})
}

/// Two products whose kernels have the numbers of their launches, one of which is that of the other
/// call. The message is noted by its backend alone.
#[test]
fn kernels_belong_to_the_call_around_their_launch() {
    let shared = |id: u64| json!({"External id": id, "correlation": id});
    let message = json!({"External id": 3, "Input Dims": [[1024]], "Input type": ["float"]});
    let found = profile(vec![
        event("user_annotation", "ProfilerStep#4", (0, 100), json!({})),
        event("cpu_op", "aten::mm", (10, 10), sizes(1)),
        event("cuda_runtime", "cudaLaunchKernel", (12, 2), shared(2)),
        event("cpu_op", "aten::mm", (30, 10), sizes(2)),
        event("cuda_runtime", "cudaLaunchKernel", (32, 2), shared(5)),
        event("user_annotation", "nccl:all_reduce", (50, 10), message),
        event("cuda_runtime", "cudaLaunchKernel", (52, 2), shared(6)),
        event("kernel", "gemm", (40, 3), shared(2)),
        event("kernel", "gemm", (50, 5), shared(5)),
        event("kernel", "ncclKernel", (60, 9), shared(6)),
    ])
    .unwrap();
    let types: Vec<&str> = found.graph.ops.iter().map(|op| op.op_type.as_str()).collect();
    assert_eq!(types, ["MatMul", "MatMul", "AllReduce"]);
    // The second and the third waited 7 and 5 microseconds for work.
    assert_eq!(times(&found), [Some(3_000), Some(12_000), Some(14_000)]);
    assert_eq!(found.summary.recorded[0].kind, "gpu");
    assert_eq!(found.summary.step.as_deref(), Some("ProfilerStep#4"));
}

/// Five steps: of the complete ones, 60, 50, 90 and 70 us long, the lower median is 60.
#[test]
fn the_median_of_complete_steps_is_read() {
    let mut events = Vec::new();
    for (number, length, calls) in [(1, 60, 2), (2, 50, 2), (3, 90, 2), (4, 70, 2), (5, 95, 0)] {
        let start = 100 * number;
        let name = format!("ProfilerStep#{number}");
        events.push(event("user_annotation", &name, (start, length), json!({})));
        events.extend((0..calls).map(|at| {
            let times = (start + 1 + 20 * at, 10 + number);
            event("cpu_op", "aten::mm", times, sizes(start + at))
        }));
    }
    let found = profile(events).unwrap();
    assert_eq!(found.summary.step.as_deref(), Some("ProfilerStep#1, the median of 4 complete"));
    assert_eq!(found.summary.recorded[0].op_time.get(), 22_000);
    assert!(warned(&found, "one-step").contains("`ProfilerStep#5` holds no operator"));
}

/// Durations without sizes are no guess of the table of operators.
#[test]
fn profiles_without_sizes_say_so() {
    let found = profile(vec![event("cpu_op", "aten::mm", (1, 5), json!({"External id": 1}))]);
    let found = found.unwrap();
    assert_eq!(times(&found), [Some(5_000)]);
    assert!(warned(&found, "no-shapes").contains("durations"));
    assert!(found.warnings.iter().all(|warning| warning.code != "unknown-op"));
}
