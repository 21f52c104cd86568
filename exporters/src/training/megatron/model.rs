//! The model's shape in Megatron-Core's flags, from its card and its config.

use ir::card::{Attention, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::hyperparameters::{Hyperparameters, Rotary, RotaryScaling, Router, RouterScores};

use crate::training::target::TrainingSource;

/// What the flags say, and what they leave out of the model.
#[derive(Default)]
pub(super) struct Shape {
    /// Flags with their values, in the order of the lines.
    pub flags: Vec<(&'static str, String)>,
    /// What no flag says, in words.
    pub left_out: Vec<String>,
}

impl Shape {
    fn say(&mut self, flag: &'static str, value: impl ToString) {
        self.flags.push((flag, value.to_string()));
    }

    fn switch(&mut self, flag: &'static str, is_on: bool) {
        if is_on {
            self.say(flag, "");
        }
    }

    fn lacks(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }

    /// Flags as a warning about what is left out, where anything is.
    pub(super) fn warning(&self) -> Option<Diagnostic> {
        if self.left_out.is_empty() {
            return None;
        }
        let message = format!("the file says nothing of {}", self.left_out.join(", "));
        let hint = "give them beside it: with another model the run is not the plan's";
        Some(Diagnostic::warning("not-in-file", message).hint(hint))
    }
}

/// Flags of a model. A card that was read off a graph has no hyperparameters: what it lacks is
/// listed. Layers of a decoder without a card of its own are known by their figures alone.
pub(super) fn shape(source: &TrainingSource<'_>) -> Shape {
    let (model, hyperparameters) = (source.model, source.hyperparameters);
    let sequence = source.sequence_length;
    let mut shape = Shape::default();
    if hyperparameters.is_none() && source.starts.is_empty() {
        shape.lacks("the layers of this model, whose flags its own recipe has");
        return shape;
    }
    let Some(first) = model.groups.first() else { return shape };
    widths(&mut shape, model, &first.card);
    attention(&mut shape, &first.card);
    experts(&mut shape, model);
    match hyperparameters {
        Some(hyperparameters) => {
            positions(&mut shape, hyperparameters, (&first.card, sequence));
            layers(&mut shape, hyperparameters, &first.card);
            if let Some(router) = &hyperparameters.router {
                self::router(&mut shape, router, model);
                losses(&mut shape, hyperparameters);
            }
            window(&mut shape, hyperparameters, sequence);
        }
        None => {
            shape.say("max-position-embeddings", sequence);
            shape.switch("swiglu", first.card.form == FeedForward::Gated);
            shape.lacks("positions, norms, biases and dropout, which a graph does not name");
        }
    }
    shape
}

fn widths(shape: &mut Shape, model: &ModelCard, first: &TransformerCard) {
    // Of blocks without experts, where there are any.
    let dense = model.groups.iter().find(|group| group.card.experts.is_none());
    let inner = dense.map_or(first.feed_forward, |group| group.card.feed_forward);
    shape.say("hidden-size", first.hidden);
    shape.say("ffn-hidden-size", inner);
    shape.say("vocab-size", first.vocabulary);
    shape.switch("untie-embeddings-and-output-weights", first.head == Head::Separate);
}

fn attention(shape: &mut Shape, card: &TransformerCard) {
    shape.say("num-attention-heads", card.n_heads);
    if let Attention::Latent { query_rank, key_value_rank, plain, rotary, value } = card.attention {
        shape.say("multi-latent-attention", "");
        if let Some(rank) = query_rank {
            shape.say("q-lora-rank", rank);
        }
        shape.say("kv-lora-rank", key_value_rank);
        shape.say("qk-head-dim", plain);
        shape.say("qk-pos-emb-head-dim", rotary);
        shape.say("v-head-dim", value);
        return;
    }
    if card.n_kv_heads != card.n_heads {
        shape.say("group-query-attention", "");
        shape.say("num-query-groups", card.n_kv_heads);
    }
    shape.say("kv-channels", card.head_dims().0);
}

fn experts(shape: &mut Shape, model: &ModelCard) {
    let Some(experts) = model.groups.iter().find_map(|group| group.card.experts) else { return };
    shape.say("num-experts", experts.n_experts);
    shape.say("moe-ffn-hidden-size", experts.feed_forward);
    shape.say("moe-router-topk", experts.per_token);
    if experts.n_shared > 0 {
        shape.say("moe-shared-expert-intermediate-size", experts.n_shared * experts.feed_forward);
    }
    let later = model.n_predictions.saturating_sub(1);
    let n_layers = model.n_blocks().saturating_sub(later) as usize;
    let has =
        |kind: usize| model.groups.get(kind).is_some_and(|group| group.card.experts.is_some());
    let with: Vec<bool> = model.kinds().take(n_layers).map(has).collect();
    if with.contains(&false) {
        shape.say("moe-layer-freq", pattern(&with));
    }
    shape.say("moe-grouped-gemm", "");
}

/// A list of Python: 1 where it holds.
fn pattern(holds: &[bool]) -> String {
    let runs = holds.chunk_by(|a, b| a == b);
    let runs = runs.map(|run| format!("[{}]*{}", u8::from(run[0]), run.len()));
    format!("({})", runs.collect::<Vec<_>>().join("+"))
}

fn positions(
    shape: &mut Shape,
    hyperparameters: &Hyperparameters,
    (card, sequence): (&TransformerCard, u64),
) {
    shape.say("max-position-embeddings", hyperparameters.positions.max(sequence));
    let Some(Rotary { base, scaling }) = &hyperparameters.rotary else {
        return shape.say("position-embedding-type", "learned_absolute");
    };
    let is_latent = matches!(card.attention, Attention::Latent { .. });
    let kind = scaling.as_ref().map_or("default", |scaling| scaling.kind.as_str());
    let is_yarn = kind == "yarn";
    shape.say("position-embedding-type", if is_yarn && !is_latent { "yarn" } else { "rope" });
    if is_latent {
        // Latent attention stretches positions unless it is told otherwise.
        shape.say("rope-type", if is_yarn { "yarn" } else { "rope" });
        // Its fused kernel knows the stretched ones alone.
        shape.switch("no-rope-fusion", !is_yarn);
    }
    match base.fract() == 0.0 {
        // With all its digits: Python's integers have no end.
        true => shape.say("rotary-base", format!("{base:.0}")),
        false => shape.lacks(format!("a rotary base of {base}, which is no whole number")),
    }
    if let Some(share) =
        hyperparameters.number("partial_rotary_factor").filter(|share| *share != 1.0)
    {
        match is_latent {
            true => shape.lacks(format!("positions in {share} of each head")),
            false => shape.say("rotary-percent", share),
        }
    }
    if let Some(scaling) = scaling {
        stretched(shape, scaling, (is_latent, hyperparameters.positions));
    }
}

/// Numbers of `yarn` beside its factor. A config that names no original length stretches its own.
fn yarn(shape: &mut Shape, scaling: &RotaryScaling, (is_latent, positions): (bool, u64)) {
    shape.say("rotary-scaling-factor", scaling.factor);
    let of = |name: &str| scaling.number(name);
    for (flag, name) in [("mscale", "mscale"), ("mscale-all-dim", "mscale_all_dim")] {
        if let Some(value) = of(name) {
            shape.say(flag, value);
        }
    }
    // Those of latent attention have no flags.
    for (flag, name, usual) in
        [("yarn-beta-fast", "beta_fast", 32.0), ("yarn-beta-slow", "beta_slow", 1.0)]
    {
        match of(name) {
            Some(value) if !is_latent => shape.say(flag, value),
            Some(value) if value != usual => shape.lacks(format!("`{name}` of {value}")),
            _ => {}
        }
    }
    // Peng et al. 2023, arXiv:2309.00071, equation 22.
    let usual = 0.1 * scaling.factor.ln() + 1.0;
    if let Some(factor) = of("attention_factor").filter(|factor| (factor - usual).abs() > 1e-6) {
        shape.lacks(format!("an attention factor of {factor}"));
    }
    if of("truncate") == Some(0.0) {
        match is_latent {
            true => shape.lacks("stretched positions that are not rounded"),
            false => shape.say("no-yarn-correction-range-round-to-int", ""),
        }
    }
    let tokens = of("original_max_position_embeddings").unwrap_or(positions as f64);
    match is_latent {
        false => shape.say("yarn-original-max-position-embeddings", tokens),
        true if tokens != 4096.0 => shape.lacks(format!("an original length of {tokens} tokens")),
        true => {}
    }
}

/// Positions beyond the length that the model was trained for.
fn stretched(shape: &mut Shape, scaling: &RotaryScaling, (is_latent, positions): (bool, u64)) {
    let original = scaling.number("original_max_position_embeddings");
    let is = |name: &str, value: f64| scaling.number(name) == Some(value);
    match scaling.kind.as_str() {
        "yarn" => yarn(shape, scaling, (is_latent, positions)),
        "linear" if scaling.factor.fract() == 0.0 && !is_latent => {
            shape.say("rotary-seq-len-interpolation-factor", scaling.factor);
        }
        // The other numbers are constants of its code.
        "llama3"
            if is("low_freq_factor", 1.0)
                && is("high_freq_factor", 4.0)
                && original == Some(8192.0) =>
        {
            shape.say("use-rope-scaling", "");
            shape.say("rope-scaling-factor", scaling.factor);
        }
        other => shape.lacks(format!("positions stretched as `{other}`")),
    }
}

/// Norms, biases, dropout and the pointwise function.
fn layers(shape: &mut Shape, hyperparameters: &Hyperparameters, card: &TransformerCard) {
    shape.say("normalization", if hyperparameters.has_rms_norms { "RMSNorm" } else { "LayerNorm" });
    shape.say("norm-epsilon", hyperparameters.norm_epsilon);
    // The narrow products of latent attention have norms of their own.
    let is_latent = matches!(card.attention, Attention::Latent { .. });
    shape.switch("qk-layernorm", hyperparameters.normalises_heads || is_latent);
    let [queries, output, inner] = hyperparameters.biases;
    if output == inner {
        shape.switch("disable-bias-linear", !output);
        shape.switch("add-qkv-bias", queries && !output);
    } else {
        shape.say("disable-bias-linear", "");
        shape.switch("add-qkv-bias", queries);
        shape.lacks("biases of the attention's output or of the feed-forward part alone");
    }
    if hyperparameters.model_type == "bert" {
        shape
            .lacks("attention to later tokens, norms behind sums, token types and the masked head");
    }
    shape.say("attention-dropout", hyperparameters.dropout[0]);
    shape.say("hidden-dropout", hyperparameters.dropout[1]);
    // Of embeddings it is that of activations, in configs of GPT-2 one of its own.
    let usual = if hyperparameters.model_type == "gpt2" { 0.1 } else { hyperparameters.dropout[1] };
    let of_embedding = hyperparameters.number("embd_pdrop").unwrap_or(usual);
    if of_embedding != hyperparameters.dropout[1] {
        shape.lacks(format!("a dropout of embeddings of {of_embedding}"));
    }
    if hyperparameters.number("scale_attn_by_inverse_layer_idx").is_some_and(|is| is != 0.0) {
        shape.lacks("attention scores divided by the number of their layer");
    }
    match (card.form, hyperparameters.activation.as_str()) {
        (FeedForward::Gated, "silu") if hyperparameters.model_type == "gpt_oss" => {
            // arXiv:2508.10925, section 2: clamped, with a sink of each head in the softmax.
            shape.say("quick-geglu", "");
            shape.say("glu-linear-offset", 1.0);
            shape.say(
                "activation-func-clamp-value",
                hyperparameters.number("swiglu_limit").unwrap_or(7.0),
            );
            shape.say("softmax-type", "learnable");
        }
        (FeedForward::Gated, "silu") => shape.say("swiglu", ""),
        (FeedForward::Plain | FeedForward::Written, "gelu_new" | "gelu_pytorch_tanh") => {
            shape.say("openai-gelu", "")
        }
        (FeedForward::Plain, "gelu") => {}
        (_, other) => shape.lacks(format!("the pointwise function `{other}`")),
    }
}

fn router(shape: &mut Shape, router: &Router, model: &ModelCard) {
    let per_token = model.groups.iter().find_map(|group| group.card.experts).map(|e| e.per_token);
    match router.scores {
        RouterScores::BiasedSigmoid => {
            shape.say("moe-router-score-function", "sigmoid");
            shape.say("moe-router-enable-expert-bias", "");
            shape.say("moe-router-dtype", "fp32");
        }
        RouterScores::Softmax => shape.say("moe-router-pre-softmax", ""),
        // The share of one alone would be 1.
        RouterScores::SoftmaxOfChosen => {
            shape.switch("moe-router-pre-softmax", per_token == Some(1))
        }
    }
    if router.scaling != 1.0 {
        shape.say("moe-router-topk-scaling-factor", router.scaling);
    }
    if let Some((n, chosen)) = router.groups {
        shape.say("moe-router-num-groups", n);
        shape.say("moe-router-group-topk", chosen);
    }
}

/// What balances the visits of experts.
fn losses(shape: &mut Shape, hyperparameters: &Hyperparameters) {
    let flags = [
        ("moe-aux-loss-coeff", "router_aux_loss_coef"),
        ("moe-input-jitter-eps", "router_jitter_noise"),
    ];
    for (flag, name) in flags {
        if let Some(value) = hyperparameters.number(name).filter(|value| *value != 0.0) {
            shape.say(flag, value);
        }
    }
}

fn window(shape: &mut Shape, hyperparameters: &Hyperparameters, sequence: u64) {
    let Some((tokens, layers)) = &hyperparameters.window else { return };
    if *tokens >= sequence || !layers.contains(&true) {
        return;
    }
    // Tokens before the own one.
    shape.say("window-size", format!("{},0", tokens.saturating_sub(1)));
    if layers.contains(&false) {
        shape.say("window-attn-skip-freq", pattern(layers));
    }
}
