//! Operators that rearrange elements.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::call::{Axes, Call, broadcast, one};
use crate::onnx::infer::{Facts, RANK_LIMIT, elements};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `Reshape` (the target as an input, or before opset 5 as an attribute).
pub(crate) fn reshape(call: &Call<'_>) -> Inferred {
    let target = match call.ints_of(1) {
        Some(target) => target,
        None if call.has(1) => return one(call.dtype(0), None),
        None => call.ints("shape")?.unwrap_or_default(),
    };
    let copies_zero = call.int("allowzero", 0)? == 0;
    let mut shape = Vec::with_capacity(target.len());
    let mut inferred_axis = None;
    for (axis, extent) in target.iter().enumerate() {
        shape.push(match extent {
            -1 if inferred_axis.is_none() => {
                inferred_axis = Some(axis);
                1
            }
            0 if copies_zero => match call.shape(0) {
                None => return one(call.dtype(0), None),
                Some(input) => *input
                    .get(axis)
                    .ok_or_else(|| call.invalid("a 0 copies an axis that the data lacks"))?,
            },
            extent => u64::try_from(*extent)
                .map_err(|_| call.invalid(format!("target extent {extent}")))?,
        });
    }
    let known = elements(&shape).ok_or_else(|| call.overflow())?;
    let Some(input) = call.shape(0) else {
        return one(call.dtype(0), inferred_axis.is_none().then_some(shape));
    };
    let total = elements(input).ok_or_else(|| call.overflow())?;
    match inferred_axis.and_then(|axis| shape.get_mut(axis)) {
        Some(extent) if known > 0 && total % known == 0 => *extent = total / known,
        Some(extent) if known == 0 && total == 0 => *extent = 0,
        None if known == total => {}
        _ => {
            return Err(call.mismatch(format!("{total} elements do not fill target {target:?}")));
        }
    }
    one(call.dtype(0), Some(shape))
}

/// `Flatten` to two axes.
pub(crate) fn flatten(call: &Call<'_>) -> Inferred {
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let axis = call.int("axis", 1)?;
    // The axis may also be the rank itself: everything goes to the front.
    let split = if usize::try_from(axis) == Ok(shape.len()) {
        shape.len()
    } else {
        call.axis(axis, shape.len())?
    };
    let (front, back) = shape.split_at(split);
    let extent = |part: &[u64]| elements(part).ok_or_else(|| call.overflow());
    one(call.dtype(0), Some(vec![extent(front)?, extent(back)?]))
}

/// `Squeeze`.
pub(crate) fn squeeze(call: &Call<'_>) -> Inferred {
    let axes = call.axes(1)?;
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let drop: Vec<bool> = match axes {
        Axes::Dynamic => return one(call.dtype(0), None),
        Axes::Absent => shape.iter().map(|extent| *extent == 1).collect(),
        Axes::Known(axes) => {
            let mut drop = vec![false; shape.len()];
            for axis in axes {
                let position = call.axis(axis, shape.len())?;
                drop[position] = true;
                if shape[position] != 1 {
                    return Err(call.mismatch(format!("axis {axis} is not 1")));
                }
            }
            drop
        }
    };
    let extents = shape.iter().zip(drop).filter(|(_, drop)| !drop).map(|(extent, _)| *extent);
    one(call.dtype(0), Some(extents.collect()))
}

/// `Unsqueeze`.
pub(crate) fn unsqueeze(call: &Call<'_>) -> Inferred {
    let (Axes::Known(axes), Some(shape)) = (call.axes(1)?, call.shape(0)) else {
        return one(call.dtype(0), None);
    };
    let rank = shape.len().saturating_add(axes.len());
    if rank > RANK_LIMIT {
        return Err(call.invalid(format!("{rank} axes")));
    }
    let mut fresh = vec![false; rank];
    for axis in axes {
        let position = call.axis(axis, rank)?;
        if std::mem::replace(&mut fresh[position], true) {
            return Err(call.invalid(format!("axis {axis} is given twice")));
        }
    }
    let mut old = shape.iter().copied();
    let extents = fresh.iter().map(|fresh| if *fresh { 1 } else { old.next().unwrap_or(1) });
    one(call.dtype(0), Some(extents.collect()))
}

/// The permutation of a `Transpose`; `None` where the rank is unknown.
pub(crate) fn permutation(call: &Call<'_>) -> Result<Option<Vec<usize>>, Diagnostic> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let rank = shape.len();
    let Some(given) = call.ints("perm")? else { return Ok(Some((0..rank).rev().collect())) };
    let mut seen = vec![false; rank];
    let mut order = Vec::with_capacity(rank);
    for axis in given {
        let position = call.axis(*axis, rank)?;
        seen[position] = true;
        order.push(position);
    }
    if order.len() != rank || seen.contains(&false) {
        return Err(call.invalid(format!("{given:?} is no permutation of {rank} axes")));
    }
    Ok(Some(order))
}

