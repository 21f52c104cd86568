use std::fs;
use std::path::PathBuf;

use ir::engine_tables::{AttentionKey, MlaKey, NumberFormat};

use super::*;

fn sample() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/aiconfigurator/systems"))
}

fn named(name: &str) -> Named {
    Named::parse(name).unwrap()
}

fn code(name: &str) -> &'static str {
    read(&sample(), &named(name)).unwrap_err().code
}

#[test]
fn names_are_a_system_an_engine_and_perhaps_a_version() {
    let parsed = named("h200_sxm/vllm@0.24.0");
    assert_eq!((parsed.system.as_str(), parsed.engine.as_str()), ("h200_sxm", "vllm"));
    assert_eq!(parsed.version.as_deref(), Some("0.24.0"));
    assert_eq!(named("h200_sxm/vllm").version, None);
    for name in ["", "a", "a/", "/b", "a/b@", "../a/b", "a/../b", "a/b/c", "a b/c", "a/b@../c"] {
        assert_eq!(Named::parse(name).unwrap_err().code, "bad-profile-name", "{name}");
    }
}

#[test]
fn the_current_version_counts_first_and_later_ones_do_not() {
    let tables = read(&sample(), &named("large/one")).unwrap();
    assert_eq!(tables.version, "1.10.0");
    let gemm = &tables.gemm[&NumberFormat::Bf16];
    // 4 widths of 4 numbers of rows, and 2 numbers of rows of the fifth, of the earlier version.
    assert_eq!(gemm.len(), 4 * 4 + 2);
    assert_eq!(gemm.positions(0), [1024, 2048, 4096, 8192]);
    let of = |version: &str| {
        let source = tables.sources.iter().find(|source| source.version == version).unwrap();
        (source.n_rows, source.n_kept)
    };
    assert_eq!((of("1.10.0"), of("1.9.0")), ((35, 16), (20, 2)));
    assert!(tables.sources.iter().all(|source| source.sha256.len() == 64));
    let older = read(&sample(), &named("large/one@1.9.0")).unwrap();
    assert_eq!(older.gemm[&NumberFormat::Bf16].len(), 10);
    assert!(older.prefill.is_empty());
    assert_eq!(read(&sample(), &named("large/one@previous")).unwrap(), older);
}

#[test]
fn the_kernels_that_the_engine_takes_are_those_of_its_file() {
    let tables = read(&sample(), &named("large/one")).unwrap();
    let key = AttentionKey {
        number: NumberFormat::Bf16,
        cache: NumberFormat::Bf16,
        kv_heads: 2,
        head_dim: 128,
        window: 0,
    };
    let grid = &tables.decode[&key];
    assert_eq!((grid.positions(0), grid.len()), (&[16][..], 6));
    // 5 us and 1,024 bytes of keys and values, not three times that.
    assert!((grid.seconds(0) - 5.001_024e-6).abs() < 1e-15, "{}", grid.seconds(0));
    assert_eq!(grid.positions(2), [1, 1024, 4096, 1, 1024, 4096]);
    // As many key and value heads as query heads are one kind, whatever their number.
    assert_eq!(tables.prefill[&AttentionKey { kv_heads: 0, ..key }].positions(0), [4]);
    // All-reduces that are started one by one took nine times as long.
    assert!((tables.all_reduce[&2].seconds(0) - 5.010_24e-6).abs() < 1e-15);
}

#[test]
fn latent_attention_is_kept_apart_with_and_without_its_projections() {
    let tables = read(&sample(), &named("large/one")).unwrap();
    let (number, cache) = (NumberFormat::Bf16, NumberFormat::Bf16);
    for weights in [None, Some(NumberFormat::Bf16)] {
        let key = MlaKey { number, cache, weights };
        assert_eq!(tables.mla_prefill[&key].positions(1), [512, 4096, 512, 4096]);
        assert_eq!(tables.mla_decode[&key].positions(1), [1, 8, 1, 8]);
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (name, expected) in [
        ("larg/one", "unknown-system"),
        ("large/two", "unknown-engine"),
        ("large/one@1.8", "unknown-version"),
        ("small/one", "missing-column"),
    ] {
        assert_eq!(code(name), expected, "{name}");
    }
    let error = read(&sample(), &named("small/one")).unwrap_err();
    assert!(error.message.contains("`k`"), "{}", error.message);
    assert!(error.facts.iter().any(|(name, _)| *name == "file"));
}

#[test]
fn the_folder_is_found_from_any_folder_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let systems = folder.path().join("lib/python3.11/site-packages/aiconfigurator_core/systems");
    fs::create_dir_all(&systems).unwrap();
    assert_eq!(root(folder.path()).unwrap_err().code, "no-aiconfigurator");
    fs::write(systems.join("query_versions.yaml"), "defaults: {}\n").unwrap();
    for given in
        ["", "lib/python3.11/site-packages", "lib/python3.11/site-packages/aiconfigurator_core"]
    {
        assert_eq!(root(&folder.path().join(given)).unwrap(), systems, "{given}");
    }
    assert_eq!(root(&systems).unwrap(), systems);
}

#[test]
fn measured_requests_are_no_input() {
    assert_eq!(root(&sample().join("silicon_sample.csv")).unwrap_err().code, "not-an-input");
}

#[test]
fn files_of_systems_lead_nowhere_else_and_hold_rates() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(sample().join("large.yaml")).unwrap();
    let code_of = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(folder.path().join("large.yaml"), text.replace(from, to)).unwrap();
        System::read(folder.path(), "large").map(|_| ()).unwrap_err().code
    };
    assert_eq!(code_of("data/large", "../large"), "bad-system");
    assert_eq!(code_of("data/large", "/large"), "bad-system");
    assert_eq!(code_of("mem_bw: 2000000000000", "mem_bw: 0"), "bad-system");
    assert_eq!(code_of("p2p_latency: 0.00001", "p2p_latency: -1"), "bad-system");
    assert_eq!(code_of("p2p_latency: 0.00001", "other: 1"), "bad-system");
}

/// Reads all tables of the package where `MESHWRIGHT_AIC` names its folder.
#[test]
fn every_system_of_the_package_is_read() {
    let Some(folder) = benchmark_data::aiconfigurator() else { return };
    let root = root(&folder).unwrap();
    let mut n_read = 0;
    for system in folder::systems(&root).unwrap() {
        for engine in ["vllm", "sglang", "trtllm"] {
            match read(&root, &named(&format!("{system}/{engine}"))) {
                Ok(tables) => {
                    n_read += 1;
                    assert!(!tables.gemm.is_empty(), "{system}/{engine}");
                    assert!(tables.sources.iter().all(|source| source.n_rows >= source.n_kept));
                }
                Err(error) => assert_eq!(error.code, "no-tables", "{system}/{engine}: {error}"),
            }
        }
    }
    assert!(n_read >= 20, "{n_read}");
}
