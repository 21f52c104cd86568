//! `If`, `Loop` and `Scan`: facts of their subgraphs.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::call::Call;
use crate::onnx::infer::engine::{Engine, Inferred};
use crate::onnx::infer::program::{Block, Step};
use crate::onnx::infer::{Facts, Source, ValueId};

/// How often the body of a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trips {
    /// That often.
    Known(u64),
    /// It depends on data; counted once.
    Unknown,
}

/// Whether the rules here are those of the step. Before opset 9 a `Scan` had a batch axis.
pub(crate) fn is_known(step: &Step<'_>) -> bool {
    step.node.domain.is_empty() && (step.node.op_type != "Scan" || step.opset >= 9)
}

/// The call of a step at the given facts.
pub(crate) fn call_of<'a>(step: &'a Step<'_>, facts: &'a [Facts]) -> Call<'a> {
    Call {
        node: step.node,
        inputs: step.inputs.iter().map(|id| id.map(|id| &facts[id])).collect(),
        opset: step.opset,
    }
}

/// The trip count of a `Loop` (constant first input) or a `Scan` (extent of the scanned axis).
///
/// # Errors
/// `invalid-attribute`.
pub(crate) fn trips(step: &Step<'_>, facts: &[Facts]) -> Result<Trips, Diagnostic> {
    let call = call_of(step, facts);
    let known = match step.node.op_type.as_str() {
        "Loop" => {
            let count = call.ints_of(0).and_then(|ints| ints.first());
            // The greatest count is how exporters write a `while`; a negative one runs nothing.
            count.filter(|n| **n != i64::MAX).map(|n| u64::try_from(*n).unwrap_or(0))
        }
        "Scan" => {
            let n_scan = scan_inputs(step, &call)?;
            let first = step.inputs.len() - n_scan;
            match call.shape(first) {
                Some(shape) => Some(shape[scan_axis(&call, "scan_input_axes", 0, shape.len())?]),
                None => None,
            }
        }
        "SequenceMap" => {
            call.input(0).and_then(|facts| facts.members.as_ref()).map(|m| m.len() as u64)
        }
        _ => Some(1),
    };
    Ok(known.map_or(Trips::Unknown, Trips::Known))
}

fn scan_inputs(step: &Step<'_>, call: &Call<'_>) -> Result<usize, Diagnostic> {
    usize::try_from(call.positive("num_scan_inputs", 0)?)
        .ok()
        .filter(|n| *n <= step.inputs.len())
        .ok_or_else(|| call.invalid("more scan inputs than inputs"))
}

fn scan_axis(
    call: &Call<'_>,
    attribute: &str,
    index: usize,
    rank: usize,
) -> Result<usize, Diagnostic> {
    let axis = call.ints(attribute)?.and_then(|axes| axes.get(index)).copied().unwrap_or(0);
    call.axis(axis, rank)
}

/// The branch that a constant condition selects.
pub(crate) fn chosen_branch<'s, 'a>(step: &'s Step<'a>, facts: &[Facts]) -> Option<&'s Block<'a>> {
    let condition = call_of(step, facts).input(0).filter(|facts| !facts.at_most)?;
    let condition = condition.ints()?.first().copied()?;
    step.body(if condition != 0 { "then_branch" } else { "else_branch" })
}

