//! Protobuf's wire format, read in blocks from a source that is never held as a whole.

use ir::diagnostic::Diagnostic;

use crate::source::{Source, unreadable};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    /// One to ten bytes, seven bits each.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length, then that many bytes.
    Delimited,
    /// Four bytes.
    Fixed32,
}

/// A field's key and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Field number.
    pub number: u32,
    /// Layout of the value.
    pub wire: WireType,
    /// Offset of the key's first byte in the file.
    pub offset: u64,
}

/// A position in a source and the block around it.
pub(crate) struct Reader<'a> {
    source: &'a dyn Source,
    /// What the source should be, for errors.
    what: &'static str,
    length: u64,
    position: u64,
    block: Vec<u8>,
    block_start: u64,
}

impl<'a> Reader<'a> {
    /// A reader at the start of an ONNX model.
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self::of("an ONNX protobuf", source)
    }

    /// A reader at the start of what should be `what`.
    pub(crate) fn of(what: &'static str, source: &'a dyn Source) -> Self {
        let length = source.len();
        Self { source, what, length, position: 0, block: Vec::new(), block_start: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Number of bytes in all.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What is left of the block from the position on; empty only at the end of the source.
    fn rest(&mut self) -> Result<&[u8], Diagnostic> {
        let end = self.block_start + self.block.len() as u64;
        if self.position < self.block_start || self.position >= end {
            self.block.resize(BLOCK, 0);
            let n = self
                .source
                .read_at(self.position, &mut self.block)
                .map_err(|error| unreadable(&error))?;
            self.block.truncate(n);
            self.block_start = self.position;
        }
        let start = usize::try_from(self.position - self.block_start).unwrap_or(usize::MAX);
        Ok(self.block.get(start..).unwrap_or_default())
    }

    fn byte(&mut self, end: u64) -> Result<u8, Diagnostic> {
        if self.position >= end {
            return Err(self.cut(end, 1));
        }
        match self.rest()?.first() {
            Some(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            None => Err(truncated(self.position, 1)),
        }
    }

    /// A varint that ends before `end`.
    ///
    /// # Errors
    /// `invalid-protobuf` past 64 bits, `truncated-file`.
    pub(crate) fn varint(&mut self, end: u64) -> Result<u64, Diagnostic> {
        let start = self.position;
        // Most varints have one byte, and most bytes are in the block already.
        if let Some(ahead) =
            start.checked_sub(self.block_start).and_then(|n| usize::try_from(n).ok())
            && let Some(&byte) = self.block.get(ahead)
            && byte < 0x80
            && start < end
        {
            self.position += 1;
            return Ok(u64::from(byte));
        }
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(end)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.invalid(start, "a varint is too long for 64 bits"))
    }

    /// The key of the next field.
    ///
    /// # Errors
    /// `invalid-protobuf` for field number 0, groups and unknown wire types; as [`Self::varint`].
    pub(crate) fn key(&mut self, end: u64) -> Result<Key, Diagnostic> {
        let offset = self.position;
        let key = self.varint(end)?;
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Delimited,
            5 => WireType::Fixed32,
            3 | 4 => return Err(self.invalid(offset, "it holds a group, which no exporter writes")),
            _ => return Err(self.invalid(offset, "a field has an unknown wire type")),
        };
        match u32::try_from(key >> 3) {
            Ok(0) => Err(self.invalid(offset, "a field has the number 0 (tag 0)")),
            Ok(number) if number < 1 << 29 => Ok(Key { number, wire, offset }),
            _ => Err(self.invalid(offset, "a field number is out of range")),
        }
    }

    /// The length of a delimited field that lies before `end`.
    ///
    /// # Errors
    /// `truncated-file`, `invalid-protobuf`.
    pub(crate) fn delimiter(&mut self, end: u64) -> Result<u64, Diagnostic> {
        let length = self.varint(end)?;
        match self.position.checked_add(length) {
            Some(field_end) if field_end <= end => Ok(length),
            _ => Err(self.cut(end, length)),
        }
    }

    /// Passes over `n` bytes without reading them.
    ///
    /// # Errors
    /// `truncated-file`, `invalid-protobuf`.
    pub(crate) fn skip(&mut self, n: u64, end: u64) -> Result<(), Diagnostic> {
        match self.position.checked_add(n) {
            Some(target) if target <= end => {
                self.position = target;
                Ok(())
            }
            _ => Err(self.cut(end, n)),
        }
    }

    /// Appends the next `n` bytes to `out`. The caller has charged them to a budget.
    ///
    /// # Errors
    /// `truncated-file`, `invalid-protobuf`.
    pub(crate) fn copy(&mut self, n: u64, end: u64, out: &mut Vec<u8>) -> Result<(), Diagnostic> {
        if self.position.checked_add(n).is_none_or(|target| target > end) {
            return Err(self.cut(end, n));
        }
        let mut left = n;
        while left > 0 {
            let rest = self.rest()?;
            let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if take == 0 {
                return Err(truncated(self.position, left));
            }
            out.extend_from_slice(&rest[..take]);
            self.position += take as u64;
            left -= take as u64;
        }
        Ok(())
    }

    /// The source breaks the wire format at `offset`.
    pub(crate) fn invalid(&self, offset: u64, what: &str) -> Diagnostic {
        let message = format!("this is not {}: {what}", self.what);
        Diagnostic::input("invalid-protobuf", message).fact("offset", offset)
    }

    /// A field reaches past `end`: of the file, or of the message around it.
    fn cut(&self, end: u64, needed: u64) -> Diagnostic {
        if end >= self.length {
            let wanted = self.position.saturating_add(needed);
            truncated(self.position, wanted.saturating_sub(self.length))
        } else {
            self.invalid(self.position, "a field is longer than the message around it")
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a key.
pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, wire: WireType) {
    let wire = match wire {
        WireType::Varint => 0,
        WireType::Fixed64 => 1,
        WireType::Delimited => 2,
        WireType::Fixed32 => 5,
    };
    put_varint(out, u64::from(number) << 3 | wire);
}

/// Appends a delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, WireType::Delimited);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A field that starts at `offset` ends `missing` bytes after the end of the source.
fn truncated(offset: u64, missing: u64) -> Diagnostic {
    let bytes = if missing == 1 { "1 byte is" } else { &format!("{missing} bytes are") };
    Diagnostic::input(
        "truncated-file",
        format!("the file is truncated: {bytes} missing from the field at byte {offset}"),
    )
    .fact("offset", offset)
    .fact("missing", missing)
    .hint("the file is incomplete: copy or export it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, Diagnostic> {
        Reader::new(&bytes).varint(bytes.len() as u64)
    }

    #[test]
    fn varints_round_trip_and_stop_at_64_bits() {
        for value in [0, 1, 127, 128, 300, 1 << 35, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint(&bytes).unwrap(), value);
            bytes.pop();
            assert_eq!(varint(&bytes).unwrap_err().code, "truncated-file");
        }
        assert_eq!(varint(&[0xff; 11]).unwrap_err().code, "invalid-protobuf");
        let mut past = [0xff; 10];
        past[9] = 2;
        assert_eq!(varint(&past).unwrap_err().code, "invalid-protobuf");
    }

    #[test]
    fn keys_of_groups_and_of_field_zero_are_refused() {
        for (byte, ok) in [(0x08, true), (0x0b, false), (0x0c, false), (0x00, false), (0x0e, false)]
        {
            let bytes = [byte];
            assert_eq!(Reader::new(&bytes.as_slice()).key(1).is_ok(), ok, "{byte:#x}");
        }
    }

    #[test]
    fn a_cut_field_says_how_much_is_missing() {
        let message = |bytes: &[u8]| {
            let mut reader = Reader::new(&bytes);
            reader.delimiter(bytes.len() as u64).unwrap_err().message
        };
        assert!(message(&[4, 1, 1, 1]).contains("1 byte is missing from the field at byte 1"));
        assert!(message(&[9, 1]).contains("8 bytes are missing"));
    }

    #[test]
    fn copies_cross_blocks() {
        let bytes: Vec<u8> = (0..3 * BLOCK).map(|i| (i % 251) as u8).collect();
        let source = bytes.as_slice();
        let mut reader = Reader::new(&source);
        reader.skip(10, reader.length()).unwrap();
        let mut out = Vec::new();
        reader.copy(2 * BLOCK as u64, reader.length(), &mut out).unwrap();
        assert_eq!(out, bytes[10..10 + 2 * BLOCK]);
        assert_eq!(
            reader.copy(BLOCK as u64, reader.length(), &mut out).unwrap_err().code,
            "truncated-file"
        );
    }
}
