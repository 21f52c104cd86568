//! A small folder of our own in the profilers' form, and what is refused.

use std::path::Path;

use ir::measured::CollectiveOperation;
use serde_json::{Value, json};

use super::*;

fn files() -> Vec<(&'static str, Value)> {
    let ends = json!({ "64": {
        "model_states": { "1": 16.0, "2": 8.0 }, "activation": { "1": 3.0, "2": 1.5 } } });
    vec![
        (
            "computation_profiling_bf16_small_all.json",
            json!({
                "layernum[2]_bsz1_seq64": 9.0,
                "layertype_0_bsz1_seq64": 4.0,
                "layertype_0_bsz2_seq64": 3.0,
                "layertype_other_bsz1_seq64": 1.0,
                "layertype_0_bsz1_seq128": 8.0
            }),
        ),
        (
            "memory_profiling_bf16_small_all.json",
            json!({
                "1_1_2_sp": { "layernum[1]_bsz2_seq64_rank0_ms": 1.0 },
                "layertype_0_sp": { "64": {
                    "parameter_size": 8.0,
                    "tp_activation_per_bsz_dict": { "1": 4.0, "2": 2.0, "checkpoint": 0.5 } } },
                "other_memory_pp_off_sp": ends,
                "other_memory_pp_on_first_sp": ends,
                "other_memory_pp_on_last_sp": ends
            }),
        ),
        (
            "allreduce_bandwidth_1nodes_2gpus_per_node.json",
            json!({ "allreduce_size_2_consec_1": 100.0, "unknown": "text" }),
        ),
        ("p2p_bandwidth_1nodes_2gpus_per_node.json", json!({ "pp_size_2": 50.0 })),
        (
            "sp_time_1nodes_2gpus_per_node.json",
            json!({ "allreduce_size_2_2MB_time": 0.2, "allreduce_size_2_1MB_time": 0.1,
                "all2all_size_2_1MB_time": 0.05 }),
        ),
        ("overlap_coefficient.json", json!({ "overlap_coe": 1.25 })),
    ]
}

fn written(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    }
    folder
}

#[test]
fn a_folder_is_read_in_its_units() {
    let folder = written(&files());
    assert!(is_folder(folder.path()) && !is_folder(Path::new("/dev/null")));
    let profile = read(folder.path(), 64).unwrap();
    assert_eq!(profile.name, "bf16_small_all");
    // Milliseconds per sample: two samples take 6 ms.
    let times: Vec<(u64, f64)> =
        profile.block.iter().map(|point| (point.samples, point.time.get())).collect();
    assert_eq!(times, [(1, 0.004), (2, 0.006)]);
    assert_eq!(profile.block_weights.0, 8 << 20);
    assert_eq!(profile.block_input.0, 1 << 19);
    assert_eq!(profile.block_activation[&2].0, 2 << 20);
    assert_eq!(profile.last_end.states[&2].0, 8 << 20);
    assert_eq!(profile.slow_down, 1.25);
    let rates = &profile.links[&ir::layers::Hosts { n_hosts: 1, per_host: 2 }];
    assert_eq!(rates.next[&2].get(), 50e9);
    assert_eq!(rates.all_reduce[&(2, ir::layers::Ranks::Neighbours)].get(), 100e9);
    let sizes = &rates.sized[&(CollectiveOperation::AllReduce, 2)];
    assert_eq!((sizes[0].bytes.0, sizes[1].bytes.0), (1 << 20, 2 << 20));
    assert_eq!(sizes[1].time.get(), 0.0002);
}

/// The files with one changed, or taken away.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Vec<(&'static str, Value)> {
    let mut files = files();
    for (file, value) in &mut files {
        if file.starts_with(name) {
            change(value);
        }
    }
    files.retain(|(_, value)| !value.is_null());
    files
}

#[test]
fn what_is_wrong_is_named_with_file_and_key() {
    let computation = "computation_profiling_";
    let memory = "memory_profiling_";
    let cases = [
        (changed(computation, |v| *v = Value::Null), "profile-file", ""),
        (changed("allreduce", |v| *v = Value::Null), "profile-file", ""),
        (changed("overlap", |v| *v = json!({})), "missing-key", "overlap_coe"),
        (changed("overlap", |v| v["overlap_coe"] = json!(0.5)), "profile-value", "overlap_coe"),
        (changed("overlap", |v| *v = json!([1])), "invalid-document", ""),
        (
            changed(computation, |v| v["layertype_0_bsz1_seq64"] = json!(-1.0)),
            "profile-value",
            "layertype_0_bsz1_seq64",
        ),
        (
            changed(computation, |v| v["layertype_0_bsz1_seq64"] = json!("fast")),
            "profile-value",
            "layertype_0_bsz1_seq64",
        ),
        (
            changed(computation, |v| v["layertype_1_bsz1_seq64"] = json!(1.0)),
            "profile-layers",
            "layertype_1_bsz1_seq64",
        ),
        (
            changed(memory, |v| v["layertype_0_sp"]["64"]["parameter_size"] = json!(1e300)),
            "profile-value",
            "parameter_size",
        ),
        (changed(memory, |v| v["other_memory_pp_off_sp"] = json!(3)), "missing-key", ""),
        (changed("p2p", |v| v["pp_size_2"] = json!(0)), "profile-value", "pp_size_2"),
    ];
    for (files, code, key) in cases {
        let folder = written(&files);
        let error = read(folder.path(), 64).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        let fact = |name: &str| error.facts.iter().find(|(known, _)| *known == name);
        assert!(fact("file").is_some(), "{error}");
        if !key.is_empty() {
            assert_eq!(fact("key").unwrap().1, key.into(), "{error}");
        }
    }
    // The other name of the ends.
    let named = changed(computation, |v| {
        let ends = v.as_object_mut().unwrap().remove("layertype_other_bsz1_seq64").unwrap();
        v["layertype_other_0_bsz1_seq64"] = ends;
    });
    assert_eq!(read(written(&named).path(), 64).unwrap().ends.len(), 1);
    let folder = written(&files());
    assert_eq!(read(folder.path(), 65).unwrap_err().code, "profile-sequence");
    std::fs::write(folder.path().join("memory_profiling_other.json"), "{}").unwrap();
    assert_eq!(read(folder.path(), 64).unwrap_err().code, "profile-file");
    std::fs::write(folder.path().join("overlap_coefficient.json"), "[".repeat(10_000)).unwrap();
    assert!(read(folder.path(), 64).is_err());
    assert_eq!(read(Path::new("/nowhere/at/all"), 64).unwrap_err().code, "unreadable-file");
}
