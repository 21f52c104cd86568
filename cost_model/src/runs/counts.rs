//! Counts of a transformer card: parameters, operations of a step, idle share of a pipeline.
//!
//! Sources: Narayanan et al. 2021 (arXiv:2104.04473), equations 2 and 3 and section 2.2;
//! Korthikanti et al. 2022 (arXiv:2205.05198), appendix A. Plain cards have biases, layer
//! normalisations with two vectors and learned positions; gated ones have no biases, normalisations
//! with one vector and rotary positions.

use ir::card::{Attention, ExpertCard, Head, Recompute, TransformerCard};
use ir::tuning::Module;

/// Rows that an embedding is padded to a multiple of, per tensor rank (Megatron-LM
/// `--make-vocab-size-divisible-by`, default 128).
const VOCABULARY_MULTIPLE: u64 = 128;

/// Parameters of a transformer, by what shards them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockParameters {
    /// Of attention, norms, router and a dense feed-forward part: split by the tensor degree.
    pub dense: u64,
    /// Of all experts: split by the expert degree too.
    pub experts: u64,
}

impl BlockParameters {
    /// Both together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.dense.saturating_add(self.experts)
    }
}

/// Parameters of one block.
#[must_use]
pub fn block_parameters(card: &TransformerCard) -> BlockParameters {
    let h = card.hidden;
    let plain = !card.form.is_gated();
    let attention = attention_parameters(card);
    let norms = h.saturating_mul(if plain { 4 } else { 2 });
    let dense = attention.saturating_add(norms);
    match card.experts {
        None => BlockParameters {
            dense: dense.saturating_add(feed_forward(card, card.feed_forward)),
            experts: 0,
        },
        Some(experts) => BlockParameters {
            dense: dense.saturating_add(product(h, experts.n_experts)).saturating_add(product(
                feed_forward(card, experts.feed_forward),
                experts.n_shared,
            )),
            experts: product(feed_forward(card, experts.feed_forward), experts.n_experts),
        },
    }
}

/// Weights of the attention part, with the biases of plain cards.
fn attention_parameters(card: &TransformerCard) -> u64 {
    let h = card.hidden;
    let bias = |width: u64| if card.form.is_gated() { 0 } else { width };
    let (key, value) = card.head_dims();
    match card.attention {
        Attention::Even => {
            let kv = h.saturating_mul(card.n_kv_heads) / card.n_heads.max(1);
            product(h, h.saturating_add(kv).saturating_mul(2))
                .saturating_add(bias(kv.saturating_mul(2).saturating_add(h.saturating_mul(2))))
        }
        Attention::Heads { dim } | Attention::Window { dim, .. } => {
            let width = product(card.n_heads.saturating_add(card.n_kv_heads), dim);
            product(h, width.saturating_mul(2)).saturating_add(bias(width.saturating_add(h)))
        }
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let rank = query_rank.unwrap_or(0);
            let narrow = rank.saturating_add(key_value_rank).saturating_add(rotary);
            let queries = product(query_rank.unwrap_or(h), product(card.n_heads, key));
            let keys = product(key_value_rank, product(card.n_heads, plain.saturating_add(value)));
            let norms = rank.saturating_add(key_value_rank);
            let output = product(product(card.n_heads, value), h);
            [queries, keys, norms, output].into_iter().fold(product(h, narrow), u64::saturating_add)
        }
    }
}

fn feed_forward(card: &TransformerCard, inner: u64) -> u64 {
    let weight = product(card.hidden, inner);
    match card.form.is_gated() {
        false => weight.saturating_mul(2).saturating_add(inner).saturating_add(card.hidden),
        true => weight.saturating_mul(3),
    }
}

fn product(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}

/// Parameters of the embedding: rows of the vocabulary, and of learned positions.
#[must_use]
pub fn embedding_parameters(card: &TransformerCard) -> u64 {
    product(card.vocabulary, card.hidden).saturating_add(position_parameters(card))
}

/// Parameters of learned positions; none with rotary ones.
#[must_use]
pub fn position_parameters(card: &TransformerCard) -> u64 {
    match card.form.is_gated() {
        false => product(card.sequence, card.hidden),
        true => 0,
    }
}

