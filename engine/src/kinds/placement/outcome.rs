//! What `plan` prints: the answer, where time and memory go, and what was tried.

use std::time::Duration;

use cost_model::ops::problem::{Objective, Problem};
use cost_model::ops::workload::fusion::unfused_attention;
use documents::diagnostic::DiagnosticDocument;
use documents::plan::{PlanDocument, gap};
use documents::report::{
    AttemptDocument, AttemptResult, BoundDocument, FORMAT, FailureDocument, ReportDocument,
    RunDocument,
};
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::{Bytes, Nanos};
use ir::workload::Mode;
use planner::no_plan::NoPlan;
use planner::run::{Attempt, Outcome, StopReason};

use crate::answer::beside::Beside;
use crate::answer::exit::Exit;
use crate::answer::page::Column;
use crate::answer::page::{Format, Page};
use crate::answer::rows::Rows;
use crate::answer::words;
use crate::answer::words::percent;
use crate::inputs::load::{self, Loaded};
use crate::kinds::placement::fused;
use crate::kinds::placement::report;
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
    /// How much is listed.
    pub rows: Rows,
    /// Of the program that planned.
    pub version: &'static str,
    /// Names of the files that were written.
    pub written: Vec<String>,
    /// What is known of degrees of parallelism.
    pub beside: Option<Beside>,
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
    solved.left_out.iter().for_each(|own| page.line(&own.message));
    let problem = &loaded.problem;
    let (trust, rows) = (&solved.trust, solved.rows);
    answer(loaded, outcome, solved, page);
    page.text("\n");
    report::devices(problem, &outcome.report, rows, page);
    trust::print(trust, loaded, &outcome.report, rows, page);
    let nominal = if outcome.report.nominal { ", nominal costs" } else { "" };
    let devices = load::describe(&problem.cluster);
    page.line(&words::imported(&problem.graph.name, &loaded.summary));
    page.line(&format!("{}: {devices}{nominal}", problem.cluster.name));
    let words = element_type::words(&problem.graph, &problem.workload, solved.named);
    words.iter().for_each(|words| page.line(words));
    if rows == Rows::All {
        page.text("\n");
        attempts(problem, outcome, page);
    }
    page.warnings(&warnings);
    for file in &solved.written {
        page.talk(&format!("wrote {file}"));
    }
    Ok(())
}

/// Prints why there is no plan, and what was tried where that was more than one recipe.
///
/// What is strange about the problem is told first: it may be why.
pub fn print_failure(none: &NoPlan, warnings: &[Diagnostic], page: &Page) -> Exit {
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
    page.warnings(warnings);
    if none.attempts.len() > 1 {
        let columns =
            [Column::Name("algorithm"), Column::Number("planned in"), Column::Text("result")];
        let row = |attempt: &Attempt| {
            let result = match &attempt.result {
                Ok(plan) => plan.step_time.to_string(),
                Err(none) => format!("no plan: {}", none.diagnostic.message),
            };
            vec![attempt.algorithm.clone(), elapsed(attempt.elapsed), result]
        };
        page.talk_table(&columns, none.attempts.iter().map(row).collect());
    }
    page.failure(&none.diagnostic, exit);
    Exit(exit)
}

/// What most people want to know, in five lines at most.
fn answer(loaded: &Loaded, outcome: &Outcome, solved: &Solved, page: &Page) {
    let problem = &loaded.problem;
    sentence(loaded, outcome, &solved.trust).lines().for_each(|line| page.line(line));
    let used: std::collections::BTreeSet<_> =
        outcome.plan.placement.device.iter().flatten().collect();
    let tried = match outcome.attempts.len() {
        0 | 1 => String::new(),
        n => format!(", the best of {n} recipes (--all lists them)"),
    };
    page.line(&format!(
        "on {} of {} devices with {} transfers, by {}{tried}",
        used.len(),
        problem.cluster.n_devices(),
        outcome.timeline.transfers.len(),
        outcome.algorithm
    ));
    if let Some(fastest) = outcome.fastest {
        let by = percent(outcome.value, fastest);
        page.line(&format!(
            "the fewest devices and transfers among the plans within 0.5 % of the best that was \
             found: {} {fastest}, {by} less",
            problem.objective.label()
        ));
    }
    page.line(&format!(
        "bound {} ({}); planned in {}; stopped: {}",
        outcome.bound.value,
        outcome.bound.method,
        elapsed(solved.elapsed),
        stopped(loaded, outcome)
    ));
    match &solved.beside {
        Some(beside) => {
            page.line(&fused::sentence(&problem.graph));
            page.line(&beside.line());
        }
        None => page.line(&basis(problem)),
    }
}

/// Why the search ended; nothing that rests on guesses is an optimum.
fn stopped(loaded: &Loaded, outcome: &Outcome) -> &'static str {
    match outcome.stop {
        StopReason::ProvedOptimal if loaded.summary.guessed_share > 0.0 => "bound-reached",
        other => other.name(),
    }
}

/// Which price and which plans an answer is about, and where the others are.
fn basis(problem: &Problem) -> String {
    let own = "the bound covers every operator placement on these devices";
    match problem.workload.mode {
        Mode::Inference => format!("costs per operator{}; {own}", fused::unfused(&problem.graph)),
        Mode::Training => format!("{}; {own}; {BY_DEGREES}", fused::sentence(&problem.graph)),
    }
}

const BY_DEGREES: &str =
    "replicas, shards and pipelines have a bound of their own: --global-batch N";

/// For a training run that no placement of whole ops serves: what does.
pub fn other_way(problem: &Problem) -> Option<String> {
    (problem.workload.mode == Mode::Training).then(|| {
        "this places whole ops, and every device holds all states of its own; plan replicas, \
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

fn elapsed(duration: Duration) -> String {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).to_string()
}

fn sentence(loaded: &Loaded, outcome: &Outcome, trust: &Trust) -> String {
    let problem = &loaded.problem;
    let (value, bound) = (outcome.value, outcome.bound.value);
    let gap = percent(value, bound);
    let guesses = guesses(loaded.summary.guessed_share);
    // Of times that were guessed no optimum is known.
    let best = if guesses.is_empty() { "the optimum of this cost model" } else { "the bound" };
    let how_far = if value <= bound {
        if guesses.is_empty() { best } else { "as fast as the bound" }.to_owned()
    } else if bound == Nanos::ZERO {
        "no lower bound is known".to_owned()
    } else if gap.ends_with('x') {
        format!("at most {gap} {best}")
    } else {
        format!("at most {gap} above {best}")
    };
    let step = trust.sentence(outcome.timeline.step_time);
    let how_far = format!("{how_far}{guesses}");
    match problem.objective {
        Objective::STEP_TIME => format!("{step}, {how_far}"),
        other => format!("{step}\n{} {value}, {how_far}", other.label()),
    }
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
        unfused_attention_bytes: (problem.workload.mode == Mode::Inference)
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
