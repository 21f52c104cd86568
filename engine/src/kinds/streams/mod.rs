//! Plans of pieces on streams inside the layers of a model: parts of layers, and slices of gradients beside
//! them.

pub mod decided;
pub mod explain;
pub mod picture;
pub mod plan;
pub mod setting;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::streams::moe_step::{Parts, Violation};
use cost_model::streams::replay::replay;
use cost_model::streams::{Slowdowns, verify as rules};
use documents::plan::PlanDocument;
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use planner::experts;
use serde_json::json;

use self::decided::Pass;
use self::setting::Setting;
use crate::answer::differences;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::kinds::cells::compare::{self, Decides};
use crate::kinds::cells::{self, TOLERANCE, asked, of_layers, ordered};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal,
};
use crate::request::PlanRequest;
use crate::request::fields::Honours;
use crate::search::row;

/// Parts of layers and slices of gradients.
pub struct Streams;

const DECIDES: Decides = Decides {
    layers: |entry| {
        vec![
            ("r_fwd", json!(entry.r_fwd.unwrap_or_default())),
            ("r_bwd", json!(entry.r_bwd.unwrap_or_default())),
            ("gradient_bytes", json!(entry.gradient_bytes.unwrap_or_default())),
            ("others_gradient_bytes", json!(entry.others_gradient_bytes.unwrap_or_default())),
        ]
    },
    step: |_| Vec::new(),
    samples_per_s: |_| None,
};

impl Kind for Streams {
    const KIND: PlanKind = PlanKind::Streams;
    const ROWS: &'static str = "a row that plans streams";
    const HONOURS: &'static Honours = &cells::HONOURS;
    const IS_ROW: IsRow = row::is::<experts::Streams>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = cells::check_subject;
    const ELSEWHERE: &'static str = "no program is known to take them: they stand in the plan (`experts.layers`, \
                                     `schedule.cells`), and `svg` draws them";

    type Setting = Setting;
    /// By layer.
    type Judged = Vec<Parts>;

    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        cells::check(request, Self::HONOURS, false)
    }

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let recipe = asked(plan);
        let on = (target.model, plan.experts.sequence_length);
        let setting = Setting::read(on, &target.flags.problem, (recipe.batch, recipe.request))?;
        let others = target.others(plan, &setting.run.references());
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Vec<Parts>, Vec<Diagnostic>> {
        let parts = decided::parts(plan, setting.model.layers.len());
        let mut found = of_layers(plan, &setting.model.layers);
        found.extend(setting.model.verify(&parts).iter().map(diagnosed));
        if found.is_empty() {
            found.extend(of_cells(setting, plan));
        }
        if found.is_empty() { Ok(parts) } else { Err(found) }
    }

    fn stated_wrong(on: Legal<'_, Self>, _: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let derived = decided::derived(on.setting, on.plan, &asked(on.plan));
        differences::of_plans(on.plan, &derived)
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let seconds = on.setting.model.seconds(on.judged);
        Told {
            sentence: format!(
                "the plan is legal: {} layers on {} hosts, {} pieces replayed, step time {:.3} ms",
                on.judged.len(),
                on.setting.hosts,
                cells::n_pieces(on.plan),
                seconds * 1e3
            ),
            figures: vec![("seconds", json!(seconds))],
        }
    }

    fn export(on: Legal<'_, Self>, _: &str) -> Result<Export, Diagnostic> {
        Ok(picture::drawn(on.plan, on.setting))
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |rows| compare::compare(&DECIDES, (pair.a, pair.b), (rows, page));
        frame::compare::<Self>(pair, compare::unlike(pair.a, pair.b), compared, page)
    }
}

/// Whether the cells are those of all passes, in legal orders that take no longer than what is decided.
fn of_cells(setting: &Setting, plan: &PlanDocument) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut cells = plan.schedule.cells.iter();
    for (at, entry) in plan.experts.layers.iter().enumerate() {
        let first = entry.layers.first().copied().unwrap_or_default();
        for pass in [Pass::Forward, Pass::Backward] {
            let parts = decided::of_entry(entry);
            let Some(cell) = decided::of_pass(setting, first, &parts, pass) else { continue };
            let name = decided::name(at, pass);
            let wrong = |why: String| illegal("bad-cell", format!("cell `{name}`: {why}"));
            let Some(stated) = cells.next().filter(|cell| cell.cell == name) else {
                found.push(wrong("it is not there, or out of order".to_owned()));
                return found;
            };
            let ordered = match ordered(&cell, stated) {
                Ok(ordered) => ordered,
                Err(why) => {
                    found.push(wrong(why));
                    continue;
                }
            };
            let broken = rules::cell(&ordered);
            if let Some(first) = broken.first() {
                found.push(wrong(format!("{first:?}")));
                continue;
            }
            let none = Slowdowns::default();
            let (Ok(times), Ok(usual)) = (replay(&ordered, &none), replay(&cell, &none)) else {
                found.push(wrong("its pieces wait for each other".to_owned()));
                continue;
            };
            let broken = rules::verify(&ordered, &times, &none);
            found.extend(broken.first().map(|first| wrong(format!("{first:?}"))));
            if times.seconds() > usual.seconds() * (1.0 + TOLERANCE) {
                let (taken, usual) = (times.seconds() * 1e3, usual.seconds() * 1e3);
                found.push(wrong(format!("its orders take {taken:.6} ms, not {usual:.6}")));
            }
        }
    }
    if let Some(more) = cells.next() {
        found.push(illegal("bad-cell", format!("cell `{}` is of no entry", more.cell)));
    }
    found
}

/// A broken rule in words.
fn diagnosed(broken: &Violation) -> Diagnostic {
    let (code, message) = match broken {
        Violation::OtherLayers { stated, layers } => {
            ("layers-missing", format!("{stated} layers are planned, and the model has {layers}"))
        }
        Violation::BadParts { layer, parts } => {
            ("bad-parts", format!("layer {layer} can't be cut into {parts} parts"))
        }
        Violation::TooEarly { layer, sent, existing } => (
            "gradients-too-early",
            format!("by layer {layer} {sent} bytes of gradients are sent, and {existing} exist"),
        ),
    };
    illegal(code, message)
}
