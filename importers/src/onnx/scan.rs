//! The pre-scan: walks the wire format, checks every field, and writes the same model without what
//! nothing reads, tensor data above all. What is left goes to the typed decoder.
//!
//! Data is passed over by its length, so a model of many gigabytes costs a few reads per tensor.
//! `doc_string`, which is never read, carries two things across the typed decoder: in a tensor,
//! the position of its [`Data`] record; in a node, the path of the module that owns it.

use ir::diagnostic::Diagnostic;

use crate::onnx::budget::Budget;
use crate::onnx::module_path;
use crate::onnx::schema::{Field, Message, Payload};
use crate::onnx::wire::{Key, Reader, WireType, put_bytes, put_key, put_varint};
use crate::source::Source;

/// Messages inside each other that are followed: the typed decoder's own limit, 33 subgraphs.
const MAX_DEPTH: u32 = 100;

/// Data of a tensor that is kept, in encoded bytes: enough for every shape.
const KEPT_DATA: u64 = 1024;

/// Field number of `doc_string` in `TensorProto`.
const TENSOR_NOTE: u32 = 12;
/// Field number of `doc_string` in `NodeProto`.
const NODE_NOTE: u32 = 6;

/// Bytes kept free for the length of a message, which is known only after it is written.
const LENGTH_BYTES: usize = 5;

/// The stripped model.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// A `ModelProto` that the typed decoder reads.
    pub bytes: Vec<u8>,
    /// Tensors whose data was left out or is checked against their extents.
    pub data: Vec<Data>,
}

/// How much data a tensor carries inline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Data {
    /// Length of `raw_data`.
    pub raw: Option<u64>,
    /// Elements of `float_data`.
    pub floats: u64,
    /// Elements of `double_data`.
    pub doubles: u64,
    /// Most elements that `int32_data` can hold.
    pub int32s: u64,
    /// Most elements that `int64_data` can hold.
    pub int64s: u64,
    /// Most elements that `uint64_data` can hold.
    pub uint64s: u64,
    /// Elements of `string_data`.
    pub strings: u64,
    /// Whether the data is too long to be kept.
    pub is_dropped: bool,
    /// Position of `raw_data` in the file.
    pub raw_at: u64,
}

/// Scans a model.
///
/// # Errors
/// `empty-file`, `truncated-file`, `invalid-protobuf`, `nesting-limit`, `size-budget`,
/// `invalid-utf8`, `unreadable-file`; the fact `offset` says where.
pub(crate) fn scan(source: &dyn Source) -> Result<Scanned, Diagnostic> {
    if source.len() == 0 {
        return Err(Diagnostic::input("empty-file", "the file is empty"));
    }
    let reader = Reader::new(source);
    let end = reader.length();
    let mut scanner =
        Scanner { reader, out: Vec::new(), data: Vec::new(), budget: Budget::default() };
    scanner.message(Message::Model, end, 0)?;
    Ok(Scanned { bytes: scanner.out, data: scanner.data })
}

struct Scanner<'a> {
    reader: Reader<'a>,
    out: Vec<u8>,
    data: Vec<Data>,
    budget: Budget,
}

