//! Placeholders of gradients that products add to those of the replicas themselves.
//!
//! Megatron-Core's fused products add a weight's gradient to `main_grad`. Autograd still wants a tensor of
//! the weight's shape, so Transformer Engine keeps one per shape for the whole run, in the type of the
//! activations (`get_dummy_wgrad`); from August 2025 Megatron-Core takes the head's from there too.

use std::collections::BTreeSet;

use ir::card::TransformerCard;
use ir::plan::Parallelism;

use super::Pricing;
use super::priced::ends_trained;
use crate::runs::counts::weight_products;
use crate::runs::forms::precision::element;

/// Elements of a weight: its columns and rows, and the ranks that share it out.
type Shape = (u64, u64, u64);

impl Pricing<'_> {
    /// Bytes of the placeholders of all weights of blocks on one device, each shape once, and of the head's;
    /// 0 where the stack has none, and where only parts of the model are trained.
    pub(super) fn placeholders(&self, degrees: &Parallelism) -> [f64; 2] {
        if !self.stack.keeps.placeholders || !self.model.tuning.is_whole() {
            return [0.0; 2];
        }
        let (entry, tensor) = (element(self.dtype), u64::from(degrees.tensor.max(1)));
        let expert_tensor = u64::from(degrees.of_expert());
        let groups = self.model.groups.iter().filter(|group| group.part.is_none());
        let shapes: BTreeSet<Shape> =
            groups.clone().flat_map(|group| shapes(&group.card, [tensor, expert_tensor])).collect();
        let bytes =
            |(columns, rows, ranks): &Shape| entry * *columns as f64 * *rows as f64 / *ranks as f64;
        let head = match ends_trained(self.model)[1] {
            true => groups.clone().next().map(|group| &group.card),
            false => None,
        };
        let head = head.map_or(0.0, |card| bytes(&(card.vocabulary, card.hidden, tensor)));
        [shapes.iter().map(bytes).sum(), head]
    }
}

/// Shapes of the weights of a block: products of one input are one weight, and all experts have the same.
fn shapes(card: &TransformerCard, [tensor, expert_tensor]: [u64; 2]) -> Vec<Shape> {
    let products = weight_products(card);
    let joined = products
        .chunk_by(|one, next| one.is_split && next.is_split && one.rows == next.rows)
        .filter_map(|joined| {
            let columns = joined.iter().map(|product| product.columns).fold(0, u64::saturating_add);
            let first = joined.first()?;
            // The narrow products of latent attention are whole on each rank.
            let is_narrow = !first.is_split && columns != card.hidden;
            Some((columns, first.rows, if is_narrow { 1 } else { tensor }))
        });
    let expert = card.experts.into_iter().flat_map(|experts| {
        let first = experts.feed_forward.saturating_mul(card.form.n_first() as u64);
        [(first, card.hidden, expert_tensor), (card.hidden, experts.feed_forward, expert_tensor)]
    });
    joined.chain(expert).collect()
}

#[cfg(test)]
mod tests {
    use ir::card::{Attention, ExpertCard, FeedForward, Head, ModelCard};

    use super::*;
    use crate::kernels::stack::{megatron_core, megatron_core_2024};
    use crate::runs::forms::constants::Constants;
    use crate::runs::forms::system::tests::a100;

    fn bytes(card: TransformerCard, tensor: u32) -> [f64; 2] {
        let model = ModelCard::uniform(card);
        let (stack, older, system) = (megatron_core(), megatron_core_2024(), a100());
        let constants = Constants::nominal(&stack);
        let degrees = Parallelism { tensor, ..Parallelism::default() };
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        assert_eq!(Pricing { stack: &older, ..pricing }.placeholders(&degrees), [0.0; 2]);
        pricing.placeholders(&degrees)
    }

    fn card() -> TransformerCard {
        TransformerCard {
            name: "llama".to_owned(),
            n_layers: 4,
            hidden: 16_384,
            n_heads: 128,
            n_kv_heads: 16,
            feed_forward: 53_248,
            form: FeedForward::Gated,
            sequence: 4096,
            vocabulary: 128_256,
            experts: None,
            attention: Attention::Even,
            head: Head::Separate,
        }
    }

    /// By hand: 20,480 x 16,384 of queries, keys and values, 16,384 x 16,384, 106,496 x 16,384,
    /// 16,384 x 53,248, and 128,256 x 16,384 of the head, 2 bytes each.
    #[test]
    fn large_blocks_by_hand() {
        let h = 16_384.0;
        let blocks = 2.0 * h * (20_480.0 + h + 106_496.0 + 53_248.0);
        let head = 2.0 * h * 128_256.0;
        assert_eq!(bytes(card(), 1), [blocks, head]);
        assert_eq!(bytes(card(), 8), [blocks / 8.0, head / 8.0]);
    }

    /// All experts have the same shapes, and latent attention has narrow products that each rank has whole.
    #[test]
    fn experts_and_latent_attention_by_hand() {
        let experts = ExpertCard {
            n_experts: 160,
            per_token: 6,
            feed_forward: 1536,
            n_shared: 2,
            ..ExpertCard::default()
        };
        let attention = Attention::Latent {
            query_rank: Some(1536),
            key_value_rank: 512,
            plain: 128,
            rotary: 64,
            value: 128,
        };
        let deep = TransformerCard {
            hidden: 5120,
            n_kv_heads: 128,
            experts: Some(experts),
            attention,
            ..card()
        };
        let narrow = 5120.0 * (1536.0 + 576.0);
        let split = 1536.0 * 128.0 * 192.0
            + 512.0 * 128.0 * 256.0
            + 5120.0 * 128.0 * 128.0
            + 3.0 * 5120.0 * 3072.0
            + 3.0 * 5120.0 * 1536.0;
        assert_eq!(bytes(deep.clone(), 1)[0], 2.0 * (narrow + split));
        assert_eq!(bytes(deep, 4)[0], 2.0 * (narrow + split / 4.0));
    }
}
