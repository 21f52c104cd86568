//! A config, or a part of one, that remembers which of its fields were read, so that the others can
//! be named. What a field says nothing of is as in the configuration class of transformers 5.23.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::net::Done;
use crate::config::fields::{Fields, invalid, number};
use crate::json::Object;

/// Most elements of a list.
const MAX_LIST: usize = 4_096;

/// Fields without effect on a forward pass without loss: tokens, dropout, initialisation, losses,
/// generation, epsilons, and what the library writes about itself.
const WITHOUT_EFFECT: &str = "\
    _attn_implementation _attn_implementation_autoset _name_or_path activation_dropout \
    apply_layernorm apply_spec_augment architectures attention_dropout \
    attention_probs_dropout_prob attn_implementation auxiliary_loss auxiliary_loss_weight \
    bad_words_ids bbox_cost bbox_loss_coefficient begin_suppress_tokens bi_data boi_token_index \
    bos_token_id chunk_size_feed_forward clamp_len class_cost classifier_activation \
    classifier_bias classifier_dropout classifier_dropout_prob classifier_pooling cls_token_id \
    contrastive_logits_temperature ctc_loss_reduction ctc_zero_infinity decoder_layerdrop \
    decoder_start_token_id dense_act_fn deterministic_flash_attn dice_loss_coefficient \
    disable_ngram_loss diversity_loss_weight do_sample drop_path_rate dropout dropout_rate dtype \
    early_stopping embedding_dropout encoder_layerdrop encoder_stride end_n_top eoi_token_index \
    eos_coefficient eos_token_id eps feat_proj_dropout feat_quantizer_dropout final_dropout \
    finetuning_task force_bos_token_to_be_generated forced_bos_token_id forced_eos_token_id \
    giou_cost giou_loss_coefficient gradient_checkpointing hidden_dropout hidden_dropout_prob \
    id2label image_token_id image_token_index init_std init_xavier_std initializer_bias \
    initializer_cutoff_factor initializer_factor initializer_range is_decoder is_encoder_decoder \
    is_gated_act label2id label_smoothing langs language layer_norm_eps layer_norm_epsilon \
    layer_scale_init_value layerdrop layerscale_value length_penalty logit_scale_init_value \
    mask_feature_length mask_feature_min_masks mask_feature_prob mask_loss_coefficient \
    mask_time_length mask_time_min_masks mask_time_prob max_bucket_distance max_length \
    max_new_tokens median_filter_width mem_len min_length mlp_dropout model_type name_or_path \
    no_repeat_ngram_size norm_eps normalize_before num_beams num_labels num_negatives out_features \
    out_indices output_attentions output_hidden_states output_past pad_token_id pooler_act prefix \
    qa_dropout quantization_config relative_attention_max_distance relative_max_distance \
    repetition_penalty replace_prob return_dict return_dict_in_generate reuse_len rms_norm_eps \
    rope_parameters rope_scaling rope_theta same_length scale_attn_weights scale_decoder_outputs \
    scale_embedding semantic_loss_ignore_index sep_token_id seq_classif_dropout \
    sparse_pred_ignore_index sparse_prediction stage_names start_n_top summary_activation \
    summary_last_dropout summary_type summary_use_proj suppress_tokens task_specific_params \
    temperature tokenizer_class tokens_per_second top_k top_p torch_dtype transformers.js_config \
    transformers_version use_cache use_mems_eval use_mems_train video_token_id vision_end_token_id \
    vision_start_token_id vision_token_id";

/// One object of a config.
pub(super) struct Spec {
    object: Object,
    /// Where it lies, with a point behind it; empty for the whole.
    path: String,
    read: RefCell<BTreeSet<String>>,
}

impl Spec {
    /// A whole config.
    pub(super) fn new(object: &Object) -> Self {
        Self::at(object.clone(), String::new())
    }

    fn at(object: Object, path: String) -> Self {
        Self { object, path, read: RefCell::default() }
    }

