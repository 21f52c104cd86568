//! Bodies of loops and branches, summed up: the work of a region run once, and what it reads from
//! outside.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::{Kernel, Op, Origin, Work};
use ir::units::Bytes;

use super::Builder;
use super::bound::{Bound, Scalar, What};
use crate::stablehlo::syntax::{Operation, Region};

/// What a region does when it runs once.
pub(super) struct Body {
    pub(super) kernel: Kernel,
    /// Tensors from outside.
    pub(super) reads: Vec<TensorId>,
    /// Constants that it reads, by their position.
    constants: Vec<u32>,
    pub(super) returned: Vec<Vec<Bound>>,
}

impl<'p, 't> Builder<'p, 't> {
    /// Runs regions one after the other, each with these values for its arguments, in a graph that
    /// is thrown away. `None` stands for a value that only the region knows.
    pub(super) fn summed(
        &mut self,
        regions: &[&'p Region<'t>],
        arguments: &[Vec<Option<Bound>>],
    ) -> Result<Body, Diagnostic> {
        let outer = std::mem::take(&mut self.graph.ops);
        let mark = self.graph.tensors.len();
        let n_spreads = self.spreads.len();
        self.n_summed += 1;
        let mut returned = Vec::new();
        for (region, given) in regions.iter().zip(arguments) {
            for (place, value) in region.arguments.iter().enumerate() {
                let bound = match given.get(place).copied().flatten() {
                    Some(bound) if bound.what != What::Nothing => bound,
                    other => {
                        let of = self.program.types_of[*value as usize];
                        let name = format!("{}carried#{place}", self.prefix);
                        let tensor = self.add_tensor(name, of, ir::tensor::Role::Activation);
                        let scalar = other.map_or(Scalar::Unknown, |bound| bound.scalar);
                        Bound { what: What::Tensor(tensor), scalar }
                    }
                };
                self.bind(*value, bound.what, bound.scalar);
            }
            returned.push(self.run(region)?);
        }
        for bound in returned.iter().flatten() {
            self.place(bound.what);
        }
        self.n_summed -= 1;
        let ops = std::mem::replace(&mut self.graph.ops, outer);
        let ends: HashSet<TensorId> =
            returned.iter().flatten().filter_map(|bound| self.place(bound.what)).collect();
        let body = self.sum(&super::finish::live(ops, ends.clone()), mark, &ends);
        self.forget(mark, n_spreads);
        Ok(Body { returned, ..body })
    }

    fn sum(&self, ops: &[Op], mark: usize, ends: &HashSet<TensorId>) -> Body {
        let mut kernel = Kernel { temporary: self.peak(ops, mark, ends), ..Kernel::default() };
        let mut seen = HashSet::new();
        let of_constant: HashMap<TensorId, u32> = (0u32..)
            .zip(&self.constants)
            .filter_map(|(index, constant)| Some((constant.placed?, index)))
            .filter(|(tensor, _)| tensor.index() >= mark)
            .collect();
        let (mut reads, mut constants) = (Vec::new(), Vec::new());
        let mut read = |tensor: TensorId| {
            if !seen.insert(tensor) {
            } else if tensor.index() < mark {
                reads.push(tensor);
            } else if let Some(index) = of_constant.get(&tensor) {
                constants.push(*index);
            }
        };
        for op in ops {
            op.inputs.iter().chain(&op.parameters).for_each(|tensor| read(*tensor));
            if let Work::Kernel(inner) = &op.work {
                kernel.absorb(inner);
            }
        }
        ends.iter().for_each(|tensor| read(*tensor));
        reads.sort_unstable();
        constants.sort_unstable();
        Body { kernel, reads, constants, returned: Vec::new() }
    }

