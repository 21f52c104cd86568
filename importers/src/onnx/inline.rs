//! Local functions: found by domain, name and overload, checked for recursion, counted before
//! anything is expanded, and expanded with names of their own.

use std::collections::{BTreeMap, HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use onnx_protobuf::{FunctionProto, GraphProto, Message as _, NodeProto, OperatorSetIdProto};

use crate::onnx::decode::{Decoder, check_depth, domain};
use crate::onnx::raw::{RawAttribute, RawNode};

/// Nodes after inlining.
const MAX_NODES: u64 = 100_000;

/// Bytes that inlining may add.
const MAX_BYTES: usize = 448 << 20;

/// Functions that call each other in a row.
const MAX_CHAIN: usize = 64;

type FunctionKey = (String, String, String);

/// The model's local functions.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    by_key: BTreeMap<FunctionKey, usize>,
    functions: Vec<FunctionProto>,
    /// Nodes after expansion, by function.
    sizes: Vec<u64>,
}

impl Functions {
    /// Indexes and counts the functions.
    ///
    /// # Errors
    /// `duplicate-function`, `recursive-function`, `nesting-limit`.
    pub(crate) fn new(functions: Vec<FunctionProto>) -> Result<Self, Diagnostic> {
        let mut this = Self { functions, ..Self::default() };
        for (position, f) in this.functions.iter().enumerate() {
            let key = (domain(&f.domain).to_owned(), f.name.clone(), f.overload.clone());
            if this.by_key.insert(key, position).is_some() {
                return Err(Diagnostic::input(
                    "duplicate-function",
                    format!("function `{}::{}` is defined twice", f.domain, f.name),
                ));
            }
        }
        let mut states = vec![State::New; this.functions.len()];
        for position in 0..this.functions.len() {
            this.measure(position, &mut states, 0)?;
        }
        this.sizes = states.iter().map(|s| if let State::Done(n) = s { *n } else { 0 }).collect();
        Ok(this)
    }

    /// The function that a node calls.
    pub(crate) fn find(&self, domain: &str, name: &str, overload: &str) -> Option<usize> {
        if self.functions.is_empty() {
            return None;
        }
        self.by_key.get(&(domain.to_owned(), name.to_owned(), overload.to_owned())).copied()
    }

    /// Operator sets that functions import.
    pub(crate) fn opsets(&self) -> impl Iterator<Item = &OperatorSetIdProto> {
        self.functions.iter().flat_map(|f| &f.opset_import)
    }

    fn callee(&self, node: &NodeProto) -> Option<usize> {
        self.find(domain(&node.domain), &node.op_type, &node.overload)
    }

    fn measure(
        &self,
        position: usize,
        states: &mut [State],
        chain: usize,
    ) -> Result<u64, Diagnostic> {
        let function = &self.functions[position];
        match states[position] {
            State::Done(size) => return Ok(size),
            State::Open => {
                return Err(Diagnostic::input(
                    "recursive-function",
                    format!("recursive function `{}::{}`", function.domain, function.name),
                ));
            }
            State::New if chain > MAX_CHAIN => {
                return Err(Diagnostic::input(
                    "nesting-limit",
                    format!(
                        "more than {MAX_CHAIN} functions call each other: nesting limit exceeded"
                    ),
                ));
            }
            State::New => states[position] = State::Open,
        }
        let mut size = 0u64;
        for_each_node(&function.node, &mut |node| {
            size = size.saturating_add(match self.callee(node) {
                Some(callee) => self.measure(callee, states, chain + 1)?,
                None => 1,
            });
            Ok(())
        })?;
        states[position] = State::Done(size);
        Ok(size)
    }

    /// Refuses a model that is too large once its functions are inlined.
    ///
    /// # Errors
    /// `inline-budget`.
    pub(crate) fn check_size(&self, graph: &GraphProto) -> Result<(), Diagnostic> {
        if self.functions.is_empty() {
            return Ok(());
        }
        let mut size = 0u64;
        for_each_node(&graph.node, &mut |node| {
            let callee = self.callee(node).and_then(|callee| self.sizes.get(callee));
            size = size.saturating_add(callee.copied().unwrap_or(1));
            Ok(())
        })?;
        if size > MAX_NODES {
            return Err(Diagnostic::input(
                "inline-budget",
                format!("the model has {size} nodes once its functions are inlined: inlining budget exceeded"),
            )
            .fact("nodes", size)
            .fact("limit", MAX_NODES));
        }
        Ok(())
    }

