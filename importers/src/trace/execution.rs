//! ExecutionTrace files of PyTorch: calls with the identities of their tensors, as
//! `torch.profiler.ExecutionTraceObserver` writes them. No durations.

use std::borrow::Cow;
use std::io::Read;
use std::marker::PhantomData;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::calls::{Call, Member, Operand, Scope, Shared, dtype, invalid_field};
use crate::items::{self, Part};
use crate::json;

/// Forms that are read. The first names parents `parent` and has values, shapes, types and attributes
/// beside each other; the others have `ctrl_deps`, and `inputs`, `outputs` and `attrs` of one build.
const SCHEMAS: [&str; 7] = [
    "1.0.1",
    "1.0.2-chakra.0.0.4",
    "1.0.3-chakra.0.0.4",
    "1.0.4-chakra.0.0.4",
    "1.1.0-chakra.0.0.4",
    "1.1.1-chakra.0.0.4",
    "1.1.2-chakra.0.0.4",
];

/// Most nodes of a trace.
pub(super) const MAX_NODES: u64 = 2_000_000;

/// Operators whose plain arguments say how much they do.
pub(super) const WITH_PLAIN: [&str; 6] = [
    "aten::convolution_backward",
    "aten::convolution",
    "aten::conv1d",
    "aten::conv2d",
    "aten::conv3d",
    "record_param_comms",
];

/// How the types of arguments begin that hold several tensors.
const LISTS: [&str; 2] = ["GenericList[", "Tuple["];

/// Longest plain argument that is kept, in characters.
const MAX_PLAIN: usize = 256;

/// What an ExecutionTrace holds.
pub(super) struct Execution {
    /// Its calls.
    pub(super) calls: Vec<Call>,
    /// The process that ran them, by which its profile is known.
    pub(super) process: Option<u64>,
}

/// A node as recorded.
#[derive(Deserialize)]
struct Node<'a> {
    id: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(alias = "parent")]
    ctrl_deps: u64,
    #[serde(default, borrow)]
    inputs: Operands<'a>,
    #[serde(default)]
    input_shapes: Vec<Value>,
    #[serde(default, borrow)]
    input_types: Vec<Cow<'a, str>>,
    #[serde(default, borrow)]
    outputs: Operands<'a>,
    #[serde(default)]
    output_shapes: Vec<Value>,
    #[serde(default, borrow)]
    output_types: Vec<Cow<'a, str>>,
    #[serde(default, borrow)]
    attrs: Vec<Attribute<'a>>,
    #[serde(default)]
    rf_id: Value,
    #[serde(default)]
    seq_id: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    tid: Value,
    #[serde(default)]
    fw_tid: Value,
    #[serde(default)]
    op_schema: Value,
}

impl<'a> Node<'a> {
    /// Brings a node of the first form into that of the others.
    fn gathered(mut self) -> Self {
        let shapes = [&mut self.input_shapes, &mut self.output_shapes].map(std::mem::take);
        let types = [&mut self.input_types, &mut self.output_types].map(std::mem::take);
        let operands = [&mut self.inputs, &mut self.outputs];
        for ((operands, shapes), types) in operands.into_iter().zip(shapes).zip(types) {
            if let Operands::Values(values) = operands {
                let values = std::mem::take(values);
                *operands = Operands::Tensors(Tensors { values, shapes, types });
            }
        }
        let attributes = [
            ("rf_id", &mut self.rf_id),
            ("seq_id", &mut self.seq_id),
            ("scope", &mut self.scope),
            ("tid", &mut self.tid),
            ("fw_tid", &mut self.fw_tid),
            ("op_schema", &mut self.op_schema),
        ];
        for (name, value) in attributes.into_iter().filter(|(_, value)| !value.is_null()) {
            self.attrs.push(Attribute { name: Cow::Borrowed(name), value: value.take() });
        }
        self
    }
}

/// The arguments or results of a node: together with their shapes and types, or values alone.
enum Operands<'a> {
    Tensors(Tensors<'a>),
    Values(Vec<Value>),
}

impl Default for Operands<'_> {
    fn default() -> Self {
        Self::Tensors(Tensors::default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Operands<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Either<'a> {
            type Value = Operands<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("values with their shapes and types")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Operands::Values)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(object)).map(Operands::Tensors)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[derive(Default, Deserialize)]
struct Tensors<'a> {
    #[serde(default)]
    values: Vec<Value>,
    #[serde(default)]
    shapes: Vec<Value>,
    #[serde(default, borrow)]
    types: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    value: Value,
}

