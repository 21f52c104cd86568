//! Archives of torch.export against the counts of PyTorch itself (`docs/data.md`).

use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions};
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Op, Phase, Work};
use ir::tensor::DType;

fn import(name: &str, options: &ImportOptions) -> Option<Import> {
    let path: PathBuf = benchmark_data::folder()?.join("models/pt2").join(format!("{name}.pt2"));
    Some(importers::read(&path, options).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn sample(name: &str) -> Import {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/exported");
    importers::read(&data.join(name), &ImportOptions::default()).unwrap()
}

/// Counts of PyTorch 2.15: a model with tied weights, a dynamic batch, causal attention, a part
/// without gradients and a branch, whose dearer side ran; and a joint graph with a convolution.
#[test]
fn small_programs_have_the_counts_of_pytorch() {
    let model = sample("tied_cond.pt2").summary;
    assert_eq!((model.initializer_elements, model.forward_flops), (2_816, 165_888));
    assert_eq!(model.guessed_share, 0.0);
    let step = sample("joint_step.pt2").summary;
    assert_eq!(step.initializer_elements, 1_348);
    assert_eq!(step.forward_flops + step.backward_flops, 82_176);
    assert_eq!(step.guessed_share, 0.0);
}

/// Writes through views: into buffers, over halves of heads, in wrappers, branches and loops, by
/// `out=`, by operators of one's own, and a random program. Counts of PyTorch on the functional program; files by
/// `python/check_in_place.py`.
#[test]
fn what_is_written_through_views_is_read() {
    let programs = [
        ("cache-of-buffers", 360_448),
        ("rotary", 163_840),
        ("branch", 163_840),
        ("into", 163_840),
        ("stored", 155_648),
        ("both", 155_648),
        ("sides", 155_648),
        ("loop", 155_648),
        ("random-1-2", 7_040),
    ];
    for (name, flops) in programs {
        let import = sample(&format!("in-place-{name}.pt2"));
        assert_eq!(import.summary.forward_flops, flops, "{name}");
        let codes: Vec<_> = import.warnings.iter().map(|warning| warning.code).collect();
        let expected: &[&str] = match name {
            "stored" | "both" => &["unknown-op"],
            "loop" => &["guessed-trip-count"],
            _ => &[],
        };
        assert_eq!(codes, expected, "{name}");
    }
}

/// `F.mse_loss` broadcasts its tensors to one shape: both are read, each by a view of its own.
#[test]
fn broadcast_tensors_are_views_each() {
    let graph = sample("mse_loss.pt2").graph;
    let loss = graph.ops.iter().find(|op| op.name == "mse_loss").unwrap();
    let read = |tensor: &TensorId| {
        let view = graph.ops.iter().find(|op| op.outputs == [*tensor]).unwrap();
        assert_eq!(view.work, Work::View);
        assert_eq!(view.splits.words.concat(), "abab");
        graph.tensor(view.inputs[0]).name.clone()
    };
    assert_eq!(loss.inputs.iter().map(read).collect::<Vec<_>>(), ["linear", "y"]);
}

/// Parameters and forward FLOPs by PyTorch, and bytes of all results of all nodes as the archive
/// describes them; of programs without sizes that are bound later.
const STATIC: &[(&str, u64, u64, u64)] = &[
    ("bert_base", 109_514_298, 28_499_116_032, 208_413_509),
    ("llama3_2l", 1_486_901_248, 4_075_923_963_904, 11_062_929_493),
    ("mixtral_small", 428_385_280, 68_333_600_768, 90_873_199_957),
    ("resnet50", 25_557_032, 8_178_368_512, 150_247_328),
];

#[test]
fn programs_have_the_parameters_and_flops_of_pytorch() {
    for (name, parameters, flops, _) in STATIC {
        let Some(import) = import(name, &ImportOptions::default()) else { return };
        let summary = &import.summary;
        assert_eq!(summary.initializer_elements, *parameters, "{name}");
        assert_eq!(summary.forward_flops, *flops, "{name}");
        assert_eq!((summary.guessed_share, summary.scaled_share), (0.0, 0.0), "{name}");
        let codes: Vec<_> = import.warnings.iter().map(|warning| warning.code).collect();
        // Exported without values, so that all weights have one path.
        let expected: &[&str] = if *name == "llama3_2l" { &["unknown-ties"] } else { &[] };
        assert_eq!(codes, expected, "{name}");
    }
}

#[test]
fn another_batch_multiplies_the_work() {
    for (name, parameters, flops, _) in STATIC {
        let options = ImportOptions { batch: Some(3), ..ImportOptions::default() };
        let Some(import) = import(name, &options) else { return };
        assert_eq!(import.summary.forward_flops, 3 * flops, "{name}");
        assert_eq!(import.summary.initializer_elements, *parameters, "{name}");
        let output = import.graph.outputs[0];
        assert_eq!(import.graph.tensor(output).shape[0], 3, "{name}");
        assert!(import.summary.scaled_share > 0.5, "{name}");
    }
}

/// As in the ONNX file of the same model: two layers of hidden 768, inner 3072, vocabulary 30522.
#[test]
fn symbols_are_bound_or_keep_what_was_traced() {
    let flops = |b: u64, s: u64| {
        let t = b * s;
        let layer = 4 * 2 * t * 768 * 768 + 2 * 2 * b * 12 * s * s * 64 + 2 * 2 * t * 768 * 3072;
        2 * layer + 2 * t * 768 * 768 + 2 * t * 768 * 30522
    };
    let Some(traced) = import("bert_2l_dynamic", &ImportOptions::default()) else { return };
    assert_eq!(traced.summary.forward_flops, flops(4, 64));
    assert_eq!(traced.summary.initializer_elements, 38_635_578);
    assert_eq!(traced.warnings[0].code, "traced-dimensions");
    let dims = [("s43".to_owned(), 2), ("s53".to_owned(), 100)];
    let bound = ImportOptions { dims: dims.into(), ..ImportOptions::default() };
    let bound = import("bert_2l_dynamic", &bound).unwrap();
    assert_eq!(bound.summary.forward_flops, flops(2, 100));
    assert_eq!(bound.warnings, []);
    let batch = ImportOptions { batch: Some(16), ..ImportOptions::default() };
    assert_eq!(import("bert_2l_dynamic", &batch).unwrap().summary.forward_flops, flops(16, 64));
}

#[test]
fn sizes_that_the_program_was_not_exported_for_are_refused() {
    let Some(root) = benchmark_data::folder() else { return };
    let path = root.join("models/pt2/bert_2l_dynamic.pt2");
    let code = |dims: &[(&str, u64)], batch| {
        let dims = dims.iter().map(|(name, extent)| ((*name).to_owned(), *extent)).collect();
        let options = ImportOptions { dims, batch, ..ImportOptions::default() };
        importers::read(&path, &options).map(|_| "").unwrap_or_else(|error| error.code)
    };
    assert_eq!(code(&[("s43", 65)], None), "dimension-out-of-range");
    assert_eq!(code(&[("s43", 1)], None), "dimension-out-of-range");
    assert_eq!(code(&[("s43", 8)], Some(4)), "batch-sizes");
    assert_eq!(code(&[], Some(0)), "invalid-batch");
    assert_eq!(code(&[("batch", 8)], None), "");
}

/// Joint graphs: forward and backward FLOPs together are PyTorch's count for a training step, and
/// each trained parameter has a gradient of its own shape.
#[test]
fn joint_graphs_have_the_flops_of_a_training_step() {
    let Some(resnet) = import("resnet50_train_joint", &ImportOptions::default()) else { return };
    assert_eq!(resnet.summary.forward_flops, 8_178_368_512);
    let gpt2 = import("gpt2_untied_train_joint", &ImportOptions::default()).unwrap();
    for (import, all) in [(&resnet, 24_299_077_632), (&gpt2, 3 * gpt2.summary.forward_flops)] {
        let kernels = import.graph.ops.iter().filter_map(|op| match &op.work {
            Work::Kernel(kernel) => Some((op.phase, kernel.flops().get())),
            _ => None,
        });
        let (mut forward, mut step) = (0, 0);
        for (phase, flops) in kernels {
            step += flops;
            forward += if phase == Phase::Forward { flops } else { 0 };
        }
        assert_eq!(step, all);
        assert_eq!(import.summary.forward_flops, forward);
        let graph = &import.graph;
        assert!(!graph.gradients.is_empty());
        for gradient in &graph.gradients {
            let parameter = graph.tensor(gradient.parameter);
            assert_eq!(parameter.shape, graph.tensor(gradient.tensor).shape, "{}", parameter.name);
            assert!(parameter.trainable);
        }
    }
}

#[test]
fn a_type_replaces_every_wide_float() {
    let Some(wide) = import("bert_base", &ImportOptions::default()) else { return };
    let options = ImportOptions { dtype: Some(DType::Bf16), ..ImportOptions::default() };
    let narrow = import("bert_base", &options).unwrap();
    assert_eq!(wide.summary.parameter_bytes, 2 * narrow.summary.parameter_bytes);
    assert_eq!(wide.summary.forward_flops, narrow.summary.forward_flops);
}

/// Bytes inside the wrapped rotary embedding, where the reference does not look: positions as
/// integers and floats, `half` frequencies, angles, and five tensors of both halves; less its two
/// results, which the reference counts twice (as a tuple and as its members).
fn rotary(length: u64, half: u64) -> u64 {
    (8 + 4) * length + 4 * half + 4 * length * half + (5 - 2) * 4 * length * 2 * half
}

/// Bytes of the results of an op; the reference counts several results twice, as a tuple and as its
/// members.
fn bytes_of(graph: &Graph, op: &Op) -> u64 {
    let size = |id: &TensorId| {
        let tensor = graph.tensor(*id);
        tensor.dtype.size_of(tensor.shape.iter().product()).unwrap().get()
    };
    let twice = 1 + u64::from(op.outputs.len() > 1);
    twice * op.outputs.iter().map(size).sum::<u64>()
}

/// Every result of every node, by its shape and type alone.
#[test]
fn results_have_the_bytes_that_the_archive_describes() {
    for (name, .., bytes) in STATIC {
        let Some(import) = import(name, &ImportOptions::default()) else { return };
        let graph = &import.graph;
        let all: u64 = graph.ops.iter().map(|op| bytes_of(graph, op)).sum();
        let wrapped = match *name {
            "llama3_2l" => rotary(2048, 64),
            "mixtral_small" => rotary(256, 32),
            _ => 0,
        };
        // What only checks read is left out: at most a position of 8 bytes in four forms.
        let unread = bytes + wrapped - all;
        assert!(unread <= 32, "{name}: {unread}");
    }
}