    /// The fields, of which `name` counts as read.
    pub(super) fn fields(&self, name: &str) -> Fields<'_> {
        self.read.borrow_mut().insert(name.to_owned());
        Fields(&self.object)
    }

    /// All fields; whoever asks answers for them.
    pub(super) fn object(&self) -> &Object {
        self.read.borrow_mut().extend(self.object.keys().cloned());
        &self.object
    }

    /// A part of its own, empty where there is none.
    pub(super) fn part(&self, name: &'static str) -> Done<Self> {
        let path = format!("{}{name}.", self.path);
        match self.fields(name).get(name) {
            None => Ok(Self::at(Object::default(), path)),
            Some(Value::Object(object)) => Ok(Self::at(object.clone().into_iter().collect(), path)),
            Some(other) => Err(invalid(name, other, "an object is needed")),
        }
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields(name).get(name).is_some()
    }

    /// A number from 1 on.
    pub(super) fn n(&self, name: &'static str, default: u64) -> Done<u64> {
        self.fields(name).count(&[name], Some(default))
    }

    /// A number from 1 on, under the first of some names that is there.
    pub(super) fn any(&self, names: &[&'static str], default: u64) -> Done<u64> {
        self.read.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
        Fields(&self.object).count(names, Some(default))
    }

    /// A number from 0 on.
    pub(super) fn whole(&self, name: &'static str, default: u64) -> Done<u64> {
        let fields = self.fields(name);
        if fields.get(name).is_some() { fields.whole(name) } else { Ok(default) }
    }

    /// A number from 1 on, where there is one.
    pub(super) fn maybe(&self, name: &'static str) -> Done<Option<u64>> {
        self.fields(name).optional(name)
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str, default: bool) -> Done<bool> {
        Ok(self.fields(name).flag(name)?.unwrap_or(default))
    }

    /// A text.
    pub(super) fn text<'a>(&'a self, name: &str, default: &'a str) -> Done<&'a str> {
        Ok(self.fields(name).text(name)?.unwrap_or(default))
    }

    /// A number of the real line from 0 to a million.
    pub(super) fn real(&self, name: &str, default: f64) -> Done<f64> {
        let Some(value) = self.fields(name).get(name) else { return Ok(default) };
        let number = value.as_f64().filter(|number| (0.0..=1e6).contains(number));
        number.ok_or_else(|| invalid(name, value, "a number from 0 to a million is needed"))
    }

    /// Numbers from 0 on.
    pub(super) fn list(&self, name: &'static str, default: &[u64]) -> Done<Vec<u64>> {
        let fields = self.fields(name);
        let Some(value) = fields.get(name) else { return Ok(default.to_vec()) };
        let values = fields.list(name)?;
        if values.len() > MAX_LIST {
            return Err(invalid(name, value, "at most 4,096 elements can be planned"));
        }
        values.iter().map(|value| number(name, value, 0)).collect()
    }

    /// Numbers from 1 on, of which there have to be so many.
    pub(super) fn each(&self, name: &'static str, default: &[u64], n: usize) -> Done<Vec<u64>> {
        let numbers = self.list(name, default)?;
        if numbers.len() == n && !numbers.contains(&0) {
            return Ok(numbers);
        }
        let message =
            format!("`{}{name}` needs {n} numbers from 1 on, and has {}", self.path, numbers.len());
        Err(Diagnostic::input("invalid-field", message))
    }

    /// One number for all layers, or one for each.
    pub(super) fn per_layer(&self, name: &'static str, default: u64, n: usize) -> Done<Vec<u64>> {
        match self.fields(name).get(name) {
            Some(Value::Array(_)) => self.each(name, &[], n),
            _ => Ok(vec![self.n(name, default)?; n]),
        }
    }

    /// Height and width, from one number or two.
    pub(super) fn pair(&self, name: &'static str, default: [u64; 2]) -> Done<[u64; 2]> {
        match self.fields(name).get(name) {
            Some(Value::Array(_)) => {
                let pair = self.each(name, &[], 2)?;
                Ok([pair[0], pair[1]])
            }
            Some(_) => Ok([self.n(name, 1)?; 2]),
            None => Ok(default),
        }
    }

    /// Refuses what differs from the one form that is built.
    ///
    /// # Errors
    /// `unsupported-trait`.
    pub(super) fn only(&self, name: &str, form: &Value) -> Done<()> {
        match self.fields(name).get(name) {
            Some(value) if value != form => {
                let shown: String = value.to_string().chars().take(40).collect();
                let (path, form) = (&self.path, form.to_string());
                Err(refused(&format!("`{path}{name}` of {shown} (built is {form})")))
            }
            _ => Ok(()),
        }
    }

    /// Fields that were neither read nor are without effect.
    pub(super) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let is_known = |name: &str| {
            WITHOUT_EFFECT.split(' ').any(|known| known == name)
                || name.ends_with("_token_id")
                || read.contains(name)
        };
        let names = self.object.iter().filter(|(name, value)| !is_known(name) && !value.is_null());
        let mut names: Vec<String> = names
            .map(|(name, _)| format!("{}{}", self.path, name.chars().take(60).collect::<String>()))
            .collect();
        names.sort_unstable();
        names
    }
}

/// The refusal of a model that is not built, by the trait that is missing.
pub(super) fn refused(what: &str) -> Diagnostic {
    let message = format!("the config asks for what is not built from configs: {what}");
    Diagnostic::input("unsupported-trait", message).hint("export the model to ONNX and import that")
}
