//! Step time where memory is scarce: list schedulers, the portfolio and the bound, side by side.

mod cases;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ir::diagnostic::{Diagnostic, Value as Fact};
use planner::no_plan::NoPlan;
use planner::recipe::Recipe;
use planner::run::{Budget, Outcome, Request, solve};
use serde_json::{Value, json};

use crate::printer::Printer;
use crate::table::Column;
use cases::Case;
pub(super) use cases::folder;

/// The limit of a list scheduler; half of it is the linear program's.
const LIST_TIME: Duration = Duration::from_secs(10);
/// What the command line plans with where nothing is said.
const PORTFOLIO: &str = "auto";
/// The schedulers that the portfolio is compared with.
const LISTS: [&str; 2] = ["m-etf", "m-sct"];

/// A case solved by each.
pub(super) struct Line {
    case: String,
    limit: String,
    lists: [Tried; 2],
    portfolio: Tried,
}

/// What one algorithm did.
struct Tried {
    result: Result<Found, Failure>,
    elapsed: Duration,
}

/// A plan.
struct Found {
    seconds: f64,
    bound_seconds: f64,
    bound_method: &'static str,
    gap: f64,
    algorithm: String,
    /// Whether the linear program was replaced.
    is_fallback: bool,
}

/// Why there is none.
struct Failure {
    code: &'static str,
    op: Option<String>,
    /// Whether a counting argument shows that there is none.
    is_proved: bool,
}

/// Solves all cases of a folder of models whose names hold `only`.
///
/// # Errors
/// Those of reading a model.
pub(super) fn run(
    models: &Path,
    only: &str,
    time: Duration,
    cancel: &Arc<AtomicBool>,
    printer: &Printer,
) -> Result<Vec<Line>, Diagnostic> {
    let mut lines = Vec::new();
    for case in cases::read(models, only)? {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        printer.talk(&case.name);
        lines.push(Line {
            lists: LISTS.map(|name| list(&case, name, cancel)),
            portfolio: tried(&case, PORTFOLIO, time, cancel),
            limit: case.limit,
            case: case.name,
        });
    }
    Ok(lines)
}

/// A list scheduler; where greed leaves no room, its variant that keeps room, for ops and then for
/// whole blocks of the model. The time is that of all that ran.
fn list(case: &Case, name: &str, cancel: &Arc<AtomicBool>) -> Tried {
    let room = format!("{name}(variant=room)");
    let recipes = [name.to_owned(), room.clone(), format!("blocks,{room}")];
    let mut elapsed = Duration::ZERO;
    let mut first_failure = None;
    for recipe in recipes {
        let tried = tried(case, &recipe, LIST_TIME, cancel);
        elapsed += tried.elapsed;
        match tried.result {
            Ok(found) => return Tried { result: Ok(found), elapsed },
            Err(failure) => {
                let is_final = failure.is_proved;
                first_failure.get_or_insert(failure);
                if is_final {
                    break;
                }
            }
        }
    }
    let failure = first_failure.unwrap_or(Failure { code: "no-plan", op: None, is_proved: false });
    Tried { result: Err(failure), elapsed }
}

fn tried(case: &Case, name: &str, time: Duration, cancel: &Arc<AtomicBool>) -> Tried {
    let started = Instant::now();
    let result = match Recipe::parse(name) {
        Ok(recipe) => {
            let mut request = Request::new(recipe);
            request.budget = Budget { time: Some(time), nodes: None };
            request.cancel = Arc::clone(cancel);
            solve(Arc::clone(&case.problem), &request, &mut |_| {})
                .map(|outcome| found(&outcome))
                .map_err(|no_plan| failure(&no_plan))
        }
        Err(error) => Err(Failure { code: error.code, op: None, is_proved: false }),
    };
    Tried { result, elapsed: started.elapsed() }
}

fn found(outcome: &Outcome) -> Found {
    Found {
        seconds: outcome.timeline.step_time.seconds(),
        bound_seconds: outcome.bound.value.seconds(),
        bound_method: outcome.bound.method,
        gap: outcome.gap,
        algorithm: outcome.algorithm.clone(),
        is_fallback: outcome.warnings.iter().any(|w| w.code == "program-not-solved"),
    }
}

fn failure(no_plan: &NoPlan) -> Failure {
    let op = no_plan.diagnostic.facts.iter().find_map(|(name, value)| match value {
        Fact::Text(text) if *name == "op" => Some(text.clone()),
        _ => None,
    });
    Failure { code: no_plan.diagnostic.code, op, is_proved: no_plan.proved }
}

impl Tried {
    fn seconds(&self) -> Option<f64> {
        self.result.as_ref().ok().map(|found| found.seconds)
    }

