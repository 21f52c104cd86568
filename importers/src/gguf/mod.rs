//! GGUF files of llama.cpp: their headers alone, as the config of the model and the bytes of each layer.
//!
//! Layout after `docs/gguf.md` of ggml, names of tensors after `gguf-py/gguf/constants.py` of llama.cpp.

mod config;
pub mod recipe;
mod split;
#[cfg(test)]
mod tests;
pub mod types;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use ir::card::stored::{Stored, StoredBlock};
use ir::diagnostic::Diagnostic;

use crate::located;
use crate::source::Source;

use self::types::TensorType;
use self::wire::{Header, Tensor};

/// Whether a file begins as a GGUF file.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(wire::MAGIC)
}

/// Whether a path is of a GGUF file.
#[must_use]
pub fn is_file(path: &Path) -> bool {
    located::open(path).is_ok_and(|(source, _)| is_source(&source))
}

fn is_source(source: &dyn Source) -> bool {
    let mut head = [0; 4];
    matches!(source.read_at(0, &mut head), Ok(4)) && is(&head)
}

/// The config that a GGUF file stands for, as text; `None` for other files.
///
/// # Errors
/// Those of [`split::header`] and [`config::config`].
pub(crate) fn as_config(source: &dyn Source) -> Result<Option<Vec<u8>>, Diagnostic> {
    if !is_source(source) {
        return Ok(None);
    }
    let fields = config::config(&split::header(source)?)?;
    Ok(Some(serde_json::Value::Object(fields).to_string().into_bytes()))
}

/// What to know of a graph that is read off a GGUF file's config.
///
/// # Errors
/// Those of [`split::header`].
pub(crate) fn noted(source: &dyn Source) -> Result<Vec<Diagnostic>, Diagnostic> {
    let header = split::header(source)?;
    let message = format!(
        "operators are those of the model's config: its weights ({}) are counted in one type",
        method(&header.tensors)
    );
    let as_config = Diagnostic::warning("gguf-as-config", message)
        .hint("plan it with `meshwright infer`, which counts each tensor as it is stored");
    Ok([as_config].into_iter().chain(alone(&header)).collect())
}

/// What a GGUF file holds, by block, and what is worth knowing of it.
///
/// # Errors
/// Those of [`split::header`]; `unreadable-file`, `bad-gguf`.
pub fn stored(path: &Path) -> Result<(Stored, Vec<Diagnostic>), Diagnostic> {
    let (source, _) = located::open(path)?;
    let header = split::header(&source)?;
    let stored = of_tensors(&header.tensors)?;
    Ok((stored, alone(&header).into_iter().collect()))
}

/// That a file has no data, so that its tensors were not held against its length.
fn alone(header: &Header) -> Option<Diagnostic> {
    header.is_alone.then(|| {
        let message = "the file holds a header without the data of its tensors";
        Diagnostic::warning("gguf-header-alone", message).hint("serve the whole file")
    })
}

/// The type that most bytes have.
fn most(tensors: &[Tensor]) -> Option<TensorType> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in tensors {
        let sum = bytes.entry(tensor.kind.name).or_default();
        *sum = sum.saturating_add(tensor.bytes);
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).and_then(|most| TensorType::named(most.0))
}

fn method(tensors: &[Tensor]) -> String {
    format!("GGUF, mostly {}", most(tensors).map_or("no tensor", |kind| kind.name))
}

/// Elements of a block of blocks (`QK_K`).
const SUPER_BLOCK: u64 = 256;
/// Layers that a file may have.
const MOST_BLOCKS: usize = 2_000;

/// Weights by block: of `blk.3.ffn_down.weight` block 3.
fn of_tensors(tensors: &[Tensor]) -> Result<Stored, Diagnostic> {
    let has_super_blocks = most(tensors).is_some_and(|kind| kind.elements == SUPER_BLOCK);
    let method = Some(method(tensors));
    let mut stored = Stored { method, has_super_blocks, ..Stored::default() };
    for tensor in tensors {
        let (elements, bytes) = (tensor.elements, tensor.bytes);
        let Some((number, rest)) = block(&tensor.name) else {
            // What follows the last block begins with `output`, and what does not precedes the first.
            let end = &mut stored.ends[usize::from(tensor.name.starts_with("output"))];
            *end = end.with(elements, bytes);
            continue;
        };
        if number >= MOST_BLOCKS {
            let message = format!("a file with block {number}, more than {MOST_BLOCKS}");
            return Err(Diagnostic::input("layer-budget", message));
        }
        if stored.blocks.len() <= number {
            stored.blocks.resize(number + 1, StoredBlock::default());
        }
        let block = &mut stored.blocks[number];
        if rest.contains("_exps.") {
            let n = tensor.shape.last().copied().unwrap_or(1).max(1);
            block.experts = block.experts.with(elements, bytes);
            block.largest_expert = block.largest_expert.saturating_add(bytes.div_ceil(n));
            continue;
        }
        block.others = block.others.with(elements, bytes);
        if tensor.shape.len() > 1 {
            block.products = block.products.with(elements, bytes);
        }
    }
    if let Some(empty) = stored.blocks.iter().position(|block| block.others.bytes == 0) {
        let message = format!("the file has no tensor of block {empty}");
        return Err(Diagnostic::input("bad-gguf", message).hint("convert the model again"));
    }
    Ok(stored)
}

fn block(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}
