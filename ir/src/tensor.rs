//! Tensors: element type, shape, size, and where they come from.

use std::fmt;

use crate::units::Bytes;

/// The element types that meshwright sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    Bf16,
    /// Any of the 8-bit floats.
    F8,
    /// A 4-bit float.
    F4,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 4-bit signed integer.
    I4,
    /// 2-bit signed integer.
    I2,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// 4-bit unsigned integer.
    U4,
    /// 2-bit unsigned integer.
    U2,
    /// Boolean, one byte.
    Bool,
    /// Complex of two 32-bit floats.
    C64,
    /// Complex of two 64-bit floats.
    C128,
    /// Character strings: sized as 0 bytes, they never reach an accelerator.
    String,
}

impl DType {
    /// All types in the order of their declaration, with their names and the bits of an element.
    pub const ROWS: [(Self, &'static str, u64); 22] = [
        (Self::F64, "fp64", 64),
        (Self::F32, "fp32", 32),
        (Self::F16, "fp16", 16),
        (Self::Bf16, "bf16", 16),
        (Self::F8, "fp8", 8),
        (Self::F4, "fp4", 4),
        (Self::I64, "int64", 64),
        (Self::I32, "int32", 32),
        (Self::I16, "int16", 16),
        (Self::I8, "int8", 8),
        (Self::I4, "int4", 4),
        (Self::I2, "int2", 2),
        (Self::U64, "uint64", 64),
        (Self::U32, "uint32", 32),
        (Self::U16, "uint16", 16),
        (Self::U8, "uint8", 8),
        (Self::U4, "uint4", 4),
        (Self::U2, "uint2", 2),
        (Self::Bool, "bool", 8),
        (Self::C64, "complex64", 64),
        (Self::C128, "complex128", 128),
        (Self::String, "string", 0),
    ];

    /// Bits of one element.
    #[must_use]
    pub const fn bits(self) -> u64 {
        Self::ROWS[self as usize].2
    }

    /// Whether `--dtype` replaces it: the floats of 16 bits and more.
    #[must_use]
    pub const fn is_wide_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The float that a word stands for, in our spelling, PyTorch's or that of safetensors.
    #[must_use]
    pub fn float_named(word: &str) -> Option<Self> {
        let word = word.strip_prefix("torch.").unwrap_or(word).to_ascii_lowercase();
        Some(match word.as_str() {
            "fp64" | "f64" | "float64" | "double" => Self::F64,
            "fp32" | "f32" | "float32" | "float" => Self::F32,
            "fp16" | "f16" | "float16" | "half" => Self::F16,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp8" | "f8" | "float8" => Self::F8,
            "fp4" | "f4" | "nvfp4" => Self::F4,
            _ => return None,
        })
    }

    /// Bytes of `elements` packed elements (rounded up), or `None` past 64 bits.
    #[must_use]
    pub fn size_of(self, elements: u64) -> Option<Bytes> {
        let bits = u128::from(elements) * u128::from(self.bits());
        u64::try_from(bits.div_ceil(8)).ok().map(Bytes)
    }

    /// The short name used on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ROWS[self as usize].1
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a tensor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written by an op of the graph.
    Activation,
    /// Fed by the caller; starts on the host.
    Input,
    /// An initializer or a constant: lives on each device that reads it, from start to end.
    Parameter,
}

/// A tensor of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Unique within its graph.
    pub name: String,
    /// Element type after the workload's `--dtype` was applied.
    pub dtype: DType,
    /// Extents; empty for a scalar. Instance files leave it empty.
    pub shape: Vec<u64>,
    /// Size of one copy.
    pub bytes: Bytes,
    /// Bytes that each copy of a parameter drags along for the whole step: gradient, master weight,
    /// optimizer state. Zero for anything but a trained parameter.
    pub state_bytes: Bytes,
    /// Where it comes from.
    pub role: Role,
    /// Whether an optimizer updates it; only parameters of floating type can be.
    pub trainable: bool,
}

#[cfg(test)]
mod tests {
    use super::DType;

    #[test]
    fn each_type_stands_in_its_own_row() {
        for (position, (dtype, name, bits)) in DType::ROWS.into_iter().enumerate() {
            assert_eq!(dtype as usize, position);
            assert_eq!((dtype.name(), dtype.bits()), (name, bits));
        }
    }
}
