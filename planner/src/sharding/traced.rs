//! The step of a graph that was read op by op: its forward pass, a loss, and a backward pass by the splits of its ops.
//!
//! An op with known splits has a rule for each letter: tensors with the letter are split, others whole, and results
//! without it partial sums. The gradient of a tensor has its letters, so backward ops have the same rules: of
//! a product one for each factor, of any other op one for all it reads. What the backward pass reads is stored once,
//! under all names that views give it. Where several ops read a tensor, its gradients are summed.
//!
//! Layers are not recomputed; equal ones have their strategies in common ([`layers`](super::layers)).

use std::collections::BTreeMap;

use cost_model::ops::workload::gradient::{Saved, saved};
use ir::graph::Graph as Ops;
use ir::id::{OpId, TensorId};
use ir::op::{Linear, Op, Product, Splits, Work as Does};
use ir::tensor::Role;

use super::decoder::Step;
use super::graph::{Graph, Pin, Work};
use super::lettered::{Run, extents};
use super::rules::{Rule, lettered};

/// Work of the backward pass of attention, which computes scores again, in forward passes.
const BACKWARD: f64 = 2.5;

/// The graph of a step. None where no parameter is trained, and where a size is unknown.
#[must_use]
pub fn step(graph: &Ops, run: &Run) -> Option<Step> {
    let mut of = Traced {
        graph,
        run,
        roots: graph.roots(),
        producers: graph.producers(),
        of: Graph::default(),
        tensors: vec![None; graph.tensors.len()],
        needs: vec![false; graph.tensors.len()],
        gradients: vec![None; graph.tensors.len()],
        contributions: vec![0; graph.tensors.len()],
        again: BTreeMap::new(),
        owners: owners(graph),
        step: Step { graph: Graph::default(), parameters: Vec::new(), stored: Vec::new() },
    };
    of.find_needs();
    graph.ops.iter().for_each(|op| of.forward(op));
    if !of.losses() {
        return None;
    }
    graph.ops.iter().rev().for_each(|op| of.backward(op));
    of.end();
    Some(Step { graph: of.of, ..of.step })
}

/// A step under construction.
struct Traced<'a> {
    graph: &'a Ops,
    run: &'a Run,
    roots: Vec<TensorId>,
    producers: Vec<Option<OpId>>,
    of: Graph,
    /// By tensor that of the step.
    tensors: Vec<Option<usize>>,
    /// By tensor whether its gradient is needed.
    needs: Vec<bool>,
    /// By tensor the sum of its gradients so far, and their number.
    gradients: Vec<Option<usize>>,
    contributions: Vec<u32>,
    /// By tensor what the backward pass reads of it.
    again: BTreeMap<TensorId, usize>,
    /// By tensor the layer that produces it; of a source the one that alone reads it, else nothing.
    owners: Vec<&'a str>,
    step: Step,
}

/// An op under construction: operands with their words.
#[derive(Default)]
struct Draft {
    reads: Vec<(usize, String)>,
    writes: Vec<(usize, String)>,
    /// Sets of inputs that may be partial sums together.
    partial: Vec<Vec<usize>>,
}

