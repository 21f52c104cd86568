//! Parameter counts of configs against the library's own, where the samples are at hand.

use std::path::Path;

use importers::{ImportOptions, read};

/// Parameters as counted by transformers on the meta device.
const COUNTS: [(&str, u64); 10] = [
    ("gpt2", 124_439_808),
    ("gpt2-xl", 1_557_611_200),
    ("bert-base-uncased", 109_514_298),
    ("bert-large-uncased", 335_174_458),
    ("llama-2-7b", 6_738_415_616),
    ("llama-2-70b", 68_976_648_192),
    ("llama-3-8b", 8_030_261_248),
    ("mixtral-8x7b", 46_702_792_704),
    ("qwen2.5-7b", 7_615_616_512),
    ("qwen2.5-0.5b", 494_032_768),
];

/// Counts of the rest of the samples that are understood.
const LARGE: [(&str, u64); 2] =
    [("llama-3.1-405b", 405_853_388_800), ("qwen3-30b-a3b", 30_532_122_624)];

#[test]
fn parameter_counts_are_exact() {
    let Some(folder) = benchmark_data::folder() else { return };
    for (name, count) in COUNTS.into_iter().chain(LARGE) {
        let path = Path::new(&folder).join(format!("models/hf_configs/{name}.json"));
        let import = read(&path, &ImportOptions::default()).unwrap();
        assert_eq!(import.summary.initializer_elements, count, "{name}");
    }
}
