//! Attention of ONNX Runtime where tokens are packed, caches paged, blocks left out or steps
//! recurrent: what servers of language models run.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::attention::{
    Heads, joined_present, outputs, per_head, projecting, projecting_from, with_past,
};
use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::learned::as_input;

type Inferred = Result<Vec<Facts>, Diagnostic>;
type Extents = Result<Option<Heads>, Diagnostic>;

/// `QAttention`: as `Attention`, with the past at 8.
pub(crate) fn quantized(call: &Call<'_>) -> Extents {
    projecting_from(call, 8)
}

/// `QAttention`: the type of the bias.
pub(crate) fn infer_quantized(call: &Call<'_>) -> Inferred {
    let mut facts = joined_present(call, quantized(call)?)?;
    facts.iter_mut().for_each(|facts| facts.dtype = call.dtype(2));
    Ok(facts)
}

/// `DecoderMaskedSelfAttention`.
pub(crate) fn infer_masked_self(call: &Call<'_>) -> Inferred {
    joined_present(call, projecting(call)?)
}

/// `DecoderMaskedMultiHeadAttention`: as `MultiHeadAttention` for one new position, with the past
/// at 5.
pub(crate) fn masked(call: &Call<'_>) -> Extents {
    let heads = call.positive("num_heads", 0)?;
    let Some([b, s, q]) = call.extents(0) else { return Ok(None) };
    let q = if call.has(1) { q } else { q / 3 };
    let width = per_head(call, q, heads)?;
    let past = call.extents::<4>(5).map(|[_, _, past, _]| past);
    // Keys on four axes are those of an encoder, computed before.
    let (fresh, keys) = match call.shape(1) {
        Some([_, _, t, _]) => (*t, *t),
        _ => (s, with_past(call, s, past)?),
    };
    let value_width = match call.shape(2) {
        Some([_, _, v]) => per_head(call, *v, heads)?,
        Some([_, _, _, d]) => *d,
        _ => width,
    };
    Ok(Some(Heads {
        batch: b,
        query_heads: heads,
        key_heads: heads,
        queries: s,
        fresh_keys: fresh,
        keys,
        width,
        value_width,
        projected_from: 0,
        split_output: false,
    }))
}

/// `DecoderMaskedMultiHeadAttention`.
pub(crate) fn infer_masked(call: &Call<'_>) -> Inferred {
    outputs(call, masked(call)?)
}

/// Tokens of several sequences one behind the other, each seeing at most `keys`.
fn packed(tokens: u64, keys: u64, [heads, key_heads]: [u64; 2], [width, value]: [u64; 2]) -> Heads {
    Heads {
        batch: 1,
        query_heads: heads,
        key_heads,
        queries: tokens,
        fresh_keys: tokens,
        keys,
        width,
        value_width: value,
        projected_from: 0,
        split_output: false,
    }
}

/// Output of packed tokens, without the axis of the batch.
fn infer_packed(call: &Call<'_>, heads: Option<&Heads>) -> Inferred {
    let features = match heads {
        Some(heads) => {
            Some(heads.query_heads.checked_mul(heads.value_width).ok_or_else(|| call.overflow())?)
        }
        None => None,
    };
    one(call.dtype(0), heads.zip(features).map(|(heads, features)| vec![heads.queries, features]))
}

/// `PackedAttention`: tokens `[t, features]`, their offsets `[batch, longest]` at 3.
pub(crate) fn packed_projecting(call: &Call<'_>) -> Extents {
    let n = call.positive("num_heads", 0)?;
    let (Some([tokens, input]), Some([_, width])) = (call.extents(0), call.extents(1)) else {
        return Ok(None);
    };
    let Some([_, longest]) = call.extents(3) else { return Ok(None) };
    let (q, v) = match call.ints("qkv_hidden_sizes")? {
        Some(&[q, _, v]) => (
            u64::try_from(q).map_err(|_| call.invalid("a size below 0"))?,
            u64::try_from(v).map_err(|_| call.invalid("a size below 0"))?,
        ),
        _ => (width / 3, width / 3),
    };
    let widths = [per_head(call, q, n)?, per_head(call, v, n)?];
    Ok(Some(Heads { projected_from: input, ..packed(tokens, longest, [n, n], widths) }))
}

/// `PackedAttention`.
pub(crate) fn infer_packed_projecting(call: &Call<'_>) -> Inferred {
    infer_packed(call, packed_projecting(call)?.as_ref())
}

