//! Backward and optimizer ops of a forward graph.
//!
//! * Each op with an ancestor that is trained, itself on a way to an output of floating type, gets
//!   a `BackwardInput` op for the gradients of its activations and a `BackwardWeight` op for those
//!   of its trained parameters; [`backward`](super::backward) has the rules.
//! * Where several ops read a tensor, its gradients are added one by one as they arrive, on the
//!   device of its producer.
//! * Gradients of parameters live in the persistent gradient buffer that `state_bytes` counts, so
//!   a `BackwardWeight` op writes only a token of no bytes, which the optimizer op waits for.
//! * The loss is one op that reads the outputs and writes their gradients and a scalar; the scalar
//!   is what the step returns.
//! * Forward, backward and optimizer ops of an op share a device, and so do all ops that share a
//!   trained parameter.

use std::collections::HashSet;
use std::fmt;

use ir::diagnostic::Diagnostic;
use ir::graph::{Gradient, Graph};
use ir::id::{OpId, TensorId};
use ir::op::{Kernel, Op, Phase, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;
use ir::workload::Optimizer;

use super::backward;
use super::fusion;
use super::gradient::{Saved, saved};
use super::groups::Groups;
use super::joint;
use super::names::Names;
use super::parameters::{is_float, is_trained};
use super::states::{States, elements, states, traffic};
use crate::kernels::rates;

/// What an op reads, parameters resolved through views.
#[derive(Clone, Debug, Default)]
pub(super) struct Operands {
    /// Produced tensors and graph inputs.
    pub(super) activations: Vec<TensorId>,
    /// Parameters, each once.
    pub(super) parameters: Vec<TensorId>,
}

/// A step under construction.
pub(super) struct Step {
    pub(super) graph: Graph,
    /// By tensor of the forward graph.
    roots: Vec<TensorId>,
    producers: Vec<Option<OpId>>,
    needs_gradient: Vec<bool>,
    gradients: Vec<Option<TensorId>>,
    /// By tensor of the forward graph: tokens of finished weight gradients.
    tokens: Vec<Vec<TensorId>>,
    states: Vec<States>,
    /// By op: the forward op that it belongs to.
    owner: Vec<Option<OpId>>,
    pub(super) n_micro_batches: u64,
    op_names: Names,
    tensor_names: Names,
}

/// The graph of a training step of one micro-batch, as a stack that fuses runs it or op by op; the
/// number of micro-batches decides whether weight gradients are added to what the buffer holds.
pub(super) fn synthesise(
    mut graph: Graph,
    (optimizer, n_micro_batches): (Optimizer, u64),
    is_fused: bool,
) -> Result<Graph, Diagnostic> {
    let n_ops = graph.ops.iter().filter(|op| op.phase == Phase::Forward).count();
    let is_recorded = !graph.gradients.is_empty();
    let whole = if is_fused && !is_recorded { fusion::forward(&mut graph) } else { Vec::new() };
    let mut step = with_backward(graph, (optimizer, n_micro_batches), true)?;
    let mut groups = Groups::of(&step.graph);
    step.join_groups(&mut groups, n_ops);
    step.add_optimizers(optimizer);
    for ops in whole {
        ops.iter().for_each(|op| groups.join(ops[0], *op));
    }
    if is_fused {
        for [a, b] in fusion::chains::fuse(&mut step.graph, &step.owner) {
            groups.join(a, b);
        }
    }
    groups.write(&mut step.graph, &step.owner);
    step.graph.source_op_ids.clear();
    step.graph.source_tensor_ids.clear();
    Ok(step.graph)
}

/// The forward ops and, behind them, their backward ops, with the forward op that each belongs to;
/// as a stack that fuses runs them, or one by one.
pub(super) fn owned(
    mut graph: Graph,
    is_fused: bool,
) -> Result<(Graph, Vec<Option<OpId>>), Diagnostic> {
    if is_fused && graph.gradients.is_empty() {
        fusion::forward(&mut graph);
    }
    // Several micro-batches, so that gradients of weights are added to a buffer.
    let mut step = with_backward(graph, (Optimizer::default(), 2), false)?;
    if is_fused {
        fusion::chains::fuse(&mut step.graph, &step.owner);
    }
    Ok((step.graph, step.owner))
}

fn with_backward(
    mut graph: Graph,
    (optimizer, n_micro_batches): (Optimizer, u64),
    is_named: bool,
) -> Result<Step, Diagnostic> {
    if !graph.gradients.is_empty() {
        let gradients = joint::tokens(&mut graph, n_micro_batches);
        let mut step = Step::new(graph, (optimizer, n_micro_batches), is_named)?;
        step.owner = joint::owners(&step.graph, &gradients);
        for Gradient { parameter, tensor } in gradients {
            step.tokens[parameter.index()].push(tensor);
        }
        return Ok(step);
    }
    let n_ops = graph.ops.len();
    let mut step = Step::new(graph, (optimizer, n_micro_batches), is_named)?;
    // Most ops have two backward ops, with a tensor each.
    step.graph.ops.reserve(2 * n_ops);
    step.graph.tensors.reserve(2 * n_ops);
    step.find_needs();
    step.add_loss()?;
    for op in (0..n_ops).rev().map(OpId::new) {
        step.add_backward(op);
    }
    Ok(step)
}

impl Step {
    fn new(
        graph: Graph,
        (optimizer, n_micro_batches): (Optimizer, u64),
        is_named: bool,
    ) -> Result<Self, Diagnostic> {
        let producers = graph.producers();
        for op in graph.op_ids() {
            for input in &graph.op(op).inputs {
                if producers[input.index()].is_some_and(|producer| producer >= op) {
                    return Err(Diagnostic::input(
                        "graph-order",
                        format!(
                            "op `{}` stands before an op whose output it reads",
                            graph.op(op).name
                        ),
                    ));
                }
            }
        }
        let n_tensors = graph.tensors.len();
        let states = graph
            .tensors
            .iter()
            .map(
                |tensor| {
                    if is_trained(tensor) { states(tensor, optimizer) } else { States::default() }
                },
            )
            .collect();
        Ok(Self {
            roots: graph.roots(),
            producers,
            needs_gradient: vec![false; n_tensors],
            gradients: vec![None; n_tensors],
            tokens: vec![Vec::new(); n_tensors],
            states,
            owner: graph.op_ids().map(Some).collect(),
            n_micro_batches,
            op_names: if is_named { Names::of_ops(&graph) } else { Names::silent() },
            tensor_names: if is_named { Names::of_tensors(&graph) } else { Names::silent() },
            graph,
        })
    }

    /// What a forward op reads.
    pub(super) fn operands(&self, op: OpId) -> Operands {
        let mut operands = Operands::default();
        let node = self.graph.op(op);
        for tensor in node.inputs.iter().chain(&node.parameters) {
            let root = self.roots[tensor.index()];
            if self.graph.tensor(root).role != Role::Parameter {
                operands.activations.push(*tensor);
            } else if !operands.parameters.contains(&root) {
                operands.parameters.push(root);
            }
        }
        operands
    }

    /// Whether a forward tensor has a trained ancestor.
    pub(super) fn needs_gradient(&self, tensor: TensorId) -> bool {
        self.needs_gradient.get(tensor.index()).copied().unwrap_or_default()
    }

    /// Whether training updates a parameter.
    pub(super) fn is_trained(&self, parameter: TensorId) -> bool {
        is_trained(self.graph.tensor(parameter))
    }

    /// Bytes of the gradient buffer of a parameter.
    pub(super) fn gradient_bytes(&self, parameter: TensorId) -> Bytes {
        self.states.get(parameter.index()).map_or(Bytes::ZERO, |states| states.gradient)
    }

    fn find_needs(&mut self) {
        for op in self.graph.op_ids() {
            let operands = self.operands(op);
            let node = self.graph.op(op);
            let is_view = node.work == Work::View;
            let passes = is_view || saved(&node.op_type) != Saved::Stop;
            let trained = !is_view && operands.parameters.iter().any(|p| self.is_trained(*p));
            let needs =
                passes && (trained || operands.activations.iter().any(|t| self.needs_gradient(*t)));
            for output in node.outputs.clone() {
                self.needs_gradient[output.index()] =
                    needs && is_float(self.graph.tensor(output).dtype);
            }
        }
    }

    fn add_loss(&mut self) -> Result<(), Diagnostic> {
        let mut seen = HashSet::new();
        let is_read = |tensor: &TensorId| self.needs_gradient(*tensor) && seen.insert(*tensor);
        let read: Vec<TensorId> = self.graph.outputs.iter().copied().filter(is_read).collect();
        let Some(first) = read.first().copied() else {
            return Err(Diagnostic::input(
                "nothing-to-train",
                "no trainable parameter reaches an output of floating type",
            )
            .hint("plan for inference, or import a model with its parameters"));
        };
        let owner = self.producers[self.roots[first.index()].index()].filter(|_| read.len() == 1);
        let mut written = Vec::new();
        for tensor in &read {
            let gradient = self.gradient_of(*tensor);
            self.gradients[tensor.index()] = Some(gradient);
            written.push(gradient);
        }
        let loss = self.add_tensor(Tensor {
            name: "loss".to_owned(),
            dtype: DType::F32,
            shape: Vec::new(),
            bytes: Bytes(4),
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        });
        written.push(loss);
        let kernel = self.loss(&read);
        let op = Op {
            inputs: read,
            outputs: written,
            ..blank("loss".to_owned(), "Loss", Phase::BackwardInput, Work::Kernel(kernel))
        };
        self.add_op(op, owner);
        self.graph.outputs = vec![loss];
        Ok(())
    }

    /// Work of a loss over some outputs: what [`rates::LOGIT_BYTES`] says beside its logits and their
    /// gradients, whose 32-bit copy is there while it runs.
    fn loss(&self, read: &[TensorId]) -> Kernel {
        let logits: u64 = read
            .iter()
            .map(|tensor| elements(self.graph.tensor(*tensor)))
            .fold(0, u64::saturating_add);
        let bytes = self.bytes(read);
        let beside = Bytes(logits.saturating_mul(rates::LOGIT_BYTES as u64 / 2));
        let wide = Bytes(logits.saturating_mul(rates::WIDE_LOGIT as u64));
        Kernel {
            bytes_read: bytes + beside,
            bytes_written: bytes + beside,
            // The gradients take the place of the copy.
            temporary: Bytes(wide.get().saturating_sub(bytes.get())),
            ..Kernel::default()
        }
    }

    fn add_backward(&mut self, op: OpId) {
        let node = self.graph.op(op);
        let gradients: Vec<TensorId> =
            node.outputs.iter().filter_map(|output| self.gradients[output.index()]).collect();
        let Some(first) = gradients.first().copied() else {
            return;
        };
        if node.work == Work::View {
            let source = node.inputs.first().copied().filter(|t| self.needs_gradient(*t));
            if let Some(source) = source {
                let [whole, part] =
                    [source, first].map(|tensor| elements(self.graph.tensor(tensor)));
                if whole == part && gradients.len() == 1 {
                    self.pass_view(op, first, source);
                } else {
                    backward::add_part(self, op, &gradients, source);
                }
            }
            return;
        }
        backward::add(self, op, &gradients);
    }

    /// The gradient of `to` is another name of `from`.
    pub(super) fn pass_view(&mut self, op: OpId, from: TensorId, to: TensorId) {
        let gradient = self.gradient_of(to);
        let name = self.named(format_args!("{}@backward-input", self.graph.op(op).name));
        let view = Op {
            inputs: vec![from],
            outputs: vec![gradient],
            module: self.graph.op(op).module.clone(),
            ..blank(name, "View", Phase::BackwardInput, Work::View)
        };
        self.add_op(view, Some(op));
        self.contribute(to, gradient);
    }

    /// Adds one gradient of a forward tensor to those that arrived before.
    pub(super) fn contribute(&mut self, tensor: TensorId, gradient: TensorId) {
        let Some(before) = self.gradients[tensor.index()] else {
            self.gradients[tensor.index()] = Some(gradient);
            return;
        };
        let sum = self.gradient_of(tensor);
        let each = self.graph.tensor(tensor).bytes;
        let kernel = Kernel { bytes_read: each + each, bytes_written: each, ..Kernel::default() };
        let owner = self.producers[self.roots[tensor.index()].index()];
        let name = self.named(format_args!("{}@sum", self.graph.tensor(tensor).name));
        let add = Op {
            inputs: vec![before, gradient],
            outputs: vec![sum],
            module: owner.and_then(|op| self.graph.op(op).module.clone()),
            ..blank(name, "Add", Phase::BackwardInput, Work::Kernel(kernel))
        };
        self.add_op(add, owner);
        self.gradients[tensor.index()] = Some(sum);
    }

    /// A tensor for a gradient of a forward tensor.
    pub(super) fn gradient_of(&mut self, tensor: TensorId) -> TensorId {
        let of = self.graph.tensor(tensor);
        let gradient = Tensor {
            name: self.named(format_args!("{}@grad", of.name)),
            shape: of.shape.clone(),
            role: Role::Activation,
            trainable: false,
            ..*of
        };
        self.add_tensor(gradient)
    }

    /// A token that says that a forward op's weight gradients are in their buffers.
    pub(super) fn token(&mut self, op: OpId, parameters: &[TensorId]) -> TensorId {
        let token = self.add_tensor(Tensor {
            name: self.named(format_args!("{}@weight-gradient", self.graph.op(op).name)),
            dtype: DType::U8,
            shape: vec![0],
            bytes: Bytes::ZERO,
            state_bytes: Bytes::ZERO,
            role: Role::Activation,
            trainable: false,
        });
        for parameter in parameters {
            self.tokens[parameter.index()].push(token);
        }
        token
    }

    /// A name to be wanted for an op or a tensor.
    pub(super) fn named(&self, words: fmt::Arguments<'_>) -> String {
        self.op_names.text(words)
    }

    /// Adds a tensor under a fresh name.
    fn add_tensor(&mut self, mut tensor: Tensor) -> TensorId {
        tensor.name = self.tensor_names.fresh(tensor.name);
        self.graph.tensors.push(tensor);
        TensorId::new(self.graph.tensors.len() - 1)
    }

    /// Adds an op under a fresh name; it shares the device of `owner`.
    pub(super) fn add_op(&mut self, mut op: Op, owner: Option<OpId>) {
        op.name = self.op_names.fresh(op.name);
        self.graph.ops.push(op);
        self.owner.push(owner);
    }

    /// Bytes of several tensors.
    pub(super) fn bytes(&self, tensors: &[TensorId]) -> Bytes {
        tensors.iter().map(|tensor| self.graph.tensor(*tensor).bytes).sum()
    }

    fn join_groups(&self, groups: &mut Groups, n_forward: usize) {
        // An op that owns another action has a group with it.
        for (op, owner) in self.graph.ops.iter().zip(&self.owner).skip(n_forward) {
            if let (Some(owner), false) = (owner, op.work == Work::View) {
                groups.join(*owner, *owner);
            }
        }
        let mut reader: Vec<Option<OpId>> = vec![None; self.tokens.len()];
        for op in (0..n_forward).map(OpId::new) {
            if self.graph.op(op).work == Work::View {
                continue;
            }
            for parameter in self.operands(op).parameters {
                if self.tokens[parameter.index()].is_empty() {
                    continue;
                }
                let first = *reader[parameter.index()].get_or_insert(op);
                groups.join(first, op);
            }
        }
    }

    fn add_optimizers(&mut self, optimizer: Optimizer) {
        let op_type = match optimizer {
            Optimizer::AdamW => "AdamW",
            Optimizer::Sgd => "Sgd",
            Optimizer::Adafactor => "Adafactor",
            Optimizer::AdamW16 | Optimizer::AdamW8 => "AdamW",
            Optimizer::PagedAdamW | Optimizer::PagedAdamW8 => "AdamW",
            Optimizer::Lion | Optimizer::Lion8 => "Lion",
            Optimizer::Muon => "Muon",
            Optimizer::AdamMini => "AdamMini",
        };
        let mut owner_of_token = vec![None; self.graph.tensors.len()];
        for (op, owner) in self.graph.ops.iter().zip(&self.owner) {
            for output in &op.outputs {
                owner_of_token[output.index()] = *owner;
            }
        }
        for (index, tokens) in std::mem::take(&mut self.tokens).into_iter().enumerate() {
            let Some(owner) = tokens.first().and_then(|token| owner_of_token[token.index()]) else {
                continue;
            };
            let states = self.states[index];
            let parameter = &mut self.graph.tensors[index];
            parameter.state_bytes = states.total();
            let (bytes_read, bytes_written) = traffic(parameter, &states, optimizer);
            let kernel = Kernel { bytes_read, bytes_written, ..Kernel::default() };
            let name = self.op_names.text(format_args!("{}@optimizer", parameter.name));
            let update = Op {
                inputs: tokens,
                parameters: vec![TensorId::new(index)],
                module: self.graph.op(owner).module.clone(),
                ..blank(name, op_type, Phase::Optimizer, Work::Kernel(kernel))
            };
            self.add_op(update, Some(owner));
        }
    }
}

/// An op that reads and writes nothing yet.
pub(super) fn blank(name: String, op_type: &str, phase: Phase, work: Work) -> Op {
    Op {
        name,
        op_type: op_type.to_owned(),
        module: None,
        phase,
        inputs: Vec::new(),
        parameters: Vec::new(),
        outputs: Vec::new(),
        work,
        group: None,
        splits: ir::op::Splits::default(),
    }
}
