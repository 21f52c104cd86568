//! Ops and tensors of the graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Op, Origin, Phase, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use crate::import::listed;
use crate::onnx::build::effort::Appraiser;
use crate::onnx::build::live::{Live, live};
use crate::onnx::build::shapes::Shapes;
use crate::onnx::infer::program::{Program, Step};
use crate::onnx::infer::{Source, ValueId};
use crate::onnx::rules;

/// A graph and what was noticed on the way.
pub(crate) struct Emitted {
    /// The graph.
    pub(crate) graph: Graph,
    /// Pipeline stage by op.
    pub(crate) stages: BTreeMap<String, i32>,
    /// What is worth knowing.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Makes the graph of a model.
///
/// # Errors
/// `invalid-attribute`, `size-overflow`.
pub(crate) fn emit(
    program: &Program<'_>,
    shapes: &Shapes,
    name: String,
) -> Result<Emitted, Diagnostic> {
    let appraiser = Appraiser { program, shapes };
    let nodes = live(&appraiser, &program.main)?;
    let mut emitter = Emitter {
        appraiser,
        graph: Graph { name, merges_equal_values: true, ..Graph::default() },
        placed: HashMap::new(),
        taken: HashSet::new(),
        reused: HashMap::new(),
        stages: BTreeMap::new(),
    };
    for (id, _) in &program.main.inputs {
        let tensor = emitter.place(*id, "");
        emitter.graph.inputs.push(tensor);
    }
    // Main-graph names first: those of subgraphs give way.
    emitter.taken.extend(main_names(program));
    for node in &nodes {
        emitter.op(node);
    }
    for id in &program.main.outputs {
        let tensor = emitter.place(*id, "");
        emitter.graph.outputs.push(tensor);
    }
    let warnings = warnings(&nodes, &emitter.graph, shapes);
    Ok(Emitted { graph: emitter.graph, stages: emitter.stages, warnings })
}

fn main_names(program: &Program<'_>) -> Vec<String> {
    let named = program.names.iter().zip(&program.in_main);
    named.filter(|(_, in_main)| **in_main).map(|(name, _)| (*name).to_owned()).collect()
}

struct Emitter<'a> {
    appraiser: Appraiser<'a>,
    graph: Graph,
    placed: HashMap<ValueId, TensorId>,
    taken: HashSet<String>,
    /// How often a name was reused in the subgraphs of an op.
    reused: HashMap<(String, String), u32>,
    stages: BTreeMap<String, i32>,
}

impl Emitter<'_> {
    /// The tensor of a value, made if it is new. `owner` is the op that brings it up.
    fn place(&mut self, id: ValueId, owner: &str) -> TensorId {
        if let Some(tensor) = self.placed.get(&id) {
            return *tensor;
        }
        let facts = &self.appraiser.shapes.now.facts[id];
        let role = match facts.source {
            _ if facts.is_constant() => Role::Parameter,
            Source::Input => Role::Input,
            _ => Role::Activation,
        };
        let tensor = Tensor {
            name: self.name(id, owner),
            // A value of unknown type has no known size either.
            dtype: facts.dtype.unwrap_or(DType::F32),
            shape: facts.shape.clone().unwrap_or_default(),
            bytes: self.appraiser.bytes(id),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        };
        let placed = TensorId::new(self.graph.tensors.len());
        self.graph.tensors.push(tensor);
        self.placed.insert(id, placed);
        placed
    }

    /// The value's own name, or one behind that of the op where a subgraph reuses a name.
    fn name(&mut self, id: ValueId, owner: &str) -> String {
        let program = self.appraiser.program;
        let base = program.names[id];
        if program.in_main[id] {
            return base.to_owned();
        }
        let mut name = base.to_owned();
        while !self.taken.insert(name.clone()) {
            let number = self.reused.entry((owner.to_owned(), base.to_owned())).or_insert(0u32);
            *number += 1;
            name = if *number == 1 {
                format!("{owner}/{base}")
            } else {
                format!("{owner}/{base}/{number}")
            };
        }
        name
    }

    fn op(&mut self, Live { step, effort }: &Live<'_, '_>) {
        let name = op_name(step);
        let op_type = step.op_type();
        let is_view = effort.work == Work::View;
        let learns = !is_quantization(&step.node.op_type);
        let facts = &self.appraiser.shapes.now.facts;
        let mut inputs = Vec::new();
        let mut parameters = Vec::new();
        for id in &effort.reads {
            let facts = &facts[*id];
            let tensor = self.place(*id, name);
            if !facts.is_constant() {
                inputs.push(tensor);
                continue;
            }
            parameters.push(tensor);
            let is_weight = matches!(facts.source, Source::Initializer | Source::Constant);
            let is_wide = facts.shape.as_ref().is_some_and(|shape| !shape.is_empty())
                && facts.elements() != Some(1);
            if learns && is_weight && is_wide && facts.dtype.is_some_and(rules::rule::is_float) {
                self.graph.tensors[tensor.index()].trainable = true;
            }
        }
        // A view renames its first input: one of a parameter may not list any other.
        if is_view && effort.reads.first().is_some_and(|id| facts[*id].is_constant()) {
            inputs.clear();
        }
        let written = step.outputs.iter().flatten().take(if is_view { 1 } else { usize::MAX });
        let outputs = written.map(|id| self.place(*id, name)).collect();
        if let Some((_, stage)) = step.node.stages.first() {
            // Annotations are read by people: they know the node by its own name, where it has one.
            let label = step.node.name.as_str();
            let key =
                if label.is_empty() || self.stages.contains_key(label) { name } else { label };
            self.stages.insert(key.to_owned(), *stage);
        }
        self.graph.ops.push(Op {
            name: name.to_owned(),
            op_type,
            module: step.node.module.clone(),
            phase: Phase::Forward,
            inputs,
            parameters,
            outputs,
            work: effort.work.clone(),
            group: None,
            splits: ir::op::Splits::default(),
        });
    }
}

