//! Spectra and their windows, sampling grids, images from columns.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::elementwise::dtype_of;
use crate::onnx::infer::{Facts, elements};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `HannWindow`, `HammingWindow`, `BlackmanWindow`.
pub(crate) fn window(call: &Call<'_>) -> Inferred {
    let dtype = dtype_of(call, call.int("output_datatype", 1)?)?;
    one(Some(dtype), call.count(0)?.map(|size| vec![size]))
}

/// `MelWeightMatrix`: a row per bin of a one-sided spectrum, a column per band.
pub(crate) fn mel_weights(call: &Call<'_>) -> Inferred {
    let dtype = dtype_of(call, call.int("output_datatype", 1)?)?;
    let extents = call.count(1)?.zip(call.count(0)?);
    one(Some(dtype), extents.map(|(length, bands)| vec![length / 2 + 1, bands]))
}

/// `DFT`: the transformed axis, and on the last axis real and imaginary part.
pub(crate) fn dft(call: &Call<'_>) -> Inferred {
    let unknown = one(call.dtype(0), None);
    let Some(shape) = call.shape(0) else { return unknown };
    let axis = match (call.opset < 20, call.input(2)) {
        (true, _) => call.int("axis", 1)?,
        (false, None) => -2,
        (false, Some(axis)) => match axis.ints().and_then(<[i64]>::first) {
            Some(axis) => *axis,
            None => return unknown,
        },
    };
    let position = call.axis(axis, shape.len())?;
    let last = shape.len() - 1;
    if position == last {
        return Err(call.invalid("the last axis holds the parts of complex numbers"));
    }
    let (one_sided, inverse) = (call.int("onesided", 0)? != 0, call.int("inverse", 0)? != 0);
    let length = match call.count(1)? {
        Some(length) => length,
        None if call.has(1) => return unknown,
        None if one_sided && inverse => shape[position].saturating_sub(1).saturating_mul(2),
        None => shape[position],
    };
    let mut extents = shape.to_vec();
    extents[position] = if one_sided && !inverse { length / 2 + 1 } else { length };
    extents[last] = if one_sided && inverse { 1 } else { 2 };
    one(call.dtype(0), Some(extents))
}

/// `STFT`: a spectrum per frame.
pub(crate) fn stft(call: &Call<'_>) -> Inferred {
    let unknown = one(call.dtype(0), None);
    let (Some(shape), Some(step)) = (call.shape(0), call.count(1)?) else { return unknown };
    let [batch, length, ..] = *shape else {
        return Err(call.mismatch("the signal has under two axes"));
    };
    let frame = match (call.count(3)?, call.shape(2)) {
        (Some(frame), _) | (None, Some(&[frame])) => frame,
        _ if call.has(2) || call.has(3) => return unknown,
        _ => length,
    };
    if step == 0 || frame > length {
        return Err(call.invalid(format!("frames of {frame} each {step} in a signal of {length}")));
    }
    let bins = if call.int("onesided", 1)? != 0 { frame / 2 + 1 } else { frame };
    one(call.dtype(0), Some(vec![batch, (length - frame) / step + 1, bins, 2]))
}

/// `com.microsoft::Rfft`: half of the last axis, and real and imaginary part.
pub(crate) fn real_fft(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).and_then(|shape| shape.split_last());
    one(call.dtype(0), shape.map(|(last, outer)| [outer, &[last / 2 + 1, 2]].concat()))
}

/// `com.microsoft::Irfft`: the last axis but one, whole again.
pub(crate) fn inverse_real_fft(call: &Call<'_>) -> Inferred {
    let shape = match call.shape(0) {
        Some([outer @ .., bins, 2]) => {
            Some([outer, &[bins.saturating_sub(1).saturating_mul(2)]].concat())
        }
        Some(_) => return Err(call.mismatch("the last axis does not hold complex numbers")),
        None => None,
    };
    one(call.dtype(0), shape)
}

/// `AffineGrid`: a position per point of the data of this size.
pub(crate) fn affine_grid(call: &Call<'_>) -> Inferred {
    let shape = match (call.shape(0), call.sizes(1)?) {
        (Some([n, rows, ..]), Some(size)) => match size.get(2..) {
            Some(spatial) => Some([&[*n], spatial, &[*rows]].concat()),
            None => return Err(call.mismatch("the size has under two extents")),
        },
        _ => None,
    };
    one(call.dtype(0), shape)
}

