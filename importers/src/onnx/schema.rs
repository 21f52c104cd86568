//! The part of the ONNX schema that is read: which fields a message has, and what is done with
//! each. Field numbers are those of `onnx.proto` (IR version 13).

/// A message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// `ModelProto`
    Model,
    /// `GraphProto`
    Graph,
    /// `NodeProto`
    Node,
    /// `AttributeProto`
    Attribute,
    /// `TensorProto`
    Tensor,
    /// `SparseTensorProto`
    SparseTensor,
    /// `ValueInfoProto`
    ValueInfo,
    /// `TypeProto`
    Type,
    /// `TypeProto.Tensor`
    TensorType,
    /// `TensorShapeProto`
    Shape,
    /// `TensorShapeProto.Dimension`
    Dimension,
    /// `FunctionProto`
    Function,
    /// `OperatorSetIdProto`
    OperatorSet,
    /// `StringStringEntryProto`
    Entry,
    /// `DeviceConfigurationProto`
    DeviceConfiguration,
    /// `NodeDeviceConfigurationProto`
    NodeDeviceConfiguration,
}

/// What the scan does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Leaves it out: nothing reads it.
    Skip,
    /// A varint.
    Varint,
    /// A 32-bit float.
    Fixed32,
    /// Any number of varints, packed or not.
    Varints,
    /// Any number of 32-bit floats, packed or not.
    Fixed32s,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Blob,
    /// One message; a second one is refused, because protobuf would merge them.
    One(Message),
    /// Any number of messages.
    Many(Message),
    /// Tensor data.
    Payload(Payload),
    /// A node's metadata, of which only the module's path is kept.
    Metadata,
}

/// Where a tensor's data sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// `raw_data`
    Raw,
    /// `float_data`
    Floats,
    /// `double_data`
    Doubles,
    /// `int32_data`
    Int32s,
    /// `int64_data`
    Int64s,
    /// `uint64_data`
    Uint64s,
    /// `string_data`
    Strings,
}

impl Message {
    /// What the scan does with field `number` of this message.
    pub(crate) fn field(self, number: u32) -> Field {
        match self {
            Self::Model => match number {
                1 => Field::Varint,
                7 => Field::One(Self::Graph),
                8 => Field::Many(Self::OperatorSet),
                25 => Field::Many(Self::Function),
                26 => Field::Many(Self::DeviceConfiguration),
                _ => Field::Skip,
            },
            Self::Graph => match number {
                1 => Field::Many(Self::Node),
                2 => Field::Text,
                5 => Field::Many(Self::Tensor),
                11..=13 => Field::Many(Self::ValueInfo),
                15 => Field::Many(Self::SparseTensor),
                _ => Field::Skip,
            },
            Self::Node => match number {
                1..=4 | 7 | 8 => Field::Text,
                5 => Field::Many(Self::Attribute),
                9 => Field::Metadata,
                10 => Field::Many(Self::NodeDeviceConfiguration),
                _ => Field::Skip,
            },
            Self::Attribute => attribute_field(number),
            Self::Tensor => tensor_field(number),
            Self::SparseTensor => match number {
                1 | 2 => Field::One(Self::Tensor),
                3 => Field::Varints,
                _ => Field::Skip,
            },
            Self::Function => match number {
                1 | 4..=6 | 10 | 13 => Field::Text,
                7 => Field::Many(Self::Node),
                9 => Field::Many(Self::OperatorSet),
                11 => Field::Many(Self::Attribute),
                _ => Field::Skip,
            },
            _ => self.small_field(number),
        }
    }

    fn small_field(self, number: u32) -> Field {
        match (self, number) {
            (Self::ValueInfo, 1) => Field::Text,
            (Self::ValueInfo, 2) => Field::One(Self::Type),
            (Self::Type, 1 | 8) => Field::One(Self::TensorType),
            (Self::TensorType, 1) => Field::Varint,
            (Self::TensorType, 2) => Field::One(Self::Shape),
            (Self::Shape, 1) => Field::Many(Self::Dimension),
            (Self::Dimension, 1) => Field::Varint,
            (Self::Dimension, 2) => Field::Text,
            (Self::OperatorSet, 1) => Field::Text,
            (Self::OperatorSet, 2) => Field::Varint,
            (Self::Entry, 1 | 2) => Field::Text,
            (Self::DeviceConfiguration, 1 | 3) => Field::Text,
            (Self::DeviceConfiguration, 2) => Field::Varint,
            (Self::NodeDeviceConfiguration, 1) => Field::Text,
            (Self::NodeDeviceConfiguration, 3) => Field::Varint,
            _ => Field::Skip,
        }
    }

    /// The message's name in `onnx.proto`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Model => "ModelProto",
            Self::Graph => "GraphProto",
            Self::Node => "NodeProto",
            Self::Attribute => "AttributeProto",
            Self::Tensor => "TensorProto",
            Self::SparseTensor => "SparseTensorProto",
            Self::ValueInfo => "ValueInfoProto",
            Self::Type => "TypeProto",
            Self::TensorType => "TypeProto.Tensor",
            Self::Shape => "TensorShapeProto",
            Self::Dimension => "TensorShapeProto.Dimension",
            Self::Function => "FunctionProto",
            Self::OperatorSet => "OperatorSetIdProto",
            Self::Entry => "StringStringEntryProto",
            Self::DeviceConfiguration => "DeviceConfigurationProto",
            Self::NodeDeviceConfiguration => "NodeDeviceConfigurationProto",
        }
    }
}

fn attribute_field(number: u32) -> Field {
    match number {
        1 | 21 => Field::Text,
        2 => Field::Fixed32,
        3 | 20 => Field::Varint,
        4 | 9 => Field::Blob,
        5 => Field::One(Message::Tensor),
        6 => Field::One(Message::Graph),
        7 => Field::Fixed32s,
        8 => Field::Varints,
        10 => Field::Many(Message::Tensor),
        11 => Field::Many(Message::Graph),
        _ => Field::Skip,
    }
}

fn tensor_field(number: u32) -> Field {
    match number {
        1 => Field::Varints,
        2 | 14 => Field::Varint,
        4 => Field::Payload(Payload::Floats),
        5 => Field::Payload(Payload::Int32s),
        6 => Field::Payload(Payload::Strings),
        7 => Field::Payload(Payload::Int64s),
        8 => Field::Text,
        9 => Field::Payload(Payload::Raw),
        10 => Field::Payload(Payload::Doubles),
        11 => Field::Payload(Payload::Uint64s),
        13 => Field::Many(Message::Entry),
        _ => Field::Skip,
    }
}
