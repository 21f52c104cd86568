//! Operators that pick elements by position.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Axes, Call, one};
use crate::onnx::infer::elementwise::same;
use crate::onnx::raw::RawValues;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `Gather`: the axis is replaced by the shape of the indices.
pub(crate) fn gather(call: &Call<'_>) -> Inferred {
    let axis = call.int("axis", 0)?;
    let Some(data) = call.shape(0) else { return one(call.dtype(0), None) };
    let position = call.axis(axis, data.len())?;
    let Some(indices) = call.shape(1) else { return one(call.dtype(0), None) };
    let (front, back) = data.split_at(position);
    let shape = front.iter().chain(indices).chain(back.iter().skip(1));
    one(call.dtype(0), Some(shape.copied().collect()))
}

/// `GatherElements`: the shape of the indices.
pub(crate) fn gather_elements(call: &Call<'_>) -> Inferred {
    if let Some(data) = call.shape(0) {
        call.axis(call.int("axis", 0)?, data.len())?;
    }
    one(call.dtype(0), call.shape(1).map(<[u64]>::to_vec))
}

/// `GatherND`.
pub(crate) fn gather_nd(call: &Call<'_>) -> Inferred {
    let (Some(data), Some(indices)) = (call.shape(0), call.shape(1)) else {
        return one(call.dtype(0), None);
    };
    let batch = usize::try_from(call.int("batch_dims", 0)?)
        .map_err(|_| call.invalid("`batch_dims` is below 0"))?;
    let Some((depth, outer)) = indices.split_last() else {
        return Err(call.mismatch("the indices are a scalar"));
    };
    let used = usize::try_from(*depth).ok().and_then(|depth| batch.checked_add(depth));
    let rest = used
        .and_then(|used| data.get(used..))
        .ok_or_else(|| call.mismatch(format!("{depth} indices into {} axes", data.len())))?;
    one(call.dtype(0), Some(outer.iter().chain(rest).copied().collect()))
}

/// `ScatterElements`, `ScatterND`, `TensorScatter`: the shape of the data.
pub(crate) fn scatter(call: &Call<'_>) -> Inferred {
    same(call)
}

/// `Slice`, by inputs or (before opset 10) attributes.
pub(crate) fn slice(call: &Call<'_>) -> Inferred {
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let Some(ranges) = ranges(call, shape)? else {
        return Ok(vec![Facts::at_most(call.dtype(0), Some(shape.to_vec()))]);
    };
    let mut sliced = shape.to_vec();
    for range in ranges {
        sliced[range.axis] = range.length;
    }
    one(call.dtype(0), Some(sliced))
}

/// What a slice keeps of one axis.
pub(crate) struct Range {
    /// The axis.
    pub(crate) axis: usize,
    /// First position, clamped.
    pub(crate) start: i128,
    /// From one position to the next.
    pub(crate) step: i128,
    /// Positions kept.
    pub(crate) length: u64,
}

/// The ranges of a `Slice` of data with this shape; `None` where they depend on data.
pub(crate) fn ranges(call: &Call<'_>, shape: &[u64]) -> Result<Option<Vec<Range>>, Diagnostic> {
    let by_input = call.has(1);
    let list = |index: usize, name: &str| -> Result<Option<Option<Vec<i64>>>, Diagnostic> {
        if by_input {
            return Ok(match call.input(index) {
                None => Some(None),
                Some(facts) => facts.ints().map(|ints| Some(ints.to_vec())),
            });
        }
        Ok(Some(call.ints(name)?.map(<[i64]>::to_vec)))
    };
    let (Some(starts), Some(ends), Some(axes), Some(steps)) =
        (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?, list(4, "steps")?)
    else {
        return Ok(None);
    };
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(call.invalid("starts or ends are missing"));
    };
    let n = starts.len();
    let axes = match axes {
        Some(axes) => axes,
        None => (0i64..).take(n).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; n]);
    if ends.len() != n || axes.len() != n || steps.len() != n {
        return Err(call.invalid("starts, ends, axes and steps differ in length"));
    }
    let mut ranges = Vec::with_capacity(n);
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let position = call.axis(*axis, shape.len())?;
        let range = clamp(position, shape[position], (*start, *end, *step));
        ranges.push(range.ok_or_else(|| call.invalid("a step is 0"))?);
    }
    Ok(Some(ranges))
}

fn clamp(axis: usize, extent: u64, (start, end, step): (i64, i64, i64)) -> Option<Range> {
    let extent = i128::from(extent);
    let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
    let from_front = |at: i128| if at < 0 { at + extent } else { at };
    let (start, span) = match step {
        0 => return None,
        1.. => {
            let start = from_front(start).clamp(0, extent);
            (start, from_front(end).clamp(0, extent) - start)
        }
        _ => {
            let start = from_front(start).clamp(-1, extent - 1);
            (start, start - from_front(end).clamp(-1, extent - 1))
        }
    };
    let stride = step.abs();
    let length = if span <= 0 { 0 } else { (span + stride - 1) / stride };
    Some(Range { axis, start, step, length: u64::try_from(length).unwrap_or(0) })
}

