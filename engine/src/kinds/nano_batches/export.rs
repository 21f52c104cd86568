//! Nano-batches in the words of servers, and as a picture.

use documents::plan::PlanDocument;
use exporters::serving::nano_batches::NanoBatchesSource;
use exporters::{Export, Writer, find};
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::workload::StepPhase;

use super::decided::Entry;
use super::picture::drawn;
use super::setting::Setting;

/// The file of a target.
///
/// # Errors
/// Those of the targets.
pub fn exported(
    target: &str,
    (setting, plan, entries): (&Setting, &PlanDocument, &[Entry]),
) -> Result<Export, Diagnostic> {
    if let Writer::Cells(_) = find(PlanKind::NanoBatches, target)?.writer {
        return Ok(drawn(plan, setting, entries));
    }
    let n_devices = setting.run.cluster.devices.len();
    let layers = plan.experts.layers.iter().filter_map(|entry| entry.nano_batches.as_ref());
    let thresholds = plan.experts.serving.iter().flat_map(|serving| &serving.thresholds);
    let source = NanoBatchesSource {
        n_devices,
        n_hosts: n_devices / usize::try_from(setting.run.system.per_host).unwrap_or(1).max(1),
        has_experts: setting.run.model.groups.iter().any(|group| group.card.experts.is_some()),
        phase: setting.doing.phase,
        nano_batches: layers.map(|layer| layer.samples.len() as u32).max().unwrap_or(1),
        thresholds: thresholds
            .map(|threshold| {
                (StepPhase::from(threshold.phase), threshold.tokens, threshold.nano_batches)
            })
            .collect(),
    };
    exporters::export(target, &source)
}
