//! `compare` where the second file is a plan of a training run: with another one, or with what a
//! launcher runs now.

mod changes;
mod deepspeed_file;
pub mod measured;
mod schedule;
mod settings;
mod software;

use std::path::Path;
use std::sync::Arc;

use cost_model::runs::forms::model::{Offload, shape};
use documents::plan::request::RequestDocument;
use documents::plan::training::StageMeshDocument;
use documents::plan::{EdgeDocument, PlanDocument};
use importers::launcher::{self, Launcher, ModelFacts};
use ir::card::ModelCard;
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::launch::LaunchSettings;
use ir::plan::Plan;
use ir::stack::Stack;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};
use ir::workload::Optimizer;
use serde_json::json;

use super::Training;
use super::replay::{Asked, Planned, setting};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::plan_file;
use crate::inputs::run::setting::Setting;
use crate::kinds::frame;
use crate::kinds::kind::{Pair, Target as On};
use crate::kinds::training::claims::CUSTOM;
use crate::request::CompareRequest;
use crate::request::value::Written;
use changes::{Change, changes};
use settings::{Target, global_batch, plan_of};

/// What runs on one side, and on what.
struct Facts {
    plan: Plan,
    global_batch: u64,
    sequence: u64,
    dtype: Option<DType>,
    optimizer: Optimizer,
    /// What of the model, in words.
    trained: String,
    stack: String,
    /// What it does, where settings may change that.
    software: Option<Stack>,
    /// Name of the schedule.
    schedule: String,
    /// What hosts keep.
    offload: Offload,
    /// Share of what it may draw that each board is limited to, in words.
    boards: String,
    /// By stage, its devices in words, where stages have devices of their own.
    meshes: Vec<String>,
    /// Compressed edges.
    edges: String,
}

/// Step time and peaks of one side, as far as they are known.
struct Side {
    facts: Facts,
    step: Option<Nanos>,
    /// Of the rank that holds most.
    peak: Option<Bytes>,
    /// The rank that exceeds its limit by most, and by how much.
    short: Option<(usize, Bytes)>,
}

impl Side {
    /// Nanoseconds of a token; of a sample where samples have no tokens.
    fn per_token(&self) -> Option<f64> {
        let tokens = self.facts.global_batch.saturating_mul(self.facts.sequence).max(1);
        Some(self.step?.get() as f64 / tokens as f64)
    }
}

/// Sets a launcher's settings beside a plan.
pub fn compare(
    launcher: Launcher,
    text: &str,
    document: &Arc<PlanDocument>,
    args: &CompareRequest,
    page: &Page,
) -> CommandResult {
    let missing = |what: &str, hint: &str| {
        Diagnostic::usage("not-comparable", format!("a launcher's settings need {what}")).hint(hint)
    };
    if document.training.is_none() {
        return Err(missing("a plan of a training run beside them", "plan a config.json"));
    }
    let model = args.model.as_deref();
    let model = model.ok_or_else(|| missing("the model", "add --model config.json"))?;
    let read = frame::on_model::<Training>(document, On::of(model, &args.target))?;
    let (on, mut warnings) = (read.setting, read.warnings);
    let settings = launcher::read_for(launcher, text, model_facts(&on.setting.model))?;
    let settings = deepspeed_file::completed(settings, &args.a)?;
    let of_plan = facts(document, on.plan.clone())?;
    let (now, own_warnings) = runs_now(&settings, &on, &of_plan, (model, args))?;
    let dtype = Some(on.setting.numbers.dtype);
    let of_plan = Facts { dtype, software: Some(on.setting.stack.clone()), ..of_plan };
    let (a, b) = (now, side(&on.setting, of_plan)?);
    frame::add_new(&mut warnings, own_warnings);
    let costs = match on.setting.layers {
        Some(_) => "on measured layers",
        None => "nominal unless a profile says otherwise",
    };
    let line = match (a.short, b.short) {
        (Some(_), _) => "the current setup does not fit by this model of memory".to_owned(),
        (None, Some(_)) => "the plan does not fit".to_owned(),
        (None, None) => {
            format!(
                "the plan is {} as the current setup ({}, {costs})",
                gain(&a, &b),
                steps(&a, &b)
            )
        }
    };
    let names = [launcher.name().to_owned(), "plan".to_owned()];
    let beside = Beside { names, keys: ["now", "plan"], launcher: Some(launcher), sides: [a, b] };
    Ok(beside.print(&warnings, |_| line, page))
}

