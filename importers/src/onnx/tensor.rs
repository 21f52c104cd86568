//! Constant tensors: extents, size, where the data is said to be, and the values of small ones.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{SparseTensorProto, StringStringEntryProto, TensorProto};

use crate::onnx::dtype::{self, element_type};
use crate::onnx::raw::{Place, RawTensor, RawValues};
use crate::onnx::scan::Data;

/// Most values that are kept of a tensor: 1 KiB of single bits would still be few.
const MAX_VALUES: u64 = 8192;

/// A tensor, with what the scan counted of its data.
///
/// # Errors
/// `unknown-dtype`, `negative-dimension`, `size-overflow`, `data-too-short`,
/// `invalid-external-data`; each names the tensor.
pub(crate) fn tensor(proto: TensorProto, data: &[Data]) -> Result<RawTensor, Diagnostic> {
    let name = proto.name.clone();
    convert(proto, data).map_err(|error| error.fact("tensor", name))
}

/// A sparse tensor: extents of the whole, size of what is stored.
///
/// # Errors
/// As [`tensor`], and `invalid-tensor` without values.
pub(crate) fn sparse(proto: SparseTensorProto, data: &[Data]) -> Result<RawTensor, Diagnostic> {
    let missing = || Diagnostic::input("invalid-tensor", "a sparse tensor has no values");
    let values = tensor(proto.values.into_option().ok_or_else(missing)?, data)?;
    let indices = match proto.indices.into_option() {
        Some(indices) => tensor(indices, data)?.bytes,
        None => ir::units::Bytes::ZERO,
    };
    let (dims, n_elements) = extents(&proto.dims)?;
    Ok(RawTensor {
        dims,
        n_elements,
        bytes: values.bytes + indices,
        values: None,
        place: None,
        ..values
    })
}

fn convert(proto: TensorProto, data: &[Data]) -> Result<RawTensor, Diagnostic> {
    let dtype = element_type(proto.data_type).ok_or_else(|| dtype::unknown(proto.data_type))?;
    let (dims, n_elements) = extents(&proto.dims)?;
    let bytes = dtype.size_of(n_elements).ok_or_else(|| overflow(&proto.dims))?;
    let (mut values, mut place) = (None, None);
    if proto.data_location.enum_value() == Ok(DataLocation::EXTERNAL) {
        place = check_external(&proto.external_data, bytes.get())?;
    } else if let Some(data) = proto.doc_string.parse::<usize>().ok().and_then(|at| data.get(at)) {
        check_length(dtype, n_elements, data)?;
        place = data.raw.map(|_| Place::Inline { offset: data.raw_at });
        if !data.is_dropped && n_elements <= MAX_VALUES {
            values = read_values(dtype, n_elements, &proto);
        }
    }
    Ok(RawTensor { name: proto.name, dtype, dims, n_elements, bytes, values, place })
}

fn extents(dims: &[i64]) -> Result<(Vec<u64>, u64), Diagnostic> {
    let mut extents = Vec::with_capacity(dims.len());
    for &dim in dims {
        extents.push(u64::try_from(dim).map_err(|_| {
            Diagnostic::input(
                "negative-dimension",
                format!("an initializer has the negative dimension {dim}"),
            )
        })?);
    }
    if extents.contains(&0) {
        return Ok((extents, 0));
    }
    let product = extents.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim));
    Ok((extents, product.ok_or_else(|| overflow(dims))?))
}

fn overflow(dims: &[i64]) -> Diagnostic {
    let text: Vec<String> = dims.iter().take(16).map(i64::to_string).collect();
    Diagnostic::input(
        "size-overflow",
        format!("size overflow: a tensor of {} is past 64 bits", text.join(" x ")),
    )
}

