//! Files that a run writes: all or none, and none over a file that exists unless `--force`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use tempfile::NamedTempFile;

/// What may become of a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and the run is refused.
    Keep,
    /// `--force`: it is replaced.
    Replace,
}

impl Existing {
    /// From the flag `--force`.
    pub(crate) fn of(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Refuses, before any work is done, what could not or should not be written.
///
/// # Errors
/// `file-exists`, `no-folder`, `same-file` (twice the same output, or an output that is an input).
pub(crate) fn check(
    outputs: &[&Path],
    inputs: &[&Path],
    existing: Existing,
) -> Result<(), Diagnostic> {
    for (at, output) in outputs.iter().enumerate() {
        let place = place(output)?;
        let same = |other: &&&Path| place_of_any(other).is_some_and(|other| other == place);
        if outputs[..at].iter().any(|other| same(&other)) {
            return Err(same_file(output, "it is written twice"));
        }
        if inputs.iter().any(|other| same(&other)) {
            return Err(same_file(output, "it is an input of this run"));
        }
        if output.is_dir() {
            return Err(Diagnostic::usage(
                "is-a-folder",
                format!("`{}` is a folder", output.display()),
            )
            .hint("name a file in it"));
        }
        // A dangling link is something that exists as well.
        if existing == Existing::Keep && output.symlink_metadata().is_ok() {
            return Err(Diagnostic::usage("file-exists", format!("`{}` exists", output.display()))
                .hint("choose another name, or add --force to overwrite it"));
        }
    }
    Ok(())
}

fn same_file(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::usage("same-file", format!("`{}` can not be written: {why}", path.display()))
        .hint("choose another name")
}

/// Folder (resolved) and name of a file that need not exist.
fn place(path: &Path) -> Result<PathBuf, Diagnostic> {
    let folder = folder(path);
    let resolved = folder.canonicalize().ok().filter(|resolved| resolved.is_dir());
    match (resolved, path.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.join(name)),
        _ => Err(Diagnostic::usage(
            "no-folder",
            format!("`{}` can not be written: its folder does not exist", path.display()),
        )
        .fact("folder", folder.display().to_string())
        .hint("create the folder first")),
    }
}

fn place_of_any(path: &Path) -> Option<PathBuf> {
    place(path).ok()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes all files, each under a temporary name in its own folder first; only when all are
/// complete they get their names.
///
/// # Errors
/// `write-failed`; then no file has got its name, unless the very renaming failed.
pub(crate) fn write_all(
    files: &[(PathBuf, Vec<u8>)],
    existing: Existing,
) -> Result<(), Diagnostic> {
    let mut staged = Vec::new();
    for (path, bytes) in files {
        let failed = |e: std::io::Error| write_failed(path, &e);
        let mut file = NamedTempFile::new_in(folder(path)).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        allow_reading(file.as_file()).map_err(failed)?;
        staged.push((path, file));
    }
    for (path, file) in staged {
        let renamed = match existing {
            Existing::Keep => file.persist_noclobber(path),
            Existing::Replace => file.persist(path),
        };
        renamed.map_err(|e| write_failed(path, &e.error))?;
    }
    Ok(())
}

/// Temporary files are private; a plan is as readable as any new file.
#[cfg(unix)]
fn allow_reading(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn allow_reading(_: &fs::File) -> std::io::Result<()> {
    Ok(())
}

fn write_failed(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::usage("write-failed", format!("`{}` can not be written", path.display()))
        .fact("reason", error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where its folder fails")]
    use super::*;

    #[test]
    fn an_existing_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        fs::write(&path, "old").unwrap();
        assert_eq!(check(&[&path], &[], Existing::Keep).unwrap_err().code, "file-exists");
        assert!(check(&[&path], &[], Existing::Replace).is_ok());
        assert!(write_all(&[(path.clone(), b"new".to_vec())], Existing::Keep).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        write_all(&[(path.clone(), b"new".to_vec())], Existing::Replace).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn inputs_and_twins_are_refused_even_with_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let twin = folder.path().join(".").join("a");
        let refused = |outputs: &[&Path], inputs: &[&Path]| {
            check(outputs, inputs, Existing::Replace).unwrap_err().code
        };
        assert_eq!(refused(&[&path, &twin], &[]), "same-file");
        assert_eq!(refused(&[&path], &[&twin]), "same-file");
        assert_eq!(refused(&[&folder.path().join("b/c")], &[]), "no-folder");
        assert_eq!(refused(&[folder.path()], &[]), "is-a-folder");
    }

    #[test]
    fn nothing_gets_its_name_when_one_file_fails() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good");
        let bad = folder.path().join("missing/bad");
        let files = [(good.clone(), Vec::new()), (bad, Vec::new())];
        assert!(write_all(&files, Existing::Keep).is_err());
        assert!(!good.exists());
    }
}
