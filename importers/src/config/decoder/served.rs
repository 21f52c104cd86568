//! Layers of a decoder as cards, for runs that serve: those of attention as they are, others as attention
//! with the same weights of products and a cache as large as what they keep of a sample.

use ir::card::{Attention, ExpertCard, FeedForward, Head, TransformerCard};
use serde_json::Value;

use super::layers::{Fed, Kind};
use super::sizes::{Experts, Index, Sizes};
use super::style::{Delta, Form, Mixer, Space};
use super::{Decoder, stated};
use crate::config::builder::Done;
use crate::config::fields::{Fields, invalid};

/// Elements of 16 bits that hold one of 32, which states of recurrences are kept in.
const WIDE: u64 = 2;

/// Elements of the widest heads of fused kernels.
const WIDEST: u64 = 256;

/// A layer.
pub(in crate::config) struct Layer {
    pub card: TransformerCard,
    /// Weights of the products of its mixer beyond those of the card.
    pub extra_weights: u64,
    /// What it is priced as in place of what it is.
    pub as_other: Option<&'static str>,
}

impl Decoder {
    /// Its layers, of which each has so many weights of products besides experts, for samples of so many tokens.
    ///
    /// # Errors
    /// `invalid-field`, `missing-field`, `heads-do-not-divide`.
    pub(in crate::config) fn layers(
        &self,
        name: &str,
        (sequence, products): (u64, &[u64]),
    ) -> Done<Vec<Layer>> {
        let all = self.layers.iter().enumerate();
        all.map(|(at, kind)| {
            let products = products.get(at).copied().unwrap_or(0);
            self.as_layer(*kind, (name, sequence), products)
        })
        .collect()
    }

    /// Positions that it was made for, where its config says.
    pub(in crate::config) const fn positions(&self) -> Option<u64> {
        self.sizes.positions
    }

    fn as_layer(&self, kind: Kind, (name, sequence): (&str, u64), products: u64) -> Done<Layer> {
        let fields = Fields(&self.fields);
        let is_window = matches!(kind.mixer, Mixer::Window(_));
        let mut n = self.sizes.with_heads((fields, &self.style), is_window)?;
        n.kv_heads = kind.own.kv_heads.unwrap_or(n.kv_heads);
        n.inner = kind.own.inner.unwrap_or(n.inner);
        let (form, feed_forward, experts) = self.fed_as(kind, &n);
        let h = n.hidden;
        let of_experts = experts.map_or(0, |experts: ExpertCard| {
            let shared = experts.n_shared.saturating_mul(experts.feed_forward);
            experts.n_experts.saturating_add(shared.saturating_mul(1 + form.n_first()))
        });
        let dense = if experts.is_some() { 0 } else { feed_forward };
        let of_fed = dense.saturating_mul(1 + form.n_first()).saturating_add(of_experts);
        let own = products.saturating_sub(h.saturating_mul(of_fed));
        let (attention, as_other) = self.mixer_as(kind, &mut n, (sequence, own))?;
        let card = TransformerCard {
            name: name.to_owned(),
            n_layers: u32::try_from(self.layers.len()).unwrap_or(u32::MAX),
            hidden: h,
            n_heads: n.heads,
            n_kv_heads: if matches!(attention, Attention::Latent { .. }) {
                n.heads
            } else {
                n.kv_heads
            },
            feed_forward,
            form,
            sequence,
            vocabulary: n.vocabulary,
            experts,
            attention,
            head: if self.is_tied { Head::Tied } else { Head::Separate },
        };
        let extra_weights = own.saturating_sub(of_attention(&card));
        Ok(Layer { card, extra_weights, as_other })
    }

