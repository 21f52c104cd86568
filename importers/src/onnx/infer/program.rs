//! A model with every name resolved once: nodes refer to values by position.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;

use crate::onnx::infer::{Facts, Source, ValueId};
use crate::onnx::raw::{RawAttribute, RawGraph, RawModel, RawNode, RawTensor, RawValue};
use crate::onnx::rules;
use crate::onnx::rules::rule::Rule;

/// Subgraphs deeper than this are refused.
const NESTING_LIMIT: usize = 64;

/// A model as positions in one arena of values.
pub(crate) struct Program<'a> {
    /// The main graph.
    pub(crate) main: Block<'a>,
    /// Name of each value.
    pub(crate) names: Vec<&'a str>,
    /// Whether each value belongs to the main graph rather than to a subgraph.
    pub(crate) in_main: Vec<bool>,
}

/// A graph or subgraph.
#[derive(Default)]
pub(crate) struct Block<'a> {
    /// Nodes in order.
    pub(crate) steps: Vec<Step<'a>>,
    /// Declared inputs.
    pub(crate) inputs: Vec<(ValueId, &'a RawValue)>,
    /// Declared outputs.
    pub(crate) outputs: Vec<ValueId>,
    /// Initializers.
    pub(crate) constants: Vec<(ValueId, &'a RawTensor)>,
    /// What the file says of values that nodes write.
    pub(crate) declared: HashMap<ValueId, &'a RawValue>,
}

/// A node.
pub(crate) struct Step<'a> {
    /// As decoded.
    pub(crate) node: &'a RawNode,
    /// Its row, if there is one.
    pub(crate) rule: Option<&'static Rule>,
    /// Version of its operator set.
    pub(crate) opset: i64,
    /// Values that it reads; `None` where one is left out.
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// Values that it writes; `None` where one is left out.
    pub(crate) outputs: Vec<Option<ValueId>>,
    /// Its subgraphs, by attribute name.
    pub(crate) bodies: Vec<(&'a str, Block<'a>)>,
}

impl<'a> Step<'a> {
    /// The subgraph of attribute `name`.
    pub(crate) fn body(&self, name: &str) -> Option<&Block<'a>> {
        self.bodies.iter().find(|(attribute, _)| *attribute == name).map(|(_, block)| block)
    }

    /// `MatMul`, `com.microsoft::MatMulNBits`, ...
    pub(crate) fn op_type(&self) -> String {
        if self.node.domain.is_empty() {
            self.node.op_type.clone()
        } else {
            format!("{}::{}", self.node.domain, self.node.op_type)
        }
    }
}

/// Resolves a model.
///
/// # Errors
/// `undefined-tensor`, `nesting-limit`.
pub(crate) fn resolve(model: &RawModel) -> Result<Program<'_>, Diagnostic> {
    let mut resolver = Resolver { model, names: Vec::new(), in_main: Vec::new(), scopes: vec![] };
    let main = resolver.block(&model.graph)?;
    Ok(Program { main, names: resolver.names, in_main: resolver.in_main })
}

struct Resolver<'a> {
    model: &'a RawModel,
    names: Vec<&'a str>,
    in_main: Vec<bool>,
    /// Names of the graphs around, innermost last.
    scopes: Vec<HashMap<&'a str, ValueId>>,
}

impl<'a> Resolver<'a> {
    fn define(&mut self, name: &'a str) -> ValueId {
        let id = self.names.len();
        self.names.push(name);
        self.in_main.push(self.scopes.len() <= 1);
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, id);
        }
        id
    }

    fn find(&self, name: &str) -> Result<ValueId, Diagnostic> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name).copied()).ok_or_else(|| {
            Diagnostic::input("undefined-tensor", format!("tensor `{name}` is not defined"))
                .fact("tensor", name)
        })
    }

    fn block(&mut self, graph: &'a RawGraph) -> Result<Block<'a>, Diagnostic> {
        if self.scopes.len() >= NESTING_LIMIT {
            return Err(Diagnostic::input(
                "nesting-limit",
                format!("subgraphs are nested more than {NESTING_LIMIT} deep"),
            ));
        }
        self.scopes.push(HashMap::with_capacity(graph.nodes.len()));
        let mut block = Block::default();
        for tensor in &graph.initializers {
            block.constants.push((self.define(&tensor.name), tensor));
        }
        for value in &graph.inputs {
            block.inputs.push((self.define(&value.name), value));
        }
        for node in &graph.nodes {
            let step = self.step(node)?;
            block.steps.push(step);
        }
        for value in &graph.outputs {
            block.outputs.push(self.find(&value.name)?);
        }
        let scope = self.scopes.pop().unwrap_or_default();
        for value in graph.value_info.iter().chain(&graph.outputs) {
            if let Some(id) = scope.get(value.name.as_str())
                && (value.shape.is_some() || !block.declared.contains_key(id))
            {
                block.declared.insert(*id, value);
            }
        }
        Ok(block)
    }

    fn step(&mut self, node: &'a RawNode) -> Result<Step<'a>, Diagnostic> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(if name.is_empty() { None } else { Some(self.find(name)?) });
        }
        let mut bodies = Vec::new();
        for (name, attribute) in &node.attributes {
            if let RawAttribute::Graph(graph) = attribute {
                bodies.push((name.as_str(), self.block(graph)?));
            }
        }
        let outputs =
            node.outputs.iter().map(|name| (!name.is_empty()).then(|| self.define(name))).collect();
        let opset = self.model.opsets.get(&node.domain).copied();
        Ok(Step {
            node,
            rule: rules::find(&node.domain, &node.op_type),
            opset: opset.unwrap_or(if node.domain.is_empty() { i64::MAX } else { 1 }),
            inputs,
            outputs,
            bodies,
        })
    }
}

impl Block<'_> {
    /// Values from outside that the block reads, those that a block inside it reads included.
    pub(crate) fn captured(&self) -> Vec<ValueId> {
        let mut defined: HashSet<ValueId> = self.inputs.iter().map(|(id, _)| *id).collect();
        defined.extend(self.constants.iter().map(|(id, _)| *id));
        defined.extend(self.steps.iter().flat_map(|step| step.outputs.iter().flatten()));
        let mut captured = Vec::new();
        for step in &self.steps {
            let inner = step.bodies.iter().flat_map(|(_, body)| body.captured());
            let read = step.inputs.iter().flatten().copied().chain(inner);
            captured.extend(read.filter(|id| defined.insert(*id)));
        }
        captured
    }

    /// Facts of the initializers into the arena.
    pub(crate) fn place_constants(&self, facts: &mut [Facts]) -> Result<(), Diagnostic> {
        for (id, tensor) in &self.constants {
            let known = Facts::constant(tensor, Source::Initializer);
            known.check(&tensor.name)?;
            facts[*id] = known;
        }
        Ok(())
    }
}