/// Parameters of a head of its own; none where it shares the embedding.
#[must_use]
pub fn head_parameters(card: &TransformerCard) -> u64 {
    match card.head {
        Head::Tied => 0,
        Head::Separate => product(card.vocabulary, card.hidden),
    }
}

/// Parameters of the whole model as papers count them: without the last normalisation.
///
/// For plain cards with an inner width of 4h this is `12 l h^2 (1 + 13/(12h) + (V+s)/(12 l h))`
/// (Narayanan et al. 2021, equation 2).
#[must_use]
pub fn n_parameters(card: &TransformerCard) -> u64 {
    block_parameters(card)
        .total()
        .saturating_mul(u64::from(card.n_layers))
        .saturating_add(embedding_parameters(card))
        .saturating_add(head_parameters(card))
}

/// Rows of an embedding that is split over `tensor` ranks, padded as Megatron-LM does.
#[must_use]
pub fn padded_vocabulary(vocabulary: u64, tensor: u64) -> u64 {
    let multiple = VOCABULARY_MULTIPLE.saturating_mul(tensor.max(1));
    vocabulary.div_ceil(multiple).saturating_mul(multiple)
}

/// A product by weights that every token meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightProduct {
    /// Columns of the weight: elements of its output per token.
    pub columns: u64,
    /// Rows of the weight: elements of its input per token.
    pub rows: u64,
    /// Whether tensor ranks share out the columns; else each has all of the output.
    pub is_split: bool,
}

/// Products of a block by weights that every token meets, one by one in the order in which they
/// run; the router and the experts are not among them.
#[must_use]
pub fn weight_products(card: &TransformerCard) -> Vec<WeightProduct> {
    let of = |is_split| move |(columns, rows)| WeightProduct { columns, rows, is_split };
    let (split, whole) = (of(true), of(false));
    let (h, heads) = (card.hidden, card.n_heads);
    let (key, value) = card.head_dims();
    let mut products = match card.attention {
        Attention::Even | Attention::Heads { .. } | Attention::Window { .. } => {
            let kv = split((product(card.n_kv_heads, key), h));
            vec![split((product(heads, key), h)), kv, kv]
        }
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let narrow = query_rank.map(|rank| whole((rank, h)));
            let queries = split((product(heads, key), query_rank.unwrap_or(h)));
            let keys = product(heads, plain.saturating_add(value));
            let others = [
                queries,
                whole((key_value_rank.saturating_add(rotary), h)),
                split((keys, key_value_rank)),
            ];
            narrow.into_iter().chain(others).collect()
        }
    };
    products.push(whole((h, product(heads, value))));
    let inner = card
        .experts
        .map_or(card.feed_forward, |experts| product(experts.n_shared, experts.feed_forward));
    if inner > 0 {
        products.extend((0..card.form.n_first()).map(|_| split((inner, h))));
        products.push(whole((h, inner)));
    }
    products
}

/// The same with the module that each is.
#[must_use]
pub fn module_products(card: &TransformerCard) -> Vec<(Module, WeightProduct)> {
    let narrow = matches!(card.attention, Attention::Latent { query_rank: Some(_), .. });
    let queries = if narrow { 2 } else { 1 };
    let attention = std::iter::repeat_n(Module::Query, queries).chain([
        Module::Key,
        Module::Value,
        Module::Output,
    ]);
    let first = match card.form.n_first() {
        0 | 1 => &[Module::Up, Module::Down][..],
        _ => &[Module::Gate, Module::Up, Module::Down],
    };
    attention.chain(first.iter().copied()).zip(weight_products(card)).collect()
}

/// Floating-point operations of matrix products in one step on `samples` samples.
///
/// Forward `2 x` multiply-adds, backward twice that. Full recompute adds a forward pass of the
/// blocks; selective recompute adds the two products of the attention core. For plain cards with
/// an inner width of 4h and full recompute this is `96 B s l h^2 (1 + s/(6h) + V/(16 l h))`
/// (Narayanan et al. 2021, equation 3).
#[must_use]
pub fn step_flops(card: &TransformerCard, samples: u64, recompute: Recompute) -> f64 {
    let tokens = samples as f64 * card.sequence as f64;
    let layers = f64::from(card.n_layers);
    let core = attention_core_flops(card) * layers;
    let blocks = (2.0 * block_weights(card)) * layers + core;
    let head = 2.0 * card.vocabulary as f64 * card.hidden as f64;
    let again = match recompute {
        Recompute::None => 0.0,
        Recompute::Selective => core,
        Recompute::PerOp => layers * every_second_flops(card),
        Recompute::Full | Recompute::Uniform { .. } => blocks,
        Recompute::Block { blocks: n } => {
            blocks * f64::from(n.min(card.n_layers)) / layers.max(1.0)
        }
    };
    tokens * (3.0 * (blocks + head) + again)
}

