//! Loops: one op each, of the work of the body times the number of times that it runs.

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Origin, Work};

use super::Builder;
use super::bound::{Bound, Direction, Scalar, What};
use super::control::Body;
use crate::stablehlo::syntax::{Operation, Region, ValueId};

impl<'p, 't> Builder<'p, 't> {
    /// `while`.
    pub(super) fn loop_over(&mut self, op: &'p Operation<'t>) -> Result<(), Diagnostic> {
        let [condition, body] = op.regions.as_slice() else {
            return Err(self.fault(op.at, "invalid-mlir", "a loop has a condition and a body"));
        };
        let n = op.operands.len();
        if [condition, body].iter().any(|own| own.arguments.len() != n) || op.n_results as usize > n
        {
            let message = "the arguments of a loop are not as many as its values";
            return Err(self.fault(op.at, "type-mismatch", message));
        }
        self.n_loops += 1;
        let own = self.n_loops;
        let starts: Vec<Bound> = op.operands.iter().map(|value| self.what(*value)).collect();
        let kept = kept(body);
        let given: Vec<Option<Bound>> = (0..n)
            .map(|place| {
                let scalar = Scalar::Counter { of: own, place, more: 0 };
                // What the loop hands on unchanged is read from outside.
                let carried = Bound { what: What::Nothing, scalar };
                Some(if kept[place] { starts[place] } else { carried })
            })
            .collect();
        let body = self.summed(&[condition, body], &[given.clone(), given])?;
        let trips = trips(own, &starts, &body);
        let mut kernel = body.kernel.clone();
        match trips {
            Some(count) => repeat(&mut kernel, count).ok_or_else(|| {
                let message = "the work of a loop does not fit into 64 bits";
                self.fault(op.at, "size-overflow", message)
            })?,
            None => {
                kernel.origin = Origin::Guessed;
                self.note("guessed-trip-count", self.label(op));
            }
        }
        let carried: Vec<What> =
            (0..n).filter(|place| !kept[*place]).map(|place| starts[place].what).collect();
        let reads = self.reads_of(&carried, &body);
        self.emit(op, "Loop", Work::Kernel(kernel), &reads);
        let results: Vec<ValueId> = op.results().collect();
        for (place, value) in results.into_iter().enumerate().filter(|(place, _)| kept[*place]) {
            self.bind(value, starts[place].what, starts[place].scalar);
        }
        Ok(())
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
fn trips(own: u32, starts: &[Bound], body: &Body) -> Option<u64> {
    let [condition, after] = body.returned.as_slice() else { return None };
    let Scalar::Test { of, place, more, limit, direction } = condition.first()?.scalar else {
        return None;
    };
    let Scalar::Known(start) = starts.get(place)?.scalar else { return None };
    let Scalar::Counter { of: stepped, place: next, more: step } = after.get(place)?.scalar else {
        return None;
    };
    if of != own || stepped != own || next != place || step == 0 {
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

/// The work of `count` runs one after the other; `None` past 64 bits.
fn repeat(kernel: &mut Kernel, count: u64) -> Option<()> {
    for product in &mut kernel.products {
        product.count = product.count.checked_mul(count)?;
        product.flops()?;
    }
    kernel.bytes_read = kernel.bytes_read.checked_mul(count)?;
    kernel.bytes_written = kernel.bytes_written.checked_mul(count)?;
    Some(())
}
