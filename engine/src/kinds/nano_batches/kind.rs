//! What the frame asks of nano-batches.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::streams::verify as rules;
use documents::plan::PlanDocument;
use documents::plan::nano_batches::{InterferenceDocument, ServingDocument};
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::workload::StepPhase;
use planner::experts;
use planner::experts::dynaflow;
use serde_json::json;

use super::decided::{Asked, Entry};
use super::setting::{Doing, Setting};
use super::{KNOWN, NanoBatches, decided, explain, export, plan};
use crate::answer::differences::{self, difference};
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::kinds::cells::compare::{self, Decides};
use crate::kinds::cells::{self, of_layers, request};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal,
};
use crate::request::fields::Honours;
use crate::search::row::{self, row};

const DECIDES: Decides = Decides {
    layers: |entry| {
        let decided = entry.nano_batches.clone().unwrap_or_default();
        vec![
            ("samples", json!(decided.samples)),
            ("ahead", json!(decided.ahead)),
            ("beside", json!(decided.beside)),
        ]
    },
    step: |plan| {
        let serving = plan.experts.serving.iter();
        serving.map(|serving| ("thresholds", json!(serving.thresholds))).collect()
    },
    samples_per_s: |_| None,
};

impl Kind for NanoBatches {
    const KIND: PlanKind = PlanKind::NanoBatches;
    const ROWS: &'static str = "a row that plans nano-batches";
    const ELSEWHERE: &'static str = "no other program is known to take them: they stand in the plan \
         (`experts.layers[].nano_batches`, `schedule.cells`), and `svg` draws them";
    const HONOURS: &'static Honours = &cells::HONOURS;
    const IS_ROW: IsRow = row::is::<experts::NanoBatches>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = cells::check_subject;

    type Setting = Setting;
    type Judged = Vec<Entry>;

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let serving = plan.experts.serving.clone().unwrap_or_default();
        let phase = plan.experts.phase.map(StepPhase::from).unwrap_or_default();
        if phase == StepPhase::Training {
            let message = "a plan of nano-batches is of prefill or decode";
            return Err(illegal("bad-phase", message.to_owned()));
        }
        let batch = plan.workload.batch.unwrap_or_default();
        let doing = Doing { phase, batch, cached: Some(serving.cached) };
        let recipe = asked(plan, &serving)?;
        let on = (target.model, plan.experts.sequence_length);
        let rows = check_rows(&serving)?;
        let setting = Setting::read(on, &target.flags.problem, (doing, recipe.request), rows)?;
        let others = target.others(plan, &setting.run.references());
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Vec<Entry>, Vec<Diagnostic>> {
        let mut found = of_layers(plan, &setting.layers);
        match decided::read(setting, plan) {
            Ok(entries) => {
                found.extend(entries.iter().flat_map(of_entry));
                if found.is_empty() { Ok(entries) } else { Err(found) }
            }
            Err(why) => {
                found.push(illegal("bad-cell", why));
                Err(found)
            }
        }
    }

    fn stated_wrong(on: Legal<'_, Self>, _: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let serving = on.plan.experts.serving.clone().unwrap_or_default();
        let recipe = match asked(on.plan, &serving) {
            Ok(recipe) => recipe,
            Err(error) => return vec![error],
        };
        let thresholds = decided::thresholds(on.setting, &recipe);
        let derived = decided::document(on.setting, on.judged, (&recipe, thresholds));
        let mut found = differences::of_plans(on.plan, &derived);
        found.extend(unstated(on.plan, &derived));
        found
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let [seconds, ..] = decided::seconds(on.judged);
        Told {
            sentence: format!(
                "the plan is legal: {} layers on {} replicas of attention, {} layers of each kind \
                 replayed, step time {:.3} ms",
                on.setting.layers.len(),
                on.setting.parallelism.data,
                cost_model::streams::period::REPLAYED,
                seconds * 1e3
            ),
            figures: vec![("seconds", json!(seconds))],
        }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        export::exported(target, (on.setting, on.plan, on.judged))
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |rows| compare::compare(&DECIDES, (pair.a, pair.b), (rows, page));
        frame::compare::<Self>(pair, compare::unlike(pair.a, pair.b), compared, page)
    }
}

/// The rows of a table as a file of them would be read.
fn check_rows(serving: &ServingDocument) -> Result<Vec<InterferenceDocument>, Diagnostic> {
    let line = |row: &InterferenceDocument| {
        format!("{},{},{},{}\n", row.op, row.beside, row.mode, row.factor)
    };
    let lines: String = serving.interference.iter().map(line).collect();
    importers::interference::of_text(&format!("op,beside,mode,factor\n{lines}"), KNOWN)
        .map_err(|error| error.fact("member", "experts.serving.interference"))
}

/// How a plan was made, as it states it.
fn asked(plan: &PlanDocument, serving: &ServingDocument) -> Result<Asked, Diagnostic> {
    if let Some((used, door)) = row(&plan.algorithm).ok().flatten() {
        return Asked::of((&used, door), request(plan));
    }
    Ok(Asked {
        algorithm: plan.algorithm.clone(),
        request: request(plan),
        solve: dynaflow::solve,
        min_tokens: [serving.min_tokens; 2],
        min_gain: serving.min_gain,
    })
}

/// Pairs of pieces of which a plan does not say how they share the device: none of a list is not stated.
fn unstated(stated: &PlanDocument, derived: &PlanDocument) -> Vec<Diagnostic> {
    let n = |plan: &PlanDocument| -> Vec<usize> {
        let layers = plan.experts.layers.iter().map(|entry| entry.nano_batches.as_ref());
        layers.map(|layer| layer.map_or(0, |layer| layer.beside.len())).collect()
    };
    let both = n(stated).into_iter().zip(n(derived)).enumerate();
    let lacking = both.filter(|(_, (this, other))| this < other);
    let lacks = |(at, (this, other)): (usize, (usize, usize))| {
        let field = format!("experts.layers[{at}].nano_batches.beside");
        difference(&field, &format!("{this} pairs"), &format!("{other} pairs"))
    };
    lacking.map(lacks).collect()
}

/// Rules of the timetable of the steady state, looked at without the replay that makes it.
fn of_entry(entry: &Entry) -> Vec<Diagnostic> {
    let split = &entry.cut.split;
    let n_layers = cost_model::streams::period::REPLAYED;
    let cell = split.period.layers(&entry.orders, n_layers);
    let Ok(times) = cost_model::streams::replay::replay(&cell, &split.slowdowns) else {
        return vec![illegal("bad-cell", "pieces wait for each other".to_owned())];
    };
    let broken = rules::verify(&cell, &times, &split.slowdowns);
    let diagnosed = |violation: &rules::Violation| illegal("bad-cell", format!("{violation:?}"));
    broken.first().map(diagnosed).into_iter().collect()
}
