//! A plan of ops, held against every rule and all that it states.

use cost_model::ops::judge::replay::replay as judge;
use documents::plan::PlanDocument;
use std::path::Path;
use std::sync::Arc;

use super::verdict::verdict;
use super::{replay, stated};
use crate::answer::differences;
use crate::answer::exit::{Cancel, CommandResult};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::request::ReplayRequest;

/// Verifies a plan; what `cancel` gives ends the search for a proof of its bound.
///
/// # Errors
/// Those of reading; `digest-mismatch` where nothing else speaks against the plan.
pub fn verify(
    document: &Arc<PlanDocument>,
    model: &Path,
    request: &ReplayRequest,
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let on = replay::examined(document, model, request)?;
    let mut broken = replay::broken_rules(&on).to_vec();
    let is_other = on.is_mismatched || !on.mismatches.is_empty();
    if !on.mismatches.is_empty() {
        // What fits no more may have fitted where it was planned for.
        broken.retain(|violation| violation.code != "memory-exceeded");
    }
    match &document.cost {
        // On another problem than it was made for, a plan has another cost.
        Some(cost) if is_other => broken.extend(differences::within(cost)),
        _ if is_other || !broken.is_empty() => {}
        _ => {
            if let Ok(timeline) = judge(&on.loaded.problem, &on.plan) {
                broken = stated::wrong(document, &on, &timeline, &cancel());
            }
        }
    }
    if let Some(mismatch) = on.mismatches.first().filter(|_| broken.is_empty()) {
        return Err(mismatch.clone());
    }
    broken.splice(0..0, on.mismatches.iter().cloned());
    Ok(verdict(&on, &broken, Rows::of(request.all), (&cancel(), page)))
}
