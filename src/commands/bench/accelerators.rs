//! Max-load of any split with other numbers of accelerators than the files state: value, bound, and
//! how soon both were near each other.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cost_model::given::{Goal, row};
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use planner::given::runner::{Answer, Request, solve};
use serde_json::{Value, json};

use super::cases::Case;
use super::number;
use crate::printer::Printer;
use crate::table::Column;

/// Gaps whose seconds are shown; the search stops at the last.
const GAPS: [f64; 2] = [1e-2, 1.5e-3];
/// The row that searches.
const METHOD: &str = "columns";

/// An instance with a number of accelerators.
pub(super) struct Line {
    instance: String,
    n_accelerators: usize,
    is_of_file: bool,
    answer: Answer,
}

impl Line {
    fn gap(&self) -> f64 {
        self.answer.gap().unwrap_or(f64::INFINITY)
    }

    /// Seconds until value and bound were so near.
    fn seconds_to(&self, gap: f64) -> Option<f64> {
        let is_near = |point: &&planner::run::TracePoint| {
            let pair = point.value.zip(point.bound);
            pair.is_some_and(|(value, bound)| value.as_f64() <= bound.as_f64() * (1.0 + gap))
        };
        let point = self.answer.trace.iter().find(is_near);
        point.map(|point| point.elapsed.as_secs_f64())
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "instance": self.instance, "accelerators": self.n_accelerators,
            "of_file": self.is_of_file, "objective": row(Goal::MaxLoad).name, "method": METHOD,
            "value": self.answer.best.as_ref().map(|(value, _)| value.seconds()),
            "bound": self.answer.bound.value.seconds(), "proved": self.answer.is_proved,
            "seconds_to_gap": GAPS.map(|gap| json!({ "gap": gap, "seconds": self.seconds_to(gap) })),
            "seconds": self.answer.elapsed.as_secs_f64(),
        })
    }

    fn cells(&self) -> [String; 8] {
        let value = self.answer.best.as_ref().map(|(value, _)| number(value.seconds()));
        let gap = if self.answer.is_proved {
            "optimal".to_owned()
        } else {
            format!("{:.2} %", 100.0 * self.gap())
        };
        let [one, two] = GAPS.map(|gap| {
            self.seconds_to(gap).map_or("-".to_owned(), |seconds| format!("{seconds:.2}"))
        });
        let file = if self.is_of_file { " (file)" } else { "" };
        [
            self.instance.clone(),
            format!("{}{file}", self.n_accelerators),
            value.unwrap_or("none found".to_owned()),
            number(self.answer.bound.value.seconds()),
            gap,
            one,
            two,
            format!("{:.2}", self.answer.elapsed.as_secs_f64()),
        ]
    }
}

/// Every max-load case with the file's number of accelerators, and with each of `counts`.
///
/// # Errors
/// Those of planning.
pub(super) fn run(
    cases: &[Case],
    counts: &[usize],
    time: Duration,
    request: &Request,
    printer: &Printer,
) -> Result<Vec<Line>, Diagnostic> {
    let request = Request { time: Some(time), gap: GAPS[GAPS.len() - 1], ..request.clone() };
    let mut lines = Vec::new();
    for case in cases.iter().filter(|case| case.goal == Goal::MaxLoad) {
        let Instance::Load(instance) = &case.instance else { continue };
        let of_file = [instance.n_accelerators];
        let own = of_file.iter().map(|n| (*n, true)).chain(counts.iter().map(|n| (*n, false)));
        for (n_accelerators, is_of_file) in own {
            if request.cancel.load(Ordering::Relaxed) {
                return Ok(lines);
            }
            let mut instance = instance.clone();
            instance.n_accelerators = n_accelerators;
            printer.talk(&format!("{} on {n_accelerators} accelerators", case.name));
            let answer = solve(&Instance::Load(instance), Goal::MaxLoad, Some(METHOD), &request)?;
            lines.push(Line { instance: case.name.clone(), n_accelerators, is_of_file, answer });
        }
    }
    Ok(lines)
}

pub(super) fn print(lines: &[Line], printer: &Printer) {
    if lines.is_empty() {
        return;
    }
    let columns = [
        Column::Name("instance"),
        Column::Number("accelerators"),
        Column::Number("value"),
        Column::Number("bound"),
        Column::Number("gap"),
        Column::Number("s to 1 %"),
        Column::Number("s to 0.15 %"),
        Column::Number("s"),
    ];
    printer.table(&columns, lines.iter().map(|line| line.cells().to_vec()).collect());
}

/// A section of the page; empty without lines.
pub(super) fn markdown(lines: &[Line], time: Duration) -> String {
    let mut text = String::new();
    if lines.is_empty() {
        return text;
    }
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\n## Max-load with other numbers of accelerators\n\nAny split, row `{METHOD}`, at most \
         {} s each; a search stops at a gap of 0.15 %. Seconds to a gap are those after which value \
         and proved bound were that near; \"-\" = not within the limit.\n\n",
        time.as_secs_f64(),
    );
    for (is_of_file, words) in [(true, "the file's number"), (false, "another number")] {
        let own: Vec<&Line> = lines.iter().filter(|line| line.is_of_file == is_of_file).collect();
        let within = |gap: f64| own.iter().filter(|line| line.seconds_to(gap).is_some()).count();
        let over: Vec<String> = own
            .iter()
            .filter(|line| line.seconds_to(GAPS[0]).is_none())
            .map(|line| {
                let gap = 100.0 * line.gap();
                format!("{} on {} ({gap:.2} %)", line.instance, line.n_accelerators)
            })
            .collect();
        let rest = if over.is_empty() { "none".to_owned() } else { over.join("; ") };
        let _ = writeln!(
            text,
            "* {words}: {} of {} at most 1 %, {} at most 0.15 %. Beyond 1 %: {rest}.",
            within(GAPS[0]),
            own.len(),
            within(GAPS[1]),
        );
    }
    text.push_str(
        "\n| instance | accelerators | value | bound | gap | s to 1 % | s to 0.15 % | s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for line in lines {
        let _ = writeln!(text, "| {} |", line.cells().join(" | "));
    }
    text
}
