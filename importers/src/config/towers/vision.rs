//! Towers of vision: patches of an image, learnt tokens before them, positions, and blocks.

use ir::diagnostic::Diagnostic;

use super::layer::{Biases, Layer, Names, Order, Sight};
use super::model::Model;
use super::names::{BLIP, CLIP, INTERN, PIXTRAL, VIT};
use super::net::{Conv, Done, Flow, Grid, Net, Norm, join, owner};
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

/// A tower: traits, and numbers, of which the first stand where the config says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tower {
    /// Columns, blocks, heads, columns of the feed-forward part.
    pub sizes: [u64; 4],
    /// Pixels that positions were made for, and those of a patch.
    pub image: [u64; 2],
    pub patch: [u64; 2],
    pub act: &'static str,
    /// The convolution over patches, and whether it adds a bias.
    pub conv: (&'static str, bool),
    /// Learnt tokens before the patches.
    pub tokens: &'static [&'static str],
    /// Learnt tokens that become boxes.
    pub n_detections: u64,
    /// Learnt tokens between those and the patches that have no position.
    pub n_registers: u64,
    /// Axes of the parameter that only masked images read, where there is one.
    pub mask: Option<usize>,
    pub places: Places,
    /// Whether positions are added to what each block reads as well, which is not priced.
    pub has_middle: bool,
    pub first_norm: &'static str,
    pub layers: &'static str,
    pub last_norm: &'static str,
    pub layer: Layer,
    pub width: u64,
    pub n_layers: u64,
    pub channels: u64,
    /// Changes a tower by what the config states.
    pub adjust: fn(&mut Tower, &Spec) -> Done<()>,
}

pub(super) const VIT_TOWER: Tower = Tower {
    sizes: [768, 12, 12, 3072],
    image: [224; 2],
    patch: [16; 2],
    act: "gelu",
    conv: ("embeddings.patch_embeddings.projection", true),
    tokens: &["embeddings.cls_token"],
    n_detections: 0,
    n_registers: 0,
    mask: None,
    places: Places::Parameter("embeddings.position_embeddings"),
    has_middle: false,
    first_norm: "",
    layers: "layers",
    last_norm: "layernorm",
    layer: Layer::of(&VIT, [1; 3], Order::Pre),
    width: 1,
    n_layers: 1,
    channels: 3,
    adjust: qkv_bias,
};

pub(super) const CLIP_TOWER: Tower = Tower {
    patch: [32; 2],
    act: "quick_gelu",
    conv: ("embeddings.patch_embedding", false),
    tokens: &["embeddings.class_embedding"],
    first_norm: "pre_layrnorm",
    ..SIGLIP
};

pub(super) const SIGLIP: Tower = Tower {
    act: "gelu_pytorch_tanh",
    conv: ("embeddings.patch_embedding", true),
    tokens: &[],
    places: Places::Table("embeddings.position_embedding"),
    layers: "encoder.layers",
    last_norm: "post_layernorm",
    ..VIT_TOWER.of(&CLIP, |_, _| Ok(()))
};

pub(super) const IDEFICS3: Tower = Tower { sizes: [1152, 12, 16, 3072], patch: [32; 2], ..SIGLIP };

pub(super) const BLIP_TOWER: Tower = Tower {
    sizes: [1408, 39, 16, 6144],
    patch: [14; 2],
    conv: ("embeddings.patch_embedding", true),
    tokens: &["embeddings.class_embedding"],
    places: Places::Parameter("embeddings.position_embedding"),
    layers: "encoder.layers",
    ..VIT_TOWER.of(&BLIP, qkv_bias)
};

