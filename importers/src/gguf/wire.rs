//! The header of a GGUF file (version 2 and 3, little-endian): metadata and the directory of tensors. Nothing
//! of their data is read.
//!
//! Each count is held against the bytes that are left before anything is allocated, and what is kept has a
//! limit of its own: long texts and arrays, such as vocabularies, are passed over.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::types::TensorType;
use crate::source::{Source, unreadable};

/// How files begin.
pub(crate) const MAGIC: &[u8] = b"GGUF";
/// Bytes that are read at once.
const WINDOW: usize = 64 << 10;
/// Longest header: twenty times that of a vocabulary of 256 k tokens with its merges.
const MOST_HEADER: u64 = 256 << 20;
/// Most keys, and bytes of keys and texts that are kept.
const MOST_KEYS: u64 = 1 << 16;
const MOST_KEPT: u64 = 4 << 20;
/// Longest text that is kept, and longest list.
const LONGEST_TEXT: u64 = 1 << 10;
const LONGEST_LIST: u64 = 4_096;
/// Longest key (the specification), and name of a tensor (`GGML_MAX_NAME`).
const LONGEST_KEY: u64 = 65_535;
const LONGEST_NAME: u64 = 64;
/// Most tensors: those of a thousand layers of a hundred.
const MOST_TENSORS: u64 = 1 << 17;
/// Deepest list of lists.
const DEEPEST: u32 = 3;
/// Largest alignment.
const MOST_ALIGNED: u64 = 1 << 20;
/// The usual one (`GGUF_DEFAULT_ALIGNMENT`).
const ALIGNED: u64 = 32;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A whole number from 0 on.
    Whole(u64),
    /// Any other number.
    Real(f64),
    /// A flag.
    Flag(bool),
    /// A text; `None` = a long one.
    Text(Option<String>),
    /// A list: its length, and its elements where they are few numbers.
    List(u64, Vec<Self>),
}

/// A tensor of the directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Its extents, the innermost first.
    pub shape: Vec<u64>,
    /// Its type.
    pub kind: TensorType,
    /// All elements.
    pub elements: u64,
    /// All bytes.
    pub bytes: u64,
}

/// What a file states before its data.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Header {
    /// Metadata by key.
    pub values: BTreeMap<String, Value>,
    /// The directory of tensors.
    pub tensors: Vec<Tensor>,
    /// Whether the file ends with its header.
    pub is_alone: bool,
}

/// Where reading is.
struct Cursor<'a> {
    source: &'a dyn Source,
    at: u64,
    window: Vec<u8>,
    first: u64,
    kept: u64,
}

fn bad(message: impl Into<String>) -> Diagnostic {
    Diagnostic::input("bad-gguf", message).hint("fetch or convert the file again")
}

fn truncated() -> Diagnostic {
    Diagnostic::input("truncated-gguf", "the file ends before what its header states")
        .hint("fetch the file again")
}

