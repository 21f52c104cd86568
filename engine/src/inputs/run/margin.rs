//! What stays free of each device's memory.

use std::sync::Arc;

use exporters::serving::LLAMA_CPP;
use ir::cluster::{Cluster, Device, MARGIN};
use ir::units::Bytes;

use super::setting::Setting;

/// What llama.cpp leaves free of each device where it fits a model to them (`--fit-target`, 1,024 MiB:
/// `fit_params_target` of its `common/common.h`).
const FIT_TARGET: Bytes = Bytes(1 << 30);

impl Setting {
    /// Leaves the margin of the request free on each device, whatever the cluster file says; without one the
    /// default of the engine where the file states none.
    pub fn keep_margin(&mut self) {
        // Older plans kept both free.
        if self.request.memory_margin.is_some() {
            return;
        }
        let share = self.request.kept_free;
        let is_fitted = share.is_none() && self.request.executor.as_deref() == Some(LLAMA_CPP);
        let is_free = |device: &Device| match is_fitted {
            true => !device.is_reserve_stated,
            false => share.is_some() || device.reserve == Bytes::ZERO,
        };
        let share = share.unwrap_or(if self.layers.is_some() { 0.0 } else { MARGIN });
        let reserve = |memory: Bytes| match is_fitted {
            true => FIT_TARGET.min(memory),
            false => Bytes((memory.as_f64() * share).round() as u64),
        };
        for cluster in self.whole.iter_mut().chain(&mut self.left) {
            *cluster = Arc::new(Cluster::clone(cluster).with_reserve(reserve, is_free));
        }
        self.cluster = self.cluster.clone().with_reserve(reserve, is_free);
    }

    /// What a plan may use of a device with so much memory.
    pub fn room(&self, memory: Bytes) -> Bytes {
        let room = self.less(memory);
        self.request.max_memory_bytes.map_or(room, |most| Bytes(most).min(room))
    }

    /// What the margin of an older plan leaves of what the reserve does.
    pub fn less(&self, memory: Bytes) -> Bytes {
        Bytes((memory.as_f64() * (1.0 - self.request.memory_margin.unwrap_or(0.0))) as u64)
    }
}
