//! How a config's model is built beyond its card. What a config leaves out is as in the model's
//! configuration class of transformers 5.23.

use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::hyperparameters::{Hyperparameters, Rotary, RotaryScaling, Router, RouterScores};
use serde_json::Value;

use super::architecture::{Architecture, Bias, Family, GPT_OSS, HeadNorm};
use super::fields::{Fields, invalid};
use super::gpt_oss;
use super::request::text;
use crate::json::Object;

/// Numbers and switches of configs that no other field holds.
const OTHERS: [&str; 6] = [
    "embd_pdrop",
    "partial_rotary_factor",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "scale_attn_by_inverse_layer_idx",
    "swiglu_limit",
];

/// Reads what launchers need beside the card that [`super::card::card`] reads.
///
/// # Errors
/// `missing-field`, `invalid-field`, and those of the JSON reader.
pub fn read(path: &Path) -> Result<Hyperparameters, Diagnostic> {
    let read = |bytes: Vec<u8>| of_object(&super::model_type::fields(bytes)?.0);
    text(path)
        .and_then(|(bytes, _)| read(bytes))
        .map_err(|error| error.fact("file", path.display().to_string()))
}

fn of_object(object: &Object) -> Result<Hyperparameters, Diagnostic> {
    let fields = Fields(object);
    let model_type = fields.text("model_type")?.unwrap_or_default();
    let with_router = |rest: Hyperparameters, router| Hyperparameters { router, ..rest };
    match model_type {
        "deepseek_v2" | "deepseek_v3" => {
            let gated =
                fields.gated(model_type, [fields.flag("attention_bias")? == Some(true); 2])?;
            Ok(with_router(gated, Some(fields.grouped(model_type == "deepseek_v3")?)))
        }
        GPT_OSS => {
            let n_layers = fields.count(&["num_hidden_layers"], None)?;
            let slides = gpt_oss::slides(fields)?;
            let window = (fields.count(&["sliding_window"], None)?, (0..n_layers).map(slides));
            let router =
                Router { scores: RouterScores::SoftmaxOfChosen, scaling: 1.0, groups: None };
            Ok(Hyperparameters {
                biases: [true; 3],
                window: Some((window.0, window.1.collect())),
                router: Some(router),
                ..fields.gated(model_type, [true; 2])?
            })
        }
        _ => fields.uniform(&Architecture::read(object)?, model_type),
    }
}

/// Fields that state a context length.
const POSITIONS: [&str; 2] = ["max_position_embeddings", "n_positions"];

