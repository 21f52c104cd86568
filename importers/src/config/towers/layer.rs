//! Blocks of encoders and decoders by their traits.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::net::{Core, Flow, Net, Norm};

/// Module names within a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// Queries, keys and values; a single name for a fused projection.
    pub qkv: &'static [&'static str],
    pub out: &'static str,
    /// Before (or behind) attention and the feed-forward part.
    pub norms: [&'static str; 2],
    /// First products of the feed-forward part: a gate as well where there are two.
    pub ways: &'static [&'static str],
    pub down: &'static str,
    /// Queries, keys, values, output and norm of attention to an encoder.
    pub cross: [&'static str; 5],
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
    pub kv_heads: u64,
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
    /// With norms behind each part and biases everywhere, of `hidden` columns.
    ///
    /// # Errors
    /// `heads-do-not-divide`.
    pub(super) fn new(
        names: &'static Names,
        (hidden, heads, inner): (u64, u64, u64),
        order: Order,
    ) -> Result<Self, Diagnostic> {
        Ok(Self {
            names,
            heads,
            kv_heads: heads,
            dim: divided(hidden, heads)?,
            inner,
            norm: Norm::Layer,
            order,
            act: "Gelu",
            biases: Biases::ALL,
            is_gate_fused: false,
            is_rotary: false,
        })
    }

    /// With the pointwise function that the library calls `name`.
    pub(super) fn acting(self, name: &str) -> Self {
        Self { act: op_type(name), ..self }
    }

    pub(super) fn width(&self) -> u64 {
        self.heads.saturating_mul(self.dim)
    }
}

