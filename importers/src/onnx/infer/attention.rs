//! Attention as one operator: `Attention` of opset 23 and those of `com.microsoft`.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// Extents of an attention, whatever its operator calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Sequences at once.
    pub(crate) batch: u64,
    /// Heads of the queries.
    pub(crate) query_heads: u64,
    /// Heads of keys and values (fewer where queries share them).
    pub(crate) key_heads: u64,
    /// Query positions.
    pub(crate) queries: u64,
    /// Key positions that come in.
    pub(crate) fresh_keys: u64,
    /// Key positions, past ones included.
    pub(crate) keys: u64,
    /// Features of a query and of a key, per head.
    pub(crate) width: u64,
    /// Features of a value, per head.
    pub(crate) value_width: u64,
    /// Features that enter a projection to queries, keys and values; 0 = there is none.
    pub(crate) projected_from: u64,
    /// Whether the output keeps heads on an axis of their own.
    pub(crate) split_output: bool,
}

/// How an attention operator finds its extents.
pub(crate) type Reader = fn(&Call<'_>) -> Result<Option<Heads>, Diagnostic>;

/// `width` features in `heads` equal parts.
pub(super) fn per_head(call: &Call<'_>, width: u64, heads: u64) -> Result<u64, Diagnostic> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(call.invalid(format!("{heads} heads do not divide {width} features")));
    }
    Ok(width / heads)
}

/// Positions of the cache behind this step. A buffer that past and present share is as long before.
pub(super) fn with_past(call: &Call<'_>, fresh: u64, past: Option<u64>) -> Result<u64, Diagnostic> {
    match past {
        Some(past) if call.int("past_present_share_buffer", 0)? != 0 => Ok(past),
        past => fresh.checked_add(past.unwrap_or(0)).ok_or_else(|| call.overflow()),
    }
}

/// `Attention` of opset 23: four axes, or three with the number of heads as attributes.
pub(crate) fn standard(call: &Call<'_>) -> Result<Option<Heads>, Diagnostic> {
    let past = call.extents::<4>(4).map(|[_, _, past, _]| past);
    let heads = match (call.shape(0), call.shape(1), call.shape(2)) {
        (Some(&[b, h, s, d]), Some(&[_, h_k, t, _]), Some(&[_, _, _, d_v])) => Heads {
            batch: b,
            query_heads: h,
            key_heads: h_k,
            queries: s,
            fresh_keys: t,
            keys: with_past(call, t, past)?,
            width: d,
            value_width: d_v,
            projected_from: 0,
            split_output: true,
        },
        (Some(&[b, s, q]), Some(&[_, t, _]), Some(&[_, _, v])) => {
            let query_heads = call.positive("q_num_heads", 0)?;
            let key_heads = call.positive("kv_num_heads", 0)?;
            Heads {
                batch: b,
                query_heads,
                key_heads,
                queries: s,
                fresh_keys: t,
                keys: with_past(call, t, past)?,
                width: per_head(call, q, query_heads)?,
                value_width: per_head(call, v, key_heads)?,
                projected_from: 0,
                split_output: false,
            }
        }
        (None, ..) | (_, None, _) | (.., None) => return Ok(None),
        _ => return Err(call.mismatch("queries, keys and values need three or four axes")),
    };
    Ok(Some(heads))
}

/// `com.microsoft::Attention`: projection and attention in one.
pub(crate) fn projecting(call: &Call<'_>) -> Result<Option<Heads>, Diagnostic> {
    projecting_from(call, 4)
}

