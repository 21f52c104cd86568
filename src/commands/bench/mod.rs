//! `bench`: every method on every instance of a folder, beside what peers reach.

mod accelerators;
mod cases;
mod memory_limits;
mod peers;
mod training;

use std::fmt::Write;

use cost_model::given::{Goal, Judge, row, split};
use ir::instance::Instance;
use planner::given::runner::{Answer, Effort, Request, rows_for, solve};
use serde_json::{Value, json};

use crate::artifact::{self, Existing};
use crate::bench_flags::{BenchArgs, Suite};
use crate::commands::training::bench_layered;
use crate::commands::{CommandResult, Exit};
use crate::interrupt;
use crate::printer::Printer;
use crate::table::Column;
use cases::{Case, STRAIGHT_DEVICES};
use peers::Peer;

/// A line of the table.
struct Line {
    instance: String,
    objective: &'static str,
    method: String,
    value: String,
    bound: String,
    gap: String,
    seconds: String,
    cpu: String,
    peers: String,
    document: Value,
}

pub(crate) fn run(args: &BenchArgs, printer: &Printer) -> CommandResult {
    match args.suite {
        Suite::Training => return training::run(args, printer),
        Suite::Layered => return bench_layered(args, printer),
        Suite::Placement => {}
    }
    let existing = Existing::of(args.force);
    let outputs: Vec<_> = args.output.iter().map(std::path::PathBuf::as_path).collect();
    artifact::check(&outputs, &[], existing)?;
    let cancel = interrupt::flag();
    let request = Request {
        time: Some(args.time_limit),
        n_devices: STRAIGHT_DEVICES,
        cancel: cancel.clone(),
        ..Request::default()
    };
    let mut lines = Vec::new();
    let models = memory_limits::folder(&args.folder);
    let scarce = match &models {
        Some(models) => memory_limits::run(models, &args.only, args.time_limit, &cancel, printer)?,
        None => Vec::new(),
    };
    let cases = match cases::read(&args.folder, &args.only) {
        Err(error) if error.code == "no-instances" && !scarce.is_empty() => Vec::new(),
        cases => cases?,
    };
    for case in &cases {
        printer.talk(&format!("{} ({})", case.name, row(case.goal).name));
        lines.extend(expert(case));
        for name in shown(case.goal) {
            let before = cpu_seconds();
            let answer = solve(&case.instance, case.goal, Some(name), &request)?;
            let cpu = before.zip(cpu_seconds()).map(|(before, after)| after - before);
            lines.push(line(case, name, &answer, cpu));
        }
        if cancel.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
    }
    let varied = match &args.accelerators[..] {
        [] => Vec::new(),
        counts => accelerators::run(&cases, counts, args.accelerators_time, &request, printer)?,
    };
    print(&lines, printer);
    accelerators::print(&varied, printer);
    memory_limits::print(&scarce, printer);
    if let Some(path) = &args.output {
        let page = markdown(&lines)
            + &accelerators::markdown(&varied, args.accelerators_time)
            + &memory_limits::markdown(&scarce, args.time_limit);
        artifact::write_all(&[(path.clone(), page.into_bytes())], existing)?;
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.document(&json!({
        "lines": lines.iter().map(|line| &line.document).collect::<Vec<_>>(),
        "accelerators": varied.iter().map(accelerators::Line::document).collect::<Vec<_>>(),
        "memory_limits": scarce.iter().map(memory_limits::Line::document).collect::<Vec<_>>(),
    }));
    Ok(Exit::DONE)
}

/// Rows that are made for a goal, else the first one that serves it.
fn shown(goal: Goal) -> Vec<&'static str> {
    let fitting = || rows_for(goal).filter(|(_, method)| method.effort != Effort::Portfolio);
    let made = fitting().filter(|(_, method)| method.goals[0] == goal);
    let made: Vec<&str> = made.map(|(entry, _)| entry.name).collect();
    if made.is_empty() { fitting().take(1).map(|(entry, _)| entry.name).collect() } else { made }
}

/// A person's split, judged as it stands.
fn expert(case: &Case) -> Option<Line> {
    let (Instance::Load(instance), Judge::Load { evaluate, .. }) =
        (&case.instance, row(case.goal).judge)
    else {
        return None;
    };
    let split = case.expert.as_ref()?;
    let value = split::devices(instance, split).and_then(|devices| evaluate(instance, &devices));
    let value = value.map_err(|error| error.code);
    let document = json!({
        "instance": case.name, "objective": row(case.goal).name, "method": "expert",
        "value": value.ok().map(ir::units::Nanos::seconds), "fault": value.err(),
    });
    Some(Line {
        instance: case.name.clone(),
        objective: row(case.goal).name,
        method: "expert's split".to_owned(),
        value: value.map_or_else(|code| format!("illegal: {code}"), |v| number(v.seconds())),
        bound: String::new(),
        gap: String::new(),
        seconds: String::new(),
        cpu: String::new(),
        peers: String::new(),
        document,
    })
}

