//! Convolutions and pooling: everything that slides a window over spatial axes.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// A checked window over `n` spatial axes.
pub(crate) struct Window {
    /// Extents of the kernel.
    pub(crate) kernel: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    begins: Vec<u64>,
    ends: Vec<u64>,
}

/// Kernel extents by attribute, else those of the weight behind its two channel axes.
fn kernel(call: &Call<'_>, weight: Option<usize>) -> Result<Option<Vec<u64>>, Diagnostic> {
    if call.ints("kernel_shape")?.is_some() {
        return list(call, "kernel_shape", 0, 1).map(Some);
    }
    let Some(weight) = weight else {
        return Err(call.invalid("attribute `kernel_shape` is missing"));
    };
    let Some(shape) = call.shape(weight) else { return Ok(None) };
    let spatial = shape.get(2..).ok_or_else(|| call.mismatch("the weight has under two axes"))?;
    if spatial.contains(&0) {
        return Err(call.invalid("the kernel is empty"));
    }
    Ok(Some(spatial.to_vec()))
}

/// Attribute `name` with `n` entries (0 = any number) of at least `least`; `n` times `least`
/// where it is missing.
fn list(call: &Call<'_>, name: &str, n: usize, least: u64) -> Result<Vec<u64>, Diagnostic> {
    let Some(given) = call.ints(name)? else { return Ok(vec![least; n]) };
    if n > 0 && given.len() != n {
        return Err(call.invalid(format!("`{name}` has {} entries, not {n}", given.len())));
    }
    let checked = given.iter().map(|value| u64::try_from(*value).ok().filter(|v| *v >= least));
    checked
        .collect::<Option<_>>()
        .ok_or_else(|| call.invalid(format!("`{name}` {given:?} has an entry below {least}")))
}

/// The window of a node; `None` where the kernel is unknown.
fn window(call: &Call<'_>, weight: Option<usize>) -> Result<Option<Window>, Diagnostic> {
    call.positive("group", 1)?;
    let kernel = kernel(call, weight)?;
    let n = kernel.as_ref().map_or(0, Vec::len);
    let strides = list(call, "strides", n, 1)?;
    let dilations = list(call, "dilations", n, 1)?;
    let pads = list(call, "pads", n * 2, 0)?;
    let Some(kernel) = kernel else { return Ok(None) };
    let (begins, ends) = pads.split_at(n);
    let (begins, ends) = (begins.to_vec(), ends.to_vec());
    Ok(Some(Window { kernel, strides, dilations, begins, ends }))
}

impl Window {
    /// Extent of axis `i` that the dilated kernel covers.
    fn reach(&self, i: usize) -> i128 {
        i128::from(self.dilations[i]) * (i128::from(self.kernel[i]) - 1) + 1
    }

    /// Positions of the window along each spatial axis.
    fn positions(&self, call: &Call<'_>, spatial: &[u64]) -> Result<Vec<u64>, Diagnostic> {
        let ceil = call.int("ceil_mode", 0)? != 0;
        let auto_pad = call.text("auto_pad", "NOTSET");
        let mut positions = Vec::with_capacity(spatial.len());
        for (i, extent) in spatial.iter().enumerate() {
            let stride = i128::from(self.strides[i]);
            let extent = i128::from(*extent);
            let count = match auto_pad {
                "SAME_UPPER" | "SAME_LOWER" => (extent + stride - 1) / stride,
                _ => {
                    let (begin, end) = if auto_pad == "VALID" {
                        (0, 0)
                    } else {
                        (i128::from(self.begins[i]), i128::from(self.ends[i]))
                    };
                    let room = extent + begin + end - self.reach(i);
                    if room < 0 {
                        return Err(call.invalid(format!(
                            "the kernel covers {} of a padded extent of {}",
                            self.reach(i),
                            extent + begin + end
                        )));
                    }
                    let whole = if ceil { room + stride - 1 } else { room } / stride + 1;
                    // A last window that would start in the padding behind the data is dropped.
                    let beyond = ceil && (whole - 1) * stride >= extent + begin;
                    whole - i128::from(beyond)
                }
            };
            positions.push(u64::try_from(count).map_err(|_| call.overflow())?);
        }
        Ok(positions)
    }
}

