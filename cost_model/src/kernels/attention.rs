//! How long one fused attention call takes on a GPU: closed forms of eleven constants for the two
//! phases of serving, with a residual table on top.
//!
//! Prefill, causal, `b` sequences of `l` tokens, `h` query and `g` cached heads of `d` elements,
//! on `s` multiprocessors, in blocks of 128 tokens (`q = ceil(l / 128)`):
//!
//! ```text
//! work    = (pad 128^2 q (q + 1) / 2 x 4 d + (1 - pad) 2 l (l + 1) d) head(d)
//! head(d) = small head factor up to 64, (large head factor)^log2(d / 128) above 128, else 1
//! waves   = b h q / s, of which a share is rounded up, at least 1
//! compute = max(waves (work / q / (peak ec / s) + block),
//!               serial x 2 work / (q + 1) / (peak ec / s))
//! memory  = 4 b l (h + g) d / (bandwidth em)
//! t       = launch (1 - short 2^(-l / 32)) + (compute^p + memory^p)^(1 / p)
//! ```
//!
//! Decode, one query over a cache of `l` tokens. Three kernels serve it: one for `h = g`, one whose
//! blocks share a cached head among `h / g` queries, and for more than [`LARGEST_GROUP`] queries a
//! fallback that reads the cache again for each query head, `reread` of them at a time:
//!
//! ```text
//! bytes   = 4 b (fallback ? h / reread : g) l d + 4 b h d
//! memory  = bytes / (bandwidth em) (miss + (1 - miss) / cache_gain),   miss = min(1, bytes / cache)
//! blocks  = shared ? b g : b h
//! waves   = blocks / s, of which a share is rounded up
//! compute = waves (shared ? shared block + per query h / g : block) (d / 128)^head power
//! t       = launch + growth log2(1 + l / 64) + (compute^p + memory^p)^(1 / p)
//! ```

use ir::measured::{AttentionPhase, AttentionRow, GpuFacts};

use crate::kernels::origin::Origin;
use crate::numeric::least_squares::{Parameter, fit};
use crate::numeric::p_norm::joined;
use crate::numeric::residual::Residual;

/// Count of the fitted constants of each phase.
pub const N_CONSTANTS: u32 = 11;
/// Queries per cached head that the shared decode kernel serves at most.
pub const LARGEST_GROUP: u64 = 32;

/// Tokens of one block of queries, and of keys.
const BLOCK: f64 = 128.0;
/// Bytes of the last-level cache where the data sheet does not say.
const USUAL_CACHE: f64 = 126e6;
/// Nearest fitted points that the residual table averages over.
const NEAREST: usize = 8;
/// How much a doubling of batch, length, heads, cached heads and head size counts as distance.
const PREFILL_DISTANCE: [f64; 5] = [0.25, 1.0, 0.25, 0.25, 1.0];
/// The same for decode, where every extent matters alike.
const DECODE_DISTANCE: [f64; 5] = [0.7, 0.7, 0.7, 0.7, 2.0];

pub(crate) const PREFILL: [Parameter; N_CONSTANTS as usize] = [
    Parameter::new(10.0, 0.0, 40.0),
    Parameter::new(0.5, 0.1, 1.0),
    Parameter::new(0.7, 0.1, 1.2),
    Parameter::new(1.5, 1.0, 6.0),
    Parameter::new(1.2, 0.5, 3.0),
    Parameter::new(1.1, 0.3, 5.0),
    Parameter::new(0.5, 0.0, 20.0),
    Parameter::new(0.8, 0.0, 2.0),
    Parameter::new(0.5, 0.0, 1.0),
    Parameter::new(0.1, 0.0, 0.9),
    Parameter::new(0.5, 0.0, 1.0),
];

pub(crate) const DECODE: [Parameter; N_CONSTANTS as usize] = [
    Parameter::new(8.0, 0.0, 40.0),
    Parameter::new(0.8, 0.1, 1.2),
    Parameter::new(2.0, 1.0, 6.0),
    Parameter::new(2.0, 0.5, 40.0),
    Parameter::new(3.0, 0.0, 40.0),
    Parameter::new(1.0, 0.0, 20.0),
    Parameter::new(0.5, 0.0, 5.0),
    Parameter::new(0.5, 0.0, 2.0),
    Parameter::new(0.5, 0.0, 1.0),
    Parameter::new(1.5, 1.0, 6.0),
    Parameter::new(0.2, 0.0, 10.0),
];

/// A predicted time and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Seconds.
    pub seconds: f64,
    /// Where it comes from.
    pub origin: Origin,
}

/// Constants of one phase, in the order of the fit, times in microseconds.
pub type Constants = [f64; N_CONSTANTS as usize];

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masking {
    /// Its own and earlier ones.
    Causal,
    /// All.
    Full,
}

