//! First screens as text of a width: what goes to stdout, and what to stderr.

use std::collections::BTreeSet;

use documents::shell;
use engine::answer::escape::escape;
use engine::answer::page::Table;
use engine::answer::screen::Screen;
use ir::diagnostic::Diagnostic;

use crate::table::{self, columns, wrapped};

/// Lines of a first screen, stdout and stderr together.
const LINES: usize = 24;
/// The line by which the proof begins.
const PROOF: usize = 10;
/// Lines that a table takes before warnings do.
const TABLED: usize = 6;
/// Lines of a table with one row: a blank one, its head, and how many rows are left.
const LEAST_TABLED: usize = 4;
/// Lines that warnings take before more of the table does.
const WARNED: usize = 5;
/// Columns that a screen is laid out for, however narrow the terminal is.
const NARROWEST: usize = 80;
/// Columns of a word, such as the name of a model or a device.
const LONGEST_WORD: usize = 40;
/// As of a cell of the table, where several names stand in a line.
const LONGEST_CELL: usize = 24;
/// What stands for words that are left out.
const CUT: &str = " ...";
/// What stands for lines that are left out.
const LEFT_OUT: &str = "... (--all)";

/// The answer, and what is said beside it; `text` lays out a warning.
pub(crate) fn render(
    screen: &Screen,
    width: usize,
    text: impl Fn(&Diagnostic) -> String,
) -> (String, String) {
    let width = width.max(NARROWEST);
    let end = end(screen, width);
    let (title, mut facts) = facts(screen, width);
    if !screen.is_whole {
        let others = usize::from(screen.table.is_some()) + usize::from(!screen.warnings.is_empty());
        // Blank lines above the table and what is beside the answer.
        let taken = n_lines(&end) + title.len() + 2 * others + 1;
        fit(screen, &mut facts, (title.len(), LINES.saturating_sub(taken), width));
    }
    let lines = title.iter().chain(facts.iter().flatten());
    let answer: String = lines.map(|line| format!("{line}\n")).collect();
    // One blank line before what is beside the answer.
    let taken = n_lines(&answer) + n_lines(&end) + 1;
    let room = if screen.is_whole { usize::MAX } else { LINES.saturating_sub(taken) };
    let is_shown = |warning: &&Diagnostic| screen.is_whole || !warning.hints.is_empty();
    let (shown, mut left): (Vec<_>, Vec<_>) = screen.warnings.iter().partition(is_shown);
    let warnings: Vec<String> = shown.iter().map(|warning| text(warning)).collect();
    let warned = warnings.iter().map(|warning| n_lines(warning)).sum::<usize>();
    let table = screen.table.as_ref().map(|table| {
        // The first warning is read; one line counts those that have no room.
        let first = warnings.first().map_or(0, |warning| n_lines(warning)).min(WARNED);
        let counted = usize::from(!screen.warnings.is_empty());
        let least = first + usize::from(screen.warnings.len() > usize::from(first > 0));
        let rest = room.saturating_sub(warned.min(WARNED).max(counted));
        let room = rest
            .max(room.saturating_sub(least).min(TABLED))
            .max(room.saturating_sub(counted).min(LEAST_TABLED));
        rows_within(table, room, width)
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

/// Lines of the title, and of each fact.
fn facts(screen: &Screen, width: usize) -> (Vec<String>, Vec<Vec<String>>) {
    let lines = |text: &str, first: &str, next: &str| -> Vec<String> {
        let words = text.split(' ').map(|word| match screen.is_whole {
            true => word.to_owned(),
            false => table::cut(word, LONGEST_WORD),
        });
        let text = words.collect::<Vec<_>>().join(" ");
        wrapped(&text, first, next, width).lines().map(str::to_owned).collect()
    };
    let fact = |(label, text): &(&str, String)| {
        let first = format!("  {label:<8} ");
        lines(&escape(text), &first, &" ".repeat(first.len()))
    };
    let mut title = lines(&escape(&screen.title), "", "  ");
    title.push(String::new());
    (title, screen.facts.iter().map(fact).collect())
}

/// Leaves out lines, so that the proof begins in time and all facts have room: first those of the longest fact
/// above the proof, then the last ones.
fn fit(
    screen: &Screen,
    facts: &mut Vec<Vec<String>>,
    (n_title, room, width): (usize, usize, usize),
) {
    let proof = screen.facts.iter().position(|(label, _)| *label == "proof").unwrap_or(0);
    let above =
        |facts: &[Vec<String>]| n_title + facts[..proof].iter().map(Vec::len).sum::<usize>();
    while above(facts) >= PROOF {
        let longest = facts[..proof].iter_mut().max_by_key(|fact| fact.len());
        let Some(fact) = longest.filter(|fact| fact.len() > 1) else { break };
        fact.pop();
        if let Some(line) = fact.last_mut() {
            let mut words = line.trim_end_matches(CUT);
            loop {
                words = words.rsplit_once(' ').map_or("", |(words, _)| words);
                if words.chars().count() + CUT.len() <= width {
                    break;
                }
            }
            *line = format!("{words}{CUT}");
        }
    }
    let n_lines = |facts: &[Vec<String>]| facts.iter().map(Vec::len).sum::<usize>();
    if n_lines(facts) > room {
        while n_lines(facts) >= room.max(1) {
            let Some(fact) = facts.last_mut() else { break };
            fact.pop();
            if fact.is_empty() {
                facts.pop();
            }
        }
        facts.push(vec![format!("  {LEFT_OUT}")]);
    }
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
    for (command, what_for) in &screen.next {
        let line = format!("hint: {command}  # {what_for}");
        if columns(&line) <= width {
            end += &format!("{line}\n");
        } else {
            end += &continued(command, width);
        }
    }
    end
}

/// A command line over several lines, as a shell reads it.
fn continued(command: &str, width: usize) -> String {
    let mut lines = String::from("hint:");
    let mut used = columns(&lines);
    for word in shell::words(command) {
        if used + 1 + columns(word) + 2 > width && used > "hint:".len() {
            lines += " \\\n     ";
            used = "     ".len();
        }
        lines += &format!(" {word}");
        used += 1 + columns(word);
    }
    lines + "\n"
}

/// As many rows as fit into so many lines, below a blank one, and how many are left.
fn rows_within(table: &Table, room: usize, width: usize) -> String {
    let n = table.rows.len();
    let shown = |n_shown: usize| {
        let short = |cell: &String| match cell.contains(' ') {
            true => cell.clone(),
            false => table::cut(&escape(cell), LONGEST_CELL),
        };
        let rows =
            table.rows[..n_shown].iter().map(|row| row.iter().map(short).collect()).collect();
        let left = match n - n_shown {
            0 => String::new(),
            left => format!("... and {left} more (--all)\n"),
        };
        let text = if n_shown > 0 {
            table::render(&table.columns, rows, width - 2)
        } else {
            String::new()
        };
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
    let fits = |(at, warning): &(usize, &String)| {
        taken += n_lines(warning);
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
    let codes: BTreeSet<&str> = left.iter().map(|warning| warning.code).collect();
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
        let mut screen = Screen::new("a model on 8 devices");
        (0..n_facts).for_each(|_| screen.fact("plan", "many words ".repeat(12)));
        screen.fact("proof", "within 1 %".to_owned());
        screen.fact("runs on", "many launchers ".repeat(n_facts));
        screen.table(
            &[Column::Text("device"), Column::Number("peak")],
            vec![vec!["a".into(), "1".into()]; n_rows],
        );
        let warning = Diagnostic::warning("w", "something to know").hint("do this");
        screen.warnings = vec![warning; n_warnings];
        screen.written = vec!["plan.json".into()];
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
        screen
    }

    fn text(diagnostic: &Diagnostic) -> String {
        format!("warning: {}\n  hint: {}\n", diagnostic.message, diagnostic.hints[0])
    }

    #[test]
    fn a_screen_has_24_lines_and_counts_what_it_leaves_out() {
        for (facts, rows, warnings) in
            (0..12).flat_map(|f| (0..30).flat_map(move |r| (0..6).map(move |w| (f, r, w))))
        {
            let screen = screen(facts, rows, warnings);
            let (answer, beside) = render(&screen, 88, text);
            let all = answer + &beside;
            assert!(n_lines(&all) <= LINES, "{facts} {rows} {warnings}:\n{all}");
            assert!(all.lines().all(|line| columns(line) <= 88), "{all}");
            let proof = all.lines().position(|line| line.starts_with("  proof"));
            assert!(facts > 5 || proof.is_some_and(|at| at < PROOF), "{all}");
            let shown = all.matches("  hint: do this").count();
            assert!(shown == warnings || all.contains(&format!("{} ", warnings - shown)), "{all}");
            let n = all.lines().filter(|line| line.trim_start().starts_with("a  ")).count();
            assert!(n == rows || all.contains(&format!("and {} more (--all)", rows - n)), "{all}");
        }
    }

    #[test]
    fn long_names_are_cut_and_long_commands_go_on_in_the_next_line() {
        let long = ["x".repeat(200), "模型".repeat(40), "é".repeat(90), "a b".repeat(40)];
        for name in long {
            let mut screen = Screen::new(format!("{name} on 8 devices"));
            screen.fact("plan", format!("{name}, {name}"));
            let columns_of = [Column::Name("device"), Column::Name("kind"), Column::Number("peak")];
            screen.table(&columns_of, vec![vec![name.clone(), name.clone(), "1 GiB".into()]; 30]);
            screen.written = vec!["plan.json".into()];
            screen.on = " --model models/gpt2.json".repeat(6);
            screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
            let (answer, beside) = render(&screen, 40, text);
            let all = answer + &beside;
            assert!(all.lines().all(|line| columns(line) <= 88), "{all}");
            let commands: Vec<&str> =
                all.lines().skip_while(|line| !line.starts_with("hint:")).collect();
            let (last, others) = commands.split_last().unwrap();
            assert!(!others.is_empty() && others.iter().all(|line| line.ends_with(" \\")), "{all}");
            assert!(!last.ends_with('\\'), "{all}");
        }
    }

    #[test]
    fn all_of_it_is_there_where_all_is_asked_for() {
        let screen = Screen { is_whole: true, ..screen(9, 30, 6) };
        let (answer, beside) = render(&screen, 88, text);
        assert_eq!(answer.matches("  a  ").count(), 30, "{answer}");
        assert_eq!(beside.matches("do this").count(), 6, "{beside}");
    }
}
