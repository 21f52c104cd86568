//! Loops: one op each, of the work of the body times the number of times that it runs; those over
//! stacked weights, as `jax.lax.scan` makes them of layers, are unfolded.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::{Origin, Work};
use ir::tensor::Role;

use super::Builder;
use super::bound::{Bound, Direction, Scalar, What};
use super::control::Body;
use crate::stablehlo::syntax::{Operation, Region, ValueId};

/// Most runs of a loop that is unfolded, and most operations of all of them.
const MOST_LAYERS: u64 = 512;
const MOST_UNFOLDED: u64 = 200_000;

impl<'p, 't> Builder<'p, 't> {
    /// `while`.
    pub(super) fn loop_over(&mut self, op: &'p Operation<'t>) -> Result<(), Diagnostic> {
        let [condition, body] = op.regions.as_slice() else {
            return Err(self.fault(op.at, "invalid-mlir", "a loop has a condition and a body"));
        };
        let n = op.operands.len();
        if [condition, body].iter().any(|region| region.arguments.len() != n)
            || op.n_results as usize > n
        {
            let message = "the arguments of a loop are not as many as its values";
            return Err(self.fault(op.at, "type-mismatch", message));
        }
        self.n_loops += 1;
        let number = self.n_loops;
        let starts: Vec<Bound> = op.operands.iter().map(|value| self.what(*value)).collect();
        let is_kept = kept(body);
        let given: Vec<Option<Bound>> = (0..n)
            .map(|place| {
                let scalar = Scalar::Counter { of: number, place, more: 0 };
                // What the loop hands on unchanged is read from outside.
                let carried = Bound { what: What::Nothing, scalar };
                Some(if is_kept[place] { starts[place] } else { carried })
            })
            .collect();
        let before = self.n_steps;
        self.runs.push(None);
        let (region, body) = (body, self.summed(&[condition, body], &[given.clone(), given])?);
        self.runs.pop();
        let trips = trips(number, &starts, &body);
        if let Some(count) = trips
            && self.is_stack(&body, count, self.n_steps - before)
        {
            return self.unfold(op, region, starts, count);
        }
        let mut kernel = body.kernel.clone();
        match trips {
            Some(count) => {
                kernel = kernel.repeated(count).ok_or_else(|| {
                    let message = "the work of a loop does not fit into 64 bits";
                    self.fault(op.at, "size-overflow", message)
                })?;
            }
            None => {
                kernel.origin = Origin::Guessed;
                self.note("guessed-trip-count", self.label(op));
            }
        }
        let carried: Vec<What> =
            (0..n).filter(|place| !is_kept[*place]).map(|place| starts[place].what).collect();
        let reads = self.reads_of(&carried, &body);
        self.emit(op, "Loop", Work::Kernel(kernel), &reads);
        let results: Vec<ValueId> = op.results().collect();
        for (place, value) in results.into_iter().enumerate().filter(|(place, _)| is_kept[*place]) {
            self.bind(value, starts[place].what, starts[place].scalar);
        }
        Ok(())
    }
}

impl<'p, 't> Builder<'p, 't> {
    /// Whether a loop runs through layers: it has products, and weights with a layer for each run.
    fn is_stack(&self, body: &Body, count: u64, n_steps: usize) -> bool {
        let is_layered = |id: &&TensorId| {
            let tensor = self.graph.tensor(**id);
            tensor.role == Role::Parameter && tensor.shape.first() == Some(&count)
        };
        let n_all = count.saturating_mul(n_steps as u64);
        self.unfolds
            && self.n_summed == 0
            && (2..=MOST_LAYERS).contains(&count)
            && n_all <= MOST_UNFOLDED
            && !body.kernel.products.is_empty()
            && body.reads.iter().any(|id| is_layered(&id))
    }

