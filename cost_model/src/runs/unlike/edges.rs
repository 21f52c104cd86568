//! What goes between two stages: all of it, or the largest elements with their indices (AdaTopK of
//! FusionLLM, Tang et al. 2024).
//!
//! Who sends chooses, message by message, after the pass that makes it: activations on the way there,
//! their gradients on the way back. Buffers for elements and indices are not counted: they are no more
//! than the message that is not sent.

use std::collections::BTreeMap;

use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::plan::{Stage, StageMesh};
use ir::units::{BytesPerSecond, Nanos};

use super::Fleet;
use super::crossings::crossings;
use crate::kernels::selection::selection;
use crate::runs::forms::constants::Constant;
use crate::runs::forms::precision::element;
use crate::runs::judge::costs::{Boundary, Link, Sharing};
use crate::runs::oracle::{bytes, nanos};

/// Bytes of the index of an element of a message, and of one of more than 2^32 elements.
const INDEX_BYTES: [f64; 2] = [4.0, 8.0];

/// A message from a device to another, with its bytes before any are left out.
struct Message {
    from: DeviceId,
    to: DeviceId,
    bytes: f64,
}

fn illegal(message: String) -> Diagnostic {
    Diagnostic::error(Blame::IllegalPlan, "edges", message)
        .hint("let the edge send all: take it out of `communication.edges`")
}

