//! Placements of ops as a kind of plan: read back, judged again, told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use documents::plan::PlanDocument;
use exporters::{Export, Source};
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use planner::registry;
use serde_json::{Value, json};

use super::replay::{self, OnProblem};
use super::{Placement, compare, explain, export, plan, report, stated};
use crate::answer::differences;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::frame::{self, OnModel};
use crate::kinds::kind::{Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told};
use crate::request::fields::{self, Honours};
use crate::request::{PlanRequest, executor};

impl Kind for Placement {
    const KIND: PlanKind = PlanKind::Placement;
    const ROWS: &'static str = "a recipe that places ops";
    const FLAGS: &'static [&'static str] = &[];
    const HOLDS_CLAIMS: bool = false;
    const HONOURS: &'static Honours = &fields::OPS;
    const IS_ROW: IsRow = |recipe| Ok(registry::recipe(recipe).is_ok());
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;

    type Setting = Arc<OnProblem>;
    type Judged = ();

    fn is_asked(_: &PlanRequest) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    fn read(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
    ) -> Result<Read<Self::Setting>, Diagnostic> {
        let setting = replay::on_problem(plan, target)?;
        Ok(Read {
            warnings: setting.loaded.warnings.clone(),
            others: setting.others.clone(),
            setting,
        })
    }

    fn broken_anywhere(on: &mut OnModel<Self>) -> Vec<Diagnostic> {
        let mut broken = of_others(&on.setting, &on.plan);
        // What fits no more may have fitted where it was planned for.
        broken.retain(|violation| violation.code != "memory-exceeded");
        broken
    }

    fn judge(setting: &mut Self::Setting, plan: &PlanDocument) -> Result<(), Vec<Diagnostic>> {
        match replay::broken_rules(setting) {
            [] => Ok(()),
            _ if !setting.others.is_empty() => Err(of_others(setting, plan)),
            broken => Err(broken.to_vec()),
        }
    }

    fn stated_wrong(on: Legal<'_, Self>, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        proof.map_or_else(Vec::new, |flag| stated::wrong(on.plan, on.setting, flag))
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let setting = on.setting;
        let seconds = replay::timeline(setting)
            .map_or(Value::Null, |timeline| json!(timeline.step_time.seconds()));
        Told {
            sentence: format!(
                "legal: all {} ops, no rule broken",
                setting.loaded.problem.actions.len()
            ),
            figures: vec![(Self::FIGURE, seconds)],
        }
    }

    fn words(setting: &Self::Setting) -> [String; 2] {
        let n_ops = setting.loaded.problem.actions.len();
        let unproved =
            format!("unchecked: all {n_ops} ops, no rule broken, but a bound was not proved");
        ["illegal".to_owned(), unproved]
    }

    fn instead(
        setting: &Self::Setting,
        found: (&[Diagnostic], &[Diagnostic]),
        (rows, page): (Rows, &Page),
    ) -> Exit {
        let statement = Told { sentence: String::new(), figures: Vec::new() };
        let around = (rows, &AtomicBool::new(false), page);
        frame::verdict(found, (statement, Self::words(setting)), around)
    }

    fn simulate(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
        _: Option<u64>,
        page: &Page,
    ) -> CommandResult {
        let on = frame::on_model::<Self>(plan, target)?;
        let replayed = replay::with_all(on.setting)?;
        let document = report::print(&replayed, (Rows::of(target.flags.all), page), &on.warnings);
        Ok(frame::replayed((replay::broken_rules(&replayed.on), &on.warnings), document, page))
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        let replayed = replay::on(Arc::clone(on.setting))?;
        let problem = &replayed.on.loaded.problem;
        executor::check_workload(target, &problem.workload)?;
        let source = Source {
            problem,
            plan: &replayed.on.plan,
            timeline: &replayed.timeline,
            report: &replayed.report,
        };
        export::exported(target, &source)
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        compare::placements(pair, page)
    }
}

/// Rules that a plan breaks on something else than it was made for, and figures of its cost that contradict
/// each other: there it takes something else.
fn of_others(setting: &OnProblem, plan: &PlanDocument) -> Vec<Diagnostic> {
    let mut broken = replay::broken_rules(setting).to_vec();
    broken.extend(plan.cost.iter().flat_map(differences::within));
    broken
}
