//! What stays free of each device's memory.

use std::sync::Arc;

use ir::cluster::{Cluster, Device, MARGIN};
use ir::units::Bytes;

use super::setting::Setting;

impl Setting {
    /// Keeps the margin that was asked for free on each device, whatever the cluster file says; without one
    /// the usual margin where the file states none.
    pub fn keep_margin(&mut self) {
        // Older plans kept both free.
        if self.request.memory_margin.is_some() {
            return;
        }
        let share = self.request.kept_free;
        let is_free = |device: &Device| share.is_some() || device.reserve == Bytes::ZERO;
        let share = share.unwrap_or(if self.layers.is_some() { 0.0 } else { MARGIN });
        for cluster in self.whole.iter_mut().chain(&mut self.left) {
            *cluster = Arc::new(Cluster::clone(cluster).with_margin_of(share, is_free));
        }
        self.cluster = self.cluster.clone().with_margin_of(share, is_free);
    }

    /// What a plan may use of a device with so much memory.
    pub fn room(&self, memory: Bytes) -> Bytes {
        let room = self.less(memory);
        self.request.max_memory_bytes.map_or(room, |most| Bytes(most).min(room))
    }

    /// What the margin of an older plan leaves of what the reserve does.
    pub(super) fn less(&self, memory: Bytes) -> Bytes {
        Bytes((memory.as_f64() * (1.0 - self.request.memory_margin.unwrap_or(0.0))) as u64)
    }
}
