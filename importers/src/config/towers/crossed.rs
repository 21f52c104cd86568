//! Pictures that decoders read otherwise than in place of tokens: through questions that attend to
//! the tower (BLIP-2, Li et al. 2023), or through layers that attend to it (Llama 3.2).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Biases, Layer, Names, Order, Sight};
use super::model::{Model, written};
use super::multimodal::{given, spoken};
use super::net::{Conv, Flow, Norm};
use super::spec::{Spec, refused};
use super::text_kinds::BERT;
use super::vision::{CLIP, Tower};
use crate::config::decoder::Place;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["blip-2", "mllama"];

const FUSED: Names = Names { qkv: &["self_attn.qkv"], out: "self_attn.projection", ..CLIP };

const QUESTIONS: Names = Names {
    qkv: &["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    norms: ["attention.output.LayerNorm", "output_query.LayerNorm"],
    ways: &["intermediate_query.dense"],
    down: "output_query.dense",
    cross: [
        "crossattention.attention.query",
        "crossattention.attention.key",
        "crossattention.attention.value",
        "crossattention.output.dense",
        "crossattention.output.LayerNorm",
    ],
    ..BERT
};

const TILES: Names = Names {
    out: "self_attn.o_proj",
    norms: ["input_layernorm", "post_attention_layernorm"],
    ..CLIP
};

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    match spec.text("model_type", "")? {
        "mllama" => mllama(model, spec),
        _ => blip2(model, spec),
    }
}

fn blip2(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    model.class(spec, &["ForConditionalGeneration"])?;
    let (vision, asked) = (given(spec, "vision_config")?, given(spec, "qformer_config")?);
    let text = given(spec, "text_config")?;
    if text.text("model_type", "opt")? != "opt" {
        return Err(refused("a decoder of BLIP-2 other than OPT"));
    }
    spec.flag("use_decoder_only_language_model", true)?;
    spec.maybe("image_text_hidden_size")?;
    let seen = blip_tower(model, &vision)?;
    let width = asked.n("hidden_size", 768)?;
    let n = spec.n("num_query_tokens", 32)?;
    let table = model.net.parameter("query_tokens", &[1, n, width])?;
    let questions = model.net.rows_of("query_tokens", &[], table, (model.batch, n, width))?;
    let mut state = model.net.norm("qformer.layernorm", Norm::Layer, questions)?;
    let sizes = (width, asked.n("num_attention_heads", 12)?, asked.n("intermediate_size", 3072)?);
    let layer = Layer::new(&QUESTIONS, sizes, Order::Post)?;
    let layer = layer.acting(asked.text("hidden_act", "gelu")?);
    asked.only("use_qformer_text_input", &serde_json::Value::Bool(false))?;
    if asked.n("encoder_hidden_size", 1408)? != seen.width {
        return Err(refused("questions that attend to other columns than the tower has"));
    }
    asked.maybe("vocab_size")?;
    asked.maybe("max_position_embeddings")?;
    let every = asked.n("cross_attention_frequency", 2)?;
    for i in 0..asked.n("num_hidden_layers", 12)? {
        let encoded = i.is_multiple_of(every).then_some(seen);
        let sight = Sight { encoded, ..Sight::default() };
        state = model.net.layer(&layer, &format!("qformer.encoder.layer.{i}"), state, &sight)?;
    }
    model.done(&vision);
    model.done(&asked);
    let width = text.n("hidden_size", 768)?;
    let features = model.net.linear("language_projection", state, width, true)?;
    let is_tied = text.flag("tie_word_embeddings", true)?;
    let root = Some("language_model.model.decoder");
    let place = Place { root, is_tied: Some(is_tied), ..Place::default() };
    spoken(model, spec, "opt", place, Some(features))
}

fn blip_tower(model: &mut Model<'_>, vision: &Spec) -> Result<Flow, Diagnostic> {
    let own = Tower::read(vision, &FUSED, [1408, 39, 16, 6144, 224, 14])?;
    let qkv = [vision.flag("qkv_bias", true)?; 3];
    let layer = Layer { biases: Biases { qkv, ..Biases::ALL }, ..own.layer };
    let tower = Tower {
        conv: ("embeddings.patch_embedding", true),
        tokens: vec![("embeddings.class_embedding", 1)],
        places: super::vision::Places::Parameter("embeddings.position_embedding"),
        layers: "encoder.layers",
        layer,
        ..own
    };
    let image = model.image(tower.image)?;
    let pixels = model.pixels((1, tower.channels), image)?;
    let state = model.net.tower("vision_model", &tower, &pixels)?;
    model.net.norm("vision_model.post_layernorm", Norm::Layer, state)
}

