//! A stage of measured layers: blocks are alike, so counts say all about them.

use ir::card::{ModelCard, Recompute, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{BlockPolicy, Parallelism, Stage};
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::LayerPricing;
use super::priced::{End, Priced};
use super::states::{on_host, share};
use crate::runs::forms::model::Offload;
use crate::runs::forms::model::priced::host_update_s;
use crate::runs::forms::precision::host_optimizer_bytes;
use crate::runs::judge::costs::{Boundary, Link};
use crate::runs::oracle::{Ending, Limits, Place, Prices, Seat, StageFigures, StageOracle, bytes};

/// Bytes beside states and activations of a device: context, communicators, fragments, and what a
/// pass needs for a while as far as it fits in. Galvatron's allowance (`pytorch_context_mem`, 1024
/// MB), *nominal*.
pub const WORKING_ROOM: f64 = 1_073_741_824.0;
/// Bytes per parameter that go to a host and come back: a gradient and a weight of 16 bits.
const SENT: f64 = 4.0;
/// Bytes of states of a parameter.
const STATES: f64 = 16.0;

/// Blocks of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By ZeRO stage.
    pub by_zero: [u32; 4],
    /// Computed again.
    pub recomputed: u32,
    /// Computed again, of those whose parameters are shared out.
    pub fully_sharded_recomputed: u32,
}

impl Counts {
    /// Counts policies.
    #[must_use]
    pub fn of(policies: impl Iterator<Item = BlockPolicy>) -> Self {
        policies.fold(Self::default(), |mut counts, policy| {
            counts.by_zero[policy.zero as usize] += 1;
            if policy.recompute != Recompute::None {
                counts.recomputed += 1;
                counts.fully_sharded_recomputed += u32::from(policy.zero == ZeroStage::Parameters);
            }
            counts
        })
    }

    /// Blocks.
    #[must_use]
    pub fn n(&self) -> u32 {
        self.by_zero.iter().sum()
    }
}

/// Bytes of the working room that no pass of a stage uses.
#[must_use]
pub fn idle_room(figures: &StageFigures) -> f64 {
    (WORKING_ROOM - figures.temporary - figures.recompute).max(0.0)
}

impl StageOracle for LayerPricing<'_> {
    fn model(&self) -> &ModelCard {
        self.model
    }

    fn limits(&self) -> Limits<'_> {
        Limits {
            device: self.limit,
            per_host: u64::from(self.per_host),
            host_memory: self.host_memory,
            offload: self.offload,
            is_paged: false,
        }
    }

    fn price(&self, degrees: &Parallelism, _: bool) -> Result<Box<dyn Prices + '_>, Diagnostic> {
        Ok(Box::new(Priced::new(self, degrees)?))
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
        let counts = Counts::of(stage.policies(self.degrees.zero));
        if counts.n() as usize == stage.blocks.len() {
            return Ok(self.figures(&counts, place));
        }
        let message = format!(
            "a stage has {} blocks from block {} on, but choices for {}",
            stage.blocks.len(),
            stage.blocks.start,
            counts.n()
        );
        Err(Diagnostic::error(Blame::IllegalPlan, "policies-wrong", message)
            .hint("say of each block what is done with it, or of none"))
    }

    fn ending(&self, figures: &StageFigures, _: Seat) -> Ending {
        figures.ending.unwrap_or_default()
    }

    fn boundary(&self, _: u32, _: u32, message: f64) -> Boundary {
        let message = bytes(message);
        let link = Link { bandwidth: self.next, ..Link::default() };
        Boundary { activation: message, gradient: message, link }
    }

    fn beside_stages(&self, figures: &mut dyn Iterator<Item = &StageFigures>) -> f64 {
        let least = figures.map(idle_room).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }
}