/// Refuses inline data that is shorter than the extents say. Data that is not there at all is
/// fine: models without weights are worth planning.
fn check_length(dtype: DType, n_elements: u64, data: &Data) -> Result<(), Diagnostic> {
    let needed_bytes = dtype.size_of(n_elements).map_or(u64::MAX, ir::units::Bytes::get);
    let (have, need) = match data.raw {
        Some(length) => (length, needed_bytes),
        None => match dtype {
            DType::F32 => (data.floats, n_elements),
            DType::C64 => (data.floats, n_elements.saturating_mul(2)),
            DType::F64 => (data.doubles, n_elements),
            DType::C128 => (data.doubles, n_elements.saturating_mul(2)),
            DType::I64 => (data.int64s, n_elements),
            DType::U32 | DType::U64 => (data.uint64s, n_elements),
            DType::String => (data.strings, n_elements),
            DType::I4 | DType::U4 | DType::F4 | DType::I2 | DType::U2 => {
                (data.int32s, needed_bytes)
            }
            _ => (data.int32s, n_elements),
        },
    };
    if have >= need {
        return Ok(());
    }
    let unit = if data.raw.is_some() { "bytes" } else { "elements" };
    Err(Diagnostic::input(
        "data-too-short",
        format!("inline data is shorter than its shape says: {have} of {need} {unit}"),
    )
    .fact("have", have)
    .fact("need", need))
}

/// Checks what a tensor says of its external data, and where that lies if all of it is said. The file
/// is never opened.
fn check_external(
    entries: &[StringStringEntryProto],
    bytes: u64,
) -> Result<Option<Place>, Diagnostic> {
    let find = |key: &str| entries.iter().rfind(|entry| entry.key == key).map(|e| e.value.as_str());
    let location = find("location").filter(|location| !location.is_empty());
    let Some(location) = location else {
        return Err(bad_external("an external tensor has no location".to_owned()));
    };
    let mut characters = location.chars();
    let is_drive = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.next() == Some(':');
    if location.starts_with(['/', '\\']) || is_drive {
        return Err(bad_external(
            "external data has an absolute path, which is never opened".into(),
        )
        .fact("location", location));
    }
    if location.split(['/', '\\']).any(|part| part == "..") {
        return Err(bad_external("the external data path escapes the model's directory".into())
            .fact("location", location));
    }
    let number = |key: &str| match find(key) {
        None => Ok(None),
        Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
            let problem = match text.trim().parse::<i128>() {
                Ok(value) if value < 0 => "is negative",
                Ok(_) => "is past 64 bits",
                Err(_) => "is not a number",
            };
            bad_external(format!("the {key} of external data {problem}")).fact("value", text)
        }),
    };
    let offset = number("offset")?;
    let length = number("length")?;
    if offset.unwrap_or(0).checked_add(length.unwrap_or(bytes)).is_none() {
        return Err(bad_external("offset + length overflow 64 bits: size overflow".to_owned()));
    }
    match length {
        Some(length) if length < bytes => Err(Diagnostic::input(
            "data-too-short",
            format!("external data is shorter than its shape says: {length} of {bytes} bytes"),
        )),
        _ => Ok(offset.zip(length).map(|(offset, length)| Place::External {
            location: location.to_owned(),
            offset,
            length,
        })),
    }
}

fn bad_external(message: String) -> Diagnostic {
    Diagnostic::input("invalid-external-data", message)
        .hint("export the model again with external data beside the model file")
}

fn read_values(dtype: DType, n_elements: u64, proto: &TensorProto) -> Option<RawValues> {
    let n = usize::try_from(n_elements).ok()?;
    if !proto.raw_data.is_empty() || n == 0 {
        return raw_values(dtype, n, &proto.raw_data);
    }
    let first_ints = |values: &[i32]| values.iter().take(n).map(|v| i64::from(*v)).collect();
    Some(match dtype {
        DType::F32 => {
            RawValues::Floats(proto.float_data.iter().take(n).map(|v| f64::from(*v)).collect())
        }
        DType::F64 => RawValues::Floats(proto.double_data.iter().take(n).copied().collect()),
        DType::I64 => RawValues::Ints(proto.int64_data.iter().take(n).copied().collect()),
        DType::U32 | DType::U64 => {
            RawValues::Ints(proto.uint64_data.iter().take(n).map(|v| v.cast_signed()).collect())
        }
        DType::I32 | DType::I16 | DType::I8 | DType::U16 | DType::U8 | DType::Bool => {
            RawValues::Ints(first_ints(&proto.int32_data))
        }
        DType::F16 => {
            RawValues::Floats(proto.int32_data.iter().take(n).map(|v| half(low_bits(*v))).collect())
        }
        DType::Bf16 => RawValues::Floats(
            proto.int32_data.iter().take(n).map(|v| brain(low_bits(*v))).collect(),
        ),
        DType::I4 | DType::U4 => {
            let packed: Vec<u8> = proto.int32_data.iter().map(|v| v.to_le_bytes()[0]).collect();
            return raw_values(dtype, n, &packed);
        }
        _ => return None,
    })
    .filter(|values| values.len() == n)
}