/// CPU seconds of this process so far, where the system counts them.
#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// CPU seconds of this process so far, where the system counts them.
#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}

fn line(case: &Case, method: &str, answer: &Answer, cpu: Option<f64>) -> Line {
    let unit = case.instance.unit();
    let value = answer.best.as_ref().map(|(value, _)| unit.of(*value));
    let bound = unit.of(answer.bound.value);
    let none = if answer.is_proved { "none exists" } else { "none found" };
    let gap = match (answer.gap(), answer.is_proved) {
        (Some(_), true) => match answer.bound.standing.caveat() {
            None => "optimal".to_owned(),
            Some(caveat) => format!("optimal ({caveat})"),
        },
        (Some(gap), false) => format!("{:.2} %", gap * 100.0),
        (None, _) => String::new(),
    };
    let peers = case.peers.iter().map(peer).collect::<Vec<_>>().join("; ");
    let document = json!({
        "instance": case.name, "objective": row(case.goal).name, "method": method,
        "value": value, "bound": bound, "bound_method": answer.bound.method,
        "bound_standing": answer.bound.standing.name(),
        "proved": answer.is_proved, "seconds": answer.elapsed.as_secs_f64(), "cpu_seconds": cpu,
        "peers": case.peers.iter().map(|peer| json!({
            "name": peer.name, "value": peer.value, "cpu_seconds": peer.seconds,
        })).collect::<Vec<_>>(),
    });
    Line {
        instance: case.name.clone(),
        objective: row(case.goal).name,
        method: method.to_owned(),
        value: value.map_or(none.to_owned(), number),
        bound: number(bound),
        gap,
        seconds: format!("{:.3}", answer.elapsed.as_secs_f64()),
        cpu: cpu.map_or(String::new(), |cpu| format!("{cpu:.4}")),
        peers,
        document,
    }
}

fn peer(peer: &Peer) -> String {
    let value = peer.value.map_or("none".to_owned(), number);
    match peer.seconds {
        Some(seconds) => format!("{} {value} ({seconds} s)", peer.name),
        None => format!("{} {value}", peer.name),
    }
}

/// Nine digits behind the point are exact; six are what peers print.
fn number(value: f64) -> String {
    if value.abs() < 1.0 { format!("{value:.8}") } else { format!("{value:.6}") }
}

fn print(lines: &[Line], printer: &Printer) {
    let columns = [
        Column::Name("instance"),
        Column::Text("objective"),
        Column::Text("method"),
        Column::Number("value"),
        Column::Number("bound"),
        Column::Number("gap"),
        Column::Number("s"),
        Column::Number("CPU s"),
        Column::Text("peers (CPU s)"),
    ];
    printer.table(&columns, lines.iter().map(|line| cells(line).to_vec()).collect());
}

fn cells(line: &Line) -> [String; 9] {
    let Line { instance, method, value, bound, gap, seconds, cpu, peers, .. } = line;
    let objective = line.objective.to_owned();
    [instance, &objective, method, value, bound, gap, seconds, cpu, peers].map(String::clone)
}

const PREFACE: &str = "\
# Placement benchmarks

Written by `meshwright bench placement`. Values and bounds are in the unit of time of each \
instance's file; every value was judged again from the definitions, and nothing is below a bound. \
Seconds are wall-clock seconds on the machine of this run (CORES cores, which other programs may have shared), CPU seconds those of all threads. Peers' values and \
CPU seconds are those of their own programs on the same inputs (g++ -O3, two shared cores; \
`src/commands/bench/peers.rs` names the versions). An expert's split that breaks a limit of its \
instance is named illegal.

";

fn markdown(lines: &[Line]) -> String {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = PREFACE.replace("CORES", &n_cores.to_string());
    text.push_str(
        "| instance | objective | method | value | bound | gap | s | CPU s | peers (CPU s) |\n",
    );
    text.push_str("|---|---|---|---:|---:|---:|---:|---:|---|\n");
    for line in lines {
        // Writing to a string can't fail.
        let _ = writeln!(text, "| {} |", cells(line).join(" | "));
    }
    text
}
