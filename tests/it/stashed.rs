//! What the backward pass reads of the forward one, against what autograd keeps and what recorded
//! backward passes read (`docs/data.md`).

use std::collections::BTreeSet;
use std::path::Path;

use cost_model::ops::workload::passes::Passes;
use importers::{Import, ImportOptions};
use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::Phase;
use ir::tensor::{DType, Role};

use crate::data;

fn import(root: &Path, file: &str) -> Import {
    let options = ImportOptions { trains: true, ..ImportOptions::default() };
    importers::read(&root.join("models").join(file), &options).unwrap()
}

/// Roots of tensors but parameters that ops read and the forward pass knows.
fn kept(graph: &Graph, readers: impl Iterator<Item = OpId>) -> BTreeSet<TensorId> {
    let roots = graph.roots();
    let forward = graph.ops.iter().filter(|op| op.phase == Phase::Forward);
    let written = forward.flat_map(|op| &op.outputs).chain(&graph.inputs);
    let known: BTreeSet<TensorId> = written.map(|id| roots[id.index()]).collect();
    let read = readers.flat_map(|op| graph.op(op).inputs.clone()).map(|id| roots[id.index()]);
    let is_kept = |id: &TensorId| known.contains(id) && graph.tensor(*id).role != Role::Parameter;
    read.filter(is_kept).collect()
}

/// Bytes that synthesised backward ops read, the loss left out, which the reference lacks. The
/// reference ran on processor cores, where dropout keeps its noise as floats, not as a mask.
fn stashed(graph: &Graph) -> u64 {
    let (passes, _) = Passes::of(graph.clone()).unwrap();
    let graph = &passes.graph;
    let readers = passes.backward().filter(|op| graph.op(*op).op_type != "Loss");
    let bytes = |id: &TensorId| {
        let tensor = graph.tensor(*id);
        let is_mask = tensor.dtype == DType::Bool && tensor.name.ends_with("@mask");
        tensor.bytes.get() * if is_mask { 4 } else { 1 }
    };
    kept(graph, readers).iter().map(bytes).sum()
}

fn off(counted: u64, reference: u64) -> f64 {
    counted as f64 / reference as f64 - 1.0
}

/// Files whose graphs hold all that training does: no dropout that evaluation left out, no batch
/// norms folded into convolutions, attention op by op as in the reference.
#[test]
fn autograd_keeps_what_is_counted() {
    let Some(root) = data::folder() else { return };
    for (file, reference, tolerance) in [
        ("onnx/llama3_8b.onnx", 43_052_982_272, 0.09),
        ("onnx/vit_l_16.onnx", 371_757_992, 0.003),
        ("onnx/whisper_small.onnx", 2_430_098_400, 0.001),
        ("pt2/bert_base.pt2", 115_634_176, 0.001),
        ("pt2/llama3_2l.pt2", 2_787_172_352, 1e-9),
        ("pt2/resnet50.pt2", 86_121_984, 0.025),
    ] {
        let counted = stashed(&import(&root, file).graph);
        assert!(off(counted, reference).abs() <= tolerance, "{file}: {counted}, not {reference}");
    }
}

/// The forward part of a joint graph, synthesised, does the work of the recorded backward pass and
/// keeps what that reads.
#[test]
fn synthesis_does_what_was_recorded() {
    let Some(root) = data::folder() else { return };
    for name in ["resnet50_train_joint", "gpt2_untied_train_joint"] {
        let graph = import(&root, &format!("pt2/{name}.pt2")).graph;
        let backward = |op: &OpId| graph.op(*op).phase != Phase::Forward;
        let recorded = kept(&graph, graph.op_ids().filter(backward));
        let recorded: u64 = recorded.iter().map(|id| graph.tensor(*id).bytes.get()).sum();
        let forward = graph.forward_part().into_owned();
        let counted = stashed(&forward);
        assert!(off(counted, recorded).abs() < 0.003, "{name}: {counted}, recorded {recorded}");
        let (passes, _) = Passes::of(forward).unwrap();
        assert_eq!(passes.graph.flops(), graph.flops(), "{name}");
    }
}