/// Patches of an image of any form, turned by where they lie.
pub(super) const PIXTRAL_TOWER: Tower = Tower {
    sizes: [1024, 24, 16, 4096],
    image: [1024; 2],
    conv: ("patch_conv", false),
    tokens: &[],
    places: Places::Absent,
    first_norm: "ln_pre",
    layers: "transformer.layers",
    last_norm: "",
    ..VIT_TOWER.of(&PIXTRAL, |tower, spec| {
        if spec.n("head_dim", tower.layer.dim)? != tower.layer.dim {
            return Err(refused("heads of a tower that do not share its columns evenly"));
        }
        let biases = Biases::all(false);
        tower.layer = Layer { norm: Norm::Rms, biases, is_rotary: true, ..tower.layer };
        Ok(())
    })
};

pub(super) const INTERNVL: Tower = Tower {
    sizes: [1024, 24, 16, 4096],
    image: [448; 2],
    patch: [14; 2],
    layers: "encoder.layer",
    ..VIT_TOWER.of(&INTERN, |tower, spec| {
        tower.layer = tower.layer.qkv([spec.flag("attention_bias", false)?; 3]);
        spec.only("use_qk_norm", &false.into())?;
        spec.only("norm_type", &"layer_norm".into())?;
        switched(tower, spec, true)
    })
};

fn qkv_bias(tower: &mut Tower, spec: &Spec) -> Done<()> {
    tower.layer = tower.layer.qkv([spec.flag("qkv_bias", true)?; 3]);
    Ok(())
}

/// Positions, which are there where the config says so, and the parameter of masks.
pub(super) fn switched(tower: &mut Tower, spec: &Spec, is_placed: bool) -> Done<()> {
    if !spec.flag("use_absolute_position_embeddings", is_placed)? {
        tower.places = Places::Absent;
    }
    tower.mask = spec.flag("use_mask_token", false)?.then_some(3);
    Ok(())
}

impl Tower {
    /// Of other module names, and other switches.
    pub(super) const fn of(
        self,
        names: &'static Names,
        adjust: fn(&mut Self, &Spec) -> Done<()>,
    ) -> Self {
        Self { layer: Layer { names, ..self.layer }, adjust, ..self }
    }

    /// As a config says.
    pub(super) fn read(self, spec: &Spec) -> Done<Self> {
        let [width, n_layers, heads, inner] = self.sizes;
        let width = spec.n("hidden_size", width)?;
        let heads = spec.any(&["num_attention_heads", "num_heads", "attention_heads"], heads)?;
        let inner = spec.n("intermediate_size", inner)?;
        let layer = Layer::new(self.layer.names, (width, heads, inner), Order::Pre)?;
        let mut tower = Self {
            width,
            channels: spec.any(&["num_channels", "in_channels"], 3)?,
            image: spec.pair("image_size", self.image)?,
            patch: spec.pair("patch_size", self.patch)?,
            n_layers: spec.any(&["num_hidden_layers", "depth"], n_layers)?,
            layer: layer.acting(spec.text("hidden_act", self.act)?),
            ..self
        };
        (self.adjust)(&mut tower, spec)?;
        Ok(tower)
    }

    /// Learnt tokens that have a position.
    pub(super) fn n_tokens(&self) -> u64 {
        (self.tokens.len() as u64).saturating_add(self.n_detections)
    }

