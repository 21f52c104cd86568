//! Operators whose output has the (broadcast) shape of their inputs.

use std::borrow::Cow;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::dtype::{element_type, named};
use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, broadcast, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// The shape that all inputs from `first` on broadcast to.
pub(crate) fn joint(call: &Call<'_>, first: usize) -> Result<Option<Vec<u64>>, Diagnostic> {
    let mut joint = Vec::new();
    for (index, facts) in call.inputs.iter().enumerate().skip(first) {
        let Some(facts) = facts else { continue };
        let Some(shape) = &facts.shape else { return Ok(None) };
        joint = broadcast(&joint, &aligned(call, index, shape)?)
            .ok_or_else(|| call.mismatch("the inputs do not broadcast to one shape"))?;
    }
    Ok(Some(joint))
}

/// The shape of input `index` as it broadcasts. Before opset 7 the second one may lie on the axes
/// of the first from `axis` on, and slopes of a `PRelu` on its channels.
pub(crate) fn aligned<'s>(
    call: &Call<'_>,
    index: usize,
    shape: &'s [u64],
) -> Result<Cow<'s, [u64]>, Diagnostic> {
    let is_old = index == 1 && call.opset < 7 && call.node.domain.is_empty();
    let Some(data) = call.shape(0).filter(|_| is_old) else { return Ok(Cow::Borrowed(shape)) };
    let first = if call.node.op_type == "PRelu" {
        (shape.len() == 1 && data.len() > 1).then_some(1)
    } else if call.node.attributes.contains_key("axis") && call.int("broadcast", 0)? != 0 {
        Some(call.axis(call.int("axis", 0)?, data.len())?)
    } else {
        None
    };
    let Some(first) = first else { return Ok(Cow::Borrowed(shape)) };
    let behind = data.len().checked_sub(first + shape.len()).ok_or_else(|| {
        call.mismatch(format!("{} axes from axis {first} of {} on", shape.len(), data.len()))
    })?;
    Ok(Cow::Owned([shape, &vec![1; behind]].concat()))
}

/// Shape and type of the first input.
pub(crate) fn same(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), call.shape(0).map(<[u64]>::to_vec))
}

/// Shape of the first input, truth values.
pub(crate) fn test(call: &Call<'_>) -> Inferred {
    one(Some(DType::Bool), call.shape(0).map(<[u64]>::to_vec))
}

/// Inputs broadcast; type of the first.
pub(crate) fn arithmetic(call: &Call<'_>) -> Inferred {
    let dtype = call.inputs.iter().flatten().find_map(|facts| facts.dtype);
    one(dtype, joint(call, 0)?)
}

/// Inputs broadcast; truth values.
pub(crate) fn comparison(call: &Call<'_>) -> Inferred {
    one(Some(DType::Bool), joint(call, 0)?)
}

/// `Where`: condition and both choices broadcast.
pub(crate) fn choice(call: &Call<'_>) -> Inferred {
    one(call.dtype(1).or_else(|| call.dtype(2)), joint(call, 0)?)
}

/// `Cast`, `BitCast`: the type of attribute `to`, which before opset 6 is its name.
pub(crate) fn cast(call: &Call<'_>) -> Inferred {
    let dtype = match call.text("to", "") {
        "" => dtype_of(call, call.int("to", 0)?)?,
        name => named(name).ok_or_else(|| call.invalid(format!("`{name}` is no element type")))?,
    };
    one(Some(dtype), call.shape(0).map(<[u64]>::to_vec))
}

/// `CastLike`: the type of the second input.
pub(crate) fn cast_like(call: &Call<'_>) -> Inferred {
    one(call.dtype(1), call.shape(0).map(<[u64]>::to_vec))
}

/// The element type of an attribute that holds a type code.
pub(crate) fn dtype_of(call: &Call<'_>, code: i64) -> Result<DType, Diagnostic> {
    i32::try_from(code)
        .ok()
        .and_then(element_type)
        .ok_or_else(|| call.invalid(format!("{code} is no element type")))
}

/// `Dropout`: the data and, where it is asked for, the mask.
pub(crate) fn dropout(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).map(<[u64]>::to_vec);
    Ok(vec![Facts::tensor(call.dtype(0), shape.clone()), Facts::tensor(Some(DType::Bool), shape)])
}

/// `LayerNormalization`, `RMSNormalization`: the data, then the statistics with the normalised
/// axes reduced to 1.
pub(crate) fn layer_normalization(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).map(<[u64]>::to_vec);
    let mut reduced = shape.clone();
    if let Some(reduced) = &mut reduced {
        let first = call.axis(call.int("axis", -1)?, reduced.len())?;
        for extent in reduced.iter_mut().skip(first) {
            *extent = 1;
        }
    }
    let statistics = Facts::tensor(Some(DType::F32), reduced);
    Ok(vec![Facts::tensor(call.dtype(0), shape), statistics.clone(), statistics])
}

/// `SkipLayerNormalization` and its kin: output, mean, inverse deviation, sum of input and skip.
pub(crate) fn skip_normalization(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).map(<[u64]>::to_vec);
    let mut reduced = shape.clone();
    if let Some(last) = reduced.as_mut().and_then(|shape| shape.last_mut()) {
        *last = 1;
    }
    let data = Facts::tensor(call.dtype(0), shape);
    let statistics = Facts::tensor(Some(DType::F32), reduced);
    Ok(vec![data.clone(), statistics.clone(), statistics, data])
}

/// `BatchNormalization`: the data, then running statistics shaped like the old ones.
pub(crate) fn batch_normalization(call: &Call<'_>) -> Inferred {
    let statistic =
        |index: usize| Facts::tensor(call.dtype(index), call.shape(index).map(<[u64]>::to_vec));
    let data = Facts::tensor(call.dtype(0), call.shape(0).map(<[u64]>::to_vec));
    Ok(vec![data, statistic(3), statistic(4), statistic(3), statistic(4)])
}

/// An operator over an axis that must exist and leaves the shape alone (`Softmax`, `CumSum`).
pub(crate) fn along_axis(call: &Call<'_>) -> Inferred {
    if let Some(shape) = call.shape(0)
        && !shape.is_empty()
    {
        call.axis(call.int("axis", if call.opset < 13 { 1 } else { -1 })?, shape.len())?;
    }
    same(call)
}

/// `GroupNormalization`, `InstanceNormalization`: groups must divide channels.
pub(crate) fn group_normalization(call: &Call<'_>) -> Inferred {
    let groups = call.positive("num_groups", 1)?;
    if let Some(channels) = call.shape(0).and_then(|shape| shape.get(1))
        && channels % groups != 0
    {
        return Err(call.invalid(format!("{groups} groups do not divide {channels} channels")));
    }
    same(call)
}
