//! First screens as text of a width: what goes to stdout, and what to stderr.

use std::collections::BTreeSet;

use engine::answer::escape::escape;
use engine::answer::page::Table;
use engine::answer::screen::Screen;
use ir::diagnostic::Diagnostic;

use crate::table::{self, wrapped};

/// Lines of a first screen, stdout and stderr together.
const LINES: usize = 24;
/// Lines that a table takes before warnings do.
const TABLED: usize = 5;
/// Lines that warnings take before more of the table does.
const WARNED: usize = 5;

/// The answer, and what is said beside it; `text` lays out a warning.
pub(crate) fn render(
    screen: &Screen,
    width: usize,
    text: impl Fn(&Diagnostic) -> String,
) -> (String, String) {
    let mut answer = wrapped(&escape(&screen.title), "", "  ", width) + "\n";
    for (label, text) in &screen.facts {
        let first = format!("  {label:<8} ");
        answer += &wrapped(&escape(text), &first, &" ".repeat(first.len()), width);
    }
    let end = end(screen, width);
    // One blank line before what is beside the answer.
    let taken = n_lines(&answer) + n_lines(&end) + 1;
    let room = if screen.is_whole { usize::MAX } else { LINES.saturating_sub(taken) };
    let is_shown = |own: &&Diagnostic| screen.is_whole || !own.hints.is_empty();
    let (shown, mut left): (Vec<_>, Vec<_>) = screen.warnings.iter().partition(is_shown);
    let warnings: Vec<String> = shown.iter().map(|own| text(own)).collect();
    let warned = warnings.iter().map(|own| n_lines(own)).sum::<usize>();
    let table = screen.table.as_ref().map(|own| {
        // One line counts warnings that have no room.
        let counted = usize::from(!screen.warnings.is_empty());
        let rest = room.saturating_sub(warned.min(WARNED).max(counted));
        let room = rest.max(room.saturating_sub(counted).min(TABLED));
        rows_within(own, room, width)
    });
    let table = table.unwrap_or_default();
    let room = room.saturating_sub(n_lines(&table));
    let n_shown = n_within(&warnings, left.is_empty(), room);
    left.extend(&shown[n_shown..]);
    let warned = warnings[..n_shown].concat() + &others(&left, n_shown, width);
    let beside = warned + &end;
    let blank = if beside.is_empty() { "" } else { "\n" };
    (answer + &table, blank.to_owned() + &beside)
}

fn n_lines(text: &str) -> usize {
    text.lines().count()
}

/// What was written, and what to type next.
fn end(screen: &Screen, width: usize) -> String {
    let mut end = String::new();
    if !screen.written.is_empty() {
        end += &wrapped(&escape(&format!("wrote {}", screen.written.join(", "))), "", "  ", width);
    }
    for (words, what_for) in &screen.next {
        let line = escape(&format!("{words}  {what_for}"));
        let fits = "hint: ".len() + line.chars().count() <= width;
        let line = if fits { line } else { escape(words) };
        end += &wrapped(&line, "hint: ", "      ", width);
    }
    end
}

/// As many rows as fit into so many lines, below a blank one, and how many are left.
fn rows_within(own: &Table, room: usize, width: usize) -> String {
    let n = own.rows.len();
    let shown = |n_shown: usize| {
        let rows = own.rows[..n_shown].to_vec();
        let left = match n - n_shown {
            0 => String::new(),
            left => format!("... and {left} more (--all)\n"),
        };
        let text =
            if n_shown > 0 { table::render(&own.columns, rows, width - 2) } else { String::new() };
        let lines = text.lines().chain(left.lines()).map(|line| format!("  {line}\n"));
        lines.fold("\n".to_owned(), |all, line| all + &line)
    };
    // Long tables are not laid out to be cut.
    let fits = (0..=n.min(room)).rev().map(shown).find(|text| n_lines(text) <= room);
    fits.unwrap_or_default()
}

/// How many of the first warnings fit into so many lines, with one for the codes of those that are left.
fn n_within(warnings: &[String], is_all: bool, room: usize) -> usize {
    let mut taken = 0;
    let fits = |(at, own): &(usize, &String)| {
        taken += n_lines(own);
        let rest = usize::from(!is_all || at + 1 < warnings.len());
        taken + rest <= room
    };
    warnings.iter().enumerate().take_while(fits).count()
}

/// The codes of warnings that are not shown, in one line.
fn others(left: &[&Diagnostic], n_shown: usize, width: usize) -> String {
    if left.is_empty() {
        return String::new();
    }
    let more = if n_shown > 0 { "more " } else { "" };
    let warnings = if left.len() == 1 { "warning" } else { "warnings" };
    let codes: BTreeSet<&str> = left.iter().map(|own| own.code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let line = format!("{} {more}{warnings} (--all): {}", left.len(), codes.join(", "));
    match line.char_indices().nth(width) {
        None => line + "\n",
        Some(_) => line.chars().take(width - 3).collect::<String>() + "...\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::answer::page::Column;

    fn screen(n_facts: usize, n_rows: usize, n_warnings: usize) -> Screen {
        let mut own = Screen::new("a model on 8 devices");
        (0..n_facts).for_each(|_| own.fact("plan", "many words ".repeat(12)));
        own.table(
            &[Column::Text("device"), Column::Number("peak")],
            vec![vec!["a".into(), "1".into()]; n_rows],
        );
        let warning = Diagnostic::warning("w", "something to know").hint("do this");
        own.warnings = vec![warning; n_warnings];
        own.written = vec!["plan.json".into()];
        own.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        own
    }

    fn text(own: &Diagnostic) -> String {
        format!("warning: {}\n  hint: {}\n", own.message, own.hints[0])
    }

    #[test]
    fn a_screen_has_24_lines_and_counts_what_it_leaves_out() {
        for (facts, rows, warnings) in
            (0..9).flat_map(|f| (0..30).flat_map(move |r| (0..6).map(move |w| (f, r, w))))
        {
            let own = screen(facts, rows, warnings);
            let (answer, beside) = render(&own, 88, text);
            let all = answer + &beside;
            assert!(n_lines(&all) <= LINES, "{facts} {rows} {warnings}:\n{all}");
            assert!(all.lines().all(|line| line.chars().count() <= 88), "{all}");
            let shown = all.matches("  hint: do this").count();
            assert!(shown == warnings || all.contains(&format!("{} ", warnings - shown)), "{all}");
            let n = all.lines().filter(|line| line.trim_start().starts_with("a  ")).count();
            assert!(n == rows || all.contains(&format!("and {} more (--all)", rows - n)), "{all}");
        }
    }

    #[test]
    fn all_of_it_is_there_where_all_is_asked_for() {
        let own = Screen { is_whole: true, ..screen(9, 30, 6) };
        let (answer, beside) = render(&own, 88, text);
        assert_eq!(answer.matches("  a  ").count(), 30, "{answer}");
        assert_eq!(beside.matches("do this").count(), 6, "{beside}");
    }
}
