//! What tests need that does not lie in the project: the benchmark data of `docs/data.md`, a PostgreSQL, the
//! package of AIConfigurator. A test without it ends at once, which a test runner counts as passed; so it is
//! noted in the file that `MESHWRIGHT_SKIPPED` names, and `make test` prints the count. Where
//! `MESHWRIGHT_REQUIRE_DATA` is set, a test without benchmark data fails.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

/// The folder that `MESHWRIGHT_DATA` names; `None`, and a note, where it names none.
///
/// # Panics
/// Where `MESHWRIGHT_REQUIRE_DATA` is set and there is no such folder.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    found(
        variable("MESHWRIGHT_DATA"),
        variable("MESHWRIGHT_REQUIRE_DATA").is_some(),
        variable("MESHWRIGHT_SKIPPED").map(PathBuf::from).as_deref(),
        thread::current().name().unwrap_or("a test"),
    )
}

/// How many random cases of a law are tried: `MESHWRIGHT_CASES`, or as many as take seconds.
#[must_use]
pub fn cases(usual: u64) -> u64 {
    variable("MESHWRIGHT_CASES").and_then(|n| n.to_str()?.parse().ok()).unwrap_or(usual)
}

/// The URL of a PostgreSQL that tests may use, `MESHWRIGHT_POSTGRES`; `None`, and a note, where
/// there is none.
#[must_use]
pub fn postgres() -> Option<String> {
    let url = variable("MESHWRIGHT_POSTGRES").and_then(|url| url.into_string().ok());
    if url.is_none() {
        skip(
            "no PostgreSQL (make test-postgres)",
            variable("MESHWRIGHT_SKIPPED").map(PathBuf::from).as_deref(),
            thread::current().name().unwrap_or("a test"),
        );
    }
    url
}

/// The folder that AIConfigurator was installed to, `MESHWRIGHT_AIC`; `None`, and a note, where it
/// names none.
///
/// # Panics
/// Where it names what is no folder.
#[must_use]
pub fn aiconfigurator() -> Option<PathBuf> {
    let folder = variable("MESHWRIGHT_AIC").map(PathBuf::from);
    match &folder {
        Some(folder) => {
            assert!(folder.is_dir(), "MESHWRIGHT_AIC names no folder: {}", folder.display());
        }
        None => skip(
            "no AIConfigurator (docs/data.md)",
            variable("MESHWRIGHT_SKIPPED").map(PathBuf::from).as_deref(),
            thread::current().name().unwrap_or("a test"),
        ),
    }
    folder
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn found(
    data: Option<OsString>,
    is_required: bool,
    skipped: Option<&Path>,
    test: &str,
) -> Option<PathBuf> {
    let folder = data.map(PathBuf::from);
    if let Some(folder) = &folder {
        assert!(folder.is_dir(), "MESHWRIGHT_DATA names no folder: {}", folder.display());
        return Some(folder.clone());
    }
    assert!(!is_required, "MESHWRIGHT_REQUIRE_DATA is set, but MESHWRIGHT_DATA is not");
    skip("benchmark data not found (docs/data.md)", skipped, test);
    None
}

#[allow(clippy::print_stdout, reason = "says why a test did nothing")]
fn skip(reason: &str, skipped: Option<&Path>, test: &str) {
    println!("skipped: {reason}");
    if let Some(path) = skipped {
        // One write: lines of several processes don't mix.
        let line = format!("{test}\n");
        let noted = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(noted.is_ok(), "MESHWRIGHT_SKIPPED can't be written: {}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_is_noted_once_a_test() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("skipped");
        assert_eq!(found(None, false, Some(&notes), "first"), None);
        assert_eq!(found(None, false, Some(&notes), "second"), None);
        assert_eq!(std::fs::read_to_string(&notes).unwrap(), "first\nsecond\n");
        let data = folder.path().to_owned();
        assert_eq!(found(Some(data.clone().into()), true, Some(&notes), "third"), Some(data));
        assert_eq!(std::fs::read_to_string(&notes).unwrap().lines().count(), 2);
    }

    #[test]
    #[should_panic(expected = "MESHWRIGHT_REQUIRE_DATA is set")]
    fn what_is_required_is_not_skipped() {
        let _ = found(None, true, None, "a test");
    }

    #[test]
    #[should_panic(expected = "names no folder")]
    fn a_folder_that_is_not_there_is_no_reason_to_skip() {
        let _ = found(Some("/nowhere/at/all".into()), false, None, "a test");
    }
}
