//! What the frame asks of an inference pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cost_model::runs::served::bound::{EVERY, SPREAD, is_below, spread};
use cost_model::runs::served::{self, Costs, Piece, Violation};
use documents::plan::PlanDocument;
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::units::Bytes;
use planner::serving::Serves;
use serde_json::json;

use super::setting::Setting;
use super::{Inference, compare, decided, explain, export, plan, refused, setting};
use crate::answer::differences;
use crate::answer::energy::above_cap;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::violations;
use crate::inputs::plan_file;
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal,
};
use crate::request::PlanRequest;
use crate::request::fields::Honours;
use crate::request::subject::Subject;
use crate::search::row;

/// Longest look at a bound.
const LONGEST: Duration = Duration::from_secs(60);

impl Kind for Inference {
    const KIND: PlanKind = PlanKind::Inference;
    const ROWS: &'static str = "a row that plans inference pipelines";
    const ELSEWHERE: &'static str = "other programs can be told from the plan's `partition.stages`";
    const HONOURS: &'static Honours = &setting::HONOURS;
    const IS_ROW: IsRow = row::is::<Serves>;
    const CHECK_SUBJECT: ChecksSubject = check_subject;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const HOLDS_CLAIMS: bool = false;

    type Setting = Setting;
    /// Stages, and what they take.
    type Judged = (Vec<Piece>, served::Judged);

    fn is_asked(request: &PlanRequest) -> Result<bool, Diagnostic> {
        plan::asked(request).map(|found| found.is_some())
    }

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let Some(served) = &plan.served else {
            return Err(refused("the plan is no inference pipeline", "give one that is"));
        };
        let job = decided::asked(plan, served)?;
        let mut problem = target.flags.problem.clone();
        problem.model.dtype = plan_file::workload(&plan.workload)?.dtype;
        let setting = Setting::read(target.model, &problem, job)?;
        let others = target.others(plan, &setting.run.references());
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Self::Judged, Vec<Diagnostic>> {
        let pieces = decided::pieces(setting, plan);
        let pieces = pieces.map_err(|why| vec![illegal("stage-devices", why)])?;
        match setting.costs.judge(&pieces, setting.goal) {
            Ok(judged) => Ok((pieces, judged)),
            Err(broken) => Err(vec![diagnosed(setting, &broken)]),
        }
    }

    fn stated_wrong(on: Legal<'_, Self>, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let (bound, method, unchecked) = bound(on, proof);
        let (pieces, judged) = on.judged;
        let made = (on.plan.algorithm.as_str(), bound, method.as_str());
        let derived = decided::document(on.setting, (pieces, judged), made);
        let mut found = differences::of_plans(on.plan, &derived);
        found.extend(unchecked);
        let energy = on.plan.energy.as_ref();
        found.extend(energy.and_then(|energy| above_cap(energy, &on.plan.request)));
        found
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let stages = match on.judged.0.len() {
            1 => "1 stage".to_owned(),
            n => format!("{n} stages"),
        };
        let period = on.judged.1.period;
        Told {
            sentence: format!(
                "the plan is legal: {} blocks in {stages}, {:.1} tokens/s",
                on.setting.costs.n_blocks(),
                on.setting.tokens_per_s(period)
            ),
            figures: vec![("seconds", json!(period as f64 / 1e9))],
        }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        let (pieces, judged) = on.judged;
        export::exported(target, (on.setting, pieces, judged.in_flight))
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let (Some(one), Some(two)) = (&pair.a.served, &pair.b.served) else {
            return Err(refused("the plan is no inference pipeline", "give one that is"));
        };
        let (one, two) = ((&**pair.a, one), (&**pair.b, two));
        let compared = |_| compare::compare(one, two, page);
        frame::compare::<Self>(pair, compare::unlike(one, two), compared, page)
    }
}

/// Refuses subjects that its plans have none of.
fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    if matches!(subject, Subject::Step { longest: None } | Subject::Device(_)) {
        return Ok(());
    }
    let message = "an inference pipeline has stages of blocks: no ops, transfers or critical path";
    Err(refused(message, "leave --op, --transfer and --longest out, or add --device"))
}

/// A broken rule in words.
fn diagnosed(setting: &Setting, broken: &Violation) -> Diagnostic {
    match *broken {
        Violation::Blocks { stage } => {
            let message =
                format!("stage {stage} does not begin where the one before ends, or has no blocks");
            illegal("stages-lose-blocks", message)
        }
        Violation::Unfinished => {
            let n = setting.costs.n_blocks();
            illegal(
                "stages-lose-blocks",
                format!("the stages do not end with the last of {n} blocks"),
            )
        }
        Violation::Twice { device } => {
            illegal("stage-devices", format!("`{}` has two stages", setting.name(device)))
        }
        Violation::Unreachable { from, to } => {
            let [from, to] = [from, to].map(|device| setting.name(device));
            illegal(
                "unreachable-devices",
                format!("`{from}` does not reach `{to}`, to which it sends"),
            )
        }
        Violation::Memory { stage, bytes, limit } => {
            let (holds, may) = (Bytes(bytes), Bytes(limit));
            let message = format!("stage {stage} holds {holds}, and its device may hold {may}");
            illegal("memory-exceeded", message).fact("bytes", bytes).fact("limit", limit)
        }
    }
}

/// The bound derived again, by the method that the plan names, and what could not be.
fn bound(
    on: Legal<'_, Inference>,
    proof: Option<&Arc<AtomicBool>>,
) -> (u64, String, Option<Diagnostic>) {
    let period = on.judged.1.period;
    let goal = &on.setting.goal;
    let variants: Vec<Costs> = on.setting.variants().map(|row| row.1).collect();
    let cost = on.plan.cost.as_ref();
    let method = cost.map_or("", |cost| cost.bound_method.as_str());
    let formula = variants.iter().map(|costs| spread(costs, *goal)).min().unwrap_or(0);
    let stated = cost.map_or(0, |cost| cost.bound_ns);
    if method != EVERY || stated > period {
        return (formula, SPREAD.to_owned(), None);
    }
    let end = Instant::now() + LONGEST;
    let is_stopped = || proof.is_some_and(|proof| proof.load(Ordering::Relaxed));
    let is_over = || Instant::now() >= end || is_stopped();
    // Below in any of them; in none only where each was gone through.
    let below = |period: u64| {
        let found = variants.iter().map(|costs| is_below(costs, *goal, period, &is_over));
        found.fold(Some(false), |all, one| match (all, one) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (all, one) => all.and(one),
        })
    };
    let none = below(stated);
    // The least period of all, not any number below it.
    let least = below(stated.saturating_add(1));
    match (none, least) {
        (Some(false), Some(true)) => (stated, EVERY.to_owned(), None),
        (Some(true), _) => (formula, EVERY.to_owned(), None),
        (_, Some(false)) => (formula, SPREAD.to_owned(), None),
        _ => {
            let search = "all pipelines, class by class of devices, for a minute".to_owned();
            let claim = violations::unchecked("cost.bound_ns", stated, formula, search);
            (stated, EVERY.to_owned(), Some(claim))
        }
    }
}