impl Cursor<'_> {
    fn left(&self) -> u64 {
        self.source.len().saturating_sub(self.at)
    }

    /// Refuses what the rest of the file cannot hold.
    fn check(&self, n: u64, each: u64) -> Result<u64, Diagnostic> {
        let bytes = n.checked_mul(each).filter(|bytes| *bytes <= self.left());
        bytes.ok_or_else(truncated)
    }

    fn skip(&mut self, n: u64, each: u64) -> Result<(), Diagnostic> {
        self.at += self.check(n, each)?;
        if self.at > MOST_HEADER {
            let message = format!("the header has more than {MOST_HEADER} bytes");
            return Err(Diagnostic::input("size-budget", message).fact("limit", MOST_HEADER));
        }
        Ok(())
    }

    fn take(&mut self, n: u64) -> Result<&[u8], Diagnostic> {
        let from = self.at;
        self.skip(n, 1)?;
        let end = self.first + self.window.len() as u64;
        if from < self.first || self.at > end {
            let n = usize::try_from(n).unwrap_or(usize::MAX).max(WINDOW);
            self.window.resize(n, 0);
            let read = self.source.read_at(from, &mut self.window);
            let read = read.map_err(|error| unreadable(&error))?;
            self.window.truncate(read);
            self.first = from;
        }
        let start = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let end = usize::try_from(self.at - self.first).unwrap_or(usize::MAX);
        self.window.get(start..end).ok_or_else(truncated)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Diagnostic> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Diagnostic> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    fn u64(&mut self) -> Result<u64, Diagnostic> {
        Ok(u64::from_le_bytes(self.number()?))
    }

    /// A text of at most so many bytes; `None` = a longer one, which is passed over.
    fn text(&mut self, longest: u64) -> Result<Option<String>, Diagnostic> {
        let n = self.u64()?;
        if n > longest {
            self.skip(n, 1)?;
            return Ok(None);
        }
        self.keep(n)?;
        let bytes = self.take(n)?.to_vec();
        String::from_utf8(bytes).map(Some).map_err(|_| bad("a text of the header is not UTF-8"))
    }

    fn keep(&mut self, n: u64) -> Result<(), Diagnostic> {
        self.kept = self.kept.saturating_add(n);
        if self.kept > MOST_KEPT {
            let message = format!("keys and texts of the header have more than {MOST_KEPT} bytes");
            return Err(Diagnostic::input("size-budget", message).fact("limit", MOST_KEPT));
        }
        Ok(())
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, Diagnostic> {
        let whole = |n: i64| u64::try_from(n).map_or(Value::Real(n as f64), Value::Whole);
        Ok(match kind {
            0 => Value::Whole(u64::from(u8::from_le_bytes(self.number()?))),
            1 => whole(i64::from(i8::from_le_bytes(self.number()?))),
            2 => Value::Whole(u64::from(u16::from_le_bytes(self.number()?))),
            3 => whole(i64::from(i16::from_le_bytes(self.number()?))),
            4 => Value::Whole(u64::from(self.u32()?)),
            5 => whole(i64::from(i32::from_le_bytes(self.number()?))),
            6 => Value::Real(f64::from(f32::from_le_bytes(self.number()?))),
            7 => Value::Flag(self.number::<1>()? != [0]),
            8 => Value::Text(self.text(LONGEST_TEXT)?),
            9 => self.list(depth)?,
            10 => Value::Whole(self.u64()?),
            11 => whole(i64::from_le_bytes(self.number()?)),
            12 => Value::Real(f64::from_le_bytes(self.number()?)),
            other => return Err(bad(format!("metadata of type {other}, which is not known"))),
        })
    }

    fn list(&mut self, depth: u32) -> Result<Value, Diagnostic> {
        /// Bytes of an element by type; of a text and of a list the least.
        const BYTES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
        if depth >= DEEPEST {
            return Err(bad(format!("lists of the header are more than {DEEPEST} deep")));
        }
        let (kind, n) = (self.u32()?, self.u64()?);
        let each = BYTES.get(kind as usize).copied();
        let each = each.ok_or_else(|| bad(format!("a list of type {kind}, which is not known")))?;
        self.check(n, each)?;
        let mut few = Vec::new();
        match kind {
            8 => {
                for _ in 0..n {
                    let bytes = self.u64()?;
                    self.skip(bytes, 1)?;
                }
            }
            9 => {
                for _ in 0..n {
                    self.list(depth + 1)?;
                }
            }
            _ if n <= LONGEST_LIST => {
                self.keep(n * 8)?;
                for _ in 0..n {
                    few.push(self.value(kind, depth)?);
                }
            }
            _ => self.skip(n, each)?,
        }
        Ok(Value::List(n, few))
    }

    fn tensor(&mut self) -> Result<(Tensor, u64), Diagnostic> {
        let name = self.text(LONGEST_NAME)?;
        let name = name.ok_or_else(|| bad("the name of a tensor is too long"))?;
        let n_dims = self.u32()?;
        if !(1..=4).contains(&n_dims) {
            return Err(bad(format!("tensor `{name}` has {n_dims} dimensions, not 1 to 4")));
        }
        let shape = (0..n_dims).map(|_| self.u64()).collect::<Result<Vec<u64>, _>>()?;
        let number = self.u32()?;
        let offset = self.u64()?;
        let kind = TensorType::numbered(number).ok_or_else(|| {
            let message = format!("tensor `{name}` has type {number}, which is not known");
            Diagnostic::input("unknown-tensor-type", message)
                .hint("convert the model to a type of llama.cpp")
        })?;
        let elements = shape.iter().try_fold(1_u64, |n, extent| n.checked_mul(*extent));
        let sizes = elements.filter(|n| *n > 0).zip(kind.bytes_of(&shape));
        let (elements, bytes) = sizes.ok_or_else(|| {
            bad(format!("tensor `{name}` has extents that {} cannot have", kind.name))
        })?;
        Ok((Tensor { name, shape, kind, elements, bytes }, offset))
    }
}

/// Refuses more tensors than are read.
///
/// # Errors
/// `size-budget`.
pub(super) fn check_tensors(n: u64) -> Result<(), Diagnostic> {
    check_count("tensors", n, MOST_TENSORS)
}

fn check_count(what: &str, n: u64, most: u64) -> Result<(), Diagnostic> {
    if n > most {
        let message = format!("the header states {n} {what}, more than {most}");
        return Err(Diagnostic::input("size-budget", message).fact("limit", most));
    }
    Ok(())
}

/// Reads a header.
///
/// # Errors
/// `unsupported-gguf` for other versions and byte orders; `truncated-gguf`, `bad-gguf`, `unknown-tensor-type`,
/// `size-budget`, `unreadable-file`.
pub(crate) fn header(source: &dyn Source) -> Result<Header, Diagnostic> {
    let mut cursor = Cursor { source, at: 0, window: Vec::new(), first: 0, kept: 0 };
    if cursor.take(4)? != MAGIC {
        return Err(bad("the file does not begin as a GGUF file"));
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        let message = match version.swap_bytes() {
            2 | 3 => "a big-endian GGUF file".to_owned(),
            _ => format!("version {version} of GGUF; 2 and 3 are read"),
        };
        return Err(Diagnostic::input("unsupported-gguf", message)
            .hint("convert the file with the gguf-py scripts of llama.cpp"));
    }
    let (n_tensors, n_values) = (cursor.u64()?, cursor.u64()?);
    check_tensors(n_tensors)?;
    check_count("keys", n_values, MOST_KEYS)?;
    let mut found = Header::default();
    for _ in 0..n_values {
        let key = cursor.text(LONGEST_KEY)?.ok_or_else(|| bad("a key is too long"))?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0)?;
        if found.values.contains_key(&key) {
            let shown: String = key.chars().take(60).collect();
            return Err(bad(format!("the key `{shown}` stands twice")));
        }
        found.values.insert(key, value);
    }
    let mut places = Vec::new();
    for _ in 0..n_tensors {
        let (tensor, offset) = cursor.tensor()?;
        places.push((offset, tensor.bytes, tensor.name.clone()));
        found.tensors.push(tensor);
    }
    found.is_alone = places_end(&found, &cursor, places)?;
    Ok(found)
}

