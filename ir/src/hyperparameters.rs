//! What a launcher needs to build a model beyond the figures of its card, as the model's config
//! states it.

/// How the rotation of positions is stretched beyond the length that a model was trained for.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryScaling {
    /// `rope_type` of the config: `linear`, `llama3`, `yarn` and others.
    pub kind: String,
    /// Factor of the length.
    pub factor: f64,
    /// The numbers beside it by their names in the config, in the order of the names.
    pub others: Vec<(String, f64)>,
}

impl RotaryScaling {
    /// A number beside the factor.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.others.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Rotation of queries and keys by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Base of the wavelengths (`rope_theta`).
    pub base: f64,
    /// Stretching; `None` = none.
    pub scaling: Option<RotaryScaling>,
}

/// How a router's logits become the shares of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterScores {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over the chosen ones, which is the first one normalised.
    SoftmaxOfChosen,
    /// Sigmoid of each, the choice corrected by a bias of each expert (DeepSeek-AI 2024,
    /// arXiv:2412.19437, section 2.1.2).
    BiasedSigmoid,
}

/// Routing of tokens to experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Router {
    /// How logits become shares.
    pub scores: RouterScores,
    /// Factor on the shares.
    pub scaling: f64,
    /// Groups of experts, and how many of them a token goes to; `None` = one group.
    pub groups: Option<(u64, u64)>,
}

/// How a model is built, beyond the figures of its card.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// `model_type` of the config.
    pub model_type: String,
    /// Tokens of its longest sample.
    pub positions: u64,
    /// Whether the config states them.
    pub states_positions: bool,
    /// Rotary positions; `None` = learned ones.
    pub rotary: Option<Rotary>,
    /// Whether norms are RMS norms, without means and biases.
    pub has_rms_norms: bool,
    /// Added to variances.
    pub norm_epsilon: f64,
    /// The pointwise function of the feed-forward part, by its name in the config.
    pub activation: String,
    /// Whether the products of queries, keys and values, of the attention's output, and of the
    /// feed-forward part add biases.
    pub biases: [bool; 3],
    /// Whether queries and keys are normalised by head.
    pub normalises_heads: bool,
    /// Tokens that a token attends to in layers with a window, and which layers have one.
    pub window: Option<(u64, Vec<bool>)>,
    /// Probability of dropping an attention score, and an activation.
    pub dropout: [f64; 2],
    /// Routing, where blocks have experts.
    pub router: Option<Router>,
    /// Other numbers and switches (0 or 1) that the config states, by their names there.
    pub others: Vec<(String, f64)>,
}

impl Hyperparameters {
    /// Context length, where the config states it: the most tokens of a prompt and its output. Rotary scaling
    /// multiplies it as engines do (vLLM, `_get_and_verify_max_len`); `longrope`, `llama3` and Gemma 3 state the
    /// scaled length.
    #[must_use]
    pub fn context(&self) -> Option<u64> {
        self.states_positions.then(|| self.scaled_positions())
    }

    fn scaled_positions(&self) -> u64 {
        let scaling = self.rotary.as_ref().and_then(|rotary| rotary.scaling.as_ref());
        let is_stretched = |scaling: &&RotaryScaling| {
            !["su", "longrope", "llama3"].contains(&&*scaling.kind)
                && !self.model_type.starts_with("gemma3")
        };
        let Some(scaling) = scaling.filter(is_stretched) else { return self.positions };
        let original = scaling.number("original_max_position_embeddings");
        let trained = original.filter(|_| scaling.kind == "yarn");
        let stretched = trained.unwrap_or(self.positions as f64) * scaling.factor;
        // What a config states beyond both is its own.
        self.positions.max(stretched as u64)
    }

    /// One of the other numbers.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.others.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}