/// The same with the past as input `past`.
pub(super) fn projecting_from(call: &Call<'_>, past: usize) -> Result<Option<Heads>, Diagnostic> {
    let heads = call.positive("num_heads", 0)?;
    let (Some([b, s, input]), Some([_, packed])) = (call.extents(0), call.extents(1)) else {
        return Ok(None);
    };
    let (q, v) = match call.ints("qkv_hidden_sizes")? {
        Some([q, _, v]) => match (u64::try_from(*q), u64::try_from(*v)) {
            (Ok(q), Ok(v)) => (q, v),
            _ => return Err(call.invalid("`qkv_hidden_sizes` has an entry below 0")),
        },
        Some(_) => return Err(call.invalid("`qkv_hidden_sizes` does not have three entries")),
        None => (packed / 3, packed / 3),
    };
    let past = call.extents::<5>(past).map(|[_, _, _, past, _]| past);
    Ok(Some(Heads {
        batch: b,
        query_heads: heads,
        key_heads: heads,
        queries: s,
        fresh_keys: s,
        keys: with_past(call, s, past)?,
        width: per_head(call, q, heads)?,
        value_width: per_head(call, v, heads)?,
        projected_from: input,
        split_output: false,
    }))
}

/// `com.microsoft::MultiHeadAttention`: apart, or packed with an axis for query, key and value.
pub(crate) fn multi_head(call: &Call<'_>) -> Result<Option<Heads>, Diagnostic> {
    let heads = call.positive("num_heads", 0)?;
    let Some(query) = call.shape(0) else { return Ok(None) };
    let (b, s, q) = match query {
        [b, s, q] => (*b, *s, *q),
        [b, s, n, _, d] => (*b, *s, n.checked_mul(*d).ok_or_else(|| call.overflow())?),
        _ => return Err(call.mismatch("queries need three or five axes")),
    };
    let width = per_head(call, q, heads)?;
    let fresh = match call.shape(1) {
        Some([_, t, _] | [_, _, t, _] | [_, t, _, _, _]) => *t,
        Some(_) => return Err(call.mismatch("keys need three, four or five axes")),
        None if call.has(1) => return Ok(None),
        None => s,
    };
    let value_width = match call.shape(2) {
        Some([_, _, v]) => per_head(call, *v, heads)?,
        Some([_, _, _, d]) => *d,
        _ => width,
    };
    let past = call.extents::<4>(6).map(|[_, _, past, _]| past);
    Ok(Some(Heads {
        batch: b,
        query_heads: heads,
        key_heads: heads,
        queries: s,
        fresh_keys: fresh,
        keys: with_past(call, fresh, past)?,
        width,
        value_width,
        projected_from: 0,
        split_output: false,
    }))
}

/// `com.microsoft::GroupQueryAttention`: key and value may be packed behind the queries. A past
/// that is there is the cache, whose length is that of all positions.
pub(crate) fn group_query(call: &Call<'_>) -> Result<Option<Heads>, Diagnostic> {
    let query_heads = call.positive("num_heads", 0)?;
    let key_heads = call.positive("kv_num_heads", 0)?;
    let Some([b, s, q]) = call.extents(0) else { return Ok(None) };
    let width = match call.shape(1) {
        Some([_, _, k]) => per_head(call, *k, key_heads)?,
        _ => {
            let doubled = key_heads.checked_mul(2).and_then(|n| n.checked_add(query_heads));
            per_head(call, q, doubled.ok_or_else(|| call.overflow())?)?
        }
    };
    let past = call.extents::<4>(3).map(|[_, _, past, _]| past).filter(|past| *past > 0);
    Ok(Some(Heads {
        batch: b,
        query_heads,
        key_heads,
        queries: s,
        fresh_keys: s,
        keys: with_past(call, s, past)?,
        width,
        value_width: width,
        projected_from: 0,
        split_output: false,
    }))
}

/// Output, then (where asked for) present keys and values.
pub(super) fn outputs(call: &Call<'_>, heads: Option<Heads>) -> Inferred {
    let dtype = call.dtype(0);
    let n = call.node.outputs.len().max(1);
    let Some(heads) = heads else { return Ok(vec![Facts::tensor(dtype, None); n]) };
    let flat = heads.query_heads.checked_mul(heads.value_width).ok_or_else(|| call.overflow())?;
    let output = if heads.split_output {
        vec![heads.batch, heads.query_heads, heads.queries, heads.value_width]
    } else {
        vec![heads.batch, heads.queries, flat]
    };
    let present = |width: u64| vec![heads.batch, heads.key_heads, heads.keys, width];
    let scores = vec![heads.batch, heads.query_heads, heads.queries, heads.keys];
    let shapes = [output, present(heads.width), present(heads.value_width), scores];
    Ok(shapes.into_iter().map(|shape| Facts::tensor(dtype, Some(shape))).collect())
}