/// Whether the data of tensors is missing altogether.
///
/// # Errors
/// `bad-gguf` for tensors of one name, that overlap, or that lie beyond the file; `truncated-gguf`.
fn places_end(
    header: &Header,
    cursor: &Cursor<'_>,
    mut places: Vec<(u64, u64, String)>,
) -> Result<bool, Diagnostic> {
    let aligned = match header.values.get("general.alignment") {
        None => ALIGNED,
        Some(Value::Whole(n)) if n.is_power_of_two() && *n <= MOST_ALIGNED => *n,
        Some(_) => return Err(bad("`general.alignment` is no power of two")),
    };
    let mut names: Vec<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(bad(format!("tensor `{}` stands twice", twice[0])));
    }
    places.sort_unstable();
    let mut end = 0_u64;
    for (offset, bytes, name) in &places {
        // Tensors follow each other, padded to the alignment (the specification).
        if *offset != end {
            return Err(bad(format!("tensor `{name}` lies at {offset}, not at {end}"))
                .fact("offset", *offset));
        }
        let padded = bytes.checked_next_multiple_of(aligned);
        let next = padded.and_then(|padded| end.checked_add(padded));
        end = next.ok_or_else(|| bad("the tensors are larger than any file"))?;
    }
    let last = places.last().map_or(0, |(offset, bytes, _)| offset + bytes);
    let start = cursor.at.next_multiple_of(aligned);
    if cursor.source.len() <= start {
        return Ok(last > 0);
    }
    match start.checked_add(last).is_some_and(|needed| needed <= cursor.source.len()) {
        true => Ok(false),
        false => Err(truncated().fact("bytes", cursor.source.len())),
    }
}