/// Operations of one block's forward pass per token: of its products by weights, and of the two of scores
/// and values with each other.
#[must_use]
pub fn forward_flops(card: &TransformerCard) -> [f64; 2] {
    [2.0 * block_weights(card), attention_core_flops(card)]
}

/// Operations of every second product by weights and of all of the experts', per token of one
/// block's forward pass.
fn every_second_flops(card: &TransformerCard) -> f64 {
    let again = weight_products(card);
    let weights =
        again.iter().skip(1).step_by(2).map(|product| product.columns as f64 * product.rows as f64);
    let shared = card.experts.map(|experts| ExpertCard { per_token: 0, ..experts });
    let without = TransformerCard { experts: shared, ..card.clone() };
    2.0 * (weights.sum::<f64>() + block_weights(card) - block_weights(&without))
}

/// Operations of the two products of scores and values, per token of one block's forward pass;
/// the whole square is computed, or of a window as much of it as of the causal half.
fn attention_core_flops(card: &TransformerCard) -> f64 {
    let (key, value) = card.head_dims();
    let wide = match card.attention {
        Attention::Even => 2.0 * card.hidden as f64,
        _ => card.n_heads as f64 * (key as f64 + value as f64),
    };
    2.0 * card.sequence as f64 * card.window_share() * wide
}

/// Weights of a block's products that a token meets.
fn block_weights(card: &TransformerCard) -> f64 {
    let h = card.hidden as f64;
    let kv = h * card.n_kv_heads as f64 / card.n_heads.max(1) as f64;
    let attention = match card.attention {
        Attention::Even => 2.0 * h * (h + kv),
        Attention::Heads { dim } | Attention::Window { dim, .. } => {
            2.0 * h * (card.n_heads as f64 + card.n_kv_heads as f64) * dim as f64
        }
        Attention::Latent { .. } => attention_parameters(card) as f64,
    };
    let products = card.form.n_first() as f64 + 1.0;
    let inner = card.experts.map_or(card.feed_forward as f64, |experts| {
        (experts.per_token as f64 + experts.n_shared as f64) * experts.feed_forward as f64
    });
    attention + products * h * inner
}

/// Time that a pipeline idles, as a share of the time it computes: `(p - 1) / (v m)` (Narayanan
/// et al. 2021, section 2.2).
#[must_use]
pub fn pipeline_bubble(stages: u32, virtual_stages: u32, n_micro_batches: u64) -> f64 {
    let chunks = f64::from(virtual_stages.max(1)) * n_micro_batches.max(1) as f64;
    f64::from(stages.max(1) - 1) / chunks
}

#[cfg(test)]
mod tests {
    use ir::card::FeedForward;

    use super::*;

    /// A plain card of the papers: inner width 4h, vocabulary 51,200, sequence 2,048.
    fn plain(n_layers: u32, hidden: u64, n_heads: u64) -> TransformerCard {
        TransformerCard {
            name: String::new(),
            n_layers,
            hidden,
            n_heads,
            n_kv_heads: n_heads,
            feed_forward: 4 * hidden,
            form: FeedForward::Plain,
            sequence: 2048,
            vocabulary: 51_200,
            experts: None,
            attention: Attention::Even,
            head: Head::Tied,
        }
    }

    #[test]
    fn parameters_of_table_1_to_the_unit() {
        for (layers, hidden, count) in [
            (24, 2304, 1_652_226_048),
            (30, 3072, 3_562_162_176),
            (40, 6144, 18_449_743_872),
            (96, 12_288, 174_615_822_336),
            (105, 20_480, 529_600_778_240),
            (128, 25_600, 1_008_038_707_200),
        ] {
            assert_eq!(n_parameters(&plain(layers, hidden, 32)), count);
        }
    }