    /// The feed-forward part: its form, its width, and experts.
    fn fed_as(&self, kind: Kind, n: &Sizes) -> (FeedForward, u64, Option<ExpertCard>) {
        let form = |form| if form == Form::Plain { FeedForward::Plain } else { FeedForward::Gated };
        let own = form(self.style.feed_forward.form);
        match (kind.fed, self.style.mixture, n.experts) {
            (Fed::Experts, Some(mixture), Some(experts)) => {
                let Experts { per_token, inner, latent, shared, .. } = experts;
                // Experts of a narrower width have fewer weights in proportion.
                let narrow = u128::from(latent.unwrap_or(n.hidden)) * u128::from(inner);
                let width = (narrow / u128::from(n.hidden.max(1))).max(1) as u64;
                let beside = if mixture.beside[0].is_empty() { 0 } else { n.inner };
                let card = ExpertCard {
                    n_experts: experts.n,
                    per_token,
                    feed_forward: width,
                    n_shared: shared.saturating_add(beside) / width,
                    has_biases: mixture.biases,
                    ..ExpertCard::default()
                };
                (form(mixture.form), n.inner, Some(card))
            }
            (Fed::Linear, ..) => (own, (n.hidden / (1 + own.n_first())).max(1), None),
            // A part that is not there is as narrow as heads that tensor ranks share out.
            (Fed::Absent, ..) => (own, n.heads.max(1), None),
            _ => (own, n.inner, None),
        }
    }

    fn mixer_as(
        &self,
        kind: Kind,
        n: &mut Sizes,
        (sequence, products): (u64, u64),
    ) -> Done<(Attention, Option<&'static str>)> {
        let fields = Fields(&self.fields);
        if let Some(cache) = self.cache_of_others(kind, n, sequence)? {
            let as_other = (cache > 0).then_some("attention of equal weights and cache");
            return Ok((equivalent(n, products, cache), as_other));
        }
        let dim = n.head_dim.saturating_add(n.value_dim).div_ceil(2).max(1);
        let full = || match n.latent {
            Some(latent) => Attention::Latent {
                query_rank: latent.query_rank,
                key_value_rank: latent.rank,
                plain: latent.plain,
                rotary: latent.rotary,
                value: n.value_dim,
            },
            None => Attention::Heads { dim },
        };
        Ok(match kind.mixer {
            Mixer::Full => (full(), None),
            Mixer::Window(tokens) => match n.latent {
                Some(_) => (full(), Some("attention to all tokens")),
                None => (Attention::Window { dim, tokens }, None),
            },
            Mixer::Picked(is_own) => {
                // The index keeps keys beside those of attention.
                let keys = if is_own { Index::read(fields)?.dim } else { 0 };
                let attention = match full() {
                    Attention::Latent { query_rank, key_value_rank, plain, rotary, value } => {
                        let key_value_rank = key_value_rank.saturating_add(keys);
                        Attention::Latent { query_rank, key_value_rank, plain, rotary, value }
                    }
                    other => other,
                };
                (attention, Some("attention to all tokens"))
            }
            Mixer::Blocks => (full(), Some("attention to all tokens")),
            _ => {
                let value = Value::from(format!("{:?}", kind.mixer));
                return Err(invalid("layer_types", &value, "layers of this type have no card"));
            }
        })
    }

    /// Elements that mixers other than attention to tokens keep of a sample.
    fn cache_of_others(&self, kind: Kind, n: &Sizes, sequence: u64) -> Done<Option<u64>> {
        let kept = match kind.mixer {
            Mixer::Compressed(is_picked) => self.entries_kept(n, (sequence, Some(is_picked)))?,
            Mixer::Window(_) if self.style.attention.is_entries => {
                self.entries_kept(n, (sequence, None))?
            }
            Mixer::Space(_)
            | Mixer::Delta(_)
            | Mixer::Lightning
            | Mixer::Convolution
            | Mixer::Recurrence => kept(Fields(&self.fields), kind.mixer, n)?,
            Mixer::None | Mixer::Linear => 0,
            _ => return Ok(None),
        };
        Ok(Some(kept))
    }

