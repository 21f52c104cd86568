//! Files that a run writes: all or none, and none over a file that exists unless `--force`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::answer::files::input_file;
use exporters::training::folder as launch_folder;
use ir::diagnostic::Diagnostic;
use tempfile::NamedTempFile;

/// What may become of a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the run is refused.
    Keep,
    /// `--force`: it is replaced.
    Replace,
}

impl Existing {
    /// From the flag `--force`.
    pub fn of(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Refuses, before any work is done, what could not or should not be written. Inputs may be
/// written as `FILE#NAME`.
///
/// # Errors
/// `file-exists`, `no-folder`, `not-a-file` (a folder, a device, a pipe, `-`), `not-writable`,
/// `same-file` (twice the same output, or an output that is an input).
pub fn check(outputs: &[&Path], inputs: &[&Path], existing: Existing) -> Result<(), Diagnostic> {
    let inputs: Vec<PathBuf> =
        inputs.iter().filter_map(|input| resolved(input_file::plain(input))).collect();
    let mut places = Vec::new();
    for output in outputs {
        if output.as_os_str() == "-" {
            return Err(Diagnostic::usage("not-a-file", "`-` is not the name of a file")
                .hint("name a file; --json prints one document with all results on stdout"));
        }
        let place = place(output)?;
        if places.contains(&place) {
            return Err(same_file(output, "it is written twice"));
        }
        if inputs.contains(&place) {
            return Err(same_file(output, "it is an input of this run"));
        }
        check_existing(output, existing)?;
        sweep(&place);
        // Gone again at once: no run leaves a temporary file, however it ends.
        drop(temporary(&place).map_err(|error| not_writable(output, &error.to_string()))?);
        places.push(place);
    }
    Ok(())
}

/// Only regular files are ever replaced. A link stands for what it leads to; one that leads
/// nowhere is something that exists as well.
fn check_existing(output: &Path, existing: Existing) -> Result<(), Diagnostic> {
    if output.symlink_metadata().is_err() {
        return Ok(());
    }
    match output.metadata() {
        Ok(metadata) if metadata.is_file() && existing == Existing::Keep => {
            let message = format!("`{}` exists", output.display());
            Err(Diagnostic::usage("file-exists", message)
                .hint("choose another name, or add --force to overwrite it"))
        }
        Ok(metadata) if metadata.is_file() && metadata.permissions().readonly() => {
            Err(not_writable(output, "the file is read-only"))
        }
        Ok(metadata) if metadata.is_file() => Ok(()),
        found => {
            let what = match found {
                Ok(metadata) if metadata.is_dir() => "is a folder",
                Ok(_) => "is a device or a pipe",
                Err(_) => "is a link that leads nowhere",
            };
            let message = format!("`{}` {what}, not a file", output.display());
            Err(Diagnostic::usage("not-a-file", message).hint("name a file that may be written"))
        }
    }
}

fn not_writable(path: &Path, reason: &str) -> Diagnostic {
    Diagnostic::usage("not-writable", format!("`{}` can not be written", path.display()))
        .fact("reason", reason)
        .hint("choose another folder or name")
}

fn same_file(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::usage("same-file", format!("`{}` can not be written: {why}", path.display()))
        .hint("choose another name")
}

/// Where a file lies, with all links followed; it need not exist.
fn place(path: &Path) -> Result<PathBuf, Diagnostic> {
    resolved(path).ok_or_else(|| {
        let message = format!("`{}` can not be written: its folder does not exist", path.display());
        Diagnostic::usage("no-folder", message)
            .fact("folder", folder(path).display().to_string())
            .hint("create the folder first")
    })
}

/// A path with all links followed, of a file that need not exist; `None` where its folder does not.
#[must_use]
pub fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(all) = path.canonicalize() {
        return Some(all);
    }
    let folder = folder(path).canonicalize().ok().filter(|folder| folder.is_dir())?;
    Some(folder.join(path.file_name()?))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What names of temporary files begin with; the id of their process follows.
const PREFIX: &str = ".meshwright-";
const SUFFIX: &str = ".tmp";

/// Removes what runs that were killed have left in the folder of `path`.
fn sweep(path: &Path) {
    let Ok(entries) = std::fs::read_dir(folder(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let rest = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            rest.split_once('-')?.0.parse::<u32>().ok()
        });
        if process.is_some_and(|process| !is_running(process)) {
            let _ = std::fs::remove_file(entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a process may still be there; yes where the system does not say.
fn is_running(process: u32) -> bool {
    let all = Path::new("/proc");
    !all.join("self").exists() || all.join(process.to_string()).exists()
}

/// A file in the folder of `path` that is removed unless it is renamed.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    builder.prefix(&prefix).suffix(SUFFIX);
    // As open as the user's mask lets any new file be.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path))
}

/// Writes all files, each under a temporary name in its own folder first; only when all are
/// complete they get their names.
///
/// # Errors
/// `write-failed`; then no file has got its name, unless the very renaming failed.
pub fn write_all(files: &[(PathBuf, Vec<u8>)], existing: Existing) -> Result<(), Diagnostic> {
    let files: Vec<_> =
        files.iter().map(|(path, bytes)| (path.clone(), bytes.clone(), existing)).collect();
    write_each(&files)
}

/// As [`write_all`], with what may become of each file that exists.
///
/// # Errors
/// Those of [`write_all`].
pub fn write_each(files: &[(PathBuf, Vec<u8>, Existing)]) -> Result<(), Diagnostic> {
    let mut staged = Vec::new();
    for (path, bytes, existing) in files {
        let failed = |e: io::Error| write_failed(path, &e);
        // What a link leads to is replaced, not the link.
        let place = place(path)?;
        let mut file = temporary(&place).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        staged.push((path, place, file, existing));
    }
    let mut new = Vec::new();
    for (path, place, file, existing) in staged {
        let renamed = match existing {
            Existing::Keep => file.persist_noclobber(&place),
            Existing::Replace => file.persist(&place),
        };
        if let Err(error) = renamed {
            // All or none: what this call has made goes again.
            new.iter().for_each(|made| drop(std::fs::remove_file(made)));
            return Err(write_failed(path, &error.error));
        }
        if *existing == Existing::Keep {
            new.push(place);
        }
    }
    Ok(())
}

/// Writes a folder, whole or not at all. One that exists is replaced with [`Existing::Replace`], if an
/// export wrote all that it holds. Scripts (`.sh`) may be run.
///
/// # Errors
/// `file-exists`, `no-folder`, `not-ours`, `write-failed`.
pub fn write_folder(
    path: &Path,
    files: &[(String, Vec<u8>)],
    existing: Existing,
) -> Result<(), Diagnostic> {
    let failed = |error: io::Error| write_failed(path, &error);
    let place = place(path)?;
    let is_there = place.symlink_metadata().is_ok();
    if is_there && existing == Existing::Keep {
        let message = format!("`{}` exists", path.display());
        return Err(Diagnostic::usage("file-exists", message)
            .hint("choose another name, or add --force to replace it"));
    }
    if let Some(other) = foreign(&place).filter(|_| is_there) {
        let message = format!("`{}` holds what no export wrote", path.display());
        return Err(Diagnostic::usage("not-ours", message)
            .fact("file", other.display().to_string())
            .hint("choose another folder"));
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let made = builder.tempdir_in(folder(&place)).map_err(failed)?;
    for (name, bytes) in files {
        let file = made.path().join(name);
        std::fs::write(&file, bytes).map_err(failed)?;
        #[cfg(unix)]
        if name.ends_with(".sh") {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata().map_err(failed)?.permissions().mode();
            // Whoever may read it may run it.
            let mode = mode | (mode & 0o444) >> 2;
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).map_err(failed)?;
        }
    }
    let old = is_there.then(|| builder.tempdir_in(folder(&place))).transpose().map_err(failed)?;
    if let Some(old) = &old {
        std::fs::rename(&place, old.path().join("old")).map_err(failed)?;
    }
    std::fs::rename(made.path(), &place).map_err(|error| {
        // All or none: what was there comes back.
        old.iter().for_each(|old| drop(std::fs::rename(old.path().join("old"), &place)));
        failed(error)
    })?;
    // It has its name: nothing is left to remove.
    let _ = made.keep();
    Ok(())
}

/// What of a place is no folder that an export wrote: the place itself, a file of another name, or a
/// script that does not say so.
fn foreign(place: &Path) -> Option<PathBuf> {
    let script = place.join("launch.sh");
    let text = std::fs::read_to_string(&script).unwrap_or_default();
    let Ok(entries) = std::fs::read_dir(place) else { return Some(place.to_owned()) };
    if !text.contains(launch_folder::MARK) {
        return Some(script);
    }
    let is_ours = |entry: &std::fs::DirEntry| {
        exporters::runs::may_hold(&entry.file_name().to_string_lossy()) && entry.path().is_file()
    };
    entries.flatten().find(|entry| !is_ours(entry)).map(|entry| entry.path())
}

/// Keeps bytes in a file of a new name beside one that could not be written, or in the folder for
/// temporary files; `None` where neither takes them.
pub fn kept(near: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let name = near.file_name().map_or_else(|| "plan".into(), |name| name.to_string_lossy());
    [folder(near).to_owned(), std::env::temp_dir()].into_iter().find_map(|folder| {
        let mut builder = tempfile::Builder::new();
        let mut file =
            builder.prefix(&format!("{name}.kept-")).suffix(".json").tempfile_in(folder).ok()?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).ok()?;
        file.keep().ok().map(|(_, path)| path)
    })
}

fn write_failed(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::usage("write-failed", format!("`{}` can not be written", path.display()))
        .fact("reason", error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn a_folder_appears_whole_and_replaces_its_own_kind_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let files = |text: &str| {
            let text = format!("{}{text}", launch_folder::MARK);
            vec![("launch.sh".to_owned(), text.into_bytes())]
        };
        let read = || fs::read_to_string(path.join("launch.sh")).unwrap();
        write_folder(&path, &files("one"), Existing::Keep).unwrap();
        let code = |found: Result<(), Diagnostic>| found.unwrap_err().code;
        assert_eq!(code(write_folder(&path, &files("two"), Existing::Keep)), "file-exists");
        write_folder(&path, &files("two"), Existing::Replace).unwrap();
        assert!(read().ends_with("two"));
        fs::write(path.join("notes"), "mine").unwrap();
        assert_eq!(code(write_folder(&path, &files("three"), Existing::Replace)), "not-ours");
        assert!(read().ends_with("two"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing temporary is left");
        let mine = root.path().join("mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("README.md"), "mine").unwrap();
        assert_eq!(code(write_folder(&mine, &files("one"), Existing::Replace)), "not-ours");
        assert_eq!(fs::read_to_string(mine.join("README.md")).unwrap(), "mine");
    }

    #[test]
    fn files_of_killed_runs_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: String| folder.path().join(name);
        // No system numbers its processes that high.
        let old = at(format!("{PREFIX}{}-x{SUFFIX}", u32::MAX));
        let ours = at(format!("{PREFIX}{}-x{SUFFIX}", std::process::id()));
        let other = at(format!("{PREFIX}notes{SUFFIX}"));
        [&old, &ours, &other].iter().for_each(|path| fs::write(path, "").unwrap());
        check(&[&at("plan.json".to_owned())], &[], Existing::Keep).unwrap();
        assert!(!old.exists() || !Path::new("/proc/self").exists());
        assert!(ours.exists() && other.exists());
    }

    #[test]
    fn a_plan_without_its_file_is_kept_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = kept(&folder.path().join("plan.json"), b"all").unwrap();
        assert_eq!(path.parent(), Some(folder.path()));
        assert_eq!(fs::read(path).unwrap(), b"all");
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
        assert_eq!(refused(&[folder.path()], &[]), "not-a-file");
        assert_eq!(refused(&[Path::new("-")], &[]), "not-a-file");
    }

    #[cfg(unix)]
    #[test]
    fn links_stand_for_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (file, link, lost) = (at("file"), at("link"), at("lost"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), &lost).unwrap();
        let code = |outputs: &[&Path], inputs: &[&Path]| {
            check(outputs, inputs, Existing::Replace).map_err(|error| error.code)
        };
        assert_eq!(code(&[&link], &[&file]), Err("same-file"));
        assert_eq!(code(&[&file], &[&at("link#name")]), Err("same-file"));
        assert_eq!(code(&[&link, &file], &[]), Err("same-file"));
        assert_eq!(code(&[&lost], &[]), Err("not-a-file"));
        assert_eq!(code(&[Path::new("/dev/null")], &[]), Err("not-a-file"));
        assert_eq!(code(&[&link], &[&lost]), Ok(()));
        write_all(&[(link.clone(), b"new".to_vec())], Existing::Replace).unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&file).unwrap() == "new");
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_as_open_as_any() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("a"), folder.path().join("b"));
        write_all(&[(ours.clone(), Vec::new())], Existing::Keep).unwrap();
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
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