impl RawValues {
    /// Number of values.
    fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }
}

/// Values of little-endian bytes.
fn raw_values(dtype: DType, n: usize, bytes: &[u8]) -> Option<RawValues> {
    macro_rules! ints {
        ($type:ty, $convert:expr) => {
            RawValues::Ints(
                bytes
                    .chunks_exact(size_of::<$type>())
                    .take(n)
                    .filter_map(|chunk| Some(<$type>::from_le_bytes(chunk.try_into().ok()?)))
                    .map($convert)
                    .collect(),
            )
        };
    }
    macro_rules! floats {
        ($type:ty, $convert:expr) => {
            RawValues::Floats(
                bytes
                    .chunks_exact(size_of::<$type>())
                    .take(n)
                    .filter_map(|chunk| Some(<$type>::from_le_bytes(chunk.try_into().ok()?)))
                    .map($convert)
                    .collect(),
            )
        };
    }
    let values = match dtype {
        DType::F64 => floats!(f64, |v| v),
        DType::F32 => floats!(f32, f64::from),
        DType::F16 => floats!(u16, half),
        DType::Bf16 => floats!(u16, brain),
        DType::I64 => ints!(i64, |v| v),
        DType::I32 => ints!(i32, i64::from),
        DType::I16 => ints!(i16, i64::from),
        DType::I8 => ints!(i8, i64::from),
        DType::U64 => ints!(u64, u64::cast_signed),
        DType::U32 => ints!(u32, i64::from),
        DType::U16 => ints!(u16, i64::from),
        DType::U8 | DType::Bool => ints!(u8, i64::from),
        DType::I4 | DType::U4 => RawValues::Ints(nibbles(dtype, n, bytes)),
        _ => return None,
    };
    (values.len() == n).then_some(values)
}

/// Two elements per byte, the low half first.
fn nibbles(dtype: DType, n: usize, bytes: &[u8]) -> Vec<i64> {
    let signed = |v: u8| i64::from(v) - if dtype == DType::I4 && v > 7 { 16 } else { 0 };
    bytes.iter().flat_map(|b| [signed(b & 15), signed(b >> 4)]).take(n).collect()
}

fn low_bits(value: i32) -> u16 {
    let [a, b, _, _] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f64::from(bits & 1023);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_by_hand() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x3555), 0.333_251_953_125);
        assert_eq!(half(0x0001), 2f64.powi(-24));
        assert_eq!(half(0x7bff), 65504.0);
        assert_eq!(half(0x7c00), f64::INFINITY);
        assert_eq!(brain(0x3f80), 1.0);
    }

    #[test]
    fn four_bit_values_come_low_half_first() {
        let expected = RawValues::Ints(vec![1, -1, -8]);
        assert_eq!(raw_values(DType::I4, 3, &[0xf1, 0x08]), Some(expected));
    }

    #[test]
    fn extents_multiply_without_wrapping() {
        assert_eq!(extents(&[1 << 32, 1 << 32]).unwrap_err().code, "size-overflow");
        assert_eq!(extents(&[0, 1 << 62, 1 << 62]).unwrap().1, 0);
        assert_eq!(extents(&[2, -1]).unwrap_err().code, "negative-dimension");
        assert_eq!(extents(&[]).unwrap(), (vec![], 1));
    }

    #[test]
    fn external_entries_are_checked() {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        };
        let check = |entries: &[(&str, &str)]| {
            let entries: Vec<_> = entries.iter().map(|(k, v)| entry(k, v)).collect();
            check_external(&entries, 16).map_err(|error| error.message)
        };
        assert!(check(&[("location", "w.bin"), ("offset", "64"), ("length", "16")]).is_ok());
        assert!(check(&[("location", "a/..b/w")]).is_ok());
        assert!(check(&[]).unwrap_err().contains("no location"));
        assert!(check(&[("location", "C:\\w")]).unwrap_err().contains("absolute"));
        assert!(check(&[("location", "a/../../w")]).unwrap_err().contains("escapes"));
        let with = |key, value| check(&[("location", "w"), (key, value)]).unwrap_err();
        assert!(with("offset", "-1").contains("negative"));
        assert!(with("length", "many").contains("not a number"));
        assert!(with("length", "15").contains("shorter"));
        assert!(with("offset", "18446744073709551615").contains("overflow"));
    }
}