    /// The budget of inlining, with the names that are taken.
    pub(crate) fn budget(&self, graph: &GraphProto) -> Budget {
        let mut used = HashSet::new();
        if !self.functions.is_empty() {
            used.extend(graph.input.iter().map(|value| value.name.clone()));
            used.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
            let collected = for_each_node(&graph.node, &mut |node| {
                used.extend(node.output.iter().cloned());
                Ok(())
            });
            debug_assert!(collected.is_ok());
        }
        Budget { bytes: MAX_BYTES, used }
    }
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    Done(u64),
}

/// Visits nodes and the nodes of their subgraphs, which the scan keeps shallow.
fn for_each_node(
    nodes: &[NodeProto],
    visit: &mut dyn FnMut(&NodeProto) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    for node in nodes {
        visit(node)?;
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                for_each_node(&graph.node, visit)?;
            }
        }
    }
    Ok(())
}

/// What inlining may still add, and the names in use.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    used: HashSet<String>,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), Diagnostic> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            Diagnostic::input(
                "inline-budget",
                "inlining budget exceeded: the inlined model is too large",
            )
        })?;
        Ok(())
    }

    /// Takes what a name costs.
    ///
    /// # Errors
    /// `inline-budget`.
    pub(crate) fn text(&mut self, length: usize) -> Result<(), Diagnostic> {
        self.spend(length.saturating_add(64))
    }

    /// Takes what a node costs beside its names and attributes.
    ///
    /// # Errors
    /// `inline-budget`.
    pub(crate) fn node(&mut self, node: &RawNode) -> Result<(), Diagnostic> {
        // A map's node has room for eleven attributes.
        let attributes = node.attributes.len().div_ceil(6) * 2048;
        let texts = node.name.len() + node.op_type.len() + node.domain.len();
        self.spend(size_of::<RawNode>() * 2 + attributes + texts + 256)
    }

    /// Takes what a copied attribute costs.
    ///
    /// # Errors
    /// `inline-budget`.
    pub(crate) fn attribute(&mut self, value: &RawAttribute) -> Result<(), Diagnostic> {
        self.spend(heap_bytes(value))
    }
}

/// Bytes behind an attribute; a subgraph's are estimated by its nodes.
fn heap_bytes(value: &RawAttribute) -> usize {
    let graph = |graph: &crate::onnx::raw::RawGraph| {
        let nodes: usize = graph
            .nodes
            .iter()
            .map(|node| {
                let names: usize =
                    node.inputs.iter().chain(&node.outputs).map(|name| name.len() + 64).sum();
                512 + names + node.attributes.values().map(|a| 2048 + heap_bytes(a)).sum::<usize>()
            })
            .sum();
        let n_values = graph.inputs.len() + graph.outputs.len() + graph.value_info.len();
        nodes + graph.initializers.len() * 9000 + n_values * 512 + 256
    };
    match value {
        RawAttribute::Float(_) | RawAttribute::Int(_) | RawAttribute::Other => 0,
        RawAttribute::Text(text) => text.len(),
        RawAttribute::Tensor(tensor) => 8 * tensor.dims.len() + 8 * 1024,
        RawAttribute::Graph(inner) => graph(inner),
        RawAttribute::Floats(values) => 4 * values.len(),
        RawAttribute::Ints(values) => 8 * values.len(),
        RawAttribute::Texts(texts) => texts.iter().map(|text| text.len() + 64).sum(),
        RawAttribute::Graphs(graphs) => graphs.iter().map(graph).sum(),
    }
}

/// One call of a function while its body is expanded.
#[derive(Debug)]
pub(crate) struct Call {
    names: HashMap<String, String>,
    prefix: String,
    label: String,
    module: Option<String>,
    stages: Vec<(String, i32)>,
    /// Attributes of the call, defaults included.
    pub(crate) attributes: BTreeMap<String, RawAttribute>,
}