/// Batch, channels and spatial extents.
type Data<'a> = (u64, u64, &'a [u64]);

/// The extents of the data, if the window has as many spatial axes.
fn data<'a>(call: &Call<'a>, window: &Window) -> Result<Option<Data<'a>>, Diagnostic> {
    match call.shape(0) {
        None => Ok(None),
        Some([n, c, spatial @ ..]) if spatial.len() == window.kernel.len() => {
            Ok(Some((*n, *c, spatial)))
        }
        Some(shape) => Err(call.mismatch(format!(
            "a window over {} axes on data with {} axes",
            window.kernel.len(),
            shape.len()
        ))),
    }
}

/// Shape of a convolution whose weight is input `weight`.
fn convolve(call: &Call<'_>, weight: usize) -> Result<Option<Vec<u64>>, Diagnostic> {
    let Some(window) = window(call, Some(weight))? else { return Ok(None) };
    let Some((n, c, spatial)) = data(call, &window)? else { return Ok(None) };
    let Some([out, c_group, ..]) = call.shape(weight) else { return Ok(None) };
    let group = call.positive("group", 1)?;
    if out % group != 0 || c_group.checked_mul(group) != Some(c) {
        return Err(call.mismatch(format!("{group} groups do not fit {c} and {out} channels")));
    }
    let mut shape = vec![n, *out];
    shape.extend(window.positions(call, spatial)?);
    Ok(Some(shape))
}

/// `CausalConvWithState`: the data, and the last positions as state.
pub(crate) fn causal_conv(call: &Call<'_>) -> Inferred {
    let state = match (call.shape(0), call.shape(1)) {
        (Some(&[n, c, _]), Some(&[channels, 1, taps])) => {
            if channels != c || taps == 0 {
                return Err(call.mismatch(format!("{c} channels, a kernel of {channels} x {taps}")));
            }
            Some(vec![n, c, taps - 1])
        }
        (None, _) | (_, None) => None,
        _ => return Err(call.mismatch("the data or the kernel does not have three axes")),
    };
    let data = Facts::tensor(call.dtype(0), call.shape(0).map(<[u64]>::to_vec));
    Ok(vec![data, Facts::tensor(call.dtype(0), state)])
}

/// `Conv`.
pub(crate) fn conv(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), convolve(call, 1)?)
}

/// `ConvInteger`.
pub(crate) fn conv_integer(call: &Call<'_>) -> Inferred {
    one(Some(DType::I32), convolve(call, 1)?)
}

/// `QLinearConv`: weight at 3, type of the output's zero point.
pub(crate) fn q_linear_conv(call: &Call<'_>) -> Inferred {
    one(call.dtype(7), convolve(call, 3)?)
}

/// `ConvTranspose`.
pub(crate) fn conv_transpose(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0);
    let Some(window) = window(call, Some(1))? else { return one(dtype, None) };
    let group = call.positive("group", 1)?;
    let rank = window.kernel.len();
    let extra = list(call, "output_padding", rank, 0)?;
    let stated = match call.ints("output_shape")? {
        Some(_) => Some(list(call, "output_shape", rank, 1)?),
        None => None,
    };
    let Some((n, c, spatial)) = data(call, &window)? else { return one(dtype, None) };
    let Some([c_weight, out_group, ..]) = call.shape(1) else { return one(dtype, None) };
    if *c_weight != c || c % group != 0 {
        return Err(call.mismatch(format!("{group} groups, {c} and {c_weight} channels")));
    }
    let mut shape = vec![n, out_group.checked_mul(group).ok_or_else(|| call.overflow())?];
    let same = call.text("auto_pad", "NOTSET").starts_with("SAME");
    for (i, extent) in spatial.iter().enumerate() {
        let stride = i128::from(window.strides[i]);
        let grown = if let Some(stated) = &stated {
            i128::from(stated[i])
        } else if same {
            i128::from(*extent) * stride
        } else {
            let padding = i128::from(window.begins[i]) + i128::from(window.ends[i]);
            (i128::from(*extent) - 1) * stride + i128::from(extra[i]) + window.reach(i) - padding
        };
        if grown < 0 {
            return Err(call.invalid("the pads remove more than there is"));
        }
        shape.push(u64::try_from(grown).map_err(|_| call.overflow())?);
    }
    one(dtype, Some(shape))
}