impl Engine<'_> {
    /// Facts of the outputs of a step with subgraphs; `None` if it is no operator of control.
    pub(crate) fn control(
        &self,
        step: &Step<'_>,
        state: &mut Inferred,
    ) -> Result<Option<Vec<Facts>>, Diagnostic> {
        if !is_known(step) {
            return Ok(None);
        }
        match step.node.op_type.as_str() {
            "If" => self.branches(step, state).map(Some),
            "Loop" => self.looped(step, state).map(Some),
            "Scan" => self.scanned(step, state).map(Some),
            "SequenceMap" => self.mapped(step, state).map(Some),
            _ => Ok(None),
        }
    }

    fn branches(&self, step: &Step<'_>, state: &mut Inferred) -> Result<Vec<Facts>, Diagnostic> {
        let chosen = chosen_branch(step, &state.facts);
        let blocks: Vec<&Block<'_>> = match chosen {
            Some(block) => vec![block],
            None => step.bodies.iter().map(|(_, block)| block).collect(),
        };
        let mut outputs: Vec<Facts> = Vec::new();
        for block in blocks {
            self.walk(block, state)?;
            for (index, id) in block.outputs.iter().enumerate() {
                let facts = match chosen {
                    Some(_) => handed_out(&state.facts[*id]),
                    None => computed(&state.facts[*id]),
                };
                match outputs.get_mut(index) {
                    None => outputs.push(facts),
                    // Branches may differ in shape: the larger one is planned for.
                    Some(known) if facts.bytes() > known.bytes() => *known = facts,
                    Some(_) => {}
                }
            }
        }
        Ok(outputs)
    }

    fn looped(&self, step: &Step<'_>, state: &mut Inferred) -> Result<Vec<Facts>, Diagnostic> {
        let trips = trips(step, &state.facts)?;
        let Some(body) = step.body("body") else {
            return Err(call_of(step, &state.facts).invalid("attribute `body` is missing"));
        };
        // Body inputs: iteration number, condition, carried values; outputs: condition, carried.
        let outer = [None, step.inputs.get(1).copied().flatten()];
        let carried = step.inputs.iter().skip(2).copied();
        self.enter(body, &outer.into_iter().chain(carried).collect::<Vec<_>>(), state);
        self.walk(body, state)?;
        let n_carried = step.inputs.len().saturating_sub(2);
        let mut outputs = Vec::new();
        for (index, id) in body.outputs.iter().skip(1).enumerate() {
            let mut facts = computed(&state.facts[*id]);
            if index < n_carried {
                let before = step.inputs[index + 2].map(|id| &state.facts[id]);
                // A carried value that changes its shape has no shape of its own.
                if before.is_some_and(|before| before.shape != facts.shape) {
                    facts.shape = None;
                }
            } else {
                let count = step.inputs.first().copied().flatten();
                facts.at_most |= count.is_some_and(|id| state.facts[id].at_most);
                facts.shape = match (facts.shape, trips) {
                    (Some(shape), Trips::Known(n)) => Some([&[n][..], &shape].concat()),
                    _ => None,
                };
            }
            outputs.push(facts);
        }
        Ok(outputs)
    }

    fn scanned(&self, step: &Step<'_>, state: &mut Inferred) -> Result<Vec<Facts>, Diagnostic> {
        let trips = trips(step, &state.facts)?;
        let call = call_of(step, &state.facts);
        let n_states = step.inputs.len() - scan_inputs(step, &call)?;
        let mut slices = Vec::new();
        for (index, id) in step.inputs.iter().skip(n_states).enumerate() {
            let mut facts = id.map(|id| computed(&state.facts[id])).unwrap_or_default();
            if let Some(shape) = &mut facts.shape {
                let axis = scan_axis(&call, "scan_input_axes", index, shape.len())?;
                shape.remove(axis);
            }
            slices.push(facts);
        }
        let Some(body) = step.body("body") else {
            return Err(call.invalid("attribute `body` is missing"));
        };
        self.enter(body, step.inputs.get(..n_states).unwrap_or_default(), state);
        for ((id, _), facts) in body.inputs.iter().skip(n_states).zip(slices) {
            state.facts[*id] = facts;
        }
        self.walk(body, state)?;
        let mut outputs = Vec::new();
        for (index, id) in body.outputs.iter().enumerate() {
            let mut facts = computed(&state.facts[*id]);
            if let Some(scan) = index.checked_sub(n_states) {
                facts.shape = match (facts.shape, trips) {
                    (Some(mut shape), Trips::Known(n)) => {
                        let call = call_of(step, &state.facts);
                        let axis = scan_axis(&call, "scan_output_axes", scan, shape.len() + 1)?;
                        shape.insert(axis, n);
                        Some(shape)
                    }
                    _ => None,
                };
            }
            outputs.push(facts);
        }
        Ok(outputs)
    }

    /// `SequenceMap`: a sequence per output of its body, of the body's types.
    fn mapped(&self, step: &Step<'_>, state: &mut Inferred) -> Result<Vec<Facts>, Diagnostic> {
        let Some(body) = step.body("body") else {
            return Err(call_of(step, &state.facts).invalid("attribute `body` is missing"));
        };
        // A member of a sequence stands for all: those with equal extents have them.
        let samples: Vec<Option<ValueId>> = step
            .inputs
            .iter()
            .map(|id| match id.and_then(|id| state.facts[id].members.clone()).as_deref() {
                Some([first, rest @ ..]) => {
                    let of = |id: &ValueId| state.facts[*id].shape.as_ref();
                    rest.iter().all(|id| of(id) == of(first)).then_some(*first)
                }
                _ => *id,
            })
            .collect();
        self.enter(body, &samples, state);
        self.walk(body, state)?;
        let dtypes = body.outputs.iter().map(|id| state.facts[*id].dtype);
        Ok(dtypes.map(|dtype| Facts::tensor(dtype, None)).collect())
    }

    /// Facts of the values handed in, without their content, which changes from trip to trip.
    fn enter(&self, body: &Block<'_>, handed: &[Option<ValueId>], state: &mut Inferred) {
        for (index, (id, value)) in body.inputs.iter().enumerate() {
            let outer = handed.get(index).copied().flatten();
            let mut facts = outer.map(|outer| computed(&state.facts[outer])).unwrap_or_default();
            facts.source = Source::Input;
            facts.dtype = facts.dtype.or(self.replaced(value.dtype));
            if outer.is_none() && facts.shape.is_none() {
                // The iteration number and a condition that is left out are scalars.
                facts.shape = Some(Vec::new());
            }
            state.scaled[*id] = outer.is_some_and(|outer| state.scaled[outer]);
            state.facts[*id] = facts;
        }
    }
}

/// The facts of a result of a branch that is always taken: content that is known stays.
fn handed_out(facts: &Facts) -> Facts {
    if facts.is_constant() && facts.value.is_some() {
        Facts { source: Source::Folded, ..facts.clone() }
    } else {
        computed(facts)
    }
}

/// The facts without content and origin.
fn computed(facts: &Facts) -> Facts {
    Facts { value: None, members: None, source: Source::Computed, ..facts.clone() }
}
