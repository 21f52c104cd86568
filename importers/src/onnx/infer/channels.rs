//! Operators of ONNX Runtime with channels behind the spatial axes, or in blocks.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::{layout, resize, window};
use crate::onnx::rules::rule::Infer;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// Channels per block of `com.microsoft.nchwc` where vectors have 512 bits. With 256 there are 8; a
/// file says so only by the weights behind, which [`blocked_conv`] goes by.
const BLOCK: u64 = 16;

/// The outputs of a rule for channels first, of data with channels last.
fn last(call: &Call<'_>, rule: Infer) -> Inferred {
    let Some(data) = call.input(0) else { return rule(call) };
    let mut first = data.clone();
    if let Some(shape) = first.shape.as_mut().filter(|shape| shape.len() > 2) {
        shape[1..].rotate_right(1);
    }
    let mut inputs = call.inputs.clone();
    inputs[0] = Some(&first);
    let mut outputs = rule(&Call { node: call.node, inputs, opset: call.opset })?;
    for facts in &mut outputs {
        if let Some(shape) = facts.shape.as_mut().filter(|shape| shape.len() > 2) {
            shape[1..].rotate_left(1);
        }
    }
    Ok(outputs)
}

/// By attribute `channels_last`.
fn either(call: &Call<'_>, rule: Infer) -> Inferred {
    if call.int("channels_last", 0)? == 0 { rule(call) } else { last(call, rule) }
}

/// `QLinearConv` of either layout.
pub(crate) fn q_linear_conv(call: &Call<'_>) -> Inferred {
    either(call, window::q_linear_conv)
}

/// `QLinearAveragePool` of either layout.
pub(crate) fn q_linear_pool(call: &Call<'_>) -> Inferred {
    either(call, window::pool)
}

/// `QLinearGlobalAveragePool` of either layout.
pub(crate) fn q_linear_global_pool(call: &Call<'_>) -> Inferred {
    either(call, window::global_pool)
}

/// `NhwcConv`, `NhwcFusedConv`.
pub(crate) fn conv(call: &Call<'_>) -> Inferred {
    last(call, window::conv)
}

/// `com.ms.internal.nhwc::QLinearConv`.
pub(crate) fn nhwc_q_linear_conv(call: &Call<'_>) -> Inferred {
    last(call, window::q_linear_conv)
}

/// `com.ms.internal.nhwc::ConvTranspose`.
pub(crate) fn conv_transpose(call: &Call<'_>) -> Inferred {
    last(call, window::conv_transpose)
}

/// `com.ms.internal.nhwc::QLinearConvTranspose`: weight at 3.
pub(crate) fn q_linear_conv_transpose(call: &Call<'_>) -> Inferred {
    let mut facts = last(&call.with(&[0, 3]), window::conv_transpose)?;
    if let Some(facts) = facts.first_mut() {
        facts.dtype = call.dtype(7);
    }
    Ok(facts)
}

/// Pools with channels last.
pub(crate) fn pool(call: &Call<'_>) -> Inferred {
    last(call, window::pool)
}

/// Pools over everything, with channels last.
pub(crate) fn global_pool(call: &Call<'_>) -> Inferred {
    last(call, window::global_pool)
}

/// `com.ms.internal.nhwc::GridSample`.
pub(crate) fn grid_sample(call: &Call<'_>) -> Inferred {
    last(call, resize::grid_sample)
}

/// `com.ms.internal.nhwc::MaxUnpool`; extents that are asked for come with channels last.
pub(crate) fn unpool(call: &Call<'_>) -> Inferred {
    if call.has(2) { window::unpool(call) } else { last(call, window::unpool) }
}

/// `com.ms.internal.nhwc::DepthToSpace`.
pub(crate) fn depth_to_space(call: &Call<'_>) -> Inferred {
    last(call, layout::depth_to_space)
}

/// `com.ms.internal.nhwc::SpaceToDepth`.
pub(crate) fn space_to_depth(call: &Call<'_>) -> Inferred {
    last(call, layout::space_to_depth)
}

