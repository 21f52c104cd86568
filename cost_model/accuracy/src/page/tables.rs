//! The lines of the accuracy table for people.

use engine::answer::page::{Column, Page};

use crate::line::{Bound, Goal, Line, Measure};

/// Tables in this order, with what their percentages are.
pub(super) const MEASURES: [(Measure, &str); 4] = [
    (Measure::TimeError, "errors of predicted time"),
    (Measure::MemoryError, "errors of predicted memory"),
    (Measure::Regret, "regret of the chosen configuration"),
    (Measure::HalfWidth, "half widths of intervals of 10 to 90 %"),
];

pub(crate) fn print(lines: &[Line], page: &Page) {
    for (measure, title) in MEASURES {
        let of_measure: Vec<&Line> = lines.iter().filter(|line| line.measure == measure).collect();
        if !of_measure.is_empty() {
            page.line(title);
            figures(&of_measure, page);
            goals(&of_measure, page);
            page.line("");
        }
    }
    let judged = lines.iter().filter(|line| line.is_judged());
    let (n, reached) =
        judged.fold((0, 0), |(n, reached), line| (n + 1, reached + usize::from(line.reached())));
    if n > 0 {
        page.line(&format!("{reached} of {n} lines with a figure to reach do"));
    }
}

fn figures(lines: &[&Line], page: &Page) {
    let columns = [
        Column::Name("part"),
        Column::Name("way"),
        Column::Number("rows"),
        Column::Number("mean"),
        Column::Number("signed"),
        Column::Number("median"),
        Column::Number("p90"),
        Column::Number("worst"),
        Column::Number("best peer"),
        Column::Number("to reach"),
        Column::Text(""),
    ];
    let row = |line: &&Line| {
        vec![
            line.part.clone(),
            line.way.to_owned(),
            line.score.n.to_string(),
            percent(line.score.mape),
            signed(line.score.signed),
            percent(line.score.median),
            percent(line.score.p90),
            percent(line.score.worst),
            line.best_peer().map_or_else(dash, percent),
            line.target.map_or_else(dash, percent),
            if line.reached() { "" } else { "missed" }.to_owned(),
        ]
    };
    page.table(&columns, lines.iter().map(row).collect());
}

/// Figures beside the mean error.
fn goals(lines: &[&Line], page: &Page) {
    let columns = [
        Column::Name("part"),
        Column::Name("figure"),
        Column::Number("value"),
        Column::Number("to reach"),
        Column::Text(""),
    ];
    let mut rows = Vec::new();
    for line in lines {
        for goal in &line.goals {
            rows.push(vec![
                line.part.clone(),
                goal.what.to_owned(),
                percent(goal.figure),
                bound(goal),
                if goal.reached() { "" } else { "missed" }.to_owned(),
            ]);
        }
    }
    if !rows.is_empty() {
        page.line("");
        page.table(&columns, rows);
    }
}

/// Worst row, other models and note of each line.
pub(crate) fn details(lines: &[Line], page: &Page) {
    for line in lines {
        let worst = percent(line.score.worst);
        page.line("");
        page.line(&format!("{}, {}", line.part, line.way));
        page.line(&format!("  worst {worst}: {}", line.score.worst_row));
        let others = others(line);
        if !others.is_empty() {
            page.line(&format!("  other models: {}", others.join("; ")));
        }
        if !line.note.is_empty() {
            page.line(&format!("  {}", line.note));
        }
    }
}

/// Other models with their mean errors: on the same rows, then as published.
pub(crate) fn others(line: &Line) -> Vec<String> {
    let same = line.peers.iter().map(|(model, error)| format!("{model} {}", percent(*error)));
    let published = line.published.iter().map(|published| {
        let (least, most) = published.percent;
        let figure = match least < most {
            true => format!("{least} to {most} %"),
            false => format!("{least} %"),
        };
        format!("{} {figure} ({})", published.model, published.source)
    });
    same.chain(published).collect()
}

pub(crate) fn bound(goal: &Goal) -> String {
    match goal.bound {
        None => dash(),
        Some(Bound::AtMost(limit)) => format!("<= {}", percent(limit)),
        Some(Bound::AtLeast(limit)) => format!(">= {}", percent(limit)),
    }
}

pub(crate) fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

pub(crate) fn signed(value: f64) -> String {
    format!("{value:+.1} %")
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}
