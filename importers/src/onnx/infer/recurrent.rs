//! Layers with a state: `LSTM`, `GRU`, `RNN`, linear attention, causal convolution.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::call::Call;
use crate::onnx::infer::learned::as_input;
use crate::onnx::infer::{Facts, elements};

/// Extents of a recurrent layer.
pub(crate) struct Cell {
    /// Steps of the sequence.
    pub(crate) steps: u64,
    /// Sequences at once.
    pub(crate) batch: u64,
    /// Features that go in.
    pub(crate) input: u64,
    /// Features of the state.
    pub(crate) hidden: u64,
    /// 1, or 2 where it runs both ways.
    pub(crate) directions: u64,
    batch_first: bool,
}

/// Extents of the layer; `None` where the data's shape is unknown.
pub(crate) fn cell(call: &Call<'_>) -> Result<Option<Cell>, Diagnostic> {
    // `DynamicQuantizeLSTM` keeps its weights the other way round.
    let is_transposed = call.node.op_type == "DynamicQuantizeLSTM";
    let hidden = match call.int("hidden_size", 0)? {
        0 => match call.extents::<3>(2) {
            Some([_, hidden, _]) if is_transposed => hidden,
            Some([_, _, hidden]) => hidden,
            None => return Err(call.invalid("attribute `hidden_size` is missing")),
        },
        _ => call.positive("hidden_size", 0)?,
    };
    let batch_first = call.int("layout", 0)? == 1;
    let directions = if call.text("direction", "forward") == "bidirectional" { 2 } else { 1 };
    let (steps, batch, input) = match (call.shape(0), batch_first) {
        (None, _) => return Ok(None),
        (Some([steps, batch, input]), false) | (Some([batch, steps, input]), true) => {
            (*steps, *batch, *input)
        }
        (Some(_), _) => return Err(call.mismatch("the data does not have three axes")),
    };
    let columns = call.extents::<3>(1).map(|[_, a, b]| if is_transposed { a } else { b });
    if let Some(columns) = columns.filter(|columns| *columns != input) {
        return Err(call.mismatch(format!("inner extents {input} and {columns} differ")));
    }
    Ok(Some(Cell { steps, batch, input, hidden, directions, batch_first }))
}

/// All steps, the last state and (for `LSTM`) the last cell.
pub(crate) fn recurrent(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let dtype = call.dtype(0);
    let Some(cell) = cell(call)? else { return Ok(vec![Facts::tensor(dtype, None); 3]) };
    let Cell { steps, batch, hidden, directions, batch_first, .. } = cell;
    let (all, last) = if batch_first {
        (vec![batch, steps, directions, hidden], vec![batch, directions, hidden])
    } else {
        (vec![steps, directions, batch, hidden], vec![directions, batch, hidden])
    };
    let last = Facts::tensor(dtype, Some(last));
    Ok(vec![Facts::tensor(dtype, Some(all)), last.clone(), last])
}

/// Extents of a `LinearAttention`.
pub(crate) struct Recurrence {
    /// Sequences at once.
    pub(crate) batch: u64,
    /// Steps of the sequence.
    pub(crate) steps: u64,
    /// Heads of the queries.
    pub(crate) query_heads: u64,
    /// Heads of keys and values, each with a state.
    pub(crate) key_heads: u64,
    /// Features of a query and of a key, per head.
    pub(crate) width: u64,
    /// Features of a value, per head.
    pub(crate) value_width: u64,
    /// Whether what the state holds of a key is taken off its value.
    pub(crate) corrects: bool,
}

impl Recurrence {
    /// Heads of the output: those of the keys share queries where there are more of them.
    pub(crate) fn heads(&self) -> u64 {
        self.query_heads.max(self.key_heads)
    }
}

/// Whether what the state holds of a key is taken off its value.
fn corrects(call: &Call<'_>) -> Result<bool, Diagnostic> {
    match call.text("update_rule", "gated_delta") {
        "linear" | "gated" => Ok(false),
        "delta" | "gated_delta" => Ok(true),
        other => Err(call.invalid(format!("update rule `{other}`"))),
    }
}