/// What settings leave to the model.
fn model_facts(model: &ModelCard) -> ModelFacts {
    let n_predicting = model.n_predictions.saturating_sub(1);
    ModelFacts {
        n_layers: Some(model.n_blocks().saturating_sub(n_predicting)),
        n_predicting: Some(n_predicting).filter(|n| *n > 0),
        has_experts: Some(model.groups.iter().any(|group| group.card.experts.is_some())),
    }
}

/// What hosts keep, as in the plan where the settings leave it open.
fn offload(settings: &LaunchSettings, planned: Offload, has_adapter: bool) -> Offload {
    match (settings.offloads_parameters, settings.offloads) {
        // Frozen weights go to hosts with the states of adapters.
        (true, _) if has_adapter => Offload::Optimizer,
        (true, _) => Offload::Parameters,
        (false, None) => planned,
        (false, Some(true)) => Offload::Optimizer,
        (false, Some(false)) => Offload::Nothing,
    }
}

/// What the settings run on the model of a plan, with what to know before.
fn runs_now(
    settings: &LaunchSettings,
    on: &Planned,
    of_plan: &Facts,
    (model, args): (&Path, &CompareRequest),
) -> Result<(Side, Vec<Diagnostic>), Diagnostic> {
    let planned = Asked {
        sequence_length: of_plan.sequence,
        global_batch: of_plan.global_batch,
        dtype: of_plan.dtype,
        optimizer: of_plan.optimizer,
        stack: of_plan.stack.clone(),
        adapter: on.document.request.adapter.clone(),
    };
    // Who was given a part of the cluster runs there.
    let beside = &of_plan.plan.parallelism;
    let all = on.setting.cluster.devices.len() as u64;
    let n_devices = on.setting.request.devices.map_or(all, |_| shape::n_devices(beside));
    let adapter = settings.adapter.as_ref().map(Written::text);
    let requested = Asked {
        sequence_length: settings.sequence_length.unwrap_or(planned.sequence_length),
        global_batch: global_batch(settings, n_devices)?.unwrap_or(planned.global_batch),
        dtype: settings.dtype.or(planned.dtype),
        optimizer: settings.optimizer.unwrap_or(planned.optimizer),
        stack: planned.stack.clone(),
        adapter: if settings.trains_elsewhere { planned.adapter.clone() } else { adapter },
    };
    let offload = offload(settings, of_plan.offload, requested.adapter.is_some());
    let is_same = requested == planned && offload == of_plan.offload;
    let of_requested = || setting(&on.document, model, &args.target, &requested);
    let changed = software::set((!is_same).then(of_requested).transpose()?, &on.setting, settings);
    let used = &changed.as_ref().unwrap_or(&on.setting).keeping(offload);
    let file = schedule::beside(settings, &args.a);
    let grid = file.as_deref().map(schedule::read).transpose()?;
    // What a schedule breaks is the fault of its file.
    let blamed = |error| file.iter().fold(error, |error, file| schedule::blamed(error, file));
    let named = schedule_of(settings, grid.as_ref(), of_plan);
    let (global_batch, may_overlap) = (requested.global_batch, used.stack.experts.may_overlap);
    let target = Target { n_devices, model: &used.model, global_batch, beside, may_overlap, grid };
    let now = Facts {
        plan: plan_of(settings, &target).map_err(blamed)?,
        global_batch: requested.global_batch,
        sequence: requested.sequence_length,
        dtype: Some(used.numbers.dtype),
        optimizer: used.numbers.optimizer,
        trained: trained(&used.request),
        stack: used.stack.name.clone(),
        software: Some(used.stack.clone()),
        schedule: named.to_owned(),
        offload,
        boards: of_plan.boards.clone(),
        meshes: Vec::new(),
        edges: edges(&[]),
    };
    let on = [shape::n_devices(&now.plan.parallelism), n_devices];
    let noted = software::not_judged(settings, &used.stack, on);
    Ok((side(used, now).map_err(blamed)?, [used.warnings.clone(), noted].concat()))
}

/// The name of a schedule that settings state, or that a file beside them holds cell by cell.
fn schedule_of<'s>(
    settings: &'s LaunchSettings,
    grid: Option<&Grid>,
    of_plan: &'s Facts,
) -> &'s str {
    match grid {
        Some(_) if grid == of_plan.plan.schedule.grid.as_ref() => of_plan.schedule.as_str(),
        Some(_) => CUSTOM,
        None => settings.schedule.as_deref().unwrap_or("1f1b"),
    }
}