    /// Patches of an image along both axes.
    ///
    /// # Errors
    /// `invalid-field` for patches larger than the image.
    pub(super) fn grid(&self, image: [u64; 2]) -> Done<[u64; 2]> {
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
    pub(super) fn image(&mut self, configured: [u64; 2]) -> Done<[u64; 2]> {
        self.used.push("image");
        match self.options.dims.contains_key("image") {
            true => Ok([self.dimension("image", (configured[0], 1 << 15), "pixels")?; 2]),
            false => Ok(configured),
        }
    }

    /// Images that the caller feeds, so many for each sample.
    pub(super) fn pixels(&mut self, (n, channels): (u64, u64), image: [u64; 2]) -> Done<Grid> {
        let count = self.batch.saturating_mul(n);
        let id = self.net.fed("pixel_values", &[count, channels, image[0], image[1]])?;
        Ok(Grid { id, count, channels, space: image.to_vec() })
    }

    /// The states of a tower at the module `at` over one image of each sample: what its blocks read,
    /// and what comes out of each.
    pub(super) fn states(&mut self, at: &str, tower: &Tower) -> Done<Vec<Flow>> {
        let image = self.image(tower.image)?;
        let pixels = self.pixels((1, tower.channels), image)?;
        self.net.states(at, tower, &pixels)
    }

    /// What comes out of a tower.
    pub(super) fn tower(&mut self, at: &str, tower: &Tower) -> Done {
        let all = self.states(at, tower)?;
        Ok(all[all.len() - 1])
    }
}

impl Net {
    fn states(&mut self, at: &str, tower: &Tower, pixels: &Grid) -> Done<Vec<Flow>> {
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
    fn patched(&mut self, at: &str, tower: &Tower, pixels: &Grid) -> Done {
        let (module, has_bias) = (join(at, tower.conv.0), tower.conv.1);
        let conv = Conv { has_bias, ..Conv::patches(tower.width, &tower.patch) };
        let mut state = self.conv(&module, pixels, conv)?.flow();
        if let Some(n) = tower.mask {
            let shape = [&[1, 1][3 - n..], &[tower.width]].concat();
            self.parameter(&join(at, "embeddings.mask_token"), &shape)?;
        }
        let [height, width] = tower.grid(tower.image)?;
        let n = (height * width).saturating_add(tower.n_tokens());
        if tower.has_middle {
            let name = join(at, "encoder.interpolation.mid_position_embeddings");
            self.parameter(&name, &[tower.n_layers.saturating_sub(1), 1, n, tower.width])?;
        }
        let mut tokens: Vec<_> = tower.tokens.iter().map(|name| (join(at, name), 1)).collect();
        if tower.n_detections > 0 {
            tokens.push((join(at, "embeddings.detection_tokens"), tower.n_detections));
        }
        state = self.prepended(&tokens, state)?;
        state = match tower.places {
            Places::Parameter(name) => {
                let name = join(at, name);
                let at = (owner(&name), "add_positions", "Add");
                self.with(at, state, (&name, &[1, n, tower.width]))?
            }
            Places::Table(module) => self.placed(&join(at, module), n, state)?,
            Places::Absent => state,
        };
        if tower.n_registers > 0 {
            let name = join(at, "embeddings.register_tokens");
            state = self.prepended(&[(name, tower.n_registers)], state)?;
        }
        Ok(state)
    }

    /// A learnt question that attends to all patches, and a feed-forward part (SigLIP).
    pub(super) fn pooling_head(&mut self, at: &str, layer: &Layer, x: Flow) -> Done {
        let (width, wide) = (x.width, x.width.saturating_mul(3));
        let probe = self.parameter(&format!("{at}.probe"), &[1, 1, width])?;
        let module = format!("{at}.attention");
        let weight = self.parameter(&format!("{module}.in_proj_weight"), &[wide, width])?;
        let bias = self.parameter(&format!("{module}.in_proj_bias"), &[wide])?;
        let (all, question) = ([weight, bias, probe], Flow { rows: 1, ..x });
        let query = self.product(&format!("{module}.in_proj_query"), question, width, &all)?;
        let both =
            self.product(&format!("{module}.in_proj"), x, width.saturating_mul(2), &all[..2])?;
        let made = self.attend(&module, query, (both.id, both.id), layer.core(x.rows, &[]))?;
        let made = self.linear(&format!("{module}.out_proj"), made, width, true)?;
        let normed = self.norm(&format!("{at}.layernorm"), Norm::Layer, made)?;
        let layer = Layer { biases: Biases::ALL, ..*layer };
        let fed = self.feed(&layer, at, normed)?;
        self.add(at, "add", [made, fed])
    }
}