    /// Most bytes of the region's own tensors held at once, run in the order of the text.
    fn peak(&self, ops: &[Op], mark: usize, ends: &HashSet<TensorId>) -> Bytes {
        let mut last = HashMap::new();
        for (position, op) in ops.iter().enumerate() {
            for tensor in op.inputs.iter().chain(&op.outputs) {
                last.insert(*tensor, position);
            }
        }
        let (mut current, mut peak) = (Bytes::ZERO, Bytes::ZERO);
        let mut freed = vec![Bytes::ZERO; ops.len() + 1];
        for (position, op) in ops.iter().enumerate() {
            let Work::Kernel(kernel) = &op.work else { continue };
            for tensor in op.outputs.iter().filter(|tensor| tensor.index() >= mark) {
                let bytes = self.graph.tensor(*tensor).bytes;
                current += bytes;
                let end = last.get(tensor).copied().filter(|_| !ends.contains(tensor));
                freed[end.unwrap_or(ops.len())] += bytes;
            }
            peak = peak.max(current + kernel.temporary);
            current = current - freed[position];
        }
        peak
    }

    /// Drops the tensors that came up since.
    fn forget(&mut self, mark: usize, n_spreads: usize) {
        let is_gone =
            |tensor: &Option<TensorId>| tensor.is_some_and(|tensor| tensor.index() >= mark);
        self.renamed.retain(|tensor| tensor.index() < mark);
        for constant in self.constants.iter_mut().filter(|constant| is_gone(&constant.placed)) {
            if let Some(tensor) = constant.placed.take() {
                self.taken.remove(&self.graph.tensors[tensor.index()].name);
            }
        }
        self.spreads.truncate(n_spreads);
        for spread in self.spreads.iter_mut().filter(|spread| is_gone(&spread.placed)) {
            spread.placed = None;
        }
        // Constants of the region stay: the op around it reads them.
        self.graph.tensors.truncate(mark);
    }

    /// Every tensor that an op with this body reads: its operands, then what the body reads.
    pub(super) fn reads_of(&mut self, operands: &[What], body: &Body) -> Vec<TensorId> {
        let mut reads: Vec<TensorId> = Vec::new();
        let direct: Vec<TensorId> = operands.iter().filter_map(|what| self.place(*what)).collect();
        let constants: Vec<TensorId> =
            body.constants.iter().filter_map(|index| self.place(What::Constant(*index))).collect();
        for tensor in direct.into_iter().chain(body.reads.iter().copied()).chain(constants) {
            if !reads.contains(&tensor) {
                reads.push(tensor);
            }
        }
        reads
    }

    /// `case` and `if`: the branch that a constant selects, or as dear as the dearest.
    pub(super) fn branch(&mut self, op: &'p Operation<'t>) -> Result<(), Diagnostic> {
        let selector = op.operands.first().map(|value| self.what(*value));
        if let Some(Scalar::Known(index)) = selector.map(|bound| bound.scalar) {
            // The first branch of `if` is that of true; of `case` the last one stands for the rest.
            let last = op.regions.len().saturating_sub(1);
            let is_if = op.short() == b"if";
            let index = if is_if { i64::from(index == 0) } else { index };
            let index = usize::try_from(index).unwrap_or(last).min(last);
            if let Some(region) = op.regions.get(index) {
                let returned = self.run(region)?;
                for (value, bound) in op.results().zip(returned) {
                    self.bind(value, bound.what, bound.scalar);
                }
                return Ok(());
            }
        }
        let mut dearest: Option<Body> = None;
        for region in &op.regions {
            let body = self.summed(&[region], &[Vec::new()])?;
            let cost = |body: &Body| {
                (body.kernel.flops(), body.kernel.bytes_read + body.kernel.bytes_written)
            };
            if dearest.as_ref().is_none_or(|known| cost(&body) > cost(known)) {
                dearest = Some(body);
            }
        }
        let Some(body) = dearest else {
            return Err(self.fault(op.at, "invalid-mlir", "a choice without branches"));
        };
        let selectors: Vec<What> = selector.map(|bound| bound.what).into_iter().collect();
        let reads = self.reads_of(&selectors, &body);
        if body.kernel.origin == Origin::Guessed {
            self.note("guessed-body", self.label(op));
        }
        self.emit(op, "If", Work::Kernel(body.kernel), &reads);
        Ok(())
    }
}
