//! What the devices of an inference pipeline do between two batches, for what they draw.

use cost_model::runs::served::priced::flops;
use cost_model::runs::served::{Judged, Piece};
use documents::plan::energy::EnergyDocument;
use ir::id::DeviceId;
use ir::units::Nanos;
use ir::workload::StepPhase;

use super::setting::Setting;
use crate::answer::energy::{self, Share, Whole};

/// Energy and price of a pipeline that was judged; nothing where nobody asked.
#[must_use]
pub(super) fn document(
    setting: &Setting,
    pieces: &[Piece],
    judged: &Judged,
) -> Option<EnergyDocument> {
    let (model, batch) = (&setting.run.model, setting.batch);
    let n = pieces.len();
    let share = |(at, piece): (usize, &Piece)| {
        let ns = |nanos: u64| nanos as f64 * 1e-9;
        let stage = |at: usize| judged.stages.get(at).copied().unwrap_or_default();
        let [products, cores] = flops(model, (&piece.blocks, at + 1 == n), batch);
        let ways = stage(at).way_ns.saturating_add(stage((at + n - 1) % n).way_ns);
        Share {
            stage: Some(at),
            device: DeviceId::new(piece.device),
            n_devices: 1,
            seconds: [ns(stage(at).ns), ns(ways)],
            flops: products + cores,
        }
    };
    // What the processor of a host draws is not known.
    let n_devices = setting.run.cluster.devices.len();
    let on_devices = pieces.iter().enumerate().filter(|(_, piece)| piece.device < n_devices);
    let shares: Vec<Share> = on_devices.map(share).collect();
    let tokens = batch.samples as f64 * batch.tokens as f64;
    let made = if batch.phase == StepPhase::Decode { tokens } else { 0.0 };
    let memory = &setting.costs.held;
    let last = |sums: &[u64]| sums.last().copied().unwrap_or(0) as f64;
    let all = 0..setting.costs.n_blocks();
    let whole = Whole {
        cluster: &setting.run.cluster,
        request: &setting.run.request,
        dtype: setting.run.numbers.dtype,
        step: Nanos(judged.period),
        tokens: [tokens, made],
        least: [flops(model, (&all, true), batch)[0], last(&memory.weights)],
    };
    energy::document(&whole, &shares)
}
