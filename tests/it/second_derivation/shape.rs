//! What a model holds, from its `config.json` alone: parameters, states, activations.

use serde_json::Value;

/// Figures of a config.
pub(super) struct Shape {
    pub(super) blocks: usize,
    pub(super) hidden: f64,
    heads: f64,
    key_value_heads: f64,
    inner: f64,
    pub(super) vocabulary: f64,
    /// Learned positions.
    positions: f64,
    pub(super) tied: bool,
    /// Experts of a block, and how many of them a token visits.
    pub(super) experts: Option<[f64; 2]>,
}

/// The numbers that a run is computed in.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) is_single: bool,
    pub(super) is_sgd: bool,
}

impl Numbers {
    /// Bytes of an activation, of a weight that is computed with, and of a gradient on its way.
    pub(super) fn element(self) -> f64 {
        if self.is_single { 4.0 } else { 2.0 }
    }

    /// Bytes per parameter on one of `n` replicas: weight, gradient in single precision, and the
    /// optimizer's: a single-precision weight beside a 16-bit one, and AdamW's two moments
    /// (Rajbhandari et al. 2020, figure 1, with the gradients of Megatron-LM).
    pub(super) fn states(self, zero: u64, n: f64) -> f64 {
        let master = if self.is_single { 0.0 } else { 4.0 };
        let moments = if self.is_sgd { 0.0 } else { 8.0 };
        let share = |from: u64| if zero >= from { n } else { 1.0 };
        self.element() / share(3) + 4.0 / share(2) + (master + moments) / share(1)
    }
}

/// How a run splits a block.
#[derive(Clone, Copy)]
pub(super) struct Split {
    pub(super) tensor: f64,
    pub(super) expert: f64,
    /// Ranks that split an expert.
    pub(super) of_expert: f64,
    /// Tokens of a micro-batch on one rank.
    pub(super) tokens: f64,
    /// Scores of a head that one rank keeps, where no kernel fuses them: Transformer Engine has none for 32
    /// bits. Of a causal ring the ranks skip what lies above the diagonal.
    pub(super) scores: f64,
    pub(super) sequence_parallel: bool,
}

impl Split {
    /// Elements of an activation between the regions of tensor ranks, on each of them.
    pub(super) fn outer(self, hidden: f64) -> f64 {
        self.tokens * hidden / if self.sequence_parallel { self.tensor } else { 1.0 }
    }

    /// Tokens of the rank whose experts have most, over the mean: loads of `n` experts that scatter
    /// by two fifths of their mean, the greatest of as many sums as there are ranks.
    fn busiest(self, n: f64) -> f64 {
        let ranks = self.expert;
        1.0 + 0.4 * (2.0 * ranks.ln()).sqrt() * (ranks / n * (1.0 - 1.0 / ranks)).sqrt()
    }
}

impl Shape {
    pub(super) fn of(config: &Value) -> Self {
        let number =
            |names: [&str; 2]| names.iter().find_map(|name| config[*name].as_f64()).unwrap_or(0.0);
        let hidden = number(["hidden_size", "n_embd"]);
        let heads = number(["num_attention_heads", "n_head"]);
        let experts = number(["num_local_experts", ""]);
        let inner = number(["intermediate_size", "n_inner"]);
        let key_value_heads = number(["num_key_value_heads", "n_head"]);
        Self {
            blocks: number(["num_hidden_layers", "n_layer"]) as usize,
            hidden,
            heads,
            key_value_heads,
            inner: if inner > 0.0 { inner } else { 4.0 * hidden },
            vocabulary: number(["vocab_size", ""]),
            positions: number(["n_positions", ""]),
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(true),
            experts: (experts > 0.0).then(|| [experts, number(["num_experts_per_tok", ""])]),
        }
    }

    /// GPT-2: learned positions, biases, two vectors in a norm, dropout; the others are like Llama.
    pub(super) fn is_gpt2(&self) -> bool {
        self.positions > 0.0
    }

    /// Elements of keys, and of values, per token.
    pub(super) fn key_value_width(&self) -> f64 {
        self.hidden / self.heads * self.key_value_heads
    }

    /// Parameters of a block on one device: dense ones, and those of experts.
    pub(super) fn block(&self, split: Split) -> [f64; 2] {
        let (h, f) = (self.hidden, self.inner);
        let attention = h * (2.0 * h + 2.0 * self.key_value_width());
        let feed_forward = if self.is_gpt2() { 2.0 * h * f + f + h } else { 3.0 * h * f };
        let vectors = if self.is_gpt2() { 4.0 * h + 4.0 * h } else { 2.0 * h };
        let [dense, experts] = match self.experts {
            None => [attention + vectors + feed_forward, 0.0],
            Some([n, _]) => [attention + vectors + h * n, n * feed_forward],
        };
        [dense / split.tensor, experts / split.of_expert / split.expert]
    }

    /// Elements of the matrices of a block on one device, of one expert alone: Transformer Engine keeps a
    /// gradient's placeholder for each shape.
    pub(super) fn placeholders(&self, split: Split) -> f64 {
        let (h, f) = (self.hidden, self.inner);
        let feed_forward = if self.is_gpt2() { 2.0 } else { 3.0 };
        let ranks = if self.experts.is_some() { split.of_expert } else { split.tensor };
        h * (2.0 * h + 2.0 * self.key_value_width()) / split.tensor + h * feed_forward * f / ranks
    }

    /// Parameters of the embedding, or of the head, on one device.
    pub(super) fn words(&self, split: Split) -> f64 {
        self.vocabulary * self.hidden / split.tensor
    }

    /// Parameters of learned positions, which every tensor rank has.
    pub(super) fn positions(&self) -> f64 {
        self.positions * self.hidden
    }

    /// Bytes that a block keeps of one micro-batch under flash attention: Korthikanti et al. 2022,
    /// section 4.1, `s b h (10 + 24 / t)` where nothing depends on scores, by the same count for
    /// other widths and types.
    pub(super) fn kept(&self, split: Split, bytes: f64) -> f64 {
        let (h, f, kv) = (self.hidden, self.inner, self.key_value_width());
        let masks = if self.is_gpt2() { 2.0 } else { 0.0 };
        // Inputs of two norms, and of the first product of either half.
        let outer = h * (4.0 * bytes + masks);
        // Queries, keys, values, input of the output product.
        let attention = bytes * (2.0 * h + 2.0 * kv);
        // Softmax; its dropout's mask and output.
        let of_score = if self.is_gpt2() { 2.0 * bytes + 1.0 } else { bytes };
        let scores = of_score * self.heads * split.scores / split.tensor;
        // What the pointwise function (and the gate) reads, what the last product reads.
        let inner = bytes * f * if self.is_gpt2() { 2.0 } else { 3.0 };
        match self.experts {
            None => {
                let inside = (attention + inner) * split.tokens / split.tensor;
                outer * split.outer(1.0) + inside + scores
            }
            // Of each visited expert its input and output, gathered over the ranks that split it and
            // on the rank that most tokens visit; and three numbers of the router in single
            // precision.
            Some([n, visited]) => {
                let gathered = if split.sequence_parallel { split.of_expert } else { 1.0 };
                let pairs = visited * split.outer(1.0) * gathered * split.busiest(n);
                (outer + 12.0 * n) * split.outer(1.0)
                    + attention * split.tokens / split.tensor
                    + scores
                    + pairs * (2.0 * bytes * h + inner / split.of_expert)
            }
        }
    }
}
