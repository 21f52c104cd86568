//! `plan --html`: the plan as one page.

use std::io::Write as _;

use engine::request::{ModelRequest, PlanOnModel, PlanRequest, ProblemRequest, ReplayRequest};
use engine::views;
use engine::views::opened;
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use tempfile::NamedTempFile;

use crate::version::VERSION;

/// How the page is called among formats.
pub(crate) const TARGET: &str = "html";

/// Refuses a page, before any work is done, that could not be made.
///
/// # Errors
/// `no-pages`; `not-for-instances`, `not-for-experts`, `not-for-streams`, `not-for-serving`, and those of reading the
/// model.
pub(crate) fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
    let refused = |kind: PlanKind| {
        let message = format!("`--html` has no effect on {}", kind.words());
        Diagnostic::usage(kind.refusal(), message).hint("leave it out: it has no views")
    };
    let kind = engine::plan::kind_of(request)?.filter(|kind| !kind.has_timeline());
    if let Some(kind) = kind {
        return Err(refused(kind));
    }
    views::refuse_instance(&request.model).map_err(|error| match error.code {
        "no-view" => refused(PlanKind::Given),
        _ => error,
    })?;
    web::sheet::shell().map(|_| ())
}

/// The page of a plan that was just made for a request.
///
/// # Errors
/// Those of opening the plan and of [`web::sheet::made`].
pub(crate) fn of(plan: &[u8], request: &PlanRequest) -> Result<Vec<u8>, Diagnostic> {
    let failed = |error: std::io::Error| {
        let message = "no temporary file can be written, from which the page is made";
        Diagnostic::error(Blame::Usage, "not-writable", message)
            .fact("reason", error.to_string())
            .hint("name a folder in TMPDIR")
    };
    let mut file = NamedTempFile::new().map_err(failed)?;
    file.write_all(plan).map_err(failed)?;
    // What else was asked for stands in the plan.
    let stated = &request.problem;
    let problem = ProblemRequest {
        model: ModelRequest { traces: stated.model.traces.clone(), ..ModelRequest::default() },
        cluster: stated.cluster.clone(),
        profile: stated.profile.clone(),
        scale: stated.scale.clone(),
        ..ProblemRequest::default()
    };
    let target = ReplayRequest { problem, ..ReplayRequest::default() };
    let on = PlanOnModel { plan: file.path().to_owned(), model: request.model.clone(), target };
    let opened = opened::of(&on, false)?;
    web::sheet::made(&opened.answer, &opened.view, VERSION)
}
