//! The batch through constants that hold the file's own.
//!
//! A file made for batch 1 says "reshape to `[1, 12, 64]`" in numbers. On a walk at another batch
//! every value has two shapes, the file's (the reference) and the new one; where they differ the
//! value carries the batch. Rules here move it across nodes whose constants would stop it. A
//! contradiction that they can't resolve leaves the node, and what follows, at the file's batch
//! (see [`crate::onnx::infer::engine`]).
//!
//! An axis may merge the batch with others, `sequence x batch` or `batch x heads`: which of them it
//! is shows only in how many elements stand inside the batch, so that number is carried along.

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;
use crate::onnx::infer::control::call_of;
use crate::onnx::infer::program::Step;

/// The extent of an axis in the file, and now; of the batch itself or of an axis that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    /// In the file.
    pub(crate) from: u64,
    /// Now.
    pub(crate) to: u64,
}

impl Growth {
    /// What becomes of another extent that holds the batch; `None` if it doesn't hold it evenly.
    fn apply(self, extent: u64) -> Option<u64> {
        let grown = u128::from(extent).checked_mul(u128::from(self.to))?;
        if self.from == 0 || grown % u128::from(self.from) != 0 {
            return None;
        }
        u64::try_from(grown / u128::from(self.from)).ok()
    }
}

/// Axes that hold the batch, each with the number of its elements that stand inside it: 1 for
/// `sequence x batch`, the heads for `batch x heads`.
pub(crate) type Held = Vec<(usize, u64)>;

/// Both states of the values of a model.
#[derive(Clone, Copy)]
pub(crate) struct States<'f> {
    /// At the file's batch.
    pub(crate) reference: &'f [Facts],
    /// At the new one.
    pub(crate) now: &'f [Facts],
    /// Where the batch stands in the values at the new one.
    pub(crate) held: &'f [Held],
    /// The batch.
    pub(crate) batch: Growth,
}

/// Axes on which two shapes of one rank differ.
pub(crate) fn grown_axes(old: &[u64], new: &[u64]) -> Vec<(usize, Growth)> {
    if old.len() != new.len() {
        return Vec::new();
    }
    let pairs = old.iter().zip(new).enumerate();
    pairs
        .filter(|(_, (from, to))| from != to)
        .map(|(axis, (from, to))| (axis, Growth { from: *from, to: *to }))
        .collect()
}

impl<'f> States<'f> {
    pub(super) fn shapes(&self, step: &Step<'_>, index: usize) -> Option<(&'f [u64], &'f [u64])> {
        let id = step.inputs.get(index).copied().flatten()?;
        Some((self.reference[id].shape.as_deref()?, self.now[id].shape.as_deref()?))
    }

    /// Whether input `index` is there and the same at both batches.
    fn is_fixed(&self, step: &Step<'_>, index: usize) -> bool {
        step.inputs.get(index).copied().flatten().is_some_and(|id| {
            let (old, new) = (&self.reference[id], &self.now[id]);
            old.shape == new.shape && old.value == new.value
        })
    }

    /// The outputs of a node at the new batch; `None` where a constant stops it.
    pub(crate) fn carried(
        &self,
        step: &Step<'_>,
        inferred: Result<Vec<Facts>, Diagnostic>,
    ) -> Option<Vec<Facts>> {
        let output = step.outputs.first().copied().flatten().map(|id| &self.reference[id]);
        let wanted = match (step.node.op_type.as_str(), output) {
            ("Reshape", Some(output)) => self.reshaped(step, output.shape.as_deref()),
            ("Gather" | "GatherND", _) => self.gathered(step, inferred.as_ref().ok()),
            ("Slice" | "Resize" | "Expand", Some(output)) => {
                self.kept(step, output.shape.as_deref(), inferred.as_ref().ok())
            }
            _ => None,
        };
        if let (Some(wanted), Some(output)) = (wanted, output) {
            return Some(vec![Facts { shape: Some(wanted), ..output.clone() }]);
        }
        inferred.ok().or_else(|| self.lifted(step))
    }

