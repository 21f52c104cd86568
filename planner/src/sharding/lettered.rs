//! Graphs of ops on dimensions with letters, such as `bsh` of batch x tokens x hidden.

use std::collections::{BTreeMap, BTreeSet};

use ir::op::Splits;

use super::graph::{Chain, Graph, Pin, Work};
use super::rules::{Rule, einsum, elementwise, source, sum};

/// How a step is run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// Sequences that go through together.
    pub n_sequences: u64,
    /// Whether equal layers are one copy.
    pub is_collapsed: bool,
    /// Whether what the backward pass reads is stored in one placement, which a budget can count; else whatever
    /// one pass has gathered the other one has, too.
    pub stores: bool,
    /// Whether layers store their input alone and run again in the backward pass.
    pub recomputes: bool,
    /// Bytes of an element of activations and weights, and of gradients of weights.
    pub element_bytes: [f64; 2],
    /// Bytes that the optimizer moves for a parameter.
    pub update_bytes: f64,
}

impl Run {
    /// So many sequences through all layers, by time alone.
    #[must_use]
    pub const fn timed(n_sequences: u64, is_collapsed: bool) -> Self {
        Self {
            n_sequences,
            is_collapsed,
            stores: false,
            recomputes: false,
            element_bytes: [2.0; 2],
            update_bytes: 0.0,
        }
    }
}

/// Number, rows, columns and depth of a product by the words of its factors and of its result, each as dimensions of
/// the factors, which are operands by these numbers.
pub(super) fn extents(words: &[String; 3], operands: [usize; 2]) -> [Vec<(usize, u8)>; 4] {
    let [a, b, _] = words;
    let letters: BTreeSet<char> = [a.as_str(), b].concat().chars().collect();
    let of = |wanted: [bool; 3]| {
        let is_in = |of: char| words.each_ref().map(|word| word.contains(of));
        let letters = letters.iter().filter(|of| **of != Splits::WHOLE && is_in(**of) == wanted);
        let factor = usize::from(!wanted[0]);
        let dims = letters.filter_map(|of| words[factor].find(*of));
        dims.map(|dim| (operands[factor], dim as u8)).collect()
    };
    [[true; 3], [true, false, true], [false, true, true], [true, true, false]].map(of)
}

/// A graph and the dimensions of its tensors.
#[derive(Clone, Debug, Default)]
pub struct Lettered {
    /// The graph.
    pub graph: Graph,
    sizes: BTreeMap<char, u64>,
    /// By tensor the letters of its dimensions.
    words: Vec<String>,
    /// Copies of the ops that are added.
    pub times: u32,
    /// Equal layers that they are of.
    pub copies: u32,
    /// How the step is run.
    pub run: Run,
    /// Bytes of an element of a tensor.
    pub element_bytes: f64,
    /// Parameters.
    pub parameters: Vec<usize>,
    /// By tensor the one that is stored between passes.
    pub stored: BTreeMap<usize, usize>,
}

impl Lettered {
    /// An empty graph with sizes of dimensions.
    #[must_use]
    pub fn new(sizes: &[(char, u64)]) -> Self {
        let sizes = sizes.iter().copied().collect();
        let run = Run::timed(1, true);
        Self { sizes, run, times: 1, copies: 1, element_bytes: 2.0, ..Self::default() }
    }

    /// Changes the sizes of some dimensions, for tensors that are added from then on.
    pub fn resize(&mut self, sizes: &[(char, u64)]) {
        self.sizes.extend(sizes.iter().copied());
    }

    /// The size of a dimension; 1 where it has none.
    #[must_use]
    pub fn size(&self, letter: char) -> u64 {
        self.sizes.get(&letter).copied().unwrap_or(1)
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, name: &str, word: &str) -> usize {
        self.words.push(word.to_owned());
        let dims: Vec<u64> = word.chars().map(|letter| self.size(letter)).collect();
        let number = self.graph.tensor(name, &dims);
        self.graph.tensors[number].element_bytes = self.element_bytes;
        number
    }

    /// States what the op that was added last is priced as.
    pub fn priced(&mut self, work: Work) {
        self.graph.ops.iter_mut().last().into_iter().for_each(|op| op.work = work.clone());
    }

    /// What the backward pass reads of an activation: one that is stored, where layers do not run again.
    pub fn saved(&mut self, tensor: usize) -> usize {
        if self.run.recomputes { tensor } else { self.store(tensor) }
    }

    /// What the backward pass reads of a tensor: one that is stored in a placement of its own.
    pub fn store(&mut self, tensor: usize) -> usize {
        if !self.run.stores {
            return tensor;
        }
        if let Some(stored) = self.stored.get(&tensor) {
            return *stored;
        }
        let name = format!("{}.stored", self.graph.tensors[tensor].name);
        let word = self.words[tensor].clone();
        let rules = elementwise(&[&word, &word], &word);
        let times = std::mem::replace(&mut self.times, self.copies);
        let stored = self.add(&name, 0.0, &[tensor], &word, rules);
        self.priced(Work::Nothing);
        self.times = times;
        self.stored.insert(tensor, stored);
        stored
    }