/// `Transpose`.
pub(crate) fn transpose(call: &Call<'_>) -> Inferred {
    let (Some(order), Some(shape)) = (permutation(call)?, call.shape(0)) else {
        return one(call.dtype(0), None);
    };
    one(call.dtype(0), Some(order.iter().map(|axis| shape[*axis]).collect()))
}

/// `Expand`: broadcasts with a target.
pub(crate) fn expand(call: &Call<'_>) -> Inferred {
    let Some(target) = call.ints_of(1) else { return one(call.dtype(0), None) };
    let mut wanted = Vec::with_capacity(target.len());
    for extent in target {
        // Exporters write -1 for "as it is".
        let extent = if *extent == -1 { 1 } else { *extent };
        wanted.push(u64::try_from(extent).map_err(|_| call.invalid(format!("extent {extent}")))?);
    }
    if elements(&wanted).is_none() {
        return Err(call.overflow());
    }
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let joint = broadcast(shape, &wanted)
        .ok_or_else(|| call.mismatch(format!("the data does not broadcast to {target:?}")))?;
    one(call.dtype(0), Some(joint))
}

/// `Tile`.
pub(crate) fn tile(call: &Call<'_>) -> Inferred {
    let (Some(shape), Some(repeats)) = (call.shape(0), call.ints_of(1)) else {
        return one(call.dtype(0), None);
    };
    // Before opset 6: how often, and on which axis.
    if call.opset < 6 && call.has(2) {
        let (Some(axis), &[times]) = (call.ints_of(2).and_then(<[i64]>::first), repeats) else {
            return one(call.dtype(0), None);
        };
        let mut tiled = shape.to_vec();
        let extent = &mut tiled[call.axis(*axis, shape.len())?];
        let times = u64::try_from(times).map_err(|_| call.invalid(format!("{times} tiles")))?;
        *extent = extent.checked_mul(times).ok_or_else(|| call.overflow())?;
        return one(call.dtype(0), Some(tiled));
    }
    if repeats.len() != shape.len() {
        return Err(call.invalid(format!("{} repeats for {} axes", repeats.len(), shape.len())));
    }
    let extents = shape.iter().zip(repeats).map(|(extent, times)| {
        let times =
            u64::try_from(*times).map_err(|_| call.invalid(format!("repeat {times} below 0")))?;
        extent.checked_mul(times).ok_or_else(|| call.overflow())
    });
    one(call.dtype(0), Some(extents.collect::<Result<_, _>>()?))
}

/// `Concat`.
pub(crate) fn concat(call: &Call<'_>) -> Inferred {
    join(call, call.int("axis", if call.opset < 4 { 1 } else { -1 })?)
}

/// All inputs joined along an axis.
fn join(call: &Call<'_>, axis: i64) -> Inferred {
    let dtype = call.dtype(0);
    let mut joined: Option<(Vec<u64>, usize)> = None;
    for facts in call.inputs.iter().flatten() {
        let Some(shape) = &facts.shape else { return one(dtype, None) };
        let Some((total, position)) = &mut joined else {
            joined = Some((shape.clone(), call.axis(axis, shape.len())?));
            continue;
        };
        let fits = total.len() == shape.len()
            && total.iter().zip(shape).enumerate().all(|(i, (a, b))| i == *position || a == b);
        if !fits {
            return Err(call.mismatch("the inputs differ beside the joined axis"));
        }
        total[*position] =
            total[*position].checked_add(shape[*position]).ok_or_else(|| call.overflow())?;
    }
    match joined {
        Some((shape, _)) => one(dtype, Some(shape)),
        None => Err(call.invalid("nothing to join")),
    }
}

/// `DepthToSpace`.
pub(crate) fn depth_to_space(call: &Call<'_>) -> Inferred {
    let block = call.positive("blocksize", 0)?;
    let area = block.checked_mul(block).ok_or_else(|| call.overflow())?;
    let Some([n, c, h, w]) = call.extents(0) else { return one(call.dtype(0), None) };
    if c % area != 0 {
        return Err(call.invalid(format!("block {block} does not divide {c} channels")));
    }
    let grown = |extent: u64| extent.checked_mul(block).ok_or_else(|| call.overflow());
    one(call.dtype(0), Some(vec![n, c / area, grown(h)?, grown(w)?]))
}

/// `SpaceToDepth`.
pub(crate) fn space_to_depth(call: &Call<'_>) -> Inferred {
    let block = call.positive("blocksize", 0)?;
    let Some([n, c, h, w]) = call.extents(0) else { return one(call.dtype(0), None) };
    if h % block != 0 || w % block != 0 {
        return Err(call.invalid(format!("block {block} does not divide {h} x {w}")));
    }
    let channels = block
        .checked_mul(block)
        .and_then(|area| c.checked_mul(area))
        .ok_or_else(|| call.overflow())?;
    one(call.dtype(0), Some(vec![n, channels, h / block, w / block]))
}