/// `Attention` of opset 23.
pub(crate) fn infer_standard(call: &Call<'_>) -> Inferred {
    outputs(call, standard(call)?)
}

/// `com.microsoft::Attention`: the present holds keys and values in one tensor.
pub(crate) fn infer_projecting(call: &Call<'_>) -> Inferred {
    joined_present(call, projecting(call)?)
}

/// Output, then keys and values in one tensor.
pub(super) fn joined_present(call: &Call<'_>, heads: Option<Heads>) -> Inferred {
    let present = heads.as_ref().map(|h| vec![2, h.batch, h.key_heads, h.keys, h.width]);
    let mut facts = outputs(call, heads)?;
    facts.truncate(1);
    facts.push(Facts::tensor(call.dtype(0), present));
    Ok(facts)
}

/// `com.microsoft::MultiHeadAttention`.
pub(crate) fn infer_multi_head(call: &Call<'_>) -> Inferred {
    outputs(call, multi_head(call)?)
}

/// `com.microsoft::GroupQueryAttention`: a cache that comes in goes out at the same length.
pub(crate) fn infer_group_query(call: &Call<'_>) -> Inferred {
    let mut facts = outputs(call, group_query(call)?)?;
    for (output, past) in [(1, 3), (2, 4)] {
        if let (Some(facts), Some(shape)) = (facts.get_mut(output), call.shape(past))
            && shape.get(2).is_some_and(|length| *length > 0)
        {
            facts.shape = Some(shape.to_vec());
        }
    }
    Ok(facts)
}

/// `RotaryEmbedding`: the data; positions may be any integers.
pub(crate) fn rotary(call: &Call<'_>) -> Inferred {
    // com.microsoft puts positions second, opset 23 the tables: the data is first in both.
    Ok(vec![Facts::tensor(call.dtype(0), call.shape(0).map(<[u64]>::to_vec))])
}

/// `com.microsoft::EmbedLayerNormalization`: ids `[b, s]` and a word table `[v, h]`.
pub(crate) fn embed_layer_normalization(call: &Call<'_>) -> Inferred {
    let ids = call.extents::<2>(0);
    let table = call.extents::<2>(2);
    let shape = ids.zip(table).map(|([b, s], [_, h])| vec![b, s, h]);
    let mask = Facts::tensor(Some(DType::I32), ids.map(|[b, _]| vec![b]));
    let data = Facts::tensor(call.dtype(2), shape);
    Ok(vec![data.clone(), mask, data])
}

#[cfg(test)]
mod tests {
    use super::{group_query, infer_group_query, infer_standard, standard};
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn queries_may_share_heads() {
        let attributes: [(&str, &[i64]); 2] = [("q_num_heads", &[32]), ("kv_num_heads", &[8])];
        let op = node("Attention", &attributes);
        let (q, k) = (tensor(&[2, 10, 4096]), tensor(&[2, 10, 1024]));
        let call = call(&op, &[&q, &k, &k]);
        let heads = standard(&call).unwrap().unwrap();
        assert_eq!((heads.width, heads.value_width, heads.keys), (128, 128, 10));
        assert_eq!(infer_standard(&call).unwrap()[0].shape, Some(vec![2, 10, 4096]));
    }

    #[test]
    fn a_packed_query_holds_all_three() {
        let attributes: [(&str, &[i64]); 2] = [("num_heads", &[32]), ("kv_num_heads", &[8])];
        let op = node("GroupQueryAttention", &attributes);
        let packed = tensor(&[1, 7, 48 * 128]);
        let call = call(&op, &[&packed]);
        assert_eq!(group_query(&call).unwrap().unwrap().width, 128);
        let facts = infer_group_query(&call).unwrap();
        assert_eq!(facts[0].shape, Some(vec![1, 7, 4096]));
        assert_eq!(facts[1].shape, Some(vec![1, 8, 7, 128]));
    }
}
