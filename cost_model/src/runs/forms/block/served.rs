//! A layer of an iteration of continuous batching, at the prices of blocks: what depends on the number of
//! tokens alone, and attention, which depends on whose tokens they are.
//!
//! ```text
//! tokens     products by weights, pointwise kernels, the router, starts of kernels between products
//! experts    a line: pairs of a token and an expert, and weights of those that are touched
//! prompts    a fused causal core over new tokens, and max(keys and values over memory bandwidth,
//!            operations at the rate of cores) over cached ones
//! decoding   a start, and max(keys and values over memory bandwidth, operations at the rate of cores)
//! ```
//!
//! Launches are taken to be recorded.

use ir::card::stored::Held;
use ir::card::{Attention, ExpertCard, Skew, TransformerCard};
use ir::plan::Parallelism;
use ir::stack::Stack;
use ir::tensor::DType;

use super::super::constants::Constants;
use super::super::precision;
use super::super::run::{Gradients, Sharded};
use super::super::system::System;
use super::{cached, experts, without_experts};
use crate::kernels::rates::{Core, Rates};

/// Kernels of a layer that are no products, whose starts stand between those of others: two norms with
/// their residuals, rotary embeddings, keys and values into their cache, attention, function and gate.
const BETWEEN: f64 = 6.0;
/// The same of experts: the best of the router, their order, function and gate, the sum of results.
const BETWEEN_EXPERTS: f64 = 4.0;
/// Seconds of a kernel at least, whatever its product's fit says: the smallest of `gemm.csv` take 1.7 us on
/// B200, 1.8 on RTX PRO 6000, 2.5 on A100 and H100.
const LEAST_START_S: f64 = 1.7e-6;
/// Seconds of a kernel that attends one query of each request and of the one that sums its parts, and the
/// share of the bandwidth of memory at which it reads keys and values: decode rows of `attention.csv`, 11 to
/// 17 us and 0.77 to 0.89 on A100, H100 and B200; aiconfigurator 0.12.0 has 13 us and 0.81 to 0.94 of vLLM
/// 0.24 on H100, H200 and RTX PRO 6000.
const DECODE_START_S: f64 = 12e-6;
const DECODE_SHARE: f64 = 0.88;
/// Tokens at which the line of an expert's products is looked at.
const MANY: u64 = 1 << 20;
/// Experts whose visits are looked at one by one; beyond them all are alike.
const SUMMED: u64 = 1 << 12;

/// What prices layers: devices, software, and type that is computed in.
#[derive(Clone, Debug)]
pub struct LayerPrices {
    /// Devices and links.
    pub system: System,
    /// Software, with recorded launches.
    pub stack: Stack,
    /// Constants of the forms.
    pub constants: Constants,
    /// Type that is computed in.
    pub dtype: DType,
}

impl LayerPrices {
    /// Rates of what is no product by weights.
    #[must_use]
    pub fn beside(&self) -> Rates {
        self.system.rates(&self.stack, &self.constants, precision::beside(self.dtype))
    }

    fn of<R>(
        &self,
        (card, held): (&TransformerCard, Held),
        degrees: &Parallelism,
        then: impl FnOnce(Sharded<'_>) -> R,
    ) -> R {
        let gradients = Gradients::default();
        then(Sharded { card, parallelism: degrees, gradients, dtype: self.dtype, held })
    }

    /// Seconds of all of a layer but its attention cores and its experts, for so many tokens on one of so
    /// many tensor ranks, without exchanges.
    #[must_use]
    pub fn tokens_s(&self, card: &TransformerCard, held: Held, tokens: u64, tensor: u32) -> f64 {
        let card = TransformerCard { sequence: 1, ..card.clone() };
        let degrees = Parallelism { micro_batch: tokens, tensor, ..Parallelism::default() };
        let software = (&self.system, &self.stack, &self.constants);
        let block = self.of((&card, held), &degrees, |run| {
            without_experts(run, software.0, software.1, software.2)
        });
        let forward = block.forward;
        let rates = self.beside();
        let (router_s, starts) = match card.experts {
            Some(experts) => {
                let router = [tokens, experts.n_experts, card.hidden];
                (rates.by_weight(1, router), BETWEEN + BETWEEN_EXPERTS)
            }
            None => (0.0, BETWEEN),
        };
        forward.seconds - forward.collectives - block.core_s + router_s + starts * start_s(&rates)
    }

    /// The experts of a layer on one of so many devices by width and by number; `None` where it has none.
    #[must_use]
    pub fn experts(
        &self,
        card: &TransformerCard,
        held: Held,
        [width, number]: [u32; 2],
    ) -> Option<ExpertLine> {
        let experts = card.experts?;
        let feed_forward = experts.feed_forward.div_ceil(u64::from(width.max(1)));
        let part = ExpertCard { feed_forward, ..experts };
        let degrees = Parallelism { expert: number, ..Parallelism::default() };
        let of = |tokens: u64| {
            let card = TransformerCard { sequence: tokens, experts: Some(part), ..card.clone() };
            let software = (&self.system, &self.stack, &self.constants);
            self.of((&card, held), &degrees, |run| experts::recorded(run, software))
        };
        // Products and moves are a line over the tokens of a rank.
        let [few, many] = [1, 1 + MANY].map(of);
        let per_token_s = (many[0] - few[0]) / MANY as f64 / f64::from(number.max(1));
        Some(ExpertLine { card: experts, per_token_s, read_s: few[1] })
    }
}

/// Seconds of the experts of a layer on one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertLine {
    card: ExpertCard,
    /// Of each token of all devices.
    per_token_s: f64,
    /// Of reading the weights of all experts of the device.
    read_s: f64,
}

