//! A placement of experts on its model and cluster again.

use std::collections::HashMap;
use std::path::Path;

use cost_model::experts::Copies;
use documents::digest;
use documents::plan::experts::ExpertLayersDocument;
use documents::plan::{PlanDocument, Reference};
use ir::diagnostic::Diagnostic;

use crate::answer::mismatch;
use crate::inputs::experts::Setting;
use crate::request::ReplayRequest;
use crate::request::fields;

/// A placement of experts and what it was made for.
pub struct OnModel<'d> {
    /// Model and devices.
    pub setting: Setting,
    /// The plan as it is stated.
    pub document: &'d PlanDocument,
    /// By entry the devices of each expert; numbers past those of the cluster are [`Self::unknown`].
    pub copies: Vec<Copies>,
    /// Names that the cluster has not.
    pub unknown: Vec<String>,
    /// Of reading; where model or cluster are others than it was made for, one each.
    pub warnings: Vec<Diagnostic>,
    /// Where they are and may not be, one each.
    pub mismatches: Vec<Diagnostic>,
}

impl OnModel<'_> {
    /// The name of a device.
    #[must_use]
    pub fn device(&self, number: usize) -> &str {
        let devices = &self.setting.cluster.devices;
        let unknown = || self.unknown.get(number.checked_sub(devices.len())?).map(String::as_str);
        devices.get(number).map(|own| own.name.as_str()).or_else(unknown).unwrap_or_default()
    }
}

/// Puts a placement on a model and the cluster of the flags.
///
/// # Errors
/// Those of [`Setting::read`]; `not-as-planned` for flags that a placement of experts has no use for;
/// `digest-mismatch` where names differ.
pub fn examined<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    check_flags(target)?;
    let own = &target.problem;
    let read = (model, &own.model, document.experts.sequence_length);
    let mut setting = Setting::read(read, own.cluster.as_deref())?;
    let pairs = [
        ("model", &document.model, &setting.model.name, digest::card(&setting.model)),
        ("cluster", &document.cluster, &setting.cluster.name, digest::cluster(&setting.cluster)),
    ];
    let found: Vec<Diagnostic> = pairs
        .into_iter()
        .filter(|(_, own, _, digest)| own.digest != *digest)
        .map(|(what, own, name, digest)| {
            mismatch::mismatch(what, own, &Reference::new(name, digest), target.allow_mismatch)
        })
        .collect();
    let (allowed, mismatches) = mismatch::sorted(found.into_iter(), target.allow_mismatch)?;
    let mut warnings = std::mem::take(&mut setting.warnings);
    warnings.extend(allowed);
    let numbers: HashMap<String, usize> =
        setting.cluster.devices.iter().map(|own| own.name.clone()).zip(0..).collect();
    let mut unknown = Vec::new();
    let mut number = |name: &String| match numbers.get(name) {
        Some(number) => *number,
        None => {
            unknown.push(name.clone());
            numbers.len() + unknown.len() - 1
        }
    };
    let mut of = |own: &ExpertLayersDocument| -> Copies {
        let each = own.devices_of_expert.iter();
        each.map(|names| names.iter().map(&mut number).collect()).collect()
    };
    let copies = document.experts.layers.iter().map(&mut of).collect();
    Ok(OnModel { setting, document, copies, unknown, warnings, mismatches })
}

/// As [`examined`], where model and cluster are those of the plan.
///
/// # Errors
/// As [`examined`]; `digest-mismatch`.
pub fn read<'d>(
    document: &'d PlanDocument,
    model: &Path,
    target: &ReplayRequest,
) -> Result<OnModel<'d>, Diagnostic> {
    let on = examined(document, model, target)?;
    on.mismatches.first().map_or(Ok(()), |other| Err(other.clone()))?;
    Ok(on)
}

/// Refuses flags that ask for another step: all that a placement of experts needs stands in its plan.
fn check_flags(target: &ReplayRequest) -> Result<(), Diagnostic> {
    let mut given = fields::flags(&target.problem.given);
    given.retain(|flag| *flag != "--cluster" && *flag != "--routing-trace");
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    let message = format!("beside a placement of experts, {given} has no effect");
    Err(Diagnostic::usage("not-for-experts", message).hint(format!("leave out {given}")))
}
