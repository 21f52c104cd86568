//! Ops of the graph, as operations are run through.

use ir::id::TensorId;
use ir::op::{Kernel, Op, Origin, Phase, Splits, Work};
use ir::tensor::Role;
use ir::units::Bytes;

use super::Builder;
use super::bound::{Scalar, What};
use crate::stablehlo::fault::shown;
use crate::stablehlo::location::{self, Path};
use crate::stablehlo::syntax::{Operation, ValueId};

impl<'t> Builder<'_, 't> {
    /// Adds an op, named after the first tensor that it writes.
    pub(super) fn push(
        &mut self,
        op_type: String,
        work: Work,
        reads: &[TensorId],
        outputs: Vec<TensorId>,
        (module, is_backward): (Option<String>, bool),
    ) {
        let (mut inputs, mut parameters) = (Vec::new(), Vec::new());
        for tensor in reads {
            let is_parameter = self.graph.tensor(*tensor).role == Role::Parameter;
            let list = if is_parameter { &mut parameters } else { &mut inputs };
            if !list.contains(tensor) {
                list.push(*tensor);
            }
        }
        // A view renames its first input: one of a parameter may not list any other.
        if work == Work::View {
            let is_parameter = reads.first().is_some_and(|first| parameters.contains(first));
            if is_parameter {
                inputs.clear();
            } else {
                parameters.clear();
            }
            if reads.first().is_some_and(|first| self.is_parameter(*first)) {
                self.renamed.extend(&outputs);
            }
        }
        let name = match outputs.first() {
            Some(first) => self.graph.tensor(*first).name.clone(),
            None => self.fresh(format!("{op_type}#{}", self.graph.ops.len())),
        };
        let phase = if is_backward { Phase::BackwardInput } else { Phase::Forward };
        let op = Op {
            name,
            op_type,
            module,
            phase,
            inputs,
            parameters,
            outputs,
            work,
            group: None,
            splits: Splits::default(),
        };
        self.graph.ops.push(op);
    }

    /// The name of an operation in the graph.
    pub(super) fn label(&self, op: &Operation<'t>) -> String {
        format!("{}{}", self.prefix, shown(op.label))
    }

    /// Makes a tensor of each result that has data.
    pub(super) fn results(&mut self, op: &Operation<'t>) -> Vec<TensorId> {
        let label = self.label(op);
        let mut tensors = Vec::new();
        for (place, value) in op.results().enumerate() {
            if self.tensor_type(value).is_none() {
                self.bind(value, What::Nothing, Scalar::Unknown);
                continue;
            }
            let name = if op.n_results > 1 { format!("{label}#{place}") } else { label.clone() };
            let of = self.program.types_of[value as usize];
            let tensor = self.add_tensor(name, of, Role::Activation);
            self.bind(value, What::Tensor(tensor), Scalar::Unknown);
            tensors.push(tensor);
        }
        tensors
    }

    /// An op of this work that reads these tensors and writes the results.
    pub(super) fn emit(
        &mut self,
        op: &Operation<'t>,
        op_type: &str,
        mut work: Work,
        reads: &[TensorId],
    ) -> Vec<TensorId> {
        let outputs = self.results(op);
        // What is read has no data of its own, such as a member of a tuple.
        if work == Work::View && reads.is_empty() {
            work = Work::Kernel(Kernel { origin: Origin::Guessed, ..Kernel::default() });
        }
        let is_open = |builder: &Self, value: &ValueId| {
            builder.tensor_type(*value).is_some_and(|t| t.elements().is_none())
        };
        let mut touched = op.operands.iter().copied().chain(op.results());
        let is_unknown = touched.any(|value| is_open(self, &value));
        let is_bounded = op.results().any(|v| self.tensor_type(v).is_some_and(|t| t.at_most));
        let name = self.label(op);
        if is_unknown {
            self.note("unknown-shape", name);
        } else if is_bounded {
            self.note("data-dependent-size", name);
        }
        if let Work::Kernel(kernel) = &mut work
            && (is_unknown || is_bounded)
        {
            kernel.origin = Origin::Guessed;
        }
        let path = self.path(op);
        self.push(op_type.to_owned(), work, reads, outputs.clone(), path);
        outputs
    }

    /// Work that reads these tensors and writes all results.
    pub(super) fn streams(&self, op: &Operation<'t>, reads: &[TensorId]) -> Kernel {
        Kernel {
            bytes_read: self.bytes(reads),
            bytes_written: self.written(op),
            ..Kernel::default()
        }
    }

    pub(super) fn bytes(&self, tensors: &[TensorId]) -> Bytes {
        let mut seen = tensors.to_vec();
        seen.sort_unstable();
        seen.dedup();
        seen.iter().map(|tensor| self.graph.tensor(*tensor).bytes).sum()
    }

    pub(super) fn written(&self, op: &Operation<'t>) -> Bytes {
        op.results().filter_map(|v| self.tensor_type(v)).map(|t| t.bytes()).sum()
    }

    /// Module of an operation and whether it is of a backward pass. In an unfolded loop the number of
    /// the run is a part of the module, as that of a layer is in a list.
    pub(super) fn path(&mut self, op: &Operation<'t>) -> (Option<String>, bool) {
        let path = self.named_path(op.location);
        let mut parts: Vec<String> = Vec::new();
        let mut runs = self.runs.iter();
        if !path.is_whole {
            parts.extend(self.module.clone());
            runs = self.runs[self.n_outer.min(self.runs.len())..].iter();
        }
        for part in path.modules {
            let part = part.or_else(|| Some(runs.next().copied()??.to_string()));
            parts.extend(part);
        }
        // Where the text gives no names.
        if op.location.is_empty() {
            parts.extend(runs.flatten().map(|run| format!("run.{run}")));
        }
        let module = Some(parts.join(".")).filter(|module| !module.is_empty());
        (module, path.is_backward || self.is_backward)
    }

    fn named_path(&mut self, text: &'t [u8]) -> Path {
        if text.is_empty() {
            return Path::default();
        }
        if let Some(known) = self.paths.get(text) {
            return known.clone();
        }
        let path = self.program.name_of(text).map(location::path).unwrap_or_default();
        self.paths.insert(text, path.clone());
        path
    }
}
