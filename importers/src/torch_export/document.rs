//! The JSON of an exported program (`torch/_export/serde/schema.py`, version 8), typed. A kind of
//! argument that this table lacks is an error that names it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub(super) struct Program {
    pub(super) graph_module: GraphModule,
    pub(super) schema_version: Version,
    #[serde(default)]
    pub(super) range_constraints: BTreeMap<String, Range>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) major: i64,
}

/// Bounds of an expression; `None` = none.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) min_val: Option<i64>,
    pub(super) max_val: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GraphModule {
    pub(super) graph: Graph,
    pub(super) signature: Signature,
}

#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    pub(super) inputs: Vec<Argument>,
    pub(super) outputs: Vec<Argument>,
    pub(super) nodes: Vec<Node>,
    pub(super) tensor_values: HashMap<String, TensorMeta>,
    #[serde(default)]
    pub(super) sym_int_values: HashMap<String, Extent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) target: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    pub(super) inputs: Vec<NamedArgument>,
    pub(super) outputs: Vec<Argument>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NamedArgument {
    pub(super) name: String,
    pub(super) arg: Argument,
    #[serde(default)]
    kind: Option<i64>,
}

impl NamedArgument {
    /// Whether it can be given by its name alone; archives of torch 2.6 do not say.
    pub(super) fn is_keyword(&self) -> bool {
        self.kind == Some(2)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
}

/// A number or the name of one.
#[derive(Debug, Deserialize)]
pub(super) enum Symbolic {
    #[serde(rename = "as_name")]
    Name(IgnoredAny),
    #[serde(rename = "as_int")]
    Value(i64),
}

#[derive(Debug, Deserialize)]
pub(super) enum OptionalTensor {
    #[serde(rename = "as_tensor")]
    Tensor(Name),
    #[serde(rename = "as_none")]
    None(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the schema's names")]
pub(super) enum Argument {
    AsTensor(Name),
    AsTensors(Vec<Name>),
    AsOptionalTensor(OptionalTensor),
    AsOptionalTensors(Vec<OptionalTensor>),
    AsNestedTensors(Nested),
    AsInt(i64),
    AsInts(Vec<i64>),
    AsIntLists(IgnoredAny),
    AsFloatLists(IgnoredAny),
    AsFloat(Real),
    AsFloats(IgnoredAny),
    AsBool(bool),
    AsBools(Vec<bool>),
    AsString(String),
    AsStrings(IgnoredAny),
    AsSymInt(Symbolic),
    AsSymInts(Vec<Symbolic>),
    AsSymBool(IgnoredAny),
    AsSymBools(IgnoredAny),
    AsSymFloat(IgnoredAny),
    AsSymFloats(IgnoredAny),
    AsNone(IgnoredAny),
    AsScalarType(IgnoredAny),
    AsDevice(IgnoredAny),
    AsLayout(IgnoredAny),
    AsMemoryFormat(IgnoredAny),
    AsComplex(IgnoredAny),
    AsCustomObj(IgnoredAny),
    AsOperator(IgnoredAny),
    AsStringToArgument(IgnoredAny),
    AsGraph(Subgraph),
}

/// Lists of tensors, as one.
#[derive(Debug, Default)]
pub(super) struct Nested(pub(super) Vec<Name>);

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lists;
        impl<'de> Visitor<'de> for Lists {
            type Value = Nested;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lists of tensors")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut lists: A) -> Result<Nested, A::Error> {
                let mut all = Vec::new();
                while let Some(list) = lists.next_element::<Vec<Name>>()? {
                    all.extend(list);
                }
                Ok(Nested(all))
            }
        }
        deserializer.deserialize_seq(Lists)
    }
}

/// A number; `None` for those that JSON has no word for, which are texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Real(pub(super) Option<f64>);

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Real;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E>(self, number: f64) -> Result<Real, E> {
                Ok(Real(Some(number)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Real, E> {
                Ok(Real(Some(number as f64)))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Real, E> {
                Ok(Real(Some(number as f64)))
            }
            fn visit_str<E>(self, _: &str) -> Result<Real, E> {
                Ok(Real(None))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Subgraph {
    pub(super) graph: Box<Graph>,
}

/// An extent, a stride or a number that the program computes.
#[derive(Debug, Deserialize)]
pub(super) enum Extent {
    #[serde(rename = "as_int")]
    Known(i64),
    #[serde(rename = "as_expr")]
    Expression(Expression),
}

#[derive(Debug, Deserialize)]
pub(super) struct Expression {
    pub(super) expr_str: String,
    #[serde(default)]
    pub(super) hint: Option<Hint>,
}

/// The value of an expression where the program was traced.
#[derive(Debug, Deserialize)]
pub(super) enum Hint {
    #[serde(rename = "as_int")]
    Int(i64),
    #[serde(rename = "as_float", alias = "as_bool")]
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub(super) struct TensorMeta {
    pub(super) dtype: i64,
    pub(super) sizes: Vec<Extent>,
    #[serde(default)]
    pub(super) strides: Vec<Extent>,
    #[serde(default)]
    pub(super) requires_grad: bool,
    #[serde(default)]
    pub(super) storage_offset: Option<Extent>,
    #[serde(default)]
    pub(super) device: Option<Device>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Device {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    pub(super) input_specs: Vec<InputSpec>,
    pub(super) output_specs: Vec<OutputSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputSpec {
    UserInput(UserInput),
    Parameter(Parameter),
    Buffer(Buffer),
    TensorConstant(TensorConstant),
    ConstantInput(IgnoredAny),
    CustomObj(IgnoredAny),
    Token(IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub(super) struct UserInput {
    pub(super) arg: Argument,
}

#[derive(Debug, Deserialize)]
pub(super) struct Parameter {
    pub(super) arg: Name,
    pub(super) parameter_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Buffer {
    pub(super) arg: Name,
    pub(super) buffer_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TensorConstant {
    pub(super) arg: Name,
    pub(super) tensor_constant_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputSpec {
    UserOutput(UserInput),
    LossOutput(Written),
    BufferMutation(Written),
    ParameterMutation(Written),
    UserInputMutation(Written),
    GradientToParameter(Gradient),
    GradientToUserInput(Written),
    Token(IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub(super) struct Written {
    pub(super) arg: Name,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gradient {
    pub(super) arg: Name,
    pub(super) parameter_name: String,
}

/// `model_weights_config.json` and `model_constants_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Payloads {
    pub(super) config: BTreeMap<String, Payload>,
}

/// Where the values of a weight lie.
#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    pub(super) path_name: String,
    #[serde(default)]
    pub(super) tensor_meta: Option<TensorMeta>,
}