/// `PackedMultiHeadAttention`: apart, or with an axis for query, key and value; offsets at 4.
pub(crate) fn packed_multi_head(call: &Call<'_>) -> Extents {
    let n = call.positive("num_heads", 0)?;
    let Some([_, longest]) = call.extents(4) else { return Ok(None) };
    let (tokens, width) = match call.shape(0) {
        Some(&[tokens, features]) => (tokens, per_head(call, features, n)?),
        Some(&[tokens, _, _, width]) => (tokens, width),
        Some(_) => return Err(call.mismatch("queries need two or four axes")),
        None => return Ok(None),
    };
    let value = match call.shape(2) {
        Some(&[_, features]) => per_head(call, features, n)?,
        _ => width,
    };
    Ok(Some(packed(tokens, longest, [n, n], [width, value])))
}

/// `PackedMultiHeadAttention`.
pub(crate) fn infer_packed_multi_head(call: &Call<'_>) -> Inferred {
    infer_packed(call, packed_multi_head(call)?.as_ref())
}

/// Features per head of queries `[..., features]` that may have keys and values behind them.
fn head_width(call: &Call<'_>, heads: u64, key_heads: u64) -> Result<Option<u64>, Diagnostic> {
    let Some((features, _)) = call.shape(0).and_then(|shape| shape.split_last()) else {
        return Ok(None);
    };
    let all = if call.has(1) {
        heads
    } else {
        let doubled = key_heads.checked_mul(2).and_then(|n| n.checked_add(heads));
        doubled.ok_or_else(|| call.overflow())?
    };
    per_head(call, *features, all).map(Some)
}

fn both_heads(call: &Call<'_>) -> Result<[u64; 2], Diagnostic> {
    Ok([call.positive("num_heads", 0)?, call.positive("kv_num_heads", 0)?])
}

/// `PagedAttention`: each token may see all pages that the table `[batch, pages]` at 7 has room
/// for.
pub(crate) fn paged(call: &Call<'_>) -> Extents {
    let heads = both_heads(call)?;
    let Some(width) = head_width(call, heads[0], heads[1])? else { return Ok(None) };
    let (Some(&[tokens, _]), Some([_, page, ..]), Some([_, pages])) =
        (call.shape(0), call.shape(3), call.extents(7))
    else {
        return Ok(None);
    };
    let keys = page.checked_mul(pages).ok_or_else(|| call.overflow())?;
    let value = match call.int("v_head_size", 0)? {
        0 => width,
        _ => call.positive("v_head_size", 0)?,
    };
    Ok(Some(packed(tokens, keys, heads, [width, value])))
}

/// `PagedAttention`: the caches are written in place.
pub(crate) fn infer_paged(call: &Call<'_>) -> Inferred {
    let mut facts = infer_packed(call, paged(call)?.as_ref())?;
    facts.extend([as_input(call, 3), as_input(call, 4)]);
    Ok(facts)
}

/// `SparsePagedAttention`: each token sees the entries selected for it, and its window.
pub(crate) fn sparse_paged(call: &Call<'_>) -> Extents {
    let heads = both_heads(call)?;
    let Some(width) = head_width(call, heads[0], heads[1])? else { return Ok(None) };
    let (Some(&[tokens, _]), Some([_, selected])) = (call.shape(0), call.extents(9)) else {
        return Ok(None);
    };
    let keys = with_window(call, selected)?;
    Ok(Some(packed(tokens, keys, heads, [width, width])))
}

/// `SparsePagedAttention`.
pub(crate) fn infer_sparse_paged(call: &Call<'_>) -> Inferred {
    let mut facts = infer_packed(call, sparse_paged(call)?.as_ref())?;
    facts.extend([as_input(call, 3), as_input(call, 4)]);
    Ok(facts)
}

fn with_window(call: &Call<'_>, selected: u64) -> Result<u64, Diagnostic> {
    let window = u64::try_from(call.int("local_window_size", -1)?).unwrap_or(0);
    selected.checked_add(window).ok_or_else(|| call.overflow())
}

/// `[batch, sequence, features]` queries that see `keys` positions of a cache.
fn cached(call: &Call<'_>, keys: u64) -> Extents {
    let heads = both_heads(call)?;
    let Some(width) = head_width(call, heads[0], heads[1])? else { return Ok(None) };
    let Some([batch, queries, _]) = call.extents(0) else { return Ok(None) };
    let one = packed(queries, keys, heads, [width, width]);
    Ok(Some(Heads { batch, ..one }))
}