/// The members of a node and what each has to be, for errors.
const MEMBERS: [Member; 10] = [
    ("id", "a whole number", Value::is_u64),
    ("name", "a text", Value::is_string),
    ("ctrl_deps", "the number of a node", Value::is_u64),
    ("inputs", "an object of `values`, `shapes` and `types`", is_either),
    ("outputs", "an object of `values`, `shapes` and `types`", is_either),
    ("attrs", "a list of attributes", Value::is_array),
    ("input_shapes", "a list", Value::is_array),
    ("input_types", "a list of texts", Value::is_array),
    ("output_shapes", "a list", Value::is_array),
    ("output_types", "a list of texts", Value::is_array),
];

fn is_either(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// Reads the calls of a trace.
///
/// # Errors
/// `unknown-schema`, `invalid-field`, `too-many-nodes`, and those of [`items::each`].
pub(super) fn read(source: Box<dyn Read + '_>) -> Result<Execution, Diagnostic> {
    let mut process = None;
    let mut shared = Shared::default();
    let mut calls = Vec::new();
    let mut schema = None;
    items::each(source, "nodes", &mut |part| match part {
        Part::Item(n, _) if n >= MAX_NODES => Err(Diagnostic::input(
            "too-many-nodes",
            format!("the trace has more than {MAX_NODES} nodes"),
        )
        .hint("record fewer steps")),
        Part::Item(n, text) => {
            calls.push(node(n, text, &mut shared)?);
            Ok(())
        }
        Part::Member("schema", text) => {
            schema = Some(checked(json::parse(text)?)?);
            Ok(())
        }
        Part::Member("pid", text) => {
            process = json::parse::<Value>(text)?.as_u64();
            Ok(())
        }
        Part::Member(..) => Ok(()),
    })?;
    if schema.is_none() {
        return Err(Diagnostic::input("missing-member", "the trace states no `schema`")
            .fact("member", "schema"));
    }
    Ok(Execution { calls, process })
}

fn checked(schema: Value) -> Result<(), Diagnostic> {
    match schema.as_str() {
        Some(known) if SCHEMAS.contains(&known) => Ok(()),
        _ => {
            let what = format!("the execution trace has the unknown schema version {schema}");
            Err(Diagnostic::input("unknown-schema", what)
                .fact("known", SCHEMAS.map(str::to_owned).to_vec())
                .hint("record the trace with PyTorch 2.1 or later"))
        }
    }
}

fn node(n: u64, text: &[u8], shared: &mut Shared) -> Result<Call, Diagnostic> {
    let node: Node<'_> = json::parse(text).map_err(|error| blamed(n, text, error))?;
    let node = node.gathered();
    let mut call = Call {
        id: node.id,
        name: shared.text(&node.name),
        parent: node.ctrl_deps,
        ..Call::default()
    };
    for attribute in &node.attrs {
        let set = set(&mut call, attribute, shared);
        set.ok_or_else(|| {
            let (what, id) = (format!("node {} (`{}`)", node.id, node.name), node.id.to_string());
            invalid_field(&what, &id, &attribute.name, "of its type")
        })?;
    }
    let tensors = |operands: &Operands<'_>, member, plain: &mut Vec<_>| {
        let Operands::Tensors(Tensors { values, shapes, types }) = operands else {
            return Ok(Vec::new());
        };
        operands_of((node.id, &node.name), member, (values, shapes, types), plain)
    };
    call.inputs = tensors(&node.inputs, "inputs", &mut call.plain)?;
    call.outputs = tensors(&node.outputs, "outputs", &mut Vec::new())?;
    Ok(call)
}

/// Takes over an attribute; `None` where it has another type than PyTorch gives it.
fn set(call: &mut Call, attribute: &Attribute<'_>, shared: &mut Shared) -> Option<()> {
    let Attribute { name, value } = attribute;
    match &**name {
        "rf_id" => call.record = value.as_u64()?,
        // -1 is for calls outside of autograd.
        "seq_id" => call.sequence = u64::try_from(value.as_i64()?).ok(),
        "scope" => {
            call.scope = match value.as_u64()? {
                1 => Scope::Backward,
                7 => Scope::Annotation,
                _ => Scope::Operator,
            }
        }
        "tid" => call.thread = value.as_u64()?,
        "fw_tid" => call.forward_thread = value.as_u64()?,
        "op_schema" => call.signature = shared.signature(value.as_str()?),
        _ => {}
    }
    Some(())
}

