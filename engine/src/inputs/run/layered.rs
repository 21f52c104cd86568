//! Decoders that have no card of their own as layers.

use std::path::Path;

use cost_model::runs::counts::{block_parameters, embedding_parameters, head_parameters};
use importers::config::served::{self, Served, ServedLayer, TEXT_ALONE};
use ir::card::{BlockGroup, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;

use super::model::Model;

/// Reads a config; `None` where it has a card, or is no decoder.
///
/// # Errors
/// Those of the readers of configs.
pub(super) fn read(path: &Path, sequence: Option<u64>) -> Result<Option<Model>, Diagnostic> {
    Ok(served::read(path, sequence)?.and_then(model))
}

/// As [`read`], for a run that trains: a mixture of experts, or a decoder with attention that is all of its model;
/// `None` where ops say more.
pub(super) fn trained((path, sequence): (&Path, Option<u64>), is_mixture: bool) -> Option<Model> {
    // What readers of graphs refuse, they name.
    let mut served = served::read(path, sequence).ok().flatten()?;
    let has_experts = served.layers.iter().any(|layer| layer.card.experts.is_some());
    let is_whole = served.warnings.iter().all(|warning| warning.code != TEXT_ALONE);
    let attends = served.layers.iter().any(|layer| !layer.is_other);
    let is_wanted = if is_mixture { has_experts } else { is_whole && attends };
    if !is_wanted {
        return None;
    }
    for warning in served.warnings.iter_mut().filter(|warning| warning.code == TEXT_ALONE) {
        let hint = "--dim with a size of the other parts plans all of them, without tensor and expert ranks";
        *warning = warning.clone().hint(hint);
    }
    served.warnings.append(&mut served.not_trained);
    let dtype = served.dtype;
    let mut model = model(served)?;
    model.card.dtype = dtype;
    Some(model)
}

fn model(served: Served) -> Option<Model> {
    let Served { layers, ends, warnings, .. } = served;
    let first = layers.first()?.card.clone();
    let beyond = |count: u64, of: fn(&TransformerCard) -> u64| less(count, of(&first));
    let [before, behind] = ends;
    let card = ModelCard {
        other_parameters: [beyond(before, embedding_parameters), beyond(behind, head_parameters)],
        groups: grouped(layers),
        ..ModelCard::uniform(first.clone())
    };
    let tokens = Some(first.sequence);
    Some(Model { card, graph: None, hyperparameters: None, tokens, pins: Vec::new(), warnings })
}

/// Layers that are alike side by side, each with the parameters that its figures do not count.
fn grouped(layers: Vec<ServedLayer>) -> Vec<BlockGroup> {
    let mut groups: Vec<BlockGroup> = Vec::new();
    for ServedLayer { card, extra_weights, parameters, .. } in layers {
        let counted = block_parameters(&card).total().saturating_add(extra_weights);
        let other_parameters = less(parameters, counted);
        let group = BlockGroup { extra_weights, other_parameters, ..BlockGroup::of_card(card, 1) };
        match groups.last_mut() {
            Some(last) if BlockGroup { n_blocks: 1, ..last.clone() } == group => last.n_blocks += 1,
            _ => groups.push(group),
        }
    }
    groups
}

fn less(count: u64, counted: u64) -> i64 {
    let difference = i128::from(count) - i128::from(counted);
    difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
