//! Content of small constant results: shape arithmetic done at import.
//!
//! A fold function gets a node whose output shapes are known, each with at least one element and
//! at most [`FOLD_LIMIT`](crate::onnx::infer::FOLD_LIMIT); where an input that it needs has no
//! content it answers `None` and the node stays an op.

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;
use crate::onnx::infer::creation::{range_length, shape_range};
use crate::onnx::infer::indexing::ranges;
use crate::onnx::infer::layout::permutation;
use crate::onnx::raw::RawValues;

/// Content of each output, from the node and what was inferred of its outputs.
pub(crate) type Fold = fn(&Call<'_>, &[Facts]) -> Option<Vec<RawValues>>;

/// Content of input `index`.
pub(crate) fn content<'a>(call: &Call<'a>, index: usize) -> Option<&'a RawValues> {
    call.input(index)?.value.as_deref()
}

/// Extents of output 0.
pub(crate) fn result(outputs: &[Facts]) -> Option<&[u64]> {
    outputs.first()?.shape.as_deref()
}

/// Elements at these positions, `None` if one is out of range.
fn pick(values: &RawValues, positions: &[usize]) -> Option<RawValues> {
    Some(match values {
        RawValues::Ints(ints) => {
            RawValues::Ints(positions.iter().map(|p| ints.get(*p).copied()).collect::<Option<_>>()?)
        }
        RawValues::Floats(floats) => RawValues::Floats(
            positions.iter().map(|p| floats.get(*p).copied()).collect::<Option<_>>()?,
        ),
    })
}

/// Row-major strides.
fn strides(shape: &[u64]) -> Vec<i128> {
    let mut strides = vec![1i128; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(i128::from(shape[axis]));
    }
    strides
}

/// For each element of `shape` in row-major order `start` plus the sum of coordinate times
/// stride.
pub(crate) fn walk(shape: &[u64], start: i128, strides: &[i128]) -> Option<Vec<usize>> {
    let mut positions = vec![start];
    for (extent, stride) in shape.iter().zip(strides) {
        let extent = i128::from(*extent);
        positions =
            positions.iter().flat_map(|base| (0..extent).map(move |i| base + i * stride)).collect();
    }
    positions.into_iter().map(|position| usize::try_from(position).ok()).collect()
}

/// Positions in a tensor of shape `from` of its broadcast to `to`.
pub(crate) fn stretched(from: &[u64], to: &[u64]) -> Option<Vec<usize>> {
    let strides = strides(from);
    let lead = to.len().checked_sub(from.len())?;
    let strides: Vec<i128> = (0..to.len())
        .map(|axis| match axis.checked_sub(lead) {
            Some(i) if from[i] != 1 => strides[i],
            _ => 0,
        })
        .collect();
    walk(to, 0, &strides)
}

/// The content of input 0 under another shape (`Reshape`, `Squeeze`, `Identity`, ...).
pub(crate) fn unchanged(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    Some(vec![content(call, 0)?.clone()])
}

/// `Constant`: inference has put the content there.
pub(crate) fn given(_: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    Some(vec![outputs.first()?.value.as_deref()?.clone()])
}

/// `Shape`: known as soon as the input's shape is.
pub(crate) fn shape(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    let shape = call.shape(0)?;
    let range = shape_range(call, shape.len()).ok()?;
    let extents = shape.get(range)?.iter().map(|extent| i64::try_from(*extent));
    Some(vec![RawValues::Ints(extents.collect::<Result<_, _>>().ok()?)])
}

/// `Size`.
pub(crate) fn size(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    let n = i64::try_from(call.input(0)?.elements()?).ok()?;
    Some(vec![RawValues::Ints(vec![n])])
}

/// `Transpose`.
pub(crate) fn transpose(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let order = permutation(call).ok()??;
    let source = strides(call.shape(0)?);
    let strides: Vec<i128> = order.iter().map(|axis| source[*axis]).collect();
    Some(vec![pick(content(call, 0)?, &walk(result(outputs)?, 0, &strides)?)?])
}

/// `Expand`.
pub(crate) fn expand(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let positions = stretched(call.shape(0)?, result(outputs)?)?;
    Some(vec![pick(content(call, 0)?, &positions)?])
}

