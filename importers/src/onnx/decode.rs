//! Typed decoding of a stripped model into [`RawModel`], local functions inlined on the way.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ir::diagnostic::Diagnostic;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, GraphProto, Message as _, ModelProto, NodeProto};

use crate::onnx::annotations::configurations;
use crate::onnx::declared::{Declared, value};
use crate::onnx::inline::{Call, Functions};
use crate::onnx::raw::{RawAttribute, RawGraph, RawModel, RawNode};
use crate::onnx::scan::{Data, Scanned};
use crate::onnx::{module_path, tensor};

/// Newest version of the default operator set that the rules know.
pub(crate) const NEWEST_OPSET: i64 = 28;

/// Versions of the default operator set from here on are damage: there are two or three a year.
const NO_OPSET: i64 = 100;

/// Graphs and function bodies inside each other after inlining.
const MAX_DEPTH: u32 = 100;

/// Decodes a scanned model.
///
/// # Errors
/// See [`crate::onnx::load`].
pub(crate) fn decode(
    scanned: Scanned,
    warnings: &mut Vec<Diagnostic>,
) -> Result<RawModel, Diagnostic> {
    let Scanned { bytes, data } = scanned;
    let mut proto = ModelProto::parse_from_bytes(&bytes).map_err(|error| {
        Diagnostic::input("invalid-protobuf", format!("this is not an ONNX protobuf: {error}"))
    })?;
    drop(bytes);
    let graph = proto
        .graph
        .take()
        .ok_or_else(|| Diagnostic::input("missing-graph", "the model has no graph"))?;
    let functions = Functions::new(std::mem::take(&mut proto.functions))?;
    let opsets = opsets(&proto, &functions, warnings)?;
    functions.check_size(&graph)?;
    let configurations = configurations(&proto)?;
    let mut decoder = Decoder {
        data: &data,
        functions: &functions,
        budget: functions.budget(&graph),
        configurations,
        owners: module_path::owners(graph.initializer.iter().map(|tensor| tensor.name.as_str())),
        warnings,
    };
    let graph = decoder.graph(graph, None, 0)?;
    Ok(RawModel { opsets, graph })
}

/// The domain under which rules look an op up.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn opsets(
    proto: &ModelProto,
    functions: &Functions,
    warnings: &mut Vec<Diagnostic>,
) -> Result<BTreeMap<String, i64>, Diagnostic> {
    let mut opsets = BTreeMap::new();
    for import in &proto.opset_import {
        opsets.insert(domain(&import.domain).to_owned(), import.version);
    }
    if opsets.is_empty() {
        return Err(Diagnostic::input("missing-opset", "the model has no opset_import").hint(
            "export the model again; every ONNX model since IR version 3 names its operator sets",
        ));
    }
    for import in functions.opsets() {
        opsets.entry(domain(&import.domain).to_owned()).or_insert(import.version);
    }
    let Some(&version) = opsets.get("") else { return Ok(opsets) };
    if !(1..NO_OPSET).contains(&version) {
        return Err(Diagnostic::input(
            "unsupported-opset",
            format!("opset {version} is not supported; {NEWEST_OPSET} is the newest that is"),
        )
        .fact("newest", NEWEST_OPSET.to_string())
        .hint(format!("export the model with opset_version={NEWEST_OPSET} or older")));
    }
    if version > NEWEST_OPSET {
        let message = format!(
            "opset {version} is newer than {NEWEST_OPSET}, the newest that is known: ops that it \
             changed are read by their older definitions"
        );
        warnings.push(
            Diagnostic::warning("newer-opset", message).fact("newest", NEWEST_OPSET.to_string()),
        );
    }
    Ok(opsets)
}

/// What decoding carries along.
pub(crate) struct Decoder<'a> {
    pub(crate) data: &'a [Data],
    pub(crate) functions: &'a Functions,
    pub(crate) budget: crate::onnx::inline::Budget,
    pub(crate) configurations: BTreeSet<String>,
    /// Modules that own parameters of the main graph.
    pub(crate) owners: HashSet<String>,
    pub(crate) warnings: &'a mut Vec<Diagnostic>,
}

