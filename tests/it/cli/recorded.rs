//! Plans with the times of a recorded run on another file of its model.

use super::folder::{Folder, Ran, diamond, run};

/// Nanoseconds of the recorded pass: from the start of the first to the end of the last event, by a
/// script that shares nothing with the program.
const PASS: f64 = 3_581_249.0;

const HOST: &str = "name: host
kinds:
  - {name: cpu, memory_bytes: 85899345920, memory_bytes_per_s: 2.0e10, peak_fp32_flops: 1.0e11}
devices:
  - {id: a, kind: cpu}
";

fn plan(model: &str, traces: &[&str], flags: &str) -> Ran {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/traces/blocks");
    let traces: Vec<String> =
        traces.iter().map(|name| format!("--trace {folder}/{name}.json.gz")).collect();
    run(&format!("plan {folder}/{model} {} {flags} --json", traces.join(" ")))
}

#[test]
fn a_plan_of_a_recorded_model_lasts_as_long_as_its_run() {
    for model in ["model.pt2", "model.onnx"] {
        for traces in [&["inference.et", "inference.kineto"][..], &["inference.kineto"]] {
            let report = plan(model, traces, "").exits(0).json()["report"].clone();
            let time = report["step_time_ns"].as_f64().unwrap();
            assert!((time - PASS).abs() / PASS < 0.01, "{model} {traces:?}: {time} of {PASS} ns");
            assert_eq!(report["interval"]["origin"], "measured", "{report}");
        }
    }
}

/// The backward pass of a graph that has none is not the run's.
#[test]
fn what_a_run_does_not_tell_is_no_measurement() {
    let traces = ["training.et", "training.kineto"];
    let folder = Folder::new(&diamond());
    folder.write("host.yaml", HOST);
    let flags = format!("--workload training --cluster {}", folder.path("host.yaml").display());
    let ran = plan("model.pt2", &traces, &flags).exits(0).json();
    assert_eq!(ran["report"]["interval"]["origin"], "nominal");
    let codes = ran["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]);
    assert!(codes.clone().any(|code| code == "parts-left-out"), "{:?}", ran["warnings"]);
}