/// `MaxPool`, `AveragePool`, `LpPool` (with indices, where asked for).
pub(crate) fn pool(call: &Call<'_>) -> Inferred {
    let mut shape = None;
    if let Some(window) = window(call, None)?
        && let Some((n, c, spatial)) = data(call, &window)?
    {
        let mut extents = vec![n, c];
        extents.extend(window.positions(call, spatial)?);
        shape = Some(extents);
    }
    Ok(vec![Facts::tensor(call.dtype(0), shape.clone()), Facts::tensor(Some(DType::I64), shape)])
}

/// `MaxUnpool`: the extents asked for, or those that the pool must have seen.
pub(crate) fn unpool(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0);
    if call.has(2) {
        return one(dtype, call.sizes(2)?);
    }
    let Some(window) = window(call, None)? else { return one(dtype, None) };
    let Some((n, c, spatial)) = data(call, &window)? else { return one(dtype, None) };
    let mut shape = vec![n, c];
    for (i, extent) in spatial.iter().enumerate() {
        let padding = i128::from(window.begins[i]) + i128::from(window.ends[i]);
        let grown = (i128::from(*extent) - 1) * i128::from(window.strides[i]) + window.reach(i);
        shape.push(u64::try_from(grown - padding).map_err(|_| {
            call.invalid("the pads remove more than there is, or the data is empty")
        })?);
    }
    one(dtype, Some(shape))
}

/// `GlobalAveragePool` and its kin: spatial axes become 1.
pub(crate) fn global_pool(call: &Call<'_>) -> Inferred {
    let shape = call.shape(0).map(|shape| {
        shape.iter().enumerate().map(|(axis, extent)| if axis < 2 { *extent } else { 1 }).collect()
    });
    one(call.dtype(0), shape)
}

#[cfg(test)]
mod tests {
    use super::{conv, conv_transpose, pool};
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn windows_slide_as_the_standard_says() {
        let (x, w) = (tensor(&[1, 3, 224, 224]), tensor(&[64, 3, 7, 7]));
        let op = node("Conv", &[("strides", &[2, 2]), ("pads", &[3, 3, 3, 3])]);
        let shape = conv(&call(&op, &[&x, &w])).unwrap()[0].shape.clone();
        assert_eq!(shape, Some(vec![1, 64, 112, 112]));
        // 5 wide, kernel 2, stride 2: floor 2, ceil 3.
        let x = tensor(&[1, 1, 5, 5]);
        for (mode, extent) in [(0, 2), (1, 3)] {
            let attributes: [(&str, &[i64]); 3] =
                [("kernel_shape", &[2, 2]), ("strides", &[2, 2]), ("ceil_mode", &[mode])];
            let facts = pool(&call(&node("MaxPool", &attributes), &[&x])).unwrap();
            assert_eq!(facts[0].shape, Some(vec![1, 1, extent, extent]));
        }
        // (4 - 1) * 2 + (3 - 1) + 1 - 2 + 1 = 8
        let (x, w) = (tensor(&[1, 8, 4, 4]), tensor(&[8, 5, 3, 3]));
        let attributes: [(&str, &[i64]); 3] =
            [("strides", &[2, 2]), ("pads", &[1, 1, 1, 1]), ("output_padding", &[1, 1])];
        let op = node("ConvTranspose", &attributes);
        let facts = conv_transpose(&call(&op, &[&x, &w])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![1, 5, 8, 8]));
    }

    #[test]
    fn impossible_windows_are_refused() {
        let (x, w) = (tensor(&[1, 3, 8, 8]), tensor(&[4, 3, 3, 3]));
        let cases: [(&str, &[i64]); 6] = [
            ("strides", &[0, 0]),
            ("dilations", &[1, 0]),
            ("pads", &[-1, 0, 0, 0]),
            ("kernel_shape", &[0, 3]),
            ("group", &[0]),
            ("dilations", &[i64::MAX, i64::MAX]),
        ];
        for attribute in cases {
            let error = conv(&call(&node("Conv", &[attribute]), &[&x, &w])).unwrap_err();
            assert_eq!(error.code, "invalid-attribute", "{attribute:?}");
        }
    }
}
