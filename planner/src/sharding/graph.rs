//! Ops and tensors of a step, with the strategies of each op.

use std::sync::Arc;

use super::mesh::{Collective, Kernel, Load, Mesh, Part, Placement, Prices};
use super::rules::Rule;

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// Bytes of an element; 0 for one that is not counted.
    pub element_bytes: f64,
    /// Share of the time of its collectives that is priced; the rest is taken to be hidden.
    pub exposed: f64,
}

/// What an op is priced as.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Work {
    /// Reads inputs and writes outputs.
    #[default]
    Pointwise,
    /// Is stored for the backward pass, in no time.
    Nothing,
    /// Another name, in no time.
    View,
    /// Products whose extents no dimension states: number, rows, columns and depth.
    Products(Vec<[u64; 4]>),
    /// A parameter, updated at rest: bytes that the optimizer moves for an element.
    Update(f64),
    /// Products. Number, rows, columns and depth are products of dimensions, each of an operand by number.
    Product([Vec<(usize, u8)>; 4]),
    /// Fused attention, of tokens that a query sees at most and elements of a head, or its backward pass.
    Attention {
        /// Tokens that a query sees at most.
        tokens: u64,
        /// Elements of a head.
        head: u64,
        /// Whether it is the backward pass.
        is_backward: bool,
        /// The dimension of queries by place, later ones of which see more; none where all see as many tokens.
        queries: Option<u8>,
    },
}

/// An op, or without inputs a source: a parameter at rest or an input of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its name.
    pub name: String,
    /// FLOPs of the whole op.
    pub flops: f64,
    /// Numbers of tensors.
    pub inputs: Vec<usize>,
    /// Numbers of tensors.
    pub outputs: Vec<usize>,
    /// What it is priced as.
    pub work: Work,
    /// Its strategies on one axis.
    pub rules: Vec<Rule>,
    /// By axis, numbers of the rules that it may take; nothing where it may take all.
    pub by_axis: Vec<Vec<usize>>,
    /// Equal copies that it counts for: of repeated layers the graph has one.
    pub times: u32,
    /// The layer that it is of; empty where its name says that.
    pub layer: String,
}

/// Copies of equal layers one after another, of which the graph has one, and a tensor that each hands to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Copies.
    pub times: u32,
    /// Number of the tensor that a copy reads; no op produces it.
    pub tensor: usize,
    /// What the first copy reads.
    pub enters: usize,
    /// What a copy leaves.
    pub leaves: usize,
    /// What the last copy leaves, as a source.
    pub ends: usize,
}

/// A tensor that must end in the placement of a source: a gradient in that of its parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Number of the tensor.
    pub tensor: usize,
    /// Number of the tensor that a source produces.
    pub like: usize,
}

/// A limit of bytes on each device.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Such as `parameters and optimizer states`.
    pub name: String,
    /// Bytes at most.
    pub most_bytes: f64,
    /// Numbers of tensors, in the placement that they are produced in, and bytes of an element of each copy.
    pub tensors: Arc<[(usize, f64)]>,
    /// Operands of ops, each by number: inputs, then outputs, in the placements of the op; bytes of an element.
    pub operands: Vec<(usize, usize, f64)>,
}

impl Budget {
    /// The op that it is of: that of its operands.
    pub(super) fn op(&self) -> usize {
        self.operands.first().map_or(0, |(op, ..)| *op)
    }
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// By number.
    pub tensors: Vec<Tensor>,
    /// In their order.
    pub ops: Vec<Op>,
    /// Tensors that end in the placement of others.
    pub pins: Vec<Pin>,
    /// Tensors between equal layers.
    pub chains: Vec<Chain>,
    /// Limits of memory.
    pub budgets: Vec<Budget>,
    /// Collectives that may not be used.
    pub without: Vec<Collective>,
    /// By op the one whose strategy it takes: of equal layers the same op of the first. Empty where all have their own.
    pub tied: Vec<usize>,
}