/// The first output's name, which is unique where names of nodes are not.
fn op_name<'a>(step: &Step<'a>) -> &'a str {
    step.node.outputs.iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

/// Scales and zero points are not learnt.
fn is_quantization(op_type: &str) -> bool {
    ["Quantize", "QLinear", "Integer", "NBits", "Bnb4", "QMoE"]
        .iter()
        .any(|mark| op_type.contains(mark))
}

/// One warning each for unknown operators, unknown and greatest sizes, guessed trip counts, scaled
/// work, and work that outgrows the batch.
fn warnings(nodes: &[Live<'_, '_>], graph: &Graph, shapes: &Shapes) -> Vec<Diagnostic> {
    let mut unknown = BTreeSet::new();
    let (mut unsized_ops, mut endless, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bounded, mut outgrown) = (Vec::new(), Vec::new());
    for (live, op) in nodes.iter().zip(&graph.ops) {
        let Work::Kernel(kernel) = &op.work else {
            let facts = &shapes.now.facts;
            if live.step.outputs.iter().flatten().any(|id| facts[*id].lacks_size()) {
                unsized_ops.push(op.name.clone());
            }
            continue;
        };
        if live.effort.is_outgrown {
            outgrown.push(op.name.clone());
        }
        let has_rule = live.step.rule.is_some() || !live.step.bodies.is_empty();
        match kernel.origin {
            Origin::Guessed if !has_rule => drop(unknown.insert(op.op_type.clone())),
            Origin::Guessed if live.effort.is_endless => endless.push(op.name.clone()),
            Origin::Guessed => unsized_ops.push(op.name.clone()),
            Origin::Bounded => bounded.push(op.name.clone()),
            Origin::Scaled => scaled.push(op.name.clone()),
            Origin::Rule => {}
        }
    }
    let (from, to) = shapes.reference.as_ref().map_or((1, 1), |(_, batch)| (batch.from, batch.to));
    let scaled_what = format!(
        "constants hold the batch of {from} that the file was made for: the work of these ops is \
         taken as {to}/{from} of that there"
    );
    let outgrown_what = format!(
        "from batch {from} to {to} the products of these ops grow faster than the batch, as if \
         samples were multiplied by each other; check that they are"
    );
    [
        listed("unknown-op", "operators without a rule count only their bytes", unknown),
        listed(
            "unknown-shape",
            "ops on tensors of unknown size count only known bytes",
            unsized_ops,
        ),
        listed(
            "data-dependent-size",
            "sizes that depend on data are taken as the most that the graph allows in",
            bounded,
        ),
        listed("guessed-trip-count", "loops without a constant count run their body once", endless),
        listed("batch-scaled", &scaled_what, scaled),
        listed("batch-outgrown", &outgrown_what, outgrown),
    ]
    .into_iter()
    .flatten()
    .collect()
}
