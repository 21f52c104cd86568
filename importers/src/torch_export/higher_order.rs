//! Operators that carry graphs: wrappers, whose graph stands in their place, and control flow, which
//! is one op with the work of its bodies.
//!
//! A branch costs as the dearer of its graphs; a scan or a map its body times the scanned extent; a
//! loop, whose count no file says, its body once, as a guess.

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Origin, Work};
use ir::tensor::Role;
use ir::units::Bytes;

use super::build::{Builder, define, undefined};
use super::document::{Argument, Graph, Node};
use super::phases::{reads, tensors};
use super::values::{Value, Values};
use crate::aten;

/// Deeper subgraphs are refused.
const DEPTH_LIMIT: usize = 16;

/// Operators whose graph runs once, in the place of the operator.
const WRAPPERS: [&str; 9] = [
    "wrap_with_set_grad_enabled",
    "wrap_with_autocast",
    "wrap_activation_checkpoint",
    "tag_activation_checkpoint",
    "wrap",
    "strict_mode",
    "hints_wrapper",
    "invoke_subgraph",
    "run_const_graph",
];

/// Graphs of an operator, in order.
fn graphs(node: &Node) -> Vec<&Graph> {
    let graphs = node.inputs.iter().filter_map(|input| match &input.arg {
        Argument::AsGraph(graph) => Some(graph.graph.as_ref()),
        _ => None,
    });
    graphs.collect()
}