    #[test]
    fn parameters_of_published_models() {
        let llama = TransformerCard {
            n_kv_heads: 8,
            feed_forward: 14_336,
            form: FeedForward::Gated,
            head: Head::Separate,
            vocabulary: 128_256,
            ..plain(32, 4096, 32)
        };
        // 8,030,261,248 with the last normalisation of 4,096 (Llama 3 8B, model card).
        assert_eq!(n_parameters(&llama), 8_030_261_248 - 4096);
        let mixtral = TransformerCard {
            vocabulary: 32_000,
            experts: Some(ExpertCard {
                n_experts: 8,
                per_token: 2,
                feed_forward: 14_336,
                n_shared: 0,
                ..Default::default()
            }),
            ..llama
        };
        // 46,702,792,704 with it (Mixtral 8x7B, model card).
        assert_eq!(n_parameters(&mixtral), 46_702_792_704 - 4096);
    }

    #[test]
    fn operations_of_a_step() {
        let near =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 1e-6, "{value}");
        let large = plain(96, 12_288, 96);
        near(step_flops(&large, 1536, Recompute::Full), 4.510971e18);
        near(step_flops(&plain(128, 25_600, 160), 3072, Recompute::Full), 5.139051e19);
        let [b, s, l, h, v] = [1536.0, 2048.0, 96.0, 12_288.0, 51_200.0];
        let without = 72.0 * b * s * l * h * h * (1.0 + s / (6.0 * h) + v / (12.0 * l * h));
        near(step_flops(&large, 1536, Recompute::None), without);
        let selective = step_flops(&large, 1536, Recompute::Selective);
        near(selective - without, 4.0 * b * s * s * h * l);
        // Keys, the output of attention and the second half of the feed-forward part: 6 h^2 of 12.
        let by_op = step_flops(&large, 1536, Recompute::PerOp);
        near(by_op - without, 12.0 * b * s * h * h * l);
        let all = Recompute::Block { blocks: 96 };
        near(step_flops(&large, 1536, all), step_flops(&large, 1536, Recompute::Full));
    }

    #[test]
    fn bubbles_of_table_1() {
        for (p, v, m, bubble, idle) in [
            (2, 1, 12, 0.0833, 0.0769),
            (4, 3, 28, 0.0357, 0.0345),
            (8, 2, 48, 0.0729, 0.0680),
            (16, 2, 144, 0.0521, 0.0495),
            (35, 3, 280, 0.0405, 0.0389),
            (64, 1, 512, 0.1230, 0.1096),
        ] {
            assert!((pipeline_bubble(p, v, m) - bubble).abs() < 5e-5, "{p} {v} {m}");
            let share = pipeline_bubble(p, v, m) / (1.0 + pipeline_bubble(p, v, m));
            assert!((share - idle).abs() < 5e-5, "{p} {v} {m}");
        }
        assert_eq!(pipeline_bubble(0, 0, 0), 0.0);
    }

    #[test]
    fn vocabularies_are_padded_per_rank() {
        assert_eq!([1, 2, 4].map(|t| padded_vocabulary(50_257, t)), [50_304, 50_432, 50_688]);
        assert_eq!(padded_vocabulary(51_200, 8), 51_200);
    }

    #[test]
    fn hostile_cards_saturate() {
        let card = TransformerCard {
            n_heads: 0,
            hidden: u64::MAX,
            vocabulary: u64::MAX,
            ..plain(u32::MAX, 1, 1)
        };
        assert_eq!(n_parameters(&card), u64::MAX);
        assert!(step_flops(&card, u64::MAX, Recompute::Full) > 0.0);
        assert_eq!(padded_vocabulary(u64::MAX, u64::MAX), u64::MAX);
    }

    /// Two clusters, one model: vTrain's 39.1B step (8-way tensor, 2 stages, 32 replicas) took
    /// 14.757 s, the step that SC21's table implies 14.453 s; the latter follows from its rate.
    #[test]
    fn the_sources_agree_with_each_other() {
        let card = plain(48, 8192, 64);
        let flops = step_flops(&card, 1536, Recompute::Full);
        let seconds = flops / (512.0 * 138e12);
        assert!((seconds / 14.453 - 1.0).abs() < 5e-3, "{seconds}");
        assert!((14.757_f64 / seconds - 1.0).abs() < 0.025, "{seconds}");
    }
}