impl Fleet<'_> {
    /// Bytes of one sample that cross the boundary before a block.
    fn message(&self, block: u32) -> Option<f64> {
        let mut start = 0;
        let group = self.base.model.groups.iter().find(|group| {
            start += group.n_blocks;
            block <= start
        })?;
        let card = &group.card;
        Some(match &group.part {
            Some(part) => part.behind as f64,
            None => element(self.base.dtype) * card.sequence as f64 * card.hidden as f64,
        })
    }

    /// The messages of a micro-batch between two stages, the second of which begins at a block.
    fn messages(&self, from: &StageMesh, to: &StageMesh, block: u32) -> Option<Vec<Message>> {
        let of_sample = self.message(block)?;
        let parts = from.tensor.min(to.tensor).max(1);
        let all = crossings(from, to).into_iter().flat_map(|(a, b, samples)| {
            (0..parts as usize).map(move |part| {
                let sender = from.devices.get(a * from.tensor as usize + part);
                let reader = to.devices.get(b * to.tensor as usize + part);
                let bytes = samples as f64 * of_sample / f64::from(parts);
                Some(Message { from: *sender?, to: *reader?, bytes })
            })
        });
        all.collect()
    }

    /// Bytes that go of a message, indices among them: no more than all of it.
    fn sent(&self, bytes: f64, ratio: u32) -> f64 {
        let of_element = element(self.base.dtype);
        let elements = bytes / of_element;
        let index = INDEX_BYTES[usize::from(elements > f64::from(u32::MAX))];
        let n_sent = (elements / f64::from(ratio.max(1))).ceil();
        if ratio > 1 { (n_sent * (of_element + index)).min(bytes) } else { bytes }
    }

    /// What goes between two stages, the second of which begins at a block; `None` where a device does
    /// not reach the one it sends to.
    #[must_use]
    pub fn boundary(&self, from: &StageMesh, to: &StageMesh, block: u32) -> Option<Boundary> {
        let sends = self.messages(from, to, block)?.into_iter();
        let sends = sends.map(|message| {
            Some((message.from, message.to, self.sent(message.bytes, from.edge_ratio)))
        });
        let (most, link) = self.busiest(sends)?;
        Some(Boundary { activation: bytes(most), gradient: bytes(most), link })
    }

    /// Bytes of a micro-batch that would go between two stages, the second of which begins at a block, one
    /// way, and those that do.
    #[must_use]
    pub fn edge_bytes(&self, from: &StageMesh, to: &StageMesh, block: u32) -> Option<[u64; 2]> {
        let all = self.messages(from, to, block)?;
        let sum = |ratio| all.iter().map(|message| self.sent(message.bytes, ratio)).sum::<f64>();
        Some([1, from.edge_ratio].map(|ratio| bytes(sum(ratio)).0))
    }

    /// How long the stage before a boundary chooses what to send, and how long the stage behind it: that
    /// of the device that chooses longest. `None` where nobody states what that takes.
    pub(super) fn choosing(
        &self,
        from: &StageMesh,
        to: &StageMesh,
        block: u32,
    ) -> Option<[Nanos; 2]> {
        if from.edge_ratio <= 1 || self.edge_ratio > 1 {
            return Some([Nanos(0); 2]);
        }
        let of_element = element(self.base.dtype);
        let mut seconds: [BTreeMap<DeviceId, f64>; 2] = Default::default();
        for message in self.messages(from, to, block)? {
            for (end, device) in [message.from, message.to].into_iter().enumerate() {
                let kind = (self.cluster.kind_of(device), self.profile);
                let chosen = selection(kind, (message.bytes / of_element, of_element))?;
                *seconds[end].entry(device).or_default() +=
                    chosen.start_up_s + message.bytes * chosen.per_byte_s;
            }
        }
        Some(seconds.map(|by_device| nanos(by_device.into_values().fold(0.0, f64::max))))
    }

    /// Refuses edges that send no part of what they carry.
    pub(super) fn check_edges(&self, stages: &[Stage]) -> Result<(), Diagnostic> {
        let meshes = stages.iter().map(|stage| (stage.mesh.as_ref(), stage.blocks.end));
        let meshes: Vec<_> = meshes.collect();
        for (at, (mesh, block)) in meshes.iter().enumerate() {
            let Some(from) = mesh.filter(|mesh| mesh.edge_ratio != 1) else { continue };
            let next = meshes.get(at + 1).and_then(|(next, _)| *next);
            let bytes = next.and_then(|next| self.edge_bytes(from, next, *block));
            if from.edge_ratio == 0 || bytes.is_none_or(|[all, sent]| sent >= all) {
                let message = format!(
                    "stage {at} sends the next one 1 in {} elements, which is no part of what goes there",
                    from.edge_ratio
                );
                return Err(illegal(message));
            }
            if next.is_some_and(|next| self.choosing(from, next, *block).is_none()) {
                let message = format!(
                    "what choosing 1 in {} elements takes on the devices of stage {at} or of the next one is \
                     not known: their kind states no memory bandwidth",
                    from.edge_ratio
                );
                return Err(illegal(message));
            }
        }
        Ok(())
    }

    /// The channel that is busy longest with sends there and back, which all begin at once: its bytes
    /// one way, and a link of its rate; `None` where a device does not reach another.
    pub(super) fn busiest(
        &self,
        sends: impl Iterator<Item = Option<(DeviceId, DeviceId, f64)>>,
    ) -> Option<(f64, Link)> {
        let factor = [Constant::Neighbour, Constant::Network];
        let factor = factor.map(|constant| self.base.constants.get(constant));
        let mut loads: BTreeMap<(bool, usize), [f64; 2]> = BTreeMap::new();
        let (mut latency_ns, mut crosses_any) = (0.0_f64, false);
        for send in sends {
            let (sender, reader, bytes) = send?;
            let (way, back) =
                (self.cluster.route(sender, reader)?, self.cluster.route(reader, sender)?);
            let crosses = self.node(sender) != self.node(reader);
            let rate = way.kind.bandwidth.get().min(back.kind.bandwidth.get());
            let rate = rate * factor[usize::from(crosses)];
            latency_ns = latency_ns.max(way.kind.latency_ns).max(back.kind.latency_ns);
            crosses_any |= crosses;
            for channel in [(false, way.send.index()), (true, way.receive.index())] {
                let load = loads.entry(channel).or_default();
                load[0] += bytes;
                load[1] += bytes / rate;
            }
        }
        let [most, seconds] = loads.into_values().reduce(|a, b| if b[1] > a[1] { b } else { a })?;
        let bandwidth = BytesPerSecond::new(most / seconds);
        let sharing = if crosses_any { Sharing::Nic } else { Sharing::Own };
        Some((most, Link { latency_ns, bandwidth, tier: u8::from(crosses_any), sharing }))
    }
}
