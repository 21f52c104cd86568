//! Plans of offloaded experts: an expert cache in slots of devices, the others in host memory.

pub mod cached;
pub mod compare;
pub mod explain;
pub mod figures;
pub mod plan;
pub mod verify;

use std::sync::Arc;

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use exporters::Export;
use exporters::serving::slots::SlotsSource;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::workload::StepPhase;
use planner::experts::expertflow;
use planner::experts::expertflow::regroup::MOST_TOKENS;
use serde_json::json;

use self::figures::{hit_ratio, sums};
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::words::share as percent;
use crate::inputs::experts;
use crate::inputs::routing::Routing;
use crate::kinds::expert_layers::{self as shared, Placed, by_law};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told,
};
use crate::request::fields::Honours;
use crate::search::row;

/// What of a plan its trace alone says; bounds of it are judged.
const OF_TRACE: [&str; 7] = [
    "routed tokens",
    "needed",
    "missed and fetched ahead",
    "waves",
    "which experts are resident",
    "the order of prefetch",
    "seconds of steps",
];

/// Experts that lie in slots of devices.
pub struct Slots;

/// Model and devices, and the trace that a plan was made from, where it is given.
pub struct Setting {
    /// Model and devices.
    pub setting: experts::Setting,
    trace: Option<Vec<Routing>>,
    is_traced: bool,
}

impl Setting {
    /// Without a trace.
    #[must_use]
    pub fn untraced(setting: experts::Setting) -> Self {
        Self { setting, trace: None, is_traced: false }
    }
}

impl Kind for Slots {
    const KIND: PlanKind = PlanKind::Slots;
    const FLAGS: &'static [&'static str] = &["--cluster", "--routing-trace"];
    const ROWS: &'static str = "a row that decides what the plan does";
    const HONOURS: &'static Honours = &shared::HONOURS;
    const IS_ROW: IsRow = row::is::<expertflow::Cached>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = shared::check_subject;
    const ELSEWHERE: &'static str =
        "no other program is known to take slots: they stand in the plan, with what lies in them";
    const FIGURE: &'static str = "hit_ratio";
    const HAS_STEPS: bool = false;

    type Setting = Setting;
    type Judged = Placed;

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let setting = shared::read(plan, target)?;
        let regroup = plan.experts.host.as_ref().and_then(|host| host.regrouped);
        let regroup =
            regroup.map_or(1, |regrouped| regrouped.steps.min(MOST_TOKENS as u64) as usize);
        let read = |file| Routing::all(&setting, file, regroup);
        let trace = target.routing_trace.map(read).transpose()?;
        let is_traced = trace.is_some();
        let others = target.others(plan, &shared::references(&setting));
        let warnings = setting.warnings.clone();
        Ok(Read { setting: Setting { setting, trace, is_traced }, warnings, others })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Placed, Vec<Diagnostic>> {
        let (setting, trace) = (&setting.setting, setting.trace.take());
        let placed = Placed::of(setting, plan);
        let mut found = shared::of_step(setting, plan);
        found.extend(shared::of_layers(setting, plan));
        if found.is_empty() {
            let law = |(at, entry): (usize, &ExpertLayersDocument)| {
                by_law((setting, plan), entry, &format!("experts.layers[{at}].visits"))
            };
            found.extend(plan.experts.layers.iter().enumerate().filter_map(law));
            found.extend(verify::violations((setting, plan), &placed, trace));
        }
        if found.is_empty() { Ok(placed) } else { Err(found) }
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let experts = &on.plan.experts;
        let hits = hit_ratio(&sums(experts));
        let is_traced = experts.host.as_ref().is_some_and(|host| host.is_traced);
        let not_judged: &[&str] = if is_traced && !on.setting.is_traced { &OF_TRACE } else { &[] };
        let summary = format!(
            "the plan is legal: {} layers in slots, hits {}",
            experts.layers.len(),
            percent(hits)
        );
        let sentence = match not_judged.is_empty() {
            true => summary,
            false => format!(
                "{summary} as stated; not judged: {}, which --routing-trace is needed for",
                not_judged.join(", ")
            ),
        };
        let figures = vec![("hit_ratio", json!(hits)), ("not_judged", json!(not_judged))];
        Told { sentence, figures }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        let experts = &on.plan.experts;
        let of = |entry: &ExpertLayersDocument| {
            let slots = entry.slots as usize;
            entry.layers.iter().map(move |layer| (*layer, slots)).collect::<Vec<_>>()
        };
        let mut layers: Vec<(u32, usize)> = experts.layers.iter().flat_map(of).collect();
        layers.sort_unstable();
        let source = SlotsSource {
            n_devices: on.setting.setting.host.len(),
            mode: experts.phase.map(StepPhase::from).unwrap_or_default().mode(),
            n_experts: on.setting.setting.experts.n_experts as usize,
            layers,
        };
        exporters::export(target, &source)
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |rows| compare::compare((pair.a, pair.b), (rows, page));
        frame::compare::<Self>(pair, None, compared, page)
    }
}
