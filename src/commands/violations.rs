//! What makes a plan illegal: the rules that it breaks, and what it says of itself that is wrong.

use cost_model::judge::Timeline;
use cost_model::objective;
use cost_model::problem::Objective;
use cost_model::verify::{MAX_VIOLATIONS, verify};
use documents::diagnostic::DiagnosticDocument;
use documents::plan::{CostDocument, PlanDocument, gap};
use documents::quantity::seconds;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;
use serde_json::json;

use crate::commands::Exit;
use crate::commands::replay::OnProblem;
use crate::commands::report::Rows;
use crate::printer::Printer;

/// Stated fractions are compared to this share: they went through decimal digits.
const TOLERANCE: f64 = 1e-9;

/// The rules that a plan breaks, at most [`MAX_VIOLATIONS`].
pub(crate) fn of(on: &OnProblem) -> Vec<Diagnostic> {
    let problem = &on.loaded.problem;
    verify(problem, &on.plan).iter().map(|v| v.diagnostic(problem)).collect()
}

/// `2 violations`; as many as are listed may be not all there are.
pub(crate) fn count(n: usize) -> String {
    match n {
        1 => "1 violation".to_owned(),
        n if n >= MAX_VIOLATIONS => format!("{n} or more violations"),
        n => format!("{n} violations"),
    }
}

/// Prints the violations on stderr, as many as `rows` admits.
pub(crate) fn list(broken: &[Diagnostic], rows: Rows, printer: &Printer) {
    let shown = rows.shown(broken.len());
    printer.warnings(&broken[..shown]);
    let capped = broken.len() >= MAX_VIOLATIONS;
    match (broken.len() - shown, capped) {
        (0, false) => {}
        (0, true) => printer.talk("... and perhaps more: the search ended here"),
        (left, false) => printer.talk(&format!("... and {left} more (--all)")),
        (left, true) => printer.talk(&format!("... and {left} or more (--all)")),
    }
}

/// The verdict of a plan with these violations, which is all there is to print.
pub(crate) fn verdict(
    on: &OnProblem,
    broken: &[Diagnostic],
    rows: Rows,
    printer: &Printer,
) -> Exit {
    printer.warnings(&on.warnings);
    list(broken, rows, printer);
    printer.line(&match broken.len() {
        0 => format!("legal: all {} ops, no rule broken", on.loaded.problem.actions.len()),
        n => format!("illegal: {}", count(n)),
    });
    let documents =
        |list: &[Diagnostic]| -> Vec<_> { list.iter().map(DiagnosticDocument::from).collect() };
    printer.document(&json!({
        "legal": broken.is_empty(),
        "violations": documents(broken),
        "truncated": broken.len() >= MAX_VIOLATIONS,
        "warnings": documents(&on.warnings),
    }));
    if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) }
}

/// What a plan states of its cost and the replay does not find, `stated-cost` each.
pub(crate) fn stated_cost(
    document: &PlanDocument,
    on: &OnProblem,
    timeline: &Timeline,
) -> Vec<Diagnostic> {
    let Some(cost) = &document.cost else { return Vec::new() };
    let step = timeline.step_time;
    let wrong = |message: String| Diagnostic::error(Blame::IllegalPlan, "stated-cost", message);
    let mut found = Vec::new();
    if cost.step_time_ns != step.get() {
        let stated = Nanos(cost.step_time_ns);
        found.push(
            wrong(format!("the plan states a step time of {stated}, the replay takes {step}"))
                .fact("stated_ns", cost.step_time_ns)
                .fact("replayed_ns", step.get()),
        );
    }
    let problem = &on.loaded.problem;
    let name = objective::row(problem.objective).name;
    let value = objective::value(problem, &on.plan, timeline).unwrap_or(step);
    if cost.minimised_ns() != value.get() && problem.objective != Objective::StepTime {
        let stated = Nanos(cost.minimised_ns());
        found.push(
            wrong(format!("the plan states a {name} of {stated}, but has {value}"))
                .fact("stated_ns", cost.minimised_ns())
                .fact("judged_ns", value.get()),
        );
    }
    if cost.bound_ns > value.get() {
        let (bound, stated) = (Nanos(cost.bound_ns), cost.bound_ns);
        found.push(
            wrong(format!("the plan states a bound of {bound}, and beats it with {value}"))
                .fact("stated_ns", stated)
                .fact("replayed_ns", value.get()),
        );
    }
    found.extend(inconsistent(cost).map(|what| wrong(what.to_owned())));
    found
}

/// What the figures say against each other.
fn inconsistent(cost: &CostDocument) -> impl Iterator<Item = &'static str> {
    let same = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(TOLERANCE);
    let gap = match (cost.gap, gap(cost.minimised_ns(), cost.bound_ns)) {
        (None, None) => true,
        (Some(stated), Some(gap)) => (stated - gap).abs() <= TOLERANCE * gap.abs().max(1.0),
        _ => false,
    };
    let value_s = cost.value_ns.map(seconds);
    let checks = [
        (value_s.is_some() == cost.value_s.is_some(), "one of `value_ns` and `value_s` is missing"),
        (value_s.zip(cost.value_s).is_none_or(|(a, b)| same(a, b)), "`value_s` is not `value_ns`"),
        (same(cost.step_time_s, seconds(cost.step_time_ns)), "`step_time_s` is not `step_time_ns`"),
        (same(cost.bound_s, seconds(cost.bound_ns)), "`bound_s` is not `bound_ns`"),
        (gap, "the stated gap is not that of the stated value and bound"),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_may_not_be_all() {
        assert_eq!(count(1), "1 violation");
        assert_eq!(count(99), "99 violations");
        assert_eq!(count(MAX_VIOLATIONS), "100 or more violations");
    }

    #[test]
    fn figures_that_contradict_each_other_are_found() {
        let count = |cost: &CostDocument| inconsistent(cost).count();
        let cost = CostDocument::new(3_011, 2_900, "critical path");
        assert_eq!(count(&cost), 0);
        assert_eq!(count(&CostDocument::new(0, 0, "none")), 0);
        assert_eq!(count(&CostDocument { gap: None, ..cost.clone() }), 1);
        assert_eq!(count(&CostDocument { gap: Some(0.5), bound_s: 1.0, ..cost }), 2);
    }
}
