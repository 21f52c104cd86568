//! Where the batch stands inside axes that merge it with others.

use crate::onnx::infer::ValueId;
use crate::onnx::infer::carry::{Growth, Held, States, grown_axes};
use crate::onnx::infer::control::call_of;
use crate::onnx::infer::layout::permutation;
use crate::onnx::infer::program::Step;

fn product(extents: &[u64]) -> Option<u128> {
    crate::onnx::infer::elements(extents).map(u128::from)
}

impl States<'_> {
    /// Elements from one sample to the next in the file, in a value that holds the batch on `axis`.
    /// Where nothing is known the batch is the outer factor of its axis.
    pub(super) fn stride(
        &self,
        id: ValueId,
        axis: usize,
        old: &[u64],
        growth: Growth,
    ) -> Option<u128> {
        let behind = product(old.get(axis + 1..)?)?;
        match self.held[id].iter().find(|(at, _)| *at == axis) {
            Some((_, inside)) => behind.checked_mul(u128::from(*inside)),
            None => behind
                .checked_mul(u128::from(growth.from))?
                .checked_div(u128::from(self.batch.from)),
        }
    }

    /// The axis of `output` that holds samples `stride` elements apart.
    pub(super) fn place(
        &self,
        old: &[u64],
        axis: usize,
        stride: u128,
        output: &[u64],
    ) -> Option<usize> {
        let span = stride.checked_mul(u128::from(self.batch.from))?;
        let mut fits = Vec::new();
        for (position, extent) in output.iter().enumerate() {
            let inner = product(output.get(position + 1..)?)?;
            let outer = inner.checked_mul(u128::from(*extent))?;
            if inner > 0 && inner <= stride && span <= outer && stride.is_multiple_of(inner) {
                fits.push((position, inner));
            }
        }
        let [(outer, _), .., (inner, _)] = fits[..] else {
            return fits.first().map(|(position, _)| *position);
        };
        // A single sample has no elements to go by: several axes may hold it. One of its own does;
        // else it joins the rows of a matrix, or the axis whose neighbours stay as they are.
        let is_single = |(at, size): &&(usize, u128)| output[*at] == 1 && *size == stride;
        if let Some((position, _)) = fits.iter().find(is_single) {
            return Some(*position);
        }
        let keeps_front = old.get(..axis) == output.get(..inner);
        let keeps_back = old.get(axis + 1..) == output.get(outer + 1..);
        Some(if output.len() > 2 && keeps_front && !keeps_back { inner } else { outer })
    }

    /// Where the batch stands in output `id` of a node, whose shape is now `new`.
    pub(crate) fn held_in(&self, step: &Step<'_>, id: ValueId, new: Option<&[u64]>) -> Held {
        let (Some(old), Some(new)) = (self.reference[id].shape.as_deref(), new) else {
            return Held::new();
        };
        let axes = grown_axes(old, new).into_iter();
        axes.filter_map(|(axis, growth)| Some((axis, self.inside(step, old, axis, growth)?)))
            .collect()
    }

    /// Elements of an output axis inside the batch, by those of the inputs.
    fn inside(&self, step: &Step<'_>, old: &[u64], axis: usize, growth: Growth) -> Option<u64> {
        let op_type = step.node.op_type.as_str();
        if matches!(op_type, "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") {
            return self.renamed(step, old, axis);
        }
        let order = match op_type {
            "Transpose" => permutation(&call_of(step, self.reference)).ok().flatten(),
            _ => None,
        };
        let rank = old.len();
        let known = (0..step.inputs.len()).flat_map(|index| self.sources(step, index));
        // The same axis first, then one of this extent, then any.
        known
            .filter(|source| {
                let whole = source.inside.checked_mul(self.batch.from);
                whole.is_some_and(|whole| whole > 0 && growth.from.is_multiple_of(whole))
            })
            .min_by_key(|source| {
                let is_same = match &order {
                    Some(order) => order.get(axis) == Some(&source.axis),
                    None => {
                        source.axis == axis
                            || source.rank - source.axis == rank.saturating_sub(axis)
                    }
                };
                let is_as_large = source.growth == growth;
                (!(is_same && is_as_large), !is_as_large, !is_same)
            })
            .map(|source| source.inside)
    }

    /// [`Self::inside`] for operators that keep the order of elements.
    fn renamed(&self, step: &Step<'_>, old: &[u64], axis: usize) -> Option<u64> {
        let inner = product(old.get(axis + 1..)?)?;
        let outer = inner.checked_mul(u128::from(*old.get(axis)?))?;
        let (before, now) = self.shapes(step, 0)?;
        let id = step.inputs.first().copied().flatten()?;
        grown_axes(before, now).into_iter().find_map(|(from, growth)| {
            let stride = self.stride(id, from, before, growth)?;
            let span = stride.checked_mul(u128::from(self.batch.from))?;
            if inner == 0 || stride < inner || span > outer {
                return None;
            }
            u64::try_from(stride / inner).ok()
        })
    }

    /// Axes of an input that hold the batch.
    fn sources(&self, step: &Step<'_>, index: usize) -> Vec<Source> {
        let Some((old, new)) = self.shapes(step, index) else { return Vec::new() };
        let Some(id) = step.inputs.get(index).copied().flatten() else { return Vec::new() };
        let axes = grown_axes(old, new).into_iter();
        axes.filter_map(|(axis, growth)| {
            let (_, inside) = self.held[id].iter().find(|(at, _)| *at == axis)?;
            Some(Source { axis, rank: old.len(), growth, inside: *inside })
        })
        .collect()
    }
}

/// An axis of an input that holds the batch.
struct Source {
    axis: usize,
    rank: usize,
    growth: Growth,
    inside: u64,
}
