//! Plans of attention and experts on devices of their own: rules, memory, conservation, orders, replay.

pub mod decided;
pub mod explain;
pub mod picture;
pub mod plan;
pub mod setting;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::experts::verify::verify as rules;
use cost_model::experts::{Copies, Shape, greatest, shares};
use cost_model::runs::forms::block::groups::Priced;
use cost_model::streams::groups::{Cut, Split};
use cost_model::streams::{Cell, verify as timed};
use documents::plan::PlanDocument;
use documents::plan::disaggregated::{DisaggregatedDocument, SplitDocument};
use documents::plan::experts::ExpertLayersDocument;
use exporters::Export;
use ir::card::Skew;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::workload::StepPhase;
use planner::experts;
use planner::experts::findep::{MOST_MICRO_BATCHES, MOST_PARTS, MOST_PIECES, least_s};
use planner::experts::naive;
use serde_json::json;

use self::decided::{Decided, cells, replayed, whole};
use self::setting::{Setting, Visited};
use crate::answer::differences;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::words::ranges;
use crate::inputs::run::model;
use crate::kinds::cells::compare::{self, Decides};
use crate::kinds::cells::{self, TOLERANCE, asked, n_pieces, of_layers, ordered};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal,
};
use crate::request::ExpertSkew;
use crate::request::PlanRequest;
use crate::request::fields::Honours;
use crate::request::value::Written;
use crate::search::row;

/// Devices of attention and of experts.
pub struct Groups;

/// What a plan decides, and what it takes.
pub struct Judged {
    /// Decisions.
    pub decided: Decided,
    /// By kind of layer its cell, in the orders that are stated.
    pub cells: Vec<Cell>,
    /// Seconds of all layers by the replay.
    pub seconds: f64,
}

const DECIDES: Decides = Decides {
    layers: |entry| vec![("devices of experts", json!(entry.devices_of_expert))],
    step: |plan| {
        let Some(groups) = &plan.experts.disaggregated else { return Vec::new() };
        vec![
            ("attention", json!(groups.attention.len())),
            ("experts", json!(groups.experts.len())),
            ("samples", json!(groups.step.samples)),
            ("micro_batches", json!(groups.step.micro_batches)),
            ("parts", json!(groups.step.parts)),
            ("order", json!(groups.step.order)),
            ("by_length", json!(groups.by_length)),
        ]
    },
    samples_per_s: |plan| {
        plan.experts.disaggregated.as_ref().map(|groups| groups.step.samples_per_s)
    },
};

impl Kind for Groups {
    const KIND: PlanKind = PlanKind::Groups;
    const ROWS: &'static str = "a row that shares steps out over groups";
    const HONOURS: &'static Honours = &cells::HONOURS;
    const IS_ROW: IsRow = row::is::<experts::Groups>;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const CHECK_SUBJECT: ChecksSubject = cells::check_subject;
    const ELSEWHERE: &'static str = "no program is known to take them: they stand in the plan (`experts.disaggregated`, \
                                     `schedule.cells`), and `svg` draws them";

    type Setting = Setting;
    type Judged = Judged;

    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        cells::check(request, Self::HONOURS, true)
    }

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let experts = &plan.experts;
        let visited = match &plan.request.expert_skew {
            Some(text) => {
                let skew = Skew::read(text).map_err(|needed| {
                    let message = format!("invalid expert distribution `{text}`: it {needed}");
                    Diagnostic::input("bad-plan", message).fact("member", "request.expert_skew")
                })?;
                Visited::Asked(Some(ExpertSkew::Law(skew)))
            }
            None => {
                let stated = experts.layers.iter().filter(|entry| !entry.visits.is_empty());
                let visits = stated.map(|entry| (entry.layers.clone(), entry.visits.clone()));
                Visited::Stated(visits.collect())
            }
        };
        let step = (
            experts.phase.map_or(StepPhase::Prefill, StepPhase::from),
            plan.workload.batch.unwrap_or_default(),
            model::cache_type(plan.request.kv_dtype.as_deref())?,
        );
        let on = (target.model, experts.sequence_length);
        let setting = Setting::read(on, &target.flags.problem, &visited, step)?;
        let others = target.others(plan, &setting.run.references());
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Judged, Vec<Diagnostic>> {
        judged(setting, plan)
    }

    fn stated_wrong(on: Legal<'_, Self>, _: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let (setting, judged) = (on.setting, on.judged);
        let bound_s = least_s(&setting.problem(setting.run.sequence, (None, &Arc::default())));
        let figures = (&judged.cells[..], judged.seconds, bound_s);
        let derived = decided::document(setting, &judged.decided, &asked(on.plan), figures);
        differences::of_plans(on.plan, &derived)
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let Split { groups: [attention, experts], .. } = on.judged.decided.split;
        Told {
            sentence: format!(
                "the plan is legal: {} layers on {attention} + {experts} devices, prices derived \
                 again, routed tokens conserved, memory within limits, {} pieces of a layer of each kind \
                 replayed through all layers, the bound held against the cost; step time {:.3} ms",
                on.setting.layers.len(),
                n_pieces(on.plan),
                on.judged.seconds * 1e3
            ),
            figures: vec![("seconds", json!(on.judged.seconds))],
        }
    }

    fn export(on: Legal<'_, Self>, _: &str) -> Result<Export, Diagnostic> {
        Ok(picture::drawn(on.plan, on.setting, &on.judged.cells))
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |rows| compare::compare(&DECIDES, (pair.a, pair.b), (rows, page));
        frame::compare::<Self>(pair, compare::unlike(pair.a, pair.b), compared, page)
    }
}

