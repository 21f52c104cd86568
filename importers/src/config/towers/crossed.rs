//! Pictures that decoders read otherwise than in place of tokens: through questions that attend to
//! the tower (BLIP-2, Li et al. 2023), or through layers that attend to it (Llama 3.2).

use serde_json::Value;

use super::layer::{Biases, Layer, Order, Sight};
use super::model::{Model, Outputs};
use super::multimodal::{given, spoken};
use super::names::{QUESTIONS, TILES};
use super::net::{Conv, Done, Flow, Net, Norm};
use super::spec::{Spec, refused};
use super::vision::BLIP_TOWER;
use crate::config::decoder::Place;

/// Writes a BLIP-2.
pub(super) fn blip2(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    model.class(spec, &["ForConditionalGeneration"])?;
    let (vision, qformer) = (given(spec, "vision_config")?, given(spec, "qformer_config")?);
    let text = given(spec, "text_config")?;
    if text.text("model_type", "opt")? != "opt" {
        return Err(refused("a decoder of BLIP-2 other than OPT"));
    }
    spec.flag("use_decoder_only_language_model", true)?;
    spec.maybe("image_text_hidden_size")?;
    let state = model.tower("vision_model", &BLIP_TOWER.read(&vision)?)?;
    let net = &mut model.net;
    let seen = net.norm("vision_model.post_layernorm", Norm::Layer, state)?;
    let state = questions(net, (spec, &qformer), model.batch, seen)?;
    model.done(&vision);
    model.done(&qformer);
    let width = text.n("hidden_size", 768)?;
    let features = model.net.linear("language_projection", state, width, true)?;
    let is_tied = Some(text.flag("tie_word_embeddings", true)?);
    let root = Some("language_model.model.decoder");
    spoken(model, spec, "opt", Place { root, is_tied, ..Place::default() }, Some(features))
}

/// Learnt questions that attend to what a tower saw in some of their blocks.
fn questions(net: &mut Net, (spec, qformer): (&Spec, &Spec), batch: u64, seen: Flow) -> Done {
    let width = qformer.n("hidden_size", 768)?;
    let n = spec.n("num_query_tokens", 32)?;
    let table = net.parameter("query_tokens", &[1, n, width])?;
    let questions = net.rows_of("query_tokens", &[], table, (batch, n, width))?;
    let mut state = net.norm("qformer.layernorm", Norm::Layer, questions)?;
    let sizes =
        (width, qformer.n("num_attention_heads", 12)?, qformer.n("intermediate_size", 3072)?);
    let layer = Layer::new(&QUESTIONS, sizes, Order::Post)?;
    let layer = layer.acting(qformer.text("hidden_act", "gelu")?);
    qformer.only("use_qformer_text_input", &Value::Bool(false))?;
    if qformer.n("encoder_hidden_size", 1408)? != seen.width {
        return Err(refused("questions that attend to other columns than the tower has"));
    }
    qformer.maybe("vocab_size")?;
    qformer.maybe("max_position_embeddings")?;
    let every = qformer.n("cross_attention_frequency", 2)?;
    for i in 0..qformer.n("num_hidden_layers", 12)? {
        let encoded = i.is_multiple_of(every).then_some(seen);
        let sight = Sight { encoded, ..Sight::default() };
        state = net.layer(&layer, &format!("qformer.encoder.layer.{i}"), state, &sight)?;
    }
    Ok(state)
}

/// Writes a Llama 3.2 that sees, or its decoder.
pub(super) fn mllama(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let class = model.class(spec, &["ForConditionalGeneration", "ForCausalLM"])?;
    let (vision, text) = (given(spec, "vision_config")?, given(spec, "text_config")?);
    let width = text.n("hidden_size", 4096)?;
    let is_tied = Some(spec.flag("tie_word_embeddings", text.flag("tie_word_embeddings", false)?)?);
    let tiles = vision.n("max_num_tiles", 4)?;
    let [image, patch] =
        [vision.pair("image_size", [448; 2])?, vision.pair("patch_size", [14; 2])?];
    let patches = (image[0] / patch[0]).saturating_mul(image[1] / patch[1]).saturating_add(1);
    let rows = tiles.saturating_mul(patches);
    let (root, encoded) = match class {
        "ForCausalLM" => {
            let shape = [model.batch, rows, width];
            vision.object();
            ("model", model.net.fed("cross_attention_states", &shape)?)
        }
        _ => {
            let seen = tiled(model, &vision, (image, patch), (tiles, patches))?;
            let at = "model.multi_modal_projector";
            ("model.language_model", model.net.linear(at, seen, width, true)?.id)
        }
    };
    model.done(&vision);
    let (root, encoded) = (Some(root), Some((encoded, rows)));
    let place = Place { root, is_tied, encoded, ..Place::default() };
    spoken(model, spec, "mllama_text_model", place, None)
}

