//! Other operators of `com.microsoft`: norms, biases, losses of neurons, positions.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::contraction::gemm_extents;
use crate::onnx::infer::learned::as_input;
use crate::onnx::infer::{Facts, elements};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// The features in halves, one gating the other: `BiasSplitGelu`.
pub(crate) fn half(call: &Call<'_>) -> Inferred {
    let mut shape = call.shape(0).map(<[u64]>::to_vec);
    if let Some(last) = shape.as_mut().and_then(|shape| shape.last_mut()) {
        if !last.is_multiple_of(2) {
            return Err(call.mismatch(format!("{last} features in two halves")));
        }
        *last /= 2;
    }
    one(call.dtype(0), shape)
}

/// `SkipGroupNorm`: the result, and the sum that was normalised; `EngramGate`: the gated values, and the
/// same normalised.
pub(crate) fn with_sum(call: &Call<'_>) -> Inferred {
    Ok(vec![as_input(call, 0), as_input(call, 0)])
}

/// `BiasDropout`; a bit mask packs 32 flags in a word.
pub(crate) fn dropout(call: &Call<'_>) -> Inferred {
    let data = as_input(call, 0);
    let mask = if call.node.op_type.starts_with("Bitmask") {
        let words = data.elements().map(|n| vec![n.div_ceil(32)]);
        Facts::tensor(Some(DType::U32), words)
    } else {
        Facts::tensor(Some(DType::Bool), data.shape.clone())
    };
    Ok(vec![data, mask])
}

/// `NGramRepeatBlock`: the scores, which come second.
pub(crate) fn second(call: &Call<'_>) -> Inferred {
    Ok(vec![as_input(call, 1)])
}

/// `ExpandDims`: an axis of 1 where the second input says.
pub(crate) fn expand_dims(call: &Call<'_>) -> Inferred {
    let axis = call.ints_of(1).and_then(<[i64]>::first);
    let (Some(shape), Some(axis)) = (call.shape(0), axis) else { return one(call.dtype(0), None) };
    let position = call.axis(*axis, shape.len() + 1)?;
    let mut shape = shape.to_vec();
    shape.insert(position, 1);
    one(call.dtype(0), Some(shape))
}

/// `CropAndResize`: a crop per region, of the extents in the last input.
pub(crate) fn crop_and_resize(call: &Call<'_>) -> Inferred {
    let shape = match (call.shape(0), call.shape(1), call.sizes(3)?) {
        (Some([_, channels, ..]), Some([regions, ..]), Some(size)) => {
            Some([&[*regions, *channels], size.as_slice()].concat())
        }
        _ => None,
    };
    one(call.dtype(0), shape)
}

/// `CDist`: every row of one against every row of the other.
pub(crate) fn distances(call: &Call<'_>) -> Inferred {
    let rows = call.extents::<2>(0).zip(call.extents::<2>(1));
    if let Some(([_, left], [_, right])) = rows
        && left != right
    {
        return Err(call.mismatch(format!("rows of {left} and {right} features")));
    }
    one(call.dtype(0), rows.map(|([m, _], [k, _])| vec![m, k]))
}

/// `IsAllFinite`: one flag.
pub(crate) fn flag(_: &Call<'_>) -> Inferred {
    one(Some(DType::Bool), Some(Vec::new()))
}

/// `MurmurHash3`.
pub(crate) fn hash(call: &Call<'_>) -> Inferred {
    let dtype = if call.int("positive", 1)? == 1 { DType::U32 } else { DType::I32 };
    one(Some(dtype), call.shape(0).map(<[u64]>::to_vec))
}

/// `NGramHashMapping` and its packed form: a hash per token, n-gram length and head; the last ids.
pub(crate) fn ngram_hashes(call: &Call<'_>) -> Inferred {
    let longest = call.positive("max_ngram_size", 0)?;
    let heads = longest.saturating_sub(1).checked_mul(call.positive("n_head_per_ngram", 0)?);
    let heads = heads.ok_or_else(|| call.overflow())?;
    let hashes = call.shape(0).map(|shape| [shape, &[heads]].concat());
    let batch = match (call.shape(0), call.extents(3), call.node.op_type.as_str()) {
        (Some(&[batch, _]), ..) => Some(batch),
        (_, Some([ends]), "VarlenNGramHashMapping") => ends.checked_sub(1),
        _ => None,
    };
    let present = Facts::tensor(call.dtype(0), batch.map(|batch| vec![batch, longest - 1]));
    Ok(vec![Facts::tensor(call.dtype(0), hashes), present])
}

/// `HyperConnectionPreMix`: streams side by side, or on an axis of their own, summed.
pub(crate) fn sum_streams(call: &Call<'_>) -> Inferred {
    let branches = call.int("num_branches", 0)?;
    let shape = match (call.shape(0), branches) {
        (Some([outer @ .., _, features]), 0) => Some([outer, &[*features]].concat()),
        (Some([outer @ .., features]), 1..) => {
            let branches = call.positive("num_branches", 0)?;
            if features % branches != 0 {
                return Err(call.mismatch(format!("{branches} streams in {features} features")));
            }
            Some([outer, &[features / branches]].concat())
        }
        (Some(_), _) => return Err(call.mismatch("the streams have no axis")),
        (None, _) => None,
    };
    one(call.dtype(0), shape)
}

/// `WordConvEmbedding`: a vector per word.
pub(crate) fn words(call: &Call<'_>) -> Inferred {
    let shape = match (call.shape(0), call.shape(1)) {
        (Some([outer @ .., _]), Some([features, ..])) => Some([outer, &[*features]].concat()),
        _ => None,
    };
    one(call.dtype(1), shape)
}

/// `DynamicTimeWarping`: a path from corner to corner.
pub(crate) fn warp(call: &Call<'_>) -> Inferred {
    let shape = match call.shape(0) {
        Some([.., m, n]) => {
            let longest = m.checked_add(*n).and_then(|n| n.checked_sub(1));
            Some(vec![2, longest.ok_or_else(|| call.overflow())?])
        }
        _ => None,
    };
    Ok(vec![Facts::at_most(Some(DType::I32), shape)])
}

/// `SparseToDenseMatMul`: the extents of `Gemm`, more axes in front of the right factor.
pub(crate) fn sparse_product(call: &Call<'_>) -> Inferred {
    one(call.dtype(1), gemm_extents(call)?.map(|[m, _, n]| vec![m, n]))
}

/// `com.microsoft::Unique`: values, positions and counts.
pub(crate) fn unique(call: &Call<'_>) -> Inferred {
    let n = call.shape(0).map(|shape| elements(shape).ok_or_else(|| call.overflow()));
    let shape = n.transpose()?.map(|n| vec![n]);
    let ints = Some(DType::I64);
    Ok(vec![
        Facts::at_most(call.dtype(0), shape.clone()),
        Facts::tensor(ints, shape.clone()),
        Facts::at_most(ints, shape),
    ])
}
