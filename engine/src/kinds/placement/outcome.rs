//! What `plan` prints: the answer, where time and memory go, and what was tried.

use std::collections::BTreeSet;
use std::time::Duration;

use cost_model::ops::judge::report::{DeviceReport, Report};
use cost_model::ops::problem::{Constraints, Objective, Problem};
use cost_model::ops::workload::fusion::unfused_attention;
use documents::diagnostic::DiagnosticDocument;
use documents::plan::{PlanDocument, gap};
use documents::report::{
    AttemptDocument, AttemptResult, BoundDocument, FORMAT, FailureDocument, ReportDocument,
    RunDocument,
};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::tensor::{DType, Tensor};
use ir::units::{Bytes, Nanos};
use ir::workload::Mode;
use planner::no_plan::{NoPlan, Reason};
use planner::run::{Attempt, Outcome, StopReason};

use crate::answer::beside::Beside;
use crate::answer::exit::Exit;
use crate::answer::page::Column;
use crate::answer::page::{Format, Page};
use crate::answer::rows::Rows;
use crate::answer::screen::{Screen, figure};
use crate::answer::words;
use crate::answer::words::{elapsed, percent};
use crate::inputs::load::{self, Loaded};
use crate::kinds::placement::fused;
use crate::kinds::placement::report;
use crate::kinds::placement::runnable;
use crate::kinds::placement::trust;
use crate::kinds::placement::trust::Trust;
use crate::request::element_type;
use crate::search::run::trace;

/// What the command adds to an outcome.
pub struct Solved {
    /// The plan as a document.
    pub plan: PlanDocument,
    /// How far its step time can be trusted.
    pub trust: Trust,
    /// Wall-clock time of the solve.
    pub elapsed: Duration,
    /// Of the exports.
    pub warnings: Vec<Diagnostic>,
    /// What the search left out, told first.
    pub left_out: Option<Diagnostic>,
    /// The float type that was asked for.
    pub named: Option<DType>,
    /// Whether all is listed.
    pub is_whole: bool,
    /// The flags by which other verbs find model and cluster.
    pub on: String,
    /// Of the program that planned.
    pub version: &'static str,
    /// Names of the files that were written.
    pub written: Vec<String>,
    /// What is known of degrees of parallelism.
    pub beside: Option<Beside>,
    /// Whether nobody named the launcher that the plan is for.
    pub is_default: bool,
    /// Formats that were written beside it.
    pub exports: Vec<String>,
}

/// Prints an outcome, in text or as a document.
///
/// # Errors
/// Those of [`Printer::serialized`].
pub fn print(
    loaded: &Loaded,
    outcome: &Outcome,
    solved: &Solved,
    page: &Page,
) -> Result<(), Diagnostic> {
    let warnings: Vec<Diagnostic> =
        loaded.warnings.iter().chain(&outcome.warnings).chain(&solved.warnings).cloned().collect();
    if page.format == Format::Json {
        let warnings: Vec<_> = solved.left_out.iter().cloned().chain(warnings).collect();
        return page.serialized(&document(loaded, outcome, solved, &warnings));
    }
    let screen = screen(loaded, outcome, solved);
    page.screen(Screen { warnings, ..screen });
    if solved.is_whole {
        page.text("\n");
        trust::print(&solved.trust, loaded, &outcome.report, Rows::All, page);
        page.line(&match loaded.problem.workload.mode {
            Mode::Inference => fused::of_pass(loaded),
            Mode::Training => fused::sentence(&loaded.problem.graph, Mode::Training),
        });
        solved.beside.iter().for_each(|beside| page.line(&beside.line()));
        page.text("\n");
        attempts(&loaded.problem, outcome, page);
    }
    Ok(())
}