/// `com.microsoft.nchwc::Conv`: data in blocks has the channels of the padded weight.
pub(crate) fn blocked_conv(call: &Call<'_>) -> Inferred {
    let (Some(data), Some([_, per_group, ..])) = (call.input(0), call.shape(1)) else {
        return window::conv(call);
    };
    let group = call.positive("group", 1)?;
    let mut fitting = data.clone();
    if let (Some([_, channels, ..]), Some(of_weight)) =
        (fitting.shape.as_deref_mut(), per_group.checked_mul(group))
    {
        *channels = of_weight;
    }
    let mut inputs = call.inputs.clone();
    inputs[0] = Some(&fitting);
    window::conv(&Call { node: call.node, inputs, opset: call.opset })
}

/// `com.microsoft.nchwc::ReorderInput`: channels filled up to whole blocks.
pub(crate) fn into_blocks(call: &Call<'_>) -> Inferred {
    let fill = |call: &Call<'_>| {
        let mut shape = call.shape(0).map(<[u64]>::to_vec);
        if let Some([_, channels, ..]) = shape.as_deref_mut() {
            *channels = channels.checked_next_multiple_of(BLOCK).ok_or_else(|| call.overflow())?;
        }
        one(call.dtype(0), shape)
    };
    let mut facts = either(call, fill)?;
    // Blocks come out with channels first whatever goes in.
    if call.int("channels_last", 0)? != 0
        && let Some(shape) = facts.first_mut().and_then(|facts| facts.shape.as_mut())
        && shape.len() > 2
    {
        shape[1..].rotate_right(1);
    }
    Ok(facts)
}

/// `com.microsoft.nchwc::ReorderOutput`: the channels that attribute `channels` names.
pub(crate) fn out_of_blocks(call: &Call<'_>) -> Inferred {
    let channels = call.positive("channels", 0)?;
    let mut shape = call.shape(0).map(<[u64]>::to_vec);
    if let Some([_, extent, ..]) = shape.as_deref_mut() {
        *extent = channels;
    }
    if let Some(shape) = shape.as_mut().filter(|shape| shape.len() > 2)
        && call.int("channels_last", 0)? != 0
    {
        shape[1..].rotate_left(1);
    }
    one(call.dtype(0), shape)
}

/// `com.microsoft.nchwc::Upsample`: whole factors by attribute.
pub(crate) fn upsample(call: &Call<'_>) -> Inferred {
    let (Some(shape), Some(scales)) = (call.shape(0), call.ints("scales")?) else {
        return one(call.dtype(0), None);
    };
    if scales.len() != shape.len() {
        return Err(call.invalid(format!("{} scales for {} axes", scales.len(), shape.len())));
    }
    let grown = shape.iter().zip(scales).map(|(extent, scale)| {
        let scale = u64::try_from(*scale).map_err(|_| call.invalid(format!("scale {scale}")))?;
        extent.checked_mul(scale).ok_or_else(|| call.overflow())
    });
    one(call.dtype(0), Some(grown.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::{conv, into_blocks, out_of_blocks};
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn channels_may_stand_last_or_in_blocks() {
        let op = node("NhwcConv", &[("strides", &[2, 2]), ("pads", &[3, 3, 3, 3])]);
        let facts = conv(&call(&op, &[&tensor(&[1, 224, 224, 3]), &tensor(&[64, 3, 7, 7])]));
        assert_eq!(facts.unwrap()[0].shape, Some(vec![1, 112, 112, 64]));
        let facts = into_blocks(&call(&node("ReorderInput", &[]), &[&tensor(&[1, 12, 7, 7])]));
        assert_eq!(facts.unwrap()[0].shape, Some(vec![1, 16, 7, 7]));
        let op = node("ReorderOutput", &[("channels", &[12]), ("channels_last", &[1])]);
        let facts = out_of_blocks(&call(&op, &[&tensor(&[1, 16, 7, 7])]));
        assert_eq!(facts.unwrap()[0].shape, Some(vec![1, 7, 7, 12]));
    }
}
