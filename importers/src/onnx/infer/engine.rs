//! One walk over a model that finds the facts of every value.

use std::collections::HashMap;
use std::sync::Arc;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::call::Call;
use crate::onnx::infer::carry::{Growth, Held, States, grown_axes};
use crate::onnx::infer::fold::Fold;
use crate::onnx::infer::program::{Block, Program, Step};
use crate::onnx::infer::symbol::{self, Bindings};
use crate::onnx::infer::{FOLD_BUDGET, FOLD_LIMIT, Facts, Source, ValueId, bounds, sequence};
use crate::onnx::raw::RawValues;

/// A model's facts at one set of input shapes.
#[derive(Clone, Debug)]
pub(crate) struct Inferred {
    /// What is known of each value of the program.
    pub(crate) facts: Vec<Facts>,
    /// Values whose facts are those of the file's batch, because a constant stood in the way.
    pub(crate) scaled: Vec<bool>,
    /// Values whose declared shape contradicts the inferred one.
    pub(crate) contradicted: Vec<ValueId>,
    /// Where values hold the batch, on a walk at another one than the file's.
    pub(crate) held: Vec<Held>,
    /// Elements of all folded constants so far.
    folded: u64,
}

/// What a walk goes by.
pub(crate) struct Engine<'a> {
    /// The model.
    pub(crate) program: &'a Program<'a>,
    /// Values of symbols in declared shapes.
    pub(crate) bindings: &'a Bindings,
    /// Replaces wide floats.
    pub(crate) dtype: Option<DType>,
    /// On a walk at another batch than the file's: the facts there, and both batches.
    pub(crate) rebatch: Option<(&'a Inferred, Growth)>,
}

impl Engine<'_> {
    /// The type that stands for `dtype` on this walk.
    pub(crate) fn replaced(&self, dtype: Option<DType>) -> Option<DType> {
        match (dtype, self.dtype) {
            (Some(from), Some(to)) if from.is_wide_float() => Some(to),
            (dtype, _) => dtype,
        }
    }

    /// Walks the main graph with these facts of its inputs.
    ///
    /// # Errors
    /// `invalid-attribute`, `shape-mismatch`, `size-overflow`, `rank-limit`.
    pub(crate) fn run(&self, inputs: &HashMap<ValueId, Facts>) -> Result<Inferred, Diagnostic> {
        let n = self.program.names.len();
        let mut state = Inferred {
            facts: vec![Facts::default(); n],
            scaled: vec![false; n],
            contradicted: Vec::new(),
            held: vec![Held::new(); n],
            folded: 0,
        };
        for (id, facts) in inputs {
            if let Some((reference, batch)) = self.rebatch {
                let (old, new) = (&reference.facts[*id].shape, &facts.shape);
                let axes = old.iter().zip(new).flat_map(|(old, new)| grown_axes(old, new));
                let whole = |(axis, growth): (usize, Growth)| (axis, growth.from / batch.from);
                state.held[*id] = axes.map(whole).collect();
            }
            facts.check(self.program.names[*id])?;
            state.facts[*id] =
                Facts { dtype: self.replaced(facts.dtype), source: Source::Input, ..facts.clone() };
        }
        self.walk(&self.program.main, &mut state)?;
        Ok(state)
    }

    /// Walks a block whose inputs are placed.
    pub(crate) fn walk(&self, block: &Block<'_>, state: &mut Inferred) -> Result<(), Diagnostic> {
        block.place_constants(&mut state.facts)?;
        for (id, _) in &block.constants {
            state.facts[*id].dtype = self.replaced(state.facts[*id].dtype);
        }
        for step in &block.steps {
            self.step(block, step, state)?;
        }
        Ok(())
    }

    fn step(
        &self,
        block: &Block<'_>,
        step: &Step<'_>,
        state: &mut Inferred,
    ) -> Result<(), Diagnostic> {
        let inferred = self.outputs(step, state);
        let Some((reference, batch)) = self.rebatch else {
            let mut outputs = inferred?.into_iter();
            for id in &step.outputs {
                let facts = outputs.next().unwrap_or_default();
                if let Some(id) = *id {
                    self.settle(block, id, facts, state)?;
                }
            }
            return Ok(());
        };
        // At another batch a contradiction means that a constant holds the old one.
        if let Err(error) = &inferred
            && error.code != "shape-mismatch"
        {
            return Err(error.clone());
        }
        let outer = step.inputs.iter().flatten();
        let inner = step.bodies.iter().flat_map(|(_, body)| &body.outputs);
        let mut outputs = if outer.chain(inner).any(|id| state.scaled[*id]) {
            Vec::new()
        } else {
            states(reference, state, batch).carried(step, inferred).unwrap_or_default()
        };
        let axes: Vec<Held> = {
            let states = states(reference, state, batch);
            let written = step.outputs.iter().zip(&outputs);
            let axes_of = |(id, facts): (&Option<ValueId>, &Facts)| {
                id.map(|id| states.held_in(step, id, facts.shape.as_deref())).unwrap_or_default()
            };
            written.map(axes_of).collect()
        };
        for (index, id) in step.outputs.iter().enumerate() {
            let Some(id) = *id else { continue };
            let known = &reference.facts[id];
            match outputs.get_mut(index).map(std::mem::take) {
                Some(facts) if facts.shape.is_some() || known.shape.is_none() => {
                    let dtype = self.replaced(facts.dtype).or(known.dtype);
                    let facts = Facts { dtype, ..facts };
                    facts.check(self.program.names[id])?;
                    state.facts[id] = facts;
                    state.held[id] = axes.get(index).cloned().unwrap_or_default();
                }
                _ => {
                    state.facts[id] = known.clone();
                    state.scaled[id] = !known.is_constant();
                }
            }
        }
        Ok(())
    }

    /// Takes what was inferred, filled up with what the file declares.
    fn settle(
        &self,
        block: &Block<'_>,
        id: ValueId,
        mut facts: Facts,
        state: &mut Inferred,
    ) -> Result<(), Diagnostic> {
        if let Some(value) = block.declared.get(&id) {
            facts.dtype = facts.dtype.or(self.replaced(value.dtype));
            let declared =
                value.shape.as_deref().and_then(|dims| symbol::shape(dims, self.bindings));
            match (&facts.shape, declared) {
                (None, Some(declared)) if facts.members.is_none() => facts.shape = Some(declared),
                // What the exporter saw is better than what the graph would allow.
                (Some(_), Some(declared)) if facts.at_most => {
                    facts.at_most = false;
                    facts.shape = Some(declared);
                }
                (Some(inferred), Some(declared)) if *inferred != declared => {
                    state.contradicted.push(id);
                }
                _ => {}
            }
        }
        facts.check(self.program.names[id])?;
        state.facts[id] = facts;
        Ok(())
    }

    /// Facts of a node's outputs, content included where it folds.
    fn outputs(&self, step: &Step<'_>, state: &mut Inferred) -> Result<Vec<Facts>, Diagnostic> {
        if !step.bodies.is_empty()
            && let Some(outputs) = self.control(step, state)?
        {
            return Ok(outputs);
        }
        let Some(rule) = step.rule else {
            return Ok(vec![Facts::default(); step.outputs.len()]);
        };
        let call = Call {
            node: step.node,
            inputs: step.inputs.iter().map(|id| id.map(|id| &state.facts[id])).collect(),
            opset: step.opset,
        };
        if let Some(member) = member(step, &call, state)? {
            return Ok(vec![Facts { source: Source::Computed, ..state.facts[member].clone() }]);
        }
        let mut outputs = bounds::infer(rule, &call)?;
        for facts in &mut outputs {
            facts.dtype = self.replaced(facts.dtype);
        }
        if rule.is_view
            && let (Some(facts), Some(data)) = (outputs.first_mut(), call.input(0))
        {
            facts.stored = facts.stored.or(data.stored);
        }
        if step.node.op_type == "SequenceConstruct"
            && let Some(facts) = outputs.first_mut()
        {
            facts.members = step.inputs.iter().copied().collect::<Option<Arc<[ValueId]>>>();
        }
        if state.folded < FOLD_BUDGET {
            let folded = fold(rule.fold, &call, &mut outputs);
            state.folded += folded;
        }
        let is_bounded = call.inputs.iter().flatten().any(|facts| facts.at_most);
        for facts in &mut outputs {
            // Content counts what the sizes say; a single element without content does not.
            let is_single = facts.value.is_none() && facts.elements() == Some(1);
            facts.at_most = (facts.at_most || is_bounded && facts.value.is_some()) && !is_single;
        }
        Ok(outputs)
    }
}

