//! Benchmark data: where it is required, nothing may be skipped.

pub(crate) use benchmark_data::folder;

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