impl Scanner<'_> {
    /// Scans the fields of a message up to `end`.
    fn message(&mut self, message: Message, end: u64, depth: u32) -> Result<(), Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(Diagnostic::input(
                "nesting-limit",
                format!("the model nests more than {MAX_DEPTH} messages: nesting limit exceeded"),
            )
            .fact("offset", self.reader.position())
            .fact("limit", u64::from(MAX_DEPTH)));
        }
        self.budget.message(message)?;
        let mut seen = 0u32;
        let mut data = Data::default();
        let mut retained = 0;
        while self.reader.position() < end {
            let key = self.reader.key(end)?;
            match message.field(key.number) {
                Field::One(inner) => {
                    let bit = 1u32 << (key.number & 31);
                    if seen & bit != 0 {
                        return Err(self.twice(message, key));
                    }
                    seen |= bit;
                    self.inner(message, inner, key, end, depth)?;
                }
                Field::Many(inner) => self.inner(message, inner, key, end, depth)?,
                Field::Payload(payload) => {
                    self.payload(payload, &mut data, &mut retained, key, end)?;
                }
                Field::Metadata => self.metadata(key, end)?,
                field => self.plain(message, field, key, end)?,
            }
        }
        if message == Message::Tensor && data != Data::default() {
            let note = self.data.len().to_string();
            put_bytes(&mut self.out, TENSOR_NOTE, note.as_bytes());
            self.data.push(data);
        }
        Ok(())
    }

    /// Scans a message inside another one.
    fn inner(
        &mut self,
        outer: Message,
        inner: Message,
        key: Key,
        end: u64,
        depth: u32,
    ) -> Result<(), Diagnostic> {
        self.expect(key, &[WireType::Delimited], outer)?;
        let length = self.reader.delimiter(end)?;
        let inner_end = self.reader.position() + length;
        put_key(&mut self.out, key.number, WireType::Delimited);
        let at = self.out.len();
        self.out.extend_from_slice(&[0; LENGTH_BYTES]);
        self.message(inner, inner_end, depth + 1)?;
        let mut written = (self.out.len() - at - LENGTH_BYTES) as u64;
        for byte in self.out[at..at + LENGTH_BYTES].iter_mut() {
            *byte = (written & 0x7f) as u8 | 0x80;
            written >>= 7;
        }
        // The last byte ends the padded varint; the budget keeps lengths below 35 bits.
        self.out[at + LENGTH_BYTES - 1] &= 0x7f;
        Ok(())
    }

    /// Scans a field that is no message.
    fn plain(
        &mut self,
        message: Message,
        field: Field,
        key: Key,
        end: u64,
    ) -> Result<(), Diagnostic> {
        use WireType::{Delimited, Fixed32, Varint};
        match field {
            Field::Varint => self.expect(key, &[Varint], message)?,
            Field::Fixed32 => self.expect(key, &[Fixed32], message)?,
            Field::Varints => self.expect(key, &[Varint, Delimited], message)?,
            Field::Fixed32s => self.expect(key, &[Fixed32, Delimited], message)?,
            Field::Text | Field::Blob => self.expect(key, &[Delimited], message)?,
            _ => return self.pass(key, end),
        }
        if key.wire != Delimited {
            self.budget.numbers(1)?;
            put_key(&mut self.out, key.number, key.wire);
            if key.wire == Varint {
                let value = self.reader.varint(end)?;
                put_varint(&mut self.out, value);
                return Ok(());
            }
            return self.reader.copy(4, end, &mut self.out);
        }
        let length = self.reader.delimiter(end)?;
        match field {
            Field::Varints => self.budget.numbers(length)?,
            Field::Fixed32s if length % 4 != 0 => return Err(self.ragged(key)),
            Field::Fixed32s => self.budget.numbers(length / 4)?,
            _ => self.budget.text(length)?,
        }
        put_key(&mut self.out, key.number, Delimited);
        put_varint(&mut self.out, length);
        let at = self.out.len();
        self.reader.copy(length, end, &mut self.out)?;
        if field == Field::Text && std::str::from_utf8(&self.out[at..]).is_err() {
            return Err(not_text(message, key));
        }
        Ok(())
    }

    /// Passes over a value and writes nothing.
    fn pass(&mut self, key: Key, end: u64) -> Result<(), Diagnostic> {
        match key.wire {
            WireType::Varint => self.reader.varint(end).map(drop),
            WireType::Fixed32 => self.reader.skip(4, end),
            WireType::Fixed64 => self.reader.skip(8, end),
            WireType::Delimited => {
                let length = self.reader.delimiter(end)?;
                self.reader.skip(length, end)
            }
        }
    }

    /// Counts tensor data, and keeps it while there is little.
    fn payload(
        &mut self,
        payload: Payload,
        data: &mut Data,
        retained: &mut u64,
        key: Key,
        end: u64,
    ) -> Result<(), Diagnostic> {
        let unpacked = match payload {
            Payload::Raw | Payload::Strings => WireType::Delimited,
            Payload::Floats => WireType::Fixed32,
            Payload::Doubles => WireType::Fixed64,
            Payload::Int32s | Payload::Int64s | Payload::Uint64s => WireType::Varint,
        };
        self.expect(key, &[unpacked, WireType::Delimited], Message::Tensor)?;
        let length = if key.wire == WireType::Delimited { self.reader.delimiter(end)? } else { 0 };
        let count = if key.wire != WireType::Delimited {
            self.budget.unpacked()?;
            1
        } else {
            match payload {
                Payload::Raw | Payload::Strings => 1,
                Payload::Floats if length % 4 != 0 => return Err(self.ragged(key)),
                Payload::Doubles if length % 8 != 0 => return Err(self.ragged(key)),
                Payload::Floats => length / 4,
                Payload::Doubles => length / 8,
                Payload::Int32s | Payload::Int64s | Payload::Uint64s => length,
            }
        };
        data.add(payload, count, length);
        if payload == Payload::Raw {
            data.raw_at = self.reader.position();
        }
        *retained += length + 8;
        if *retained > KEPT_DATA + 8 {
            data.is_dropped = true;
            return match key.wire {
                WireType::Delimited => self.reader.skip(length, end),
                _ => self.pass(key, end),
            };
        }
        self.budget.numbers(length.max(8))?;
        put_key(&mut self.out, key.number, key.wire);
        match key.wire {
            WireType::Delimited => {
                put_varint(&mut self.out, length);
                self.reader.copy(length, end, &mut self.out)
            }
            WireType::Varint => {
                let value = self.reader.varint(end)?;
                put_varint(&mut self.out, value);
                Ok(())
            }
            WireType::Fixed32 => self.reader.copy(4, end, &mut self.out),
            WireType::Fixed64 => self.reader.copy(8, end, &mut self.out),
        }
    }

    /// Reads one metadata entry of a node and keeps the module's path, if it is that.
    fn metadata(&mut self, key: Key, end: u64) -> Result<(), Diagnostic> {
        self.expect(key, &[WireType::Delimited], Message::Node)?;
        let length = self.reader.delimiter(end)?;
        let entry_end = self.reader.position() + length;
        let mut is_scopes = false;
        let mut value = Vec::new();
        let mut text = Vec::new();
        while self.reader.position() < entry_end {
            let field = self.reader.key(entry_end)?;
            if field.wire != WireType::Delimited || field.number > 2 {
                self.pass(field, entry_end)?;
                continue;
            }
            let length = self.reader.delimiter(entry_end)?;
            if length > module_path::MAX_BYTES {
                self.reader.skip(length, entry_end)?;
                continue;
            }
            text.clear();
            self.reader.copy(length, entry_end, &mut text)?;
            if field.number == 1 {
                is_scopes = text == module_path::KEY;
            } else {
                std::mem::swap(&mut value, &mut text);
            }
        }
        if is_scopes && let Some(path) = module_path::from_scopes(&value) {
            self.budget.text(path.len() as u64)?;
            put_bytes(&mut self.out, NODE_NOTE, path.as_bytes());
        }
        Ok(())
    }
}

