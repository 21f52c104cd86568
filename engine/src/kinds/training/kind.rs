//! Plans of training runs as a kind of plan: read back, judged again, told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::runs::forms::model::Offload;
use cost_model::runs::judge::report::Report;
use cost_model::runs::judge::{judge_plan, verify as rules};
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::training::folder::Files;
use ir::diagnostic::{Blame, Diagnostic, Value as Fact};
use ir::plan_kind::PlanKind;
use serde_json::json;

use super::replay::{self, Asked, EXTENT_FOR_TOKENS, Planned};
use super::unasked::unasked;
use super::{Training, claims, compare, explain, export, plan};
use crate::answer::exit::CommandResult;
use crate::answer::mismatch;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::violations;
use crate::inputs::plan_file;
use crate::inputs::run::hardware::retain_warnings;
use crate::kinds::frame::{self, OnModel};
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, pathless,
};
use crate::request::fields::{self, Honours};
use crate::request::subject::Subject;
use crate::request::{ExportRequest, PlanRequest};

/// What a plan of a run takes, and what it breaks and states in vain.
pub struct Judged {
    /// All of that but its bound.
    pub broken: Vec<Diagnostic>,
    /// Where the step goes.
    pub report: Report,
}

impl Kind for Training {
    const KIND: PlanKind = PlanKind::Training;
    const ROWS: &'static str = "a search of training runs";
    const FLAGS: &'static [&'static str] = &[];
    const FIGURE: &'static str = "step_time_ns";
    const EXPLAINS_ILLEGAL: bool = true;
    const HONOURS: &'static Honours = &fields::DEGREES;
    // The one that makes such a plan is derived, and held against the one that is stated.
    const IS_ROW: IsRow = |_| Ok(true);
    const CHECK_SUBJECT: ChecksSubject = check_subject;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;

    type Setting = Planned;
    type Judged = Judged;

    fn is_asked(_: &PlanRequest) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        let honoured = if request.is_on_layers() { &fields::LAYERS } else { Self::HONOURS };
        fields::check(&request.problem.given, honoured)?;
        plan::check(request)
    }

    fn read(document: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Planned>, Diagnostic> {
        let Some(training) = document.training.clone() else {
            return Err(Diagnostic::input("bad-plan", "the plan is none of a training run"));
        };
        let planned = plan_file::workload(&document.workload)?;
        let Target { model, flags, .. } = target;
        let problem = &flags.problem;
        unasked(problem, document)?;
        let requested = Asked {
            sequence_length: training.sequence_length,
            global_batch: training.global_batch,
            dtype: problem.model.dtype.or(planned.dtype),
            optimizer: problem.optimizer.unwrap_or(planned.optimizer),
            stack: training.stack.clone(),
            adapter: document.request.adapter.clone(),
        };
        let mut setting = replay::setting(document, model, flags, &requested)?;
        if training.offloads_optimizer {
            setting.offload = Offload::Optimizer;
        }
        let others = target.others(document, &setting.references());
        let plan = document.to_training(Some(&setting.cluster));
        let plan = plan.map_err(|error| mismatch::before(error, &others, flags.allow_mismatch))?;
        if plan.partition.has_own_devices() {
            retain_warnings(&mut setting.warnings);
        }
        let warnings = setting.warnings.clone();
        let setting = Planned {
            is_mismatched: !others.is_empty(),
            is_of_pictures: warnings.iter().any(|warning| warning.code == EXTENT_FOR_TOKENS),
            document: Arc::clone(document),
            setting,
            training,
            plan,
        };
        Ok(Read { setting, warnings, others })
    }

    fn broken_anywhere(on: &mut OnModel<Self>) -> Vec<Diagnostic> {
        let planned = &on.setting;
        // What fits no more may have fitted where it was planned for.
        let costs = planned.setting.costs(&planned.plan, None);
        let is_broken = costs.is_err_and(|error| error.blame == Blame::IllegalPlan);
        if !is_broken && claims::alone(planned).is_empty() {
            return Vec::new();
        }
        on.judged().map_or_else(|broken| broken, |judged| judged.broken)
    }

    fn judge(on: &mut Planned, _: &PlanDocument) -> Result<Judged, Vec<Diagnostic>> {
        // On another problem than it was made for, a plan has other figures.
        let mut broken = if on.is_mismatched { claims::alone(on) } else { claims::wrong(on) };
        if on.is_of_pictures {
            // A warning says so.
            let length = ("field", Fact::from("training.sequence_length"));
            broken.retain(|error| !error.facts.contains(&length));
        }
        let costs = match on.setting.costs(&on.plan, on.setting.limit) {
            Ok(costs) => costs,
            Err(error) => {
                if !broken.contains(&error) {
                    broken.push(error);
                }
                return Err(broken);
            }
        };
        let report = match judge_plan(&costs, &on.plan) {
            Ok(judged) => judged.report,
            Err(violation) => {
                broken.push(violation.diagnostic());
                return Err(broken);
            }
        };
        if let Some(grid) = &on.plan.schedule.grid {
            let found = rules::verify(&costs, grid);
            broken.extend(found.iter().map(|violation| violation.diagnostic()));
        }
        Ok(Judged { broken, report })
    }

    fn stated_wrong(on: Legal<'_, Self>, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let broken = on.judged.broken.clone();
        // A bound is worth a search only where the rest is true.
        let flag = proof.filter(|_| broken.is_empty());
        broken.into_iter().chain(flag.and_then(|flag| claims::bound(on.setting, flag))).collect()
    }

    fn stated_on_others(on: Legal<'_, Self>) -> Vec<Diagnostic> {
        on.judged.broken.clone()
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let report = &on.judged.report;
        Told {
            sentence: format!(
                "the plan is legal: {} blocks on {} ranks, every pass once, step time {}",
                on.setting.setting.model.n_blocks(),
                report.ranks.len(),
                report.step_time
            ),
            figures: vec![(Self::FIGURE, json!(report.step_time.0))],
        }
    }

    fn simulate(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
        micro_batches: Option<u64>,
        page: &Page,
    ) -> CommandResult {
        let mut on = frame::on_model::<Self>(plan, target)?;
        if let Some(n) = micro_batches {
            claims::resize(&mut on.setting, n)?;
        }
        let judged = on.judged();
        let broken = on.violations(&judged, None);
        let rows = Rows::of(target.flags.all);
        page.warnings(&on.warnings);
        let Ok(judged) = judged else { return Ok(violations::instead(&broken, rows, page)) };
        violations::list(&broken, rows, page);
        let document = explain::replayed(&on.setting, &judged.report, page)?;
        Ok(frame::replayed((&broken, &on.warnings), document, page))
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        export::file(on.setting, target)
    }

    fn folder(
        on: Legal<'_, Self>,
        request: (&ExportRequest, &str),
    ) -> Result<(Files, Vec<Diagnostic>), Diagnostic> {
        export::folder(on.setting, request)
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        compare::compare_plans(pair, page)
    }
}

/// Refuses subjects that its plans have none of.
fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    match subject {
        Subject::Step { longest: Some(_) } => {
            Err(pathless("a training run has no critical path of ops"))
        }
        Subject::Op(_) | Subject::Transfer(_) => {
            let message = "a training run has stages of blocks: `--op` and `--transfer` name none";
            Err(Diagnostic::usage("not-for-training", message)
                .hint("leave them out, or name a device with --device"))
        }
        Subject::Step { .. } | Subject::Device(_) | Subject::BreakEven(_) | Subject::WhyNot(_) => {
            Ok(())
        }
    }
}
