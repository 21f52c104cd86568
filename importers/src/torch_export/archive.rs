//! The zip archive of an exported program: which members it has, and those of them that are JSON.
//!
//! Weights, pickles and shared objects are never opened. What a member says of its size is a hint:
//! what comes out of it is counted.

use std::io::{self, Read, Seek, SeekFrom};

use ir::diagnostic::{Diagnostic, Value};
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;

use crate::source::Source;

/// Most members; a program of 1,000 layers of experts has 20,000 weights.
const MAX_MEMBERS: usize = 200_000;

/// Most bytes of a member that is read.
const MAX_BYTES: u64 = 64 << 20;

/// Bytes that one byte of a member may stand for: JSON of graphs packs 15 to 40 times.
const BEST_PACKING: u64 = 100;

/// Most bytes of the central directory, at most 46 + 65,535 x 3 for a member and here far less.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Members of an exported program.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<'a>>,
    names: Vec<String>,
}

/// A source with a position.
struct Cursor<'a> {
    source: &'a dyn Source,
    position: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(self.position, buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.source.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<'a> Archive<'a> {
    /// The members by the central directory.
    ///
    /// # Errors
    /// `truncated-archive`, `invalid-archive`, `size-budget`.
    pub(super) fn open(source: &'a dyn Source) -> Result<Self, Diagnostic> {
        check_directory(source)?;
        // PyTorch's archives begin with the file. Looked for, their begin may be taken for a place 76
        // bytes on, behind the records of zip64, where an entry of the directory happens to begin.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor { source, position: 0 })
            .map_err(|error| damaged(&error))?;
        if zip.len() > MAX_MEMBERS {
            return Err(too_much(format!("the archive has {} members", zip.len()), MAX_MEMBERS));
        }
        let names = zip.file_names().map(|name| Ok(name?.into_owned()));
        let names: Vec<String> =
            names.collect::<Result<_, _>>().map_err(|error: ZipError| damaged(&error))?;
        let leaves = |name: &&String| {
            name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..")
        };
        if let Some(name) = names.iter().find(leaves) {
            let message = format!("the member `{}` leaves the archive", shown(name));
            return Err(Diagnostic::input("invalid-archive", message).hint(AGAIN));
        }
        Ok(Self { zip, names })
    }

    /// The member whose path ends so, below the one folder that holds everything or at the top.
    ///
    /// # Errors
    /// `ambiguous-archive` where there are several.
    pub(super) fn find(&self, is: impl Fn(&str) -> bool) -> Result<Option<&str>, Diagnostic> {
        let below = |name: &'_ str| is(name) || name.split_once('/').is_some_and(|(_, n)| is(n));
        let mut found = self.names.iter().filter(|name| below(name)).map(String::as_str);
        let (first, second) = (found.next(), found.next());
        match (first, second) {
            (Some(first), Some(second)) => Err(Diagnostic::input(
                "ambiguous-archive",
                format!(
                    "the archive holds several models, such as `{}` and `{}`",
                    shown(first),
                    shown(second)
                ),
            )
            .hint("save each with torch.export.save into an archive of its own")),
            (first, _) => Ok(first),
        }
    }

    /// Names of all members.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What a member holds.
    ///
    /// # Errors
    /// `invalid-archive`, `size-budget`; both name the member in the fact `member`.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>, Diagnostic> {
        let named = |error: Diagnostic| error.fact("member", shown(name));
        let mut member = self.zip.by_name(name).map_err(|error| named(damaged(&error)))?;
        let limit = member.compressed_size().saturating_mul(BEST_PACKING).clamp(1 << 20, MAX_BYTES);
        let mut bytes = Vec::new();
        let read = member.by_ref().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| {
            let message = format!("the member `{}` is damaged: {error}", shown(name));
            named(Diagnostic::input("invalid-archive", message).hint(AGAIN))
        })?;
        if bytes.len() as u64 > limit {
            let message = format!("the member `{}` unpacks to more bytes than it may", shown(name));
            return Err(named(too_much(message, limit)));
        }
        Ok(bytes)
    }
}

const AGAIN: &str = "save it again: torch.export.save(program, \"model.pt2\")";

/// Looks at the end of the file before anything is allocated for what it claims.
fn check_directory(source: &dyn Source) -> Result<(), Diagnostic> {
    let mut tail = vec![0; usize::try_from(source.len().min(65_557)).unwrap_or(0)];
    let start = source.len() - tail.len() as u64;
    let n = source.read_at(start, &mut tail).map_err(|error| crate::source::unreadable(&error))?;
    let tail = &tail[..n];
    let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
    let Some(end) = end.and_then(|at| tail.get(at..at + 22)) else {
        return Err(Diagnostic::input(
            "truncated-archive",
            "the zip archive has no central directory at its end: the file is not complete",
        )
        .hint("copy the file again, or export the model again"));
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let (mut n_members, mut size) = (number(&end[10..12]), number(&end[12..16]));
    // The record of zip64 counts in 64 bits.
    let wide = tail.windows(4).rposition(|window| window == b"PK\x06\x06");
    if let Some(wide) = wide.and_then(|at| tail.get(at..at + 56)) {
        n_members = n_members.max(number(&wide[32..40]));
        size = if size == u64::from(u32::MAX) { number(&wide[40..48]) } else { size };
    }
    if n_members > MAX_MEMBERS as u64 {
        return Err(too_much(format!("the archive has {n_members} members"), MAX_MEMBERS));
    }
    if size > MAX_DIRECTORY {
        return Err(too_much("the archive's directory is large".to_owned(), MAX_DIRECTORY));
    }
    Ok(())
}

fn too_much(what: String, limit: impl Into<Value> + Copy + std::fmt::Display) -> Diagnostic {
    Diagnostic::input("size-budget", format!("{what}: {limit} is the most that is read"))
        .fact("limit", limit)
}

fn damaged(error: &ZipError) -> Diagnostic {
    Diagnostic::input("invalid-archive", format!("the zip archive is damaged: {error}")).hint(AGAIN)
}

/// A member's name for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}
