//! `computation_profiling_*.json`.

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::layers::BatchPoint;
use serde_json::{Map, Value};

use super::numbers::{count, milliseconds, missing};

/// Forward passes.
pub(super) struct Times {
    pub(super) block: Vec<BatchPoint>,
    pub(super) ends: Vec<BatchPoint>,
}

/// Reads the times of one length.
///
/// # Errors
/// `missing-key`, `profile-value`, `profile-sequence`, `profile-layers`.
pub(super) fn read(object: &Map<String, Value>, sequence: u64) -> Result<Times, Diagnostic> {
    let mut block = BTreeMap::new();
    let mut ends = BTreeMap::new();
    let mut lengths = BTreeSet::new();
    for (key, value) in object {
        let Some((kind, samples, length)) = parts(key) else { continue };
        // Newer profilers name the kind of block that the ends were measured with.
        if !matches!(kind, "0" | "other" | "other_0") {
            return Err(several_kinds(key));
        }
        lengths.insert(length);
        if length != sequence {
            continue;
        }
        // The profiler divides by the samples of the batch.
        let time = milliseconds(key, value, samples as f64)?;
        let list = if kind == "0" { &mut block } else { &mut ends };
        list.insert(samples, BatchPoint { samples, time });
    }
    if block.is_empty() && !lengths.is_empty() {
        let known: Vec<String> = lengths.iter().map(u64::to_string).collect();
        let message = format!("the profile was not measured on samples of {sequence} tokens");
        return Err(Diagnostic::input("profile-sequence", message)
            .fact("known", known)
            .hint("give a length that was measured with --sequence-length"));
    }
    for (list, kind) in [(&block, "0"), (&ends, "other")] {
        if list.is_empty() {
            return Err(missing(&format!("layertype_{kind}_bsz1_seq{sequence}")));
        }
    }
    Ok(Times { block: block.into_values().collect(), ends: ends.into_values().collect() })
}

/// Kind, samples and tokens of `layertype_0_bsz1_seq2048`.
fn parts(key: &str) -> Option<(&str, u64, u64)> {
    let (kind, rest) = key.strip_prefix("layertype_")?.split_once("_bsz")?;
    let (samples, length) = rest.split_once("_seq")?;
    Some((kind, count(samples)?, count(length)?))
}

/// Models of several kinds of blocks (an encoder and a decoder) have several sets of keys.
pub(super) fn several_kinds(key: &str) -> Diagnostic {
    let message = "the profile is of a model with several kinds of blocks, which is not planned";
    Diagnostic::input("profile-layers", message)
        .fact("key", key)
        .hint("give a profile of a model whose blocks are alike")
}
