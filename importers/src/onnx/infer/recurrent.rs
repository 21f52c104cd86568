//! `LSTM`, `GRU`, `RNN`.

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
