//! Benchmark data: where it is required, nothing may be skipped.

use std::path::PathBuf;

/// The folder of `docs/data.md`, or a note that a test is skipped.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MESHWRIGHT_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: benchmark data not found (docs/data.md)");
    }
    folder
}

/// Tests skip only where `MESHWRIGHT_DATA` is unset.
#[test]
fn required_data_is_there() {
    if std::env::var_os("MESHWRIGHT_REQUIRE_DATA").is_none() {
        return;
    }
    let folder = folder().expect("MESHWRIGHT_DATA names the folder");
    for part in ["models/onnx/gpt2_small.onnx", "models/reference.json", "specs/examples.json"] {
        assert!(folder.join(part).is_file(), "{part} is missing");
    }
}
