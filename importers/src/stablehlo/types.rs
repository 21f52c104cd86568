//! Types of values, each distinct text read once.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::Bytes;

use super::fault::{fault, shown};

/// Most axes of a tensor.
const MAX_RANK: usize = 64;
/// Brackets within a type.
const MAX_DEPTH: usize = 32;

/// A type, by its position in [`Types`].
pub(super) type TypeId = u32;

/// What is known of a tensor's type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorType {
    /// Element type.
    pub(super) dtype: DType,
    /// Extents; `None` for one that is open, or all of them where the rank is.
    pub(super) dims: Option<Vec<Option<u64>>>,
    /// Whether an extent is the greatest that it may take.
    pub(super) at_most: bool,
}

impl TensorType {
    /// Extents, where all are known.
    pub(super) fn shape(&self) -> Option<Vec<u64>> {
        self.dims.as_ref()?.iter().copied().collect()
    }

    /// Number of elements, where known; it fits, as was checked.
    pub(super) fn elements(&self) -> Option<u64> {
        self.dims.as_ref()?.iter().try_fold(1u64, |n, extent| n.checked_mul((*extent)?))
    }

    /// Size; 0 where it is unknown.
    pub(super) fn bytes(&self) -> Bytes {
        self.elements().and_then(|n| self.dtype.size_of(n)).unwrap_or(Bytes::ZERO)
    }
}

/// A type of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// Anything that holds no data: tokens, functions, futures.
    Other,
}

/// All types of a text.
#[derive(Debug, Default)]
pub(super) struct Types<'t> {
    known: HashMap<&'t [u8], TypeId>,
    all: Vec<Type>,
    /// `!name = type` of the text.
    aliases: HashMap<&'t [u8], TypeId>,
}

impl<'t> Types<'t> {
    pub(super) fn get(&self, id: TypeId) -> &Type {
        self.all.get(id as usize).unwrap_or(&Type::Other)
    }

    pub(super) fn tensor(&self, id: TypeId) -> Option<&TensorType> {
        match self.get(id) {
            Type::Tensor(tensor) => Some(tensor),
            Type::Other => None,
        }
    }

    /// Replaces the element type of all wide floats.
    pub(super) fn retype(&mut self, dtype: DType) {
        for ty in &mut self.all {
            if let Type::Tensor(tensor) = ty
                && tensor.dtype.is_wide_float()
            {
                tensor.dtype = dtype;
            }
        }
    }

    pub(super) fn name(&mut self, alias: &'t [u8], id: TypeId) {
        self.aliases.insert(alias, id);
    }

    /// The type whose text begins at `at`, and where it ends.
    ///
    /// # Errors
    /// `invalid-type`, `unknown-dtype`, `size-overflow`, `rank-limit`, `nesting-limit`.
    pub(super) fn read(
        &mut self,
        text: &'t [u8],
        at: usize,
    ) -> Result<(TypeId, usize), Diagnostic> {
        let end = end_of(text, at)?;
        let spelling = &text[at..end];
        if let Some(id) = self.known.get(spelling).or_else(|| self.aliases.get(spelling)) {
            return Ok((*id, end));
        }
        let parsed = parse(text, at, end)?;
        let id = self.all.len() as TypeId;
        self.all.push(parsed);
        self.known.insert(spelling, id);
        Ok((id, end))
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'!')
}

/// Where a type ends: behind its word and the brackets that follow it.
fn end_of(text: &[u8], at: usize) -> Result<usize, Diagnostic> {
    let rest = &text[at..];
    let mut end = at + rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
    if end == at {
        return Err(fault(text, at, "invalid-type", "a type is missing here"));
    }
    if text.get(end) != Some(&b'<') {
        return Ok(end);
    }
    let mut depth = 0usize;
    while let Some(byte) = text.get(end) {
        match byte {
            b'<' => depth += 1,
            b'>' if text[end - 1] != b'-' => depth -= 1,
            b'\n' | b'%' => break,
            _ => {}
        }
        end += 1;
        if depth == 0 {
            return Ok(end);
        }
        if depth > MAX_DEPTH {
            return Err(fault(text, at, "nesting-limit", "the brackets of a type are too deep"));
        }
    }
    Err(fault(text, at, "truncated-text", "this type has no end"))
}

fn parse(text: &[u8], at: usize, end: usize) -> Result<Type, Diagnostic> {
    let spelling = &text[at..end];
    let inner = ["tensor<", "memref<", "vector<"]
        .iter()
        .find_map(|head| spelling.strip_prefix(head.as_bytes())?.strip_suffix(b">"));
    if let Some(inner) = inner {
        return tensor(inner).map_err(|(code, why)| fault(text, at, code, why)).map(Type::Tensor);
    }
    if let Some(dtype) = element(spelling) {
        return Ok(Type::Tensor(TensorType { dtype, dims: Some(Vec::new()), at_most: false }));
    }
    if spelling.first() == Some(&b'!') || spelling.starts_with(b"tuple<") || spelling == b"none" {
        return Ok(Type::Other);
    }
    Err(fault(text, at, "unknown-dtype", format!("`{}` is no type", shown(spelling))))
}