    /// Elements that attention to entries keeps of a sample.
    fn entries_kept(&self, n: &Sizes, (sequence, picked): (u64, Option<bool>)) -> Done<u64> {
        let fields = Fields(&self.fields);
        let window = fields.optional("sliding_window")?.unwrap_or(sequence).min(sequence);
        let Some(is_picked) = picked else { return Ok(window.saturating_mul(n.head_dim)) };
        let made = sequence / stated::rate(fields, is_picked)?;
        let keys = if is_picked { Index::read(fields)?.dim } else { 0 };
        let of_made = made.saturating_mul(n.head_dim.saturating_add(keys));
        Ok(window.saturating_mul(n.head_dim).saturating_add(of_made))
    }
}

/// Weights of the products of a card's attention.
fn of_attention(card: &TransformerCard) -> u64 {
    let h = card.hidden;
    let (key, value) = card.head_dims();
    let heads = |dim: u64| card.n_heads.saturating_mul(dim);
    match card.attention {
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let queries = query_rank.unwrap_or(h).saturating_mul(heads(key));
            let keys = key_value_rank.saturating_mul(heads(plain.saturating_add(value)));
            let narrow =
                query_rank.unwrap_or(0).saturating_add(key_value_rank).saturating_add(rotary);
            let around = h.saturating_mul(narrow.saturating_add(heads(value)));
            queries.saturating_add(keys).saturating_add(around)
        }
        _ => {
            let width = card.n_heads.saturating_add(card.n_kv_heads).saturating_mul(2);
            h.saturating_mul(width.saturating_mul(key))
        }
    }
}

/// Sliding-window attention with the product weights and cache elements of another mixer. Heads wider than
/// fused kernels take are split into several.
fn equivalent(n: &mut Sizes, products: u64, cache: u64) -> Attention {
    let width =
        n.heads.saturating_add(n.kv_heads).saturating_mul(2).saturating_mul(n.hidden).max(1);
    let times = (products / width).div_ceil(WIDEST).max(1);
    n.heads = n.heads.saturating_mul(times);
    n.kv_heads = n.kv_heads.saturating_mul(times);
    let dim = (products / width.saturating_mul(times)).max(1);
    let token = n.kv_heads.saturating_mul(dim).saturating_mul(2).max(1);
    Attention::Window { dim, tokens: cache.div_ceil(token).max(1) }
}

/// Elements that a recurrence keeps of a sample.
fn kept(fields: Fields<'_>, mixer: Mixer, n: &Sizes) -> Done<u64> {
    let first = |names: &[&'static str], usual: u64| -> Done<u64> {
        let stated =
            |name: &&&'static str| fields.get(name).is_some_and(|value| value.as_str().is_none());
        names.iter().find(stated).map_or(Ok(usual), |name| fields.count(&[*name], None))
    };
    let elements = match mixer {
        Mixer::Delta(Delta::Channels) => {
            let dim = first(&["linear_head_dim"], 128)?;
            first(&["linear_num_heads"], 32)?.saturating_mul(dim).saturating_mul(dim)
        }
        Mixer::Delta(_) => {
            let key = first(&["linear_key_head_dim"], 128)?;
            let value = first(&["linear_value_head_dim"], 128)?;
            first(&["linear_num_value_heads"], 32)?.saturating_mul(key).saturating_mul(value)
        }
        Mixer::Space(space) => {
            let wide = first(&["expand", "mamba_expand"], 2)?.saturating_mul(n.hidden);
            let usual = if space == Space::Heads { 128 } else { 16 };
            let states = first(&["state_size", "mamba_d_state", "ssm_state_size"], usual)?;
            let heads =
                first(&["mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads"], 1)?;
            let inner = match fields.get("mamba_head_dim").and_then(Value::as_u64) {
                Some(dim) if space == Space::Heads => heads.saturating_mul(dim),
                _ => first(&["mamba_d_ssm"], wide)?,
            };
            inner.saturating_mul(states)
        }
        Mixer::Lightning => n.heads.saturating_mul(n.head_dim).saturating_mul(n.head_dim),
        _ => n.hidden,
    };
    Ok(elements.saturating_mul(WIDE))
}