/// Tiles of a picture, which attend to each other: what comes out of the last block beside what came
/// out of some before it.
fn tiled(
    model: &mut Model<'_>,
    vision: &Spec,
    (image, patch): ([u64; 2], [u64; 2]),
    (tiles, patches): (u64, u64),
) -> Done {
    let (at, width) = ("model.vision_model", vision.n("hidden_size", 1280)?);
    let sizes = (width, vision.n("attention_heads", 16)?, vision.n("intermediate_size", 5120)?);
    let layer = Layer::new(&TILES, sizes, Order::Pre)?;
    let biases = Biases { qkv: [false; 3], out: false, feed: true };
    let layer = Layer { biases, ..layer }.acting(vision.text("hidden_act", "gelu")?);
    let channels = vision.n("num_channels", 3)?;
    let forms = forms(vision, tiles)?;
    let pixels = model.pixels((tiles, channels), image)?;
    let net = &mut model.net;
    let conv = Conv { has_bias: false, ..Conv::patches(width, &patch) };
    let mut state = net.conv(&format!("{at}.patch_embedding"), &pixels, conv)?.flow();
    let each = tiles.saturating_mul(width);
    let table = |net: &mut Net, name: &str, state: Flow| {
        let module = format!("{at}.{name}");
        net.parameter(&format!("{module}.gate"), &[1])?;
        let owner = format!("{module}.embedding.weight");
        net.with((&module, "", "Add"), state, (&owner, &[forms, each]))
    };
    state = table(net, "pre_tile_positional_embedding", state)?;
    state = net.prepended(&[(format!("{at}.class_embedding"), 1)], state)?;
    let module = format!("{at}.gated_positional_embedding");
    net.parameter(&format!("{module}.gate"), &[1])?;
    for (part, name, shape) in [
        ("", "embedding", [patches, width]),
        ("tiles", "tile_embedding.weight", [forms, each.saturating_mul(patches)]),
    ] {
        let name = format!("{module}.{name}");
        state = net.with((&module, part, "Add"), state, (&name, &shape))?;
    }
    state = net.norm(&format!("{at}.layernorm_pre"), Norm::Layer, state)?;
    // Padded to whole eights, all tiles of a picture become one sequence.
    let padded = patches.next_multiple_of(8);
    let (count, rows) = (model.batch, tiles.saturating_mul(padded));
    state = net.moved((at, "pad", "Pad"), &[state], (count, rows, width))?;
    let mut all = vec![state];
    for i in 0..vision.n("num_hidden_layers", 32)? {
        let at = format!("{at}.transformer.layers.{i}");
        state = net.layer(&layer, &at, state, &Sight::default())?;
        all.push(state);
    }
    state = net.norm(&format!("{at}.layernorm_post"), Norm::Layer, state)?;
    state = table(net, "post_tile_positional_embedding", state)?;
    for i in 0..vision.n("num_global_layers", 8)? {
        let at = format!("{at}.global_transformer.layers.{i}");
        for gate in ["gate_attn", "gate_ffn"] {
            net.parameter(&format!("{at}.{gate}"), &[1])?;
        }
        state = net.layer(&layer, &at, state, &Sight::default())?;
    }
    let read = intermediate(vision, state, &all)?;
    let wide = width.saturating_mul(read.len() as u64);
    net.moved((at, "concat", "Concat"), &read, (count, tiles.saturating_mul(patches), wide))
}

/// Forms of a picture, and one more for none: as many as are stated, else all that fit into so many
/// tiles.
fn forms(vision: &Spec, tiles: u64) -> Done<u64> {
    let fitting = (1..=tiles).fold(0u64, |n, wide| n.saturating_add(tiles / wide));
    let stated = vision.fields("supported_aspect_ratios").list("supported_aspect_ratios")?.len();
    Ok(if stated > 0 { stated as u64 } else { fitting }.saturating_add(1))
}

/// The last state and those of some layers, which the decoder reads side by side.
fn intermediate(vision: &Spec, last: Flow, all: &[Flow]) -> Done<Vec<Flow>> {
    let mut read = vec![last];
    for i in vision.list("intermediate_layers_indices", &[3, 7, 15, 23, 30])? {
        let state = usize::try_from(i).ok().and_then(|i| all.get(i));
        read.push(*state.ok_or_else(|| refused("states of a layer that the tower has not"))?);
    }
    let wide = last.width.saturating_mul(read.len() as u64);
    if vision.n("vision_output_dim", 7680)? != wide {
        return Err(refused("`vision_output_dim` other than all states side by side"));
    }
    Ok(read)
}
