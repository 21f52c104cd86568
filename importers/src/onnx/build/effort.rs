//! The work of one node, and what it reads.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Origin, Product, Work};
use ir::units::Bytes;

use crate::onnx::build::shapes::Shapes;
use crate::onnx::infer::control::call_of;
use crate::onnx::infer::engine::member;
use crate::onnx::infer::program::{Program, Step};
use crate::onnx::infer::{Facts, ValueId};
use crate::onnx::rules::rule::Job;

/// The work of a node.
pub(crate) struct Effort {
    /// What it does.
    pub(crate) work: Work,
    /// Values that it reads, in order, each once.
    pub(crate) reads: Vec<ValueId>,
    /// Whether it repeats a body a number of times that the file does not say.
    pub(crate) is_endless: bool,
    /// Whether it touches tensors whose size depends on data and is taken as the greatest.
    pub(crate) is_bounded: bool,
    /// Whether its products grow faster than the batch.
    pub(crate) is_outgrown: bool,
}

/// Finds the work of nodes.
pub(crate) struct Appraiser<'a> {
    /// The model.
    pub(crate) program: &'a Program<'a>,
    /// Its shapes.
    pub(crate) shapes: &'a Shapes,
}

impl Appraiser<'_> {
    /// Whether a node has been folded away.
    pub(crate) fn is_folded(&self, step: &Step<'_>) -> bool {
        let mut outputs = step.outputs.iter().flatten();
        outputs.all(|id| self.shapes.now.facts[*id].is_constant())
    }

    /// Whether a node's facts are those of the file's batch.
    pub(crate) fn is_scaled(&self, step: &Step<'_>) -> bool {
        step.outputs.iter().flatten().any(|id| self.shapes.is_scaled(*id))
    }

    /// Values that a node reads itself, its subgraphs left out.
    pub(crate) fn own_reads(&self, step: &Step<'_>) -> Result<Vec<ValueId>, Diagnostic> {
        let facts = &self.shapes.now.facts;
        if let Some(member) = member(step, &call_of(step, facts), &self.shapes.now)? {
            return Ok(vec![member]);
        }
        let controls: &[usize] = match (step.rule, step.node.op_type.as_str()) {
            (Some(rule), _) => rule.controls,
            (None, "If") => &[0],
            (None, "Loop") => &[0, 1],
            (None, _) => &[],
        };
        // Scale and zero point go with the kernel that the node is part of.
        if self.is_part(step)
            && let Some(Some(data)) = step.inputs.first()
        {
            return Ok(vec![*data]);
        }
        let mut seen = HashSet::new();
        let given = step.inputs.iter().enumerate().filter_map(|(i, id)| Some((i, (*id)?)));
        let data = given
            .filter(|(index, id)| !(facts[*id].is_constant() && controls.contains(index)))
            .map(|(_, id)| id);
        let mut reads: Vec<ValueId> = data.filter(|id| seen.insert(*id)).collect();
        // Of control flow the appraisal of the body tells; others read what their body does.
        if step.rule.is_some() {
            let captured = step.bodies.iter().flat_map(|(_, body)| body.captured());
            reads.extend(captured.filter(|id| seen.insert(*id)));
        }
        Ok(reads)
    }

    /// Whether a node is part of an integer kernel beside it.
    fn is_part(&self, step: &Step<'_>) -> bool {
        let first = step.outputs.first().copied().flatten();
        first.is_some_and(|id| self.shapes.integers.views.contains(&id))
    }

    /// The work of a node.
    ///
    /// # Errors
    /// `invalid-attribute`, `size-overflow`.
    pub(crate) fn appraise(&self, step: &Step<'_>) -> Result<Effort, Diagnostic> {
        if !step.bodies.is_empty()
            && let Some(effort) = self.control(step)?
        {
            return Ok(effort);
        }
        let is_scaled = self.is_scaled(step);
        let facts = self.shapes.facts(is_scaled);
        let reads = self.own_reads(step)?;
        let job = Job {
            call: call_of(step, facts),
            outputs: step.outputs.iter().map(|id| id.map(|id| &facts[id])).collect(),
            controls: step.rule.map_or(&[], |rule| rule.controls),
        };
        let work = match step.rule {
            Some(_) if self.is_part(step) => Work::View,
            Some(rule) => (rule.work)(&job)?,
            None => Work::Kernel(job.kernel()),
        };
        let Work::Kernel(mut kernel) = work else {
            return Ok(Effort {
                work,
                reads,
                is_endless: false,
                is_bounded: false,
                is_outgrown: false,
            });
        };
        let first = step.outputs.first().copied().flatten();
        if let Some(dtype) = first.and_then(|id| self.shapes.integers.products.get(&id)) {
            kernel.dtype = Some(*dtype);
        }
        if is_scaled {
            self.scale(&mut kernel, constant_bytes(&reads, facts));
        }
        let is_known = is_known(step, &reads, facts);
        let is_bounded = is_known && touched(step, &reads).any(|id| facts[id].at_most);
        if is_bounded {
            kernel.origin = kernel.origin.max(Origin::Bounded);
        }
        if step.rule.is_none() || !is_known {
            kernel.origin = Origin::Guessed;
        }
        check(&kernel, &job)?;
        let is_outgrown = !is_scaled && self.is_outgrown(step, &kernel)?;
        Ok(Effort { work: Work::Kernel(kernel), reads, is_endless: false, is_bounded, is_outgrown })
    }

    /// Whether the products of a node are more than those at the file's batch, times the growth.
    fn is_outgrown(&self, step: &Step<'_>, kernel: &Kernel) -> Result<bool, Diagnostic> {
        let (Some(rule), Some((reference, batch))) = (step.rule, &self.shapes.reference) else {
            return Ok(false);
        };
        if kernel.products.is_empty() {
            return Ok(false);
        }
        let facts = &reference.facts;
        let before = (rule.work)(&Job {
            call: call_of(step, facts),
            outputs: step.outputs.iter().map(|id| id.map(|id| &facts[id])).collect(),
            controls: rule.controls,
        })?;
        let Work::Kernel(before) = before else { return Ok(false) };
        let grown = u128::from(before.flops().get()) * u128::from(batch.to);
        Ok(u128::from(kernel.flops().get()) * u128::from(batch.from) > grown)
    }

    /// Work at the file's batch to work at this one: products and activations grow, parameters
    /// are read once all the same.
    fn scale(&self, kernel: &mut Kernel, constants: Bytes) {
        let fixed = constants.min(kernel.bytes_read);
        let grown = self.shapes.scale((kernel.bytes_read - fixed).get());
        kernel.bytes_read = Bytes(grown) + fixed;
        kernel.bytes_written = Bytes(self.shapes.scale(kernel.bytes_written.get()));
        kernel.temporary = Bytes(self.shapes.scale(kernel.temporary.get()));
        for product in &mut kernel.products {
            product.count = self.shapes.scale(product.count);
        }
        kernel.origin = kernel.origin.max(Origin::Scaled);
    }
}

fn constant_bytes(reads: &[ValueId], facts: &[Facts]) -> Bytes {
    reads.iter().map(|id| &facts[*id]).filter(|f| f.is_constant()).map(Facts::bytes).sum()
}

/// Values that a node reads or writes.
fn touched<'s>(step: &'s Step<'_>, reads: &'s [ValueId]) -> impl Iterator<Item = ValueId> + 's {
    reads.iter().chain(step.outputs.iter().flatten()).copied()
}

/// Whether every tensor that a node touches has a size.
fn is_known(step: &Step<'_>, reads: &[ValueId], facts: &[Facts]) -> bool {
    touched(step, reads).all(|id| !facts[id].lacks_size())
}

fn check(kernel: &Kernel, job: &Job<'_>) -> Result<(), Diagnostic> {
    if kernel.products.iter().any(|product: &Product| product.flops().is_none()) {
        return Err(job.call.overflow());
    }
    Ok(())
}