/// What a plan decides and takes, or all rules that it breaks and what it states in vain.
///
/// # Errors
/// The rules.
fn judged(setting: &mut Setting, plan: &PlanDocument) -> Result<Judged, Vec<Diagnostic>> {
    let Some(stated) = &plan.experts.disaggregated else {
        return Err(vec![illegal("bad-groups", "the plan states no groups of devices".to_owned())]);
    };
    let split = split(setting, stated)?;
    let found = of_layers(plan, &setting.layers);
    if !found.is_empty() || plan.experts.layers.len() != setting.kinds.len() {
        let message = format!("the model has {} kinds of layers", setting.kinds.len());
        let found = if found.is_empty() { vec![illegal("other-layers", message)] } else { found };
        return Err(found);
    }
    let copies = copies(setting, plan, stated)?;
    let mut by_length = Vec::new();
    for length in &stated.by_length {
        let step = sizes(&length.step, split.groups);
        let Some(step) = step.filter(|_| length.tokens > 0) else {
            let message = format!("what is best of {} tokens is no step", length.tokens);
            return Err(vec![illegal("bad-parts", message)]);
        };
        by_length.push((length.tokens, step));
    }
    let priced = setting.priced(setting.run.sequence);
    let decided = Decided { split, by_length, copies };
    let broken = limits(setting, &decided, stated);
    if !broken.is_empty() {
        return Err(broken);
    }
    check_lengths(setting, &decided)?;
    let (cells, seconds) = of_cells((setting, plan), &priced, &split)?;
    Ok(Judged { decided, cells, seconds })
}

/// The lengths beside which a plan is stated, each once and in order, with its own step.
fn check_lengths(
    setting: &Setting,
    Decided { split, by_length, .. }: &Decided,
) -> Result<(), Vec<Diagnostic>> {
    let is_planned = |tokens: &u64| {
        naive::solve(&setting.problem(*tokens, (Some(split.groups), &Arc::default()))).is_some()
    };
    let wanted: Vec<u64> = setting.lengths().into_iter().filter(is_planned).collect();
    if !by_length.iter().map(|length| &length.0).eq(&wanted) {
        let message = format!("`by_length` is of {wanted:?} tokens, in this order");
        return Err(vec![illegal("bad-lengths", message)]);
    }
    let planned = by_length.iter().find(|length| length.0 == setting.run.sequence);
    match planned.is_none_or(|length| length.1 == *split) {
        true => Ok(()),
        false => {
            let message = "`by_length` has another step of the plan's own length".to_owned();
            Err(vec![illegal("bad-lengths", message)])
        }
    }
}

/// Groups and sizes.
fn split(setting: &Setting, stated: &DisaggregatedDocument) -> Result<Split, Vec<Diagnostic>> {
    let one = |code, message: String| Err(vec![illegal(code, message)]);
    let devices = setting.run.cluster.devices.iter().map(|device| &device.name);
    let named = stated.attention.iter().chain(&stated.experts);
    if stated.attention.is_empty() || stated.experts.is_empty() || !named.eq(devices) {
        let message =
            "groups are the first devices of the cluster, which hold attention, and all others";
        return one("bad-groups", message.to_owned());
    }
    let groups = [&stated.attention, &stated.experts].map(|group| group.len() as u32);
    match sizes(&stated.step, groups) {
        Some(split) => Ok(split),
        None => one(
            "bad-parts",
            format!(
                "{} samples, {} micro-batches, {} parts, `{}`: from 1 to {MOST_MICRO_BATCHES} and \
                 {MOST_PARTS}, {MOST_PIECES} together, `asas` or `aass`",
                stated.step.samples,
                stated.step.micro_batches,
                stated.step.parts,
                stated.step.order
            ),
        ),
    }
}

fn sizes(step: &SplitDocument, groups: [u32; 2]) -> Option<Split> {
    let Split { samples, cut: Cut { micro_batches, parts, .. }, .. } =
        decided::split(step, groups)?;
    let is_sound = samples > 0
        && (1..=MOST_MICRO_BATCHES).contains(&micro_batches)
        && (1..=MOST_PARTS).contains(&parts)
        && micro_batches * parts <= MOST_PIECES;
    decided::split(step, groups).filter(|_| is_sound)
}