/// Extents of a `LinearAttention`; `None` where a shape is unknown.
pub(crate) fn recurrence(call: &Call<'_>) -> Result<Option<Recurrence>, Diagnostic> {
    let query_heads = call.positive("q_num_heads", 0)?;
    let key_heads = call.positive("kv_num_heads", 0)?;
    let corrects = corrects(call)?;
    let (Some(query), Some(value)) = (call.shape(0), call.shape(2)) else { return Ok(None) };
    let (&[batch, steps, query], &[_, _, value]) = (query, value) else {
        return Err(call.mismatch("queries or values do not have three axes"));
    };
    let per_head = |width: u64, heads: u64| match width % heads {
        0 => Ok(width / heads),
        _ => Err(call.mismatch(format!("{heads} heads do not divide {width} features"))),
    };
    Ok(Some(Recurrence {
        batch,
        steps,
        query_heads,
        key_heads,
        width: per_head(query, query_heads)?,
        value_width: per_head(value, key_heads)?,
        corrects,
    }))
}

/// A state per window position, where attribute `state_window` asks for that.
fn windowed(call: &Call<'_>, state: Vec<u64>) -> Result<Vec<u64>, Diagnostic> {
    Ok(match call.int("state_window", 0)? {
        0 => state,
        _ => [&[call.positive("state_window", 0)?], state.as_slice()].concat(),
    })
}

/// `LinearAttention`: an output per query, and the state.
pub(crate) fn linear_attention(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let dtypes = [call.dtype(0), call.dtype(3).or_else(|| call.dtype(0))];
    let Some(r) = recurrence(call)? else {
        return Ok(dtypes.map(|dtype| Facts::tensor(dtype, None)).into());
    };
    let features = r.heads().checked_mul(r.value_width).ok_or_else(|| call.overflow())?;
    let state = windowed(call, vec![r.batch, r.key_heads, r.width, r.value_width])?;
    let outputs = dtypes.into_iter().zip([vec![r.batch, r.steps, features], state]);
    Ok(outputs.map(|(dtype, shape)| Facts::tensor(dtype, Some(shape))).collect())
}

/// Extents of a `GatedDeltaNet`: tokens, heads and features on axes of their own, or packed with
/// the state `[batch, heads, value, key]` at 6.
pub(crate) fn delta_net(call: &Call<'_>) -> Result<Option<Recurrence>, Diagnostic> {
    let corrects = corrects(call)?;
    let split = |shape: &[u64]| match shape {
        [tokens @ .., heads, width] if !tokens.is_empty() => {
            Some((elements(tokens)?, *heads, *width))
        }
        _ => None,
    };
    let Some(query) = call.shape(0) else { return Ok(None) };
    let of = |(steps, query_heads, width), key_heads, value_width| Recurrence {
        batch: 1,
        steps,
        query_heads,
        key_heads,
        width,
        value_width,
        corrects,
    };
    if call.has(2) {
        let Some(value) = call.shape(2) else { return Ok(None) };
        let known = split(query).zip(split(value));
        let known = known.ok_or_else(|| call.mismatch("queries or values lack an axis"))?;
        return Ok(Some(of(known.0, known.1.1, known.1.2)));
    }
    let (Some([_, heads, value, key]), Some((features, tokens))) =
        (call.extents(6), query.split_last())
    else {
        return Ok(None);
    };
    let steps = elements(tokens).ok_or_else(|| call.overflow())?;
    let of_values = heads.checked_mul(value).ok_or_else(|| call.overflow())?;
    let rest = features.checked_sub(of_values).filter(|_| key > 0);
    let query_heads = rest.map(|rest| rest / 2 / key.max(1));
    let query_heads = query_heads.ok_or_else(|| call.mismatch("no room for queries and keys"))?;
    Ok(Some(of((steps, query_heads, key), heads, value)))
}

