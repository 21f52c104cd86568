//! Times of traces on graphs of the same model from other files. The model, its files and its traces
//! were made by `python/check_joins.py --only blocks --keep`; figures of the traces are sums of a
//! script that shares nothing with the importer.

use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions, read};
use ir::diagnostic::{Diagnostic, Value};
use ir::op::{Op, Work};
use ir::tensor::DType;

/// Nanoseconds in which operators ran, summed over threads.
const INFERENCE: u64 = 3_150_719;
const TRAINING: u64 = 9_027_382;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

fn blocks(name: &str) -> PathBuf {
    data("traces/blocks").join(name)
}

/// The ExecutionTrace and the profile of a run.
fn run(name: &str) -> Vec<PathBuf> {
    ["et", "kineto"].map(|end| blocks(&format!("{name}.{end}.json.gz"))).into()
}

fn join(model: &Path, traces: &[PathBuf]) -> Result<Import, Diagnostic> {
    read(model, &ImportOptions { traces: traces.to_vec(), ..ImportOptions::default() })
}

fn measured(import: &Import) -> Vec<u64> {
    let time = |op: &Op| match &op.work {
        Work::Kernel(kernel) => kernel.measured.get("cpu").map(|time| time.get()),
        Work::View | Work::Given(_) => None,
    };
    import.graph.ops.iter().filter_map(time).collect()
}

/// What landed, what of it by segment, and whether that was warned of. What ops have is what is said
/// of them.
fn share(import: &Import) -> (f64, f64, bool) {
    let [recorded] = import.summary.recorded.as_slice() else { panic!("{:?}", import.summary) };
    let sum: u64 = measured(import).iter().sum();
    let said =
        recorded.landed_share * recorded.op_time.get() as f64 + recorded.idle_time.get() as f64;
    assert!((sum as f64 - said).abs() < 1.0, "{sum} {said}");
    let is_warned = import.warnings.iter().any(|warning| warning.code == "unlanded-time");
    (recorded.landed_share, recorded.segment_share, is_warned)
}

/// Share of the trace that parts of the step have which the graph has not.
fn left_out(import: &Import) -> f64 {
    let warning = import.warnings.iter().find(|warning| warning.code == "parts-left-out");
    warning.map_or(0.0, |warning| match warning.facts[0].1 {
        Value::Real(share) => share,
        _ => panic!("{warning:?}"),
    })
}

#[test]
fn the_time_of_a_run_lands_on_other_files_of_its_model() {
    let pairs = [
        ("model.pt2", "inference", INFERENCE),
        ("model.onnx", "inference", INFERENCE),
        ("model.pt2", "training", TRAINING),
        ("model.onnx", "training", TRAINING),
        ("joint.pt2", "training", TRAINING),
    ];
    for (model, kind, whole) in pairs {
        for traces in [&run(kind)[..], &run(kind)[1..]] {
            let import = join(&blocks(model), traces).unwrap();
            let (landed, by_segment, is_warned) = share(&import);
            assert!(landed >= 0.99 && !is_warned, "{model} {kind}: {landed} {:?}", import.warnings);
            assert!(by_segment < 0.4, "{model} {kind}: {by_segment}");
            let op_time = import.summary.recorded[0].op_time.get() as f64;
            let total = op_time / (1.0 - left_out(&import));
            let off = (total - whole as f64).abs() / whole as f64;
            assert!(off < 0.01, "{model} {kind}: {total} of {whole} ns");
        }
    }
}

#[test]
fn a_model_whose_ops_all_have_a_time_needs_no_cluster() {
    let import = join(&blocks("model.onnx"), &run("inference")).unwrap();
    let kernels = import.graph.ops.iter().filter(|op| op.work != Work::View).count();
    assert_eq!(measured(&import).len(), kernels);
    assert_eq!(import.cluster.unwrap().kinds[0].name, "cpu");
    // Training adds an update, of which neither run nor device say anything.
    let traces = run("inference");
    let options = ImportOptions { traces, trains: true, ..ImportOptions::default() };
    assert!(read(&blocks("model.onnx"), &options).unwrap().cluster.is_none());
    // The backward pass has none from a run of the forward pass.
    let import = join(&blocks("joint.pt2"), &run("inference")).unwrap();
    assert!(share(&import).2 && import.cluster.is_none());
}