/// `CenterCropPad`: the extents asked for on the axes named.
pub(crate) fn center_crop_pad(call: &Call<'_>) -> Inferred {
    let (Some(shape), Some(target)) = (call.shape(0), call.sizes(1)?) else {
        return one(call.dtype(0), None);
    };
    let axes: Vec<usize> = match call.ints("axes")? {
        Some(axes) => {
            axes.iter().map(|axis| call.axis(*axis, shape.len())).collect::<Result<_, _>>()?
        }
        None => (0..shape.len()).collect(),
    };
    if axes.len() != target.len() {
        return Err(call.invalid(format!("{} extents for {} axes", target.len(), axes.len())));
    }
    let mut extents = shape.to_vec();
    for (axis, extent) in axes.into_iter().zip(target) {
        extents[axis] = extent;
    }
    one(call.dtype(0), Some(extents))
}

/// `Col2Im`: columns of blocks, each with all channels, back in an image.
pub(crate) fn columns_to_image(call: &Call<'_>) -> Inferred {
    let (Some(shape), Some(image), Some(block)) = (call.shape(0), call.sizes(1)?, call.sizes(2)?)
    else {
        return one(call.dtype(0), None);
    };
    let area = elements(&block).ok_or_else(|| call.overflow())?;
    match shape {
        [n, packed, _] if area > 0 && packed % area == 0 => {
            one(call.dtype(0), Some([&[*n, packed / area], image.as_slice()].concat()))
        }
        _ => Err(call.mismatch(format!("columns of {shape:?} for blocks of {area}"))),
    }
}

/// `Det`: one number per matrix.
pub(crate) fn determinant(call: &Call<'_>) -> Inferred {
    match call.shape(0) {
        Some([outer @ .., _, _]) => one(call.dtype(0), Some(outer.to_vec())),
        Some(_) => Err(call.mismatch("the data has under two axes")),
        None => one(call.dtype(0), None),
    }
}

/// `Multinomial`: samples per row.
pub(crate) fn multinomial(call: &Call<'_>) -> Inferred {
    let dtype = dtype_of(call, call.int("dtype", 6)?)?;
    let samples = call.positive("sample_size", 1)?;
    one(Some(dtype), call.extents::<2>(0).map(|[n, _]| vec![n, samples]))
}

/// `com.microsoft::UnfoldTensor`: windows of `size` along an axis, on a last axis of their own.
pub(crate) fn unfold(call: &Call<'_>) -> Inferred {
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let axis = call.axis(call.int("dim", -1)?, shape.len())?;
    let (size, step) = (call.positive("size", 0)?, call.positive("step", 1)?);
    let Some(room) = shape[axis].checked_sub(size) else {
        return Err(call.invalid(format!("windows of {size} in an axis of {}", shape[axis])));
    };
    let mut extents = shape.to_vec();
    extents[axis] = room / step + 1;
    extents.push(size);
    one(call.dtype(0), Some(extents))
}

#[cfg(test)]
mod tests {
    use super::{columns_to_image, dft, stft};
    use crate::onnx::infer::call::testing::{call, node, tensor, vector};

    #[test]
    fn spectra_keep_half_of_a_real_signal() {
        let op = node("STFT", &[]);
        let (signal, step, frame) = (tensor(&[2, 16000, 1]), vector(&[160]), tensor(&[400]));
        // (16000 - 400) / 160 + 1 = 98.5: 98 whole frames, 400 / 2 + 1 = 201 bins.
        let facts = stft(&call(&op, &[&signal, &step, &frame])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![2, 98, 201, 2]));
        let op = node("DFT", &[("onesided", &[1]), ("inverse", &[1])]);
        let facts = dft(&call(&op, &[&tensor(&[2, 201, 2])])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![2, 400, 1]));
        let long = vector(&[i64::MAX]);
        assert!(stft(&call(&node("STFT", &[]), &[&signal, &long, &tensor(&[17000])])).is_err());
    }

    #[test]
    fn columns_hold_whole_blocks() {
        let op = node("Col2Im", &[]);
        let (image, block) = (vector(&[5, 5]), vector(&[1, 5]));
        let facts = columns_to_image(&call(&op, &[&tensor(&[1, 10, 5]), &image, &block])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![1, 2, 5, 5]));
        assert!(columns_to_image(&call(&op, &[&tensor(&[1, 9, 5]), &image, &block])).is_err());
    }
}