impl Traced<'_> {
    fn find_needs(&mut self) {
        for op in &self.graph.ops {
            let passes = op.work == Does::View || saved(&op.op_type) != Saved::Stop;
            let mut reads = op.inputs.iter().chain(&op.parameters);
            let needs = passes && reads.any(|of| self.needs[of.index()] || self.is_trained(*of));
            for output in &op.outputs {
                self.needs[output.index()] =
                    needs && self.graph.tensor(*output).dtype.is_wide_float();
            }
        }
    }

    fn is_trained(&self, tensor: TensorId) -> bool {
        let tensor = self.graph.tensor(tensor);
        tensor.role == Role::Parameter && tensor.trainable && tensor.dtype.is_wide_float()
    }

    /// A new tensor of the form of one of the graph.
    fn like(&mut self, tensor: TensorId, name: &str) -> usize {
        let of = self.graph.tensor(tensor);
        let n = of.shape.iter().fold(1, |n: u64, size| n.saturating_mul(*size));
        let number = self.of.tensor(name, &of.shape);
        self.of.tensors[number].element_bytes = of.bytes.as_f64() / (n.max(1)) as f64;
        number
    }

    /// A tensor that an op reads; those of no op are sources.
    fn read(&mut self, tensor: TensorId) -> usize {
        if let Some(number) = self.tensors[tensor.index()] {
            return number;
        }
        let of = self.graph.tensor(tensor);
        let (word, name) = (letters(&of.shape), of.name.clone());
        let number = self.like(tensor, &name);
        self.tensors[tensor.index()] = Some(number);
        self.op(&name, [&[], &[number]], lettered(&[], &[&word], &[]), tensor);
        match of.role {
            Role::Parameter if self.is_trained(tensor) => {
                self.priced(Work::Update(self.run.update_bytes));
                self.step.parameters.push(number);
            }
            Role::Parameter => self.step.stored.push(number),
            _ => {}
        }
        number
    }

    /// Adds an op without FLOPs that is of the layer of a tensor.
    fn op(&mut self, name: &str, operands: [&[usize]; 2], rules: Vec<Rule>, of: TensorId) {
        self.of.op(name, 0.0, operands, rules);
        let layer = self.owners[of.index()];
        self.of.ops.iter_mut().last().into_iter().for_each(|op| op.layer = layer.to_owned());
    }

    fn priced(&mut self, work: Work) {
        self.of.ops.iter_mut().last().into_iter().for_each(|op| op.work = work.clone());
    }

    fn add(&mut self, name: &str, (op, flops): (&Op, f64), draft: &Draft, work: Work) {
        let numbers = |of: &[(usize, String)]| of.iter().map(|of| of.0).collect::<Vec<_>>();
        let words = |of: &[(usize, String)]| of.iter().map(|of| of.1.clone()).collect::<Vec<_>>();
        let [reads, writes] = [&draft.reads, &draft.writes].map(|of| words(of));
        let [reads, writes]: [Vec<&str>; 2] =
            [&reads, &writes].map(|of| of.iter().map(String::as_str).collect());
        let rules = lettered(&reads, &writes, &draft.partial);
        self.of.op(name, flops, [&numbers(&draft.reads), &numbers(&draft.writes)], rules);
        self.priced(work);
        let layer = op.module.as_deref().map(layer).unwrap_or_default();
        self.of.ops.iter_mut().last().into_iter().for_each(|op| op.layer = layer.to_owned());
    }

    fn forward(&mut self, op: &Op) {
        let mut draft = Draft::default();
        for tensor in op.inputs.iter().chain(&op.parameters) {
            draft.reads.push((self.read(*tensor), word(op, *tensor)));
        }
        for tensor in &op.outputs {
            let name = self.graph.tensor(*tensor).name.clone();
            let number = self.like(*tensor, &name);
            self.tensors[tensor.index()] = Some(number);
            draft.writes.push((number, word(op, *tensor)));
        }
        let n = draft.reads.len();
        draft.partial = match op.splits.linear {
            Linear::No => Vec::new(),
            Linear::InEach(first) => (0..first.min(n)).map(|at| vec![at]).collect(),
            Linear::InAll => vec![(0..n).collect()],
        };
        // Whole numbers and truths are no partial sums.
        let reads: Vec<TensorId> = op.inputs.iter().chain(&op.parameters).copied().collect();
        let is_float = |of: &TensorId| self.graph.tensor(*of).dtype.is_wide_float();
        let may = op.outputs.iter().all(is_float);
        draft.partial.retain(|set| may && set.iter().all(|at| is_float(&reads[*at])));
        let (flops, work) = match factors(op) {
            Some([a, b]) if op.op_type != "Conv" => {
                let words = [word(op, a), word(op, b), word(op, op.outputs[0])];
                let all = [&op.inputs[..], &op.parameters].concat();
                let at = |of| all.iter().position(|other| *other == of).unwrap_or_default();
                (flops(op), Work::Product(extents(&words, [at(a), at(b)])))
            }
            _ => self.work(op, false),
        };
        self.add(&op.name, (op, flops), &draft, work);
    }

    /// FLOPs and work of an op that is no plain product.
    fn work(&self, op: &Op, is_backward: bool) -> (f64, Work) {
        let Does::Kernel(kernel) = &op.work else { return (0.0, Work::View) };
        let is_attention = op.op_type.ends_with("Attention");
        match &kernel.products[..] {
            [] => (0.0, Work::Pointwise),
            [scores, _] if is_attention => {
                let is_causal = op.op_type.starts_with("Causal");
                let share = if is_causal { 0.5 } else { 1.0 };
                let passes = if is_backward { BACKWARD } else { 1.0 };
                let (tokens, head, queries) = (scores.n, scores.k, None);
                (passes * share * flops(op), Work::Attention { tokens, head, is_backward, queries })
            }
            products => {
                let both = |p: &Product| {
                    [Product { k: p.n, n: p.k, ..*p }, Product { m: p.k, k: p.m, ..*p }]
                };
                let all: Vec<Product> = match is_backward {
                    true => products.iter().flat_map(both).collect(),
                    false => products.to_vec(),
                };
                (0.0, Work::Products(all.iter().map(|p| [p.count, p.m, p.n, p.k]).collect()))
            }
        }
    }

    /// The gradients that the passes begin with; false where nothing is trained.
    fn losses(&mut self) -> bool {
        let mut outputs = self.graph.outputs.clone();
        outputs.dedup();
        outputs.retain(|tensor| self.needs[tensor.index()]);
        for (n, tensor) in outputs.iter().enumerate() {
            let Some(read) = self.tensors[tensor.index()] else { continue };
            let gradient = self.contribution(*tensor);
            let shape = &self.graph.tensor(*tensor).shape;
            let mut word = letters(shape);
            // A loss may mix the last dimension, such as the classes of a token.
            if word.pop().is_some() {
                word.push(Splits::WHOLE);
            }
            let mut rules = lettered(&[&word], &[&word], &[]);
            let is_scalar = shape.iter().all(|size| *size == 1);
            if is_scalar {
                // The gradient of a sum of parts is 1 for each.
                rules.extend(rules.first().cloned().map(Rule::of_sum));
            }
            let name = if n == 0 { "loss".to_owned() } else { format!("loss.{}", n + 1) };
            self.of.op(&name, 0.0, [&[read], &[gradient]], rules);
            if is_scalar {
                self.priced(Work::View);
            }
            self.gradients[tensor.index()] = Some(gradient);
        }
        !outputs.is_empty()
    }

    /// A tensor for a gradient of a tensor, one of those that are summed.
    fn contribution(&mut self, tensor: TensorId) -> usize {
        let n = &mut self.contributions[tensor.index()];
        *n += 1;
        let of = &self.graph.tensor(tensor).name;
        let name = if *n == 1 { format!("{of}.grad") } else { format!("{of}.grad.{n}") };
        let number = self.like(tensor, &name);
        if self.is_trained(tensor) {
            self.of.tensors[number].element_bytes = self.run.element_bytes[1];
        }
        number
    }

    /// Adds a gradient to those that arrived before.
    fn arrive(&mut self, tensor: TensorId, gradient: usize) {
        let Some(before) = self.gradients[tensor.index()] else {
            self.gradients[tensor.index()] = Some(gradient);
            return;
        };
        let (n, of) = (self.contributions[tensor.index()], self.graph.tensor(tensor));
        let name = format!("{}.grad.sum.{n}", of.name);
        let word = letters(&of.shape);
        let bytes = self.of.tensors[gradient].element_bytes;
        let sum = self.like(tensor, &name);
        self.of.tensors[sum].element_bytes = bytes;
        let rules = lettered(&[word.as_str(); 2], &[&word], &[vec![0, 1]]);
        self.op(&name, [&[before, gradient], &[sum]], rules, tensor);
        self.gradients[tensor.index()] = Some(sum);
    }

    /// What the backward pass reads of a tensor of the forward pass.
    fn store(&mut self, tensor: TensorId) -> usize {
        let read = self.read(tensor);
        if !self.run.stores {
            return read;
        }
        if let Some(again) = self.again.get(&tensor) {
            return *again;
        }
        let root = self.roots[tensor.index()];
        let number = match self.producers[tensor.index()].map(|op| self.graph.op(op)) {
            Some(view) if root != tensor => {
                let source = view.inputs.first().or_else(|| view.parameters.first());
                let source = source.copied().unwrap_or(root);
                let of = self.store(source);
                let name = format!("{}.stored", self.graph.tensor(tensor).name);
                let number = self.like(tensor, &name);
                let draft = Draft {
                    reads: vec![(of, word(view, source))],
                    writes: vec![(number, word(view, tensor))],
                    partial: Vec::new(),
                };
                self.add(&name, (view, 0.0), &draft, Work::View);
                number
            }
            _ => {
                let name = format!("{}.stored", self.of.tensors[read].name);
                let number = self.like(tensor, &name);
                let word = letters(&self.graph.tensor(tensor).shape);
                self.op(&name, [&[read], &[number]], lettered(&[&word], &[&word], &[]), tensor);
                self.priced(Work::Nothing);
                self.step.stored.push(number);
                number
            }
        };
        self.again.insert(tensor, number);
        number
    }

    fn backward(&mut self, op: &Op) {
        let grads: Vec<(usize, String)> = op
            .outputs
            .iter()
            .filter_map(|tensor| Some((self.gradients[tensor.index()]?, word(op, *tensor))))
            .collect();
        if grads.is_empty() {
            return;
        }
        let reads = [&op.inputs[..], &op.parameters].concat();
        let needs = |of: &TensorId| self.needs[of.index()] || self.is_trained(*of);
        let mut wanted: Vec<TensorId> = reads.iter().copied().filter(needs).collect();
        let is_linear = op.splits.linear != Linear::No;
        if let Some(factors) = factors(op) {
            for (at, tensor) in factors.into_iter().enumerate() {
                if !wanted.contains(&tensor) {
                    continue;
                }
                wanted.retain(|other| *other != tensor);
                let other = factors[1 - at];
                self.factor(op, &grads[0], (tensor, other));
            }
            // What is added to a product gets its gradient summed over what it lacks.
            for tensor in wanted {
                self.all(op, &grads, (&[tensor], &[]), (true, 0.0, Work::Pointwise));
            }
            return;
        }
        let (flops, work) = match &op.work {
            // Elements that were left out, or repeated, are filled or summed.
            Does::View if !is_renamed(self.graph, op) => (0.0, Work::Pointwise),
            _ => self.work(op, true),
        };
        let read_again = self.read_again(op, (&reads, &wanted));
        self.all(op, &grads, (&wanted, &read_again), (is_linear, flops, work));
    }

    /// The gradient of a factor of a product.
    fn factor(
        &mut self,
        op: &Op,
        gradient: &(usize, String),
        (tensor, other): (TensorId, TensorId),
    ) {
        let stored = self.store(other);
        let wanted = self.contribution(tensor);
        let words = [gradient.1.clone(), word(op, other), word(op, tensor)];
        let work = match op.op_type.as_str() {
            "Conv" => {
                let (_, work) = self.work(op, false);
                work
            }
            _ => Work::Product(extents(&words, [0, 1])),
        };
        let [_, read, written] = words;
        let draft = Draft {
            reads: vec![gradient.clone(), (stored, read)],
            writes: vec![(wanted, written)],
            partial: vec![vec![0]],
        };
        let name = format!("{}.backward.{}", op.name, self.graph.tensor(tensor).name);
        self.add(&name, (op, flops(op)), &draft, work);
        self.arrive(tensor, wanted);
    }

    /// One op for the gradients of all that an op reads.
    fn all(
        &mut self,
        op: &Op,
        grads: &[(usize, String)],
        (wanted, read_again): (&[TensorId], &[TensorId]),
        (is_linear, flops, work): (bool, f64, Work),
    ) {
        if wanted.is_empty() {
            return;
        }
        let mut draft = Draft { reads: grads.to_vec(), ..Draft::default() };
        if is_linear {
            draft.partial.push((0..grads.len()).collect());
        }
        for tensor in read_again {
            draft.reads.push((self.store(*tensor), word(op, *tensor)));
        }
        for tensor in wanted {
            draft.writes.push((self.contribution(*tensor), word(op, *tensor)));
        }
        let name = match wanted {
            [one] if factors(op).is_some() => {
                format!("{}.backward.{}", op.name, self.graph.tensor(*one).name)
            }
            _ => format!("{}.backward", op.name),
        };
        self.add(&name, (op, flops), &draft, work);
        for (tensor, (number, _)) in wanted.iter().zip(&draft.writes) {
            self.arrive(*tensor, *number);
        }
    }

    /// Tensors of the forward pass that a backward op reads.
    fn read_again(&self, op: &Op, (reads, wanted): (&[TensorId], &[TensorId])) -> Vec<TensorId> {
        let no_float = |of: &&TensorId| !self.graph.tensor(**of).dtype.is_wide_float();
        let both = reads.iter().chain(&op.outputs);
        match saved(&op.op_type) {
            _ if op.work == Does::View => Vec::new(),
            Saved::Nothing | Saved::Stop => Vec::new(),
            Saved::Indices => both.filter(no_float).copied().collect(),
            Saved::OtherFactors => {
                let is_read =
                    |of: &&TensorId| reads.len() == 1 || wanted.iter().any(|other| other != *of);
                reads.iter().filter(is_read).copied().collect()
            }
            Saved::Inputs => reads.to_vec(),
            Saved::Outputs => op.outputs.clone(),
            Saved::InputsAndOutputs | Saved::Unknown => both.copied().collect(),
        }
    }

    /// Has gradients of parameters end where these lie.
    fn end(&mut self) {
        for (at, gradient) in self.gradients.clone().into_iter().enumerate() {
            if let (Some(tensor), Some(like)) = (gradient, self.tensors[at])
                && self.is_trained(TensorId::new(at))
            {
                self.of.pins.push(Pin { tensor, like });
            }
        }
    }
}

