//! Gradients that appear while activations go, and what an update takes at the end of a step.

use ir::card::Head;
use ir::plan::Parallelism;
use ir::workload::Optimizer;

use super::kind::Kind;
use super::priced::{HOST_LINK, Priced, ends_trained};
use super::{Offload, Pricing};
use crate::runs::forms::precision::element;
use crate::runs::memory::states::state_bytes;
use crate::runs::oracle::Place;

impl Pricing<'_> {
    /// Whether no gradient is there while the forward pass runs: the stack frees them between steps, and one
    /// micro-batch goes through one stage.
    #[must_use]
    pub fn is_late(&self, degrees: &Parallelism) -> bool {
        self.stack.keeps.frees_gradients && degrees.n_micro_batches <= 1 && degrees.pipeline <= 1
    }
}

impl Pricing<'_> {
    /// Whether each rank keeps all gradients of its stage until the last micro-batch, and all weights with them:
    /// PyTorch's `PipelineStage` turns `fully_shard`'s scatters and its resharding after a backward pass off until
    /// then (`backward_maybe_with_nosync`, 2.5 and later).
    #[must_use]
    pub fn accumulates_unsharded(&self, degrees: &Parallelism) -> bool {
        self.stack.posts_receives
            && degrees.pipeline > 1
            && degrees.n_micro_batches > 1
            && degrees.zero >= ir::card::ZeroStage::Gradients
    }

    /// Whether hosts keep frozen weights and what is trained beside them, a piece of which comes to the devices
    /// before each pass (`fsdp_offload_params`): weights that are shared out.
    #[must_use]
    pub fn offloads_weights(&self, degrees: &Parallelism) -> bool {
        self.offload == Offload::Optimizer
            && self.model.tuning.adapter.is_some()
            && degrees.zero == ir::card::ZeroStage::Parameters
    }
}

impl Priced<'_> {
    /// Seconds in which so many dense parameters, experts and frozen weights of some blocks are gathered before
    /// a pass, and come from hosts.
    pub(super) fn gathered_s(&self, all: &Kind, dense: f64, n_blocks: f64) -> f64 {
        let frozen = all.frozen.map(|bytes| bytes / element(self.pricing.dtype));
        let moves_all = self.pricing.offloads_weights(&self.degrees);
        // With whole parameters on hosts, their updates there price what they send of trained ones.
        let trained = if moves_all { dense + all.experts } else { 0.0 };
        let still = match moves_all || self.pricing.offload == Offload::Parameters {
            true => frozen[0] + frozen[1],
            false => 0.0,
        };
        let replicas = self.replicas[0].ranks.max(1) as f64;
        let upload_s = element(self.pricing.dtype) * (trained + still) / replicas / HOST_LINK;
        self.gather_s(dense + frozen[0], all.experts + frozen[1], n_blocks) + upload_s
    }

    /// Bytes of the frozen weights of the largest kind of blocks.
    pub(super) fn largest_frozen(&self) -> f64 {
        let frozen = self.passes.kinds.iter().map(|kind| kind.frozen[0] + kind.frozen[1]);
        frozen.fold(0.0, f64::max)
    }

    /// Seconds of updates that replicas share out from ZeRO 1 on.
    pub(super) fn updates_s(&self, seconds: f64) -> f64 {
        let replicas = f64::from(self.replicas[0].ranks.max(1) as u32);
        if self.degrees.zero > ir::card::ZeroStage::None { seconds / replicas } else { seconds }
    }

    /// Bytes of gradients of a stage that are not there while it keeps all activations, with what the update
    /// takes; 0 where they are there all along.
    pub(super) fn late_gradients(&self, all: &Kind, copies: f64, place: Place) -> f64 {
        let pricing = &self.pricing;
        if !pricing.is_late(&self.degrees) {
            return 0.0;
        }
        let keeps = pricing.stack.keeps;
        let [dense, experts] = pricing.sharers(&self.degrees).map(|replicas| {
            state_bytes(pricing.format, pricing.optimizer, self.degrees.zero, replicas).gradients
        });
        let largest = self.largest_weight();
        // Moments in 8 bits are made wide weight by weight; bitsandbytes pages its own and needs no such copy.
        let is_wide = matches!(pricing.optimizer, Optimizer::AdamW8 | Optimizer::Lion8);
        let update = if is_wide { keeps.update * largest } else { 0.0 };
        let gradients = match keeps.steps_in_backward {
            true => element(pricing.dtype) * largest,
            false => {
                (all.held_dense + copies + self.end_parameters(place)) * dense
                    + all.held_experts * experts
            }
        };
        gradients + update.max(self.tied_sum())
    }

    /// Bytes beside all gradients where embedding and head are one trained tensor: autograd adds up both of its
    /// gradients in a third buffer (`InputBuffer::accumulate`).
    fn tied_sum(&self) -> f64 {
        let model = self.pricing.model;
        let is_tied = model.groups.first().is_some_and(|group| group.card.head == Head::Tied);
        match is_tied && ends_trained(model)[0] {
            true => 2.0 * element(self.pricing.dtype) * self.passes.end_parameters,
            false => 0.0,
        }
    }

    /// Elements of the largest trained weight on one device: of the ends, or as much as a block's feed-forward
    /// product.
    fn largest_weight(&self) -> f64 {
        let [embedding, head] = ends_trained(self.pricing.model);
        if embedding || head {
            return self.passes.end_parameters;
        }
        let cards = self.pricing.model.groups.iter().map(|group| &group.card);
        let tensor = f64::from(self.degrees.tensor.max(1));
        let of = |card: &ir::card::TransformerCard| card.hidden as f64 * card.feed_forward as f64;
        match self.pricing.model.tuning.adapter {
            Some(_) => 0.0,
            None => cards.map(of).fold(0.0, f64::max) / tensor,
        }
    }
}
