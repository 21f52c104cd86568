//! Instance files: the worked examples, where they are at hand, and a large one.

use std::fmt::Write;
use std::path::Path;

use importers::{ImportOptions, read_bytes};
use ir::op::Work;
use ir::units::Nanos;

#[test]
fn worked_examples_import() {
    let Some(folder) = benchmark_data::folder() else { return };
    let text = std::fs::read(Path::new(&folder).join("specs/examples.json")).unwrap();
    let examples: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    assert!(!examples.is_empty());
    for example in examples {
        let problem = &example["problem"];
        let bytes = serde_json::to_vec(problem).unwrap();
        let import = read_bytes("example.json", &bytes, &ImportOptions::default()).unwrap();
        let (graph, cluster) = (import.graph, import.cluster.unwrap());
        assert_eq!(cluster.n_devices(), problem["devices"].as_array().unwrap().len());
        assert_eq!(graph.ops.len(), problem["ops"].as_array().unwrap().len());
        for op in problem["ops"].as_array().unwrap() {
            let id = op["id"].as_u64().unwrap();
            let at = graph.source_op_ids.iter().position(|known| *known == id).unwrap();
            let Work::Given(given) = &graph.ops[at].work else { panic!("work is given") };
            for (kind, time) in op["time_ns"].as_object().unwrap() {
                assert_eq!(given.time[kind], Nanos(time.as_u64().unwrap()));
            }
        }
    }
}

/// An instance of so many ops, each reading the output of another.
fn large(n_ops: u64) -> String {
    let mut text = String::from(
        r#"{"devices":[{"id":0,"kind":"a"},{"id":1,"kind":"a"}],
            "link":{"latency_ns":1,"bytes_per_s":1e9,"duplex":"full"},"ops":["#,
    );
    for id in 0..n_ops {
        let comma = if id == 0 { "" } else { "," };
        let input = if id == 0 { String::new() } else { (1_000_000 + id / 2).to_string() };
        write!(
            text,
            r#"{comma}{{"id":{id},"name":"op {id}","time_ns":{{"a":{id}}},"persistent":1,"temp":2,
            "inputs":[{input}],"outputs":[{{"tensor":{},"bytes":4}}]}}"#,
            1_000_000 + id
        )
        .unwrap();
    }
    text.push_str("]}");
    text
}

#[test]
fn twenty_thousand_ops_are_imported() {
    let text = large(20_000);
    let import = read_bytes("large.json", text.as_bytes(), &ImportOptions::default()).unwrap();
    assert_eq!(import.graph.ops.len(), 20_000);
    assert_eq!(import.graph.tensors.len(), 40_000);
}