/// The error of a node that has not its form, with the member that is wrong.
fn blamed(n: u64, text: &[u8], error: Diagnostic) -> Diagnostic {
    if error.code != "invalid-document" {
        return error.fact("node", n);
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(text) else {
        return error.fact("node", n);
    };
    let id = object
        .get("id")
        .filter(|id| id.is_u64())
        .map_or_else(|| format!("at {n}"), Value::to_string);
    let what = format!("node {id}");
    for (member, wanted, fits) in MEMBERS {
        match object.get(member) {
            Some(value) if fits(value) => {}
            None if !["id", "name", "ctrl_deps"].contains(&member) => {}
            None if member == "ctrl_deps" && object.get("parent").is_some_and(Value::is_u64) => {}
            _ => return invalid_field(&what, &id, member, wanted),
        }
    }
    Diagnostic::input("invalid-field", format!("{what}: {}", error.message)).fact("node", id)
}

/// The tensors among the arguments or results of a node, from values, shapes and types; plain
/// arguments of the operators that need them go into `plain`.
///
/// # Errors
/// `invalid-field`.
pub(super) fn operands_of<T: AsRef<str>>(
    (id, name): (u64, &str),
    member: &'static str,
    (values, shapes, types): (&[Value], &[Value], &[T]),
    plain: &mut Vec<(usize, String)>,
) -> Result<Vec<Operand>, Diagnostic> {
    let mut found = Vec::new();
    let invalid = |wanted: &str| {
        invalid_field(&format!("node {id} (`{name}`)"), &id.to_string(), member, wanted)
    };
    if values.len() != types.len() || values.len() != shapes.len() {
        return Err(invalid("as many values as shapes and types"));
    }
    let keeps = WITH_PLAIN.contains(&name);
    for (position, ((value, shape), of)) in values.iter().zip(shapes).zip(types).enumerate() {
        let of = of.as_ref();
        if of.starts_with("Tensor(") {
            let element = elements(of).first().copied().flatten();
            let tensor = operand(position, value, shape, element);
            found.push(tensor.ok_or_else(|| invalid("a tensor with its shape"))?);
        } else if LISTS.iter().any(|list| of.starts_with(list)) && of.contains("Tensor(") {
            members(position, (value, shape), &elements(of), &mut found)
                .ok_or_else(|| invalid("a list of tensors with their shapes"))?;
        } else if keeps {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if text.len() <= MAX_PLAIN {
                plain.push((position, text));
            }
        }
    }
    Ok(found)
}

/// The tensors of a list, or of lists in it; `of` are their element types in order, or that of all.
/// `None` where a tensor has no shape beside it.
fn members(
    position: usize,
    (value, shape): (&Value, &Value),
    of: &[Option<DType>],
    found: &mut Vec<Operand>,
) -> Option<()> {
    let first = found.len();
    let mut stack: Vec<(&Value, &Value)> = vec![(value, shape)];
    while let Some((value, shape)) = stack.pop() {
        match value.as_array()?.as_slice() {
            [] => {}
            [Value::Number(_), ..] => {
                let dtype = of.get(found.len() - first).or(of.first()).copied().flatten();
                found.push(operand(position, value, shape, dtype)?);
            }
            // Absent members are texts.
            values => {
                let pairs = values.iter().zip(shape.as_array()?);
                stack.extend(pairs.filter(|(member, _)| member.is_array()).rev());
            }
        }
    }
    Some(())
}

/// The element types in `Tensor(float)` or `GenericList[Tensor(float),...]`.
fn elements(of: &str) -> Vec<Option<DType>> {
    of.split("Tensor(").skip(1).map(|part| dtype(part.split(')').next()?)).collect()
}

/// A tensor from `[tensor, storage, offset, elements, bytes of an element, device]`.
fn operand(position: usize, value: &Value, shape: &Value, of: Option<DType>) -> Option<Operand> {
    let value = value.as_array()?;
    let number = |at: usize| value.get(at)?.as_u64();
    let shape: Option<Vec<u64>> = shape.as_array()?.iter().map(Value::as_u64).collect();
    let (shape, elements) = (shape?, number(3)?);
    let volume = shape.iter().try_fold(1u64, |volume, extent| volume.checked_mul(*extent));
    // An undefined tensor has neither memory nor elements.
    if volume? != elements && !(elements == 0 && number(1)? == 0) {
        return None;
    }
    let dtype = of.unwrap_or(match number(4)? {
        8 => DType::F64,
        2 => DType::F16,
        1 => DType::U8,
        _ => DType::F32,
    });
    dtype.size_of(elements)?;
    Some(Operand {
        position,
        tensor: number(0)?,
        storage: number(1)?,
        offset: number(2)?,
        elements,
        dtype,
        shape,
    })
}