/// `SparseAttention`: of the blocks of the cache those that the layout `[layouts, entries]` at 6
/// names, over rows `[layouts, rows + 1]` at 5.
pub(crate) fn sparse(call: &Call<'_>) -> Extents {
    let block = call.positive("sparse_block_size", 0)?;
    let Some([_, _, whole, _]) = call.extents(3) else { return Ok(None) };
    let keys = match (call.extents(5), call.extents(6)) {
        (Some([_, rows]), Some([_, entries])) if rows > 1 => {
            let visible = block.checked_mul(entries).ok_or_else(|| call.overflow())?;
            visible.div_ceil(rows - 1).min(whole)
        }
        _ => whole,
    };
    cached(call, keys)
}

/// `DynamicSparseAttention`: the positions selected for each query, and its window.
pub(crate) fn dynamic_sparse(call: &Call<'_>) -> Extents {
    let Some([_, selected]) = call.extents(7) else { return Ok(None) };
    cached(call, with_window(call, selected)?)
}

/// Output of the queries; caches `past` as they came.
fn infer_cached(call: &Call<'_>, heads: Option<&Heads>) -> Inferred {
    let shape = match heads {
        Some(h) => {
            let features = h.query_heads.checked_mul(h.value_width);
            Some(vec![h.batch, h.queries, features.ok_or_else(|| call.overflow())?])
        }
        None => None,
    };
    Ok(vec![Facts::tensor(call.dtype(0), shape), as_input(call, 3), as_input(call, 4)])
}

/// `SparseAttention`.
pub(crate) fn infer_sparse(call: &Call<'_>) -> Inferred {
    infer_cached(call, sparse(call)?.as_ref())
}

/// `DynamicSparseAttention`.
pub(crate) fn infer_dynamic_sparse(call: &Call<'_>) -> Inferred {
    infer_cached(call, dynamic_sparse(call)?.as_ref())
}

/// `LongformerAttention`: each position sees as many before and behind it as the window says.
pub(crate) fn longformer(call: &Call<'_>) -> Extents {
    windowed(call, 1)
}

fn windowed(call: &Call<'_>, weight: usize) -> Extents {
    let n = call.positive("num_heads", 0)?;
    let window = call.positive("window", 0)?.saturating_mul(2);
    let (Some([batch, queries, input]), Some([_, width])) = (call.extents(0), call.extents(weight))
    else {
        return Ok(None);
    };
    let width = per_head(call, width / 3, n)?;
    let heads = packed(queries, window.min(queries), [n, n], [width, width]);
    Ok(Some(Heads { batch, projected_from: input, ..heads }))
}

/// `QOrderedLongformerAttention`: weight at 2.
pub(crate) fn ordered_longformer(call: &Call<'_>) -> Extents {
    windowed(call, 2)
}

/// `QOrderedAttention`: a weight each for queries, keys and values, from 5 on.
pub(crate) fn ordered(call: &Call<'_>) -> Extents {
    let n = call.positive("num_heads", 0)?;
    let (Some([batch, queries, input]), Some([_, q]), Some([_, v])) =
        (call.extents(0), call.extents(5), call.extents(7))
    else {
        return Ok(None);
    };
    let past = call.extents::<5>(18).map(|[_, _, _, past, _]| past);
    let keys = with_past(call, queries, past)?;
    let heads = packed(queries, keys, [n, n], [per_head(call, q, n)?, per_head(call, v, n)?]);
    Ok(Some(Heads { batch, projected_from: input, ..heads }))
}

/// `QOrderedAttention`.
pub(crate) fn infer_ordered(call: &Call<'_>) -> Inferred {
    Ok(infer_cached(call, ordered(call)?.as_ref())?.into_iter().take(1).collect())
}

/// `RemovePadding`: at most all tokens.
pub(crate) fn remove_padding(call: &Call<'_>) -> Inferred {
    let Some([batch, length, features]) = call.extents(0) else {
        return Ok(vec![Facts::tensor(call.dtype(0), None)]);
    };
    let tokens = batch.checked_mul(length).ok_or_else(|| call.overflow())?;
    let ints = |shape: Vec<u64>| Facts::tensor(Some(DType::I32), Some(shape));
    Ok(vec![
        Facts::at_most(call.dtype(0), Some(vec![tokens, features])),
        ints(vec![batch, length]),
        ints(vec![batch.saturating_add(1)]),
        ints(vec![1]),
    ])
}

