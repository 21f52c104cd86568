//! Pairs of `QuantizeLinear` and `DequantizeLinear` as the integer kernels that executors make of
//! them: a product of dequantised factors is one of integers, what is quantised at once is written
//! so, and weights are read as stored.
//!
//! An operator without a product is one of integers where everything goes in dequantised and comes
//! out quantised; of products ONNX Runtime and `TensorRT` also take those that come out as floats.

use std::collections::{HashMap, HashSet};

use ir::tensor::DType;

use crate::onnx::infer::engine::Inferred;
use crate::onnx::infer::program::{Block, Program, Step};
use crate::onnx::infer::{Facts, Source, ValueId};

/// Operators that multiply their first two inputs and have an integer kernel.
const PRODUCTS: &str = "MatMul Gemm Conv ConvTranspose";

/// Other operators that executors run on integers.
const OTHERS: &str = "Add Mul Sub Div Where Concat Split Softmax Sigmoid HardSigmoid HardSwish \
     LeakyRelu Relu Clip Tanh Gelu AveragePool GlobalAveragePool MaxPool GlobalMaxPool ReduceMean \
     Resize Pad Gather Slice Expand Tile Transpose Reshape Flatten Squeeze Unsqueeze DepthToSpace \
     SpaceToDepth InstanceNormalization LayerNormalization";

/// Operators that rename or rearrange a weight before it is multiplied.
const REARRANGED: &str = "Transpose Reshape Flatten Squeeze Unsqueeze Identity";

/// Operators that a kernel applies to what it writes.
const CLAMPS: &str = "Relu Clip";

fn is_one_of(step: &Step<'_>, names: &str) -> bool {
    step.node.domain.is_empty() && names.split_whitespace().any(|name| name == step.node.op_type)
}

fn is_pair_end(step: &Step<'_>, name: &str) -> bool {
    step.node.op_type == name && matches!(step.node.domain.as_str(), "" | "com.microsoft")
}

fn narrow(dtype: Option<DType>) -> Option<DType> {
    dtype.filter(|dtype| dtype.bits() <= 8 && !matches!(dtype, DType::Bool | DType::String))
}

/// What the pairs of a model are made into. Nodes go by their first output.
#[derive(Default)]
pub(crate) struct Integers {
    /// Nodes that are part of another one's kernel, or done before the model runs.
    pub(crate) views: HashSet<ValueId>,
    /// Nodes whose products are of this type.
    pub(crate) products: HashMap<ValueId, DType>,
    /// Values that are held in this type.
    held: HashMap<ValueId, DType>,
    /// Weights that are quantised before the model runs.
    folded: HashSet<ValueId>,
}

impl Integers {
    /// Finds the pairs of a model and puts their sizes into its facts.
    pub(crate) fn find(program: &Program<'_>, facts: &[Facts]) -> Self {
        let mut uses = Uses::default();
        uses.block(&program.main);
        if !uses.steps.iter().any(|step| is_pair_end(step, "DequantizeLinear")) {
            return Self::default();
        }
        let mut finder = Finder { uses, facts, found: Self::default() };
        finder.weights();
        finder.kernels();
        finder.found
    }

    /// Whether every node stands as it is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.views.is_empty() && self.products.is_empty() && self.folded.is_empty()
    }

    /// Puts what was found into the facts of a walk.
    pub(crate) fn settle(&self, inferred: &mut Inferred) {
        for (id, dtype) in &self.held {
            let facts = &mut inferred.facts[*id];
            facts.stored = facts.elements().and_then(|n| dtype.size_of(n));
        }
        for id in &self.folded {
            inferred.facts[*id].source = Source::Folded;
        }
    }
}

/// Who writes and who reads each value.
#[derive(Default)]
struct Uses<'p> {
    steps: Vec<&'p Step<'p>>,
    producers: HashMap<ValueId, usize>,
    readers: HashMap<ValueId, Vec<usize>>,
    /// Results of graphs, which someone else reads as they are.
    results: HashSet<ValueId>,
}

impl<'p> Uses<'p> {
    fn block(&mut self, block: &'p Block<'p>) {
        self.results.extend(&block.outputs);
        for step in &block.steps {
            let position = self.steps.len();
            self.steps.push(step);
            for id in step.outputs.iter().flatten() {
                self.producers.insert(*id, position);
            }
            for id in step.inputs.iter().flatten() {
                self.readers.entry(*id).or_default().push(position);
            }
            for (_, body) in &step.bodies {
                self.block(body);
            }
        }
    }

    /// The only reader of a value that is no result.
    fn only_reader(&self, id: ValueId) -> Option<usize> {
        match self.readers.get(&id).map(Vec::as_slice) {
            Some([reader]) if !self.results.contains(&id) => Some(*reader),
            _ => None,
        }
    }
}

struct Finder<'p, 'f> {
    uses: Uses<'p>,
    facts: &'f [Facts],
    found: Integers,
}

fn first(ids: &[Option<ValueId>]) -> Option<ValueId> {
    ids.first().copied().flatten()
}