impl Call {
    /// A name of the body as it is outside: a formal name is the caller's, an inner one is new.
    ///
    /// # Errors
    /// `inline-budget`.
    pub(crate) fn name(&mut self, name: &str, budget: &mut Budget) -> Result<String, Diagnostic> {
        if name.is_empty() {
            return Ok(String::new());
        }
        if let Some(outer) = self.names.get(name) {
            return Ok(outer.clone());
        }
        let mut fresh = format!("{}/{name}", self.prefix);
        while budget.used.contains(&fresh) {
            budget.text(1)?;
            fresh.push('_');
        }
        budget.text(3 * fresh.len() + name.len())?;
        budget.used.insert(fresh.clone());
        self.names.insert(name.to_owned(), fresh.clone());
        Ok(fresh)
    }

    /// Gives a node of the body the call's name, module and stages.
    pub(crate) fn label(&self, node: &mut RawNode) {
        node.name = match (self.label.is_empty(), node.name.is_empty()) {
            (true, _) => std::mem::take(&mut node.name),
            (false, true) => self.label.clone(),
            (false, false) => format!("{}/{}", self.label, node.name),
        };
        if node.module.is_none() {
            node.module.clone_from(&self.module);
        }
        if node.stages.is_empty() {
            node.stages.clone_from(&self.stages);
        }
    }
}

impl Decoder<'_> {
    /// Appends the body of a function in place of the node that calls it.
    pub(crate) fn expand(
        &mut self,
        position: usize,
        caller: RawNode,
        depth: u32,
        nodes: &mut Vec<RawNode>,
    ) -> Result<(), Diagnostic> {
        check_depth(depth)?;
        let functions = self.functions;
        let Some(function) = functions.functions.get(position) else { return Ok(()) };
        let prefix = caller.outputs.iter().find(|name| !name.is_empty());
        let mut call = Call {
            names: HashMap::new(),
            prefix: prefix.unwrap_or(&caller.name).clone(),
            label: caller.name,
            module: caller.module,
            stages: caller.stages,
            attributes: caller.attributes,
        };
        self.budget.text(call.prefix.len() + call.label.len())?;
        self.add_defaults(function, &mut call, depth)?;
        for (at, formal) in function.input.iter().enumerate() {
            let actual = caller.inputs.get(at).cloned().unwrap_or_default();
            call.names.insert(formal.clone(), actual);
        }
        let mut renamed = Vec::new();
        for (formal, actual) in function.output.iter().zip(caller.outputs) {
            if actual.is_empty() {
                continue;
            }
            match call.names.get(formal) {
                Some(inner) => renamed.push((inner.clone(), actual)),
                None => {
                    call.names.insert(formal.clone(), actual);
                }
            }
        }
        for node in &function.node {
            // Before the copy is made: a number is one byte in the file and eight in memory.
            let size = usize::try_from(node.compute_size()).unwrap_or(usize::MAX);
            self.budget.spend(size.saturating_mul(8))?;
            self.node(node.clone(), Some(&mut call), depth, nodes)?;
        }
        // An input that is an output as well gets its second name from a view.
        for (inner, outer) in renamed {
            let mut node = RawNode {
                op_type: "Identity".into(),
                inputs: vec![inner],
                outputs: vec![outer],
                ..RawNode::default()
            };
            self.budget.node(&node)?;
            call.label(&mut node);
            nodes.push(node);
        }
        Ok(())
    }

    /// Gives a call the function's own values of attributes that the caller leaves out.
    fn add_defaults(
        &mut self,
        function: &FunctionProto,
        call: &mut Call,
        depth: u32,
    ) -> Result<(), Diagnostic> {
        for default in &function.attribute_proto {
            if !call.attributes.contains_key(&default.name) {
                let value = self.attribute(default.clone(), None, depth)?;
                if let Some(value) = value {
                    self.budget.attribute(&value)?;
                    call.attributes.insert(default.name.clone(), value);
                }
            }
        }
        Ok(())
    }
}
