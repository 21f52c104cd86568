//! `LSTM`, `GRU`, `RNN`, `LinearAttention`.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;

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
    let hidden = match call.int("hidden_size", 0)? {
        0 => match call.extents::<3>(2) {
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
    if let Some([_, _, columns]) = call.extents::<3>(1)
        && columns != input
    {
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

/// Extents of a `LinearAttention`; `None` where a shape is unknown.
pub(crate) fn recurrence(call: &Call<'_>) -> Result<Option<Recurrence>, Diagnostic> {
    let query_heads = call.positive("q_num_heads", 0)?;
    let key_heads = call.positive("kv_num_heads", 0)?;
    let corrects = match call.text("update_rule", "gated_delta") {
        "linear" | "gated" => false,
        "delta" | "gated_delta" => true,
        other => return Err(call.invalid(format!("update rule `{other}`"))),
    };
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

/// `LinearAttention`: an output per query, and the state.
pub(crate) fn linear_attention(call: &Call<'_>) -> Result<Vec<Facts>, Diagnostic> {
    let dtypes = [call.dtype(0), call.dtype(3).or_else(|| call.dtype(0))];
    let Some(r) = recurrence(call)? else {
        return Ok(dtypes.map(|dtype| Facts::tensor(dtype, None)).into());
    };
    let features = r.query_heads.checked_mul(r.value_width).ok_or_else(|| call.overflow())?;
    let shapes =
        [vec![r.batch, r.steps, features], vec![r.batch, r.key_heads, r.width, r.value_width]];
    let outputs = dtypes.into_iter().zip(shapes);
    Ok(outputs.map(|(dtype, shape)| Facts::tensor(dtype, Some(shape))).collect())
}
