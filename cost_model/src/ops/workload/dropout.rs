//! Dropout in training: a graph of a model that is evaluated keeps its places, as views.

use ir::graph::Graph;
use ir::op::{Kernel, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use super::names::Names;

/// Makes each dropout an op that writes its data anew and a mask of one byte an element, which its
/// gradient reads (as `torch.native_dropout` does).
pub(super) fn activate(graph: &mut Graph) {
    let is_idle = |op: &&mut ir::op::Op| {
        op.work == Work::View && op.op_type.rsplit("::").next() == Some("Dropout")
    };
    if !graph.ops.iter_mut().any(|op| is_idle(&op)) {
        return;
    }
    let mut names = Names::of_tensors(graph);
    for op in graph.ops.iter_mut().filter(is_idle) {
        let Some(data) = op.outputs.first().map(|output| &graph.tensors[output.index()]) else {
            continue;
        };
        let n_elements = super::states::elements(data);
        let (bytes, shape) = (data.bytes, data.shape.clone());
        let mask = Tensor {
            name: names.fresh(format!("{}@mask", data.name)),
            dtype: DType::Bool,
            shape,
            bytes: Bytes(n_elements),
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        };
        op.work = Work::Kernel(Kernel {
            bytes_read: bytes,
            bytes_written: bytes + mask.bytes,
            ..Kernel::default()
        });
        op.outputs.truncate(1);
        op.splits.words.truncate(2);
        op.splits.words.extend(op.splits.words.last().cloned());
        op.outputs.push(ir::id::TensorId::new(graph.tensors.len()));
        graph.tensors.push(mask);
    }
}