/// `Slice`.
pub(crate) fn slice(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let shape = call.shape(0)?;
    let mut strides = strides(shape);
    let mut start = 0i128;
    for range in ranges(call, shape).ok()?? {
        start += range.start * strides[range.axis];
        strides[range.axis] *= range.step;
    }
    Some(vec![pick(content(call, 0)?, &walk(result(outputs)?, start, &strides)?)?])
}

/// `Gather`.
pub(crate) fn gather(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    let (data, shape) = (content(call, 0)?, call.shape(0)?);
    let axis = call.axis(call.int("axis", 0).ok()?, shape.len()).ok()?;
    let RawValues::Ints(indices) = content(call, 1)? else { return None };
    let strides = strides(shape);
    let extent = i64::try_from(shape[axis]).ok()?;
    let (front, back) = (shape.get(..axis)?, shape.get(axis + 1..)?);
    let mut positions = Vec::new();
    for outer in walk(front, 0, &strides)? {
        for index in indices {
            let index = if *index < 0 { index.checked_add(extent)? } else { *index };
            if !(0..extent).contains(&index) {
                return None;
            }
            let start = i128::try_from(outer).ok()? + i128::from(index) * strides[axis];
            positions.extend(walk(back, start, strides.get(axis + 1..)?)?);
        }
    }
    Some(vec![pick(data, &positions)?])
}

/// `OneHot`: the second of two values where the coordinate on the new axis is the index (counted
/// from the end where it is negative), the first elsewhere.
pub(crate) fn one_hot(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let RawValues::Ints(indices) = content(call, 0)? else { return None };
    let shape = result(outputs)?;
    let axis = call.axis(call.int("axis", -1).ok()?, shape.len()).ok()?;
    let depth = i64::try_from(shape[axis]).ok()?;
    let inner = usize::try_from(shape[axis + 1..].iter().product::<u64>()).ok()?;
    let on = |index: i64, at: i64| usize::from(index == at || index.checked_add(depth) == Some(at));
    let positions: Vec<usize> = indices
        .chunks(inner)
        .flat_map(|row| (0..depth).flat_map(move |at| row.iter().map(move |i| on(*i, at))))
        .collect();
    Some(vec![pick(content(call, 2)?, &positions)?])
}

/// `Concat`: blocks of each input in turn, for every position of the axes before the joined one.
pub(crate) fn concat(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let shape = result(outputs)?;
    let axis = call.axis(call.int("axis", 1).ok()?, shape.len()).ok()?;
    let outer: u64 = shape.get(..axis)?.iter().product();
    let inputs: Vec<&Facts> = call.inputs.iter().copied().flatten().collect();
    let parts: Vec<&RawValues> =
        inputs.iter().map(|facts| facts.value.as_deref()).collect::<Option<_>>()?;
    let blocks: Vec<usize> = inputs
        .iter()
        .map(|facts| usize::try_from(facts.elements()?.checked_div(outer)?).ok())
        .collect::<Option<_>>()?;
    let outer = usize::try_from(outer).ok()?;
    if parts.iter().all(|part| matches!(part, RawValues::Ints(_))) {
        let parts = parts.iter().filter_map(|part| match part {
            RawValues::Ints(ints) => Some(ints.as_slice()),
            RawValues::Floats(_) => None,
        });
        return Some(vec![RawValues::Ints(interleave(
            &parts.collect::<Vec<_>>(),
            &blocks,
            outer,
        )?)]);
    }
    let parts: Vec<&[f64]> = parts
        .iter()
        .map(|part| match part {
            RawValues::Floats(floats) => Some(floats.as_slice()),
            RawValues::Ints(_) => None,
        })
        .collect::<Option<_>>()?;
    Some(vec![RawValues::Floats(interleave(&parts, &blocks, outer)?)])
}

fn interleave<T: Copy>(parts: &[&[T]], blocks: &[usize], outer: usize) -> Option<Vec<T>> {
    let mut joined = Vec::new();
    for position in 0..outer {
        for (part, block) in parts.iter().zip(blocks) {
            joined.extend_from_slice(part.get(position * block..(position + 1) * block)?);
        }
    }
    Some(joined)
}