fn flops(op: &Op) -> f64 {
    match &op.work {
        Does::Kernel(kernel) => kernel.flops().as_f64(),
        Does::View | Does::Given(_) => 0.0,
    }
}

/// A letter for each dimension of more than one element.
fn letters(shape: &[u64]) -> String {
    let all = ('a'..='z').chain('A'..='Z');
    let all = all.chain(std::iter::repeat(Splits::WHOLE));
    shape.iter().zip(all).map(|(size, of)| if *size > 1 { of } else { Splits::WHOLE }).collect()
}

/// The letters of a tensor of an op; none where nothing is known of the op.
fn word(op: &Op, tensor: TensorId) -> String {
    let all = op.inputs.iter().chain(&op.parameters).chain(&op.outputs);
    let found = all.zip(&op.splits.words).find(|(of, _)| **of == tensor);
    found.map(|(_, word)| word.clone()).unwrap_or_default()
}

/// The two factors of a product: what it sums over is a dimension of both.
fn factors(op: &Op) -> Option<[TensorId; 2]> {
    let Does::Kernel(kernel) = &op.work else { return None };
    let is_product = ["MatMul", "Gemm", "Einsum", "Conv"].contains(&op.op_type.as_str());
    let [output] = op.outputs[..] else { return None };
    if kernel.products.is_empty() || !is_product {
        return None;
    }
    let written = word(op, output);
    let reads = || op.inputs.iter().chain(&op.parameters);
    let has_summed = |of: &&TensorId| {
        word(op, **of).chars().any(|letter| letter != Splits::WHOLE && !written.contains(letter))
    };
    let found: Vec<TensorId> = reads().filter(has_summed).copied().collect();
    <[TensorId; 2]>::try_from(found).ok()
}

