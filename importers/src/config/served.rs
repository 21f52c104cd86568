//! Layer cards of text decoders without a model card.

use std::path::Path;

use ir::card::TransformerCard;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::tensor::{DType, Role};

use super::architecture::MAX_DEFAULT_SEQUENCE;
use super::decoder::Decoder;
use super::fields::Fields;
use super::{card, model_type, request, stored};
use crate::import::ImportOptions;
use crate::json::Object;

/// The code of the warning that parts of a model are left out that ops describe.
pub const TEXT_ALONE: &str = "text-decoder-alone";

/// A decoder as layers.
pub struct Served {
    /// Its layers in order.
    pub layers: Vec<ServedLayer>,
    /// Parameters before the first layer and behind the last one.
    pub ends: [u64; 2],
    /// What is priced as something else, and what is left out.
    pub warnings: Vec<Diagnostic>,
    /// Type of the weights that the config states.
    pub dtype: Option<DType>,
    /// What a run that trains does not take of the config: types that are not understood, quantised weights.
    pub not_trained: Vec<Diagnostic>,
}

/// A layer.
pub struct ServedLayer {
    /// Its figures.
    pub card: TransformerCard,
    /// Weights of products beyond those of the card.
    pub extra_weights: u64,
    /// All of its parameters.
    pub parameters: u64,
    /// Whether its figures are those of something else that is priced in its place.
    pub is_other: bool,
}

/// Reads a config, for samples of so many tokens; `None` where it has a card, or is no decoder of text.
///
/// # Errors
/// Those of the readers of configs.
pub fn read(path: &Path, sequence: Option<u64>) -> Result<Option<Served>, Diagnostic> {
    let (bytes, name) = request::text(path)?;
    let (object, other_type) = model_type::fields(bytes)?;
    let (object, left) = text_alone(object);
    let found = Fields(&object).text("model_type")?.unwrap_or_default().to_owned();
    if card::has(&found) || !super::decoder::types().any(|known| known == found) {
        return Ok(None);
    }
    let decoder = Decoder::read(Fields(&object), &found, true)?;
    let usual = decoder.positions().unwrap_or(MAX_DEFAULT_SEQUENCE).min(MAX_DEFAULT_SEQUENCE);
    let sequence = card::length(sequence, usual)?;
    let graph = written(&object, &name)?;
    let counted = Counted::of(&graph);
    let name = crate::stem(&name);
    let layers = decoder.layers(&name, (sequence, &counted.products))?;
    let mut warnings: Vec<Diagnostic> = other_type.into_iter().chain(left).collect();
    let n_layers = layers.len();
    let mut ways: Vec<&str> = layers.iter().filter_map(|layer| layer.as_other).collect();
    ways.sort_unstable();
    let n_others = ways.len();
    ways.dedup();
    if n_others > 0 {
        let message =
            format!("{n_others} of {n_layers} layers are priced as {}", ways.join(" or "));
        warnings.push(Diagnostic::warning("layers-as-attention", message));
    }
    let layers = layers.into_iter().zip(counted.parameters);
    let layers = layers.map(|(layer, parameters)| ServedLayer {
        card: layer.card,
        extra_weights: layer.extra_weights,
        parameters,
        is_other: layer.as_other.is_some(),
    });
    let (layers, ends) = (layers.collect(), counted.ends);
    let (dtype, untyped) = request::stated_dtype(Fields(&object))?;
    let quantized = request::quantized(Fields(&object), "the type of the run", None)?;
    let not_trained = untyped.into_iter().chain(quantized).collect();
    Ok(Some(Served { layers, ends, warnings, dtype, not_trained }))
}

/// The text decoder of a config of several parts, and what is left out with it; other configs as they are.
pub(super) fn text_alone(object: Object) -> (Object, Option<Diagnostic>) {
    let whole = object.get("model_type").and_then(|value| value.as_str()).unwrap_or_default();
    if super::decoder::types().any(|known| known == whole) || card::has(whole) {
        return (object, None);
    }
    match model_type::text_part(&object) {
        Some((part, found)) => {
            let message = format!("only the text decoder, of type `{found}`, is in this plan");
            let left: Vec<String> = model_type::other_parts(&object);
            let warning = Diagnostic::warning(TEXT_ALONE, message).fact("left_out", left);
            (part, Some(warning))
        }
        None => (object, None),
    }
}

/// The graph of a pass of one token.
fn written(object: &Object, name: &str) -> Result<Graph, Diagnostic> {
    let mut object = object.clone();
    // Weights are counted, whatever they are held in.
    object
        .retain(|name, _| !["quantization_config", "compression_config"].contains(&name.as_str()));
    let bytes = serde_json::to_vec(&object).unwrap_or_default();
    let options = ImportOptions {
        dtype: Some(DType::Bf16),
        batch: Some(1),
        dims: [("sequence".to_owned(), 1)].into(),
        ..ImportOptions::default()
    };
    Ok(crate::read_bytes(name, &bytes, &options)?.graph)
}

/// Parameters by layer.
#[derive(Default)]
struct Counted {
    parameters: Vec<u64>,
    /// Weights of products besides those of experts.
    products: Vec<u64>,
    ends: [u64; 2],
}

impl Counted {
    fn of(graph: &Graph) -> Self {
        let mut counted = Self::default();
        let (mut names, mut seen) = (Vec::<String>::new(), std::collections::BTreeSet::new());
        for op in &graph.ops {
            for (at, id) in op.parameters.iter().enumerate().filter(|(_, id)| seen.insert(**id)) {
                let tensor = graph.tensor(*id);
                debug_assert_eq!(tensor.role, Role::Parameter);
                let elements =
                    tensor.shape.iter().fold(1_u64, |n, extent| n.saturating_mul(*extent));
                let Some(name) = stored::block(&tensor.name) else {
                    let end = &mut counted.ends[usize::from(!names.is_empty())];
                    *end = end.saturating_add(elements);
                    continue;
                };
                if names.last() != Some(&name) {
                    names.push(name);
                    counted.parameters.push(0);
                    counted.products.push(0);
                }
                let [of_all, of_products] = [&mut counted.parameters, &mut counted.products];
                let is_product = at == 0 && op.op_type == "Linear";
                for (all, is_one) in [(of_all, true), (of_products, is_product)] {
                    if let Some(last) = all.last_mut().filter(|_| is_one) {
                        *last = last.saturating_add(elements);
                    }
                }
            }
        }
        counted
    }
}