impl Scanner<'_> {
    fn expect(&self, key: Key, allowed: &[WireType], message: Message) -> Result<(), Diagnostic> {
        if allowed.contains(&key.wire) {
            return Ok(());
        }
        let what = format!("field {} of `{}` has the wrong wire type", key.number, message.name());
        Err(self.reader.invalid(key.offset, &what))
    }

    fn twice(&self, message: Message, key: Key) -> Diagnostic {
        let what = format!("field {} of `{}` stands there twice", key.number, message.name());
        self.reader.invalid(key.offset, &what)
    }

    fn ragged(&self, key: Key) -> Diagnostic {
        self.reader
            .invalid(key.offset, "the length of packed numbers is no multiple of their width")
    }
}

impl Data {
    fn add(&mut self, payload: Payload, count: u64, length: u64) {
        let total = match payload {
            Payload::Raw => {
                // A second `raw_data` replaces the first.
                self.raw = Some(length);
                return;
            }
            Payload::Floats => &mut self.floats,
            Payload::Doubles => &mut self.doubles,
            Payload::Int32s => &mut self.int32s,
            Payload::Int64s => &mut self.int64s,
            Payload::Uint64s => &mut self.uint64s,
            Payload::Strings => &mut self.strings,
        };
        *total = total.saturating_add(count);
    }
}

fn not_text(message: Message, key: Key) -> Diagnostic {
    Diagnostic::input("invalid-utf8", format!("a name in a `{}` is invalid UTF-8", message.name()))
        .fact("offset", key.offset)
        .fact("field", u64::from(key.number))
}