/// `GatedDeltaNet`: an output per token and head of the values, the states, and what changes them.
pub(crate) fn infer_delta_net(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let float = Some(DType::F32);
    let unknown = [call.dtype(0), float, float].map(|dtype| Facts::tensor(dtype, None));
    let Some(r) = delta_net(call)? else { return Ok(unknown.into()) };
    let trailing = if call.has(2) { 2 } else { 1 };
    let tokens = call.shape(0).and_then(|shape| shape.get(..shape.len().checked_sub(trailing)?));
    let output = tokens.map(|tokens| [tokens, &[r.heads(), r.value_width]].concat());
    let batch = match (call.extents(3), call.extents(6)) {
        (_, Some([batch, _, _, _])) => Some(batch),
        (Some([ends]), None) => ends.checked_sub(1),
        _ => None,
    };
    let state = batch.map(|batch| vec![batch, r.key_heads, r.value_width, r.width]);
    let update = match u64::try_from(call.int("state_update_capacity", 0)?) {
        Ok(capacity) if capacity > 0 => {
            let sizes = [[r.query_heads, r.width], [r.key_heads, r.value_width]];
            let factors = sizes.iter().try_fold(r.key_heads, |sum, [heads, width]| {
                sum.checked_add(heads.checked_mul(*width)?)
            });
            let row = factors.and_then(|factors| factors.checked_mul(capacity));
            let row = row.ok_or_else(|| call.overflow())?;
            batch.map(|batch| vec![batch, row])
        }
        _ => None,
    };
    Ok(vec![
        Facts::tensor(call.dtype(0), output),
        Facts::tensor(float, state),
        Facts::tensor(float, update),
    ])
}

/// `com.microsoft::CausalConvWithState`: the data, and the positions that the kernel reaches back.
pub(crate) fn causal_conv(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let is_last = call.int("channels_last", 0)? != 0;
    let state = match (call.shape(0), call.shape(1)) {
        (Some([batch, rest @ ..]), Some([_, _, taps])) if *taps > 0 && !rest.is_empty() => {
            let reach = (taps - 1).checked_mul(call.positive("dilation", 1)?);
            let reach = reach.ok_or_else(|| call.overflow())?;
            let state = match rest {
                [_, channels @ ..] if is_last => [&[*batch, reach], channels].concat(),
                [channels, ..] => vec![*batch, *channels, reach],
                [] => return Err(call.mismatch("the data has a single axis")),
            };
            Some(windowed(call, state)?)
        }
        // In two and more dimensions what is carried is what came in.
        _ => call.shape(3).map(<[u64]>::to_vec),
    };
    let data = Facts::tensor(call.dtype(0), call.shape(0).map(<[u64]>::to_vec));
    Ok(vec![data, Facts::tensor(call.dtype(0), state)])
}

/// `VarlenCausalConvWithState`: tokens `[t, channels]`, ends of the sequences at 2, state at 4.
pub(crate) fn packed_causal_conv(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let capacity = u64::try_from(call.int("state_update_capacity", 0)?).unwrap_or(0);
    let update = call.extents::<3>(4).map(|[batch, channels, _]| vec![batch, capacity, channels]);
    Ok(vec![as_input(call, 0), as_input(call, 4), Facts::tensor(call.dtype(0), update)])
}

/// `LinearAttentionGate`: the decay, and the rate of updates.
pub(crate) fn gates(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    Ok(vec![as_input(call, 0), as_input(call, 3)])
}

#[cfg(test)]
mod tests {
    use super::infer_delta_net;
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn a_packed_delta_net_has_the_heads_of_its_state() {
        // 16 heads of queries and keys of 128, 32 of values of 128: Qwen3-Next.
        let op = node("GatedDeltaNet", &[]);
        let (packed, state) = (tensor(&[7, 2 * 16 * 128 + 32 * 128]), tensor(&[2, 32, 128, 128]));
        let mut call = call(&op, &[&packed, &packed, &packed, &packed, &packed, &packed, &state]);
        for index in 1..6 {
            call.inputs[index] = None;
        }
        let facts = infer_delta_net(&call).unwrap();
        assert_eq!(facts[0].shape, Some(vec![7, 32, 128]));
        assert_eq!(facts[1].shape, Some(vec![2, 32, 128, 128]));
    }
}