impl ExpertLine {
    /// Experts that each token visits.
    #[must_use]
    pub const fn visits(&self) -> f64 {
        self.card.per_token as f64
    }

    /// Visits of the busiest of so many ranks over the mean.
    #[must_use]
    pub fn heaviest(&self, ranks: u32) -> f64 {
        self.card.heaviest(u64::from(ranks.max(1)))
    }

    /// Seconds for so many tokens of all devices.
    #[must_use]
    pub fn seconds(&self, tokens: u64) -> f64 {
        self.per_token_s * tokens as f64 + self.read_s * touched(self.card, tokens)
    }
}

/// Seconds of a kernel that is no product, beside what it moves.
fn start_s(rates: &Rates) -> f64 {
    rates.start().max(LEAST_START_S)
}

/// Seconds that an exchange of experts of one half of a batch adds to the work of the other half.
#[must_use]
pub fn beside(work_s: f64, exchange_s: f64) -> f64 {
    experts::beside(work_s, exchange_s)
}

/// Share of the experts that so many tokens visit on average, each drawing its experts by itself:
/// `1 - (1 - p)^T` of one that a token visits with chance `p`.
#[must_use]
pub fn touched(card: ExpertCard, tokens: u64) -> f64 {
    let n = card.n_experts.max(1);
    let visits = card.per_token as f64;
    let share = |chance: f64| 1.0 - (1.0 - chance.min(1.0)).powf(tokens as f64);
    let Skew::Zipf { thousandths } = card.skew else { return share(visits / n as f64) };
    let power = f64::from(thousandths) / 1e3;
    let shown = n.min(SUMMED);
    let weight = |rank: u64| (rank as f64).powf(-power);
    let all: f64 = (1..=shown).map(weight).sum();
    (1..=shown).map(|rank| share(visits * weight(rank) / all)).sum::<f64>() / shown as f64
}

/// Attention of a layer on one tensor rank.
#[derive(Clone, Debug)]
pub struct Attending {
    /// Query heads of the rank.
    heads: f64,
    /// Elements of a query or key head, and of a value head.
    dims: [f64; 2],
    /// The same of what is cached, which latent queries are multiplied by as it is.
    cached_dims: [f64; 2],
    /// Bytes of keys and values of a token on the rank.
    bytes: f64,
    /// Tokens that a token attends to at most.
    window: f64,
    /// Columns and rows of the product that makes latent keys and values whole again, on the rank.
    expand: Option<[u64; 2]>,
    /// Whether keys and values are of 8 bits or fewer.
    is_narrow: bool,
    /// Seconds before decode attention reads, and bytes/s that it reads at most.
    decode: (f64, f64),
    rates: Rates,
}

impl Attending {
    /// Of a layer on one of so many tensor ranks.
    #[must_use]
    pub fn of(prices: &LayerPrices, card: &TransformerCard, held: Held, tensor: u32) -> Self {
        let ranks = f64::from(tensor.max(1));
        let (key, value) = card.head_dims();
        let cached_dims = cached::widths(card);
        let each = cached::element(held, prices.dtype);
        let window = match card.attention {
            Attention::Window { tokens, .. } => tokens.max(1) as f64,
            _ => f64::INFINITY,
        };
        let heads = card.n_heads as f64 / ranks;
        let expand = match card.attention {
            Attention::Latent { key_value_rank, plain, value, .. } => {
                let each = plain.saturating_add(value);
                let columns = card.n_heads.div_ceil(u64::from(tensor.max(1))).saturating_mul(each);
                Some([columns, key_value_rank])
            }
            _ => None,
        };
        Self {
            heads,
            dims: [key as f64, value as f64],
            cached_dims: [cached_dims.0 as f64, cached_dims.1 as f64],
            bytes: cached::bytes(card, 1, (tensor, each)),
            window,
            expand,
            is_narrow: each <= 1.0,
            decode: (DECODE_START_S, f64::INFINITY),
            rates: prices.beside(),
        }
    }

