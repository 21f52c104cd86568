//! XLNet: attention whose scores have a part by distance, of projections of their own (Yang et al.
//! 2019, arXiv:1906.08237; Dai et al. 2019, section 3.3).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;

use super::layer::{Biases, Layer, Names, Order, divided};
use super::model::{Model, labels, written};
use super::net::{Core, Flow, Net};
use super::spec::Spec;
use super::vision::VIT;
use crate::config::builder::NewOp;
use crate::config::request::{MAX_EXTENT, Request, Written};

pub(crate) const TYPES: &[&str] = &["xlnet"];

/// Tokens of a sample where nobody states them: what XLNet was trained on.
const DEFAULT_SEQUENCE: u64 = 512;

const NAMES: Names = Names {
    norms: ["rel_attn.layer_norm", "ff.layer_norm"],
    ways: &["ff.layer_1"],
    down: "ff.layer_2",
    ..VIT
};

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let classes = &["LMHeadModel", "ForTokenClassification", "Model"];
    let class = model.class(spec, classes)?;
    let prefix = if class == "Model" { "" } else { "transformer." };
    let width = spec.any(&["d_model", "hidden_size"], 1024)?;
    let heads = spec.any(&["n_head", "num_attention_heads"], 16)?;
    let inner = spec.n("d_inner", 4096)?;
    let dim = spec.n("d_head", divided(width, heads)?)?;
    let layer = Layer::new(&NAMES, (width, heads, inner), Order::Post)?;
    let layer =
        Layer { dim, biases: Biases::ALL, ..layer }.acting(spec.text("ff_activation", "gelu")?);
    spec.text("attn_type", "bi")?;
    let vocabulary = spec.n("vocab_size", 32_000)?;
    let sequence = model.dimension("sequence", (DEFAULT_SEQUENCE, MAX_EXTENT), "tokens")?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let net = &mut model.net;
    // Read where tokens are predicted out of order alone.
    net.parameter(&format!("{prefix}mask_emb"), &[1, 1, width])?;
    let table = format!("{prefix}word_embedding");
    let mut state = net.table(&table, &[ids], (vocabulary, width), (model.batch, sequence))?;
    for i in 0..spec.any(&["n_layer", "num_hidden_layers"], 24)? {
        state = net.relative_layer(&layer, &format!("{prefix}layer.{i}"), state)?;
    }
    match class {
        "Model" => Ok(vec![state.id]),
        "ForTokenClassification" => {
            Ok(vec![net.linear("classifier", state, labels(spec)?, true)?.id])
        }
        _ => {
            let owner =
                if spec.flag("tie_word_embeddings", true)? { table } else { "lm_loss".to_owned() };
            let parameters = [
                net.parameter(&format!("{owner}.weight"), &[vocabulary, width])?,
                net.parameter("lm_loss.bias", &[vocabulary])?,
            ];
            Ok(vec![net.product("lm_loss", state, vocabulary, &parameters)?.id])
        }
    }
}

impl Net {
    fn relative_layer(&mut self, layer: &Layer, at: &str, state: Flow) -> Result<Flow, Diagnostic> {
        let module = format!("{at}.rel_attn");
        let shape = [state.width, layer.heads, layer.dim];
        let width = layer.width();
        let all = |net: &mut Self, name: &str| net.parameter(&format!("{module}.{name}"), &shape);
        let state = self.part(layer, at, (NAMES.norms[0], ""), state, |net, x| {
            let mut made = Vec::new();
            for name in ["q", "k", "v"] {
                let weight = all(net, name)?;
                made.push(net.product(&format!("{module}.{name}"), x, width, &[weight])?);
            }
            // Distances from either side: twice as many as there are tokens, for all samples alike.
            let distances = Flow { rows: x.rows.saturating_mul(2), ..x };
            let weight = all(net, "r")?;
            let turned = net.product(&format!("{module}.r"), distances, width, &[weight])?;
            let bias = net.by_distance(layer, &module, (made[0], turned))?;
            let spans = [x.rows; 2];
            let core = Core { heads: layer.heads, dim: layer.dim, spans, biases: &[bias] };
            let context = net.attend(&module, made[0], (made[1].id, made[2].id), core)?;
            let weight = all(net, "o")?;
            net.product(&format!("{module}.o"), context, x.width, &[weight])
        })?;
        self.part(layer, at, (NAMES.norms[1], ""), state, |net, x| net.feed(layer, at, x))
    }

    /// Scores by distance.
    fn by_distance(
        &mut self,
        layer: &Layer,
        module: &str,
        (queries, distances): (Flow, Flow),
    ) -> Result<TensorId, Diagnostic> {
        let Flow { count, rows, .. } = queries;
        let shape = [layer.heads, layer.dim];
        let mut parameters = Vec::new();
        for name in ["r_r_bias", "r_s_bias", "r_w_bias"] {
            parameters.push(self.parameter(&format!("{module}.{name}"), &shape)?);
        }
        let segments = [2, layer.heads, layer.dim];
        parameters.push(self.parameter(&format!("{module}.seg_embed"), &segments)?);
        let m = rows;
        let products = &[Product {
            count: count.saturating_mul(layer.heads),
            m,
            k: layer.dim,
            n: distances.rows,
        }];
        self.op(&NewOp {
            module,
            part: "distances",
            op_type: "MatMul",
            inputs: &[queries.id, distances.id],
            parameters: &parameters,
            shape: &[count, layer.heads, rows, rows],
            products,
        })
    }
}
