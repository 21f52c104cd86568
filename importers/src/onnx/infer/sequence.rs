//! Sequences: lists of tensors. A sequence whose members are known is not a thing at run time:
//! `SequenceAt` of it is the member itself.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `SequenceConstruct` and other makers of sequences; the engine adds the members it knows.
pub(crate) fn sequence(call: &Call<'_>) -> Inferred {
    let dtype = call.inputs.iter().flatten().find_map(|facts| facts.dtype);
    one(dtype, None)
}

/// Position among `n` members that a `SequenceAt` reads, where constant.
pub(crate) fn position(call: &Call<'_>, n: usize) -> Result<Option<usize>, Diagnostic> {
    match call.ints_of(1).and_then(|ints| ints.first()) {
        Some(position) => call.axis(*position, n).map(Some),
        None => Ok(None),
    }
}

/// `SequenceAt` and other readers of sequences with unknown members.
pub(crate) fn unknown(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), None)
}

/// `SequenceLength`.
pub(crate) fn length(_: &Call<'_>) -> Inferred {
    one(Some(DType::I64), Some(Vec::new()))
}

/// `Optional`: what it holds.
pub(crate) fn optional(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), call.shape(0).map(<[u64]>::to_vec))
}

/// `OptionalHasElement`.
pub(crate) fn has_element(_: &Call<'_>) -> Inferred {
    one(Some(DType::Bool), Some(Vec::new()))
}