/// Columns of a head.
///
/// # Errors
/// `heads-do-not-divide`.
pub(super) fn divided(hidden: u64, heads: u64) -> Result<u64, Diagnostic> {
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
    /// A block at the module `at`.
    pub(super) fn layer(
        &mut self,
        layer: &Layer,
        at: &str,
        state: Flow,
        sight: &Sight<'_>,
    ) -> Result<Flow, Diagnostic> {
        let Names { norms: [first, second], cross, scales, .. } = *layer.names;
        let mut state = state;
        let norm = if sight.is_bare { "" } else { first };
        state = self.part(layer, at, (norm, scales[0]), state, |net, x| {
            net.own_attention(layer, at, x, sight)
        })?;
        if let Some(encoded) = sight.encoded {
            state = self.part(layer, at, (cross[4], ""), state, |net, x| {
                net.other_attention(layer, at, x, encoded)
            })?;
        }
        self.part(layer, at, (second, scales[1]), state, |net, x| net.feed(layer, at, x))
    }

    /// What a function makes of the state, added to it, with a norm before or behind.
    pub(super) fn part(
        &mut self,
        layer: &Layer,
        at: &str,
        (norm, scale): (&str, &str),
        state: Flow,
        of: impl FnOnce(&mut Self, Flow) -> Result<Flow, Diagnostic>,
    ) -> Result<Flow, Diagnostic> {
        let module = join(at, norm);
        let is_pre = layer.order == Order::Pre && !norm.is_empty();
        let x = if is_pre { self.norm(&module, layer.norm, state)? } else { state };
        let mut made = of(self, x)?;
        if !scale.is_empty() {
            let name = join(at, scale);
            let owner = name.rsplit_once('.').map_or("", |(owner, _)| owner).to_owned();
            let part = if owner == at { scale } else { "" };
            made = self.with((&owner, part, "Mul"), made, (&name, &[made.width]))?;
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
    ) -> Result<Flow, Diagnostic> {
        let [q, k, v] = self.projected(layer, at, [x; 3])?;
        let module = attention(at, layer.names.qkv.first().copied().unwrap_or_default());
        let windows = sight.windows.unwrap_or(1).max(1);
        let seen = |flow: Flow| flow.seen(x.count.saturating_mul(windows), x.rows / windows);
        let all = x.rows / windows;
        let spans = sight.spans.unwrap_or([all; 2]);
        let core = Core { heads: layer.heads, dim: layer.dim, spans, biases: sight.biases };
        let made = self.attend(&module, seen(q), (k.id, v.id), core)?.seen(x.count, x.rows);
        self.linear(&join(at, layer.names.out), made, x.width, layer.biases.out)
    }

    /// Queries, keys and values.
    pub(super) fn projected(
        &mut self,
        layer: &Layer,
        at: &str,
        from: [Flow; 3],
    ) -> Result<[Flow; 3], Diagnostic> {
        let kv = layer.kv_heads.saturating_mul(layer.dim);
        let widths = [layer.width(), kv, kv];
        let mut all = [from[0]; 3];
        if let [fused] = layer.names.qkv {
            let width = widths.iter().fold(0u64, |sum, own| sum.saturating_add(*own));
            let made = self.linear(&join(at, fused), from[0], width, layer.biases.qkv[0])?;
            all = [made; 3];
        } else {
            for (i, name) in layer.names.qkv.iter().take(3).enumerate() {
                all[i] = self.linear(&join(at, name), from[i], widths[i], layer.biases.qkv[i])?;
            }
        }
        if layer.is_rotary {
            let module = attention(at, layer.names.qkv.first().copied().unwrap_or_default());
            let n = if all[0].id == all[1].id { 1 } else { 2 };
            for (flow, part) in all.iter_mut().zip(["rotary_q", "rotary_k"]).take(n) {
                *flow = self.plain(&module, (part, "RotaryEmbedding"), &[*flow])?;
            }
            if n == 1 {
                all = [all[0]; 3];
            }
        }
        Ok(all)
    }

    /// Attention of a state to an encoder's, with the product behind it.
    pub(super) fn other_attention(
        &mut self,
        layer: &Layer,
        at: &str,
        x: Flow,
        encoded: Flow,
    ) -> Result<Flow, Diagnostic> {
        let [q, k, v, o, _] = layer.names.cross;
        let (width, bias) = (layer.width(), layer.biases.qkv);
        let queries = self.linear(&join(at, q), x, width, bias[0])?;
        let keys = self.linear(&join(at, k), encoded, width, bias[1])?;
        let values = self.linear(&join(at, v), encoded, width, bias[2])?;
        let core =
            Core { heads: layer.heads, dim: layer.dim, spans: [encoded.rows; 2], biases: &[] };
        let made = self.attend(&attention(at, q), queries, (keys.id, values.id), core)?;
        self.linear(&join(at, o), made, x.width, layer.biases.out)
    }

    /// The feed-forward part.
    pub(super) fn feed(&mut self, layer: &Layer, at: &str, x: Flow) -> Result<Flow, Diagnostic> {
        let Names { ways, down, .. } = *layer.names;
        let bias = layer.biases.feed;
        let times = if layer.is_gate_fused { 2 } else { 1 };
        let mut made = Vec::new();
        for name in ways {
            let n = layer.inner.saturating_mul(times);
            made.push(self.linear(&join(at, name), x, n, bias)?);
        }
        let module = join(at, ways.first().copied().unwrap_or_default());
        let mut active =
            self.apply((&module, "activation", layer.act), &made[..1], &[], layer.inner)?;
        if let [_, other] = made[..] {
            active = self.plain(&module, ("gate", "Mul"), &[active, other])?;
        }
        self.linear(&join(at, down), active, x.width, bias)
    }
}

/// The module `name` within `at`.
pub(super) fn join(at: &str, name: &str) -> String {
    match (at, name) {
        ("", name) => name.to_owned(),
        (at, "") => at.to_owned(),
        (at, name) => format!("{at}.{name}"),
    }
}

/// The module that owns a projection.
fn attention(at: &str, name: &str) -> String {
    join(at, name.rsplit_once('.').map_or("", |(owner, _)| owner))
}
