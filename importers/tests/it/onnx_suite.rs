//! A slice of ONNX's backend suite, and models of operators of ONNX Runtime: type and extents of each
//! output, without what the model says of them, are those of the suite's own data and of the runtime's
//! runs. The scripts of `python/onnx_suite` write both, and hold all models and whole networks against
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use importers::ImportOptions;
use importers::onnx::values::{Value, values};

type Outputs = BTreeMap<String, (String, Vec<u64>)>;

fn differs(value: &Value, dtype: &str, shape: &[u64]) -> bool {
    let Some(extents) = &value.shape else { return true };
    // A size that depends on data is the most that there may be.
    let is_same = extents.len() == shape.len()
        && extents.iter().zip(shape).all(|(a, b)| a == b || value.at_most && a > b);
    !is_same || value.dtype.map(|dtype| dtype.name()) != Some(dtype)
}

#[test]
fn outputs_have_the_types_and_extents_of_the_suites_data() {
    hold("expected.json", 70);
}

#[test]
fn outputs_have_the_types_and_extents_of_the_runtimes_runs() {
    hold("expected_ort.json", 70);
}

fn hold(table: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/onnx_suite");
    let expected = std::fs::read(folder.join(table)).unwrap();
    let expected: BTreeMap<String, Outputs> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.len() >= least, "{} models", expected.len());
    let mut wrong = Vec::new();
    for (file, outputs) in &expected {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let found = values(&bytes, &ImportOptions::default()).unwrap();
        for (name, (dtype, shape)) in outputs {
            let value = found.iter().find(|value| value.name == *name).unwrap();
            if differs(value, dtype, shape) {
                wrong.push(format!("{file}: {value:?}, the data has {dtype} {shape:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
