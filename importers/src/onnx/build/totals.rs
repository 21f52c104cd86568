//! The summary of a model.

use ir::op::{Kernel, Op, Origin, Work};
use ir::tensor::DType;

use crate::import::Summary;
use crate::onnx::build::emit::Emitted;
use crate::onnx::infer::program::Program;
use crate::onnx::raw::RawModel;

/// Peak rate of 16-bit products of an A100, by NVIDIA's data sheet.
const FLOPS_PER_SECOND: f64 = 312e12;

/// Memory bandwidth of an A100 80GB, by NVIDIA's data sheet, rounded down.
const BYTES_PER_SECOND: f64 = 2.0e12;

/// Time to launch a kernel.
const LAUNCH_SECONDS: f64 = 2.6e-6;

/// A nominal duration in seconds, `max(flops / 312e12, bytes / 2.0e12) + 2.6 us`, by which shares
/// are weighed; no plan rests on it.
fn nominal_seconds(kernel: &Kernel) -> f64 {
    let bytes = kernel.bytes_read + kernel.bytes_written;
    let compute = kernel.flops().as_f64() / FLOPS_PER_SECOND;
    compute.max(bytes.as_f64() / BYTES_PER_SECOND) + LAUNCH_SECONDS
}

/// Share of the nominal time of all ops that is due to ops of one origin.
fn share(ops: &[Op], origin: Origin) -> f64 {
    let mut all = 0.0;
    let mut part = 0.0;
    for op in ops {
        if let Work::Kernel(kernel) = &op.work {
            let seconds = nominal_seconds(kernel);
            all += seconds;
            if kernel.origin == origin {
                part += seconds;
            }
        }
    }
    if all > 0.0 { part / all } else { 0.0 }
}

/// Counts and totals. Parameters are the initializers of the main graph, used or not.
pub(crate) fn summary(
    model: &RawModel,
    program: &Program<'_>,
    emitted: &Emitted,
    dtype: Option<DType>,
) -> Summary {
    let mut summary = Summary::of("onnx", &emitted.graph);
    summary.guessed_share = share(&emitted.graph.ops, Origin::Guessed);
    summary.bounded_share = share(&emitted.graph.ops, Origin::Bounded);
    summary.scaled_share = share(&emitted.graph.ops, Origin::Scaled);
    summary.n_parameters = program.main.constants.len() as u64;
    summary.initializer_elements = 0;
    summary.parameter_bytes = 0;
    for (_, tensor) in &program.main.constants {
        let n = tensor.n_elements;
        summary.initializer_elements = summary.initializer_elements.saturating_add(n);
        let replaced = dtype.filter(|_| tensor.dtype.is_wide_float()).unwrap_or(tensor.dtype);
        let bytes = replaced.size_of(n).map_or(u64::MAX, |bytes| bytes.get());
        summary.parameter_bytes = summary.parameter_bytes.saturating_add(bytes);
    }
    summary.opsets.clone_from(&model.opsets);
    summary.stages.clone_from(&emitted.stages);
    summary
}
