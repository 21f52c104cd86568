//! Files that a run reads: regular ones only, and never more than a limit.
//!
//! A pipe without a writer never answers and a device never ends, so neither is opened.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;

/// What the file holds.
///
/// # Errors
/// In words, why it can't be read: it is missing, no regular file, or longer than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    check(path)?;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is more than {limit} bytes long"));
    }
    Ok(bytes)
}

/// Refuses what is there and is no regular file.
///
/// # Errors
/// In words, what is wrong with it.
pub fn check(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|e| e.to_string())?;
    if metadata.is_file() { Ok(()) } else { Err("it is not a regular file".to_owned()) }
}

/// The file of an input that may name one document in it, as `FILE#NAME`.
pub fn plain(input: &Path) -> &Path {
    if input.exists() {
        return input;
    }
    let file = input.to_str().and_then(|text| text.rsplit_once('#'));
    file.map_or(input, |(file, _)| Path::new(file))
}

/// The file of a model, which may be given as a checkpoint folder, and what it is called.
///
/// # Errors
/// `no-config` for a folder without a config.
pub fn model(path: &Path) -> Result<(PathBuf, String), Diagnostic> {
    let (file, name) = importers::file(path)?;
    let base = Path::new(&name).file_name();
    Ok((file, base.map_or_else(|| name.clone(), |base| base.to_string_lossy().into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().contains("4 bytes"));
        assert!(read(folder.path(), 4).unwrap_err().contains("regular"));
        assert!(read(&folder.path().join("b"), 4).is_err());
    }
}
