//! An ONNX model as decoded: checked for form, functions inlined, nodes sorted; shapes not yet
//! inferred.

use std::collections::BTreeMap;

use ir::tensor::DType;
use ir::units::Bytes;

/// A decoded model. Every node's domain and name are as in the file, control characters included.
#[derive(Clone, Debug, Default)]
pub struct RawModel {
    /// Imported operator sets: domain (`""` = `ai.onnx`) to version.
    pub opsets: BTreeMap<String, i64>,
    /// The main graph, local functions inlined.
    pub graph: RawGraph,
}

/// A graph or subgraph.
#[derive(Clone, Debug, Default)]
pub struct RawGraph {
    /// Its name.
    pub name: String,
    /// Nodes in a topological order.
    pub nodes: Vec<RawNode>,
    /// Constant tensors with a name.
    pub initializers: Vec<RawTensor>,
    /// Declared inputs (initializers among them removed).
    pub inputs: Vec<RawValue>,
    /// Declared outputs.
    pub outputs: Vec<RawValue>,
    /// Declared shapes of inner values.
    pub value_info: Vec<RawValue>,
}

/// A node.
#[derive(Clone, Debug, Default)]
pub struct RawNode {
    /// May be empty or duplicated; identity is the first output's name.
    pub name: String,
    /// Operator.
    pub op_type: String,
    /// Its domain, `""` for `ai.onnx`.
    pub domain: String,
    /// Input names, `""` for an optional one that is left out.
    pub inputs: Vec<String>,
    /// Output names, `""` for an optional one that is left out.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, RawAttribute>,
    /// Dotted path of the module that owns it, from metadata or the node's name, where it has one.
    pub module: Option<String>,
    /// `(configuration, pipeline stage)` annotations.
    pub stages: Vec<(String, i32)>,
}

/// An attribute's value.
#[derive(Clone, Debug)]
pub enum RawAttribute {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Text.
    Text(String),
    /// A tensor.
    Tensor(RawTensor),
    /// A subgraph; names that it does not define are those of the graph around it.
    Graph(RawGraph),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<String>),
    /// Several subgraphs.
    Graphs(Vec<RawGraph>),
    /// A kind that no rule reads (sparse tensors, type protos).
    Other,
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// Its name (empty for an attribute's tensor).
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub dims: Vec<u64>,
    /// Product of the extents.
    pub n_elements: u64,
    /// Size as stored.
    pub bytes: Bytes,
    /// Element values where the data is inline and at most 1 KiB.
    pub values: Option<RawValues>,
    /// Where the data lies, if in one piece.
    pub place: Option<Place>,
}

/// Where the data of a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the model's file, as little-endian elements.
    Inline {
        /// Position of the first byte.
        offset: u64,
    },
    /// In another file, which is never opened; all three are as the model states them.
    External {
        /// Name of the file.
        location: String,
        /// Position of the first byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// Element values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValues {
    /// Integers and booleans.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f64>),
}

/// A named value with what the file says of its type.
#[derive(Clone, Debug, Default)]
pub struct RawValue {
    /// Its name.
    pub name: String,
    /// Element type, where stated and a tensor.
    pub dtype: Option<DType>,
    /// Extents, where the rank is stated.
    pub shape: Option<Vec<RawDim>>,
}

/// An extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawDim {
    /// A number.
    Known(u64),
    /// A symbol or an expression of symbols, such as `batch` or `2*s1 + 1`.
    Symbol(String),
    /// Not stated.
    Unknown,
}
