//! Blocks of encoders and decoders by their traits.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::net::{Core, Done, Flow, Net, Norm, join, owner};

/// Module names of attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub module: &'static str,
    /// Queries, keys and values in that module; a single name for a fused projection.
    pub parts: &'static [&'static str],
    pub out: &'static str,
    /// Before it, or behind it.
    pub norm: &'static str,
}

/// Module names of the feed-forward part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed {
    /// First products: a gate as well where there are two.
    pub ways: &'static [&'static str],
    pub down: &'static str,
    pub norm: &'static str,
}

/// Module names within a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub own: Attention,
    /// Attention to an encoder.
    pub cross: Attention,
    pub feed: Feed,
    /// Parameters that scale what is added.
    pub scales: [&'static str; 2],
}

/// Where norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Before each part.
    Pre,
    /// Behind each sum.
    Post,
}

/// Which products add a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Biases {
    pub qkv: [bool; 3],
    pub out: bool,
    /// Both products of the feed-forward part.
    pub feed: bool,
}

impl Biases {
    pub(super) const ALL: Self = Self::all(true);

    pub(super) const fn all(added: bool) -> Self {
        Self { qkv: [added; 3], out: added, feed: added }
    }
}

/// A block in numbers and traits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub names: &'static Names,
    pub heads: u64,
    /// Columns of a head.
    pub dim: u64,
    pub inner: u64,
    pub norm: Norm,
    pub order: Order,
    /// Type of the op of the pointwise function.
    pub act: &'static str,
    pub biases: Biases,
    /// One product makes gate and values.
    pub is_gate_fused: bool,
    pub is_rotary: bool,
}

impl Layer {
    /// With biases everywhere, of `hidden` columns.
    ///
    /// # Errors
    /// `heads-do-not-divide`.
    pub(super) fn new(
        names: &'static Names,
        (hidden, heads, inner): (u64, u64, u64),
        order: Order,
    ) -> Done<Self> {
        Ok(Self::of(names, [heads, divided(hidden, heads)?, inner], order))
    }

    /// Of heads of `dim` columns, whatever the width is.
    pub(super) const fn of(
        names: &'static Names,
        [heads, dim, inner]: [u64; 3],
        order: Order,
    ) -> Self {
        let (norm, act, biases) = (Norm::Layer, "Gelu", Biases::ALL);
        let (is_gate_fused, is_rotary) = (false, false);
        Self { names, heads, dim, inner, norm, order, act, biases, is_gate_fused, is_rotary }
    }

    /// With the pointwise function that the library calls `name`.
    pub(super) fn acting(self, name: &str) -> Self {
        Self { act: op_type(name), ..self }
    }

    /// With biases of queries, keys and values as stated.
    pub(super) fn qkv(self, qkv: [bool; 3]) -> Self {
        Self { biases: Biases { qkv, ..self.biases }, ..self }
    }

    pub(super) fn width(&self) -> u64 {
        self.heads.saturating_mul(self.dim)
    }

    /// The products of attention to so many tokens.
    pub(super) fn core<'a>(&self, span: u64, biases: &'a [TensorId]) -> Core<'a> {
        Core { heads: self.heads, dim: self.dim, spans: [span; 2], biases }
    }
}

/// Columns of a head.
///
/// # Errors
/// `heads-do-not-divide`.
pub(super) fn divided(hidden: u64, heads: u64) -> Done<u64> {
    if heads > 0 && hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    let message = format!("{hidden} columns are not divisible by {heads} heads");
    Err(Diagnostic::input("heads-do-not-divide", message))
}

/// The op of a pointwise function of the library.
pub(super) fn op_type(act: &str) -> &'static str {
    match act {
        "relu" => "Relu",
        "silu" | "swish" => "Silu",
        "quick_gelu" => "QuickGelu",
        "tanh" => "Tanh",
        "sigmoid" => "Sigmoid",
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => "FastGelu",
        "gelu" => "Gelu",
        _ => "Activation",
    }
}

/// What a block of tokens sees.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight<'a> {
    /// States of an encoder.
    pub encoded: Option<Flow>,
    /// Tokens that a token is multiplied with for its scores and for what it reads, where these are
    /// not all.
    pub spans: Option<[u64; 2]>,
    /// Windows of each sequence, which attend to themselves.
    pub windows: Option<u64>,
    /// Added to the scores.
    pub biases: &'a [TensorId],
    /// The first norm is left out.
    pub is_bare: bool,
}

impl Net {
    /// So many blocks at `at`, one behind the other.
    pub(super) fn stack(
        &mut self,
        layer: &Layer,
        (at, n): (&str, u64),
        mut state: Flow,
        sight: &Sight<'_>,
    ) -> Done {
        for i in 0..n {
            state = self.layer(layer, &format!("{at}.{i}"), state, sight)?;
        }
        Ok(state)
    }

