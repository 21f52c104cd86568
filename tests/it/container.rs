//! Containerfile and compose.yaml, as far as they can be checked without a container daemon.

use std::path::Path;
use std::process::Command;

/// Each step finds its files and programs, and the program takes the words that they start it with.
#[test]
fn the_steps_of_the_containerfile_find_what_they_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = Command::new("python3").args(["-c", "import tomllib"]).output();
    let has_python = python.is_ok_and(|ran| ran.status.success());
    // A source archive has no list of its files.
    if !has_python || !root.join(".git").exists() {
        println!("skipped: python3 or the repository is missing");
        return;
    }
    let mut check = Command::new("python3");
    check.arg(root.join("scripts/check_container.py"));
    check.args(["--meshwright", env!("CARGO_BIN_EXE_meshwright")]);
    let ran = check.env_remove("MESHWRIGHT_DATABASE").output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ran.status.success(), "{}", said.concat());
}
