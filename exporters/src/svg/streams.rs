//! A picture of what runs beside what inside layers: a row per stream of layers that are planned alike, with
//! their pieces as bars.
//!
//! Past 48 rows the rest is named in a note.

use cost_model::ops::judge::replay::Span;
use ir::units::Nanos;
use svg::node::element::{Group, Title};

use super::{
    BAR, CHARACTER, EDGE, FADED, INK, Legend, MAX_NAME, MAX_ROWS, RIGHT, ROW, SIZE, Set, TOP, Time,
    WIDTH, clean, head, line, rectangle, row_head, text, with_rest, writing_on,
};
use crate::format::Export;

/// Pieces on streams.
#[derive(Clone, Debug, Default)]
pub struct StreamsSource<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Text below the title.
    pub told: String,
    /// Names of the kinds of pieces; at most as many as there are fills.
    pub ops: &'a [&'a str],
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it is of: the first row of a group states it.
    pub name: String,
    /// Its name.
    pub stream: String,
    /// Text after the row: a word, `: `, and a figure.
    pub figure: String,
    /// Where another pass, or the next layer, begins, in nanoseconds.
    pub turn_ns: Option<u64>,
    /// In the order of their starts.
    pub pieces: Vec<Piece>,
}

/// A piece.
#[derive(Clone, Debug)]
pub struct Piece {
    /// When it runs, in nanoseconds.
    pub span: Span,
    /// Kind of piece: a position in `ops`.
    pub op: usize,
    /// Text on the bar.
    pub label: String,
    /// Tooltip text besides kind and time.
    pub told: String,
}

/// By kind of piece.
const FILLS: [&str; 8] =
    ["#7aa6d8", "#b9a3d0", "#7fb58c", "#c9cf6a", "#e0a458", "#c8695d", "#8fa3b8", "#d8a7b1"];
/// Narrowest bar in pixels.
const NARROWEST: f64 = 0.4;

/// The picture.
#[must_use]
pub fn export(source: &StreamsSource<'_>) -> Export {
    let ends = source.rows.iter().flat_map(|row| &row.pieces).map(|piece| piece.span.end);
    let names = source.rows.iter().flat_map(|row| [row.name.as_str(), row.stream.as_str()]);
    let time = Time::new(ends.max().unwrap_or_default(), names);
    let n_rows = source.rows.len().min(MAX_ROWS);
    let bottom = TOP + ROW * n_rows as f64;
    let used =
        |op: usize| source.rows.iter().flat_map(|row| &row.pieces).any(|piece| piece.op == op);
    let entries = source.ops.iter().zip(FILLS).enumerate().filter(|(op, _)| used(*op));
    let entries: Vec<_> = entries.map(|(_, (name, fill))| ((*name).to_owned(), fill)).collect();
    let legend = Legend { entries };
    let height = bottom + legend.height();
    let mut document = head((source.model, source.cluster), &source.told, &time, (bottom, height));
    for (at, row) in source.rows.iter().take(n_rows).enumerate() {
        document = document.add(drawn(row, source, (TOP + ROW * at as f64, &time)));
    }
    let document = document.add(legend.drawn(bottom));
    format!("{}\n", with_rest(document, (n_rows, source.rows.len(), "streams"), bottom)).into()
}

fn drawn(row: &Row, source: &StreamsSource<'_>, (top, time): (f64, &Time)) -> Group {
    let mut group = row_head(top, &clean(&row.name, MAX_NAME)).add(text(
        &clean(&row.stream, MAX_NAME),
        (EDGE, top + 40.0),
        SIZE,
        FADED,
    ));
    let most = ((WIDTH - RIGHT - 10.0) / CHARACTER) as usize;
    for (at, part) in row.figure.split(": ").enumerate() {
        let place = (RIGHT + 10.0, top + 19.0 + 18.0 * at as f64);
        group = group.add(text(&clean(part, most), place, SIZE, INK));
    }
    for piece in &row.pieces {
        let (from, to) = (time.x(piece.span.start), time.x(piece.span.end));
        let op = source.ops.get(piece.op).copied().unwrap_or_default();
        let fill = FILLS.get(piece.op).copied().unwrap_or(FADED);
        let duration = Nanos(piece.span.end.saturating_sub(piece.span.start));
        let hover = format!("{op}, {}, {duration}", piece.told);
        let gap = if to - from > 3.0 { 0.8 } else { 0.0 };
        let width = (to - from - gap).max(NARROWEST);
        let bar = rectangle((from, top + 12.0, width, BAR), fill).add(Title::new(hover));
        group = group.add(bar);
        if to - from > CHARACTER * piece.label.len() as f64 + 4.0 {
            let middle = ((from + to) / 2.0, top + 12.0 + BAR / 2.0 + 6.0);
            group = group.add(text(&piece.label, middle, SIZE, writing_on(fill)).middle());
        }
    }
    match row.turn_ns.map(|ns| time.x(ns.min(time.step))) {
        Some(turn) => group.add(line((turn, top), (turn, top + ROW), INK)),
        None => group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_a_bar_and_rows_that_are_too_many_a_note() {
        let piece = |op, start, end| Piece {
            span: Span { start, end },
            op,
            label: "3".to_owned(),
            told: "part 3".to_owned(),
        };
        let row = Row {
            name: "<b>".to_owned(),
            turn_ns: Some(50),
            pieces: vec![piece(0, 0, 50), piece(1, 50, 100)],
            ..Row::default()
        };
        let rows = vec![row; 50];
        let source =
            StreamsSource { ops: &["experts", "combine"], rows, ..StreamsSource::default() };
        let picture = String::from_utf8(export(&source).bytes).unwrap();
        assert_eq!(picture.matches("<title>").count(), 1 + 2 * MAX_ROWS);
        assert!(picture.contains("experts, part 3, 50 ns"), "{picture}");
        assert!(picture.contains("combine, part 3, 50 ns"));
        assert!(picture.contains("and 2 more streams") && !picture.contains("<b>"));
        assert!(!export(&StreamsSource::default()).bytes.is_empty());
    }
}
