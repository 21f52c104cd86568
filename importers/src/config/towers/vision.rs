//! Towers of vision: patches of an image, learnt tokens before them, positions, and blocks.

use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::layer::{Biases, Layer, Names, Order, Sight, join};
use super::model::Model;
use super::net::{Conv, Core, Flow, Grid, Net, Norm};
use super::spec::{Spec, refused};

/// How a tower tells positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// A parameter of this name, for patches and learnt tokens.
    Parameter(&'static str),
    /// A table of this module.
    Table(&'static str),
    /// None, or turned within attention.
    Absent,
}

/// A tower in numbers and names.
#[derive(Clone, Debug)]
pub(super) struct Tower {
    pub width: u64,
    pub channels: u64,
    /// Pixels that positions were made for.
    pub image: [u64; 2],
    pub patch: [u64; 2],
    /// The convolution over patches, and whether it adds a bias.
    pub conv: (&'static str, bool),
    /// Learnt tokens before the patches, and how many.
    pub tokens: Vec<(&'static str, u64)>,
    /// Learnt tokens between those and the patches that have no position.
    pub registers: (&'static str, u64),
    /// A parameter that only masked images read.
    pub mask: Option<(&'static str, Vec<u64>)>,
    pub places: Places,
    pub first_norm: &'static str,
    pub n_layers: u64,
    pub layers: &'static str,
    pub layer: Layer,
    pub last_norm: &'static str,
}

pub(super) const VIT: Names = Names {
    qkv: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
    out: "attention.o_proj",
    norms: ["layernorm_before", "layernorm_after"],
    ways: &["mlp.fc1"],
    down: "mlp.fc2",
    cross: [""; 5],
    scales: ["", ""],
};

pub(super) const CLIP: Names = Names {
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    norms: ["layer_norm1", "layer_norm2"],
    ..VIT
};

impl Tower {
    /// The common numbers of a tower of `width` columns where the config says nothing else.
    pub(super) fn read(
        spec: &Spec,
        names: &'static Names,
        [width, n_layers, heads, inner, image, patch]: [u64; 6],
    ) -> Result<Self, Diagnostic> {
        let width = spec.n("hidden_size", width)?;
        let heads = spec.any(&["num_attention_heads", "num_heads", "attention_heads"], heads)?;
        let inner = spec.n("intermediate_size", inner)?;
        let layer = Layer::new(names, (width, heads, inner), Order::Pre)?;
        Ok(Self {
            width,
            channels: spec.any(&["num_channels", "in_channels"], 3)?,
            image: spec.pair("image_size", image)?,
            patch: spec.pair("patch_size", patch)?,
            conv: ("embeddings.patch_embeddings.projection", true),
            tokens: vec![("embeddings.cls_token", 1)],
            registers: ("", 0),
            mask: None,
            places: Places::Parameter("embeddings.position_embeddings"),
            first_norm: "",
            n_layers: spec.any(&["num_hidden_layers", "depth"], n_layers)?,
            layers: "layers",
            layer: layer.acting(spec.text("hidden_act", "gelu")?),
            last_norm: "layernorm",
        })
    }

    /// CLIP's.
    pub(super) fn clip(spec: &Spec) -> Result<Self, Diagnostic> {
        let own = Self::read(spec, &CLIP, [768, 12, 12, 3072, 224, 32])?;
        let act = spec.text("hidden_act", "quick_gelu")?;
        Ok(Self {
            conv: ("embeddings.patch_embedding", false),
            tokens: vec![("embeddings.class_embedding", 1)],
            places: Places::Table("embeddings.position_embedding"),
            first_norm: "pre_layrnorm",
            layers: "encoder.layers",
            last_norm: "post_layernorm",
            layer: own.layer.acting(act),
            ..own
        })
    }

    /// SigLIP's.
    pub(super) fn siglip(spec: &Spec) -> Result<Self, Diagnostic> {
        Self::questioned(spec, [768, 12, 12, 3072, 224, 16])
    }

    /// Idefics 3's.
    pub(super) fn idefics3(spec: &Spec) -> Result<Self, Diagnostic> {
        Self::questioned(spec, [1152, 12, 16, 3072, 224, 32])
    }

    /// InternVL's, without its switches.
    pub(super) fn scaled(spec: &Spec, sizes: [u64; 6]) -> Result<Self, Diagnostic> {
        let own = Self::read(spec, &INTERN, sizes)?;
        let qkv = [spec.flag("attention_bias", false)?; 3];
        let layer = Layer { biases: Biases { qkv, ..Biases::ALL }, ..own.layer };
        Ok(Self { layers: "encoder.layer", layer, ..own })
    }

    fn questioned(spec: &Spec, sizes: [u64; 6]) -> Result<Self, Diagnostic> {
        let own = Self::read(spec, &CLIP, sizes)?;
        Ok(Self {
            places: Places::Table("embeddings.position_embedding"),
            layers: "encoder.layers",
            last_norm: "post_layernorm",
            conv: ("embeddings.patch_embedding", true),
            tokens: Vec::new(),
            first_norm: "",
            layer: own.layer.acting(spec.text("hidden_act", "gelu_pytorch_tanh")?),
            ..own
        })
    }

    /// Patches of an image along both axes.
    ///
    /// # Errors
    /// `invalid-field` for patches larger than the image.
    pub(super) fn grid(&self, image: [u64; 2]) -> Result<[u64; 2], Diagnostic> {
        let [height, width] = [image[0] / self.patch[0], image[1] / self.patch[1]];
        if height > 0 && width > 0 {
            return Ok([height, width]);
        }
        let message = format!("patches of {:?} pixels are larger than the image", self.patch);
        Err(Diagnostic::input("invalid-field", message))
    }
}

impl Model<'_> {
    /// Pixels of a side: those that the caller states, else those of the config.
    pub(super) fn image(&mut self, own: [u64; 2]) -> Result<[u64; 2], Diagnostic> {
        self.used.push("image");
        match self.options.dims.contains_key("image") {
            true => Ok([self.dimension("image", (own[0], 1 << 15), "pixels")?; 2]),
            false => Ok(own),
        }
    }

    /// Images that the caller feeds, so many for each sample.
    pub(super) fn pixels(
        &mut self,
        (n, channels): (u64, u64),
        image: [u64; 2],
    ) -> Result<Grid, Diagnostic> {
        let count = self.batch.saturating_mul(n);
        let id = self.net.fed("pixel_values", &[count, channels, image[0], image[1]])?;
        Ok(Grid { id, count, channels, space: image.to_vec() })
    }
}

const INTERN: Names =
    Names { out: "attention.projection_layer", scales: ["lambda_1", "lambda_2"], ..VIT };

pub(super) const PIXTRAL: Names = Names {
    norms: ["attention_norm", "ffn_norm"],
    ways: &["feed_forward.gate_proj", "feed_forward.up_proj"],
    down: "feed_forward.down_proj",
    ..VIT
};

impl Tower {
    /// Pixtral's: patches of an image of any form, turned by where they lie.
    pub(super) fn pixtral(spec: &Spec) -> Result<Self, Diagnostic> {
        let own = Self::read(spec, &PIXTRAL, [1024, 24, 16, 4096, 1024, 16])?;
        if spec.n("head_dim", own.layer.dim)? != own.layer.dim {
            return Err(refused("heads of a tower that do not share its columns evenly"));
        }
        Ok(Self {
            conv: ("patch_conv", false),
            tokens: Vec::new(),
            places: Places::Absent,
            first_norm: "ln_pre",
            layers: "transformer.layers",
            last_norm: "",
            layer: Layer {
                norm: Norm::Rms,
                biases: Biases::all(false),
                is_rotary: true,
                ..own.layer
            },
            ..own
        })
    }
}

impl Net {
    /// Runs a tower at the module `at` over images.
    pub(super) fn tower(
        &mut self,
        at: &str,
        tower: &Tower,
        pixels: &Grid,
    ) -> Result<Flow, Diagnostic> {
        let all = self.states(at, tower, pixels)?;
        Ok(all[all.len() - 1])
    }

    /// The states of a tower: what its blocks read, and what comes out of each.
    pub(super) fn states(
        &mut self,
        at: &str,
        tower: &Tower,
        pixels: &Grid,
    ) -> Result<Vec<Flow>, Diagnostic> {
        let mut state = self.patched(at, tower, pixels)?;
        if !tower.first_norm.is_empty() {
            state = self.norm(&join(at, tower.first_norm), tower.layer.norm, state)?;
        }
        let mut all = vec![state];
        for i in 0..tower.n_layers {
            let at = format!("{}.{i}", join(at, tower.layers));
            state = self.layer(&tower.layer, &at, state, &Sight::default())?;
            all.push(state);
        }
        Ok(all)
    }

    /// Patches, learnt tokens and positions.
    pub(super) fn patched(
        &mut self,
        at: &str,
        tower: &Tower,
        pixels: &Grid,
    ) -> Result<Flow, Diagnostic> {
        let (module, has_bias) = (join(at, tower.conv.0), tower.conv.1);
        let conv = Conv { has_bias, ..Conv::patches(tower.width, &tower.patch) };
        let mut state = self.conv(&module, pixels, conv)?.flow();
        if let Some((name, shape)) = &tower.mask {
            self.parameter(&join(at, name), shape)?;
        }
        let names: Vec<(String, u64)> =
            tower.tokens.iter().map(|(name, n)| (join(at, name), *n)).collect();
        state = self.prepended(&names, state)?;
        let [height, width] = tower.grid(tower.image)?;
        let n = tower.tokens.iter().fold(height * width, |n, own| n.saturating_add(own.1));
        state = match tower.places {
            Places::Parameter(name) => {
                let name = join(at, name);
                let owner = name.rsplit_once('.').map_or("", |(owner, _)| owner).to_owned();
                let at = (owner.as_str(), "add_positions", "Add");
                self.with(at, state, (&name, &[1, n, tower.width]))?
            }
            Places::Table(module) => {
                let module = join(at, module);
                let own = self.table(&module, &[], (n, tower.width), (1, state.rows))?;
                self.add(&module, "add", [state, own])?
            }
            Places::Absent => state,
        };
        if tower.registers.1 > 0 {
            state = self.prepended(&[(join(at, tower.registers.0), tower.registers.1)], state)?;
        }
        Ok(state)
    }

    /// A learnt question that attends to all patches, and a feed-forward part (SigLIP).
    pub(super) fn pooling_head(
        &mut self,
        at: &str,
        layer: &Layer,
        x: Flow,
    ) -> Result<Flow, Diagnostic> {
        let width = x.width;
        let probe = self.parameter(&format!("{at}.probe"), &[1, 1, width])?;
        let attention = format!("{at}.attention");
        let weight = self
            .parameter(&format!("{attention}.in_proj_weight"), &[width.saturating_mul(3), width])?;
        let bias =
            self.parameter(&format!("{attention}.in_proj_bias"), &[width.saturating_mul(3)])?;
        let both = &[weight, bias, probe];
        let question = Flow { rows: 1, ..x };
        let query = self.product(&format!("{attention}.in_proj_query"), question, width, both)?;
        let all = self.product(
            &format!("{attention}.in_proj"),
            x,
            width.saturating_mul(2),
            &[weight, bias],
        )?;
        let core = Core { heads: layer.heads, dim: layer.dim, spans: [x.rows; 2], biases: &[] };
        let made = self.attend(&attention, query, (all.id, all.id), core)?;
        let made = self.linear(&format!("{attention}.out_proj"), made, width, true)?;
        let normed = self.norm(&format!("{at}.layernorm"), Norm::Layer, made)?;
        let layer = Layer { biases: Biases::ALL, ..*layer };
        let fed = self.feed(&layer, at, normed)?;
        self.add(at, "add", [made, fed])
    }

    /// The first token of each sequence.
    pub(super) fn first(&mut self, at: &str, x: Flow) -> Result<Flow, Diagnostic> {
        self.moved((at, "first_token", "Slice"), &[x], (x.count, 1, x.width))
    }

    /// The mean of all tokens of each sequence.
    pub(super) fn mean(&mut self, at: &str, x: Flow) -> Result<Flow, Diagnostic> {
        self.moved((at, "mean", "ReduceMean"), &[x], (x.count, 1, x.width))
    }
}

/// Refuses a tower's activation of scores other than softmax, and the like.
pub(super) fn usual(spec: &Spec) -> Result<(), Diagnostic> {
    spec.only("position_embedding_type", &json!("absolute"))
}
