//! What the host of a rank takes beside the launches of its blocks, in launch floors of a stack
//! ([`ir::stack::HostShares`]).

use ir::card::ZeroStage;

use super::kind::Kind;
use super::priced::Priced;
use crate::runs::forms::block::host_s;
use crate::runs::oracle::{Place, Seat};

/// Seconds of the host for what replicas share out.
#[derive(Clone, Copy, Default)]
pub(super) struct Sharing {
    /// Of gathering before a pass, and of scattering behind a backward pass, of one micro-batch.
    pub(super) passes_s: [f64; 2],
    /// Once a step.
    pub(super) step_s: f64,
}

/// A backward pass in two parts.
pub(super) struct Split {
    /// Seconds of the second part, the gradients of weights.
    pub(super) weight_s: f64,
    /// Seconds that both take more than a whole one.
    pub(super) more_s: f64,
    /// Bytes that the first part makes for the second one.
    pub(super) bytes: f64,
    /// Bytes of what is kept that the first part frees.
    pub(super) freed: f64,
}

impl Priced<'_> {
    /// Seconds in which the host does so many launch floors of a block.
    pub(super) fn host_s(&self, floors: f64) -> f64 {
        host_s(floors, self.pricing.stack, self.pricing.constants)
    }

    /// Seconds of the host once a step, counted with the first stage of each rank.
    #[must_use]
    pub fn host_step_s(&self, seat: Seat) -> f64 {
        match seat.stage < self.degrees.pipeline.max(1) as usize {
            true => self.host_s(self.pricing.stack.host.step),
            false => 0.0,
        }
    }

    /// Seconds of the host for the messages of one micro-batch through a stage.
    #[must_use]
    pub fn messages_s(&self) -> f64 {
        match self.degrees.pipeline {
            0 | 1 => 0.0,
            _ => self.host_s(self.pricing.stack.host.messages),
        }
    }

    /// Seconds of the host for computing so many blocks again, beside their launches.
    pub(super) fn again_s(&self, n: u32) -> f64 {
        f64::from(n) * self.host_s(self.pricing.stack.host.again)
    }

    /// What a stage of so many blocks shares out; its ends are shared out by themselves.
    pub(super) fn sharing(&self, n_blocks: f64, place: Place) -> Sharing {
        let n = n_blocks + f64::from(u8::from(place.first) + u8::from(place.last));
        let host = self.pricing.stack.host;
        let [piece_s, update_s] = [host.pieces, host.updates].map(|share| n * self.host_s(share));
        match self.degrees.zero {
            _ if self.replicas[0].ranks <= 1 => Sharing::default(),
            ZeroStage::None => Sharing::default(),
            ZeroStage::Optimizer => Sharing { step_s: update_s, ..Sharing::default() },
            ZeroStage::Gradients => Sharing { passes_s: [0.0, piece_s], step_s: piece_s },
            ZeroStage::Parameters => Sharing { passes_s: [piece_s; 2], step_s: 0.0 },
        }
    }

    /// Seconds of a whole backward pass, and of the gradients of weights, as a stage would split it.
    pub(super) fn split(
        &self,
        all: &Kind,
        [backward_s, weight_s]: [f64; 2],
        place: Place,
        n_blocks: f64,
    ) -> Split {
        let by_graph = self.pricing.stack.splits_by_graph;
        if by_graph && place.first {
            return Split { weight_s: backward_s, more_s: 0.0, bytes: 0.0, freed: 0.0 };
        }
        // The loss lets go of its graph with the gradient of its input.
        let [end, loss] =
            if place.last { [self.end_gradients, self.kept_logits] } else { [0.0; 2] };
        Split {
            weight_s,
            more_s: n_blocks * self.host_s(self.pricing.stack.host.split),
            bytes: if by_graph { all.split_bytes + end } else { 0.0 },
            freed: if by_graph { loss } else { 0.0 },
        }
    }
}
