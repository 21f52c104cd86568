//! Calls: functions are inlined, foreign code is taken by its name.

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Product, Work};

use super::Builder;
use super::bound::Scalar;
use crate::stablehlo::fault::shown;
use crate::stablehlo::rules::{self, Kind, Target};
use crate::stablehlo::syntax::{Operation, Region, ValueId, unquoted};

/// Calls within calls.
const MAX_CALLS: usize = 64;

type Done = Result<(), Diagnostic>;

impl<'p, 't> Builder<'p, 't> {
    /// `call`, `composite`, `named_computation`.
    pub(super) fn call(&mut self, op: &'p Operation<'t>) -> Done {
        if let Some(region) = op.regions.first() {
            return self.inline(op, region, false);
        }
        let named = op.clause(&["decomposition", "callee"]).map(|name| &name[1.min(name.len())..]);
        let Some(name) = named.or_else(|| op.clause(&["@"])).map(unquoted) else {
            return Err(self.fault(op.at, "invalid-mlir", "a call names no function"));
        };
        let Some(function) = self.functions.get(name).copied() else {
            let message = format!("no function is called `{}`", shown(name));
            return Err(self.fault(op.at, "undefined-tensor", message));
        };
        if self.calls.contains(&function.name) {
            let message = format!("`{}` calls itself", shown(name));
            return Err(self.fault(op.at, "recursive-function", message));
        }
        if self.calls.len() > MAX_CALLS {
            let message = format!("more than {MAX_CALLS} calls lie within each other");
            return Err(self.fault(op.at, "nesting-limit", message));
        }
        let (module, is_backward) = self.path(op);
        let prefix = format!("{}{}/", self.prefix, shown(name));
        let prefix = std::mem::replace(&mut self.prefix, prefix);
        let module = std::mem::replace(&mut self.module, module);
        let is_backward = std::mem::replace(&mut self.is_backward, is_backward);
        let n_outer = std::mem::replace(&mut self.n_outer, self.runs.len());
        self.calls.push(function.name);
        self.inline(op, &function.body, false)?;
        self.calls.pop();
        (self.prefix, self.module) = (prefix, module);
        (self.is_backward, self.n_outer) = (is_backward, n_outer);
        Ok(())
    }

    /// `sdy.manual_computation`: what each device does by itself, on parts.
    pub(super) fn manual(&mut self, op: &'p Operation<'t>) -> Done {
        let Some(region) = op.regions.first() else { return Ok(()) };
        self.note("one-device", self.label(op));
        self.inline(op, region, true)
    }

    /// Runs through a body in place of an operation.
    fn inline(&mut self, op: &'p Operation<'t>, body: &'p Region<'t>, splits: bool) -> Done {
        if body.arguments.len() != op.operands.len() {
            let message = format!(
                "{} operands are given to {} arguments",
                op.operands.len(),
                body.arguments.len()
            );
            return Err(self.fault(op.at, "type-mismatch", message));
        }
        for (operand, argument) in op.operands.iter().zip(&body.arguments) {
            self.hand_on(op, *operand, *argument, splits)?;
        }
        self.run(body)?;
        let returned = body.returned();
        if returned.len() < op.n_results as usize {
            let message = format!("{} results of {} are named", op.n_results, returned.len());
            return Err(self.fault(op.at, "type-mismatch", message));
        }
        for (value, result) in returned.iter().zip(op.results()) {
            self.hand_on(op, *value, result, splits)?;
        }
        Ok(())
    }

    fn hand_on(&mut self, op: &'p Operation<'t>, from: ValueId, to: ValueId, splits: bool) -> Done {
        let bound = self.what(from);
        let types = [from, to].map(|value| self.program.types_of[value as usize]);
        let is_same = types[0] == types[1] || self.tensor_type(from) == self.tensor_type(to);
        if is_same {
            self.bind(to, bound.what, bound.scalar);
        } else if splits {
            let what = self.renamed(op, bound.what, to);
            self.bind(to, what, Scalar::Unknown);
        } else {
            let message = "an operand has another type than the argument that it is for";
            return Err(self.fault(op.at, "type-mismatch", message));
        }
        Ok(())
    }

    pub(super) fn custom_call(&mut self, op: &'p Operation<'t>) -> Done {
        let name = op.clause(&["@", "call_target_name"]).map(unquoted).unwrap_or_default();
        if op.n_results == 0 {
            return Ok(());
        }
        match rules::target(name) {
            Target::Same => {
                self.keep_sharding(op);
                self.same(op);
            }
            Target::Product => return self.foreign_product(op),
            Target::Attention => return self.foreign_attention(op),
            Target::Draws => {
                let reads = self.data(op);
                let kernel = Kernel { bytes_written: self.written(op), ..Kernel::default() };
                self.emit(op, "RandomUniform", Work::Kernel(kernel), &reads);
            }
            Target::Streams(op_type) => self.moved(op, op_type, Kind::Streams),
            Target::Silent => {}
            Target::Unknown => self.unknown(op, &shown(name)),
        }
        Ok(())
    }

    /// `[.., m, k] x [.., k, n]` of the first result `[.., m, n]`.
    fn foreign_product(&mut self, op: &'p Operation<'t>) -> Done {
        let of = |value: Option<&ValueId>| value.and_then(|value| self.shape(*value));
        let (left, result) = (of(op.operands.first()), self.shape(op.first_result));
        let product = match (left, result.as_deref()) {
            (Some(left), Some([batch @ .., m, n])) => {
                let volume =
                    |extents: &[u64]| extents.iter().fold(1u64, |n, e| n.saturating_mul(*e));
                let count = volume(batch);
                let k = volume(&left).checked_div(count.saturating_mul(*m)).unwrap_or(0);
                Some(Product { count, m: *m, k, n: *n })
            }
            _ => None,
        };
        self.product(op, "MatMul", product.into_iter().collect())
    }

    /// Queries, keys and values as `[batch, length, heads, width]`.
    fn foreign_attention(&mut self, op: &'p Operation<'t>) -> Done {
        let of = |place: usize| op.operands.get(place).and_then(|value| self.shape(*value));
        let products = match (of(0).as_deref(), of(1).as_deref(), of(2).as_deref()) {
            (Some([batch, queries, heads, width]), Some([_, keys, ..]), Some([.., value])) => {
                let count = batch.saturating_mul(*heads);
                vec![
                    Product { count, m: *queries, k: *width, n: *keys },
                    Product { count, m: *queries, k: *keys, n: *value },
                ]
            }
            _ => Vec::new(),
        };
        self.product(op, "Attention", products)
    }

    /// Messages between devices.
    pub(super) fn collective(&mut self, op: &'p Operation<'t>, op_type: &str) {
        self.note("collectives", self.label(op));
        self.moved(op, op_type, Kind::Streams);
    }
}
