//! Traces of PyTorch against figures that do not come from this importer: the parameters of the
//! models, sums over the files by a script that shares nothing with it, and counts by hand.

use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions, read};
use ir::op::{Op, Phase, Work};
use ir::units::Nanos;

/// Model, its parameters, and FLOPs of the step: those of all products among the nodes, two per
/// multiply-add. Summed by a script over `inputs.shapes`: `mm`, `addmm`, `bmm`,
/// `mkldnn_convolution`, and `convolution_backward` by its output mask.
const STEPS: [(&str, u64, u64); 3] = [
    ("gpt2_2l_h256_b2_s64", 2_661_376, 2_063_597_568),
    ("mixtral_tiny_2l_4e_b2_s32", 1_410_688, 296_091_648),
    ("resnet18_b4_64px", 11_689_512, 3_488_317_440),
];

/// Of the same files, nanoseconds of all `cpu_op` events less those of events inside them, and of
/// the whole step with annotations, by a script over `ts` and `dur`.
const TIMES: [(u64, u64); 3] =
    [(128_497_445, 145_211_992), (105_620_887, 144_310_328), (165_104_187, 191_923_842)];

fn folder() -> Option<PathBuf> {
    benchmark_data::folder().map(|root| root.join("models"))
}

fn pair(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/traces").join(name)
}

