//! `Resize`, `Upsample`, `GridSample`, `AffineGrid` and crops.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};
use crate::onnx::raw::{RawAttribute, RawValues};

type Inferred = Result<Vec<Facts>, Diagnostic>;

fn factors(call: &Call<'_>, index: usize) -> Option<Vec<f64>> {
    match call.input(index)?.value.as_deref()? {
        RawValues::Floats(factors) => Some(factors.clone()),
        RawValues::Ints(_) => None,
    }
}

/// `extent` times `factor`, rounded down.
fn stretched(call: &Call<'_>, extent: u64, factor: f64) -> Result<u64, Diagnostic> {
    if !factor.is_finite() || factor <= 0.0 {
        return Err(call.invalid(format!("scale {factor}")));
    }
    let grown = (extent as f64 * factor).floor();
    if grown >= 9.2e18 {
        return Err(call.overflow());
    }
    Ok(grown as u64)
}

/// `Resize`: sizes (input 3) or scales (input 2), on all axes or those of attribute `axes`.
pub(crate) fn resize(call: &Call<'_>) -> Inferred {
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let axes: Vec<usize> = match call.ints("axes")? {
        Some(axes) => {
            axes.iter().map(|axis| call.axis(*axis, shape.len())).collect::<Result<_, _>>()?
        }
        None => (0..shape.len()).collect(),
    };
    let mut resized = shape.to_vec();
    if let Some(sizes) = call.ints_of(3)
        && !sizes.is_empty()
    {
        if sizes.len() != axes.len() {
            return Err(call.invalid(format!("{} sizes for {} axes", sizes.len(), axes.len())));
        }
        for (axis, size) in axes.iter().zip(sizes) {
            resized[*axis] =
                u64::try_from(*size).map_err(|_| call.invalid(format!("size {size}")))?;
        }
        keep_aspect(call, shape, &axes, &mut resized)?;
        return one(call.dtype(0), Some(resized));
    }
    // Before opset 11 the scales are input 1.
    let Some(scales) = factors(call, if call.opset < 11 { 1 } else { 2 }) else {
        return one(call.dtype(0), None);
    };
    if scales.len() != axes.len() {
        return Err(call.invalid(format!("{} scales for {} axes", scales.len(), axes.len())));
    }
    for (axis, scale) in axes.iter().zip(scales) {
        resized[*axis] = stretched(call, resized[*axis], scale)?;
    }
    one(call.dtype(0), Some(resized))
}

/// With `keep_aspect_ratio_policy` all axes take the least or the greatest scale.
fn keep_aspect(
    call: &Call<'_>,
    shape: &[u64],
    axes: &[usize],
    resized: &mut [u64],
) -> Result<(), Diagnostic> {
    let scales = axes.iter().map(|axis| resized[*axis] as f64 / shape[*axis] as f64);
    let scale = match call.text("keep_aspect_ratio_policy", "stretch") {
        "not_larger" => scales.reduce(f64::min),
        "not_smaller" => scales.reduce(f64::max),
        _ => None,
    };
    if let Some(scale) = scale {
        for axis in axes {
            // The standard rounds half up here, and down where scales are given.
            let half = 0.5 / (shape[*axis].max(1) as f64);
            resized[*axis] = stretched(call, shape[*axis], scale + half)?;
        }
    }
    Ok(())
}

/// `Upsample`: scales from input 1, before opset 9 from attributes.
pub(crate) fn upsample(call: &Call<'_>) -> Inferred {
    let scales = factors(call, 1).or_else(|| written_scales(call));
    let (Some(shape), Some(scales)) = (call.shape(0), scales) else {
        return one(call.dtype(0), None);
    };
    if scales.len() != shape.len() {
        return Err(call.invalid(format!("{} scales for {} axes", scales.len(), shape.len())));
    }
    let resized = shape.iter().zip(scales).map(|(extent, scale)| stretched(call, *extent, scale));
    one(call.dtype(0), Some(resized.collect::<Result<_, _>>()?))
}

fn written_scales(call: &Call<'_>) -> Option<Vec<f64>> {
    let float = |name: &str| match call.node.attributes.get(name) {
        Some(RawAttribute::Float(value)) => Some(f64::from(*value)),
        _ => None,
    };
    match call.node.attributes.get("scales") {
        Some(RawAttribute::Floats(scales)) => {
            Some(scales.iter().map(|scale| f64::from(*scale)).collect())
        }
        _ => Some(vec![1.0, 1.0, float("height_scale")?, float("width_scale")?]),
    }
}

/// `GridSample`: batch and channels of the data, spatial extents of the grid.
pub(crate) fn grid_sample(call: &Call<'_>) -> Inferred {
    let shape = match (call.shape(0), call.shape(1)) {
        (Some([n, c, ..]), Some([_, spatial @ .., _])) => {
            Some([*n, *c].iter().chain(spatial).copied().collect())
        }
        _ => None,
    };
    one(call.dtype(0), shape)
}

/// `RoiAlign`: channels of the data, a crop per region.
pub(crate) fn roi_align(call: &Call<'_>) -> Inferred {
    regions(call, call.positive("output_height", 1)?, call.positive("output_width", 1)?)
}

/// `MaxRoiPool`: the same with extents from `pooled_shape`.
pub(crate) fn roi_pool(call: &Call<'_>) -> Inferred {
    let extent =
        |size: i64| u64::try_from(size).map_err(|_| call.invalid(format!("extent {size}")));
    match call.ints("pooled_shape")? {
        Some(&[height, width]) => regions(call, extent(height)?, extent(width)?),
        _ => Err(call.invalid("`pooled_shape` does not have two entries")),
    }
}

fn regions(call: &Call<'_>, height: u64, width: u64) -> Inferred {
    let shape = match (call.shape(0), call.shape(1)) {
        (Some([_, channels, ..]), Some([regions, ..])) => {
            Some(vec![*regions, *channels, height, width])
        }
        _ => None,
    };
    one(call.dtype(0), shape)
}
