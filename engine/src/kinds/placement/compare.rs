//! Two plans of ops, and where their difference comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::judge::report::DeviceReport;
use cost_model::ops::max_load::Load;
use cost_model::ops::problem::Problem;
use documents::plan::render::Context;
use documents::plan::request::RequestDocument;
use documents::plan::{ModeDocument, PlanDocument};
use exporters::serving::{self, Ranks};
use importers::launcher::Launcher;
use ir::diagnostic::Diagnostic;
use ir::launch::{DeviceMap, LaunchSettings};
use ir::plan;
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use crate::answer::differences::{no_effect, not_judged, not_planned};
use crate::answer::exit::CommandResult;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::kinds::frame;
use crate::kinds::kind::{Pair, Target};
use crate::kinds::placement::Placement;
use crate::kinds::placement::busiest;
use crate::kinds::placement::replay::{self, Replayed};
use crate::request::CompareRequest;

/// A figure of both plans; the rows under a total sum up to it.
struct Row {
    name: &'static str,
    a: u64,
    b: u64,
    remark: String,
}

/// What is compared.
#[derive(Default)]
struct Figures {
    /// The value of the objective, the step time, then its parts.
    times: Vec<Row>,
    peak: Option<Row>,
    warnings: Vec<Diagnostic>,
}

/// An op that runs elsewhere in the second plan.
struct Move<'a> {
    op: &'a str,
    from: &'a str,
    to: &'a str,
}

/// Two placements; the first may be the current setup, with the rules that it breaks.
///
/// # Errors
/// Those of putting both on their model.
pub fn placements(pair: Pair<'_>, page: &Page) -> CommandResult {
    let Pair { a, b, now, others, request } = pair;
    let Figures { times, peak, mut warnings } = figures(request, a, b)?;
    warnings.extend(now.iter().copied().flatten().cloned());
    warnings.extend(others.iter().cloned());
    let is_other_model = a.model.digest != b.model.digest;
    let moves = moves(a, b);
    let same = !is_other_model
        && a.placement == b.placement
        && a.schedule == b.schedule
        && a.partition == b.partition
        && a.parallelism == b.parallelism;
    table(request, &times, peak.as_ref(), page);
    print_moves(&moves, Rows::of(request.target.all), page);
    page.warnings(&warnings);
    page.line(match (same, moves.is_empty()) {
        _ if is_other_model => "the plans are for different models",
        (true, _) => frame::SAME,
        (false, true) => "the plans differ in their orders only",
        (false, false) => "the plans differ",
    });
    let gain = now.zip(times.first()).map(|(broken, step)| match broken.is_empty() {
        false => "the current setup is no legal plan by this model (above)".to_owned(),
        true => {
            let gain = step.a as f64 / (step.b as f64).max(1.0);
            format!("the plan is {gain:.2} times as fast as the current setup")
        }
    });
    gain.iter().for_each(|gain| page.line(gain));
    let document = json!({
        "step_time": times.iter().map(as_json).collect::<Vec<_>>(),
        "peak_memory": peak.as_ref().map(|p| json!({ "a_bytes": p.a, "b_bytes": p.b })),
        "now_is_legal": now.map(|broken| broken.is_empty()),
        "moved": moves.iter().map(|m| json!({ "op": m.op, "from": m.from, "to": m.to }))
            .collect::<Vec<_>>(),
    });
    Ok(frame::compared((same, &warnings), document, page))
}

/// The current setup, other than by a plan.
pub enum Now {
    /// Modules on devices.
    Map(DeviceMap),
    /// A server, with what it is started with.
    Server(Launcher, Box<LaunchSettings>),
}

impl Now {
    fn name(&self) -> &'static str {
        match self {
            Self::Map(_) => "device map",
            Self::Server(..) => "server",
        }
    }

    /// Settings that do nothing as the others are.
    pub(crate) fn warnings(&self) -> Vec<Diagnostic> {
        match self {
            Self::Map(_) => Vec::new(),
            Self::Server(_, settings) => {
                let noted = not_judged(settings).chain(no_effect(settings));
                noted.chain(not_planned(settings)).collect()
            }
        }
    }

    /// Refuses to set it beside what it can't do.
    fn check(&self, plan: &PlanDocument) -> Result<(), Diagnostic> {
        let why = match (self, &plan.training, plan.workload.mode) {
            (Self::Server(..), Some(_), _) | (Self::Server(..), _, ModeDocument::Training) => {
                "a server trains nothing, and this plan is one of a training run"
            }
            (Self::Map(_), Some(_), _) => {
                "a device map places modules, and this plan is one of a training run over degrees"
            }
            _ => return Ok(()),
        };
        Err(Diagnostic::usage("not-comparable", why)
            .hint("plan the model without --global-batch and --workload training"))
    }

    fn placement(&self, problem: &Problem) -> Result<plan::Placement, Diagnostic> {
        match self {
            Self::Map(map) => exporters::accelerate::placement(problem, map),
            Self::Server(launcher, settings) => {
                let name = launcher.name();
                let map = serving::device_map(&problem.graph, name, &ranks(name, settings)?)?;
                exporters::accelerate::placement(problem, &map)
            }
        }
    }
}

