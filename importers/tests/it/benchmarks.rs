//! Instances of other planners: those of the benchmark folder, small ones by hand, broken ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use importers::{Content, ImportOptions, read_any, read_any_bytes, read_split};
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};

fn folder() -> Option<PathBuf> {
    benchmark_data::folder().map(|folder| folder.join("bench/placement"))
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn instance(content: Content) -> Instance {
    match content {
        Content::Instance(instance) => instance,
        Content::Model(_) => panic!("not read as an instance"),
    }
}

fn load(text: &str) -> Result<LoadInstance, Diagnostic> {
    let content = read_any_bytes("x.json", text.as_bytes(), &ImportOptions::default())?;
    match instance(content) {
        Instance::Load(instance) => Ok(instance),
        _ => panic!("read as another form"),
    }
}

/// Counts of nodes, distinct edges, colours and accelerators as `specs/placement.md` 6.1 lists them.
#[test]
fn published_sizes() {
    let Some(folder) = folder() else { return };
    let sizes = [
        ("layer/bert24_inference", 32, 55, 32, 6),
        ("layer/bert24_training", 64, 110, 32, 6),
        ("layer/gnmt_inference", 96, 122, 96, 6),
        ("layer/gnmt_training", 192, 244, 96, 6),
        ("layer/resnet50_inference", 177, 193, 177, 6),
        ("layer/resnet50_training", 354, 386, 177, 6),
        ("operator/bert_l-3_inference", 235, 250, 128, 3),
        ("operator/bert_l-3_training", 600, 817, 142, 3),
        ("operator/bert_l-12_inference", 783, 843, 424, 6),
        ("operator/resnet50_inference", 604, 619, 176, 6),
        ("operator/resnet50_training", 1243, 1806, 193, 6),
    ];
    for (name, n_nodes, n_edges, n_classes, n_accelerators) in sizes {
        let path = folder.join(format!("dnn-partitioning/throughput/{name}.json.gz"));
        let content = read_any(&path, &ImportOptions::default()).unwrap();
        let Instance::Load(instance) = instance(content) else { panic!("{name}") };
        let uncoloured = instance.nodes.iter().filter(|node| node.colour.is_none()).count();
        assert_eq!(instance.nodes.len(), n_nodes, "{name}");
        assert_eq!(instance.edges.len(), n_edges, "{name}");
        assert_eq!(instance.n_colours + uncoloured, n_classes, "{name}");
        assert_eq!(instance.n_accelerators, n_accelerators, "{name}");
        assert_eq!(instance.accelerator_memory, Bytes(17_185_374_208), "{name}");
        assert_eq!(
            instance.name,
            path.file_name().unwrap().to_str().unwrap().replace(".json.gz", "")
        );
    }
}

#[test]
fn every_file_of_the_folder_reads() {
    let Some(folder) = folder() else { return };
    let mut n_read = 0;
    for path in files(&folder, ".json.gz").into_iter().chain(files(&folder, ".graph.txt")) {
        let read = read_any(&path, &ImportOptions::default());
        instance(read.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        n_read += 1;
    }
    assert!(n_read >= 20, "{n_read} files");
    for path in files(&folder, "_expert.json") {
        let split = read_split(&path).unwrap();
        assert!(split.accelerators.iter().any(|nodes| !nodes.is_empty()), "{}", path.display());
    }
}

const NODES: &str = r#"
    {"id":7,"supportedOnFpga":1,"cpuLatency":2,"fpgaLatency":0.25,"isBackwardNode":0,"colorClass":5,"size":10.5,"layerId":3},
    {"id":3,"supportedOnFpga":false,"cpuLatency":1e-12,"isBackwardNode":true,"colorClass":5,"name":"b"},
    {"id":4,"cpuLatency":0,"fpgaLatency":0}"#;

fn text(nodes: &str, edges: &str) -> String {
    format!(
        r#"{{"maxSizePerFPGA":99.9,"maxFPGAs":2,"maxCPUs":1,"nodes":[{nodes}],"edges":[{edges}]}}"#
    )
}

#[test]
fn fields_are_read_as_described() {
    let edges = r#"{"sourceId":7,"destId":4,"cost":0.5,"size":8},{"sourceId":7,"destId":4,"cost":0.5},
        {"sourceId":7,"destId":3,"cost":0.5}"#;
    let instance = load(&text(NODES, edges)).unwrap();
    assert_eq!(instance.edges, [(0, 1), (0, 2)]);
    assert_eq!((instance.n_accelerators, instance.n_cpus, instance.n_colours), (2, 1, 1));
    assert_eq!(instance.accelerator_memory, Bytes(99));
    let [first, second, third] = &instance.nodes[..] else { panic!() };
    assert_eq!((first.cpu, first.accelerator), (Nanos(2_000_000_000), Some(Nanos(250_000_000))));
    assert_eq!((first.transfer, first.bytes), (Nanos(500_000_000), Bytes(11)));
    // Work lasts at least a nanosecond.
    assert_eq!((second.cpu, second.accelerator), (Nanos(1), None));
    assert_eq!((first.colour, second.colour, third.colour), (Some(0), Some(0), None));
    assert_eq!((first.phase, second.phase), (Phase::Forward, Phase::BackwardInput));
    assert_eq!((third.transfer, third.bytes, third.source_id), (Nanos(0), Bytes(0), 4));
}

#[test]
fn faults_have_codes_and_hints() {
    let edge = |from: u64, to: u64, cost: &str| {
        format!(r#"{{"sourceId":{from},"destId":{to},"cost":{cost}}}"#)
    };
    let cycle = format!("{},{}", edge(7, 4, "1"), edge(4, 7, "1"));
    let unequal = format!("{},{}", edge(7, 4, "1"), edge(7, 3, "1.1"));
    let cases = [
        (text(NODES, &cycle), "graph-cycle"),
        (text(NODES, &edge(7, 7, "1")), "graph-cycle"),
        (text(NODES, &edge(7, 8, "1")), "undefined-node"),
        (text(NODES, &unequal), "unequal-costs"),
        (text(NODES, &edge(7, 4, "-1")), "number-out-of-range"),
        (text(NODES, &edge(7, 4, "1e300")), "number-out-of-range"),
        (
            text(&format!("{NODES},{}", r#"{"id":4,"cpuLatency":0,"fpgaLatency":0}"#), ""),
            "duplicate-id",
        ),
        (text(r#"{"id":4,"cpuLatency":0}"#, ""), "missing-field"),
        (text(r#"{"id":4}"#, ""), "invalid-document"),
        (text(r#"{"id":-4,"cpuLatency":1,"fpgaLatency":1}"#, ""), "invalid-document"),
        (text(NODES, "").replace("\"maxFPGAs\":2", "\"maxFPGAs\":99999"), "too-many-devices"),
        (
            text(NODES, "").replace("\"maxFPGAs\":2,\"maxCPUs\":1", "\"maxFPGAs\":0,\"maxCPUs\":0"),
            "no-devices",
        ),
    ];
    for (text, code) in cases {
        let error = load(&text).unwrap_err();
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(!error.hints.is_empty(), "{code}");
    }
    let error = load(&text(NODES, &cycle)).unwrap_err();
    assert_eq!(error.message, "graph cycle through `7`, `4`");
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_files_are_bounded() {
    let code = |bytes: &[u8]| {
        read_any_bytes("x.json.gz", bytes, &ImportOptions::default()).unwrap_err().code
    };
    let good = packed(text(NODES, "").as_bytes());
    assert!(read_any_bytes("x.json.gz", &good, &ImportOptions::default()).is_ok());
    assert_eq!(code(&good[..good.len() / 2]), "invalid-archive");
    // 80 MB of blanks are 80 kB.
    assert_eq!(code(&packed(&vec![b' '; 80_000_000])), "size-budget");
    assert_eq!(code(&packed(&good)), "invalid-json");
}

#[test]
fn pipedream_profiles_by_hand() {
    let line = "node1 -- A -- B(x=1) -- forward_compute_time=0.5, backward_compute_time=1.000, \
        activation_size=[1.0; 2.0; 3], parameter_size=7.000, stage_id=4";
    let read = |text: &str| {
        read_any_bytes("x.graph.txt", text.as_bytes(), &ImportOptions::default()).map(instance)
    };
    let text = format!("{line}\n{}\n\tnode1 -- node2\n", line.replace("node1", "node2"));
    let Instance::Profile(profile) = read(&text).unwrap() else { panic!() };
    assert_eq!(profile.edges, [(0, 1)]);
    let node = &profile.nodes[0];
    assert_eq!((node.id.as_str(), node.description.as_str()), ("node1", "A -- B(x=1)"));
    // Milliseconds.
    assert_eq!((node.forward, node.backward), (Nanos(500_000), Nanos(1_000_000)));
    assert_eq!((node.activations, node.parameters), (Bytes(6), Bytes(7)));
    for (text, code) in [
        (format!("{line}\n{line}\n"), "duplicate-id"),
        (format!("{line}\n\tnode1 -- node9\n"), "undefined-node"),
        (format!("{text}\tnode2 -- node1\n"), "graph-cycle"),
        (line.replace("0.5", "x"), "invalid-line"),
        (line.replace("0.5", "-1"), "number-out-of-range"),
        ("node1\n".to_owned(), "invalid-line"),
    ] {
        assert_eq!(read(&text).unwrap_err().code, code, "{text}");
    }
}

#[test]
fn piper_instances_by_hand() {
    let configuration = r#"{"id":"vanilla","timePerSample":0.5,"parameterSize":4,"memoryUsageA":2,
        "memoryUsageB":3,"syncTimeFw":{"1":0},"syncTimeBw":{"2":9}}"#;
    let text = |degree: &str| {
        format!(
            r#"{{"maxDevices":4,"maxMemoryPerDevice":8,"bandwidth":25e9,"mbsInBatch":16,
            "nodes":[{{"id":1,"TMPCs":{{}}}},{{"id":2,"TMPCs":{{"{degree}":[{configuration}],"8":[]}}}}],
            "edges":[{{"sourceId":1,"destId":2,"communicationCost":100}}]}}"#
        )
    };
    let read = |text: &str| {
        read_any_bytes("x.json", text.as_bytes(), &ImportOptions::default()).map(instance)
    };
    let Instance::Stages(instance) = read(&text("2")).unwrap() else { panic!() };
    assert_eq!(instance.edges, [(0, 1, Bytes(100))]);
    let configuration = &instance.nodes[1].configurations[0];
    assert_eq!((configuration.degree, configuration.time), (2, Nanos(500_000_000)));
    assert_eq!(configuration.backward_sync, [(1, Bytes(9))]);
    for (text, code) in [
        (text("0"), "invalid-field"),
        (text("two"), "invalid-field"),
        (text("2").replace("25e9", "0"), "number-out-of-range"),
        (text("2").replace("16", "0"), "number-out-of-range"),
        (text("2").replace("\"destId\":2", "\"destId\":1"), "graph-cycle"),
    ] {
        assert_eq!(read(&text).unwrap_err().code, code, "{text}");
    }
}