/// Prints why there is no plan, then what is strange about the problem, as it may be why, and with all what
/// was tried.
pub fn print_failure(
    none: &NoPlan,
    warnings: &[Diagnostic],
    (is_whole, page): (bool, &Page),
) -> Exit {
    let exit = none.diagnostic.blame.exit_code();
    if page.format == Format::Json {
        let failure = FailureDocument {
            error: DiagnosticDocument { exit_code: Some(exit), ..(&none.diagnostic).into() },
            exit_code: exit,
            attempts: none.attempts.iter().map(|a| attempt(a, Objective::STEP_TIME)).collect(),
            warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        };
        return match page.serialized(&failure) {
            Ok(()) => Exit(exit),
            Err(error) => Exit(error.blame.exit_code()),
        };
    }
    page.failure(&none.diagnostic, exit);
    let is_shown = |warning: &&Diagnostic| is_whole || !warning.hints.is_empty();
    let warnings: Vec<Diagnostic> = warnings.iter().filter(is_shown).cloned().collect();
    page.warnings(&warnings);
    if is_whole && none.attempts.len() > 1 {
        let columns = Column::row("@algorithm | #planned in | result");
        let row = |attempt: &Attempt| {
            let result = match &attempt.result {
                Ok(plan) => plan.step_time.to_string(),
                Err(none) => format!("no plan: {}", none.diagnostic.message),
            };
            vec![attempt.algorithm.clone(), elapsed(attempt.elapsed), result]
        };
        page.talk_table(&columns, none.attempts.iter().map(row).collect());
    }
    Exit(exit)
}

/// What most people want to know.
fn screen(loaded: &Loaded, outcome: &Outcome, solved: &Solved) -> Screen {
    let problem = &loaded.problem;
    let devices = load::describe(&problem.cluster);
    let model = words::imported(&problem.graph.name, &loaded.summary);
    let mut screen = Screen::new(format!("{model}; on {devices}"));
    (screen.written, screen.is_whole) = (solved.written.clone(), solved.is_whole);
    screen.on.clone_from(&solved.on);
    screen.fact("plan", plan_fact(problem, outcome));
    let computes = element_type::words(&problem.graph, &problem.workload, solved.named);
    screen.fact("", computes.map(|types| types + &inputs(&problem.graph)));
    screen.fact("", solved.left_out.as_ref().map(|diagnostic| diagnostic.message.clone()));
    let step = outcome.timeline.step_time;
    screen.fact("step", figure(step, solved.trust.range(), ""));
    let is_step = problem.objective == Objective::STEP_TIME;
    let label = problem.objective.label();
    screen.fact("value", (!is_step).then(|| format!("{label} {}", outcome.value)));
    screen.fact("memory", memory_fact(problem, &outcome.report));
    screen.fact("proof", proof(loaded, outcome, solved));
    screen.fact("runs on", runnable::fact(loaded, outcome, solved.is_default));
    screen.fact("based on", trust::origins(&solved.trust, loaded));
    screen.fact("", solved.beside.as_ref().map(Beside::line));
    let is_training = problem.workload.mode == Mode::Training && solved.beside.is_none();
    screen.fact("instead", is_training.then(|| BY_DEGREES.to_owned()));
    let (mut columns, mut rows) = report::devices(problem, &outcome.report, solved.is_whole);
    report::with_layers(problem, &outcome.plan.placement, (&mut columns, &mut rows));
    screen.table(&columns, rows);
    let is_written = |target: &&String| !solved.exports.contains(target);
    loaded.request.executor.iter().filter(is_written).for_each(|target| screen.export(target));
    screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
    screen
}

/// `; input_ids 1 x 2048`: what the graph reads, as far as it has a shape.
fn inputs(graph: &Graph) -> String {
    const SHOWN: usize = 2;
    let read =
        graph.inputs.iter().map(|id| graph.tensor(*id)).filter(|read| !read.shape.is_empty());
    let text = |read: &Tensor| {
        let sizes: Vec<String> = read.shape.iter().map(ToString::to_string).collect();
        format!("; {} {}", read.name, sizes.join(" x "))
    };
    read.take(SHOWN).map(text).collect()
}

/// The row that puts all ops on one device.
const SINGLE: &str = "single";

/// What one device would take, where the plan uses several.
fn on_one(outcome: &Outcome) -> Option<String> {
    let single = outcome.attempts.iter().find(|attempt| attempt.algorithm == SINGLE)?;
    match &single.result {
        Ok(plan) => Some(format!("; one device takes {}", plan.value)),
        Err(none) => (none.reason == Reason::MemoryExceeded)
            .then(|| "; one device has too little memory".to_owned()),
    }
}