#[test]
fn traces_of_another_batch_or_model_do_not_land() {
    let gloo = [data("traces/gloo_rank0.et.json.gz"), data("traces/gloo_rank0.kineto.json.gz")];
    for model in ["model.pt2", "joint.pt2", "model.onnx"] {
        for (what, traces) in [("batch", run("other")), ("model", gloo.to_vec())] {
            let (landed, _, is_warned) = share(&join(&blocks(model), &traces).unwrap());
            assert!(landed < 0.2 && is_warned, "{model}, another {what}: {landed}");
        }
    }
}

#[test]
fn a_run_in_another_type_is_warned_of() {
    let warnings = |dtype| {
        let options = ImportOptions { traces: run("inference"), dtype, ..ImportOptions::default() };
        let import = read(&blocks("model.pt2"), &options).unwrap();
        assert!(share(&import).0 >= 0.99);
        import.warnings.iter().filter(|warning| warning.code == "traced-dtype").count()
    };
    assert_eq!([None, Some(DType::F32), Some(DType::Bf16)].map(warnings), [0, 0, 1]);
}

#[test]
fn traces_that_say_nothing_of_a_model_are_refused() {
    let code = |traces: &[PathBuf]| {
        let error = join(&blocks("model.pt2"), traces).unwrap_err();
        assert!(!error.hints.is_empty(), "{error:?}");
        error.code
    };
    assert_eq!(code(&run("inference")[..1]), "no-durations");
    let gloo = |name: &str| data(&format!("traces/gloo_{name}.json.gz"));
    let ranks = ["rank0.et", "rank0.kineto", "rank1.et", "rank1.kineto"].map(gloo);
    assert_eq!(code(&ranks), "several-ranks");
}

/// The traces are of models whose files were exported by the script named above; parameters say that
/// they are the same models. The traced mixture of experts runs a loop over them, the exported one
/// grouped products.
#[test]
fn the_time_of_the_samples_lands() {
    let Some(folder) = benchmark_data::folder().map(|root| root.join("models")) else { return };
    let models = [
        ("gpt2_2l_h256_b2_s64", 2_661_376, 0.30),
        ("mixtral_tiny_2l_4e_b2_s32", 1_410_688, 0.60),
        ("resnet18_b4_64px", 11_689_512, 0.20),
    ];
    for (name, parameters, most) in models {
        let trace = |end: &str| folder.join(format!("traces/{name}_train_step.{end}.json"));
        for traces in [&[trace("et"), trace("kineto")][..], &[trace("kineto")]] {
            let model = data(&format!("traces/samples/{name}.pt2"));
            let import = join(&model, traces).unwrap();
            assert_eq!(import.summary.initializer_elements, parameters);
            let (landed, by_segment, is_warned) = share(&import);
            assert!(landed >= 0.99 && !is_warned, "{name}: {landed} {:?}", import.warnings);
            assert!(by_segment < most, "{name}: {by_segment}");
        }
    }
    let chakra = folder.join("chakra/gpt2_2l_h256_b2_s64_train_step.chakra.et");
    let model = data("traces/samples/gpt2_2l_h256_b2_s64.pt2");
    assert_eq!(join(&model, &[chakra]).unwrap_err().code, "no-durations");
}

/// GPT-2's config at the widths of the sample.
#[test]
fn the_time_of_a_sample_lands_on_a_config_of_its_lengths_alone() {
    let Some(folder) = benchmark_data::folder().map(|root| root.join("models")) else { return };
    let trace =
        |end: &str| folder.join(format!("traces/gpt2_2l_h256_b2_s64_train_step.{end}.json"));
    let config = br#"{"model_type":"gpt2","n_layer":2,"n_embd":256,"n_head":4,"vocab_size":4096,
        "n_positions":128}"#;
    let joined = |batch: u64, sequence: u64| {
        let options = ImportOptions {
            traces: vec![trace("et"), trace("kineto")],
            batch: Some(batch),
            dims: [("sequence".to_owned(), sequence)].into(),
            ..ImportOptions::default()
        };
        share(&importers::read_bytes("config.json", config, &options).unwrap())
    };
    let (landed, _, is_warned) = joined(2, 64);
    assert!(landed >= 0.99 && !is_warned, "{landed}");
    // As many tokens in other samples: all but attention has the same sizes.
    for (batch, sequence, most) in [(1, 128, 0.95), (4, 32, 0.95), (3, 64, 0.1), (2, 32, 0.1)] {
        let (landed, _, is_warned) = joined(batch, sequence);
        assert!(landed < most && is_warned, "{batch} x {sequence}: {landed}");
    }
}
