//! What exporters of placements are given, and what every exporter gives back.

use cost_model::ops::judge::replay::Timeline;
use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::plan_kind::PlanKind;

use crate::target::{Told, Writer};

/// A judged placement of ops.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What was planned.
    pub problem: &'a Problem,
    /// The plan.
    pub plan: &'a Plan,
    /// When everything happens.
    pub timeline: &'a Timeline,
    /// Where the time and the memory go.
    pub report: &'a Report,
}

impl Told for Source<'_> {
    const KIND: PlanKind = PlanKind::Placement;

    fn written(&self, by: Writer, _: &'static str) -> Option<Result<Export, Diagnostic>> {
        let Writer::Ops(own) = by else { return None };
        Some((own.export)(self))
    }
}

/// A file, and what it can't say.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The content.
    pub bytes: Vec<u8>,
    /// How the executor will differ from the plan.
    pub warnings: Vec<Diagnostic>,
}

impl From<String> for Export {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes(), warnings: Vec::new() }
    }
}