impl Priced<'_> {
    /// Ends on a stage.
    fn end(&self, place: Place) -> End {
        match (place.first, place.last) {
            (true, true) => self.ends[0],
            (true, false) => self.ends[1],
            (false, true) => self.ends[2],
            (false, false) => End::default(),
        }
    }

    /// Seconds of a pass and a collective that run beside each other.
    fn beside(&self, pass_s: f64, collective_s: f64) -> f64 {
        pass_s.max(collective_s) + (self.slow_down - 1.0) * pass_s.min(collective_s)
    }

    /// A pass before which parameters are gathered, those of its first block alone.
    fn gathered_pass(&self, pass_s: f64, gather_s: f64, first_s: f64) -> f64 {
        first_s + self.beside(pass_s, (gather_s - first_s).max(0.0))
    }

    /// Figures of a stage.
    #[must_use]
    pub fn figures(&self, counts: &Counts, place: Place) -> StageFigures {
        let end = self.end(place);
        let n = f64::from(counts.n());
        let fully_sharded = f64::from(counts.by_zero[ZeroStage::Parameters as usize]);
        let recomputed = f64::from(counts.recomputed);
        let gather = fully_sharded * self.gather_s + end.gather_s;
        let first = if fully_sharded > 0.0 { self.gather_s } else { end.gather_s };
        let collectives = n * self.collectives_s + end.collectives_s;
        let compute = n * self.forward_s + end.forward_s;
        let pass = |compute: f64| collectives + self.gathered_pass(compute, gather, first);
        let recompute_s = recomputed * (self.forward_s + self.collectives_s);
        let backward_s = pass(2.0 * compute);
        let exchange = self.exchange(counts, &end);
        let last = if place.first { end.exchange_s } else { exchange / n.max(1.0) };
        let slowed = (self.slow_down - 1.0) * exchange.min(backward_s + recompute_s);
        let extra = self.activation - self.input;
        let present = |is_there: bool, bytes: f64| if is_there { bytes.max(0.0) } else { 0.0 };
        let gathered_bytes = present(fully_sharded > 0.0, self.gathered);
        let computed = present(recomputed > 0.0, extra);
        let both = present(counts.fully_sharded_recomputed > 0, extra.max(0.0) + self.gathered);
        let whole = n * self.whole_states + end.whole_states;
        let temporary = gathered_bytes.max(computed).max(both);
        StageFigures {
            forward_s: pass(compute),
            backward_s,
            // Half of the products of a backward pass.
            weight_s: compute,
            recompute_s,
            collectives_s: 2.0 * collectives,
            waited_s: pass(compute) + backward_s - 2.0 * collectives - 3.0 * compute,
            dense: whole / STATES,
            states: self.states(counts),
            end_states: end.states,
            on_host: on_host(whole, self.n_sharing, self.pricing.offload),
            activation: (n - recomputed) * self.activation + recomputed * self.input,
            end_activation: end.activation,
            temporary: gathered_bytes,
            recompute: temporary - gathered_bytes,
            recompute_all: present(recomputed > 0.0, recomputed * extra),
            sends: self.message,
            ending: Some(Ending {
                exchange_s: exchange + slowed,
                tied_s: 0.0,
                overlapped_s: (exchange - last).max(0.0),
                optimizer_s: self.host_optimizer_s(whole),
            }),
            ..StageFigures::default()
        }
    }

    /// Seconds of the exchange of gradients: of blocks whose parameters are gathered anyway, only
    /// the sums have to reach their owners.
    fn exchange(&self, counts: &Counts, end: &End) -> f64 {
        let of = |zero: ZeroStage| f64::from(counts.by_zero[zero as usize]);
        let fully_sharded = of(ZeroStage::Parameters);
        let others = f64::from(counts.n()) - fully_sharded;
        let end = if end.gather_s > 0.0 { end.exchange_s / 2.0 } else { end.exchange_s };
        others * self.exchange_s + fully_sharded * self.exchange_s / 2.0 + end
    }

    fn states(&self, counts: &Counts) -> f64 {
        const ZEROS: [ZeroStage; 4] =
            [ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters];
        let shares = ZEROS.iter().zip(counts.by_zero).map(|(zero, n)| {
            let m = self.degrees.n_micro_batches;
            f64::from(n) * share(*zero, self.n_sharing, m, self.pricing.offload)
        });
        self.whole_states * shares.sum::<f64>()
    }

    fn host_optimizer_s(&self, whole: f64) -> f64 {
        if self.pricing.offload == Offload::Nothing {
            return 0.0;
        }
        let parameters = whole / STATES / f64::from(self.n_sharing.max(1));
        // Such profiles are measured in bf16, with Adam.
        let moved = host_optimizer_bytes(DType::Bf16, Optimizer::AdamW);
        host_update_s(parameters, (SENT, moved), u64::from(self.pricing.per_host))
    }
}