type Broken = (&'static str, String);

fn tensor(inner: &[u8]) -> Result<TensorType, Broken> {
    let mut rest = inner;
    let mut dims = Some(Vec::new());
    if let Some(unranked) = rest.strip_prefix(b"*x") {
        (dims, rest) = (None, unranked);
    }
    while let (Some(dims), Some(extent)) = (&mut dims, split_extent(&mut rest)) {
        let extent = match extent {
            b"?" => None,
            digits => Some(number(digits)?),
        };
        dims.push(extent);
        if dims.len() > MAX_RANK {
            return Err(("rank-limit", format!("a tensor has more than {MAX_RANK} axes")));
        }
    }
    let (name, encoding) = split_encoding(rest);
    let dtype = element(name)
        .ok_or_else(|| ("unknown-dtype", format!("`{}` is no element type", shown(name))))?;
    let mut tensor = TensorType { dtype, dims, at_most: false };
    bound(&mut tensor, encoding);
    let known = tensor.dims.iter().flatten().flatten();
    let elements = known.copied().filter(|n| *n > 0).try_fold(1u64, u64::checked_mul);
    if elements.and_then(|n| dtype.size_of(n)).is_none() {
        return Err(("size-overflow", "the bytes of a tensor do not fit into 64 bits".to_owned()));
    }
    Ok(tensor)
}

/// The text up to the next `x`, where it is an extent.
fn split_extent<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'x')?;
    let (extent, behind) = rest.split_at(end);
    let is_extent = extent == b"?" || (!extent.is_empty() && extent.iter().all(u8::is_ascii_digit));
    if !is_extent {
        return None;
    }
    *rest = &behind[1..];
    Some(extent)
}

fn number(digits: &[u8]) -> Result<u64, Broken> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    text.parse().map_err(|_| {
        ("number-out-of-range", format!("the extent {} does not fit into 64 bits", shown(digits)))
    })
}

/// Element type and what follows it behind a comma.
fn split_encoding(rest: &[u8]) -> (&[u8], &[u8]) {
    let mut depth = 0usize;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'<' | b'{' => depth += 1,
            b'>' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return (rest[..at].trim_ascii(), rest[at + 1..].trim_ascii()),
            _ => {}
        }
    }
    (rest.trim_ascii(), b"")
}

/// Puts the bounds `#stablehlo.bounds<8, ?>` in the place of open extents.
fn bound(tensor: &mut TensorType, encoding: &[u8]) {
    let heads: [&[u8]; 2] = [b"#stablehlo.bounds<", b"#stablehlo.type_extensions<bounds = ["];
    let Some(inner) = heads.iter().find_map(|head| encoding.strip_prefix(*head)) else { return };
    let extents = inner.split(|byte| matches!(byte, b',' | b'>' | b']'));
    for (place, extent) in tensor.dims.iter_mut().flatten().zip(extents) {
        if let (None, Ok(most)) = (&place, number(extent.trim_ascii())) {
            *place = Some(most);
            tensor.at_most = true;
        }
    }
}

/// The element type of this name. Quantized ones are sized as they are stored.
fn element(name: &[u8]) -> Option<DType> {
    let name = std::str::from_utf8(name).ok()?;
    let inner = |head: &str| name.strip_prefix(head)?.strip_suffix('>');
    if let Some(part) = inner("complex<") {
        return match part {
            "f32" => Some(DType::C64),
            "f64" => Some(DType::C128),
            _ => None,
        };
    }
    if let Some(stored) = inner("!quant.uniform<").or_else(|| inner("!quant.any<")) {
        return element(stored.split(['<', ':']).next()?.trim().as_bytes());
    }
    let name = name.strip_prefix("si").map_or(name.to_owned(), |bits| format!("i{bits}"));
    Some(match name.as_str() {
        "f64" => DType::F64,
        "f32" | "tf32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::Bf16,
        "i64" | "index" => DType::I64,
        "i32" => DType::I32,
        "i16" => DType::I16,
        "i8" => DType::I8,
        "i4" => DType::I4,
        "i2" => DType::I2,
        "i1" => DType::Bool,
        "ui64" => DType::U64,
        "ui32" => DType::U32,
        "ui16" => DType::U16,
        "ui8" => DType::U8,
        "ui4" => DType::U4,
        "ui2" => DType::U2,
        // Six bits are held in eight.
        name if name.starts_with("f8E") || name.starts_with("f6E") => DType::F8,
        name if name.starts_with("f4E") => DType::F4,
        _ => return None,
    })
}
