//! MLCommons Chakra traces: length-delimited protobuf messages, one for the file and one per node.
//!
//! Nodes depend on each other by number. What PyTorch recorded of a node (arguments, schema) is
//! kept by the converter as text in the form that Python prints.

use std::collections::{BTreeMap, HashMap, HashSet};

use ir::diagnostic::Diagnostic;

use super::calls::{Call, Operand, Shared, invalid_field};
use super::chakra_json;
use super::execution::{MAX_NODES, operands_of};
use super::literal;
use crate::items;
use crate::onnx::wire::{Key, Reader, WireType};
use crate::source::{self, Source};

/// Longest text of a node, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NodeType {
    /// Nothing: it describes the trace.
    Metadata,
    /// Reads from memory outside the device.
    Load,
    /// Writes to memory outside the device.
    Store,
    /// Computes.
    #[default]
    Compute,
    /// Sends a message.
    Send,
    /// Receives a message.
    Receive,
    /// Takes part in a collective.
    Collective,
}

impl NodeType {
    /// As the protocol numbers them; `None` for another number.
    pub(super) fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 | 4 => Self::Compute,
            1 => Self::Metadata,
            2 => Self::Load,
            3 => Self::Store,
            5 => Self::Send,
            6 => Self::Receive,
            7 => Self::Collective,
            _ => return None,
        })
    }
}

/// A node as recorded.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Its call; the number is the node's, and there is no parent.
    pub(super) call: Call,
    /// What it does.
    pub(super) kind: NodeType,
    /// Nodes that it waits for.
    pub(super) control: Vec<u64>,
    /// Nodes whose results it reads.
    pub(super) data: Vec<u64>,
    /// Microseconds.
    pub(super) duration: u64,
    /// Whole numbers among its attributes, such as `comm_size`.
    pub(super) numbers: BTreeMap<String, u64>,
    /// Texts among its attributes, such as `pg_name`.
    pub(super) texts: BTreeMap<String, String>,
}

/// Attributes that are read.
const ATTRIBUTES: [&str; 10] = [
    "comm_type",
    "comm_size",
    "comm_src",
    "comm_dst",
    "comm_tag",
    "pg_name",
    "num_ops",
    "tensor_size",
    "is_cpu_op",
    "op_schema",
];

/// Reads the nodes of a trace, in either form.
///
/// # Errors
/// Those of [`chakra_json::read`]; `invalid-protobuf`, `truncated-file`, `invalid-utf8`, `size-budget`, `too-many-nodes`,
/// `duplicate-id`, `invalid-field`.
pub(super) fn read(source: &dyn Source) -> Result<Vec<Node>, Diagnostic> {
    if items::keys_of_head(&source::head(source, items::HEAD)?).contains(chakra_json::NODES) {
        return chakra_json::read(source);
    }
    let mut reader = Reader::of("a Chakra trace", source);
    let end = reader.length();
    let mut shared = Shared::default();
    let mut ids = HashSet::new();
    let mut nodes = Vec::new();
    let mut n = 0u64;
    while reader.position() < end {
        let length = reader.delimiter(end)?;
        let until = reader.position() + length;
        if n == 0 {
            metadata(&mut reader, until)?;
        } else {
            let node = node(&mut reader, until, &mut shared)?;
            if !ids.insert(node.call.id) {
                return Err(duplicate(node.call.id));
            }
            nodes.push(node);
        }
        n += 1;
        if n > MAX_NODES {
            return Err(too_many());
        }
    }
    Ok(nodes)
}

/// The message about the file; a node in its place has a number where a text is due.
fn metadata(reader: &mut Reader<'_>, end: u64) -> Result<(), Diagnostic> {
    while reader.position() < end {
        let key = reader.key(end)?;
        if key.wire != WireType::Delimited {
            return Err(reader.invalid(key.offset, "its first message does not describe the file"));
        }
        let length = reader.delimiter(end)?;
        reader.skip(length, end)?;
    }
    Ok(())
}

fn node(reader: &mut Reader<'_>, end: u64, shared: &mut Shared) -> Result<Node, Diagnostic> {
    let mut node = Node::default();
    let mut io: [[String; 3]; 2] = Default::default();
    while reader.position() < end {
        let key = reader.key(end)?;
        match (key.number, key.wire) {
            (1, WireType::Varint) => node.call.id = reader.varint(end)?,
            (2, WireType::Delimited) => node.call.name = shared.text(&text(reader, end)?),
            (3, WireType::Varint) => node.kind = node_type(reader, key, end)?,
            (4, _) => numbers(reader, key, end, &mut node.control)?,
            (5, _) => numbers(reader, key, end, &mut node.data)?,
            (7, WireType::Varint) => node.duration = reader.varint(end)?,
            (at @ (8 | 9), WireType::Delimited) => {
                let length = reader.delimiter(end)?;
                let until = reader.position() + length;
                texts(reader, until, &mut io[usize::from(at == 9)])?;
            }
            (10, WireType::Delimited) => {
                let length = reader.delimiter(end)?;
                let until = reader.position() + length;
                attribute(reader, until, &mut node)?;
            }
            _ => pass(reader, key, end)?,
        }
    }
    if let Some(schema) = node.texts.remove("op_schema") {
        node.call.signature = shared.signature(&schema);
    }
    let [inputs, outputs] = io;
    let mut plain = Vec::new();
    node.call.inputs = operands(&node.call, &inputs, "inputs", &mut plain)?;
    node.call.plain = plain;
    node.call.outputs = operands(&node.call, &outputs, "outputs", &mut Vec::new())?;
    Ok(node)
}

