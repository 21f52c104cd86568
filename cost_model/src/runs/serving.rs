//! What a model that serves holds and what a layer of it computes for, its experts in slots.
//!
//! ```text
//! weights  of blocks without their experts, embedding, head, in the type of the model
//! layer    products by weights that all tokens meet, the router, and
//!          max(2 pairs h f (parts + 1) operations at the share of the peak that grouped products reach,
//!          experts' weights over the bandwidth of memory)
//! ```
//!
//! Launches are taken to be recorded. Attention over what is cached is not counted.

use ir::card::stored::Held;
use ir::card::{BlockGroup, ModelCard, TransformerCard};
use ir::cluster::DeviceKind;
use ir::profile::Profile;
use ir::tensor::DType;

use super::counts::{block_parameters, embedding_parameters, head_parameters, weight_products};
use crate::kernels::generation::{Grouped, generation};
use crate::kernels::precision;
use crate::kernels::rates::Rates;
use crate::kernels::stack::compiled;
use crate::kernels::step_constants::Constants;
use crate::kernels::step_products::StepProducts;

/// Bytes of a model's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Of all but the experts.
    pub others: u64,
    /// Of one expert.
    pub expert: u64,
    /// Experts of all layers.
    pub n_experts: u64,
}

impl Weights {
    /// Of a model as its checkpoint holds it, or in a type for the products of its blocks; other numbers are
    /// at least 16 bits wide.
    #[must_use]
    pub fn of(model: &ModelCard, dtype: DType) -> Self {
        let mut weights = Self::default();
        let mut block = 0;
        for group in &model.groups {
            for _ in 0..group.n_blocks {
                weights.others =
                    weights.others.saturating_add(block_bytes(model, (group, block), dtype));
                block += 1;
            }
            if let Some(experts) = group.card.experts {
                let one = block_parameters(&group.card).experts / experts.n_experts.max(1);
                let stored = model.weights().map(|stored| stored.block(block.saturating_sub(1)));
                weights.expert = weights.expert.max(match stored {
                    Some(stored) => stored.experts.bytes.div_ceil(experts.n_experts.max(1)),
                    None => bytes(one as f64, dtype),
                });
                let n = u64::from(group.n_blocks).saturating_mul(experts.n_experts);
                weights.n_experts = weights.n_experts.saturating_add(n);
            }
        }
        weights.others =
            end_bytes(model, dtype).into_iter().fold(weights.others, u64::saturating_add);
        weights
    }

    /// Of all experts and all else.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.others.saturating_add(self.expert.saturating_mul(self.n_experts))
    }
}

/// Bytes of a block of a group, its experts aside.
pub(crate) fn block_bytes(
    model: &ModelCard,
    (group, block): (&BlockGroup, usize),
    dtype: DType,
) -> u64 {
    match model.weights() {
        Some(stored) => {
            // What predicts a later token has a product that the checkpoint's last block lacks.
            let more = if block < stored.blocks.len() { 0 } else { group.extra_weights };
            stored.block(block).others.bytes.saturating_add(bytes(more as f64, dtype))
        }
        None => bytes(elements(group), dtype),
    }
}

/// Bytes before the first block and after the last one; those of a head that is the embedding are before.
pub(crate) fn end_bytes(model: &ModelCard, dtype: DType) -> [u64; 2] {
    match model.weights() {
        Some(stored) => stored.ends.map(|end| end.bytes),
        None => ends(model).map(|count| bytes(count, precision::beside(dtype))),
    }
}

/// Bytes of so many elements.
pub(crate) fn bytes(n: f64, dtype: DType) -> u64 {
    (n * dtype.bits() as f64 / 8.0).max(0.0) as u64
}

/// Weights of one of these blocks, its experts aside.
fn elements(group: &BlockGroup) -> f64 {
    let dense = block_parameters(&group.card).dense as f64;
    dense + group.extra_weights as f64 + group.other_parameters as f64
}