    /// Adds a parameter at rest, which the optimizer updates there.
    pub fn parameter(&mut self, name: &str, word: &str) -> usize {
        let times = std::mem::replace(&mut self.times, self.copies);
        let weight = self.source(name, word);
        self.priced(Work::Update(self.run.update_bytes));
        self.times = times;
        self.parameters.push(weight);
        weight
    }

    /// Adds a parameter or an input.
    pub fn source(&mut self, name: &str, word: &str) -> usize {
        let of = self.tensor(name, word);
        self.op(name, 0.0, [&[], &[of]], source(word));
        of
    }

    /// Adds an op on tensors.
    pub fn op(&mut self, name: &str, flops: f64, of: [&[usize]; 2], rules: Vec<Rule>) {
        self.graph.op(name, flops, of, rules);
        self.graph.ops.iter_mut().last().into_iter().for_each(|op| op.times = self.times);
    }

    /// Begins copies of equal layers that read and leave a tensor: what each reads. [`Self::ended`] ends them.
    pub fn repeated(&mut self, name: &str, enters: usize, times: u32) -> usize {
        (self.times, self.copies) = (times, times);
        let word = self.words[enters].clone();
        let tensor = self.tensor(name, &word);
        self.graph.chains.push(Chain { times, tensor, enters, leaves: enters, ends: enters });
        tensor
    }

    /// Ends the copies that were begun last, and gives what the last one leaves.
    pub fn ended(&mut self, name: &str, leaves: usize) -> usize {
        (self.times, self.copies) = (1, 1);
        let word = self.words[leaves].clone();
        let ends = self.tensor(name, &word);
        let has = |op: &&super::graph::Op| op.outputs == [leaves];
        let found = self.graph.ops.iter().find(has).map(|op| op.rules.clone());
        let mut rules = found.unwrap_or_default();
        rules.iter_mut().for_each(|rule| rule.parts = rule.parts.split_off(rule.parts.len() - 1));
        self.op(name, 0.0, [&[], &[ends]], rules);
        if let Some(chain) = self.graph.chains.last_mut() {
            (chain.leaves, chain.ends) = (leaves, ends);
        }
        ends
    }

    /// Adds a product of two tensors, summed over the letters that the output lacks: two FLOPs for each element of all
    /// dimensions.
    pub fn einsum(&mut self, name: &str, [a, b]: [usize; 2], word: &str) -> usize {
        let words = [self.words[a].clone(), self.words[b].clone()];
        let letters: BTreeSet<char> = words.concat().chars().collect();
        let flops: f64 = letters.iter().map(|of| self.size(*of) as f64).product();
        let rules = einsum([&words[0], &words[1]], word);
        let output = self.add(name, 2.0 * flops, &[a, b], word, rules);
        let [a, b] = words;
        self.priced(Work::Product(extents(&[a, b, word.to_owned()], [0, 1])));
        output
    }

    /// Adds an op on tensors of equal dimensions, split along some letters, and of summands if it `is_sum`.
    pub fn each(&mut self, name: &str, inputs: &[usize], (letters, is_sum): (&str, bool)) -> usize {
        let word = self.words[inputs[0]].clone();
        let operands = vec![word.as_str(); inputs.len() + 1];
        let rules = if is_sum { sum(&operands, letters) } else { elementwise(&operands, letters) };
        self.add(name, 0.0, inputs, &word, rules)
    }

    /// Adds the sums of several tensors, two by two.
    pub fn sum(&mut self, name: &str, all: &[usize], letters: &str) -> usize {
        let (mut sum, mut n) = (all[0], all.len());
        for other in &all[1..] {
            n -= 1;
            let name = if n > 1 { format!("{name}.{n}") } else { name.to_owned() };
            sum = self.each(&name, &[sum, *other], (letters, true));
        }
        sum
    }

    /// Adds an op with one output.
    pub fn add(
        &mut self,
        name: &str,
        flops: f64,
        inputs: &[usize],
        word: &str,
        rules: Vec<Rule>,
    ) -> usize {
        let output = self.tensor(name, word);
        self.op(name, flops, [inputs, &[output]], rules);
        output
    }

    /// Has a tensor end in the placement of a source.
    pub fn pin(&mut self, tensor: usize, like: usize) {
        self.graph.pins.push(Pin { tensor, like });
    }

    /// Adds the gradient of a parameter, which ends in its placement.
    pub fn gradient(&mut self, name: &str, of: [usize; 2], parameter: usize) {
        let gradient = self.unpinned(name, of, parameter);
        self.pin(gradient, parameter);
    }

    /// Adds a gradient of a parameter that others are added to.
    pub fn unpinned(&mut self, name: &str, of: [usize; 2], parameter: usize) -> usize {
        let word = self.words[parameter].clone();
        let activations = std::mem::replace(&mut self.element_bytes, self.run.element_bytes[1]);
        let gradient = self.einsum(name, of, &word);
        self.element_bytes = activations;
        gradient
    }
}