/// The ranks of a server.
fn ranks(name: &str, settings: &LaunchSettings) -> Result<Ranks, Diagnostic> {
    let degrees = [("tensor", settings.tensor), ("data", settings.data)];
    let degrees = degrees.into_iter().chain([("expert", settings.expert)]);
    let mut several = degrees.filter(|(_, degree)| degree.is_some_and(|degree| degree > 1));
    if let Some((axis, _)) = several.next() {
        let message = format!("{axis} ranks of {name} are not judged");
        return Err(Diagnostic::input("not-judged", message)
            .hint("give what runs each layer on one device"));
    }
    let (n, layers) = (settings.pipeline.unwrap_or(1), settings.blocks.clone());
    Ok(Ranks { n, layers, devices: settings.devices.clone() })
}

/// The current setup on the model that a plan is for: its placement with the orders in which PyTorch runs
/// the model, and the rules that this breaks, memory above all.
///
/// # Errors
/// `not-comparable`; those of putting the plan on its model.
pub fn mapped(
    now: &Now,
    plan: &PlanDocument,
    args: &CompareRequest,
) -> Result<(PlanDocument, Vec<Diagnostic>), Diagnostic> {
    now.check(plan)?;
    let name = now.name();
    let model = args.model.as_deref().ok_or_else(|| {
        Diagnostic::usage("not-comparable", format!("a {name} needs the model"))
            .hint("add --model model.onnx, the one that was planned")
    })?;
    // The current setup was never asked to keep what the plan keeps.
    let planned = &plan.request;
    let request = RequestDocument {
        dims: planned.dims.clone(),
        batch_axis: planned.batch_axis.clone(),
        qdq_as_written: planned.qdq_as_written,
        ..RequestDocument::default()
    };
    let plan = &Arc::new(PlanDocument { request, ..plan.clone() });
    let on = frame::on_model::<Placement>(plan, Target::of(model, &args.target))?.setting;
    let problem = &on.loaded.problem;
    let placement = now.placement(problem)?;
    let drafted = planner::draft::finish(problem, placement, None);
    let context = Context {
        graph: &problem.graph,
        cluster: &problem.cluster,
        profile: &on.loaded.profile,
        workload: &problem.workload,
        request: &on.loaded.request,
        objective: problem.objective.name(),
        algorithm: name,
    };
    let document = PlanDocument::from_ir(&drafted, &context, None);
    Ok((document, replay::broken(problem, &drafted)))
}

fn as_json(row: &Row) -> Value {
    json!({
        "name": row.name,
        "a_ns": row.a,
        "b_ns": row.b,
        "difference_ns": i128::from(row.b) - i128::from(row.a),
        "remark": row.remark,
    })
}

/// Step times with their parts where the model is given, else as the files state them.
fn figures(
    args: &CompareRequest,
    a: &Arc<PlanDocument>,
    b: &Arc<PlanDocument>,
) -> Result<Figures, Diagnostic> {
    let Some(model) = &args.model else {
        let stated = |plan: &PlanDocument| plan.cost.as_ref().map(|cost| cost.step_time_ns);
        let rows = match (stated(a), stated(b)) {
            (Some(a), Some(b)) => {
                let remark = "as the files state; --model says where it goes".to_owned();
                vec![Row { name: "step time", a, b, remark }]
            }
            _ => Vec::new(),
        };
        return Ok(Figures { times: rows, ..Figures::default() });
    };
    let replayed = |plan: &Arc<PlanDocument>| -> Result<_, Diagnostic> {
        let on = frame::on_model::<Placement>(plan, Target::of(model, &args.target))?;
        Ok((replay::on(on.setting)?, on.warnings))
    };
    let ((a, mut warnings), (b, of_b)) = (replayed(a)?, replayed(b)?);
    frame::add_new(&mut warnings, of_b);
    Ok(Figures { times: parts(&a, &b), peak: Some(peaks(&a, &b)), warnings })
}

/// The device that computes longest: what it does all step long is the step time.
fn busiest(replayed: &Replayed) -> Option<&DeviceReport> {
    let by_load = |d: &&DeviceReport| (d.compute_ns, std::cmp::Reverse(d.device));
    replayed.report.devices.iter().max_by_key(by_load)
}

