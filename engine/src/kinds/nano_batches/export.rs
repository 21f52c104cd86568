//! Nano-batches in the words of servers, and as a picture.

use documents::plan::PlanDocument;
use exporters::Export;
use exporters::serving::nano_batches::{self as servers, NanoBatchesSource};
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;

use super::decided::Entry;
use super::picture::drawn;
use super::setting::Setting;
use crate::kinds::cells::PICTURE;

/// Refuses a target that takes no nano-batches.
///
/// # Errors
/// `unknown-target` with those that there are, and where the plan itself is to be had.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    if target == PICTURE {
        return Ok(());
    }
    servers::check(target).map_err(|error| {
        error.hint(
            "no other program is known to take them: they stand in the plan \
             (`experts.layers[].nano_batches`, `schedule.cells`), and `svg` draws them",
        )
    })
}

/// The file of a target.
///
/// # Errors
/// Those of the targets.
pub fn exported(
    target: &str,
    (setting, plan, entries): (&Setting, &PlanDocument, &[Entry]),
) -> Result<Export, Diagnostic> {
    if target == PICTURE {
        return Ok(drawn(plan, setting, entries));
    }
    let n_devices = setting.run.cluster.devices.len();
    let layers = plan.experts.layers.iter().filter_map(|own| own.nano_batches.as_ref());
    let thresholds = plan.experts.serving.iter().flat_map(|own| &own.thresholds);
    let source = NanoBatchesSource {
        n_devices,
        n_hosts: n_devices / usize::try_from(setting.run.system.per_host).unwrap_or(1).max(1),
        has_experts: setting.run.model.groups.iter().any(|own| own.card.experts.is_some()),
        phase: setting.doing.phase,
        nano_batches: layers.map(|own| own.samples.len() as u32).max().unwrap_or(1),
        thresholds: thresholds
            .map(|own| (StepPhase::from(own.phase), own.tokens, own.nano_batches))
            .collect(),
    };
    servers::export(target, &source)
}
