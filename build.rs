//! Puts the commit and the version of HiGHS into `--version`. Works without git and without a
//! lock file; then it says so.

use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=build.rs");
    // Only an existing path may be watched: a missing one would rebuild every time.
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rustc-env=MESHWRIGHT_BUILD_COMMIT={}", commit());
    println!("cargo::rustc-env=MESHWRIGHT_BUILD_HIGHS={}", highs_version());
}

fn commit() -> String {
    Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The `highs-sys` package carries the version of the HiGHS sources that it bundles.
fn highs_version() -> String {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    lock.split("[[package]]")
        .find(|package| package.contains("name = \"highs-sys\""))
        .and_then(|package| package.lines().find_map(|line| line.strip_prefix("version = ")))
        .map_or_else(|| "unknown".to_owned(), |version| version.trim_matches('"').to_owned())
}