/// `Split`: cuts along the axis.
pub(crate) fn split(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let (data, shape) = (content(call, 0)?, call.shape(0)?);
    let axis = call.axis(call.int("axis", 0).ok()?, shape.len()).ok()?;
    let strides = strides(shape);
    let mut start = 0i128;
    let mut parts = Vec::with_capacity(outputs.len());
    for facts in outputs {
        let extents = facts.shape.as_deref()?;
        parts.push(pick(data, &walk(extents, start, &strides)?)?);
        start += i128::from(extents[axis]) * strides[axis];
    }
    Some(parts)
}

/// `ConstantOfShape`.
pub(crate) fn constant_of_shape(call: &Call<'_>, outputs: &[Facts]) -> Option<Vec<RawValues>> {
    let n = usize::try_from(outputs.first()?.elements()?).ok()?;
    let value = match call.tensor("value") {
        None => RawValues::Floats(vec![0.0]),
        Some(tensor) => tensor.values.clone()?,
    };
    Some(vec![pick(&value, &vec![0; n])?])
}

/// `Range`.
pub(crate) fn range(call: &Call<'_>, _: &[Facts]) -> Option<Vec<RawValues>> {
    let length = range_length(call).ok()??;
    let content = match (content(call, 0)?, content(call, 2)?) {
        (RawValues::Ints(start), RawValues::Ints(step)) => {
            let (start, step) = (*start.first()?, *step.first()?);
            let at = |i: i64| start.checked_add(i.checked_mul(step)?);
            RawValues::Ints((0..i64::try_from(length).ok()?).map(at).collect::<Option<_>>()?)
        }
        (RawValues::Floats(start), RawValues::Floats(step)) => {
            let (start, step) = (*start.first()?, *step.first()?);
            RawValues::Floats((0..length).map(|i| start + i as f64 * step).collect())
        }
        _ => return None,
    };
    Some(vec![content])
}

#[cfg(test)]
mod tests {
    use super::{concat, expand, gather, one_hot, slice, transpose};
    use crate::onnx::infer::Facts;
    use crate::onnx::infer::call::Call;
    use crate::onnx::infer::call::testing::{call, node, tensor, vector};
    use crate::onnx::raw::RawValues;

    fn ints(result: Option<Vec<RawValues>>) -> Vec<i64> {
        match result.as_deref() {
            Some([RawValues::Ints(ints)]) => ints.clone(),
            other => panic!("not one list of integers: {other:?}"),
        }
    }

    fn matrix() -> Facts {
        Facts { shape: Some(vec![2, 3]), ..vector(&[1, 2, 3, 4, 5, 6]) }
    }

    #[test]
    fn elements_move_as_in_row_major_order() {
        let data = matrix();
        let op = node("Transpose", &[]);
        assert_eq!(ints(transpose(&call(&op, &[&data]), &[tensor(&[3, 2])])), [1, 4, 2, 5, 3, 6]);
        let op = node("Gather", &[("axis", &[1])]);
        let picks = vector(&[-1, 0]);
        assert_eq!(ints(gather(&call(&op, &[&data, &picks]), &[])), [3, 1, 6, 4]);
        let op = node("Concat", &[("axis", &[1])]);
        let joined = concat(&call(&op, &[&data, &data]), &[tensor(&[2, 6])]);
        assert_eq!(ints(joined), [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
        let op = node("OneHot", &[("axis", &[0])]);
        let (picks, depth, values) = (vector(&[-1, 0]), vector(&[3]), vector(&[5, 9]));
        let hot = one_hot(&call(&op, &[&picks, &depth, &values]), &[tensor(&[3, 2])]);
        assert_eq!(ints(hot), [5, 9, 5, 5, 9, 5]);
        let row = vector(&[7, 8]);
        let op = node("Expand", &[]);
        assert_eq!(ints(expand(&call(&op, &[&row]), &[tensor(&[2, 2])])), [7, 8, 7, 8]);
    }

    #[test]
    fn slices_of_content_follow_starts_and_steps() {
        let data = matrix();
        let op = node("Slice", &[]);
        let args = [vector(&[-1]), vector(&[i64::MIN]), vector(&[1]), vector(&[-2])];
        let call: Call<'_> = call(&op, &[&data, &args[0], &args[1], &args[2], &args[3]]);
        assert_eq!(ints(slice(&call, &[tensor(&[2, 2])])), [3, 1, 6, 4]);
    }
}