/// Sets two plans of training runs side by side.
pub fn compare_plans(pair: Pair<'_>, page: &Page) -> CommandResult {
    let Pair { a, b, others, request: args, .. } = pair;
    let mut warnings = others.to_vec();
    // Plans of another sequence length are compared, and the length is reported as the difference.
    let lengths = [a, b].map(|plan| plan.training.as_ref().map(|run| run.sequence_length));
    let is_length = lengths[0] != lengths[1] && a.model.name == b.model.name;
    warnings.retain(|warning| warning.code != "other-model" || !is_length);
    let of = |document: &Arc<PlanDocument>| match args.model.as_deref() {
        Some(model) => measured(document, model, args),
        None => Ok((stated(document)?, Vec::new())),
    };
    let ((a, of_a), (b, of_b)) = (of(a)?, of(b)?);
    warnings.extend(of_a);
    frame::add_new(&mut warnings, of_b);
    let name = |path: &Path| {
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let basis = if args.model.is_some() { "judged again" } else { "as the files state" };
    let are_judged = [&a, &b].iter().all(|side| side.short.is_none() && side.step.is_some());
    let names = [name(&args.a), name(&args.b)];
    let faster = format!("{} is {} as {} ", names[1], gain(&a, &b), names[0]);
    let faster = faster + &format!("({}, {basis})", steps(&a, &b));
    let line = |changes: &[Change]| match changes.is_empty() {
        true => frame::SAME.to_owned(),
        false if are_judged => faster,
        false => "the plans differ".to_owned(),
    };
    let beside = Beside { names, keys: ["a", "b"], launcher: None, sides: [a, b] };
    Ok(beside.print(&warnings, line, page))
}

/// Two sides with what they are called, for people and for programs.
struct Beside {
    names: [String; 2],
    keys: [&'static str; 2],
    launcher: Option<Launcher>,
    sides: [Side; 2],
}

impl Beside {
    /// Prints both, with a line that may tell of what they decide otherwise.
    fn print(
        &self,
        warnings: &[Diagnostic],
        line: impl FnOnce(&[Change]) -> String,
        page: &Page,
    ) -> Exit {
        let ([a, b], [key_a, key_b]) = (&self.sides, self.keys);
        let changes = changes(&a.facts, &b.facts);
        page.warnings(warnings);
        table(&self.names, (a, b), &changes, page);
        page.line(&line(&changes));
        let change = |(what, a, b): &Change| json!({ "field": what, (key_a): a, (key_b): b });
        let mut document = json!({
            (key_a): as_json(a),
            (key_b): as_json(b),
            "changes": changes.iter().map(change).collect::<Vec<_>>(),
        });
        if let Some(launcher) = self.launcher {
            document["launcher"] = json!(launcher.name());
        }
        frame::compared((changes.is_empty(), warnings), document, page)
    }
}

/// What a document says about its run.
fn facts(document: &PlanDocument, plan: Plan) -> Result<Facts, Diagnostic> {
    let Some(training) = &document.training else {
        return Err(Diagnostic::input("bad-plan", "the plan is none of a training run"));
    };
    let workload = plan_file::workload(&document.workload)?;
    Ok(Facts {
        plan,
        global_batch: training.global_batch,
        sequence: training.sequence_length,
        dtype: workload.dtype,
        optimizer: workload.optimizer,
        trained: trained(&document.request),
        stack: training.stack.clone(),
        software: None,
        schedule: training.schedule.clone(),
        offload: match training.offloads_optimizer {
            true => Offload::Optimizer,
            false => Offload::Nothing,
        },
        boards: boards(document.request.board_limit),
        meshes: document
            .partition
            .stages
            .iter()
            .filter_map(|stage| stage.mesh.as_ref().map(mesh))
            .collect(),
        edges: edges(&document.communication.edges),
    })
}

/// What of a model is trained.
fn trained(request: &RequestDocument) -> String {
    match (&request.adapter, &request.freeze) {
        (Some(adapter), _) => adapter.clone(),
        (None, Some(frozen)) => format!("all but {frozen}"),
        (None, None) => "all".to_owned(),
    }
}

fn boards(limit: Option<f64>) -> String {
    limit.map_or_else(|| "as they are".to_owned(), |limit| format!("at {:.1} %", 100.0 * limit))
}

fn edges(edges: &[EdgeDocument]) -> String {
    let texts =
        edges.iter().map(|edge| format!("{} to {}: 1 in {}", edge.from, edge.to, edge.ratio));
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "whole".to_owned() } else { texts.join(", ") }
}

fn mesh(mesh: &StageMeshDocument) -> String {
    let samples: Vec<String> = mesh.samples.iter().map(u64::to_string).collect();
    let (devices, samples) = (mesh.devices.join(", "), samples.join(", "));
    format!("{devices}: tensor {}, samples {samples}", mesh.tensor)
}

/// A plan on the model, judged again.
fn measured(
    document: &Arc<PlanDocument>,
    model: &Path,
    args: &CompareRequest,
) -> Result<(Side, Vec<Diagnostic>), Diagnostic> {
    let read = frame::on_model::<Training>(document, On::of(model, &args.target))?;
    let on = read.setting;
    let dtype = Some(on.setting.numbers.dtype);
    let facts = Facts { dtype, ..facts(document, on.plan.clone())? };
    Ok((side(&on.setting, facts)?, read.warnings))
}

/// A plan as its document states it.
fn stated(document: &PlanDocument) -> Result<Side, Diagnostic> {
    let facts = facts(document, document.to_training(None)?)?;
    let memory = document.training.iter().flat_map(|run| run.memory.iter());
    Ok(Side {
        facts,
        step: document.cost.as_ref().map(|cost| Nanos(cost.step_time_ns)),
        peak: memory.map(|rank| Bytes(rank.peak_bytes)).max(),
        short: None,
    })
}

fn side(setting: &Setting, facts: Facts) -> Result<Side, Diagnostic> {
    let report = setting.report(&facts.plan, setting.limit)?;
    let over = report.ranks.iter().enumerate().filter_map(|(rank, report)| {
        let short = report.peak.bytes.checked_sub(report.limit?).filter(|short| *short > 0)?;
        Some((rank, Bytes(short)))
    });
    Ok(Side {
        step: Some(report.step_time),
        peak: report.ranks.iter().map(|rank| Bytes(rank.peak.bytes)).max(),
        short: over.max_by_key(|(_, short)| *short),
        facts,
    })
}

fn as_json(side: &Side) -> serde_json::Value {
    let fits = side.short.is_none();
    json!({
        "step_time_ns": side.step.filter(|_| fits).map(Nanos::get),
        "ns_per_token": side.per_token().filter(|_| fits),
        "global_batch": side.facts.global_batch,
        "sequence_length": side.facts.sequence,
        "peak_bytes": side.peak.map(Bytes::get),
        "short_of_bytes": side.short.map(|(_, bytes)| bytes.get()),
        "short_rank": side.short.map(|(rank, _)| rank),
    })
}

/// Whether both sides do the same work in a step.
fn is_same_step(a: &Side, b: &Side) -> bool {
    (a.facts.global_batch, a.facts.sequence) == (b.facts.global_batch, b.facts.sequence)
}

/// How many times as fast the second side is.
fn gain(a: &Side, b: &Side) -> String {
    let ratio = match (a.per_token(), b.per_token()) {
        (Some(a), Some(b)) => a / b.max(f64::MIN_POSITIVE),
        _ => f64::NAN,
    };
    let per = if is_same_step(a, b) { "" } else { " per token" };
    format!("{ratio:.3} times as fast{per}")
}

fn steps(a: &Side, b: &Side) -> String {
    let (this, other) = (&a.facts, &b.facts);
    if is_same_step(a, b) {
        return format!("{} samples a step", this.global_batch);
    }
    format!(
        "steps of {} samples of {} tokens and of {} of {}",
        this.global_batch, this.sequence, other.global_batch, other.sequence
    )
}

fn table(names: &[String; 2], (a, b): (&Side, &Side), changes: &[Change], page: &Page) {
    let step = |side: &Side| match (side.short, side.step) {
        (None, Some(step)) => step.to_string(),
        (Some((rank, bytes)), _) => format!("none: rank {rank} lacks {bytes}"),
        (None, None) => "not stated".to_owned(),
    };
    let token = |side: &Side| match side.per_token().filter(|_| side.short.is_none()) {
        Some(ns) if ns < 1e3 => format!("{ns:.1} ns"),
        Some(ns) => Nanos::rounded(ns, ir::units::Work::Some).to_string(),
        None => "-".to_owned(),
    };
    let peak =
        |side: &Side| side.peak.map_or_else(|| "not stated".to_owned(), |peak| peak.to_string());
    let mut rows = vec![
        vec![String::new(), names[0].clone(), names[1].clone()],
        vec!["step time".to_owned(), step(a), step(b)],
        vec!["time per token".to_owned(), token(a), token(b)],
        vec!["peak memory".to_owned(), peak(a), peak(b)],
    ];
    rows.extend(changes.iter().map(|(what, a, b)| vec![(*what).to_owned(), a.clone(), b.clone()]));
    let columns = [Column::Name(""), Column::Text(""), Column::Text("")];
    page.table(&columns, rows);
}
