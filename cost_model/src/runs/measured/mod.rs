//! Training runs on measured layers ([`ir::layers::LayerProfile`]): what one block, the ends and the
//! collectives cost under given degrees, put together by stages and given to the judge of pipelines.
//!
//! Nothing here is fitted. What is measured, what follows from it, and what is nominal:
//!
//! | figure | from |
//! |---|---|
//! | forward pass of `b` samples on one of `t` ranks | measured times by batch, read at `b / t` ([`curve`]) |
//! | backward pass | twice the forward pass; computing again, one more forward pass |
//! | collectives of tensor ranks | per block and pass two all-reduces of `b s h` 16-bit numbers (Korthikanti et al. 2022: as much with the sequence split), measured times by size |
//! | Ulysses | per block and pass four all-to-alls of `b s h / t` numbers, those of keys and values by their heads (Jacobs et al. 2023) |
//! | gradients | once a step, 16 bits: `2 (d - 1) / d` of the bytes at the measured bus bandwidth beside the last backward pass, which ends with the exchange of one block alone |
//! | ZeRO-3 | before each pass the parameters of its blocks are gathered, `(d - 1) / d` of the bytes; the first block's alone, the others' beside the pass |
//! | passes beside collectives | `max + (c - 1) min`, `c` the measured slow-down of both |
//! | states | 16 bytes a parameter, of which 2 are weights, 2 gradients, 12 optimizer states; what replicas share out is there `1 / d` + 0.3 % times ([`states`]) |
//! | activations | measured, per sample and block; a block computed again keeps its measured input |
//! | ends | measured states and activation; the time of both ends, half on each |
//! | working room | 1 GiB beside all this, or what a pass needs for a while if that is more |
//!
//! The optimizer itself is not in such profiles and takes no time here unless hosts run it.

pub mod curve;
pub mod priced;
pub mod stage;
pub mod states;

#[cfg(test)]
mod tests;

use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;
use ir::layers::{Hosts, LayerProfile};
use ir::units::Bytes;

use crate::runs::forms::model::Offload;
use crate::runs::forms::model::counts::of_block;

/// Share by which measured and counted parameters of a block may differ: buffers and rounding of
/// the allocator, which profilers see as parameters.
const PARAMETER_TOLERANCE: f64 = 0.1;

/// What prices a training run on measured layers.
#[derive(Clone, Copy, Debug)]
pub struct LayerPricing<'a> {
    /// The measured layers.
    pub profile: &'a LayerProfile,
    /// The model: blocks, width, heads.
    pub model: &'a ModelCard,
    /// Devices of a host.
    pub per_host: u32,
    /// What a device can hold; `None` = unlimited.
    pub limit: Option<Bytes>,
    /// By host, its memory, where that is stated.
    pub host_memory: &'a [Option<Bytes>],
    /// What hosts keep.
    pub offload: Offload,
}

impl LayerPricing<'_> {
    /// Refuses a model that the layers were not measured of: another length, other parameters of a
    /// block, experts or several kinds of blocks.
    ///
    /// # Errors
    /// `profile-model`.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let wrong = |message: String| {
            Diagnostic::input("profile-model", message)
                .fact("model", self.model.name.clone())
                .fact("profile", self.profile.name.clone())
                .hint("give the profile of this model, or the config of the profiled one")
        };
        let [group] = self.model.groups.as_slice() else {
            return Err(wrong("the model's blocks are of several kinds".into()));
        };
        if group.card.experts.is_some() {
            return Err(wrong("the model has experts, which the profile does not know".into()));
        }
        if group.card.sequence != self.profile.sequence {
            let (tokens, measured) = (group.card.sequence, self.profile.sequence);
            return Err(wrong("the profile was measured on samples of another length".into())
                .fact("tokens", tokens)
                .fact("measured", measured));
        }
        let counted = 4.0 * of_block(group) as f64;
        let measured = self.profile.block_weights.as_f64();
        if (measured - counted).abs() > PARAMETER_TOLERANCE * counted {
            return Err(wrong(
                "a block of the model has other parameters than the profile's".into(),
            )
            .fact("hidden", group.card.hidden)
            .fact("bytes", Bytes(counted as u64))
            .fact("measured", self.profile.block_weights));
        }
        Ok(())
    }

    /// The measured hosts that hold so many devices: as many hosts, with at least as many devices
    /// each as are used of one.
    #[must_use]
    pub fn hosts(&self, n_devices: u32) -> Option<Hosts> {
        let per_host = self.per_host.max(1);
        let n_hosts = n_devices.div_ceil(per_host);
        let used = n_devices.min(per_host);
        let mut fitting =
            self.profile.links.keys().filter(|h| h.n_hosts == n_hosts && h.per_host >= used);
        fitting.next().copied()
    }

    /// Blocks of the model.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        self.model.n_blocks()
    }
}
