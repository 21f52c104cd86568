//! Prefill and decode attention of one layer.

use ir::diagnostic::Diagnostic;
use ir::engine_tables::{AttentionKey, EngineTables, Grid, MlaKey, NumberFormat, SystemRates};

use super::answer::{Answer, Class};
use super::bound::{self, Heads};
use super::grid::{self, Form};

/// Attention heads of one rank.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'t> {
    rates: &'t SystemRates,
    key: AttentionKey,
    heads: f64,
    prefill: &'t Grid,
    decode: &'t Grid,
}

impl<'t> Attention<'t> {
    /// Looks up the tables for `heads` query heads.
    ///
    /// # Errors
    /// `not-measured` where no such heads were measured.
    pub fn new(
        tables: &'t EngineTables,
        mut key: AttentionKey,
        heads: u32,
    ) -> Result<Self, Diagnostic> {
        if key.kv_heads == heads {
            key.kv_heads = 0;
        }
        let decoded = AttentionKey { number: NumberFormat::Bf16, ..key };
        let (prefill, decode) = (tables.prefill.get(&key), tables.decode.get(&decoded));
        let Some((prefill, decode)) = prefill.zip(decode) else {
            let dims = tables.decode.keys().map(|key| u64::from(key.head_dim).to_string());
            let mut dims: Vec<String> = dims.collect();
            dims.dedup();
            return Err(missing(tables, "attention with such heads")
                .fact("kv_heads", u64::from(key.kv_heads))
                .fact("head_dim", u64::from(key.head_dim))
                .fact("window", u64::from(key.window))
                .fact("head_dims_measured", dims));
        };
        Ok(Self { rates: &tables.rates, key, heads: f64::from(heads), prefill, decode })
    }

    fn of(&self, heads: f64) -> Heads {
        let AttentionKey { number, cache, kv_heads, head_dim, window } = self.key;
        Heads {
            number,
            cache,
            heads,
            kv_heads: if kv_heads == 0 { heads } else { f64::from(kv_heads) },
            dim: f64::from(head_dim),
            window: f64::from(window),
        }
    }

    /// Time of `batch` prompts with `new` uncached and `cached` cached tokens each: the time of all
    /// tokens, less the share of the cached ones in their square.
    #[must_use]
    pub fn prefill(&self, batch: f64, new: f64, cached: f64) -> Answer {
        let bound = |[heads, tokens, batch]: &[f64; 3]| {
            bound::prefill(self.rates, self.of(*heads), *batch, *tokens)
        };
        let form = Form { square: Some(1), is_cold: false, bound };
        behind(new, cached, |tokens| grid::at(self.prefill, &[self.heads, tokens, batch], &form))
    }

    /// Time of a decode step of `batch` requests with `tokens` tokens each, the new one included.
    #[must_use]
    pub fn decode(&self, batch: f64, tokens: f64) -> Answer {
        let bound = |[heads, batch, tokens]: &[f64; 3]| {
            bound::decode(self.rates, self.of(*heads), *batch, *tokens)
        };
        let form = Form { square: None, is_cold: true, bound };
        let found = grid::at(self.decode, &[self.heads, batch, tokens], &form);
        found.unwrap_or_default()
    }
}

/// Multi-head latent attention (MLA) of one rank.
#[derive(Clone, Copy, Debug)]
pub struct Mla<'t> {
    rates: &'t SystemRates,
    key: MlaKey,
    heads: f64,
    prefill: &'t Grid,
    decode: &'t Grid,
}

impl<'t> Mla<'t> {
    /// Looks up the tables for `heads` heads.
    ///
    /// # Errors
    /// `not-measured` where no MLA with these data types was measured.
    pub fn new(tables: &'t EngineTables, key: MlaKey, heads: u32) -> Result<Self, Diagnostic> {
        let decoded = MlaKey { number: NumberFormat::Bf16, ..key };
        let (prefill, decode) = (tables.mla_prefill.get(&key), tables.mla_decode.get(&decoded));
        let (prefill, decode) =
            prefill.zip(decode).ok_or_else(|| missing(tables, "latent attention (MLA)"))?;
        Ok(Self { rates: &tables.rates, key, heads: f64::from(heads), prefill, decode })
    }

    /// As [`Attention::prefill`].
    #[must_use]
    pub fn prefill(&self, batch: f64, new: f64, cached: f64) -> Answer {
        let numbers = (self.key.number, self.key.cache);
        let bound = |[heads, tokens, batch]: &[f64; 3]| {
            bound::mla_prefill(self.rates, numbers, *heads, *batch, *tokens)
        };
        let form = Form { square: Some(1), is_cold: false, bound };
        behind(new, cached, |tokens| grid::at(self.prefill, &[self.heads, tokens, batch], &form))
    }

    /// As [`Attention::decode`].
    #[must_use]
    pub fn decode(&self, batch: f64, tokens: f64) -> Answer {
        let numbers = (self.key.number, self.key.cache);
        let bound = |[heads, batch, tokens]: &[f64; 3]| {
            bound::mla_decode(self.rates, numbers, *heads, *batch, *tokens)
        };
        let form = Form { square: None, is_cold: false, bound };
        let found = grid::at(self.decode, &[self.heads, batch, tokens], &form);
        found.unwrap_or_default()
    }
}

/// The batched GEMM of decode MLA on the query or the value side.
#[derive(Clone, Copy, Debug)]
pub struct MlaBmm<'t> {
    rates: &'t SystemRates,
    grid: &'t Grid,
    number: NumberFormat,
    heads: f64,
}

impl<'t> MlaBmm<'t> {
    /// Looks up the GEMM of `heads` heads; falls back to bf16 tables.
    ///
    /// # Errors
    /// `not-measured` where none was measured.
    pub fn new(
        tables: &'t EngineTables,
        number: NumberFormat,
        of_queries: bool,
        heads: u32,
    ) -> Result<Self, Diagnostic> {
        let find = |number| tables.mla_bmm.get(&(number, of_queries));
        let grid = find(number).or_else(|| find(NumberFormat::Bf16));
        let grid =
            grid.ok_or_else(|| missing(tables, "batched GEMMs of latent attention (MLA)"))?;
        Ok(Self { rates: &tables.rates, grid, number, heads: f64::from(heads) })
    }

    /// Time of `tokens` tokens.
    #[must_use]
    pub fn of(&self, tokens: f64) -> Answer {
        let bound = |[heads, tokens, _]: &[f64; 3]| {
            bound::mla_bmm(self.rates, self.number, *heads, *tokens)
        };
        let form = Form { square: None, is_cold: false, bound };
        grid::at(self.grid, &[self.heads, tokens], &form).unwrap_or_default()
    }
}

/// Time of the uncached part of prompts.
fn behind(new: f64, cached: f64, all: impl Fn(f64) -> Option<Answer>) -> Answer {
    let tokens = new + cached;
    if new <= 0.0 {
        return Answer::default();
    }
    let answer = all(tokens).unwrap_or_default();
    if cached <= 0.0 {
        return answer;
    }
    let left = (tokens * tokens - cached * cached) / (tokens * tokens);
    Answer { class: answer.class.max(Class::Interpolated), ..answer.scaled(left) }
}

/// The error `not-measured`.
pub(super) fn missing(tables: &EngineTables, what: &str) -> Diagnostic {
    let EngineTables { system, engine, version, .. } = tables;
    let message = format!("the tables of {engine} {version} on {system} hold no {what}");
    Diagnostic::input("not-measured", message)
}