/// Weights before the first block and after the last one; those of a head that is the embedding are before.
fn ends(model: &ModelCard) -> [f64; 2] {
    let of = |count: fn(&TransformerCard) -> u64| {
        model.groups.first().map_or(0.0, |group| count(&group.card) as f64)
    };
    let [first, last] = model.other_parameters.map(|count| count as f64);
    [of(embedding_parameters) + first, of(head_parameters) + last]
}

/// What a device does for a layer of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// Tokens that meet all but the experts.
    pub tokens: u64,
    /// Pairs of a token and an expert of the device.
    pub pairs: u64,
    /// Experts that they go to.
    pub experts: u64,
}

/// Prices of layers on a kind of device.
#[derive(Clone, Debug)]
pub struct Serving {
    rates: Rates,
    beside: Rates,
    grouped: Grouped,
    memory_bandwidth: f64,
}

impl Serving {
    /// Of a kind of device, in a type for the products of blocks; `None` where the kind states no rates.
    #[must_use]
    pub fn of(device: &DeviceKind, dtype: DType) -> Option<Self> {
        let stack = compiled();
        let products = StepProducts::new(&Profile::default(), device);
        let constants = Constants::nominal(&stack);
        let rates = |dtype| Rates::new(device, &products, &stack, &constants, dtype);
        let serving = Self {
            rates: rates(dtype),
            beside: rates(precision::beside(dtype)),
            grouped: generation(device.chip).grouped(dtype, stack.scaling),
            memory_bandwidth: device.memory_bandwidth?.get(),
        };
        let one = Load { tokens: 1, pairs: 1, experts: 1 };
        serving.experts_s((1, 1, 1.0), one, 1.0).is_finite().then_some(serving)
    }

    /// The same where weights are held in other bytes than those of the type, such as quantised ones.
    #[must_use]
    pub fn holding(self, stored: Held) -> Self {
        Self { rates: self.rates.of_weights(stored.weight), ..self }
    }

    /// Seconds of a layer whose experts have so many bytes each.
    #[must_use]
    pub fn layer_s(&self, card: &TransformerCard, load: Load, expert_bytes: u64) -> f64 {
        let of_all: f64 = weight_products(card)
            .iter()
            .map(|product| self.rates.by_weight(1, [load.tokens, product.columns, product.rows]))
            .sum();
        let Some(experts) = card.experts else { return of_all };
        let router = self.beside.by_weight(1, [load.tokens, experts.n_experts, card.hidden]);
        let shape = (card.hidden, experts.feed_forward, card.form.n_first() as f64 + 1.0);
        of_all + router + self.experts_s(shape, load, expert_bytes as f64)
    }