/// `Pad`: begins and ends from an input, or before opset 11 from an attribute.
pub(crate) fn pad(call: &Call<'_>) -> Inferred {
    let pads = match call.ints_of(1) {
        Some(pads) => pads,
        None if call.has(1) => return one(call.dtype(0), None),
        None if call.opset < 2 => call.ints("paddings")?.unwrap_or_default(),
        None => call.ints("pads")?.unwrap_or_default(),
    };
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let axes: Vec<usize> = match call.ints_of(3) {
        Some(axes) => {
            axes.iter().map(|axis| call.axis(*axis, shape.len())).collect::<Result<_, _>>()?
        }
        None if call.has(3) => return one(call.dtype(0), None),
        None => (0..shape.len()).collect(),
    };
    if pads.len() != axes.len().saturating_mul(2) {
        return Err(call.invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let (begins, ends) = pads.split_at(axes.len());
    let mut padded = shape.to_vec();
    for ((axis, begin), end) in axes.iter().zip(begins).zip(ends) {
        let extent = i128::from(padded[*axis]) + i128::from(*begin) + i128::from(*end);
        if extent < 0 {
            return Err(call.invalid(format!("pads {begin} and {end} remove more than there is")));
        }
        padded[*axis] = u64::try_from(extent).map_err(|_| call.overflow())?;
    }
    one(call.dtype(0), Some(padded))
}

#[cfg(test)]
mod tests {
    use super::{concat, pad, reshape, squeeze, transpose, unsqueeze};
    use crate::onnx::infer::Facts;
    use crate::onnx::infer::call::testing::{call, node, tensor, vector};
    use ir::diagnostic::Diagnostic;

    fn shape(result: Result<Vec<Facts>, Diagnostic>) -> Result<Option<Vec<u64>>, &'static str> {
        result.map(|facts| facts[0].shape.clone()).map_err(|error| error.code)
    }

    #[test]
    fn reshape_copies_zeros_and_fills_one_axis() {
        let op = node("Reshape", &[]);
        let data = tensor(&[2, 3, 4]);
        for (target, result) in [
            (&[0, -1][..], Ok(Some(vec![2, 12]))),
            (&[24], Ok(Some(vec![24]))),
            (&[5, -1], Err("shape-mismatch")),
            (&[-1, -1], Err("invalid-attribute")),
            (&[1, 1, 1, 0], Err("invalid-attribute")),
            (&[i64::MAX, i64::MAX], Err("size-overflow")),
        ] {
            let target = vector(target);
            assert_eq!(shape(reshape(&call(&op, &[&data, &target]))), result);
        }
    }

    #[test]
    fn axes_are_checked() {
        let data = tensor(&[1, 3, 1]);
        let op = node("Squeeze", &[]);
        assert_eq!(shape(squeeze(&call(&op, &[&data]))), Ok(Some(vec![3])));
        let axis = vector(&[-3]);
        assert_eq!(shape(squeeze(&call(&op, &[&data, &axis]))), Ok(Some(vec![3, 1])));
        let axis = vector(&[1]);
        assert_eq!(shape(squeeze(&call(&op, &[&data, &axis]))), Err("shape-mismatch"));
        let axes = vector(&[0, -1]);
        let wide = Ok(Some(vec![1, 1, 3, 1, 1]));
        assert_eq!(shape(unsqueeze(&call(&op, &[&data, &axes]))), wide);
        let op = node("Transpose", &[("perm", &[0, 0, 1])]);
        assert_eq!(shape(transpose(&call(&op, &[&data]))), Err("invalid-attribute"));
    }

    #[test]
    fn concat_adds_one_axis_and_pad_may_crop() {
        let (left, right) = (tensor(&[2, 3]), tensor(&[2, 5]));
        let op = node("Concat", &[("axis", &[1])]);
        assert_eq!(shape(concat(&call(&op, &[&left, &right]))), Ok(Some(vec![2, 8])));
        let op = node("Concat", &[("axis", &[0])]);
        assert_eq!(shape(concat(&call(&op, &[&left, &right]))), Err("shape-mismatch"));
        let op = node("Pad", &[]);
        let pads = vector(&[1, -1, 0, -1]);
        assert_eq!(shape(pad(&call(&op, &[&left, &pads]))), Ok(Some(vec![3, 1])));
        let pads = vector(&[-3, 0, 0, 0]);
        assert_eq!(shape(pad(&call(&op, &[&left, &pads]))), Err("invalid-attribute"));
    }
}
