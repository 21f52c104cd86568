//! XLNet: attention whose scores have a part by distance, of projections of their own (Yang et al.
//! 2019, arXiv:1906.08237; Dai et al. 2019, section 3.3).

use ir::id::TensorId;
use ir::op::Product;

use super::layer::{Layer, Order, divided};
use super::model::{Model, Outputs};
use super::names::XLNET;
use super::net::{Done, Flow, Net};
use super::spec::Spec;
use super::t5::DEFAULT_SEQUENCE;
use crate::config::builder::NewOp;
use crate::config::request::MAX_EXTENT;

/// Writes an XLNet and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let classes = &["LMHeadModel", "ForTokenClassification", "Model"];
    let class = model.task(spec, "transformer", classes)?;
    let width = spec.any(&["d_model", "hidden_size"], 1024)?;
    let heads = spec.any(&["n_head", "num_attention_heads"], 16)?;
    let inner = spec.n("d_inner", 4096)?;
    let dim = spec.n("d_head", divided(width, heads)?)?;
    let layer = Layer::of(&XLNET, [heads, dim, inner], Order::Post);
    let layer = layer.acting(spec.text("ff_activation", "gelu")?);
    spec.text("attn_type", "bi")?;
    let vocabulary = spec.n("vocab_size", 32_000)?;
    let sequence = model.dimension("sequence", (DEFAULT_SEQUENCE, MAX_EXTENT), "tokens")?;
    let ids = model.ids("input_ids", sequence)?;
    // Read where tokens are predicted out of order alone.
    model.net.parameter(&model.at("mask_emb"), &[1, 1, width])?;
    let (table, layers) = (model.at("word_embedding"), model.at("layer"));
    let mut state = model.words(&table, ids, (vocabulary, width), sequence)?;
    let net = &mut model.net;
    for i in 0..spec.any(&["n_layer", "num_hidden_layers"], 24)? {
        state = net.relative_layer(&layer, &format!("{layers}.{i}"), state)?;
    }
    match class {
        "Model" => Ok(vec![state.id]),
        "ForTokenClassification" => model.labelled(spec, "classifier", state),
        _ => {
            let is_tied = spec.flag("tie_word_embeddings", true)?;
            let owner = if is_tied { table.as_str() } else { "lm_loss" };
            let parameters = [
                net.parameter(&format!("{owner}.weight"), &[vocabulary, width])?,
                net.parameter("lm_loss.bias", &[vocabulary])?,
            ];
            Ok(vec![net.product("lm_loss", state, vocabulary, &parameters)?.id])
        }
    }
}

impl Net {
    fn relative_layer(&mut self, layer: &Layer, at: &str, state: Flow) -> Done {
        let module = format!("{at}.rel_attn");
        let shape = [state.width, layer.heads, layer.dim];
        let made = |net: &mut Self, name: &str, x: Flow, n: u64| {
            let module = format!("{module}.{name}");
            let weight = net.parameter(&module, &shape)?;
            net.product(&module, x, n, &[weight])
        };
        let width = layer.width();
        let state = self.part(layer, at, (XLNET.own.norm, ""), state, |net, x| {
            let q = made(net, "q", x, width)?;
            let k = made(net, "k", x, width)?;
            let v = made(net, "v", x, width)?;
            // Distances from either side: twice as many as there are tokens, for all samples alike.
            let distances = Flow { rows: x.rows.saturating_mul(2), ..x };
            let turned = made(net, "r", distances, width)?;
            let biases = [net.by_distance(layer, &module, (q, turned))?];
            let context = net.attend(&module, q, (k.id, v.id), layer.core(x.rows, &biases))?;
            made(net, "o", context, x.width)
        })?;
        self.part(layer, at, (XLNET.feed.norm, ""), state, |net, x| net.feed(layer, at, x))
    }

    /// Scores by distance.
    fn by_distance(
        &mut self,
        layer: &Layer,
        module: &str,
        (queries, distances): (Flow, Flow),
    ) -> Done<TensorId> {
        let Flow { count, rows, .. } = queries;
        let Layer { heads, dim, .. } = *layer;
        let mut parameters = Vec::new();
        for name in ["r_r_bias", "r_s_bias", "r_w_bias"] {
            parameters.push(self.parameter(&format!("{module}.{name}"), &[heads, dim])?);
        }
        parameters.push(self.parameter(&format!("{module}.seg_embed"), &[2, heads, dim])?);
        let all = count.saturating_mul(heads);
        let products = &[Product { count: all, m: rows, k: dim, n: distances.rows }];
        let (part, op_type, inputs) = ("distances", "MatMul", &[queries.id, distances.id]);
        let (parameters, shape) = (&parameters, &[count, heads, rows, rows]);
        self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }
}