/// `Split`: sizes from an input or attribute, else even parts (the last may be smaller).
pub(crate) fn split(call: &Call<'_>) -> Inferred {
    let parts = call.node.outputs.len();
    let dtype = call.dtype(0);
    let unknown = || Ok(vec![Facts::tensor(dtype, None); parts]);
    let axis = call.int("axis", 0)?;
    let Some(shape) = call.shape(0) else { return unknown() };
    let axis = call.axis(axis, shape.len())?;
    let given = match call.input(1) {
        Some(facts) => match facts.ints() {
            Some(sizes) => Some(sizes),
            None => return unknown(),
        },
        None => call.ints("split")?,
    };
    let sizes: Vec<u64> = match given {
        Some(sizes) => sizes
            .iter()
            .map(|size| u64::try_from(*size))
            .collect::<Result<_, _>>()
            .map_err(|_| call.invalid("a part is below 0"))?,
        None => even(shape[axis], parts as u64),
    };
    let total = sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size));
    if sizes.len() != parts || total != Some(shape[axis]) {
        return Err(call.mismatch("the parts do not add up to the axis"));
    }
    let part = |size: u64| {
        let mut extents = shape.to_vec();
        extents[axis] = size;
        Facts::tensor(dtype, Some(extents))
    };
    Ok(sizes.into_iter().map(part).collect())
}

/// `extent` in `parts` pieces of equal size, the last one smaller.
fn even(extent: u64, parts: u64) -> Vec<u64> {
    let size = extent.div_ceil(parts.max(1));
    let mut rest = extent;
    (0..parts)
        .map(|_| {
            let piece = size.min(rest);
            rest -= piece;
            piece
        })
        .collect()
}

/// `TopK`: values and indices.
pub(crate) fn top_k(call: &Call<'_>) -> Inferred {
    let axis = call.int("axis", -1)?;
    let count = match call.input(1) {
        Some(facts) => facts.ints().and_then(|ints| ints.first().copied()),
        None => Some(call.int("k", 0)?),
    };
    let at_most = call.has(1) && count.is_none();
    let shape = match (call.shape(0), count) {
        // A count that depends on data may be the whole axis.
        (Some(shape), None) => Some(shape.to_vec()),
        (Some(shape), Some(count)) => {
            let position = call.axis(axis, shape.len())?;
            let mut extents = shape.to_vec();
            extents[position] = u64::try_from(count)
                .ok()
                .filter(|count| *count <= shape[position])
                .ok_or_else(|| call.invalid(format!("k = {count} of {}", shape[position])))?;
            Some(extents)
        }
        _ => None,
    };
    let facts = |dtype, shape| Facts { at_most, ..Facts::tensor(dtype, shape) };
    Ok(vec![facts(call.dtype(0), shape.clone()), facts(Some(DType::I64), shape)])
}

/// `OneHot`: a new axis of `depth`.
pub(crate) fn one_hot(call: &Call<'_>) -> Inferred {
    let axis = call.int("axis", -1)?;
    let depth = match call.input(1).and_then(|facts| facts.value.as_deref()) {
        Some(RawValues::Ints(ints)) => ints.first().copied(),
        // The depth may be any number.
        Some(RawValues::Floats(floats)) => floats.first().map(|depth| *depth as i64),
        None => None,
    };
    let (Some(indices), Some(depth)) = (call.shape(0), depth) else {
        return one(call.dtype(2), None);
    };
    let depth = u64::try_from(depth).map_err(|_| call.invalid("the depth is below 0"))?;
    let position = call.axis(axis, indices.len() + 1)?;
    let mut shape = indices.to_vec();
    shape.insert(position, depth);
    one(call.dtype(2), Some(shape))
}

/// `ReverseSequence`, `Trilu` and others with the shape of the data and a checked axis list.
pub(crate) fn checked_axes(call: &Call<'_>) -> Inferred {
    if let (Axes::Known(axes), Some(shape)) = (call.axes(usize::MAX)?, call.shape(0)) {
        for axis in axes {
            call.axis(axis, shape.len())?;
        }
    }
    same(call)
}

#[cfg(test)]
mod tests {
    use super::{gather, gather_nd, slice, split, top_k};
    use crate::onnx::infer::call::testing::{call, node, tensor, vector};

    #[test]
    fn slices_clamp_and_may_run_backwards() {
        let data = tensor(&[10, 4]);
        let op = node("Slice", &[]);
        for (start, end, axis, step, rows) in [
            (0, i64::MAX, 0, 1, 10),
            (-3, i64::MAX, 0, 1, 3),
            (1, 8, 0, 3, 3),
            (8, 2, 0, 1, 0),
            (i64::MAX, i64::MIN, 0, -1, 10),
            (-1, -4, 0, -2, 2),
        ] {
            let inputs = [[start], [end], [axis], [step]].map(|value| vector(&value));
            let args = [&data, &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
            assert_eq!(slice(&call(&op, &args)).unwrap()[0].shape, Some(vec![rows, 4]));
        }
    }

    #[test]
    fn gathers_replace_axes_by_index_shapes() {
        let data = tensor(&[100, 8, 3]);
        let indices = tensor(&[2, 5]);
        let op = node("Gather", &[("axis", &[1])]);
        let facts = gather(&call(&op, &[&data, &indices])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![100, 2, 5, 3]));
        let pairs = tensor(&[7, 2]);
        let op = node("GatherND", &[]);
        let facts = gather_nd(&call(&op, &[&data, &pairs])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![7, 3]));
        assert!(gather_nd(&call(&op, &[&data, &tensor(&[7, 4])])).is_err());
    }

    #[test]
    fn parts_must_add_up() {
        let data = tensor(&[10]);
        let mut op = node("Split", &[]);
        op.outputs = ["a", "b", "c"].map(str::to_owned).to_vec();
        let shapes: Vec<_> =
            split(&call(&op, &[&data])).unwrap().into_iter().map(|f| f.shape.unwrap()).collect();
        assert_eq!(shapes, [[4], [4], [2]]);
        assert!(split(&call(&op, &[&data, &vector(&[4, 4, 4])])).is_err());
        let op = node("TopK", &[]);
        assert!(top_k(&call(&op, &[&data, &vector(&[11])])).is_err());
    }
}