/// The tensors in texts such as `[[7, 6, 0, 128, 8, 'cpu'], [-1]]`, `[[2, 64], [[]]]` and
/// `['Tensor(long int)', 'GenericList[Int]']`.
fn operands(
    call: &Call,
    [values, shapes, types]: &[String; 3],
    member: &'static str,
    plain: &mut Vec<(usize, String)>,
) -> Result<Vec<Operand>, Diagnostic> {
    let list = |text: &str| match text {
        "" => Some(Vec::new()),
        text => literal::list(text),
    };
    let lists = (list(values), list(shapes), list(types));
    let (Some(values), Some(shapes), Some(types)) = lists else {
        let what = format!("node {} (`{}`)", call.id, call.name);
        return Err(invalid_field(
            &what,
            &call.id.to_string(),
            member,
            "a list that Python prints",
        ));
    };
    let types: Vec<_> = types.iter().map(|of| of.as_str().unwrap_or_default()).collect();
    operands_of((call.id, &call.name), member, (&values, &shapes, &types), plain)
}

fn node_type(reader: &mut Reader<'_>, key: Key, end: u64) -> Result<NodeType, Diagnostic> {
    let kind = NodeType::of(reader.varint(end)?);
    kind.ok_or_else(|| reader.invalid(key.offset, "a node has an unknown type"))
}

/// The error of two nodes of one number.
pub(super) fn duplicate(id: u64) -> Diagnostic {
    Diagnostic::input("duplicate-id", format!("two nodes have the id {id}")).fact("node", id)
}

/// The error of a trace that is too long.
pub(super) fn too_many() -> Diagnostic {
    let what = format!("the trace has more than {MAX_NODES} nodes");
    Diagnostic::input("too-many-nodes", what).hint("record fewer steps")
}

/// A number, or several in one field.
fn numbers(
    reader: &mut Reader<'_>,
    key: Key,
    end: u64,
    into: &mut Vec<u64>,
) -> Result<(), Diagnostic> {
    match key.wire {
        WireType::Varint => into.push(reader.varint(end)?),
        WireType::Delimited => {
            let length = reader.delimiter(end)?;
            let until = reader.position() + length;
            while reader.position() < until {
                into.push(reader.varint(until)?);
            }
        }
        _ => return Err(reader.invalid(key.offset, "a dependency is no number")),
    }
    Ok(())
}

fn text(reader: &mut Reader<'_>, end: u64) -> Result<String, Diagnostic> {
    let length = reader.delimiter(end)?;
    let offset = reader.position();
    if length > MAX_TEXT {
        let what = format!("a text of a node is longer than {MAX_TEXT} bytes");
        return Err(Diagnostic::input("size-budget", what).fact("offset", offset));
    }
    let mut bytes = Vec::new();
    reader.copy(length, end, &mut bytes)?;
    String::from_utf8(bytes).map_err(|_| {
        Diagnostic::input("invalid-utf8", "a text of a node is no UTF-8").fact("offset", offset)
    })
}

/// The three texts of arguments or results.
fn texts(reader: &mut Reader<'_>, end: u64, into: &mut [String; 3]) -> Result<(), Diagnostic> {
    while reader.position() < end {
        let key = reader.key(end)?;
        match (key.number, key.wire) {
            (at @ 1..=3, WireType::Delimited) => into[at as usize - 1] = text(reader, end)?,
            _ => pass(reader, key, end)?,
        }
    }
    Ok(())
}

fn attribute(reader: &mut Reader<'_>, end: u64, node: &mut Node) -> Result<(), Diagnostic> {
    let mut name = String::new();
    while reader.position() < end {
        let key = reader.key(end)?;
        match (key.number, key.wire) {
            (1, WireType::Delimited) => name = text(reader, end)?,
            (_, WireType::Varint) => {
                let value = reader.varint(end)?;
                if ATTRIBUTES.contains(&name.as_str()) {
                    node.numbers.insert(name.clone(), value);
                }
            }
            (29, WireType::Delimited) if ATTRIBUTES.contains(&name.as_str()) => {
                let value = text(reader, end)?;
                node.texts.insert(name.clone(), value);
            }
            _ => pass(reader, key, end)?,
        }
    }
    Ok(())
}

fn pass(reader: &mut Reader<'_>, key: Key, end: u64) -> Result<(), Diagnostic> {
    match key.wire {
        WireType::Varint => reader.varint(end).map(drop),
        WireType::Fixed64 => reader.skip(8, end),
        WireType::Fixed32 => reader.skip(4, end),
        WireType::Delimited => {
            let length = reader.delimiter(end)?;
            reader.skip(length, end)
        }
    }
}

/// Nodes by number.
pub(super) fn by_id(nodes: &[Node]) -> HashMap<u64, usize> {
    nodes.iter().enumerate().map(|(at, node)| (node.call.id, at)).collect()
}