fn beside(path: &Path, traces: &[PathBuf]) -> Import {
    let options = ImportOptions { traces: traces.to_vec(), ..ImportOptions::default() };
    read(path, &options).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

fn measured(op: &Op, kind: &str) -> Option<Nanos> {
    match &op.work {
        Work::Kernel(kernel) => kernel.measured.get(kind).copied(),
        Work::View | Work::Given(_) => None,
    }
}

#[test]
fn steps_have_the_parameters_and_flops_of_their_models() {
    let Some(folder) = folder() else { return };
    for (name, parameters, flops) in STEPS {
        let path = folder.join(format!("traces/{name}_train_step.et.json"));
        let import = beside(&path, &[]);
        assert_eq!(import.summary.format, "execution-trace");
        assert_eq!(import.summary.initializer_elements, parameters, "{name}");
        assert_eq!(import.graph.flops().get(), flops, "{name}");
        assert!(import.summary.guessed_share == 0.0, "{name}: {:?}", import.warnings);
    }
}

/// Two layers of width 256 on 2 x 64 tokens, four heads, a vocabulary of 4096. A backward pass
/// takes twice the forward pass, because embeddings are trained too.
#[test]
fn flops_of_gpt2_by_hand() {
    let (tokens, width, vocabulary) = (128, 256, 4_096);
    let layer = 2 * tokens * width * (3 * width + width + 4 * width + 4 * width);
    let attention = 2 * (2 * (2 * 4) * 64 * 64 * 64);
    let head = 2 * tokens * width * vocabulary;
    assert_eq!(3 * (2 * (layer + attention) + head), STEPS[0].2);
}

#[test]
fn the_parts_of_a_step_are_told_apart() {
    let Some(folder) = folder() else { return };
    for (name, ..) in STEPS {
        let import = beside(&folder.join(format!("traces/{name}_train_step.et.json")), &[]);
        let flops = |phases: &[Phase]| -> u64 {
            let ops = import.graph.ops.iter().filter(|op| phases.contains(&op.phase));
            ops.map(|op| match &op.work {
                Work::Kernel(kernel) => kernel.flops().get(),
                Work::View | Work::Given(_) => 0,
            })
            .sum()
        };
        let forward = flops(&[Phase::Forward]);
        let (input, weight) = (flops(&[Phase::BackwardInput]), flops(&[Phase::BackwardWeight]));
        // Each product has one gradient by its weight; the first convolution none by its input,
        // and attention none by a weight.
        assert!(weight <= forward && input >= forward - forward / 8, "{name}");
        assert_eq!(flops(&[Phase::Optimizer]), 0);
        let updates = import.graph.ops.iter().filter(|op| op.phase == Phase::Optimizer);
        let updated = updates.filter(|op| !op.parameters.is_empty()).count() as u64;
        assert_eq!(updated, import.summary.n_parameters, "{name}");
    }
}

#[test]
fn times_of_a_profile_land_on_the_ops() {
    let Some(folder) = folder() else { return };
    for ((name, ..), (ops, step)) in STEPS.iter().zip(TIMES) {
        let path = |end: &str| folder.join(format!("traces/{name}_train_step.{end}.json"));
        for import in [beside(&path("et"), &[path("kineto")]), beside(&path("kineto"), &[])] {
            let recorded = &import.summary.recorded[0];
            // Events are printed to a thousandth of a microsecond.
            let close = |time: Nanos, wanted: u64| time.get().abs_diff(wanted) < 2_000;
            assert!(
                close(recorded.op_time, ops) && close(recorded.step_time, step),
                "{recorded:?}"
            );
            assert!(recorded.landed_share > 0.99, "{recorded:?}");
            // The traced order on one device is the sum of all ops, for the host runs one at a time.
            let sum: Nanos = import.graph.ops.iter().filter_map(|op| measured(op, "cpu")).sum();
            let off = sum.get().abs_diff(step) as f64 / step as f64;
            assert!(off < 0.05, "{name}: {sum} of {step} ns");
            let idle = 1.0 - ops as f64 / step as f64;
            assert!((recorded.idle_share - idle).abs() < 0.001, "{recorded:?}");
        }
    }
}

#[test]
fn two_ranks_of_a_job_meet_in_its_message() {
    let traces: Vec<PathBuf> = ["gloo_rank1.et", "gloo_rank1.kineto", "gloo_rank0.kineto"]
        .map(|name| pair(&format!("{name}.json.gz")))
        .into();
    let import = beside(&pair("gloo_rank0.et.json.gz"), &traces);
    let message = |rank: &str| {
        let is_message = |op: &&Op| op.op_type == "AllReduce" && op.name.starts_with(rank);
        import.graph.ops.iter().find(is_message).unwrap()
    };
    // Linear(64, 128) and Linear(128, 32) with their biases, twice.
    assert_eq!(import.summary.initializer_elements, 2 * (64 * 128 + 128 + 128 * 32 + 32));
    assert_eq!(import.graph.n_groups, 2);
    let times = ["rank0", "rank1"].map(|rank| measured(message(rank), "cpu").unwrap());
    assert_eq!(times[0], times[1]);
    for (rank, other) in [("rank0", "rank1"), ("rank1", "rank0")] {
        let reads = &message(rank).inputs;
        let of_other = |id: &&ir::id::TensorId| import.graph.tensor(**id).name.starts_with(other);
        assert_eq!(reads.iter().filter(of_other).count(), 1, "{rank}");
    }
    assert_eq!(import.cluster.unwrap().n_devices(), 2);
    assert!(import.summary.recorded.iter().all(|recorded| recorded.landed_share > 0.99));
}

#[test]
fn traces_that_do_not_belong_together_are_refused() {
    let code = |first: &str, others: &[&str]| {
        let traces = others.iter().map(|name| pair(&format!("{name}.json.gz"))).collect();
        let options = ImportOptions { traces, ..ImportOptions::default() };
        let error = read(&pair(&format!("{first}.json.gz")), &options).unwrap_err();
        assert!(!error.hints.is_empty(), "{error:?}");
        error.code
    };
    assert_eq!(code("gloo_rank0.et", &["gloo_rank1.kineto"]), "unmatched-profile");
    assert_eq!(code("gloo_rank0.kineto", &["gloo_rank0.et"]), "trace-beside-profile");
}

/// Products of a profile have the operations that the trace of the same step has: shapes of results
/// are derived from those of arguments.
#[test]
fn a_profile_alone_has_the_flops_of_the_step() {
    let Some(folder) = folder() else { return };
    for (name, _, flops) in STEPS {
        let import = beside(&folder.join(format!("traces/{name}_train_step.kineto.json")), &[]);
        let found = import.graph.flops().get();
        // It does not say that the first convolution has no gradient by its input.
        let off = found.abs_diff(flops) as f64 / flops as f64;
        assert!(off < 0.02, "{name}: {found} for {flops}: {:?}", import.warnings);
        assert!(import.summary.guessed_share == 0.0, "{name}: {:?}", import.warnings);
    }
}

#[test]
fn events_without_their_form_are_named() {
    let error = |event: &str| {
        let text = format!(r#"{{"schemaVersion":1,"traceEvents":[{event}]}}"#);
        let read = importers::read_bytes("a.json", text.as_bytes(), &ImportOptions::default());
        let error = read.unwrap_err();
        assert!(!error.hints.is_empty(), "{error:?}");
        (error.code, error.message)
    };
    let event = |member: &str, value: &str| {
        let mut event: serde_json::Value = serde_json::from_str(
            r#"{"ph":"X","cat":"cpu_op","name":"aten::mm","pid":1,"tid":1,"ts":1,"dur":2,"args":{}}"#,
        )
        .unwrap();
        event[member] = serde_json::from_str(value).unwrap();
        event.to_string()
    };
    for (member, value) in [("dur", "-5"), ("dur", "1e300"), ("ts", "1e17")] {
        assert_eq!(error(&event(member, value)).0, "bad-duration", "{member} {value}");
    }
    for (member, value) in [("ts", "\"x\""), ("name", "[1]"), ("args", "3"), ("cat", "{}")] {
        let (code, message) = error(&event(member, value));
        assert!(code == "invalid-field" && message.contains(member), "{message}");
    }
    assert_eq!(error("3").0, "invalid-field");
    assert_eq!(error("").0, "no-ops");
}

/// The files were converted without times from the traces beside them, in which each node waits for
/// the one before.
#[test]
fn chakra_has_the_flops_of_its_source_and_says_what_it_lacks() {
    let Some(folder) = folder() else { return };
    for (name, _, flops) in [STEPS[0], STEPS[2]] {
        let import = beside(&folder.join(format!("chakra/{name}_train_step.chakra.et")), &[]);
        assert_eq!(import.graph.flops().get(), flops, "{name}");
        let codes: Vec<&str> = import.warnings.iter().map(|warning| warning.code).collect();
        assert!(
            codes.contains(&"no-durations") && codes.contains(&"sequential-chain"),
            "{codes:?}"
        );
    }
    let nodes = |name: &str| {
        let import = beside(&folder.join(format!("chakra/{name}_train_step.chakra.et")), &[]);
        import.summary.n_ops
    };
    // One message is about the file.
    assert_eq!((nodes(STEPS[0].0), nodes(STEPS[2].0)), (1_397, 1_347));
}
