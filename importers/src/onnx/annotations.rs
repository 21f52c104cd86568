//! Device configurations of a model and the pipeline stages of its nodes: fields of IR version 11,
//! which the typed decoder does not know.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use onnx_protobuf::{ModelProto, NodeProto};
use protobuf::UnknownValueRef;
use protobuf::rt::WireType;

use crate::onnx::decode::Decoder;

/// Field of `ModelProto` with the device configurations.
const CONFIGURATION: u32 = 26;
/// Field of `NodeProto` with the stage annotations.
const DEVICE_CONFIGURATIONS: u32 = 10;

/// Texts and varints of a small message that the typed decoder does not know.
fn small_message(bytes: &[u8]) -> Result<Vec<(u32, Small)>, Diagnostic> {
    let mut stream = protobuf::CodedInputStream::from_bytes(bytes);
    let mut fields = Vec::new();
    let broken = |error: protobuf::Error| {
        Diagnostic::input("invalid-protobuf", format!("this is not an ONNX protobuf: {error}"))
    };
    while let Some(tag) = stream.read_raw_tag_or_eof().map_err(broken)? {
        let value = match tag & 7 {
            tag if tag == WireType::Varint as u32 => {
                Small::Number(stream.read_raw_varint64().map_err(broken)?)
            }
            _ => Small::Text(stream.read_string().map_err(broken)?),
        };
        fields.push((tag >> 3, value));
    }
    Ok(fields)
}

enum Small {
    Number(u64),
    Text(String),
}

/// A protobuf `int32` is a 64-bit varint that keeps its sign.
fn int32(value: u64) -> i32 {
    value as i32
}

/// Names of a model's device configurations.
///
/// # Errors
/// `invalid-protobuf`.
pub(crate) fn configurations(proto: &ModelProto) -> Result<BTreeSet<String>, Diagnostic> {
    let mut configurations = BTreeSet::new();
    for (number, value) in proto.special_fields.unknown_fields().iter() {
        let UnknownValueRef::LengthDelimited(bytes) = value else { continue };
        if number != CONFIGURATION {
            continue;
        }
        let mut configuration = String::new();
        for field in small_message(bytes)? {
            if let (1, Small::Text(name)) = field {
                configuration = name;
            }
        }
        configurations.insert(configuration);
    }
    Ok(configurations)
}

impl Decoder<'_> {
    /// The `(configuration, stage)` pairs of a node; warns of configurations that the model does not
    /// have.
    ///
    /// # Errors
    /// `invalid-protobuf`.
    pub(crate) fn stages(&mut self, proto: &NodeProto) -> Result<Vec<(String, i32)>, Diagnostic> {
        let mut stages = Vec::new();
        for (number, value) in proto.special_fields.unknown_fields().iter() {
            let UnknownValueRef::LengthDelimited(bytes) = value else { continue };
            if number != DEVICE_CONFIGURATIONS {
                continue;
            }
            let mut configuration = String::new();
            let mut stage = None;
            for field in small_message(bytes)? {
                match field {
                    (1, Small::Text(name)) => configuration = name,
                    (3, Small::Number(n)) => stage = Some(int32(n)),
                    _ => {}
                }
            }
            if !self.configurations.contains(&configuration) {
                // Once per configuration is enough.
                self.configurations.insert(configuration.clone());
                self.warnings.push(
                    Diagnostic::warning(
                        "unknown-configuration",
                        format!("a node names the device configuration `{configuration}`, which the model does not have"),
                    )
                    .fact("node", proto.name.clone()),
                );
            }
            if let Some(stage) = stage {
                stages.push((configuration, stage));
            }
        }
        Ok(stages)
    }
}
