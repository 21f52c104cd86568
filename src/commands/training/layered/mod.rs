//! `plan` of a training run on measured layers (`--profile` names a folder).

mod bench;
mod found;
mod nothing_fits;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use cost_model::layers::LayerPricing;
use cost_model::transformer::model::Offload;
use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{BlockPolicy, Stage};
use planner::parallelism::order::Order;
use planner::parallelism::per_layer::{Found, Options, solve};
use planner::parallelism::search_3d::Stop;
use planner::parallelism::search_3d::space::Space;

use super::answer::stage_text as uniform_text;
use super::setting::Setting;
use super::{document, files};
use crate::artifact::{self, Existing};
use crate::cli::PlanArgs;
use crate::commands::plan::interrupted;
use crate::commands::{CommandResult, Exit};
use crate::printer::{Format, Printer};
use crate::{escape, interrupt};
pub(crate) use bench::run as bench;
use found::Answer;

/// The name of the search in plan documents.
pub(super) const ALGORITHM: &str = "per-layer";

/// What prices the plans of a setting with measured layers.
///
/// # Errors
/// `internal` where it has none, which its caller has made sure of.
fn pricing(setting: &Setting) -> Result<LayerPricing<'_>, Diagnostic> {
    setting.layer_pricing().ok_or_else(|| {
        Diagnostic::error(Blame::Internal, "internal", "the setting has no measured layers")
    })
}

/// Plans a training run.
pub(super) fn plan(
    args: &PlanArgs,
    (mut setting, space): (Setting, &Space),
    exports: &[(&str, PathBuf)],
    cancel: Arc<AtomicBool>,
    printer: &Printer,
) -> CommandResult {
    let start = Instant::now();
    let options = Options {
        deadline: interrupt::deadline(args.limits.time_limit),
        cancel: Some(cancel),
        ..Options::default()
    };
    let mut found = solve(&pricing(&setting)?, space, &options)?;
    if let (Some(lacking), true) =
        (&found.lacking, found.counts.n_unmeasured == found.counts.n_shapes)
    {
        return Err(lacking.clone());
    }
    let is_short = found.best.is_none() && found.stop == Stop::Proved;
    if is_short && !args.training.no_offload {
        // Optimizer states on hosts are slower, so they are moved there only where they must.
        setting.offload = Offload::Optimizer;
        found = solve(&pricing(&setting)?, space, &options)?;
        if found.best.is_none() {
            setting.offload = Offload::Nothing;
        }
    }
    let Some(best) = &found.best else {
        return match found.stop {
            Stop::Proved => nothing_fits::answer(&setting, space, printer),
            Stop::Deadline => Err(too_early(&found)),
            Stop::Cancelled => Ok(interrupted(printer)),
        };
    };
    let elapsed = (!args.limits.deterministic).then(|| start.elapsed());
    let answer = Answer::new(&setting, best, &found, elapsed)?;
    let made_by = (ALGORITHM, found.bound);
    let plan = best.plan()?;
    let document = document::of(&setting, &plan, Order::OneFOneB.name(), made_by)?;
    let text = escape::json(document.to_json()?);
    let written = (&plan, (Order::OneFOneB.name(), found.bound));
    let files = files(args, &setting, &text, written, exports)?;
    artifact::write_all(&files, Existing::of(args.force))?;
    printer.warnings(&setting.warnings);
    match printer.format {
        Format::Text => answer.print(printer),
        Format::Json => printer.document(&answer.document(&document)?),
    }
    for (path, _) in &files {
        printer.talk(&format!("wrote {}", path.display()));
    }
    Ok(Exit::DONE)
}

fn too_early(found: &Found) -> Diagnostic {
    let message = "the search was stopped before it found a plan that fits";
    Diagnostic::error(Blame::NotFound, "no-plan", message)
        .fact("judged", found.counts.n_judged)
        .fact("expanded", found.counts.n_expanded)
        .hint("give it more time with --time-limit")
}

/// `0-7 5 again, 3 ZeRO-3`.
pub(super) fn stage_text(stage: &Stage) -> String {
    if stage.each.is_empty() {
        return uniform_text(&stage.blocks, stage.recompute);
    }
    let count = |is: &dyn Fn(&BlockPolicy) -> bool| stage.each.iter().filter(|own| is(own)).count();
    let again = count(&|own| own.recompute != Recompute::None);
    let gathered = count(&|own| own.zero == ZeroStage::Parameters);
    let mut text = uniform_text(&stage.blocks, Recompute::None);
    if again > 0 {
        text.push_str(&format!(" {again} again"));
    }
    if gathered > 0 {
        text.push_str(&format!(" {gathered} ZeRO-3"));
    }
    text
}