/// A call as a graph has it, whatever its element type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// Query heads of all sequences.
    pub heads: f64,
    /// Cached heads of all sequences.
    pub kv_heads: f64,
    /// Queries of a sequence.
    pub queries: f64,
    /// Keys of a sequence.
    pub keys: f64,
    /// Elements of a head.
    pub head_dim: f64,
    /// Bytes of one query of each head and of its result.
    pub query_bytes: f64,
    /// Bytes of keys and values.
    pub cached_bytes: f64,
    /// Which keys a query sees.
    pub masking: Masking,
    /// Work over that of the forward pass: 1, or more for gradients.
    pub effort: f64,
}

/// Where the time of a call goes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallParts {
    /// Start-up.
    pub launch_s: f64,
    /// Products alone.
    pub compute_s: f64,
    /// Memory traffic alone.
    pub memory_s: f64,
    /// Exponent that joins the two.
    pub p_norm: f64,
    /// Rounds of blocks over the multiprocessors, as they count.
    pub waves: f64,
    /// Floating-point operations as they count, padding included.
    pub work: f64,
}

impl CallParts {
    /// The whole.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.launch_s + joined(self.compute_s, self.memory_s, self.p_norm)
    }
}

/// Extents of a row of the tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Sequences.
    pub batch: f64,
    /// Tokens of the prompt (prefill) or in the cache (decode).
    pub length: f64,
    /// Query heads.
    pub heads: f64,
    /// Cached heads.
    pub kv_heads: f64,
    /// Elements of a head.
    pub head_dim: f64,
}

impl From<&AttentionRow> for Shape {
    fn from(row: &AttentionRow) -> Self {
        Self {
            batch: row.batch as f64,
            length: row.seq_len as f64 + row.step as f64,
            heads: row.heads as f64,
            kv_heads: row.kv_heads as f64,
            head_dim: row.head_dim as f64,
        }
    }
}

impl Shape {
    /// The call in 16-bit floats, causal.
    fn call(&self) -> Call {
        let Self { batch, length, heads, kv_heads, head_dim } = *self;
        Call {
            heads: batch * heads,
            kv_heads: batch * kv_heads,
            queries: length,
            keys: length,
            head_dim,
            query_bytes: 4.0 * batch * heads * head_dim,
            cached_bytes: 4.0 * batch * kv_heads * length * head_dim,
            masking: Masking::Causal,
            effort: 1.0,
        }
    }

    fn place(&self, phase: AttentionPhase) -> [f64; 5] {
        let extents = [self.batch, self.length, self.heads, self.kv_heads, self.head_dim];
        let scale = match phase {
            AttentionPhase::Prefill => PREFILL_DISTANCE,
            AttentionPhase::Decode => DECODE_DISTANCE,
        };
        let mut place = [0.0; 5];
        for ((place, extent), scale) in place.iter_mut().zip(extents).zip(scale) {
            *place = scale * extent.max(1.0).log2();
        }
        place
    }
}

/// A model of one phase of attention on one GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    facts: GpuFacts,
    phase: AttentionPhase,
    /// Constants of the closed form.
    pub constants: Constants,
    residual: Residual<5>,
}

impl Model {
    /// Fits the form and the residual table on rows of one GPU; rows of another phase are left out.
    #[must_use]
    pub fn fit(facts: GpuFacts, phase: AttentionPhase, rows: &[AttentionRow]) -> Self {
        let rows: Vec<(Shape, f64)> = rows
            .iter()
            .filter(|row| row.phase == phase)
            .map(|row| (Shape::from(row), row.time_s))
            .collect();
        let measured: Vec<f64> = rows.iter().map(|(_, time)| *time).collect();
        let start = match phase {
            AttentionPhase::Prefill => PREFILL,
            AttentionPhase::Decode => DECODE,
        };
        let array = |values: &[f64]| {
            let mut constants = start.map(|parameter| parameter.start);
            for (constant, value) in constants.iter_mut().zip(values) {
                *constant = *value;
            }
            constants
        };
        let fitted = fit(&start, &measured, |values, predicted| {
            let constants = array(values);
            for (time, (shape, _)) in predicted.iter_mut().zip(&rows) {
                *time = seconds(&facts, phase, &constants, shape);
            }
        });
        let constants = array(&fitted.values);
        let points = rows.iter().map(|(shape, time)| {
            (shape.place(phase), (time / seconds(&facts, phase, &constants, shape)).ln())
        });
        Self { facts, phase, constants, residual: Residual::new(points, NEAREST) }
    }

