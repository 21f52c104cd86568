//! A placement of experts in other formats.

use std::collections::BTreeSet;

use exporters::Export;
use exporters::serving::experts::ExpertsSource;
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;

use super::Experts;
use crate::kinds::kind::Legal;

/// The file of a target.
///
/// # Errors
/// Those of the targets; `cannot-express` where layers have other numbers of slots.
pub fn exported(target: &str, on: Legal<'_, Experts>) -> Result<Export, Diagnostic> {
    let stated = &on.plan.experts.layers;
    let slots = stated.first().map_or(0, |entry| entry.slots);
    if let Some(other) = stated.iter().find(|entry| entry.slots != slots) {
        let message =
            format!("layers have {slots} and {} slots, and servers one number", other.slots);
        return Err(Diagnostic::usage("cannot-express", message).hint("plan all layers at once"));
    }
    let entries = stated.iter().zip(&on.judged.copies);
    let layers = entries
        .flat_map(|(entry, copies)| entry.layers.iter().map(move |layer| (*layer, copies.clone())));
    let model = &on.setting.model;
    let phase = on.plan.experts.phase.map(StepPhase::from).unwrap_or_default();
    let host = &on.setting.host;
    let n_hosts = host.iter().collect::<BTreeSet<_>>().len();
    let of = |number: &usize| host.iter().filter(|other| *other == number).count();
    let is_even = host.iter().all(|number| of(number) * n_hosts == host.len());
    let source = ExpertsSource {
        n_layers: model.n_blocks().saturating_sub(model.n_predictions.saturating_sub(1)),
        n_experts: on.setting.experts.n_experts as usize,
        n_devices: on.setting.host.len(),
        n_hosts: if is_even { n_hosts } else { 0 },
        n_heads: model.groups.first().map_or(1, |group| group.card.n_heads as usize),
        slots: slots as usize,
        mode: phase.mode(),
        layers: layers.collect(),
    };
    exporters::export(target, &source)
}