impl Builder<'_> {
    /// Adds an operator that carries graphs.
    ///
    /// # Errors
    /// As for any node, and `nesting-limit`.
    pub(super) fn higher_order<'p>(
        &mut self,
        graph: &'p Graph,
        node: &'p Node,
        values: &mut Values<'p>,
    ) -> Result<(), Diagnostic> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            let message = format!("subgraphs nest deeper than {DEPTH_LIMIT}");
            return Err(Diagnostic::input("nesting-limit", message));
        }
        let name = node.target.rsplit('.').next().unwrap_or_default();
        let result = match graphs(node).as_slice() {
            [inner] if WRAPPERS.contains(&name) => self.inline(inner, node, values),
            inner => self.control(graph, node, (name, inner), values),
        };
        self.depth -= 1;
        result
    }

    /// Puts the nodes of a wrapper's graph in its place.
    fn inline<'p>(
        &mut self,
        inner: &'p Graph,
        node: &'p Node,
        values: &mut Values<'p>,
    ) -> Result<(), Diagnostic> {
        let behind =
            node.inputs.iter().skip_while(|input| !matches!(input.arg, Argument::AsGraph(_)));
        let operands = behind.flat_map(|input| tensors(&input.arg));
        let names = inner.inputs.iter().flat_map(tensors);
        let mut scope = Values::new();
        for (name, operand) in names.zip(operands) {
            let value = values.get(operand).ok_or_else(|| undefined(node, operand))?;
            scope.insert(name, value.clone());
        }
        let scope = self.nodes(inner, scope, &[])?;
        let results = inner.outputs.iter().flat_map(tensors);
        for (name, result) in node.outputs.iter().flat_map(tensors).zip(results) {
            let value = scope.get(result).ok_or_else(|| undefined(node, result))?;
            define(values, name, value.clone())?;
        }
        Ok(())
    }

    /// Adds control flow, or an operator that nothing is known of, as one op.
    fn control<'p>(
        &mut self,
        graph: &'p Graph,
        node: &'p Node,
        (name, inner): (&str, &[&'p Graph]),
        values: &mut Values<'p>,
    ) -> Result<(), Diagnostic> {
        self.renew(Some(node), reads(node), values);
        let operands: Vec<(&str, Value)> = self
            .operands(node, values)?
            .into_iter()
            .map(|(name, value)| (name, value.clone()))
            .collect();
        let grows = operands.iter().any(|(_, value)| value.facts.grows);
        let written: Vec<&str> = node.outputs.iter().flat_map(tensors).collect();
        let mut outputs = Vec::with_capacity(written.len());
        for name in &written {
            outputs.push(self.place(graph, name, (Role::Activation, grows))?);
        }
        let (op_type, kernel) = self.controlled(node, (name, inner), &operands, &outputs)?;
        let overwritten = std::mem::take(&mut self.overwritten);
        let wholes = self.successors(node, &overwritten);
        let all: Vec<Value> = outputs.iter().chain(&wholes).cloned().collect();
        self.add(node, op_type, Work::Kernel(kernel), (&operands, &all));
        self.settle(&wholes, &[]);
        for (name, value) in written.into_iter().zip(outputs) {
            define(values, name, value)?;
        }
        Ok(())
    }

    fn controlled(
        &mut self,
        node: &Node,
        (name, inner): (&str, &[&Graph]),
        operands: &[(&str, Value)],
        outputs: &[Value],
    ) -> Result<(String, Kernel), Diagnostic> {
        let bodies: Vec<Kernel> =
            inner.iter().map(|graph| self.body(graph, operands)).collect::<Result<_, _>>()?;
        let whole = self.streams(operands, outputs);
        let cost = |kernel: &Kernel| (kernel.flops(), kernel.bytes_read + kernel.bytes_written);
        Ok(match (name, bodies.as_slice()) {
            ("cond" | "switch", [_, ..]) => {
                let dearest = bodies.into_iter().max_by_key(cost).unwrap_or_default();
                ("If".to_owned(), dearest)
            }
            ("scan" | "map_impl" | "map", [body]) => {
                let trips = trips(node, name, operands);
                let repeated = trips.and_then(|trips| body.clone().repeated(trips));
                ("Scan".to_owned(), repeated.unwrap_or_else(|| self.endless(node, body)))
            }
            ("while_loop", [_, body]) => ("Loop".to_owned(), self.endless(node, body)),
            ("flex_attention", _) => {
                let shape = |at: usize| operands.get(at)?.1.facts.shape.as_deref();
                let call = aten::Call {
                    tensors: ["query", "key", "value"]
                        .into_iter()
                        .enumerate()
                        .map(|(at, name)| (name, shape(at)))
                        .collect(),
                    ..aten::Call::default()
                };
                let products = aten::attention(&call).unwrap_or_default();
                let dtype = operands.first().map(|(_, value)| value.facts.dtype);
                ("ScaledDotProductAttention".to_owned(), Kernel { products, dtype, ..whole })
            }
            _ => {
                self.notes.unknown.insert(format!("higher_order::{name}"));
                let guessed = Kernel { origin: Origin::Guessed, ..whole };
                (format!("higher_order::{name}"), guessed)
            }
        })
    }

    /// A body that runs a number of times that the file does not say.
    fn endless(&mut self, node: &Node, body: &Kernel) -> Kernel {
        self.notes.endless.push(node.name.clone().unwrap_or_default());
        Kernel { origin: Origin::Guessed, ..body.clone() }
    }

    /// The work of a graph run once; what it holds of its own is scratch.
    fn body(&mut self, graph: &Graph, operands: &[(&str, Value)]) -> Result<Kernel, Diagnostic> {
        let mut aside = self.aside();
        let mut values = Values::new();
        let names: Vec<&str> = graph.inputs.iter().flat_map(tensors).collect();
        // The predicate of a branch stands before what its graphs read.
        let behind = operands.iter().skip(operands.len().saturating_sub(names.len()));
        let behind = behind.map(|(_, value)| Some(value)).chain(std::iter::repeat(None));
        let mut fed = Vec::with_capacity(names.len());
        for (name, outer) in names.into_iter().zip(behind) {
            let grows = outer.is_some_and(|value| value.facts.grows);
            let value = aside.place(graph, name, (Role::Input, grows))?;
            fed.extend(outer.map(|outer| (value.clone(), outer.memory)));
            values.insert(name, value);
        }
        aside.nodes(graph, values, &[])?;
        let written = fed.into_iter().filter(|(value, _)| aside.is_mutated(value));
        self.overwritten.extend(written.map(|(_, memory)| memory));
        self.notes.rebound.append(&mut aside.notes.rebound);
        self.notes.unknown.append(&mut aside.notes.unknown);
        let mut kernel = Kernel::default();
        for op in &aside.graph.ops {
            let Work::Kernel(inner) = &op.work else { continue };
            kernel.absorb(inner);
            let written: Bytes =
                op.outputs.iter().map(|output| aside.graph.tensor(*output).bytes).sum();
            kernel.temporary = kernel.temporary.max(written + inner.temporary);
        }
        Ok(kernel)
    }
}

/// How often the body of a scan or a map runs: the first extent of what is scanned, which stands
/// behind the carried values.
fn trips(node: &Node, name: &str, operands: &[(&str, Value)]) -> Option<u64> {
    let lists = node.inputs.iter().filter(|input| matches!(input.arg, Argument::AsTensors(_)));
    let lists: Vec<usize> = lists.map(|input| tensors(&input.arg).len()).collect();
    let first = if name == "scan" { *lists.first()? } else { 0 };
    operands.get(first)?.1.facts.shape.as_ref()?.first().copied()
}
