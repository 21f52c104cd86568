//! Each broken or malicious sample gets the outcome that is listed for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use importers::{ImportOptions, read};
use ir::diagnostic::Blame;

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(folder)
}

/// Words that the message has to hold, so that the right fault is found.
fn words() -> BTreeMap<&'static str, &'static str> {
    [
        ("chakra_length_bomb.et", "missing from the field"),
        ("chakra_varint_overlong.et", "too long for 64 bits"),
        ("config_billion_layers.json", "layer budget"),
        ("config_heads_do_not_divide.json", "hidden_size 4096 is not divisible by 33"),
        ("config_unknown_model_type.json", "totally_new"),
        ("conv_stride_zero.onnx", "stride"),
        ("cycle.onnx", "`n0`, `n1`"),
        ("dangling_input.onnx", "`ghost`"),
        ("deep_nesting_20.onnx", "`c`"),
        ("deep_nesting_40.onnx", "nesting limit"),
        ("deep_nesting_5000.onnx", "nesting limit"),
        ("dims_product_wraps_to_zero.onnx", "size overflow"),
        ("duplicate_output_name.onnx", "`y` is produced twice"),
        ("empty.onnx", "empty"),
        ("et_missing_parent.json", "holds no op"),
        ("et_parent_cycle.json", "form a cycle"),
        ("et_unknown_schema.json", "unknown schema version"),
        ("external_absolute_path.onnx", "absolute"),
        ("external_length_not_number.onnx", "not a number"),
        ("external_negative_offset.onnx", "negative"),
        ("external_no_location.onnx", "no location"),
        ("external_offset_u64_overflow.onnx", "overflow"),
        ("external_path_traversal.onnx", "escapes"),
        ("function_bomb_2pow30.onnx", "1073741824"),
        ("future_opset_9999.onnx", "28"),
        ("huge_dims_overflow.onnx", "size overflow"),
        ("invalid_utf8_name.onnx", "invalid UTF-8"),
        ("json_deep_array.json", "recursion limit"),
        ("json_deep_object.json", "recursion limit"),
        ("json_duplicate_keys.json", "duplicate key `hidden_size`"),
        ("json_huge_number.json", "out of range"),
        ("json_nan.json", "valid JSON"),
        ("json_truncated.json", "unexpected end"),
        ("missing_graph_output.onnx", "`nowhere`"),
        ("negative_dim_initializer.onnx", "negative dimension"),
        ("negative_dim_input.onnx", "`x[0]` of the inputs has no value"),
        ("no_opset_import.onnx", "opset_import"),
        ("not_protobuf.onnx", "not an ONNX protobuf"),
        ("pt2_no_model.pt2", "models/*.json"),
        ("pt2_truncated.pt2", "central directory"),
        ("pt2_zip_bomb_200MB.pt2", "unpacks to more"),
        ("pt2_zip_slip.pt2", "leaves the archive"),
        ("raw_data_size_mismatch.onnx", "shorter than its shape"),
        ("recursive_function.onnx", "recursive function"),
        ("reshape_to_huge.onnx", "64 bits"),
        ("schedule_bad_token.csv", "schedule"),
        ("self_loop.onnx", "graph cycle"),
        ("trailing_garbage.onnx", "truncated"),
        ("truncated_1byte_short.onnx", "truncated: 1 byte is missing"),
        ("truncated_half.onnx", "truncated"),
        ("unknown_dtype_999.onnx", "999"),
        ("zeros_4k.onnx", "tag 0"),
    ]
    .into()
}

#[test]
fn every_sample_has_its_listed_outcome() {
    let folder = data("hostile");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut words = words();
    let mut faults = Vec::new();
    for (file, entry) in expected.as_object().unwrap() {
        let start = Instant::now();
        let result = read(&folder.join(file), &ImportOptions::default());
        let elapsed = start.elapsed();
        if elapsed > Duration::from_secs(60) {
            faults.push(format!("{file}: took {elapsed:?}"));
        }
        let word = words.remove(file.as_str());
        match (entry["exit"].as_u64().unwrap(), result) {
            (0, Ok(_)) => {}
            (3, Err(error)) if error.blame == Blame::Input => {
                let word = word.unwrap_or_else(|| panic!("{file} has no word to look for"));
                if !error.message.contains(word) {
                    faults.push(format!("{file}: `{}` does not say `{word}`", error.message));
                }
                if error.hints.is_empty() {
                    faults.push(format!("{file}: there is no hint"));
                }
                if error.facts.iter().all(|(name, _)| *name != "file") {
                    faults.push(format!("{file}: the file is not named"));
                }
            }
            (exit, result) => faults.push(format!(
                "{file}: expected exit {exit} ({}), got {:?}",
                entry["why"],
                result.map(|import| import.warnings)
            )),
        }
    }
    assert!(words.is_empty(), "words for samples that are not there: {words:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn truncation_says_where() {
    let error = read(&data("hostile/truncated_half.onnx"), &ImportOptions::default()).unwrap_err();
    assert!(error.facts.iter().any(|(name, _)| *name == "offset"), "{error:?}");
}

#[test]
fn what_is_odd_but_legal_is_warned_of() {
    let codes = |file: &str| -> Vec<&str> {
        let import = read(&data("hostile").join(file), &ImportOptions::default()).unwrap();
        import.warnings.iter().map(|warning| warning.code).collect()
    };
    assert!(codes("not_topologically_sorted.onnx").contains(&"unsorted-nodes"));
    assert!(codes("unknown_domain_op.onnx").contains(&"domain-not-imported"));
    let import = read(&data("hostile/unknown_domain_op.onnx"), &ImportOptions::default()).unwrap();
    assert!(import.summary.guessed_share > 0.0);
}

/// A trace may hold what is no JSON where nobody looks; what is cut off is told as that.
#[test]
fn only_what_is_broken_is_refused_as_an_instance() {
    let folder = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        let path = folder.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        importers::instance(&path).map(|instance| instance.is_some()).map_err(|error| error.code)
    };
    let trace = r#"{"traceEvents": [{"ph": "X", "args": {"x": 1e400, "x": 1}}]}"#;
    assert_eq!(of(trace), Ok(false));
    assert_eq!(of(r#"{"model_type": "llama", "model_type": "llama"}"#), Ok(false));
    assert_eq!(of(r#"{"kind": "averaging", "bytes": 1e400}"#), Err("number-out-of-range"));
    assert_eq!(of(r#"{"kind": "averaging", "bytes": 1"#), Err("truncated-json"));
    let text = r#"{"kind": "averaging", "bytes": 8, "bytes_per_s": [1, 2]}"#;
    assert_eq!(of(text), Ok(true));
}
