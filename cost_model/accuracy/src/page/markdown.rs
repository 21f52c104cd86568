//! The accuracy page: fixed text around tables of all lines.

use std::fmt::Write as _;

use super::tables::{MEASURES, bound, dash, others, percent, signed};
use crate::line::Line;

/// What errors and ways are.
const INTRODUCTION: &str = include_str!("introduction.md");
/// Where the data come from, what the figures are not, what was measured elsewhere.
const LIMITS: &str = include_str!("limits.md");

pub(crate) fn of(lines: &[Line]) -> String {
    let mut page = INTRODUCTION.trim_end().to_owned();
    let judged: Vec<&Line> = lines.iter().filter(|line| line.is_judged()).collect();
    let reached = judged.iter().filter(|line| line.reached()).count();
    let (n, n_lines) = (judged.len(), lines.len());
    let _ = write!(
        page,
        "\n\n{reached} of the {n} lines with a figure to reach do; {n_lines} lines in all.\n"
    );
    scopes(&mut page, lines);
    for (measure, title) in MEASURES {
        let mut tables: Vec<&'static str> = Vec::new();
        for line in lines.iter().filter(|line| line.measure == measure) {
            if !tables.contains(&line.table) {
                tables.push(line.table);
            }
        }
        for table in tables {
            let chosen = lines.iter().filter(|l| l.measure == measure && l.table == table);
            section(&mut page, table, title, &chosen.collect::<Vec<_>>());
        }
    }
    missed(&mut page, &judged);
    page.push('\n');
    page.push_str(LIMITS.trim());
    page.push('\n');
    page
}

/// Published runs by what ran them, on rows that nothing was fitted on.
fn scopes(page: &mut String, lines: &[Line]) {
    let scoped: Vec<_> =
        lines.iter().filter_map(|line| Some((line, line.scope.as_ref()?))).collect();
    if scoped.is_empty() {
        return;
    }
    page.push_str(
        "\n## What was judged\n\n| step time of | software | devices | how many | precision | models | left out | rows | median \
         | p90 | worst |\n|---|---|---|---|---|---|---|--:|--:|--:|--:|\n",
    );
    for (line, scope) in scoped {
        let ((least, most), score) = (scope.n_devices, &line.score);
        let cells = [
            line.part.trim_start_matches("runs ").to_owned(),
            scope.software.clone(),
            scope.devices.clone(),
            if least == most { least.to_string() } else { format!("{least} to {most}") },
            scope.types.clone(),
            scope.models.to_owned(),
            line.way.trim_start_matches("leave one ").trim_end_matches(" out").to_owned(),
            score.n.to_string(),
            percent(score.median),
            percent(score.p90),
            percent(score.worst),
        ];
        row(page, &cells);
    }
}

fn section(page: &mut String, table: &str, title: &str, lines: &[&Line]) {
    let _ = write!(page, "\n## {}: {title}\n\n", capital(table));
    page.push_str(
        "| part | way | rows | mean | signed | median | p90 | worst | constants | to reach | |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for line in lines {
        let score = &line.score;
        let cells = [
            line.part.clone(),
            line.way.to_owned(),
            score.n.to_string(),
            percent(score.mape),
            signed(score.signed),
            percent(score.median),
            percent(score.p90),
            percent(score.worst),
            line.n_constants.to_string(),
            line.target.map_or_else(dash, percent),
            if line.reached() { "" } else { "**missed**" }.to_owned(),
        ];
        row(page, &cells);
    }
    further(page, lines);
    other_models(page, lines);
    worst_rows(page, lines);
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

/// Figures beside the mean error.
fn further(page: &mut String, lines: &[&Line]) {
    if lines.iter().all(|line| line.goals.is_empty()) {
        return;
    }
    page.push_str("\n| part | figure | value | to reach | |\n|---|---|--:|--:|---|\n");
    for line in lines {
        for goal in &line.goals {
            let missed = if goal.reached() { "" } else { "**missed**" };
            let part = format!("{}, {}", line.part, line.way);
            let figure = percent(goal.figure);
            row(page, &[part, goal.what.to_owned(), figure, bound(goal), missed.to_owned()]);
        }
    }
}

/// Other models, once for lines that name the same ones.
fn other_models(page: &mut String, lines: &[&Line]) {
    let mut said: Vec<Vec<String>> = Vec::new();
    for line in lines {
        let others = others(line);
        if others.is_empty() || said.contains(&others) {
            continue;
        }
        let first = if said.is_empty() { "\nOther models:\n" } else { "" };
        let _ = writeln!(page, "{first}* {}, {}: {}.", line.part, line.way, others.join("; "));
        said.push(others);
    }
}

/// Worst rows and notes, folded away.
fn worst_rows(page: &mut String, lines: &[&Line]) {
    page.push_str("\n<details><summary>Worst rows and notes</summary>\n\n");
    page.push_str("| part | way | worst | row | note |\n|---|---|--:|---|---|\n");
    for line in lines {
        let worst = percent(line.score.worst);
        let cells = [&line.part, line.way, &worst, &line.score.worst_row, &line.note];
        row(page, &cells.map(ToOwned::to_owned));
    }
    page.push_str("\n</details>\n");
}

/// Lines that miss, with their notes.
fn missed(page: &mut String, judged: &[&Line]) {
    let missed: Vec<&&Line> = judged.iter().filter(|line| !line.reached()).collect();
    if missed.is_empty() {
        return;
    }
    page.push_str("\n## Lines that miss\n\n");
    for line in missed {
        let note = if line.note.is_empty() { "no reason known" } else { line.note.as_str() };
        let _ = writeln!(page, "* {}, {}: {note}.", line.part, line.way);
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use crate::line::{Bound, Goal, Measure, Published};
    use cost_model::numeric::score::Score;

    use super::*;

    fn line() -> Line {
        Line {
            table: "memory",
            part: "a|b".to_owned(),
            way: "in sample",
            measure: Measure::MemoryError,
            score: Score { n: 3, mape: 4.0, worst: 9.0, ..Score::default() },
            target: Some(3.0),
            goals: vec![Goal {
                what: "rows within 10 %",
                figure: 99.0,
                bound: Some(Bound::AtLeast(96.0)),
            }],
            peers: vec![("textbook", 15.0)],
            published: vec![Published {
                model: "other",
                percent: (5.1, 7.3),
                source: "other split",
            }],
            note: "few rows".to_owned(),
            ..Line::default()
        }
    }

    #[test]
    fn a_page_holds_text_figures_and_misses() {
        let page = of(&[line()]);
        assert!(page.starts_with("# Accuracy of the cost model\n"), "{page}");
        assert!(page.contains("0 of the 1 lines"), "{page}");
        assert!(page.contains("| a\\|b | in sample | 3 | 4.0 % | +0.0 % |"), "{page}");
        assert!(page.contains("| 99.0 % | >= 96.0 % |"), "{page}");
        assert!(page.contains("textbook 15.0 %; other 5.1 to 7.3 % (other split)"), "{page}");
        assert!(page.contains("* a|b, in sample: few rows."), "{page}");
        assert!(page.contains("## What these figures are not"), "{page}");
        let reached = Line { target: None, ..line() };
        assert!(!of(&[reached]).contains("## Lines that miss"));
    }
}