/// `RestorePadding`: the extents of the offsets.
pub(crate) fn restore_padding(call: &Call<'_>) -> Inferred {
    let shape = call.extents::<2>(1).zip(call.extents::<2>(0));
    one(call.dtype(0), shape.map(|([batch, length], [_, features])| vec![batch, length, features]))
}

/// `RelativePositionBias`: a number per head, query and key.
pub(crate) fn position_bias(call: &Call<'_>) -> Inferred {
    let lengths = call.count(1)?.zip(call.count(2)?);
    let shape = call.extents::<2>(0).zip(lengths);
    one(call.dtype(0), shape.map(|([_, heads], (queries, keys))| vec![1, heads, queries, keys]))
}

/// `GatedRelativePositionBias`: queries `[batch, sequence, features]`, or packed with offsets at 6.
pub(crate) fn gated_position_bias(call: &Call<'_>) -> Inferred {
    let heads = call.positive("num_heads", 0)?;
    let batch = match (call.shape(0), call.extents(6)) {
        (Some(&[batch, _, _]), _) | (_, Some([batch, _])) => Some(batch),
        _ => None,
    };
    let length = call.extents::<4>(2).map(|[_, _, length, _]| length);
    one(call.dtype(0), batch.zip(length).map(|(batch, length)| vec![batch, heads, length, length]))
}

/// `GemmaRotaryEmbedding`: rotated queries and keys.
pub(crate) fn gemma_rotary(call: &Call<'_>) -> Inferred {
    Ok(vec![as_input(call, 1), as_input(call, 3)])
}

#[cfg(test)]
mod tests {
    use super::{infer_masked, infer_packed_multi_head, infer_paged, paged, sparse};
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn tokens_of_a_paged_cache_see_its_pages() {
        let attributes: [(&str, &[i64]); 2] = [("num_heads", &[32]), ("kv_num_heads", &[8])];
        let op = node("PagedAttention", &attributes);
        let (packed, cache) = (tensor(&[13, 48 * 128]), tensor(&[64, 16, 8, 128]));
        let (sequences, table) = (tensor(&[4]), tensor(&[3, 20]));
        let mut call = call(&op, &[&packed, &cache, &cache, &cache, &cache]);
        call.inputs[1] = None;
        call.inputs[2] = None;
        call.inputs.extend([Some(&sequences), Some(&sequences), Some(&table)]);
        let heads = paged(&call).unwrap().unwrap();
        assert_eq!((heads.width, heads.keys, heads.queries), (128, 320, 13));
        let facts = infer_paged(&call).unwrap();
        assert_eq!(facts[0].shape, Some(vec![13, 4096]));
        assert_eq!(facts[1].shape, Some(vec![64, 16, 8, 128]));
    }

    #[test]
    fn blocks_left_out_are_not_counted() {
        let attributes: [(&str, &[i64]); 3] =
            [("num_heads", &[8]), ("kv_num_heads", &[2]), ("sparse_block_size", &[64])];
        let op = node("SparseAttention", &attributes);
        let (q, k, cache) =
            (tensor(&[1, 512, 512]), tensor(&[1, 512, 128]), tensor(&[1, 2, 512, 64]));
        // Of 8 rows of 8 blocks 12 are there: 1.5 blocks of 64 keys per row.
        let (rows, columns) = (tensor(&[1, 9]), tensor(&[1, 12]));
        let call = call(&op, &[&q, &k, &k, &cache, &cache, &rows, &columns]);
        assert_eq!(sparse(&call).unwrap().unwrap().keys, 96);
    }

    #[test]
    fn packed_tokens_have_no_batch() {
        let op = node("PackedMultiHeadAttention", &[("num_heads", &[4])]);
        let (q, offsets) = (tensor(&[11, 64]), tensor(&[2, 8]));
        let facts = infer_packed_multi_head(&call(&op, &[&q, &q, &q, &q, &offsets])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![11, 64]));
        let attributes: [(&str, &[i64]); 2] =
            [("num_heads", &[4]), ("past_present_share_buffer", &[1])];
        let op = node("DecoderMaskedMultiHeadAttention", &attributes);
        let (q, past) = (tensor(&[2, 1, 64]), tensor(&[2, 4, 100, 16]));
        let facts = infer_masked(&call(&op, &[&q, &q, &q, &offsets, &q, &past, &past])).unwrap();
        assert_eq!(facts[1].shape, Some(vec![2, 4, 100, 16]));
    }
}
