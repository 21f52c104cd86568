//! Views of a plan: one file in which timeline, memory over time and graph are ready to be asked for
//! by window, device and group.
//!
//! The file is made of the judge's replay and read in parts: [`View::open`] reads its head, an answer
//! what it needs. Its form is this version's own.

mod builder;
mod bytes;
mod curve;
mod find;
mod fleets;
mod gaps;
mod graph;
mod head;
mod hierarchy;
mod kind;
mod lane;
mod layout;
mod memory;
mod names;
pub mod opened;
mod ops;
mod runs;
mod timeline;
mod view;

#[cfg(test)]
mod tests;

use std::path::Path;

use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use serde_json::json;

pub use find::{Found, FoundNode};
pub use graph::{EdgeFigures, Graph, Inside, NodeFigures, NodeKind, PlacedEdge, PlacedNode};
pub use head::{DeviceFigures, Role};
pub use memory::{Alive, Holding, MemoryCurve};
pub use timeline::{LaneTile, Rows, ThingTold, Tile};
pub use view::{LaneTold, Overview, View};

use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::inputs::plan_file;
use crate::kinds::fleet::decided::Judged as JudgedFleet;
use crate::kinds::fleet::setting::Setting as FleetSetting;
use crate::kinds::fleet::{Fleet, observed};
use crate::kinds::frame;
use crate::kinds::placement::Placement;
use crate::kinds::placement::replay::{self, Replayed};
use crate::kinds::training::Training;
use crate::kinds::training::replay::Planned;
use crate::request::PlanOnModel;

/// JSON Schema of the answers, as members `overview`, `timeline`, `memory`, `graph` and `found`.
pub const SCHEMA: &str = include_str!("../../schema/views.schema.json");

/// What the file is called among those of an answer.
pub const FILE: &str = "view";

/// A view file, what of the plan is worth a warning, and the rules that it breaks.
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// Of reading.
    pub warnings: Vec<Diagnostic>,
    /// Rules that the plan breaks, all of which leave it a replay.
    pub violations: Vec<Diagnostic>,
}

/// Replays a plan and makes its view.
///
/// # Errors
/// Those of reading, and of plans that can not be replayed; `no-view` of instances with given costs.
pub fn make(request: &PlanOnModel) -> Result<Made, Diagnostic> {
    refuse_instance(&request.model)?;
    let document = plan_file::document(&request.plan)?;
    refuse_others(&document)?;
    if document.training.is_some() {
        let mut on = frame::on_model::<Training>(&document, request.into())?;
        let judged = on.judged();
        let violations = on.violations(&judged, None);
        return Ok(Made { violations, ..of_run(&on.setting, on.warnings)? });
    }
    if document.fleet.is_some() {
        let mut on = frame::on_model::<Fleet>(&document, request.into())?;
        let judged = on.judged();
        let violations = on.violations(&judged, None);
        return match judged {
            Ok(judged) => Ok(Made { violations, ..of_fleet(&on.setting, &judged, on.warnings)? }),
            // Without workers there are no lanes.
            Err(broken) => Err(broken.into_iter().next().unwrap_or_else(bytes::damaged)),
        };
    }
    let on = frame::on_model::<Placement>(&document, request.into())?;
    let replayed = replay::on(on.setting)?;
    let violations = replay::broken_rules(&replayed.on).to_vec();
    Ok(Made { violations, ..of_ops(&replayed, on.warnings)? })
}

/// Refuses a model of which there are no views.
///
/// # Errors
/// Those of reading; `no-view`.
pub fn refuse_instance(model: &Path) -> Result<(), Diagnostic> {
    if importers::instance(model)?.is_none() {
        return Ok(());
    }
    let message = "an instance with given costs has no timeline of its own to view";
    Err(Diagnostic::usage("no-view", message).hint("`explain` says what its devices hold and do"))
}

/// Refuses a plan of which there are no views.
///
/// # Errors
/// `no-view`.
pub fn refuse_others(plan: &PlanDocument) -> Result<(), Diagnostic> {
    let kind = plan.kind();
    if kind.has_timeline() {
        return Ok(());
    }
    let message = format!("{} has no timeline of its own to view", kind.words());
    Err(Diagnostic::usage("no-view", message).hint("`explain` says what it takes and holds"))
}

/// The view of a replayed plan of ops.
///
/// # Errors
/// `no-view`.
pub fn of_ops(replayed: &Replayed, warnings: Vec<Diagnostic>) -> Result<Made, Diagnostic> {
    check_step(replayed.timeline.step_time.get())?;
    Ok(Made { bytes: ops::file(replayed), warnings, violations: Vec::new() })
}

/// The view of a training run.
///
/// # Errors
/// Those of pricing and of the judge; `no-view`.
pub fn of_run(on: &Planned, warnings: Vec<Diagnostic>) -> Result<Made, Diagnostic> {
    let costs = on.setting.costs(&on.plan, on.setting.limit)?;
    let judged = cost_model::runs::judge::judge_plan(&costs, &on.plan);
    let judged = judged.map_err(|violation| violation.diagnostic())?;
    check_step(judged.report.step_time.0)?;
    let bytes = match &on.plan.schedule.grid {
        Some(grid) => runs::file(on, &costs, grid, &judged),
        None => Vec::new(),
    };
    Ok(Made { bytes, warnings, violations: Vec::new() })
}

/// The view of a fleet: as long as the iterations of all worker types that were replayed.
///
/// # Errors
/// `not-for-fleets`, `no-view`.
pub fn of_fleet(
    setting: &FleetSetting,
    judged: &JudgedFleet,
    warnings: Vec<Diagnostic>,
) -> Result<Made, Diagnostic> {
    let types = observed::of(setting, judged)?;
    let end = |of: &observed::Observed| of.iterations.last().map(|ran| fleets::span(ran).1);
    let end_ns = types.iter().filter_map(end).min().unwrap_or(1).max(1);
    check_step(end_ns)?;
    Ok(Made { bytes: fleets::file(&types, end_ns), warnings, violations: Vec::new() })
}

fn check_step(step_time_ns: u64) -> Result<(), Diagnostic> {
    if step_time_ns <= lane::LONGEST_STEP {
        return Ok(());
    }
    let message = "a step of more than two years has no view";
    Err(Diagnostic::usage("no-view", message)
        .fact("step_time_ns", step_time_ns)
        .hint("check the durations that the model states"))
}

/// `view`: makes the file, and says what it holds.
///
/// # Errors
/// Those of [`make`].
pub fn view(request: &PlanOnModel, keep: &mut dyn FnMut(Vec<u8>), page: &Page) -> CommandResult {
    let made = make(request)?;
    let overview = View::open(&made.bytes)?.overview();
    page.warnings(&made.warnings);
    page.warnings(&made.violations);
    keep(made.bytes);
    Ok(frame::replayed((&made.violations, &made.warnings), json!({ "view": overview }), page))
}
