//! Work that is nothing but moving bytes.

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Work};

use crate::onnx::rules::rule::Job;

type Done = Result<Work, Diagnostic>;

/// Another name for the first input.
pub(crate) fn view(_: &Job<'_>) -> Done {
    Ok(Work::View)
}

/// Reads every data input and writes every output.
pub(crate) fn streams(job: &Job<'_>) -> Done {
    Ok(Work::Kernel(job.kernel()))
}

/// Reads what it writes of the first input, and all other data inputs: `Slice`, `Gather`.
pub(crate) fn picks(job: &Job<'_>) -> Done {
    let written = job.written();
    let others = (1..job.call.inputs.len()).map(|index| job.input_bytes(index)).sum();
    let kernel =
        Kernel { bytes_read: written + others, bytes_written: written, ..Kernel::default() };
    Ok(Work::Kernel(kernel))
}

/// `Cast` to the type that the data has is another name for it.
pub(crate) fn cast(job: &Job<'_>) -> Done {
    let to = job.outputs.first().copied().flatten().and_then(|facts| facts.dtype);
    if to.is_some() && to == job.call.dtype(0) { view(job) } else { streams(job) }
}

/// `Transpose` of a parameter is another name for it: products take either layout of a weight, and
/// executors store it as they like. Of an activation it is a copy.
pub(crate) fn transpose(job: &Job<'_>) -> Done {
    let is_parameter = job.call.input(0).is_some_and(|facts| facts.is_constant());
    if is_parameter { view(job) } else { streams(job) }
}

/// `Dropout` at inference is another name for its data. Only a mask that is asked for is work.
pub(crate) fn dropout(job: &Job<'_>) -> Done {
    if job.outputs.get(1).copied().flatten().is_some() { streams(job) } else { view(job) }
}

/// `DequantizeLinear` of a parameter is done where it is read, at its stored size.
pub(crate) fn dequantize(job: &Job<'_>) -> Done {
    let is_parameter = job.call.input(0).is_some_and(|facts| facts.is_constant());
    if is_parameter { view(job) } else { streams(job) }
}

/// `SequenceConstruct`, ...: a sequence is a list of references; nothing moves. Its tensor has no
/// size of its own, because a member that is read by position is the member itself.
pub(crate) fn references(_: &Job<'_>) -> Done {
    Ok(Work::Kernel(Kernel::default()))
}

/// `Optional` is another name for what it holds, where it holds anything.
pub(crate) fn handed_on(job: &Job<'_>) -> Done {
    if job.call.has(0) { view(job) } else { references(job) }
}

/// Reads and writes its whole data once for the copy and once more for the updates
/// (`ScatterND`, `ScatterElements`): the updates are written over the copy.
pub(crate) fn scatters(job: &Job<'_>) -> Done {
    let mut kernel = job.kernel();
    kernel.bytes_written += job.input_bytes(2);
    Ok(Work::Kernel(kernel))
}

/// Writes its outputs; of its input only the shape counts.
pub(crate) fn creates(job: &Job<'_>) -> Done {
    Ok(Work::Kernel(Kernel { bytes_written: job.written(), ..Kernel::default() }))
}