/// What an op does on a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// Of each input, then of each output.
    pub placements: Vec<Placement>,
    /// Seconds.
    pub seconds: f64,
}

/// What the last of `n` equal parts of `sequence` queries sees, over what parts see on average: a query sees those
/// before it, of a window of `tokens`.
fn most_of(n: u64, sequence: u64, tokens: u64) -> f64 {
    let [n, sequence, tokens] = [n, sequence, tokens].map(|of| of as f64);
    let until = |query: f64| {
        let within = query.min(tokens);
        within * within / 2.0 + (query - within) * tokens
    };
    let all = until(sequence);
    if all > 0.0 { n * (all - until(sequence - sequence / n)) / all } else { 1.0 }
}

impl Graph {
    /// Whether an op has a strategy of its own.
    #[must_use]
    pub fn is_own(&self, op: usize) -> bool {
        self.tied.get(op).is_none_or(|of| *of == op)
    }

    /// Adds a tensor of two bytes per element.
    pub fn tensor(&mut self, name: &str, dims: &[u64]) -> usize {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            element_bytes: 2.0,
            exposed: 1.0,
        });
        self.tensors.len() - 1
    }

    /// Adds an op, or without inputs a source.
    pub fn op(&mut self, name: &str, flops: f64, of: [&[usize]; 2], rules: Vec<Rule>) {
        let [inputs, outputs] = of.map(<[usize]>::to_vec);
        let (name, work) = (name.to_owned(), Work::default());
        let by_axis = Vec::new();
        self.ops.push(Op {
            name,
            flops,
            inputs,
            outputs,
            work,
            rules,
            by_axis,
            times: 1,
            layer: String::new(),
        });
    }

    /// Strategies of an op on a mesh: products of those on one axis; of equal ones the fastest. None whose parts do not
    /// divide.
    #[must_use]
    pub fn strategies(&self, op: &Op, mesh: &Mesh, prices: &dyn Prices) -> Vec<Strategy> {
        let mut products: Vec<Vec<&Rule>> = vec![Vec::new()];
        for axis in 0..mesh.axes.len() {
            let allowed = op.by_axis.get(axis);
            let is_allowed = |at: usize| allowed.is_none_or(|of| of.contains(&at));
            let rules = op.rules.iter().enumerate().filter(|(at, _)| is_allowed(*at));
            let rules: Vec<&Rule> = rules.map(|(_, rule)| rule).collect();
            let of_axis = products.iter().flat_map(|product| {
                rules.iter().map(|rule| product.iter().copied().chain([*rule]).collect())
            });
            products = of_axis.collect();
        }
        let mut found: std::collections::BTreeMap<Vec<Placement>, f64> =
            std::collections::BTreeMap::new();
        for product in products {
            let Some(Strategy { placements, seconds }) =
                self.strategy(op, (mesh, prices), &product)
            else {
                continue;
            };
            let orders = match mesh.is_ordered {
                true => mesh.orders(&placements),
                false => vec![placements],
            };
            for placements in orders {
                let least = found.entry(placements).or_insert(f64::INFINITY);
                *least = least.min(seconds);
            }
        }
        let of = |(placements, seconds)| Strategy { placements, seconds };
        found.into_iter().map(of).collect()
    }

    /// Seconds of an op by its work: parts that it is divided into, and elements and bytes of those on a device.
    fn seconds(
        &self,
        op: &Op,
        (mesh, prices): (&Mesh, &dyn Prices),
        (placements, (n_parts, [elements, bytes])): (&[Placement], (f64, [f64; 2])),
    ) -> f64 {
        let operands = || op.inputs.iter().chain(&op.outputs);
        let extent = |of: &Vec<(usize, u8)>| -> u64 {
            let local = |(operand, dim): &(usize, u8)| {
                let tensor = operands().nth(*operand).copied().unwrap_or_default();
                let whole = self.tensors[tensor].dims[usize::from(*dim)];
                let split = mesh.axes.iter().zip(&placements[*operand]);
                let split = split.filter(|(_, part)| part.split() == Some(*dim));
                split.fold(whole, |size, (axis, _)| size / axis.size.max(1))
            };
            of.iter().map(local).fold(1, u64::saturating_mul)
        };
        let flops = op.flops / n_parts;
        let load = |bytes, kernel| Load { flops, bytes, kernel };
        match &op.work {
            Work::Nothing | Work::View => 0.0,
            Work::Pointwise if op.inputs.is_empty() => 0.0,
            Work::Pointwise => prices.op_s(&load(bytes, Kernel::Pointwise)),
            Work::Update(each) => prices.op_s(&load(elements * each, Kernel::Pointwise)),
            Work::Product(of) => {
                let [number, rows, columns, depth] = of;
                let extents = [number, rows, columns, depth].map(extent);
                prices.op_s(&load(bytes, Kernel::Product(extents)))
            }
            Work::Products(all) => {
                // Rows are split first: they are samples, or positions.
                let one = |[number, rows, columns, depth]: &[u64; 4]| {
                    let left = (n_parts / *rows as f64).max(1.0);
                    let rows = (*rows as f64 / n_parts).max(1.0) as u64;
                    let number = (*number as f64 / left).max(1.0) as u64;
                    prices.op_s(&load(0.0, Kernel::Product([number, rows, *columns, *depth])))
                };
                all.iter().map(one).sum()
            }
            Work::Attention { tokens, head, is_backward, queries } => {
                let (tokens, head, is_backward) = (*tokens, *head, *is_backward);
                let most = queries.map_or(1.0, |dim| {
                    let sequence = self.tensors[op.outputs[0]].dims[usize::from(dim)];
                    let n = sequence / extent(&vec![(op.inputs.len(), dim)]).max(1);
                    most_of(n, sequence, tokens)
                });
                let kernel = Kernel::Attention { tokens, head, is_backward };
                prices.op_s(&Load { flops: flops * most, bytes, kernel })
            }
        }
    }

    /// One rule per axis as a strategy, where all parts divide.
    fn strategy(
        &self,
        op: &Op,
        (mesh, prices): (&Mesh, &dyn Prices),
        rules: &[&Rule],
    ) -> Option<Strategy> {
        let operands = || op.inputs.iter().chain(&op.outputs);
        let placements: Vec<Placement> = (0..operands().count())
            .map(|at| rules.iter().map(|rule| rule.parts[at]).collect())
            .collect();
        let (mut elements, mut bytes) = (0.0, 0.0);
        for (tensor, placement) in operands().zip(&placements) {
            let Tensor { dims, element_bytes, .. } = &self.tensors[*tensor];
            let local = mesh.local(dims, placement)?;
            elements += local;
            bytes += local * element_bytes;
        }
        let divided = mesh.axes.iter().zip(rules).filter(|(_, rule)| rule.is_divided);
        let n: f64 = divided.map(|(axis, _)| axis.size as f64).product();
        let sizes = (n, [elements, bytes]);
        let mut seconds = self.seconds(op, (mesh, prices), (&placements, sizes));
        for (at, rule) in rules.iter().enumerate() {
            let Some(statistics) = &rule.statistics else { continue };
            // Statistics have no dimension that the axis splits, and are of one summand.
            let mut dims = self.tensors[*operands().nth(statistics.operand)?].dims.clone();
            *dims.get_mut(usize::from(statistics.dim))? = 1;
            let mut placement = placements[statistics.operand].clone();
            for part in &mut placement {
                if part.split() == Some(statistics.dim) {
                    *part = Part::Replicated;
                }
            }
            let bytes = mesh.local(&dims, &placement)? * statistics.element_bytes;
            let each_s = prices.collective_s(at, Collective::AllReduce, bytes);
            seconds += f64::from(statistics.n_all_reduces) * each_s;
        }
        Some(Strategy { placements, seconds })
    }
}