    /// With decode attention by other kernels: seconds before they read keys and values of 16 and of 8 bits, and
    /// bytes/s of those of 8 bits at most.
    #[must_use]
    pub fn with_decode(self, start_s: [f64; 2], narrow_per_s: f64) -> Self {
        let decode = match self.is_narrow {
            true => (start_s[1], narrow_per_s),
            false => (start_s[0], f64::INFINITY),
        };
        Self { decode, ..self }
    }

    /// Pairs of a new token and a token that it attends to, of so many new ones behind so many cached
    /// ones: among the new ones, and with cached ones. Diagonals count as half, as in the forms of blocks.
    #[must_use]
    pub fn pairs(&self, new: u64, cached: u64) -> [f64; 2] {
        let (n, p, w) = (new as f64, cached as f64, self.window);
        let inside = n.min(w);
        let own = inside * (n - inside / 2.0);
        // The x-th new token attends to min(p, w - x) cached ones.
        let all = (w - p).clamp(0.0, n);
        let end = n.min(w);
        let fewer = if end > all { (end - all) * (w - f64::midpoint(end, all)) } else { 0.0 };
        [own, p * all + if w.is_finite() { fewer } else { 0.0 }]
    }

    /// Operations of both products over pairs of so many tokens.
    #[must_use]
    pub fn flops(&self, new: u64, cached: u64) -> f64 {
        let [own, with_cached] = self.pairs(new, cached);
        2.0 * self.heads * (own + with_cached) * (self.dims[0] + self.dims[1])
    }

    /// Seconds of new tokens of a prompt, of which so many are cached.
    #[must_use]
    pub fn prompt_s(&self, new: u64, cached: u64) -> f64 {
        if new == 0 {
            return 0.0;
        }
        let [own, with_cached] = self.pairs(new, cached);
        let [key, value] = self.dims;
        // A fused core takes half of what nothing is masked of.
        let flops = 2.0 * 2.0 * self.heads * own * (key + value);
        let core = Core { flops, sequence: new as f64, head_dim: f64::midpoint(key, value) };
        self.rates.fused_attention(core, false) + self.behind_s(with_cached, cached)
    }

    /// Seconds of pairs with so many cached tokens of a prompt.
    fn behind_s(&self, pairs: f64, cached: u64) -> f64 {
        let keys = (cached as f64).min(self.window);
        if pairs <= 0.0 || keys <= 0.0 {
            return 0.0;
        }
        let as_cached_s = self.read_s(pairs, keys, self.cached_dims);
        match self.expand {
            // Latent keys and values are multiplied as they are, or made whole first.
            Some([columns, rows]) => {
                let whole_s = self.rates.by_weight(1, [cached, columns, rows])
                    + self.read_s(pairs, keys, self.dims);
                as_cached_s.min(whole_s)
            }
            None => as_cached_s,
        }
    }

    /// Seconds of one more token of so many requests that have so many tokens cached together, where a tile
    /// holds so many rows for each query head. Requests beyond a window are taken to be alike.
    #[must_use]
    pub fn decode_s(&self, n_requests: u64, cached: u64, rows: f64) -> f64 {
        if n_requests == 0 {
            return 0.0;
        }
        let n = n_requests as f64;
        let keys = (cached as f64 + n).min(n * self.window);
        // Its start is one of those between products.
        let (decode_s, most_per_s) = self.decode;
        let start_s = (decode_s - start_s(&self.rates)).max(0.0);
        let bytes = keys * self.bytes;
        let read_s = self.rates.reading(bytes, DECODE_SHARE).max(bytes / most_per_s);
        start_s + read_s.max(self.work_s(rows * keys, keys / n, self.cached_dims))
    }

    /// Seconds of operations over so many pairs of sequences of a length.
    fn work_s(&self, pairs: f64, sequence: f64, [key, value]: [f64; 2]) -> f64 {
        let flops = 2.0 * self.heads * pairs * (key + value);
        let core = Core { flops, sequence, head_dim: f64::midpoint(key, value) };
        core.flops / self.rates.core_rate(core, false)
    }

    /// Seconds of so many pairs of a prompt over so many keys that are read once.
    fn read_s(&self, pairs: f64, keys: f64, dims: [f64; 2]) -> f64 {
        self.rates.pointwise(keys * self.bytes).max(self.work_s(pairs, keys, dims))
    }

    /// Bytes of keys and values of a token on the rank.
    #[must_use]
    pub const fn token_bytes(&self) -> f64 {
        self.bytes
    }
}