/// Both states, as far as the walk has come.
fn states<'f>(reference: &'f Inferred, state: &'f Inferred, batch: Growth) -> States<'f> {
    States { reference: &reference.facts, now: &state.facts, held: &state.held, batch }
}

/// The value that a `SequenceAt` of a known sequence names.
pub(crate) fn member(
    step: &Step<'_>,
    call: &Call<'_>,
    state: &Inferred,
) -> Result<Option<ValueId>, Diagnostic> {
    if step.node.op_type != "SequenceAt" {
        return Ok(None);
    }
    let Some(members) =
        step.inputs.first().copied().flatten().and_then(|id| state.facts[id].members.clone())
    else {
        return Ok(None);
    };
    let position = sequence::position(call, members.len())?;
    Ok(position.and_then(|position| members.get(position).copied()))
}

/// Puts the content of the outputs where all of it is known and small; returns its elements.
fn fold(rule: Option<Fold>, call: &Call<'_>, outputs: &mut [Facts]) -> u64 {
    let Some(rule) = rule else { return 0 };
    let sizes: Option<Vec<u64>> = outputs.iter().map(Facts::elements).collect();
    let Some(sizes) = sizes.filter(|sizes| sizes.iter().all(|n| *n <= FOLD_LIMIT)) else {
        return 0;
    };
    let values = if sizes.contains(&0) {
        // A scalar's shape is empty whatever the scalar holds.
        let is_known = call.node.op_type == "Shape"
            || call.inputs.iter().flatten().all(|facts| facts.is_constant());
        if sizes.len() > 1 || !is_known {
            return 0;
        }
        let dtype = outputs.first().and_then(|facts| facts.dtype);
        let empty = match dtype {
            Some(dtype) if dtype.is_wide_float() => RawValues::Floats(Vec::new()),
            _ => RawValues::Ints(Vec::new()),
        };
        vec![empty]
    } else {
        match rule(call, outputs) {
            Some(values) => values,
            None => return 0,
        }
    };
    for (facts, value) in outputs.iter_mut().zip(values) {
        facts.value = Some(Arc::new(value));
        if facts.source != Source::Constant {
            facts.source = Source::Folded;
        }
    }
    sizes.iter().sum()
}
