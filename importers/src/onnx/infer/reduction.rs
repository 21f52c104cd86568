//! Operators that fold axes away.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Axes, Call, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `shape` with `axes` reduced, kept as 1 or removed.
fn reduced(shape: &[u64], axes: &[bool], keep: bool) -> Vec<u64> {
    let extents = shape.iter().zip(axes);
    if keep {
        extents.map(|(extent, gone)| if *gone { 1 } else { *extent }).collect()
    } else {
        extents.filter(|(_, gone)| !**gone).map(|(extent, _)| *extent).collect()
    }
}

/// `ReduceSum`, `ReduceMean`, ...: axes from input 1 or the attribute; all if there are none.
pub(crate) fn reduce(call: &Call<'_>) -> Inferred {
    let keep = call.int("keepdims", 1)? != 0;
    let as_is = call.int("noop_with_empty_axes", 0)? != 0;
    let axes = call.axes(1)?;
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let mut gone = vec![false; shape.len()];
    match axes {
        Axes::Dynamic => return one(call.dtype(0), None),
        Axes::Known(axes) if !axes.is_empty() => {
            for axis in axes {
                gone[call.axis(axis, shape.len())?] = true;
            }
        }
        Axes::Absent | Axes::Known(_) if as_is => {}
        Axes::Absent | Axes::Known(_) => gone.fill(true),
    }
    one(call.dtype(0), Some(reduced(shape, &gone, keep)))
}

/// `ArgMax`, `ArgMin`: one axis, positions.
pub(crate) fn arg(call: &Call<'_>) -> Inferred {
    let keep = call.int("keepdims", 1)? != 0;
    let axis = call.int("axis", 0)?;
    let Some(shape) = call.shape(0) else { return one(Some(DType::I64), None) };
    let mut gone = vec![false; shape.len()];
    gone[call.axis(axis, shape.len())?] = true;
    one(Some(DType::I64), Some(reduced(shape, &gone, keep)))
}

/// Losses: without `reduction` one number per target, else a scalar.
pub(crate) fn loss(call: &Call<'_>) -> Inferred {
    let each = call.text("reduction", "mean") == "none";
    let shape = if each { call.shape(1).map(<[u64]>::to_vec) } else { Some(Vec::new()) };
    let log = Facts::tensor(call.dtype(0), call.shape(0).map(<[u64]>::to_vec));
    Ok(vec![Facts::tensor(call.dtype(0), shape), log])
}
