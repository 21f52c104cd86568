//! What the checkpoint of a config holds, by block: the same weights that its graph has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ir::card::stored::{Stored, StoredBlock};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::tensor::DType;

use super::fields::Fields;
use super::quantization::{self, Quantization};
use super::request::{ASSUMED, OF_PART, held_dtype, is_packed, text, unused};
use crate::import::ImportOptions;
use crate::json;

/// Reads what a checkpoint holds where its weights are quantised, other weights in a type, and how it says
/// that keys and values are cached; without weights where all are of one type. Beside it, what of it is not
/// understood.
///
/// # Errors
/// Those of the readers of configs.
pub fn read(path: &Path, dtype: DType) -> Result<(Stored, Vec<Diagnostic>), Diagnostic> {
    let (bytes, name) = text(path)?;
    let object = json::config(bytes.clone())?;
    let fields = Fields(&object);
    let (cache, unknown) = quantization::cache(fields)?;
    let mut warnings: Vec<Diagnostic> = unknown.into_iter().collect();
    let mut stored = Stored { cache, ..Stored::default() };
    if let (Some(quantization), _) = Quantization::read(fields)? {
        let options = ImportOptions {
            dtype: Some(dtype),
            batch: Some(1),
            dims: [("sequence".to_owned(), 1)].into(),
            ..ImportOptions::default()
        };
        // Runs of models of several parts are those of their text decoder.
        let (text, left) = super::served::text_alone(super::model_type::fields(bytes.clone())?.0);
        let bytes = match left {
            Some(_) => serde_json::to_vec(&text).unwrap_or_default(),
            None => bytes,
        };
        let graph = crate::read_bytes(&name, &bytes, &options)?.graph;
        match is_packed(&graph) {
            true => {
                let scale_block = quantization.scale_block();
                let method = Some(quantization.method);
                stored = Stored { method, scale_block, ..of_graph(&graph, stored) }
            }
            false => warnings.push(unused(&quantization.method, dtype.name())),
        }
    }
    Ok((stored, warnings))
}

/// The type of a config's weights that are not quantised, as it states it or assumed, and what is warned of
/// an assumption or of a part with a type of its own.
///
/// # Errors
/// Those of the JSON reader; `invalid-field`.
pub fn held(path: &Path) -> Result<(DType, Vec<Diagnostic>), Diagnostic> {
    let object = json::config(text(path)?.0)?;
    let (dtype, mut warnings) = held_dtype(Fields(&object), None)?;
    warnings.retain(|warning| [ASSUMED, OF_PART].contains(&warning.code));
    Ok((dtype, warnings))
}

/// What is assumed of the weights of a config, or not understood: no proof may rest on it. Nothing of other
/// files, which state the type of each weight.
///
/// # Errors
/// Those of the JSON reader; `invalid-field`.
pub fn assumed(path: &Path, dtype: Option<DType>) -> Result<Vec<Diagnostic>, Diagnostic> {
    let object = json::config(text(path)?.0)?;
    let mut found = held_dtype(Fields(&object), dtype)?.1;
    found.extend(Quantization::read(Fields(&object))?.1);
    Ok(found)
}

/// Weights by block: of a module up to the first number in its name.
fn of_graph(graph: &Graph, mut stored: Stored) -> Stored {
    let mut blocks: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen: BTreeSet<TensorId> = BTreeSet::new();
    for op in &graph.ops {
        let is_expert = op.op_type == "Expert";
        let mut of_expert = 0_u64;
        for (at, id) in op.parameters.iter().enumerate().filter(|(_, id)| seen.insert(**id)) {
            let tensor = graph.tensor(*id);
            let elements = tensor.shape.iter().fold(1_u64, |n, extent| n.saturating_mul(*extent));
            let bytes = tensor.bytes.get();
            let Some(name) = block(&tensor.name) else {
                let end = &mut stored.ends[usize::from(!blocks.is_empty())];
                *end = end.with(elements, bytes);
                continue;
            };
            let next = blocks.len();
            let block = *blocks.entry(name).or_insert(next);
            stored.blocks.resize(blocks.len(), StoredBlock::default());
            let entry = &mut stored.blocks[block];
            if is_expert {
                entry.experts = entry.experts.with(elements, bytes);
                of_expert = of_expert.saturating_add(bytes);
                entry.largest_expert = entry.largest_expert.max(of_expert);
                continue;
            }
            entry.others = entry.others.with(elements, bytes);
            if at == 0 && op.op_type == "Linear" {
                entry.products = entry.products.with(elements, bytes);
            }
        }
    }
    stored
}

/// `model.layers.3` of `model.layers.3.mlp.up_proj.weight`.
pub(super) fn block(name: &str) -> Option<String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts: Vec<&str> = name.split('.').collect();
    let at = parts.iter().position(|part| is_number(part))?;
    parts.truncate(at + 1);
    Some(parts.join("."))
}