fn mllama(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let class = model.class(spec, &["ForConditionalGeneration", "ForCausalLM"])?;
    let vision = given(spec, "vision_config")?;
    let text = given(spec, "text_config")?;
    let width = text.n("hidden_size", 4096)?;
    let is_tied = spec.flag("tie_word_embeddings", text.flag("tie_word_embeddings", false)?)?;
    let tiles = vision.n("max_num_tiles", 4)?;
    let [image, patch] = [vision.pair("image_size", 448)?, vision.pair("patch_size", 14)?];
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
    let place = Place {
        root: Some(root),
        is_tied: Some(is_tied),
        encoded: Some((encoded, rows)),
        ..Place::default()
    };
    spoken(model, spec, "mllama_text_model", place, None)
}

/// Tiles of a picture, which attend to each other: what comes out of the last block beside what came
/// out of some before it.
fn tiled(
    model: &mut Model<'_>,
    vision: &Spec,
    (image, patch): ([u64; 2], [u64; 2]),
    (tiles, patches): (u64, u64),
) -> Result<Flow, Diagnostic> {
    let (at, width) = ("model.vision_model", vision.n("hidden_size", 1280)?);
    let sizes = (width, vision.n("attention_heads", 16)?, vision.n("intermediate_size", 5120)?);
    let layer = Layer::new(&TILES, sizes, Order::Pre)?;
    let biases = Biases { qkv: [false; 3], out: false, feed: true };
    let layer = Layer { biases, ..layer }.acting(vision.text("hidden_act", "gelu")?);
    let channels = vision.n("num_channels", 3)?;
    // Forms that fit into so many tiles.
    let forms = (1..=tiles).fold(0u64, |n, wide| n.saturating_add(tiles / wide));
    let stated = vision.fields("supported_aspect_ratios").list("supported_aspect_ratios")?.len();
    let forms = if stated > 0 { stated as u64 } else { forms }.saturating_add(1);
    let pixels = model.pixels((tiles, channels), image)?;
    let net = &mut model.net;
    let conv = Conv { has_bias: false, ..Conv::patches(width, &patch) };
    let mut state = net.conv(&format!("{at}.patch_embedding"), &pixels, conv)?.flow();
    let each = tiles.saturating_mul(width);
    let table = |net: &mut super::net::Net, name: &str, n: u64, state: Flow| {
        let module = format!("{at}.{name}");
        net.parameter(&format!("{module}.gate"), &[1])?;
        let (part, owner) = ("Add", format!("{module}.embedding.weight"));
        net.with((&module, "", part), state, (&owner, &[forms, n]))
    };
    state = table(net, "pre_tile_positional_embedding", each, state)?;
    state = net.prepended(&[(format!("{at}.class_embedding"), 1)], state)?;
    let module = format!("{at}.gated_positional_embedding");
    net.parameter(&format!("{module}.gate"), &[1])?;
    let name = format!("{module}.embedding");
    state = net.with((&module, "", "Add"), state, (&name, &[patches, width]))?;
    let name = format!("{module}.tile_embedding.weight");
    let shape = [forms, each.saturating_mul(patches)];
    state = net.with((&module, "tiles", "Add"), state, (&name, &shape))?;
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
    state = table(net, "post_tile_positional_embedding", each, state)?;
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

/// The last state and those of some layers, which the decoder reads side by side.
fn intermediate(vision: &Spec, last: Flow, all: &[Flow]) -> Result<Vec<Flow>, Diagnostic> {
    let mut read = vec![last];
    for i in vision.list("intermediate_layers_indices", &[3, 7, 15, 23, 30])? {
        let own = usize::try_from(i).ok().and_then(|i| all.get(i));
        read.push(*own.ok_or_else(|| refused("states of a layer that the tower has not"))?);
    }
    let wide = last.width.saturating_mul(read.len() as u64);
    if vision.n("vision_output_dim", 7680)? != wide {
        return Err(refused("`vision_output_dim` other than all states side by side"));
    }
    Ok(read)
}
