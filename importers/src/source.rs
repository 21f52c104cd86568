//! Positioned reads from a file or from memory, in blocks, without mapping the file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ir::diagnostic::Diagnostic;

/// Bytes that are read where they are needed.
pub(crate) trait Source {
    /// Number of bytes.
    fn len(&self) -> u64;

    /// Reads into `buffer` from `offset` on; fewer bytes than asked for only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Where it lies, if it is a file.
    fn path(&self) -> Option<&Path> {
        None
    }
}

/// A file.
#[derive(Debug)]
pub(crate) struct FileSource {
    file: File,
    length: u64,
    path: PathBuf,
}

impl FileSource {
    /// Opens a regular file.
    ///
    /// # Errors
    /// `unreadable-file`.
    pub(crate) fn open(path: &Path) -> Result<Self, Diagnostic> {
        let failed = |error: io::Error| {
            let message = format!("`{}` cannot be read: {error}", path.display());
            Diagnostic::input("unreadable-file", message)
                .hint("check the path, and that you may read the file")
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            let message = format!("`{}` is not a regular file", path.display());
            return Err(Diagnostic::input("unreadable-file", message));
        }
        let file = File::open(path).map_err(failed)?;
        Ok(Self { file, length: metadata.len(), path: path.to_owned() })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.length
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(<[u8]>::len(self));
        let rest = &self[start..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// The diagnostic of a failed read.
pub(crate) fn unreadable(error: &io::Error) -> Diagnostic {
    Diagnostic::input("unreadable-file", format!("the file cannot be read: {error}"))
}

/// All bytes of a source.
///
/// # Errors
/// `size-budget` if there are more than `limit`, `unreadable-file`.
pub(crate) fn read_all(source: &dyn Source, limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let length = source.len();
    if length > limit {
        return Err(Diagnostic::input(
            "size-budget",
            format!("the file has {length} bytes, more than the {limit} that this format may have"),
        )
        .fact("bytes", length)
        .fact("limit", limit));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let n = source.read_at(0, &mut bytes).map_err(|error| unreadable(&error))?;
    bytes.truncate(n);
    Ok(bytes)
}

/// All bytes of standard input.
///
/// # Errors
/// `size-budget` if there are more than `limit`, `unreadable-file`.
pub(crate) fn standard_input(limit: u64) -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = Vec::new();
    let mut stream = io::stdin().lock().take(limit + 1);
    stream.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit {
        let message = format!("standard input holds more than the {limit} bytes that are read");
        return Err(Diagnostic::input("size-budget", message).fact("limit", limit));
    }
    Ok(bytes)
}

/// Bytes that one byte of a gzip file of text may stand for; instances are at 10 to 20.
const BEST_PACKING: u64 = 64;
/// Bytes that any gzip file may hold.
const ALWAYS_INFLATED: u64 = 64 << 20;

/// Whether a source is a gzip file.
fn is_packed(source: &dyn Source) -> Result<bool, Diagnostic> {
    let mut head = [0; 3];
    let n = source.read_at(0, &mut head).map_err(|error| unreadable(&error))?;
    // Magic number and the one method that exists (RFC 1952, 2.3.1).
    Ok(head[..n] == [0x1f, 0x8b, 8])
}

/// Most bytes that are read of what a gzip file holds: what packs better than text does is no text.
fn most_inflated(source: &dyn Source) -> u64 {
    source.len().saturating_mul(BEST_PACKING).max(ALWAYS_INFLATED)
}

/// The bytes of a file, or what it holds where it is a gzip file, one after another.
///
/// # Errors
/// `unreadable-file`. What is read ends with an error where a gzip file is damaged or holds more
/// than text can be packed to.
pub(crate) fn text(source: &dyn Source) -> Result<Box<dyn Read + '_>, Diagnostic> {
    let stream = Stream { source, position: 0 };
    if !is_packed(source)? {
        return Ok(Box::new(stream));
    }
    let left = most_inflated(source);
    Ok(Box::new(Limited { stream: MultiGzDecoder::new(BufReader::new(stream)), left }))
}

/// The first bytes of [`text`], at most `most`; fewer where a gzip file is damaged.
///
/// # Errors
/// `unreadable-file`.
pub(crate) fn head(source: &dyn Source, most: usize) -> Result<Vec<u8>, Diagnostic> {
    let mut head = Vec::new();
    // Whoever reads the rest says what is wrong.
    let _ = text(source)?.take(most as u64).read_to_end(&mut head);
    Ok(head)
}

/// A stream that may not go on for ever.
struct Limited<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it holds more than text can be packed to")
        })?;
        Ok(n)
    }
}

/// What a gzip file holds; `None` for any other file.
///
/// # Errors
/// `size-budget` if it holds more than `limit` bytes, `invalid-archive`, `unreadable-file`.
pub(crate) fn inflated(source: &dyn Source, limit: u64) -> Result<Option<Vec<u8>>, Diagnostic> {
    if !is_packed(source)? {
        return Ok(None);
    }
    let limit = limit.min(most_inflated(source));
    let mut bytes = Vec::new();
    let mut stream =
        MultiGzDecoder::new(Stream { source, position: 0 }).take(limit.saturating_add(1));
    stream.read_to_end(&mut bytes).map_err(|error| {
        Diagnostic::input("invalid-archive", format!("the gzip file is damaged: {error}"))
    })?;
    if bytes.len() as u64 > limit {
        let message = format!("the gzip file holds more than the {limit} bytes that are read");
        return Err(Diagnostic::input("size-budget", message).fact("limit", limit));
    }
    Ok(Some(bytes))
}

/// A source as a stream, for readers that want one.
struct Stream<'a> {
    source: &'a dyn Source,
    position: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(self.position, buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}
