//! Forms as an oracle: what a plan is asked of them, and what stages do at the end of a step.

use std::sync::Arc;

use ir::card::{MemoryFeature, ModelCard, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Parallelism, Stage};

use super::Pricing;
use super::priced::{Passes, Priced};
use crate::links::collective;
use crate::runs::forms::constants::Constant;
use crate::runs::forms::rank_groups::Cards;
use crate::runs::judge::costs::{Boundary, Link, Sharing};
use crate::runs::oracle::{
    Ending, Limits, Place, Prices, Seat, StageFigures, StageOracle, bytes, needs_layers,
};

impl StageOracle for Pricing<'_> {
    fn model(&self) -> &ModelCard {
        self.model
    }

    fn limits(&self) -> Limits<'_> {
        Limits {
            device: self.limit,
            per_host: self.system.per_host,
            host_memory: &self.system.host_memory,
            offload: self.offload,
            is_paged: self.optimizer.is_paged(),
        }
    }

    fn price(
        &self,
        degrees: &Parallelism,
        ends_meet: bool,
    ) -> Result<Box<dyn Prices + '_>, Diagnostic> {
        if degrees.sequence == SequenceParallel::Ulysses {
            return Err(needs_layers("Ulysses ranks"));
        }
        if degrees.vocabulary.is_some() {
            return Err(needs_layers("ends of their own degree"));
        }
        let passes = Arc::new(Passes::of(self, degrees));
        Ok(Box::new(Priced::new(*self, degrees.clone(), passes).with_ends(ends_meet)))
    }
}

impl Prices for Priced<'_> {
    fn degrees(&self) -> &Parallelism {
        &self.degrees
    }

    fn limits(&self) -> Limits<'_> {
        self.pricing.limits()
    }

    fn stage(&self, stage: &Stage, place: Place) -> Result<StageFigures, Diagnostic> {
        match stage.each.is_empty() {
            true => Ok(self.figures(&stage.blocks, stage.recompute, place)),
            false => Err(needs_layers("choices by block")),
        }
    }

    fn ending(&self, figures: &StageFigures, seat: Seat) -> Ending {
        let last = self.last_exchange_s(figures.dense, figures.experts);
        Ending {
            exchange_s: last + self.copies_s(seat.rank, figures.copies),
            overlapped_s: self.overlapped_s(figures, last),
            // The gradient of an embedding is there with the very last kernel, on both ends.
            tied_s: self.tie_s(seat.stage, seat.n_stages),
            optimizer_s: self.optimizer_s(figures.dense, figures.experts)
                + self.paged_s(figures)
                + self.host_step_s(seat)
                + figures.sharing_s,
        }
    }

    fn boundary(&self, from: u32, to: u32, message: f64) -> Boundary {
        let (message, link) = self.way(from, to, message);
        let crosses = self.crosses(from, to);
        let sharing = if crosses { Sharing::Nic } else { Sharing::Own };
        Boundary {
            activation: bytes(message),
            gradient: bytes(message),
            link: Link {
                latency_ns: link.start_up_s * 1e9,
                bandwidth: Some(link.rate),
                tier: u8::from(crosses),
                sharing,
            },
        }
    }

    fn beside_stages(&self, figures: &mut dyn Iterator<Item = &StageFigures>) -> f64 {
        // A chunk that runs ahead keeps its activations.
        let is_ahead = self.pricing.features.contains(&MemoryFeature::TunableOverlap);
        let ahead = figures.filter(|_| is_ahead).map(|stage| stage.activation).fold(0.0, f64::max);
        self.rank_bytes + ahead
    }

    fn cards(&self) -> Option<Cards> {
        self.shared_cards()
    }
}

impl Priced<'_> {
    /// Seconds of the last exchange that may run beside the last backward pass: what the stack
    /// overlaps, as far as the links are not taken by collectives of the pass itself.
    fn overlapped_s(&self, figures: &StageFigures, exchange_s: f64) -> f64 {
        let stack = self.pricing.stack;
        let is_shared = self.degrees.zero >= ZeroStage::Optimizer;
        let share = if is_shared && !stack.overlaps_sharing { 0.0 } else { stack.overlap_data };
        let taken_s = figures.backward_links_s[usize::from(self.exchanges_leave_host())];
        let free_s = (figures.backward_s - taken_s).max(0.0);
        (exchange_s * share).min(match taken_s > 0.0 {
            true => free_s,
            false => f64::INFINITY,
        })
    }

    /// Seconds in which the two ends of a pipeline add up the gradients of an embedding that both
    /// hold.
    #[must_use]
    pub fn tie_s(&self, stage: usize, n_stages: usize) -> f64 {
        if !self.is_tied_across() || (stage != 0 && stage + 1 != n_stages) {
            return 0.0;
        }
        let bytes = self.pricing.gradients.exchanged() * self.passes.end_parameters;
        let link = self.shared_way(0, self.degrees.pipeline.saturating_sub(1));
        2.0 * link.start_up_s + bytes / link.rate.get()
    }

    /// Seconds in which gradients of copies go to the stage that has the original, and weights come
    /// back; taken as the way to the first rank.
    fn copies_s(&self, rank: u32, copies: f64) -> f64 {
        if copies <= 0.0 || rank == 0 {
            return 0.0;
        }
        let link = self.shared_way(0, rank);
        let bytes = self.pricing.gradients.exchanged() * copies;
        2.0 * link.start_up_s + 2.0 * bytes / link.rate.get()
    }

    /// The way between two ranks where all devices of both use it at once.
    fn shared_way(&self, from: u32, to: u32) -> collective::Link {
        let (_, alone) = self.way(from, to, 0.0);
        let cards = self.shared_cards().filter(|_| self.crosses(from, to));
        let network = self.pricing.constants.get(Constant::Network);
        let of = |cards: Cards| self.pricing.system.card_among(u64::from(cards.n_copies), network);
        cards.map_or(alone, of)
    }
}