/// Copies of the experts of each kind of layers, by whose greatest load it is priced.
fn copies(
    setting: &mut Setting,
    document: &PlanDocument,
    stated: &DisaggregatedDocument,
) -> Result<Vec<Copies>, Vec<Diagnostic>> {
    let n_devices = stated.experts.len();
    let n_experts = setting.experts.experts.n_experts as usize;
    let slots = n_experts.div_ceil(n_devices);
    let shape = Shape { host: vec![0; n_devices], slots, groups: 1 };
    let number = |name: &String| stated.experts.iter().position(|other| other == name);
    let place = |entry: &ExpertLayersDocument| -> Copies {
        let each = |names: &Vec<String>| {
            names.iter().map(|name| number(name).unwrap_or(n_devices)).collect()
        };
        entry.devices_of_expert.iter().map(each).collect()
    };
    let mut all = Vec::new();
    for (entry, kind) in document.experts.layers.iter().zip(&mut setting.kinds) {
        let first = entry.layers.first().copied().unwrap_or_default();
        let copies = place(entry);
        if !setting.experts.layers.contains(&first) {
            all.push(copies);
            continue;
        }
        let refused = |what: String| {
            let message = format!("layers {}: {what}", ranges(&entry.layers));
            vec![illegal("bad-experts", message)]
        };
        let visits = shares(&entry.visits).filter(|shares| shares.len() == n_experts);
        let visits = visits
            .ok_or_else(|| refused(format!("not the routed tokens of {n_experts} experts")))?;
        if let Some(first) = rules(&copies, n_experts, &shape).first() {
            return Err(refused(format!("{first:?}")));
        }
        if let Some(load) = kind.loads.get_mut(n_devices - 1) {
            *load = greatest(&visits, &copies, n_devices);
        }
        all.push(copies);
    }
    Ok(all)
}

/// Samples, memory and routed tokens.
fn limits(setting: &Setting, decided: &Decided, stated: &DisaggregatedDocument) -> Vec<Diagnostic> {
    let split = &decided.split;
    let mut found = Vec::new();
    for (tokens, step) in [(setting.run.sequence, *split)].iter().chain(decided.by_length.iter()) {
        if step.of_step() > setting.batch {
            let message =
                format!("a step of {} samples, at most {}", step.of_step(), setting.batch);
            found.push(illegal("too-many-samples", message));
        }
        let priced = setting.priced(*tokens);
        let bytes = priced.bytes(decided::held(step), step.groups[1]);
        let over = bytes.iter().find(|bytes| priced.limit().is_some_and(|limit| **bytes > limit));
        if let (Some(bytes), Some(limit)) = (over, priced.limit()) {
            let message = format!(
                "samples of {tokens} tokens: a device holds {bytes} bytes, at most {limit}"
            );
            found.push(illegal("memory", message));
        }
    }
    let experts = &setting.experts.experts;
    let priced = setting.priced(setting.run.sequence);
    let routed = split.tokens(&priced) as f64 * experts.per_token as f64;
    let parts = f64::from(split.cut.parts) * experts.n_experts as f64;
    if (stated.tokens_per_expert * parts - routed).abs() > TOLERANCE * routed {
        let message = format!(
            "{} tokens per expert in a part make {} routed tokens per micro-batch, not {routed}",
            stated.tokens_per_expert,
            stated.tokens_per_expert * parts
        );
        found.push(illegal("not-conserved", message));
    }
    found
}

/// Cells in the orders that are stated, and seconds of all layers in them.
fn of_cells(
    (setting, plan): (&Setting, &PlanDocument),
    priced: &Priced,
    split: &Split,
) -> Result<(Vec<Cell>, f64), Vec<Diagnostic>> {
    let usual = cells(setting, priced, split);
    let stated = &plan.schedule.cells;
    let wrong = |at: usize, why: String| vec![illegal("bad-cell", format!("cell `{at}F`: {why}"))];
    if stated.len() != usual.len() {
        return Err(wrong(stated.len().min(usual.len()), "it is of no entry, or not there".into()));
    }
    let mut found = Vec::new();
    for (at, (cell, document)) in usual.iter().zip(stated).enumerate() {
        if document.cell != format!("{at}F") {
            return Err(wrong(at, "it is not there, or out of order".to_owned()));
        }
        let arranged = ordered(cell, document).map_err(|why| wrong(at, why))?;
        if arranged.streams != cell.streams {
            let order = split.cut.turns.name();
            return Err(wrong(at, format!("its pieces are not in the order `{order}`")));
        }
        found.push(arranged);
    }
    let all = whole(setting, &found);
    if let Some(first) = timed::cell(&all).first() {
        return Err(wrong(0, format!("{first:?}")));
    }
    let (Some(times), Some(best)) = (replayed(&all), replayed(&whole(setting, &usual))) else {
        return Err(wrong(0, "pieces wait for each other".to_owned()));
    };
    if let Some(first) = timed::verify(&all, &times, &Default::default()).first() {
        return Err(wrong(0, format!("{first:?}")));
    }
    if times.seconds() > best.seconds() * (1.0 + TOLERANCE) {
        let (taken, best) = (times.seconds() * 1e3, best.seconds() * 1e3);
        return Err(wrong(0, format!("orders take {taken:.6} ms, not {best:.6}")));
    }
    Ok((found, times.seconds()))
}