impl Fields<'_> {
    /// A number that is no count, from 0 on.
    fn real(self, names: &[&str], default: f64) -> Result<f64, Diagnostic> {
        let found = names.iter().find_map(|name| Some((*name, self.get(name)?)));
        let Some((name, value)) = found else { return Ok(default) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| invalid(name, value, "a number from 0 on is needed"))
    }

    /// A model with rotary positions, RMS norms and gated feed-forward parts; biases of queries, keys
    /// and values, and of the attention's output.
    fn gated(self, model_type: &str, biases: [bool; 2]) -> Result<Hyperparameters, Diagnostic> {
        let base = match model_type {
            "mixtral" => 1e6,
            GPT_OSS => 1.5e5,
            _ => 1e4,
        };
        let epsilon = if model_type == "mixtral" { 1e-5 } else { 1e-6 };
        let positions = self.count(&["max_position_embeddings"], Some(4_096))?;
        Ok(Hyperparameters {
            model_type: model_type.to_owned(),
            positions,
            states_positions: POSITIONS.iter().any(|name| self.get(name).is_some()),
            rotary: Some(self.rotary(base)?),
            has_rms_norms: true,
            norm_epsilon: self.real(&["rms_norm_eps"], epsilon)?,
            activation: self.text("hidden_act")?.unwrap_or("silu").to_owned(),
            biases: [biases[0], biases[1], false],
            normalises_heads: false,
            window: None,
            dropout: [self.real(&["attention_dropout"], 0.0)?, 0.0],
            router: None,
            others: self.others(),
        })
    }

    /// Numbers that a launcher may have words for. Rotation lies apart since transformers 5.
    fn others(self) -> Vec<(String, f64)> {
        let part = |name: &str| {
            let rotary = self.get("rope_parameters").or(self.get("rope_scaling"));
            rotary.and_then(|rotary| rotary.get(name)).cloned()
        };
        let of = |name: &&str| {
            let value = self.get(name).cloned().or_else(|| part(name));
            Some(((*name).to_owned(), value.as_ref().and_then(number)?))
        };
        OTHERS.iter().filter_map(of).collect()
    }

    /// Blocks that are all alike.
    fn uniform(
        self,
        architecture: &Architecture,
        model_type: &str,
    ) -> Result<Hyperparameters, Diagnostic> {
        let added = |bias: Bias| bias == Bias::Added;
        let gated = self
            .gated(model_type, [added(architecture.qkv_bias), added(architecture.output_bias)])?;
        let window =
            architecture.window.as_ref().map(|window| (window.tokens, window.layers.clone()));
        let common = Hyperparameters {
            positions: architecture.positions,
            states_positions: POSITIONS.iter().any(|name| self.get(name).is_some()),
            biases: [architecture.qkv_bias, architecture.output_bias, architecture.mlp_bias]
                .map(added),
            normalises_heads: architecture.head_norm == HeadNorm::Rms,
            window,
            ..gated
        };
        if architecture.family == Family::Llama {
            // Of qwen3_moe, shares are those of all experts unless the config says otherwise.
            let is_normalised =
                model_type == "mixtral" || self.flag("norm_topk_prob")? == Some(true);
            let scores = match is_normalised {
                true => RouterScores::SoftmaxOfChosen,
                false => RouterScores::Softmax,
            };
            let router =
                architecture.experts.map(|_| Router { scores, scaling: 1.0, groups: None });
            return Ok(Hyperparameters { router, ..common });
        }
        let [activation, epsilon] = match architecture.family {
            Family::Gpt2 => ["gelu_new", "layer_norm_epsilon"],
            _ => ["gelu", "layer_norm_eps"],
        };
        let stated = ["activation_function", "hidden_act"]
            .into_iter()
            .find_map(|name| self.text(name).transpose());
        Ok(Hyperparameters {
            rotary: None,
            has_rms_norms: false,
            norm_epsilon: self
                .real(&[epsilon], if architecture.family == Family::Gpt2 { 1e-5 } else { 1e-12 })?,
            activation: stated.transpose()?.unwrap_or(activation).to_owned(),
            dropout: [
                self.real(&["attn_pdrop", "attention_probs_dropout_prob"], 0.1)?,
                self.real(&["resid_pdrop", "hidden_dropout_prob"], 0.1)?,
            ],
            ..common
        })
    }

    /// Where transformers 5 writes them, else where older versions did.
    fn rotary(self, base: f64) -> Result<Rotary, Diagnostic> {
        let of = |name: &str| match self.get(name) {
            Some(Value::Object(object)) => Ok(Some(object.clone().into_iter().collect::<Object>())),
            Some(other) => Err(invalid(name, other, "an object is needed")),
            None => Ok(None),
        };
        let base = self.real(&["rope_theta"], base)?;
        let Some(object) = of("rope_parameters")?.or(of("rope_scaling")?) else {
            return Ok(Rotary { base, scaling: None });
        };
        let fields = Fields(&object);
        let base = fields.real(&["rope_theta"], base)?;
        let kind = fields.text("rope_type")?.or(fields.text("type")?).unwrap_or("default");
        if kind == "default" {
            return Ok(Rotary { base, scaling: None });
        }
        let numbers =
            fields.0.iter().filter(|(name, _)| !["rope_theta", "factor"].contains(&&***name));
        let mut others: Vec<(String, f64)> =
            numbers.filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        let factor = fields.real(&["factor"], 1.0)?;
        let scaling = RotaryScaling { kind: kind.to_owned(), factor, others };
        Ok(Rotary { base, scaling: Some(scaling) })
    }

    /// Experts in groups.
    fn grouped(self, is_biased: bool) -> Result<Router, Diagnostic> {
        let groups = self.optional("n_group")?.zip(self.optional("topk_group")?);
        let is_normalised = self.flag("norm_topk_prob")?.unwrap_or(is_biased);
        let scores = match (is_biased, is_normalised) {
            (true, _) => RouterScores::BiasedSigmoid,
            (false, true) => RouterScores::SoftmaxOfChosen,
            (false, false) => RouterScores::Softmax,
        };
        let usual = if is_biased { 2.5 } else { 1.0 };
        Ok(Router {
            scores,
            scaling: self.real(&["routed_scaling_factor"], usual)?,
            groups: groups.filter(|(n, _)| *n > 1),
        })
    }
}

/// A number, or a switch as 0 or 1.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(f64::from))
}