    /// `Reshape` with a constant target: the output axis whose span of elements holds those of the
    /// batch grows, whichever extent the target writes there.
    fn reshaped(&self, step: &Step<'_>, output: Option<&[u64]>) -> Option<Vec<u64>> {
        let (old, new) = self.shapes(step, 0)?;
        let [(axis, growth)] = grown_axes(old, new)[..] else { return None };
        if step.inputs.len() > 1 && !self.is_fixed(step, 1) {
            return None;
        }
        let output = output?;
        let stride = self.stride(step.inputs.first().copied().flatten()?, axis, old, growth)?;
        let position = self.place(old, axis, stride, output)?;
        let mut grown = output.to_vec();
        grown[position] = growth.apply(output[position])?;
        Some(grown)
    }

    /// `Gather`, `GatherND` with indices that don't know the batch, into an axis that holds it:
    /// the file's indices stand for those of every sample.
    fn gathered(&self, step: &Step<'_>, inferred: Option<&Vec<Facts>>) -> Option<Vec<u64>> {
        let (old, new) = self.shapes(step, 0)?;
        let (indices, now) = self.shapes(step, 1)?;
        if indices != now {
            return None;
        }
        let call = call_of(step, self.now);
        let (first, indexed) = if step.node.op_type == "Gather" {
            let axis = call.axis(call.int("axis", 0).ok()?, old.len()).ok()?;
            (axis, axis..axis + 1)
        } else {
            (0, 0..usize::try_from(*indices.last()?).ok()?)
        };
        let mut matching =
            grown_axes(old, new).into_iter().filter(|(axis, _)| indexed.contains(axis));
        let (_, growth) = matching.next()?;
        let mut shape = inferred?.first()?.shape.clone()?;
        // A single index picks one sample, which is what the file says.
        let outer = if step.node.op_type == "Gather" { indices.len() } else { indices.len() - 1 };
        if outer == 0 {
            return None;
        }
        let extent = shape.get_mut(first)?;
        *extent = growth.apply(*extent)?;
        Some(shape)
    }

    /// Operators that keep an axis whole in the file keep it whole.
    fn kept(
        &self,
        step: &Step<'_>,
        output: Option<&[u64]>,
        inferred: Option<&Vec<Facts>>,
    ) -> Option<Vec<u64>> {
        let (old, new) = self.shapes(step, 0)?;
        let output = output?;
        // Right-aligned, for `Expand` may add axes.
        let lead = output.len().checked_sub(old.len())?;
        let mut shape = match inferred {
            Some(facts) => facts.first()?.shape.clone()?,
            None => output.to_vec(),
        };
        let mut changed = false;
        for (axis, growth) in grown_axes(old, new) {
            let position = axis + lead;
            if output.get(position) == Some(&growth.from)
                && shape.get(position) == Some(&growth.from)
            {
                shape[position] = growth.to;
                changed = true;
            }
        }
        changed.then_some(shape)
    }

    /// The node again, with the batch put into inputs that hold the file's on the same axis, for
    /// operators that align their inputs.
    fn lifted(&self, step: &Step<'_>) -> Option<Vec<Facts>> {
        let rule = step.rule?;
        let from_front = step.node.op_type == "Concat";
        let place = |axis: usize, rank: usize| if from_front { axis } else { rank - axis };
        let mut grown = Vec::new();
        for index in 0..step.inputs.len() {
            if let Some((old, new)) = self.shapes(step, index) {
                let axes = grown_axes(old, new).into_iter();
                grown.extend(axes.map(|(axis, growth)| (place(axis, old.len()), growth)));
            }
        }
        let lifted: Vec<Option<Facts>> = step
            .inputs
            .iter()
            .map(|id| {
                let mut facts = self.now[(*id)?].clone();
                if let Some(shape) = &mut facts.shape {
                    let rank = shape.len();
                    for (axis, extent) in shape.iter_mut().enumerate() {
                        let at = place(axis, rank);
                        let growth = grown.iter().find(|(p, g)| *p == at && g.from == *extent);
                        *extent = growth.map_or(*extent, |(_, growth)| growth.to);
                    }
                }
                Some(facts)
            })
            .collect();
        let call = Call {
            node: step.node,
            inputs: lifted.iter().map(Option::as_ref).collect(),
            opset: step.opset,
        };
        (rule.infer)(&call).ok()
    }
}
