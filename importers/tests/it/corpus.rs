//! Real architectures and small samples, against counts that do not come from this importer:
//! `docs/data.md` says where the files and the reference figures are from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use importers::{Import, ImportOptions};
use ir::op::{Kernel, Op, Work};
use ir::tensor::{DType, Role};
use ir::units::Bytes;

fn import(path: &Path, options: &ImportOptions) -> Import {
    importers::read(path, options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder of the large models, or a note that the test is skipped.
fn corpus() -> Option<PathBuf> {
    benchmark_data::folder().map(|root| root.join("models/onnx"))
}

fn feature(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/onnx_features").join(name)
}

fn dims(pairs: &[(&str, u64)]) -> ImportOptions {
    ImportOptions {
        dims: pairs.iter().map(|(name, extent)| ((*name).to_owned(), *extent)).collect(),
        ..ImportOptions::default()
    }
}

/// Model, elements of all initializers, forward FLOPs as PyTorch's counter has them at the
/// exported input (gnmt: with the products of its LSTM cells, which the counter leaves out).
const STATIC: &[(&str, u64, u64)] = &[
    ("bert_base", 109_429_572, 28_499_116_032),
    ("bert_large", 334_952_260, 368_085_827_584),
    ("gnmt", 193_839_694, 20_401_356_800),
    ("gpt2_small", 124_325_153, 291_648_307_200),
    ("gpt2_xl", 1_557_612_905, 3_506_703_564_800),
    ("inception_v3", 23_800_140, 11_426_432_192),
    ("llama3_8b", 8_030_263_064, 32_938_104_193_024),
    ("mixtral_8x7b", 46_702_795_128, 6_561_636_286_464),
    ("mixtral_small", 428_524_584, 68_333_600_768),
    ("resnet50", 25_503_916, 8_178_368_512),
    ("sd15_unet", 859_467_598, 803_273_441_280),
    ("t5_base", 223_184_411, 58_862_862_336),
    ("vit_l_16", 304_142_247, 123_109_425_152),
    ("whisper_small", 241_543_983, 408_101_683_200),
];

#[test]
fn real_models_have_the_elements_and_flops_of_the_reference() {
    let Some(root) = corpus() else { return };
    let mut wrong = Vec::new();
    for (name, elements, flops) in STATIC {
        let import = import(&root.join(format!("{name}.onnx")), &ImportOptions::default());
        let summary = &import.summary;
        if (summary.initializer_elements, summary.forward_flops) != (*elements, *flops) {
            wrong.push((*name, summary.initializer_elements, summary.forward_flops));
        }
        assert_eq!((summary.guessed_share, summary.scaled_share), (0.0, 0.0), "{name}");
        assert_eq!(import.warnings, [], "{name}");
    }
    assert_eq!(wrong, []);
}

#[test]
fn another_batch_multiplies_the_work_of_every_model() {
    let Some(root) = corpus() else { return };
    for (name, elements, flops) in STATIC {
        // gnmt was exported at batch 4, the others at 1.
        let from = if *name == "gnmt" { 4 } else { 1 };
        let options = ImportOptions { batch: Some(3 * from), ..ImportOptions::default() };
        let import = import(&root.join(format!("{name}.onnx")), &options);
        assert_eq!(import.summary.forward_flops, 3 * flops, "{name}");
        assert_eq!(import.summary.initializer_elements, *elements, "{name}");
        assert_eq!(import.summary.scaled_share, 0.0, "{name}");
        let outputs = &import.graph.outputs;
        assert_eq!(import.graph.tensor(outputs[0]).shape[0], 3 * from, "{name}");
    }
}

#[test]
fn files_that_were_refused_or_misread_have_the_work_of_their_definitions() {
    let Some(root) = corpus() else { return };
    let folder = root.join("../../regress/onnx");
    // Two layers of attention on 2 x 10 tokens of 64 features, heads of 16: four projections,
    // scores and values each.
    let layers = |batch: u64| 2 * batch * (4 * 2 * 10 * 64 * 64 + 2 * 2 * 4 * 10 * 10 * 16);
    for batch in [2, 3, 8, 64] {
        let options = ImportOptions { batch: Some(batch), ..ImportOptions::default() };
        let import = import(&folder.join("mha2_10_2.onnx"), &options);
        assert_eq!(import.summary.forward_flops, layers(batch), "{batch}");
        assert_eq!(import.warnings, [], "{batch}");
    }
    for name in ["prelu6", "add6_axis", "mul6_axis"] {
        let import = import(&folder.join(format!("{name}.onnx")), &ImportOptions::default());
        assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [2, 3, 4, 5], "{name}");
    }
}

/// Figures by hand, for batch b = 4 and sequence s = 64 (t = b s = 256 tokens), hidden 768, inner
/// 3072, vocabulary 30522, 12 heads of 64, two layers:
/// layer: 4 projections 4 * 2 t 768^2, two attention products 2 * 2 b 12 s^2 64, two products of
/// the feed-forward net 2 * 2 t 768 3072; head: 2 t 768^2 and 2 t 768 30522.
#[test]
fn symbolic_extents_are_bound_by_name() {
    let Some(root) = corpus() else { return };
    let (b, s) = (4u64, 64u64);
    let t = b * s;
    let layer = 4 * 2 * t * 768 * 768 + 2 * 2 * b * 12 * s * s * 64 + 2 * 2 * t * 768 * 3072;
    let flops = 2 * layer + 2 * t * 768 * 768 + 2 * t * 768 * 30522;
    let path = root.join("bert_2l_dynamic.onnx");
    let import_at = |options| import(&path, &options);
    let import = import_at(dims(&[("batch", b), ("seq", s)]));
    assert_eq!(import.summary.forward_flops, flops);
    assert_eq!(import.summary.initializer_elements, 38_620_490);
    assert_eq!((import.summary.guessed_share, import.summary.scaled_share), (0.0, 0.0));
    assert_eq!(import.graph.tensor(import.graph.outputs[0]).shape, [b, s, 30522]);
    let by_batch = ImportOptions { batch: Some(b), ..dims(&[("seq", s)]) };
    assert_eq!(import_at(by_batch).graph, import.graph);
    let error = importers::read(&path, &ImportOptions::default()).unwrap_err();
    assert_eq!(error.code, "unbound-dimension");
    assert!(error.message.contains("`batch`, `seq`"), "{error}");
}

#[test]
fn a_type_replaces_every_wide_float() {
    let Some(root) = corpus() else { return };
    let path = root.join("gpt2_small.onnx");
    let wide = import(&path, &ImportOptions::default());
    let options = ImportOptions { dtype: Some(DType::Bf16), ..ImportOptions::default() };
    let narrow = import(&path, &options);
    for (before, after) in wide.graph.tensors.iter().zip(&narrow.graph.tensors) {
        let halves = u64::from(before.dtype == DType::F32) + 1;
        assert_eq!(before.bytes.get(), after.bytes.get() * halves, "{}", before.name);
    }
    assert_eq!(wide.summary.forward_flops, narrow.summary.forward_flops);
    let kernels = narrow.graph.ops.iter().filter_map(kernel);
    assert!(kernels.filter(|k| !k.products.is_empty()).all(|k| k.dtype == Some(DType::Bf16)));
}

fn kernel(op: &Op) -> Option<&Kernel> {
    match &op.work {
        Work::Kernel(kernel) => Some(kernel),
        Work::View | Work::Given(_) => None,
    }
}

/// FLOPs by op name, for those that have any.
fn flops(import: &Import) -> Vec<(&str, u64)> {
    let work = import.graph.ops.iter().filter_map(|op| {
        let flops = kernel(op)?.flops().get();
        (flops > 0).then_some((op.name.as_str(), flops))
    });
    work.collect()
}

#[test]
fn small_samples_have_the_figures_that_their_notes_say() {
    for (name, total) in [
        ("if_subgraph_captures_outer", 512),
        ("loop_10_iterations", 5_120),
        ("function_mlp_called_twice", 1_024),
        ("no_value_info_residual", 4_718_592),
        ("qdq_int8_matmul", 16_777_216),
        ("matmulnbits_int4", 2 * 128 * 4096 * 11008),
        ("two_towers_join", 2 * 2 * 8 * 1024 * 1024 + 2 * 8 * 1024 * 8),
    ] {
        let import = import(&feature(&format!("{name}.onnx")), &ImportOptions::default());
        assert_eq!(import.summary.forward_flops, total, "{name}");
        assert_eq!((import.summary.guessed_share, import.summary.scaled_share), (0.0, 0.0));
    }
    let import =
        import(&feature("symbolic_dims_batch_seq.onnx"), &dims(&[("batch", 2), ("seq", 128)]));
    assert_eq!(import.summary.forward_flops, 16_777_216);
}

#[test]
fn subgraphs_are_one_op_that_reads_what_they_capture() {
    let import = import(&feature("loop_10_iterations.onnx"), &ImportOptions::default());
    let [op] = import.graph.ops.as_slice() else { panic!("not one op") };
    assert_eq!(op.op_type, "Loop");
    let names: Vec<_> = op.inputs.iter().map(|id| import.graph.tensor(*id).name.as_str()).collect();
    assert_eq!(names, ["x", "w"]);
    assert_eq!(kernel(op).unwrap().products[0].count, 10);
}

#[test]
fn functions_are_inlined_and_tied_weights_are_one_parameter() {
    let inlined = import(&feature("function_mlp_called_twice.onnx"), &ImportOptions::default());
    assert_eq!(inlined.summary.n_ops, 4);
    let tied = import(&feature("tied_embedding_head.onnx"), &ImportOptions::default());
    assert_eq!(tied.summary.initializer_elements, 320_000);
    let parameters =
        tied.graph.tensors.iter().filter(|tensor| tensor.role == Role::Parameter).count();
    assert_eq!(parameters, 1);
    // The embedding reads 2 x 16 rows of 64 floats and as many indices, not the table.
    let gather = tied.graph.ops.iter().find(|op| op.op_type == "Gather").unwrap();
    assert_eq!(kernel(gather).unwrap().bytes_read, Bytes(32 * 64 * 4 + 32 * 8));
}

#[test]
fn quantised_weights_are_read_as_stored() {
    let import_of = |name| import(&feature(name), &ImportOptions::default());
    let qdq = import_of("qdq_int8_matmul.onnx");
    let product = qdq.graph.ops.iter().find(|op| op.op_type == "MatMul").unwrap();
    let root = qdq.graph.roots()[product.inputs[1].index()];
    let weight = qdq.graph.tensor(root);
    assert_eq!((weight.role, weight.bytes), (Role::Parameter, Bytes(1_048_576)));
    // 8 x 512 integers, as the executor's kernel reads them, and the stored weight; as written, floats.
    assert_eq!(kernel(product).unwrap().bytes_read, Bytes(8 * 512 + 1_048_576));
    let as_written = ImportOptions { qdq_as_written: true, ..ImportOptions::default() };
    let written = import(&feature("qdq_int8_matmul.onnx"), &as_written).graph;
    let product = written.ops.iter().find(|op| op.op_type == "MatMul").unwrap();
    assert_eq!(kernel(product).unwrap().bytes_read, Bytes(8 * 512 * 4 + 1_048_576));
    let packed = import_of("matmulnbits_int4.onnx");
    let bytes: Vec<_> = packed.graph.ops[0]
        .parameters
        .iter()
        .map(|id| packed.graph.tensor(*id).bytes.get())
        .collect();
    assert_eq!(bytes, [22_544_384, 2_818_048]);
}

#[test]
fn stages_are_kept_by_op() {
    let import = import(&feature("multi_device_annotations.onnx"), &dims(&[("B", 8)]));
    let stages = [("mm1".to_owned(), 0), ("mm2".to_owned(), 1)];
    assert_eq!(import.summary.stages, BTreeMap::from(stages));
    assert_eq!(flops(&import).len(), 2);
}
