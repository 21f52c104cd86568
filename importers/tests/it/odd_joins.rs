//! Runs that are not what the model beside them is. Traces, and the sums of what their calls take, were
//! made by `python/record_odd_joins.py`.

use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions, read, read_bytes};
use ir::diagnostic::Diagnostic;
use ir::op::Work;

fn odd(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/traces/odd").join(name)
}

/// The ExecutionTrace and the profile of a run.
fn run(name: &str) -> Vec<PathBuf> {
    ["et", "kineto"].map(|end| odd(&format!("{name}.{end}.json.gz"))).into()
}

/// Nanoseconds of all calls of a profile, by the script.
fn busy(name: &str) -> f64 {
    let text = std::fs::read_to_string(odd("times.json")).unwrap();
    let times: serde_json::Value = serde_json::from_str(&text).unwrap();
    times[name].as_f64().unwrap()
}

fn join(model: &Path, traces: &[PathBuf]) -> Result<Import, Diagnostic> {
    read(model, &ImportOptions { traces: traces.to_vec(), ..ImportOptions::default() })
}

fn has(import: &Import, code: &str) -> bool {
    import.warnings.iter().any(|warning| warning.code == code)
}

/// On a model and on the trace itself: what is said adds up to what ops have, and is of all calls of
/// the profile.
fn all(name: &str, code: &str, least_lost: f64) {
    let [et, kineto] = &run(name)[..] else { unreachable!() };
    let beside =
        [(odd("relu.pt2"), vec![et.clone(), kineto.clone()]), (et.clone(), vec![kineto.clone()])];
    for (model, traces) in beside {
        let import = join(&model, &traces).unwrap();
        let recorded = &import.summary.recorded[0];
        let op_time = recorded.op_time.get() as f64;
        assert!((op_time - busy(name)).abs() < busy(name) / 100.0, "{name}: {recorded:?}");
        let sum: u64 = import
            .graph
            .ops
            .iter()
            .map(|op| match &op.work {
                Work::Kernel(kernel) => kernel.measured.values().map(|time| time.get()).sum(),
                Work::View | Work::Given(_) => 0,
            })
            .sum();
        let said = recorded.landed_share * op_time + recorded.idle_time.get() as f64;
        assert!((sum as f64 - said).abs() < 2.0, "{name}: {sum} {said}");
        assert!(recorded.landed_share <= 1.0 - least_lost, "{name}: {recorded:?}");
        assert!(has(&import, code), "{name} {}: {:?}", model.display(), import.warnings);
    }
}

#[test]
fn what_the_trace_does_not_cover_is_neither_idle_nor_of_an_op() {
    let import = join(&odd("relu.pt2"), &run("own")).unwrap();
    assert!(import.summary.recorded[0].landed_share > 0.99 && !has(&import, "unlanded-time"));
    assert!(import.cluster.is_some(), "{:?}", import.warnings);
    all("more", "unlanded-time", 0.3);
}

#[test]
fn steps_beyond_the_first_are_told() {
    all("three", "one-step", 0.0);
}

#[test]
fn another_model_of_equal_products_does_not_land() {
    for traces in [&run("sort")[..], &run("sort")[1..]] {
        let import = join(&odd("relu.pt2"), traces).unwrap();
        assert!(has(&import, "other-operators") && has(&import, "unlanded-time"));
        assert!(import.summary.recorded[0].landed_share < 0.99 && import.cluster.is_none());
    }
    let longer = join(&odd("relu.pt2"), &run("longer")).unwrap();
    assert!(has(&longer, "unlanded-time"), "{:?}", longer.warnings);
    for name in ["own", "longer"] {
        assert!(!has(&join(&odd("relu.pt2"), &run(name)).unwrap(), "other-operators"), "{name}");
    }
}

#[test]
fn a_run_in_training_mode_is_told() {
    let mode = |name| has(&join(&odd("relu.pt2"), &run(name)).unwrap(), "training-mode");
    assert_eq!(["own", "drop"].map(mode), [false, true]);
}

#[test]
fn calls_of_other_names_are_of_another_run() {
    let traces = [odd("own.et.json.gz"), odd("renamed.kineto.json.gz")];
    assert_eq!(join(&odd("relu.pt2"), &traces).unwrap_err().code, "unmatched-profile");
    assert_eq!(join(&traces[0], &traces[1..]).unwrap_err().code, "unmatched-profile");
}

#[test]
fn calls_away_from_their_callers_are_told() {
    let [et, kineto] = &run("own")[..] else { unreachable!() };
    let file = std::fs::File::open(kineto).unwrap();
    let mut profile: serde_json::Value =
        serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    for (at, event) in profile["traceEvents"].as_array_mut().unwrap().iter_mut().enumerate() {
        event["tid"] = serde_json::json!(at + 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let moved = folder.path().join("moved.kineto.json");
    std::fs::write(&moved, profile.to_string()).unwrap();
    let is_warned =
        |kineto: &Path| has(&join(et, &[kineto.to_owned()]).unwrap(), "overlapping-calls");
    assert_eq!([is_warned(kineto), is_warned(&moved)], [false, true]);
}

#[test]
fn impossible_times_are_refused_or_told() {
    let profile = |times: [(f64, f64); 3]| {
        let names = ["aten::add", "aten::relu", "aten::mul"];
        let calls: Vec<_> = names.iter().zip(times).map(|(name, (ts, dur))| {
            serde_json::json!({
                "ph": "X", "cat": "cpu_op", "name": name, "pid": 1, "tid": 1, "ts": ts, "dur": dur,
                "args": {"Input Dims": [[8, 16], [8, 16]], "Input type": ["float", "float"]},
            })
        }).collect();
        let text = serde_json::json!({ "traceEvents": calls }).to_string();
        read_bytes("run.kineto.json", text.as_bytes(), &ImportOptions::default())
    };
    let good = profile([(1.0, 5.0), (7.0, 2.0), (9.0, 1.0)]).unwrap();
    assert!(!has(&good, "overlapping-calls"));
    assert!(has(&profile([(1.0, 5.0), (4.0, 4.0), (9.0, 1.0)]).unwrap(), "overlapping-calls"));
    assert_eq!(profile([(0.0, 5.0), (0.0, 2.0), (0.0, 1.0)]).unwrap_err().code, "no-clock");
    assert_eq!(profile([(-3.0, 2.0), (7.0, 2.0), (9.0, 1.0)]).unwrap_err().code, "bad-duration");
}