impl Decoder<'_> {
    /// Converts a graph; inside a function's body, with its call's names.
    pub(crate) fn graph(
        &mut self,
        proto: GraphProto,
        mut call: Option<&mut Call>,
        depth: u32,
    ) -> Result<RawGraph, Diagnostic> {
        check_depth(depth)?;
        let mut graph = RawGraph { name: proto.name, ..RawGraph::default() };
        for initializer in proto.initializer {
            let mut tensor = tensor::tensor(initializer, self.data)?;
            tensor.name = self.name(call.as_deref_mut(), tensor.name)?;
            graph.initializers.push(tensor);
        }
        for initializer in proto.sparse_initializer {
            let mut tensor = tensor::sparse(initializer, self.data)?;
            tensor.name = self.name(call.as_deref_mut(), tensor.name)?;
            graph.initializers.push(tensor);
        }
        for node in proto.node {
            self.node(node, call.as_deref_mut(), depth, &mut graph.nodes)?;
        }
        let constants: BTreeSet<&str> =
            graph.initializers.iter().map(|tensor| tensor.name.as_str()).collect();
        let lists = [
            (proto.input, Declared::Input, &mut graph.inputs),
            (proto.output, Declared::Other, &mut graph.outputs),
            (proto.value_info, Declared::Other, &mut graph.value_info),
        ];
        for (from, declared, to) in lists {
            for info in from {
                let mut value = value(info, declared)?;
                value.name = self.name(call.as_deref_mut(), value.name)?;
                if declared == Declared::Other || !constants.contains(value.name.as_str()) {
                    to.push(value);
                }
            }
        }
        Ok(graph)
    }

    /// A name as it is after inlining.
    pub(crate) fn name(
        &mut self,
        call: Option<&mut Call>,
        name: String,
    ) -> Result<String, Diagnostic> {
        match call {
            None => Ok(name),
            Some(call) => {
                let name = call.name(&name, &mut self.budget)?;
                self.budget.text(name.len())?;
                Ok(name)
            }
        }
    }

    /// Converts a node, or the body of the function that it calls.
    pub(crate) fn node(
        &mut self,
        mut proto: NodeProto,
        mut call: Option<&mut Call>,
        depth: u32,
        nodes: &mut Vec<RawNode>,
    ) -> Result<(), Diagnostic> {
        let stages = self.stages(&proto)?;
        let mut node = RawNode {
            module: module(&mut proto, &self.owners),
            name: proto.name,
            domain: domain(&proto.domain).to_owned(),
            op_type: proto.op_type,
            stages,
            ..RawNode::default()
        };
        for input in proto.input {
            node.inputs.push(self.name(call.as_deref_mut(), input)?);
        }
        for output in proto.output {
            node.outputs.push(self.name(call.as_deref_mut(), output)?);
        }
        for mut attribute in proto.attribute {
            let name = std::mem::take(&mut attribute.name);
            let value = self.attribute(attribute, call.as_deref_mut(), depth)?;
            if let Some(value) = value {
                node.attributes.insert(name, value);
            }
        }
        if let Some(call) = call {
            self.budget.node(&node)?;
            call.label(&mut node);
        }
        match self.functions.find(&node.domain, &node.op_type, &proto.overload) {
            None => nodes.push(node),
            Some(function) => self.expand(function, node, depth + 1, nodes)?,
        }
        Ok(())
    }

    /// Converts an attribute; `None` for one that a function takes from a caller that leaves it
    /// out.
    pub(crate) fn attribute(
        &mut self,
        proto: AttributeProto,
        call: Option<&mut Call>,
        depth: u32,
    ) -> Result<Option<RawAttribute>, Diagnostic> {
        if !proto.ref_attr_name.is_empty() {
            let Some(call) = call else {
                return Err(Diagnostic::input(
                    "invalid-attribute",
                    format!(
                        "attribute reference `{}` stands outside of a function",
                        proto.ref_attr_name
                    ),
                ));
            };
            let value = call.attributes.get(&proto.ref_attr_name).cloned();
            if let Some(value) = &value {
                self.budget.attribute(value)?;
            }
            return Ok(value);
        }
        let kind = kind(&proto);
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        };
        Ok(Some(match kind {
            Some(AttributeType::FLOAT) => RawAttribute::Float(proto.f),
            Some(AttributeType::INT) => RawAttribute::Int(proto.i),
            Some(AttributeType::STRING) => RawAttribute::Text(text(proto.s)),
            Some(AttributeType::TENSOR) => match proto.t.into_option() {
                Some(value) => RawAttribute::Tensor(tensor::tensor(value, self.data)?),
                None => RawAttribute::Other,
            },
            Some(AttributeType::GRAPH) => match proto.g.into_option() {
                Some(graph) => RawAttribute::Graph(self.graph(graph, call, depth + 1)?),
                None => RawAttribute::Other,
            },
            Some(AttributeType::FLOATS) => RawAttribute::Floats(proto.floats),
            Some(AttributeType::INTS) => RawAttribute::Ints(proto.ints),
            Some(AttributeType::STRINGS) => {
                RawAttribute::Texts(proto.strings.into_iter().map(text).collect())
            }
            Some(AttributeType::GRAPHS) => {
                let mut call = call;
                let mut graphs = Vec::new();
                for graph in proto.graphs {
                    graphs.push(self.graph(graph, call.as_deref_mut(), depth + 1)?);
                }
                RawAttribute::Graphs(graphs)
            }
            _ => RawAttribute::Other,
        }))
    }
}

/// Refuses graphs and bodies nested too deep.
pub(crate) fn check_depth(depth: u32) -> Result<(), Diagnostic> {
    if depth > MAX_DEPTH {
        return Err(Diagnostic::input(
            "nesting-limit",
            format!(
                "functions and subgraphs nest more than {MAX_DEPTH} deep: nesting limit exceeded"
            ),
        ));
    }
    Ok(())
}

/// The kind that an attribute states, or, in files that predate the statement, that it shows.
fn kind(proto: &AttributeProto) -> Option<AttributeType> {
    let stated = proto.type_.enum_value().ok()?;
    if stated != AttributeType::UNDEFINED {
        return Some(stated);
    }
    Some(if proto.t.is_some() {
        AttributeType::TENSOR
    } else if proto.g.is_some() {
        AttributeType::GRAPH
    } else if !proto.ints.is_empty() {
        AttributeType::INTS
    } else if !proto.floats.is_empty() {
        AttributeType::FLOATS
    } else if !proto.strings.is_empty() {
        AttributeType::STRINGS
    } else if !proto.graphs.is_empty() {
        AttributeType::GRAPHS
    } else if !proto.s.is_empty() {
        AttributeType::STRING
    } else if proto.f != 0.0 {
        AttributeType::FLOAT
    } else {
        AttributeType::INT
    })
}

/// The module's path: the scan leaves it in `doc_string`; else the node's name shows it.
fn module(proto: &mut NodeProto, owners: &HashSet<String>) -> Option<String> {
    let note = std::mem::take(&mut proto.doc_string);
    if note.is_empty() { module_path::from_node_name(&proto.name, owners) } else { Some(note) }
}