fn parts(a: &Replayed, b: &Replayed) -> Vec<Row> {
    let (step_a, step_b) = (a.report.step_time.get(), b.report.step_time.get());
    let total = Row { name: "step time", a: step_a, b: step_b, remark: String::new() };
    let (Some(on_a), Some(on_b)) = (busiest(a), busiest(b)) else { return vec![total] };
    let where_to = if name(a, on_a) == name(b, on_b) {
        format!("on {}, the busiest device", name(a, on_a))
    } else {
        format!("on the busiest device, {} then {}", name(a, on_a), name(b, on_b))
    };
    let row = |name, a, b, remark| Row { name, a, b, remark };
    let greatest = |loads: Vec<Load>| loads.iter().map(Load::total_ns).max().unwrap_or(0);
    let loads = busiest::of(a).map(greatest).zip(busiest::of(b).map(greatest));
    let loads = loads.map(|(a, b)| row("max load", a, b, String::new()));
    let steps = [
        total,
        row("  compute", on_a.compute_ns, on_b.compute_ns, where_to),
        row("  exposed transfer", on_a.communication_ns, on_b.communication_ns, String::new()),
        row("  idle", on_a.idle_ns, on_b.idle_ns, String::new()),
    ];
    loads.into_iter().chain(steps).collect()
}

fn peaks(a: &Replayed, b: &Replayed) -> Row {
    let peak = |r: &Replayed| r.report.devices.iter().map(|d| d.peak.bytes).max().unwrap_or(0);
    Row { name: "peak memory", a: peak(a), b: peak(b), remark: "of the fullest device".to_owned() }
}

fn name<'a>(replayed: &'a Replayed, device: &DeviceReport) -> &'a str {
    &replayed.on.loaded.problem.cluster.devices[device.device.index()].name
}

fn moves<'a>(a: &'a PlanDocument, b: &'a PlanDocument) -> Vec<Move<'a>> {
    let after: BTreeMap<&str, &str> =
        b.placement.iter().map(|p| (p.op.as_str(), p.device.as_str())).collect();
    let before: BTreeMap<&str, &str> =
        a.placement.iter().map(|p| (p.op.as_str(), p.device.as_str())).collect();
    let mut moves = Vec::new();
    for placed in &a.placement {
        let to = after.get(placed.op.as_str()).copied().unwrap_or("nowhere");
        if to != placed.device {
            moves.push(Move { op: &placed.op, from: &placed.device, to });
        }
    }
    let new = b.placement.iter().filter(|placed| !before.contains_key(placed.op.as_str()));
    moves.extend(new.map(|placed| Move { op: &placed.op, from: "nowhere", to: &placed.device }));
    moves
}

fn table(args: &CompareRequest, times: &[Row], peak: Option<&Row>, page: &Page) {
    let stem = |path: &std::path::Path| {
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let columns = [
        Column::Text(""),
        Column::Number(""),
        Column::Number(""),
        Column::Number(""),
        Column::Text(""),
    ];
    let head =
        vec![String::new(), stem(&args.a), stem(&args.b), "difference".to_owned(), String::new()];
    let mut rows = vec![head];
    rows.extend(times.iter().map(|row| cells(row, |n| Nanos(n).to_string())));
    rows.extend(peak.map(|row| cells(row, |n| Bytes(n).to_string())));
    page.table(&columns, rows);
}

fn cells(row: &Row, unit: impl Fn(u64) -> String) -> Vec<String> {
    let sign = match row.a.cmp(&row.b) {
        std::cmp::Ordering::Less => "+ ",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "- ",
    };
    vec![
        row.name.to_owned(),
        unit(row.a),
        unit(row.b),
        format!("{sign}{}", unit(row.a.abs_diff(row.b))),
        row.remark.clone(),
    ]
}

fn print_moves(moves: &[Move<'_>], rows: Rows, page: &Page) {
    if rows == Rows::All {
        let columns = [Column::Name("moved op"), Column::Name("from"), Column::Name("to")];
        let cells = |m: &Move<'_>| vec![m.op.to_owned(), m.from.to_owned(), m.to.to_owned()];
        if !moves.is_empty() {
            page.table(&columns, moves.iter().map(cells).collect());
        }
        return;
    }
    let mut ways: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for m in moves {
        ways.entry((m.from, m.to)).or_default().push(m.op);
    }
    for ((from, to), ops) in ways.iter().take(rows.shown(ways.len())) {
        let others = match ops.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        page.line(&format!("moved {from} -> {to}: {}{others}", ops[0]));
    }
    if ways.len() > rows.shown(ways.len()) {
        page.line(&format!("... and {} more ways (--all)", ways.len() - rows.shown(ways.len())));
    }
}