impl Finder<'_, '_> {
    fn is_constant(&self, id: ValueId) -> bool {
        self.facts[id].is_constant() || self.found.folded.contains(&id)
    }

    /// Weights: quantised when the model is loaded, dequantised where they are read, whichever way
    /// round they lie.
    fn weights(&mut self) {
        for position in 0..self.uses.steps.len() {
            let step = self.uses.steps[position];
            let (Some(input), Some(output)) = (first(&step.inputs), first(&step.outputs)) else {
                continue;
            };
            if is_pair_end(step, "QuantizeLinear") && self.is_constant(input) {
                if step.inputs.iter().flatten().all(|id| self.is_constant(*id)) {
                    self.found.folded.insert(output);
                }
            } else if is_pair_end(step, "DequantizeLinear") && self.is_constant(input) {
                if let Some(dtype) = narrow(self.facts[input].dtype) {
                    self.found.held.insert(output, dtype);
                }
            } else if is_one_of(step, REARRANGED)
                && let Some(dtype) = self.found.held.get(&input).copied()
            {
                self.found.held.insert(output, dtype);
                self.found.views.insert(output);
            }
        }
    }

    /// The type in which a value is there before it is dequantised.
    fn quantised(&self, id: ValueId) -> Option<DType> {
        if let Some(dtype) = self.found.held.get(&id) {
            return Some(*dtype);
        }
        let step = self.uses.steps[*self.uses.producers.get(&id)?];
        let input = first(&step.inputs).filter(|_| is_pair_end(step, "DequantizeLinear"))?;
        narrow(self.facts[input].dtype)
    }

    /// The data that a node reads: constants that steer it stay away, and so do biases.
    fn data(&self, step: &Step<'_>) -> Vec<ValueId> {
        let controls = step.rule.map_or(&[][..], |rule| rule.controls);
        let given = step.inputs.iter().enumerate().filter_map(|(i, id)| Some((i, (*id)?)));
        let data = given.filter(|(i, id)| !controls.contains(i) || !self.is_constant(*id));
        data.map(|(_, id)| id).collect()
    }

    fn kernels(&mut self) {
        let mut kernels = HashSet::new();
        for position in 0..self.uses.steps.len() {
            let step = self.uses.steps[position];
            let is_product = is_one_of(step, PRODUCTS);
            let data = match is_product {
                true => self.data(step).into_iter().take(2).collect(),
                false if is_one_of(step, OTHERS) => self.data(step),
                false => continue,
            };
            // Of a constant that is no pair, such as the slope of an activation, nothing is known.
            let is_whole = data.iter().all(|id| self.quantised(*id).is_some());
            let of_data =
                data.iter().filter(|id| !self.found.held.contains_key(id)).copied().next();
            let Some(dtype) = of_data.filter(|_| is_whole).and_then(|id| self.quantised(id)) else {
                continue;
            };
            let ends = self.ends(step);
            if ends.is_none() && !is_product {
                continue;
            }
            kernels.insert(position);
            if let (true, Some(output)) = (is_product, first(&step.outputs)) {
                self.found.products.insert(output, dtype);
            }
            for (value, dtype, view) in ends.into_iter().flatten() {
                self.found.held.insert(value, dtype);
                self.found.views.insert(view);
            }
        }
        self.dequantised(&kernels);
    }

    /// The outputs of a node, each as it is held because it is quantised at once, and the node that
    /// is done with it; `None` if an output is read as it is.
    fn ends(&self, step: &Step<'_>) -> Option<Vec<(ValueId, DType, ValueId)>> {
        let mut ends = Vec::new();
        for id in step.outputs.iter().flatten() {
            let mut id = *id;
            let mut clamped = None;
            loop {
                let reader = self.uses.steps[self.uses.only_reader(id)?];
                let output = first(&reader.outputs)?;
                let clamps = is_one_of(reader, CLAMPS) && first(&reader.inputs) == Some(id);
                if clamps && clamped.is_none() {
                    clamped = Some((id, output));
                    id = output;
                } else if is_pair_end(reader, "QuantizeLinear") {
                    let dtype = narrow(self.facts[output].dtype)?;
                    ends.push((id, dtype, output));
                    ends.extend(clamped.map(|(value, view)| (value, dtype, view)));
                    break;
                } else {
                    return None;
                }
            }
        }
        Some(ends)
    }

    /// `DequantizeLinear` of data that only integer kernels read is part of them.
    fn dequantised(&mut self, kernels: &HashSet<usize>) {
        for step in self.uses.steps.iter().filter(|step| is_pair_end(step, "DequantizeLinear")) {
            let (Some(input), Some(output)) = (first(&step.inputs), first(&step.outputs)) else {
                continue;
            };
            let readers = self.uses.readers.get(&output);
            let is_inside = !self.uses.results.contains(&output)
                && readers.is_some_and(|readers| readers.iter().all(|r| kernels.contains(r)));
            if let Some(dtype) = narrow(self.facts[input].dtype).filter(|_| is_inside) {
                self.found.views.insert(output);
                self.found.held.insert(output, dtype);
            }
        }
    }
}