    /// The closed form with given constants.
    #[must_use]
    pub fn of(facts: GpuFacts, phase: AttentionPhase, constants: Constants) -> Self {
        Self { facts, phase, constants, residual: Residual::new([], NEAREST) }
    }

    /// The same without its residual table.
    #[must_use]
    pub fn closed(&self) -> Self {
        Self { residual: Residual::new([], NEAREST), ..self.clone() }
    }

    /// Time of one call.
    #[must_use]
    pub fn predict(&self, shape: &Shape) -> Predicted {
        let place = shape.place(self.phase);
        let closed = seconds(&self.facts, self.phase, &self.constants, shape);
        let seconds = closed * self.residual.factor(&place);
        let seen = self.residual.holds(&place);
        Predicted { seconds, origin: if seen { Origin::Measured } else { Origin::Interpolated } }
    }
}

pub(crate) fn seconds(
    facts: &GpuFacts,
    phase: AttentionPhase,
    constants: &[f64; N_CONSTANTS as usize],
    shape: &Shape,
) -> f64 {
    let parts = match phase {
        AttentionPhase::Prefill => prefill(facts, constants, &shape.call()),
        AttentionPhase::Decode => decode(facts, constants, &shape.call()),
    };
    parts.seconds()
}

/// Where the time of a prompt's call goes.
#[must_use]
pub fn prefill(facts: &GpuFacts, constants: &Constants, call: &Call) -> CallParts {
    let [launch, ec, em, p_norm, small_head, large_head, block, serial, pad, short, whole_waves] =
        *constants;
    let Call { heads, queries, keys, head_dim, .. } = *call;
    let s = f64::from(facts.n_multiprocessors.max(1));
    let head = if head_dim <= 64.0 {
        small_head
    } else if head_dim > 128.0 {
        large_head.powf((head_dim / 128.0).log2())
    } else {
        1.0
    };
    let [q, k] = [queries, keys].map(|tokens| (tokens / BLOCK).ceil().max(1.0));
    // Pairs of blocks, pairs of tokens, and the share of the longest row of blocks.
    let (blocks, pairs, longest) = match call.masking {
        Masking::Causal => (q * (q + 1.0) / 2.0, queries * (queries + 1.0) / 2.0, 2.0 / (q + 1.0)),
        Masking::Full => (q * k, queries * keys, 1.0 / q),
    };
    let work = 4.0 * head_dim * (pad * BLOCK * BLOCK * blocks + (1.0 - pad) * pairs);
    let work = work * head * call.effort;
    let rate = facts.peak * ec / s;
    let waves = heads * q / s;
    let waves = (waves + whole_waves * (waves.ceil() - waves)).max(1.0);
    let compute = waves * (work / q / rate + block * 1e-6);
    CallParts {
        launch_s: launch * 1e-6 * (1.0 - short * (-queries / 32.0).exp2()),
        compute_s: compute.max(serial * longest * work / rate),
        memory_s: (call.query_bytes * queries + call.cached_bytes) / (facts.memory_bandwidth * em),
        p_norm,
        waves,
        work: heads * work,
    }
}

/// Where the time of a call with one query per sequence goes.
#[must_use]
pub fn decode(facts: &GpuFacts, constants: &Constants, call: &Call) -> CallParts {
    let [launch, em, p_norm, reread, shared_block, block, growth, constants @ ..] = *constants;
    let [head_power, whole_waves, cache_gain, per_query] = constants;
    let Call { heads, kv_heads, keys, head_dim, .. } = *call;
    let s = f64::from(facts.n_multiprocessors.max(1));
    let fallback = heads > LARGEST_GROUP as f64 * kv_heads;
    let shared = !fallback && heads > kv_heads;
    let readers = if fallback { heads / reread } else { kv_heads };
    let bytes = call.cached_bytes * (readers / kv_heads) + call.query_bytes;
    let miss = (bytes / facts.last_level_cache.unwrap_or(USUAL_CACHE)).min(1.0);
    let memory_s = bytes / (facts.memory_bandwidth * em) * (miss + (1.0 - miss) / cache_gain);
    let (blocks, cost) = if shared {
        (kv_heads, shared_block + per_query * heads / kv_heads)
    } else {
        (heads, block)
    };
    let waves = blocks / s;
    let waves = waves + whole_waves * (waves.ceil() - waves);
    CallParts {
        launch_s: launch * 1e-6 + growth * 1e-6 * (1.0 + keys / 64.0).log2(),
        compute_s: waves * cost * 1e-6 * (head_dim / 128.0).powf(head_power) * call.effort,
        memory_s,
        p_norm,
        waves,
        work: heads * 4.0 * keys * head_dim * call.effort,
    }
}

#[cfg(test)]
mod tests;