    /// Milliseconds, or what did not fit.
    fn value(&self) -> String {
        match &self.result {
            Ok(found) => {
                let kept = if found.algorithm.contains("room") { " (room)" } else { "" };
                let kept =
                    if found.algorithm.contains("blocks") { " (blocks, room)" } else { kept };
                let fallback = if found.is_fallback { " (fallback)" } else { "" };
                format!("{:.3}{kept}{fallback}", found.seconds * 1e3)
            }
            Err(Failure { is_proved: true, op, .. }) => {
                format!("none exists: `{}`", op.as_deref().unwrap_or("the sum"))
            }
            Err(Failure { code, op: Some(op), .. }) => format!("{code}: {op}"),
            Err(Failure { code, op: None, .. }) => (*code).to_owned(),
        }
    }

    /// Milliseconds, or that there is nothing.
    fn plain_value(&self) -> String {
        self.seconds().map_or_else(|| self.value(), |seconds| format!("{:.3}", seconds * 1e3))
    }

    fn elapsed(&self) -> String {
        format!("{:.3}", self.elapsed.as_secs_f64())
    }

    fn document(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        match &self.result {
            Ok(found) => json!({
                "step_time_s": found.seconds, "bound_s": found.bound_seconds,
                "bound_method": found.bound_method, "algorithm": found.algorithm,
                "fallback": found.is_fallback, "seconds": seconds,
            }),
            Err(failure) => json!({
                "code": failure.code, "op": failure.op, "proved": failure.is_proved, "seconds": seconds,
            }),
        }
    }
}

impl Line {
    /// By how much less time the portfolio's plan takes than another one.
    fn better_than(&self, other: &Tried) -> String {
        match (self.portfolio.seconds(), other.seconds()) {
            (Some(own), Some(other)) => format!("{:.1} %", (1.0 - own / other) * 100.0),
            (Some(_), None) => "only plan".to_owned(),
            (None, _) => String::new(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let [etf, sct] = &self.lists;
        let found = self.portfolio.result.as_ref().ok();
        vec![
            self.case.clone(),
            self.limit.clone(),
            etf.value(),
            etf.elapsed(),
            sct.value(),
            sct.elapsed(),
            self.portfolio.plain_value(),
            self.portfolio.elapsed(),
            self.better_than(etf),
            self.better_than(sct),
            found.map_or_else(String::new, |f| {
                format!("{:.3} ({})", f.bound_seconds * 1e3, f.bound_method)
            }),
            found.map_or_else(String::new, |f| format!("{:.1} %", f.gap * 100.0)),
            found.map_or_else(String::new, |f| f.algorithm.clone()),
        ]
    }

    /// For `--json`.
    pub(super) fn document(&self) -> Value {
        json!({
            "case": self.case, "memory_limit": self.limit,
            "m_etf": self.lists[0].document(), "m_sct": self.lists[1].document(),
            "portfolio": self.portfolio.document(),
        })
    }
}

const COLUMNS: [Column; 13] = [
    Column::Name("model"),
    Column::Number("limit"),
    Column::Text("m-etf ms"),
    Column::Number("s"),
    Column::Text("m-sct ms"),
    Column::Number("s"),
    Column::Text("auto ms"),
    Column::Number("s"),
    Column::Number("less than m-etf"),
    Column::Number("less than m-sct"),
    Column::Text("bound ms"),
    Column::Number("gap"),
    Column::Text("found by"),
];

/// Shows the table to people.
pub(super) fn print(lines: &[Line], printer: &Printer) {
    if !lines.is_empty() {
        printer.table(&COLUMNS, lines.iter().map(Line::cells).collect());
    }
}

const PREFACE: &str = "
## Step time under memory limits

Models of the corpus (docs/data.md) on four devices, CLUSTER. The memory limit of each device is \
30 or 40 % of the peak of the whole step on one device (`single`); training is with AdamW in bf16, \
its gradients and states included. Step times and bounds are milliseconds of the cost model, \
seconds those of planning, bound and verification included. `auto` has TIME s; a plan is legal in \
every row that shows a step time, and an algorithm that finds none names the op that did not fit. \
(room): the plain rules found no room for some op, and `variant=room` took over; (blocks, room): \
that one kept whole blocks together; the seconds are those of all that ran. (fallback): the linear \
program was not solved in time. *None exists* is proved by counting; such a model comes again with \
the least limit that no counting argument rules out, and 10 % more.

";

/// The second section of the page.
pub(super) fn markdown(lines: &[Line], time: Duration) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let time = format!("{}", time.as_secs_f64());
    let mut text = PREFACE.replace("CLUSTER", cases::CLUSTER_WORDS).replace("TIME", &time);
    text.push_str("| model | limit | m-etf ms | s | m-sct ms | s | auto ms | s | less than m-etf | less than m-sct | bound ms | gap | found by |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n");
    for line in lines {
        // Writing to a string can't fail.
        let _ = writeln!(text, "| {} |", line.cells().join(" | "));
    }
    text
}