/// Devices that are used and transfers.
fn plan_fact(problem: &Problem, outcome: &Outcome) -> String {
    let used: BTreeSet<_> = outcome.plan.placement.device.iter().flatten().collect();
    let (used, all) = (used.len(), problem.cluster.n_devices());
    let transfers = outcome.timeline.transfers.len();
    let simpler = outcome.fastest.map_or_else(String::new, |fastest| {
        format!("; simplest within 0.5 % of the fastest found ({fastest})")
    });
    let on_one = on_one(outcome).filter(|_| used > 1).unwrap_or_default();
    format!("{used} of {all} devices, {transfers} transfers{on_one}{simpler}")
}

/// The peak of the device that has least memory left.
fn memory_fact(problem: &Problem, report: &Report) -> Option<String> {
    let left = |device: &&DeviceReport| {
        device.limit.map_or(u64::MAX, |limit| limit.saturating_sub(device.peak.bytes))
    };
    let fullest = report.devices.iter().filter(|device| device.peak.bytes > 0).min_by_key(left)?;
    let name = &problem.cluster.devices[fullest.device.index()].name;
    let usable = match fullest.limit {
        Some(limit) => format!("of {} usable on {name}, the device with least free", Bytes(limit)),
        None => format!("on {name}, which has no limit"),
    };
    Some(figure(Bytes(fullest.peak.bytes), None, &usable))
}

/// How far from the best placement, and why the search ended.
fn proof(loaded: &Loaded, outcome: &Outcome, solved: &Solved) -> String {
    let (value, bound) = (outcome.value, outcome.bound.value);
    let gap = percent(value, bound);
    let guesses = guesses(loaded.summary.guessed_share);
    // Of times that were guessed no optimum is known.
    let Constraints { pins, forbids, colocate } = &loaded.problem.constraints;
    let is_free = pins.is_empty() && forbids.is_empty() && colocate.is_empty();
    // Of parallelism settings that were not searched the bound says nothing.
    let is_joint = solved.beside.as_ref().is_some_and(|beside| beside.bound.is_some());
    let space = match (is_joint, is_free) {
        (true, true) => "of all operator placements and parallelism settings",
        (false, true) => "of all operator placements on these devices",
        (_, false) => "of all operator placements that launcher and constraints allow",
    };
    let how_far = match (value <= bound, guesses.is_empty()) {
        (true, true) => format!("the best {space}"),
        (true, false) => format!("as good as the bound {space}"),
        _ if bound == Nanos::ZERO => "no lower bound is known".to_owned(),
        _ if gap.ends_with('x') => format!("at most {gap} the best {space}"),
        _ if loaded.problem.objective == Objective::STEP_TIME => {
            format!("at most {gap} slower than the best {space}")
        }
        _ => format!("at most {gap} above the best {space}"),
    };
    let method = outcome.bound.method;
    let stop = match stopped(loaded, outcome) {
        BOUND_REACHED => "lower bound reached",
        _ => outcome.stop.words(),
    };
    let tried = match outcome.attempts.len() {
        0 | 1 => String::new(),
        n => format!(" (best of {n})"),
    };
    let took = elapsed(solved.elapsed);
    let by = &outcome.algorithm;
    format!(
        "{how_far}{guesses} (lower bound {bound}, {method}; algorithm {by}{tried}; planned in {took}; {stop})"
    )
}

/// Ended at the lower bound, which rests on guesses.
const BOUND_REACHED: &str = "bound-reached";

/// Why the search ended; nothing that rests on guesses is an optimum.
fn stopped(loaded: &Loaded, outcome: &Outcome) -> &'static str {
    match outcome.stop {
        StopReason::ProvedOptimal if loaded.summary.guessed_share > 0.0 => BOUND_REACHED,
        other => other.name(),
    }
}

/// What plans of training runs that no operator placement is are asked for by.
const BY_DEGREES: &str = "DP, TP, PP and ZeRO: meshwright train MODEL --global-batch N";

/// For a training run that no operator placement fits: what does.
pub fn other_way(problem: &Problem) -> Option<String> {
    (problem.workload.mode == Mode::Training).then(|| {
        "operator placement does not split training states over devices; plan replicas, \
         shards and pipelines with --global-batch N in place of --workload training --batch N"
            .to_owned()
    })
}