    fn experts_s(&self, (hidden, width, parts): (u64, u64, f64), load: Load, bytes: f64) -> f64 {
        let flops = 2.0 * load.pairs as f64 * hidden as f64 * width as f64 * parts;
        let slower = 1.0 + self.grouped.narrow / (width as f64).max(1.0);
        let work = slower * self.rates.share_of_peak(flops, self.grouped.efficiency);
        work.max(load.experts as f64 * bytes / self.memory_bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use ir::card::{Attention, ExpertCard, FeedForward, Head};

    use super::*;
    use crate::runs::forms::system::tests::a100;

    fn card(hidden: u64, heads: u64, wide: u64, vocabulary: u64) -> TransformerCard {
        TransformerCard {
            name: "m".to_owned(),
            n_layers: 1,
            hidden,
            n_heads: heads,
            n_kv_heads: heads,
            feed_forward: wide,
            form: FeedForward::Gated,
            sequence: 4096,
            vocabulary,
            experts: None,
            attention: Attention::Even,
            head: Head::Separate,
        }
    }

    fn model(groups: Vec<BlockGroup>, other_parameters: [i64; 2]) -> ModelCard {
        ModelCard {
            name: "m".to_owned(),
            groups,
            n_predictions: 1,
            other_parameters,
            dtype: None,
            stored: None,
            tuning: Default::default(),
        }
    }

    fn experts(n_experts: u64, per_token: u64, feed_forward: u64, n_shared: u64) -> ExpertCard {
        ExpertCard { n_experts, per_token, feed_forward, n_shared, ..ExpertCard::default() }
    }

    /// DeepSeek-MoE 16B: Dai et al., arXiv:2401.06066, table 1 of its appendix and its config.
    fn deepseek_moe() -> ModelCard {
        let dense = card(2048, 16, 10_944, 102_400);
        let mixed = TransformerCard { experts: Some(experts(64, 6, 1408, 2)), ..dense.clone() };
        model(vec![BlockGroup::of_card(dense, 1), BlockGroup::of_card(mixed, 27)], [0; 2])
    }

    /// switch-base-128: Fedus et al., arXiv:2101.03961, and its config: twelve layers on each side, every
    /// other one with experts, no gates. The decoder attends to the encoder as well.
    fn switch_base_128() -> ModelCard {
        let head = Head::Tied;
        let form = FeedForward::Plain;
        let dense = TransformerCard { form, head, sequence: 0, ..card(768, 12, 3072, 32_128) };
        let mixed = TransformerCard { experts: Some(experts(128, 1, 3072, 0)), ..dense.clone() };
        let group = |card: &TransformerCard, other_parameters| BlockGroup {
            other_parameters,
            ..BlockGroup::of_card(card.clone(), 6)
        };
        let across = 4 * 768 * 768;
        let groups =
            [0, across].into_iter().flat_map(|more| [group(&dense, more), group(&mixed, more)]);
        model(groups.collect(), [0; 2])
    }

    /// ExpertFlow's table of peak memory, all experts on the card, in GB of 16-bit weights.
    #[test]
    fn published_models_weigh_what_all_of_them_resident_takes() {
        for (model, published) in [(switch_base_128(), 15.26e9), (deepseek_moe(), 31.35e9)] {
            let weight = Weights::of(&model, DType::Bf16).all() as f64;
            assert!((weight / published - 1.0).abs() < 0.1, "{weight} and {published}");
        }
        let by_hand = Weights::of(&deepseek_moe(), DType::Bf16);
        assert_eq!((by_hand.expert, by_hand.n_experts), (2 * 3 * 2048 * 1408, 27 * 64));
        // 16,375,726,080 parameters less the last norm, which papers leave out.
        assert_eq!(by_hand.all(), 2 * 16_375_726_080);
    }

    /// What the published peaks of caches imply: slots that are stated nowhere.
    #[test]
    fn published_peaks_of_caches_imply_slots() {
        let implied = |model: &ModelCard, peak: f64| {
            let weights = Weights::of(model, DType::Bf16);
            (peak - weights.others as f64) / weights.expert as f64
        };
        let deepseek = implied(&deepseek_moe(), 6.38e9) / 27.0;
        assert!((deepseek - 7.55).abs() < 0.05, "{deepseek} slots of a layer, of 64");
        let switch = implied(&switch_base_128(), 1.03e9) / 12.0;
        assert!((switch - 6.13).abs() < 0.05, "{switch} slots of a layer, of 128");
    }

    #[test]
    fn layers_take_what_their_operations_or_their_weights_take() {
        let serving = Serving::of(&a100().device, DType::Bf16).unwrap();
        let mixed = deepseek_moe().groups[1].card.clone();
        let bytes = 2 * 3 * 2048 * 1408;
        let of = |tokens, experts| {
            serving.layer_s(&mixed, Load { tokens, pairs: 6 * tokens, experts }, bytes)
        };
        // Few tokens: twelve more experts are read at 2.039e12 bytes per second.
        let more = of(4, 24) - of(4, 12);
        assert!((more / (12.0 * bytes as f64 / 2.039e12) - 1.0).abs() < 1e-9, "{more}");
        // Many: as long whichever they go to.
        assert_eq!(of(65_536, 64), of(65_536, 60));
        assert!(of(65_536, 64) > 100.0 * of(4, 12));
        let unknown = DeviceKind { memory_bandwidth: None, ..a100().device };
        assert!(Serving::of(&unknown, DType::Bf16).is_none());
    }
}
