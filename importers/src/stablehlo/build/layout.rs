//! Operations that rename, turn, broadcast, multiply or reduce.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::{Kernel, Origin, Product, Work};
use ir::tensor::Role;

use super::Builder;
use super::bound::{Scalar, Spread, What};
use crate::stablehlo::products;
use crate::stablehlo::syntax::{Operation, ValueId, numbers};

type Done = Result<(), Diagnostic>;

impl<'t> Builder<'_, 't> {
    /// Results are operands, or other names of them where their types differ.
    pub(super) fn same(&mut self, op: &Operation<'t>) {
        let n_operands = op.operands.len();
        for (place, result) in op.results().enumerate() {
            let Some(operand) = op.operands.get(place.min(n_operands.saturating_sub(1))) else {
                self.bind(result, What::Nothing, Scalar::Unknown);
                continue;
            };
            let bound = self.what(*operand);
            let of = self.program.types_of[result as usize];
            if self.program.types_of[*operand as usize] == of {
                self.bind(result, bound.what, bound.scalar);
            } else {
                let what = self.renamed(op, bound.what, result);
                self.bind(result, what, bound.scalar);
            }
        }
    }

    /// A view of what a value stands for, with the type of a result.
    pub(super) fn renamed(&mut self, op: &Operation<'t>, what: What, result: ValueId) -> What {
        let (Some(source), Some(_)) = (self.place(what), self.tensor_type(result)) else {
            return What::Nothing;
        };
        let of = self.program.types_of[result as usize];
        let tensor = self.add_tensor(self.label(op), of, Role::Activation);
        let path = self.path(op);
        self.push("Identity".to_owned(), Work::View, &[source], vec![tensor], path);
        What::Tensor(tensor)
    }

    pub(super) fn view(&mut self, op: &Operation<'t>, op_type: &str) -> Done {
        let Some(operand) = op.operands.first().copied() else { return Ok(()) };
        let elements = |value| self.tensor_type(value).and_then(|t| t.elements());
        if let (Some(before), Some(after)) = (elements(operand), elements(op.first_result))
            && before != after
        {
            let message = format!("a reshape of {before} elements to {after}");
            return Err(self.fault(op.at, "shape-mismatch", message));
        }
        let bound = self.what(operand);
        let of = self.program.types_of[op.first_result as usize];
        if let What::Constant(index) = bound.what {
            let constant = &self.constants[index as usize];
            let (is_splat, is_written) = (constant.is_splat, constant.is_written);
            let what = self.add_constant(self.label(op), of, is_splat, is_written);
            self.bind(op.first_result, what, bound.scalar);
            return Ok(());
        }
        if let What::Tensor(tensor) = bound.what
            && self.is_layer.contains(&tensor)
            && Some(&self.graph.tensor(tensor).shape) == self.shape(op.first_result).as_ref()
        {
            self.bind(op.first_result, bound.what, bound.scalar);
            return Ok(());
        }
        let reads: Vec<TensorId> = self.place(bound.what).into_iter().collect();
        self.emit(op, op_type, Work::View, &reads);
        self.bind(op.first_result, self.what(op.first_result).what, bound.scalar);
        Ok(())
    }

    /// A cast to the type that the data has is no op.
    pub(super) fn cast(&mut self, op: &Operation<'t>, op_type: &str) {
        let Some(operand) = op.operands.first().copied() else { return };
        let bound = self.what(operand);
        let types = [operand, op.first_result].map(|value| self.tensor_type(value));
        let [Some(from), Some(to)] = types else { return };
        if from == to {
            return self.bind(op.first_result, bound.what, bound.scalar);
        }
        let is_view = op_type == "BitCast";
        let is_small = to.elements() == Some(1) || self.is_splat(operand);
        if self.is_constant(operand) && is_small && !is_view {
            let of = self.program.types_of[op.first_result as usize];
            let what = self.add_constant(self.label(op), of, true, false);
            return self.bind(op.first_result, what, bound.scalar);
        }
        let reads: Vec<TensorId> = match is_view {
            true => self.place(bound.what).into_iter().collect(),
            false => self.place_narrow(bound.what).into_iter().collect(),
        };
        let work = if is_view { Work::View } else { Work::Kernel(self.streams(op, &reads)) };
        self.emit(op, op_type, work, &reads);
        self.bind(op.first_result, self.what(op.first_result).what, bound.scalar);
    }

    /// Turning a parameter is another name for it, as is moving axes of 1; of an activation it is a
    /// copy.
    pub(super) fn transpose(&mut self, op: &Operation<'t>) -> Done {
        let Some(operand) = op.operands.first().copied() else { return Ok(()) };
        let order = numbers(op.clause(&["dims", "permutation"]).unwrap_or_default());
        let mut moves = true;
        if let Some(shape) = self.shape(operand) {
            let axis = |n: &i64| usize::try_from(*n).ok().filter(|axis| *axis < shape.len());
            let axes: Vec<usize> = order.iter().filter_map(axis).collect();
            if axes.len() == shape.len() {
                let turned: Vec<u64> = axes.iter().map(|axis| shape[*axis]).collect();
                self.alike(op, op.first_result, &turned, "a transpose does not fit")?;
                let wide = axes.iter().filter(|axis| shape[**axis] > 1);
                moves = !wide.is_sorted();
            }
        }
        let Some(source) = self.place(self.what(operand).what) else { return Ok(()) };
        let roots_parameter = self.is_parameter(source);
        let is_view = !moves || roots_parameter;
        let op_type = if moves { "Transpose" } else { "Reshape" };
        let work = if is_view { Work::View } else { Work::Kernel(self.streams(op, &[source])) };
        self.emit(op, op_type, work, &[source]);
        Ok(())
    }

    /// Whether a tensor is a parameter or a view of one.
    pub(super) fn is_parameter(&self, tensor: TensorId) -> bool {
        self.graph.tensor(tensor).role == Role::Parameter || self.renamed.contains(&tensor)
    }

    /// A broadcast: no copy until something needs one.
    pub(super) fn spread(&mut self, op: &Operation<'t>) -> Done {
        let Some(operand) = op.operands.first().copied() else { return Ok(()) };
        let types = [operand, op.first_result].map(|value| self.tensor_type(value).cloned());
        let bound = self.what(operand);
        if types[0] == types[1] {
            self.bind(op.first_result, bound.what, bound.scalar);
            return Ok(());
        }
        if let [Some(from), Some(to)] = &types
            && let (Some(before), Some(after)) = (from.elements(), to.elements())
            && before > 0
            && after % before != 0
        {
            let message = format!("a broadcast of {before} elements to {after}");
            return Err(self.fault(op.at, "shape-mismatch", message));
        }
        let source = match bound.what {
            What::Spread(index) => self.spreads[index as usize].source,
            what => what,
        };
        let of = self.program.types_of[op.first_result as usize];
        self.spreads.push(Spread { name: self.label(op), source, of, placed: None });
        let what = What::Spread((self.spreads.len() - 1) as u32);
        self.bind(op.first_result, what, bound.scalar);
        Ok(())
    }

    pub(super) fn dot(&mut self, op: &Operation<'t>) -> Done {
        let &[left, right, ..] = op.operands.as_slice() else { return Ok(()) };
        let mut plain = false;
        let mut product = None;
        if let (Some(a), Some(b)) = (self.shape(left), self.shape(right)) {
            let found = products::contraction(op, &a, &b)
                .map_err(|why| self.fault(op.at, "shape-mismatch", why))?;
            self.alike(op, op.first_result, &found.result, "a product does not fit")?;
            plain = found.is_plain;
            product = Some(found.product);
        }
        let op_type = if plain { "MatMul" } else { "Einsum" };
        self.product(op, op_type, product.into_iter().collect())
    }

    /// An op with products in the type of its first operand.
    pub(super) fn product(
        &mut self,
        op: &Operation<'t>,
        op_type: &str,
        products: Vec<Product>,
    ) -> Done {
        if products.iter().any(|product| product.flops().is_none()) {
            let message = "the operations of a product do not fit into 64 bits";
            return Err(self.fault(op.at, "size-overflow", message));
        }
        let reads: Vec<TensorId> =
            op.operands.iter().filter_map(|value| self.place(self.what(*value).what)).collect();
        let dtype = op.operands.first().and_then(|value| self.tensor_type(*value)).map(|t| t.dtype);
        let origin = if products.is_empty() { Origin::Guessed } else { Origin::Rule };
        let dtype = dtype.filter(|_| !products.is_empty());
        let kernel = Kernel { products, dtype, origin, ..self.streams(op, &reads) };
        self.emit(op, op_type, Work::Kernel(kernel), &reads);
        Ok(())
    }

    pub(super) fn convolution(&mut self, op: &Operation<'t>) -> Done {
        let &[input, kernel, ..] = op.operands.as_slice() else { return Ok(()) };
        let shapes = [input, kernel, op.first_result].map(|value| self.shape(value));
        let found = match &shapes {
            [Some(input), Some(kernel), Some(output)] => {
                products::convolution(op, [input, kernel, output])
            }
            _ => None,
        };
        let op_type =
            if found.is_some_and(|(_, turned)| turned) { "ConvTranspose" } else { "Conv" };
        self.product(op, op_type, found.map(|(product, _)| product).into_iter().collect())
    }

    pub(super) fn reduce(&mut self, op: &Operation<'t>) -> Done {
        let axes = numbers(op.clause(&["dimensions"]).unwrap_or_default());
        if let (Some(operand), 1..) = (op.operands.first(), op.n_results)
            && let Some(shape) = self.shape(*operand)
        {
            let is_kept = |(axis, _): &(usize, &u64)| !axes.contains(&(*axis as i64));
            let remaining: Vec<u64> =
                shape.iter().enumerate().filter(is_kept).map(|(_, extent)| *extent).collect();
            self.alike(op, op.first_result, &remaining, "a reduction does not fit")?;
        }
        let op_type = match reducer(op) {
            b"add" => "ReduceSum",
            b"maximum" | b"or" => "ReduceMax",
            b"minimum" | b"and" => "ReduceMin",
            b"multiply" => "ReduceProd",
            _ if op.n_results == 2 => "ArgMax",
            _ => "ReduceL2",
        };
        self.moved(op, op_type, crate::stablehlo::rules::Kind::Streams);
        Ok(())
    }

    pub(super) fn reduce_window(&mut self, op: &Operation<'t>) {
        let window = numbers(op.clause(&["window_dimensions"]).unwrap_or_default());
        let shape = op.operands.first().and_then(|value| self.shape(*value)).unwrap_or_default();
        let is_whole = window
            .iter()
            .zip(&shape)
            .any(|(taps, extent)| *extent > 1 && u64::try_from(*taps) == Ok(*extent));
        let keeps = self.shape(op.first_result).is_some_and(|extents| extents == shape);
        let op_type = match reducer(op) {
            b"maximum" | b"minimum" => "MaxPool",
            // A window as long as its axis that keeps the extents sums up what lies before.
            _ if is_whole && keeps => "CumSum",
            _ => "AveragePool",
        };
        self.moved(op, op_type, crate::stablehlo::rules::Kind::Streams);
    }
}

/// The one operation of a reduction's body, without its dialect.
fn reducer<'t>(op: &Operation<'t>) -> &'t [u8] {
    let mut words = op.clauses.iter().map(|(name, _)| *name);
    if words.any(|word| word == b"applies") {
        let name = words.next().unwrap_or_default();
        return name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    }
    match op.regions.first().map(|region| region.operations.as_slice()) {
        Some([one, _]) => one.short(),
        _ => b"",
    }
}
