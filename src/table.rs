//! Tables and lines for people.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use engine::answer::escape::escape;
use engine::answer::page::Column;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a column takes what is left of the line.
fn takes_rest(column: Column) -> bool {
    matches!(column, Column::Rest(_) | Column::RestName(_))
}

/// Blanks between columns.
const GAP: usize = 2;
/// Characters of a cell that are shown: the table counts columns in 16 bits.
const WIDEST_CELL: usize = 200;
/// Least room for a [`Column::Rest`].
const LEAST_REST: usize = 18;

/// Rows under titles; cells are escaped. At most `width` columns wide where words can be wrapped.
pub(crate) fn render(columns: &[Column], rows: Vec<Vec<String>>, width: usize) -> String {
    let escaped =
        |row: Vec<String>| row.iter().map(|cell| cut(&escape(cell), WIDEST_CELL)).collect();
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(escaped).collect();
    let columns = fit_rest(columns, &mut rows, width);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width + GAP).unwrap_or(u16::MAX));
    if columns.iter().any(|c| !c.title().is_empty()) {
        table.set_header(columns.iter().map(|c| c.title()));
    }
    let of = |n_names: usize| -> Vec<usize> {
        let least = |(at, c): (usize, &Column)| least_width(*c, &rows, at, (n_names, width));
        columns.iter().enumerate().map(least).collect()
    };
    let mut least = of(1);
    if least.iter().map(|column| column + GAP).sum::<usize>() > width + GAP {
        let is_name = |column: &&Column| matches!(column, Column::Name(_));
        least = of(columns.iter().filter(is_name).count());
    }
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in columns.iter().enumerate() {
        let Some(set) = table.column_mut(at) else { continue };
        set.set_padding((0, u16::try_from(GAP).unwrap_or(0)));
        if matches!(column, Column::Number(_)) {
            set.set_cell_alignment(CellAlignment::Right);
        }
        let least = u16::try_from(least[at] + GAP).unwrap_or(u16::MAX);
        set.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The text broken at blanks; the first line starts with `first`, the others with `next`.
pub(crate) fn wrapped(text: &str, first: &str, next: &str, width: usize) -> String {
    let mut lines = first.to_owned();
    let mut used = columns(first);
    let mut fresh = true;
    for word in text.split(' ') {
        let length = columns(word);
        if !fresh && used + 1 + length > width {
            lines.push('\n');
            lines.push_str(next);
            used = columns(next);
            fresh = true;
        }
        if !fresh {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
        fresh = false;
    }
    lines.push('\n');
    lines
}

/// Characters of the widest cell of a column, the title included.
fn widest(column: Column, rows: &[Vec<String>], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
    cells.chain([column.title().len()]).max().unwrap_or(0)
}

/// Below this a column is not squeezed.
fn least_width(
    column: Column,
    rows: &[Vec<String>],
    at: usize,
    (n_names, width): (usize, usize),
) -> usize {
    match column {
        Column::Number(_) | Column::Rest(_) | Column::RestName(_) => widest(column, rows, at),
        Column::Name(_) => widest(column, rows, at).min(width / (1 + n_names)),
        Column::Text(title) => {
            let words = rows.iter().filter_map(|row| row.get(at)).flat_map(|cell| cell.split(' '));
            let longest = words.chain([title]).map(|word| word.chars().count()).max();
            longest.unwrap_or(0).min(width / 5)
        }
    }
}

/// Cuts the cells of the column that takes the rest to what is left, or takes the column out.
fn fit_rest(columns: &[Column], rows: &mut [Vec<String>], width: usize) -> Vec<Column> {
    let Some(at) = columns.iter().position(|c| takes_rest(*c)) else {
        return columns.to_vec();
    };
    let others = columns.iter().enumerate().filter(|(other, _)| *other != at);
    let used: usize = others.map(|(other, c)| least_width(*c, rows, other, (1, width)) + GAP).sum();
    let room = width.saturating_sub(used);
    let mut columns = columns.to_vec();
    let fits = room >= LEAST_REST.max(columns[at].title().len());
    if !fits {
        columns.remove(at);
    }
    for row in rows.iter_mut().filter(|row| at < row.len()) {
        if fits {
            row[at] = match columns[at] {
                Column::RestName(_) => cut_name(&row[at], room),
                _ => cut(&row[at], room),
            };
        } else {
            row.remove(at);
        }
    }
    columns
}

/// Columns that a text takes on a terminal.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// At most `room` columns, the middle given up first.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let rest = room.saturating_sub(3);
    // As many characters from one end as fit.
    let end = |chars: &mut dyn Iterator<Item = char>, room: usize| -> String {
        let mut used = 0;
        let fits = |c: &char| {
            used += c.width().unwrap_or(0);
            used <= room
        };
        chars.take_while(fits).collect()
    };
    let head = end(&mut text.chars(), rest / 2);
    let tail = end(&mut text.chars().rev(), rest - rest / 2);
    head + "..." + &tail.chars().rev().collect::<String>()
}

/// At most `room` characters, the start of the last word given up first. Where too little of the
/// word would be left it is cut as any other text.
fn cut_name(text: &str, room: usize) -> String {
    const LEAST_NAME: usize = 6;
    let start = text.rfind(' ').map_or(0, |blank| blank + 1);
    let (head, name) = text.split_at(start);
    let length = name.chars().count();
    let left = room.saturating_sub(head.chars().count() + 3);
    if text.chars().count() <= room || left < LEAST_NAME {
        return cut(text, room);
    }
    let tail: String = name.chars().skip(length.saturating_sub(left)).collect();
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        vec![
            vec![
                "a\u{1b}[2J".into(),
                "1.5 ms".into(),
                "many words that need not fit on one line".into(),
            ],
            vec!["b".into(), "12.5 ms".into(), "few".into()],
        ]
    }
    const COLUMNS: [Column; 3] = [Column::Name("op"), Column::Number("time"), Column::Text("why")];

    #[test]
    fn lines_keep_to_the_width_and_hold_no_escape_byte() {
        let text = render(&COLUMNS, rows(), 40);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("12.5 ms"), "{text}");
    }

    #[test]
    fn what_is_left_of_the_line_is_filled_or_left_out() {
        let columns = [Column::Number("time"), Column::Rest("largest at the peak")];
        let rows = || vec![vec!["1 ms".to_owned(), "a".repeat(50) + "tail"]];
        let text = render(&columns, rows(), 60);
        assert!(text.contains("aaatail") && !text.contains("..."), "{text}");
        let text = render(&columns, rows(), 40);
        assert!(text.contains("aa...aa") && text.contains("tail"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(render(&columns, rows(), 20), "time\n1 ms\n");
    }

    #[test]
    fn only_the_name_is_cut_where_there_is_room_for_a_part_of_it() {
        let text = "176.3 MiB parameter transformer.h.0.mlp.c_fc.weight";
        assert_eq!(cut_name(text, 60), text);
        assert_eq!(cut_name(text, 40), "176.3 MiB parameter ...0.mlp.c_fc.weight");
        assert_eq!(cut_name(text, 25), "176.3 MiB p...c_fc.weight");
        assert_eq!(cut_name("no-blank-in-it", 10), "...k-in-it");
    }

    #[test]
    fn a_cell_is_as_long_as_the_table_can_count() {
        let text = render(&COLUMNS, vec![vec!["x".repeat(70_000); 3]], 100);
        assert!(text.contains("xx...xx") && text.len() < 10_000, "{}", text.len());
    }

    #[test]
    fn numbers_stand_right_and_lines_have_no_trailing_blank() {
        let text = render(&COLUMNS, rows(), 100);
        assert!(text.contains("   1.5 ms  "), "{text}");
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
    }
}