/// Whether a view has all elements of what it names, once.
fn is_renamed(graph: &Ops, op: &Op) -> bool {
    let n = |of: &TensorId| {
        let shape = &graph.tensor(*of).shape;
        shape.iter().fold(1, |n: u64, size| n.saturating_mul(*size))
    };
    let read = op.inputs.first().or_else(|| op.parameters.first()).map(n);
    matches!(&op.outputs[..], [one] if Some(n(one)) == read)
}

/// By tensor the layer of the op that produces it; of a source the layer that alone reads it, else nothing.
fn owners(graph: &Ops) -> Vec<&str> {
    let mut all: Vec<Option<&str>> = vec![None; graph.tensors.len()];
    for op in &graph.ops {
        let layer = op.module.as_deref().map(layer).unwrap_or_default();
        for tensor in op.inputs.iter().chain(&op.parameters) {
            let of = all[tensor.index()].get_or_insert(layer);
            *of = if *of == layer { layer } else { "" };
        }
    }
    for op in &graph.ops {
        let layer = op.module.as_deref().map(layer).unwrap_or_default();
        op.outputs.iter().for_each(|tensor| all[tensor.index()] = Some(layer));
    }
    all.into_iter().map(Option::unwrap_or_default).collect()
}

/// The path of a module down to the number of a layer.
fn layer(module: &str) -> &str {
    let mut end = 0;
    for part in module.split('.') {
        end += part.len();
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            return &module[..end];
        }
        end += 1;
    }
    module
}

#[cfg(test)]
mod tests;