    /// Runs the body once for each layer.
    fn unfold(
        &mut self,
        op: &'p Operation<'t>,
        body: &'p Region<'t>,
        mut carried: Vec<Bound>,
        count: u64,
    ) -> Result<(), Diagnostic> {
        let label = self.label(op);
        let outer = self.prefix.clone();
        for run in 0..count {
            self.prefix = format!("{label}.{run}/");
            self.runs.push(Some(run));
            for (value, bound) in body.arguments.iter().zip(&carried) {
                self.bind(*value, bound.what, bound.scalar);
            }
            carried = self.run(body)?;
            self.runs.pop();
        }
        self.prefix = outer;
        for (value, bound) in op.results().zip(carried) {
            self.bind(value, bound.what, bound.scalar);
        }
        Ok(())
    }

    /// The layer of a stacked parameter that a slice with known starts takes in an unfolded loop.
    pub(super) fn layer(&mut self, op: &Operation<'t>) -> Option<TensorId> {
        let (stack, starts) = op.operands.split_first()?;
        let What::Tensor(stack) = self.what(*stack).what else { return None };
        let starts: Option<Vec<i64>> = starts
            .iter()
            .map(|value| match self.what(*value).scalar {
                Scalar::Known(start) => Some(start),
                _ => None,
            })
            .collect();
        let (run, rest) = starts.as_deref()?.split_first()?;
        let stacked = self.graph.tensor(stack);
        let shape = self.shape(op.first_result)?;
        let is_layer = stacked.role == Role::Parameter
            && self.n_summed == 0
            && self.runs.iter().any(Option::is_some)
            && rest.iter().all(|start| *start == 0)
            && shape.first() == Some(&1)
            && shape.get(1..) == stacked.shape.get(1..);
        if !is_layer {
            return None;
        }
        if let Some(known) = self.layers.get(&(stack, *run)) {
            return Some(*known);
        }
        let (name, trainable) = (format!("{}[{run}]", stacked.name), stacked.trainable);
        let of = self.program.types_of[op.first_result as usize];
        let layer = self.add_tensor(name, of, Role::Parameter);
        let tensor = &mut self.graph.tensors[layer.index()];
        tensor.trainable = trainable;
        // The first extent, of one layer, is taken away at once by whoever slices.
        tensor.shape.remove(0);
        self.layers.insert((stack, *run), layer);
        self.is_layer.insert(layer);
        Some(layer)
    }
}

/// By place, whether a body hands its argument back as it came.
fn kept(body: &Region<'_>) -> Vec<bool> {
    let returned = body.returned();
    (0..body.arguments.len())
        .map(|place| returned.get(place) == body.arguments.get(place))
        .collect()
}

/// How often a loop runs, where a counter is held against a number and grows by another.
fn trips(number: u32, starts: &[Bound], body: &Body) -> Option<u64> {
    let [condition, after] = body.returned.as_slice() else { return None };
    let Scalar::Test { of, place, more, limit, direction } = condition.first()?.scalar else {
        return None;
    };
    let Scalar::Known(start) = starts.get(place)?.scalar else { return None };
    let Scalar::Counter { of: stepped, place: next, more: step } = after.get(place)?.scalar else {
        return None;
    };
    if of != number || stepped != number || next != place || step == 0 {
        return None;
    }
    let first = i128::from(start) + i128::from(more);
    let (limit, step) = (i128::from(limit), i128::from(step));
    // Numbers up to and without `limit`, counted upwards.
    let (distance, step) = match direction {
        Direction::Less => (limit - first, step),
        Direction::LessOrEqual => (limit + 1 - first, step),
        Direction::Greater => (first - limit, -step),
        Direction::GreaterOrEqual => (first + 1 - limit, -step),
        Direction::NotEqual if (limit - first) % step == 0 => {
            ((limit - first) * step.signum(), step.abs())
        }
        Direction::NotEqual => return None,
    };
    if distance <= 0 {
        return Some(0);
    }
    if step < 0 {
        return None;
    }
    u64::try_from((distance + step - 1) / step).ok()
}
