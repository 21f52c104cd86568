//! `memory_profiling_*.json`.

use std::collections::BTreeMap;

use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;
use ir::layers::EndMemory;
use ir::units::Bytes;
use serde_json::{Map, Value};

use super::numbers::{by_degree, megabytes, missing};
use super::times::several_kinds;

/// Memory of blocks and ends.
pub(super) struct Memory {
    pub(super) weights: Bytes,
    pub(super) activation: BTreeMap<u32, Bytes>,
    pub(super) input: Bytes,
    pub(super) split: SequenceParallel,
    pub(super) both_ends: EndMemory,
    pub(super) first_end: EndMemory,
    pub(super) last_end: EndMemory,
}

/// Reads the memory of one length, with the sequence split between tensor ranks where that was
/// measured.
///
/// # Errors
/// `missing-key`, `profile-value`, `profile-layers`.
pub(super) fn read(object: &Map<String, Value>, sequence: u64) -> Result<Memory, Diagnostic> {
    let other = |key: &&String| {
        let kind = key.strip_prefix("layertype_").map(|rest| rest.trim_end_matches("_sp"));
        kind.is_some_and(|kind| kind != "0")
    };
    if let Some(key) = object.keys().find(other) {
        return Err(several_kinds(key));
    }
    let (split, suffix) = match object.contains_key("layertype_0_sp") {
        true => (SequenceParallel::On, "_sp"),
        false => (SequenceParallel::Off, ""),
    };
    let name = |stem: &str| format!("{stem}{suffix}");
    let layer = of_length(object, &name("layertype_0"), sequence)?;
    let activation_key = "tp_activation_per_bsz_dict";
    let activation = layer.get(activation_key).ok_or_else(|| missing(activation_key))?;
    let input = activation.get("checkpoint").ok_or_else(|| missing("checkpoint"))?;
    let weights_key = "parameter_size";
    let weights = layer.get(weights_key).ok_or_else(|| missing(weights_key))?;
    let end = |stem: &str| end(object, &name(stem), sequence);
    Ok(Memory {
        weights: megabytes(weights_key, weights)?,
        activation: by_degree(activation_key, activation)?,
        input: megabytes("checkpoint", input)?,
        split,
        both_ends: end("other_memory_pp_off")?,
        first_end: end("other_memory_pp_on_first")?,
        last_end: end("other_memory_pp_on_last")?,
    })
}

fn of_length<'v>(
    object: &'v Map<String, Value>,
    key: &str,
    sequence: u64,
) -> Result<&'v Map<String, Value>, Diagnostic> {
    let lengths = object.get(key).and_then(Value::as_object).ok_or_else(|| missing(key))?;
    let found = lengths.get(&sequence.to_string()).and_then(Value::as_object);
    found.ok_or_else(|| {
        let known: Vec<String> = lengths.keys().take(16).cloned().collect();
        let message = format!("`{key}` was not measured on samples of {sequence} tokens");
        Diagnostic::input("profile-sequence", message)
            .fact("key", key)
            .fact("known", known)
            .hint("give a length that was measured with --sequence-length")
    })
}

fn end(object: &Map<String, Value>, key: &str, sequence: u64) -> Result<EndMemory, Diagnostic> {
    let memory = of_length(object, key, sequence)?;
    let part = |part: &str| {
        let value = memory.get(part).ok_or_else(|| missing(part).fact("within", key))?;
        by_degree(part, value)
    };
    Ok(EndMemory { states: part("model_states")?, activation: part("activation")? })
}