fn attempts(problem: &Problem, outcome: &Outcome, page: &Page) {
    let columns = [
        Column::Name("algorithm"),
        Column::Number(problem.objective.label()),
        Column::Number("bound"),
        Column::Number("gap"),
        Column::Number("peak memory"),
        Column::Number("planned in"),
        Column::Text(""),
    ];
    let row = |attempt: &Attempt| {
        let mut cells = vec![attempt.algorithm.clone()];
        match &attempt.result {
            Ok(plan) => cells.extend([
                plan.value.to_string(),
                outcome.bound.value.to_string(),
                percent(plan.value, outcome.bound.value),
                Bytes(plan.peak_bytes).to_string(),
                elapsed(attempt.elapsed),
                if attempt.algorithm == outcome.algorithm { "kept" } else { "" }.to_owned(),
            ]),
            Err(none) => cells.extend([
                "-".to_owned(),
                outcome.bound.value.to_string(),
                "-".to_owned(),
                "-".to_owned(),
                elapsed(attempt.elapsed),
                none.diagnostic.code.to_owned(),
            ]),
        }
        cells
    };
    page.table(&columns, outcome.attempts.iter().map(row).collect());
}

/// What a time rests on where ops have no rule or no known shape.
pub fn guesses(share: f64) -> String {
    match (share * 100.0).round() {
        _ if share <= 0.0 => String::new(),
        0.0 => "; under 1 % of the ops have guessed times".to_owned(),
        percent => format!("; {percent} % of the ops have guessed times"),
    }
}

fn document(
    loaded: &Loaded,
    outcome: &Outcome,
    solved: &Solved,
    warnings: &[Diagnostic],
) -> ReportDocument {
    let value = outcome.value.get();
    let bound = outcome.bound.value.get();
    let problem = &loaded.problem;
    ReportDocument {
        format: FORMAT.to_owned(),
        plan: solved.plan.clone(),
        report: crate::kinds::placement::report::document(
            &loaded.problem,
            &outcome.report,
            &solved.trust,
        ),
        bound: BoundDocument::new(bound, outcome.bound.method),
        gap: gap(value, bound),
        fastest_ns: outcome.fastest.map(Nanos::get),
        guessed_share: loaded.summary.guessed_share,
        unfused_attention_bytes: (problem.workload.mode == Mode::Inference
            && fused::is_as_written(loaded))
        .then(|| unfused_attention(&problem.graph).1.0)
        .filter(|bytes| *bytes > 0),
        stop_reason: stopped(loaded, outcome).to_owned(),
        algorithm: outcome.algorithm.clone(),
        other_space: solved.beside.as_ref().map(Beside::document),
        warnings: warnings.iter().map(DiagnosticDocument::from).collect(),
        attempts: outcome.attempts.iter().map(|a| attempt(a, problem.objective)).collect(),
        run: RunDocument {
            planning_time_s: solved.elapsed.as_secs_f64(),
            attempts_s: outcome.attempts.iter().map(|a| a.elapsed.as_secs_f64()).collect(),
            trace: trace(&outcome.trace),
            host: host(),
            version: solved.version.to_owned(),
        },
    }
}

fn attempt(attempt: &Attempt, objective: Objective) -> AttemptDocument {
    let value = |plan: &planner::run::AttemptPlan| {
        (objective != Objective::STEP_TIME).then(|| plan.value.get())
    };
    AttemptDocument {
        algorithm: attempt.algorithm.clone(),
        result: match &attempt.result {
            Ok(plan) => {
                AttemptResult::plan(plan.step_time.get(), plan.peak_bytes).with_value(value(plan))
            }
            Err(none) => AttemptResult::NoPlan(DiagnosticDocument::from(&none.diagnostic)),
        },
    }
}

/// `x86_64-linux, 8 threads`.
fn host() -> String {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}-{}, {threads} threads", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_rounded_up() {
        assert_eq!(percent(Nanos(1028), Nanos(1000)), "2.8 %");
        assert_eq!(percent(Nanos(10281), Nanos(10000)), "2.9 %");
        assert_eq!(percent(Nanos(1_000_001), Nanos(1_000_000)), "0.1 %");
        assert_eq!(percent(Nanos(1941), Nanos(1000)), "95 %");
        assert_eq!(percent(Nanos(12_500), Nanos(1000)), "13 x");
        assert_eq!(percent(Nanos(7), Nanos(7)), "0 %");
        assert_eq!(percent(Nanos(7), Nanos(0)), "unknown");
    }
}