    /// A block at the module `at`.
    pub(super) fn layer(&mut self, layer: &Layer, at: &str, x: Flow, sight: &Sight<'_>) -> Done {
        let Names { own: attention, feed, scales, .. } = layer.names;
        let norm = if sight.is_bare { "" } else { attention.norm };
        let state = self.part(layer, at, (norm, scales[0]), x, |net, x| {
            net.own_attention(layer, at, x, sight)
        })?;
        let state = self.other_attention(layer, at, state, sight.encoded)?;
        self.part(layer, at, (feed.norm, scales[1]), state, |net, x| net.feed(layer, at, x))
    }

    /// What a function makes of the state, added to it, with a norm before or behind.
    pub(super) fn part(
        &mut self,
        layer: &Layer,
        at: &str,
        (norm, scale): (&str, &str),
        state: Flow,
        of: impl FnOnce(&mut Self, Flow) -> Done,
    ) -> Done {
        let module = join(at, norm);
        let is_pre = layer.order == Order::Pre && !norm.is_empty();
        let x = if is_pre { self.norm(&module, layer.norm, state)? } else { state };
        let mut made = of(self, x)?;
        if !scale.is_empty() {
            let name = join(at, scale);
            let part = if owner(&name) == at { scale } else { "" };
            made = self.with((owner(&name), part, "Mul"), made, (&name, &[made.width]))?;
        }
        let sum = self.add(&module, "add", [state, made])?;
        if layer.order == Order::Post { self.norm(&module, layer.norm, sum) } else { Ok(sum) }
    }

    /// Attention of a state to itself, with the product behind it.
    pub(super) fn own_attention(
        &mut self,
        layer: &Layer,
        at: &str,
        x: Flow,
        sight: &Sight<'_>,
    ) -> Done {
        let (names, module) = (&layer.names.own, join(at, layer.names.own.module));
        let [mut q, k, mut v] = self.projected(layer, at, names, [x; 3])?;
        let mut keys = k;
        if layer.is_rotary {
            let is_fused = q.id == k.id;
            q = self.plain(&module, ("rotary_q", "RotaryEmbedding"), &[q])?;
            (keys, v) = if is_fused { (q, q) } else { (k, v) };
            if !is_fused {
                keys = self.plain(&module, ("rotary_k", "RotaryEmbedding"), &[k])?;
            }
        }
        let windows = sight.windows.unwrap_or(1).max(1);
        let all = x.rows / windows;
        let spans = sight.spans.unwrap_or([all; 2]);
        let core = Core { spans, ..layer.core(all, sight.biases) };
        let q = q.seen(x.count.saturating_mul(windows), all);
        let made = self.attend(&module, q, (keys.id, v.id), core)?.seen(x.count, x.rows);
        self.linear(&join(at, names.out), made, x.width, layer.biases.out)
    }

    /// Queries, keys and values.
    pub(super) fn projected(
        &mut self,
        layer: &Layer,
        at: &str,
        names: &Attention,
        from: [Flow; 3],
    ) -> Done<[Flow; 3]> {
        let (at, width, biases) = (join(at, names.module), layer.width(), layer.biases.qkv);
        if let [fused] = names.parts {
            let width = width.saturating_mul(3);
            return Ok([self.linear(&join(&at, fused), from[0], width, biases[0])?; 3]);
        }
        let mut all = from;
        for (i, name) in names.parts.iter().take(3).enumerate() {
            all[i] = self.linear(&join(&at, name), from[i], width, biases[i])?;
        }
        Ok(all)
    }

    /// Attention of a state to an encoder's, where there is one.
    pub(super) fn other_attention(
        &mut self,
        layer: &Layer,
        at: &str,
        state: Flow,
        encoded: Option<Flow>,
    ) -> Done {
        let (names, Some(encoded)) = (&layer.names.cross, encoded) else { return Ok(state) };
        self.part(layer, at, (names.norm, ""), state, |net, x| {
            let [q, k, v] = net.projected(layer, at, names, [x, encoded, encoded])?;
            let core = layer.core(encoded.rows, &[]);
            let made = net.attend(&join(at, names.module), q, (k.id, v.id), core)?;
            net.linear(&join(at, names.out), made, x.width, layer.biases.out)
        })
    }

    /// The feed-forward part.
    pub(super) fn feed(&mut self, layer: &Layer, at: &str, x: Flow) -> Done {
        let Feed { ways, down, .. } = layer.names.feed;
        let bias = layer.biases.feed;
        let times = if layer.is_gate_fused { 2 } else { 1 };
        let mut made = Vec::new();
        for name in ways {
            made.push(self.linear(&join(at, name), x, layer.inner.saturating_mul(times), bias)?);
        }
        let module = join(at, ways.first().copied().unwrap_or_default());
        let act = (module.as_str(), "activation", layer.act);
        let mut active = self.apply(act, &made[..1], &[], layer.inner)?;
        if let [_, other] = made[..] {
            active = self.plain(&module, ("gate", "Mul"), &[active, other])?;
        }
        self.linear(&join(at, down), active, x.width, bias)
    }
}
