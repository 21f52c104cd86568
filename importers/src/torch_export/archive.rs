//! Zip archives: the central directory and single entries, in memory only; nothing is ever written
//! to disk.

use std::io::Read;

use flate2::read::DeflateDecoder;
use ir::diagnostic::Diagnostic;

use crate::source::{Source, Stream, unreadable};

/// Most entries of an archive.
const MAX_ENTRIES: u64 = 200_000;

/// Longest central directory, in bytes.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Bytes of the end record, without its comment.
const END_BYTES: usize = 22;
/// Bytes of the end record of large archives and of its locator.
const LARGE_END_BYTES: usize = 56;
const LOCATOR_BYTES: usize = 20;
/// Bytes of a row of the directory, without name, extra data and comment.
const ROW_BYTES: usize = 46;
/// Bytes in front of an entry's data, without name and extra data.
const LOCAL_BYTES: u64 = 30;

/// An entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Path inside the archive; safe, see [`entries`].
    pub(super) name: String,
    method: u16,
    compressed: u64,
    uncompressed: u64,
    offset: u64,
}

/// Little-endian numbers in a byte slice.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn broken() -> Diagnostic {
    Diagnostic::input("invalid-zip", "the zip central directory is missing or broken")
        .hint("copy or export the file again")
}

fn bytes_at(source: &dyn Source, offset: u64, length: usize) -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = vec![0; length];
    let n = source.read_at(offset, &mut bytes).map_err(|error| unreadable(&error))?;
    if n < length { Err(broken()) } else { Ok(bytes) }
}

/// Entries, bytes and offset of the central directory.
fn directory(source: &dyn Source) -> Result<(u64, u64, u64), Diagnostic> {
    let length = source.len();
    let tail = usize::try_from(length).unwrap_or(usize::MAX).min(END_BYTES + 0xffff);
    let tail_start = length - tail as u64;
    let bytes = bytes_at(source, tail_start, tail)?;
    let at = (0..=bytes.len().checked_sub(END_BYTES).ok_or_else(broken)?)
        .rev()
        .find(|at| bytes[*at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(broken)?;
    let field = |offset, width| number(&bytes, at + offset, width).ok_or_else(broken);
    let mut found = (field(10, 2)?, field(12, 4)?, field(16, 4)?);
    if found.0 == 0xffff || found.1 == 0xffff_ffff || found.2 == 0xffff_ffff {
        let end = tail_start + at as u64;
        let locator = end.checked_sub(LOCATOR_BYTES as u64).ok_or_else(broken)?;
        let locator = bytes_at(source, locator, LOCATOR_BYTES)?;
        if !locator.starts_with(b"PK\x06\x07") {
            return Err(broken());
        }
        let record = number(&locator, 8, 8).ok_or_else(broken)?;
        let record = bytes_at(source, record, LARGE_END_BYTES)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(broken());
        }
        let field = |offset| number(&record, offset, 8).ok_or_else(broken);
        found = (field(32)?, field(40)?, field(48)?);
    }
    Ok(found)
}

/// The entries of an archive.
///
/// # Errors
/// `invalid-zip`, `size-budget`, `invalid-utf8`, and `unsafe-entry` for a name that would leave
/// the archive.
pub(super) fn entries(source: &dyn Source) -> Result<Vec<Entry>, Diagnostic> {
    let (count, size, offset) = directory(source)?;
    if count > MAX_ENTRIES || size > MAX_DIRECTORY {
        return Err(Diagnostic::input(
            "size-budget",
            format!("the archive has {count} entries, more than the {MAX_ENTRIES} that are read"),
        ));
    }
    if offset.checked_add(size).is_none_or(|end| end > source.len()) {
        return Err(broken());
    }
    let bytes = bytes_at(source, offset, usize::try_from(size).unwrap_or(usize::MAX))?;
    let mut entries = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let row =
            bytes.get(at..).filter(|row| row.starts_with(b"PK\x01\x02")).ok_or_else(broken)?;
        let field = |offset, width| number(row, offset, width).ok_or_else(broken);
        let lengths = [field(28, 2)?, field(30, 2)?, field(32, 2)?].map(|n| n as usize);
        let name = row.get(ROW_BYTES..ROW_BYTES + lengths[0]).ok_or_else(broken)?;
        let extra = row
            .get(ROW_BYTES + lengths[0]..ROW_BYTES + lengths[0] + lengths[1])
            .ok_or_else(broken)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| Diagnostic::input("invalid-utf8", "an entry's name is invalid UTF-8"))?;
        check_name(name)?;
        let mut entry = Entry {
            name: name.to_owned(),
            method: field(10, 2)? as u16,
            compressed: field(20, 4)?,
            uncompressed: field(24, 4)?,
            offset: field(42, 4)?,
        };
        widen(&mut entry, extra);
        entries.push(entry);
        at += ROW_BYTES + lengths.iter().sum::<usize>();
    }
    Ok(entries)
}

/// Takes sizes past 32 bits from the extra data with the number 1.
fn widen(entry: &mut Entry, extra: &[u8]) {
    let mut at = 0;
    while let (Some(tag), Some(length)) = (number(extra, at, 2), number(extra, at + 2, 2)) {
        if tag == 1 {
            let mut next = at + 4;
            for value in [&mut entry.uncompressed, &mut entry.compressed, &mut entry.offset] {
                if *value == 0xffff_ffff
                    && let Some(wide) = number(extra, next, 8)
                {
                    *value = wide;
                    next += 8;
                }
            }
        }
        at += 4 + length as usize;
    }
}

fn check_name(name: &str) -> Result<(), Diagnostic> {
    let is_drive = name.as_bytes().get(1) == Some(&b':');
    let leaves = name.split(['/', '\\']).any(|part| part == "..");
    if is_drive || leaves || name.starts_with(['/', '\\']) {
        return Err(Diagnostic::input(
            "unsafe-entry",
            format!("the entry name `{name}` leaves the archive"),
        )
        .fact("entry", name));
    }
    Ok(())
}

impl Entry {
    /// The entry's content.
    ///
    /// # Errors
    /// `size-budget` past `limit` bytes, `invalid-zip`.
    pub(super) fn read(&self, source: &dyn Source, limit: u64) -> Result<Vec<u8>, Diagnostic> {
        let too_large = || {
            Diagnostic::input(
                "size-budget",
                format!("the entry `{}` exceeds the limit on uncompressed sizes", self.name),
            )
            .fact("entry", self.name.clone())
            .fact("bytes", self.uncompressed)
            .fact("limit", limit)
        };
        if self.uncompressed > limit {
            return Err(too_large());
        }
        let header = bytes_at(source, self.offset, LOCAL_BYTES as usize)?;
        let skip = |at| number(&header, at, 2).ok_or_else(broken);
        let start = LOCAL_BYTES + skip(26)? + skip(28)?;
        let start = self.offset.checked_add(start).ok_or_else(broken)?;
        let compressed = Stream::new(source, start).take(self.compressed);
        let mut content = Vec::new();
        let read = match self.method {
            0 => compressed.take(limit + 1).read_to_end(&mut content),
            8 => DeflateDecoder::new(compressed).take(limit + 1).read_to_end(&mut content),
            method => {
                return Err(Diagnostic::input(
                    "invalid-zip",
                    format!("the entry `{}` has the unknown compression {method}", self.name),
                ));
            }
        };
        read.map_err(|error| {
            Diagnostic::input(
                "invalid-zip",
                format!("the entry `{}` cannot be unpacked: {error}", self.name),
            )
        })?;
        if content.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(content)
    }
}
