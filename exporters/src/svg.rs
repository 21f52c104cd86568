//! A picture of the timeline: a row per device with its ops as bars, transfers as thin bars below
//! (upper lane sent, lower lane received), an axis of time, a legend, step time and bound.
//!
//! Bars are coloured by part of the step in a training run, else by block of the model. Past 5,000
//! bars, neighbours of one block that touch on the picture become one bar; past 48 devices the
//! rest is named in a note.

mod bars;
pub mod pipeline;
pub mod streams;

use cost_model::ops::bound::lower_bound;
use documents::json::is_hidden;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::{Bytes, Nanos};
use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

use crate::format::{Export, Source};
use bars::{Bar, Lane};

/// Width of the picture in pixels: that of a column of text, so that [`SIZE`] is 9 px where a phone
/// shows the picture 420 px wide.
pub(crate) const WIDTH: f64 = 740.0;
/// Size of all text but titles.
pub(crate) const SIZE: u32 = 16;
/// From the border to text.
pub(crate) const EDGE: f64 = 16.0;
/// Where the step ends.
const RIGHT: f64 = WIDTH - 116.0;
/// Where the rows begin.
const TOP: f64 = 112.0;
/// Height of a row.
const ROW: f64 = 52.0;
/// Height of an op's bar.
const BAR: f64 = 28.0;
/// Height of a line of a legend.
const LINE: f64 = 24.0;
/// Rows drawn.
const MAX_ROWS: usize = 48;
/// Longest name of a device, model or cluster in characters.
const MAX_NAME: usize = 18;
/// Average advance of a character of [`SIZE`], in pixels.
pub(crate) const CHARACTER: f64 = 9.0;

pub(crate) const INK: &str = "#22252b";
pub(crate) const FADED: &str = "#63686f";
pub(crate) const RULE: &str = "#e3e3df";
/// Outline of what is empty.
const OUTLINE: &str = "#8b8f95";
const PAPER: &str = "#fbfbf9";
/// Time in which nothing runs.
const EMPTY: &str = "#ececea";
pub(crate) const BLUE: &str = "#3556d4";
pub(crate) const ORANGE: &str = "#b4540a";
pub(crate) const PALE: &str = "#e9edfb";
const RED: &str = "#c8372d";
/// Bytes that lie there for the whole step.
const PERSISTENT: &str = "#8793a6";
/// Writing on bars.
const ON_LIGHT: &str = "#15171a";
const ON_DARK: &str = "#ffffff";

/// What colours become where the reader's screen is dark; bars keep theirs.
const DARK: [(&str, &str); 10] = [
    (INK, "#e9eaec"),
    (FADED, "#a9aeb6"),
    (RULE, "#2a2d33"),
    (OUTLINE, "#6a707a"),
    (PAPER, "#17191d"),
    (EMPTY, "#282b31"),
    (BLUE, "#8fa5ff"),
    (ORANGE, "#e39a5b"),
    (PALE, "#232a45"),
    (RED, "#f0857c"),
];

/// Parts of the step, in the colours of the pages that `serve` shows.
const FORWARD: &str = "#84ace8";
const BACKWARD: &str = "#a05d2c";
const WEIGHT: &str = "#b0e0ac";
const RECOMPUTE: &str = "#ead17a";
const COMMUNICATION: &str = "#8b78ae";
const OPTIMIZER: &str = "#5d646d";
const FONT: &str = "Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif";

/// The picture.
///
/// # Errors
/// None: every plan can be drawn.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let devices = source.problem.cluster.devices.iter().take(MAX_ROWS);
    let time =
        Time::new(source.timeline.step_time.get(), devices.map(|device| device.name.as_str()));
    let picture = Picture { source, time };
    Ok(format!("{}\n", picture.draw()).into())
}

struct Picture<'a> {
    source: &'a Source<'a>,
    time: Time,
}

/// Where times of a step are.
#[derive(Clone, Copy)]
struct Time {
    step: u64,
    /// Where it begins, in pixels: behind the names of the rows.
    left: f64,
}

impl Time {
    fn new<'n>(step: u64, names: impl Iterator<Item = &'n str>) -> Self {
        let longest = names.map(|name| name.chars().count()).max().unwrap_or(0).min(MAX_NAME);
        // Names are bold; "100.0 % busy" stands below each.
        let width = (12.0 * CHARACTER).max((CHARACTER + 1.0) * longest as f64);
        Self { step: step.max(1), left: EDGE + 8.0 + width }
    }

    fn x(&self, ns: u64) -> f64 {
        self.left + (RIGHT - self.left) * ns as f64 / self.step as f64
    }

    /// Pixels per nanosecond.
    fn scale(&self) -> f64 {
        (RIGHT - self.left) / self.step as f64
    }
}

impl Picture<'_> {
    fn draw(&self) -> Document {
        let n_devices = self.source.problem.cluster.n_devices();
        let n_rows = n_devices.min(MAX_ROWS);
        let bottom = TOP + ROW * n_rows as f64;
        let (bars, legend) = bars::collect(self.source, n_rows, self.time.scale());
        let problem = self.source.problem;
        let names = (problem.graph.name.as_str(), problem.cluster.name.as_str());
        let height = bottom + legend.height();
        let mut document = head(names, &self.told(), &self.time, (bottom, height));
        for row in 0..n_rows {
            document = document.add(self.row(row));
        }
        document = document.add(self.bars(&bars)).add(legend.drawn(bottom));
        with_rest(document, (n_rows, n_devices, "devices"), bottom)
    }

    /// Text below the title.
    fn told(&self) -> String {
        let source = self.source;
        let bound = lower_bound(source.problem);
        let mut step = format!("step time {}", source.timeline.step_time);
        if bound.value.get() > 0 {
            let gap = source.timeline.step_time.as_f64() / bound.value.as_f64() - 1.0;
            step.push_str(&format!(
                " \u{b7} lower bound {} ({}) \u{b7} gap {:.1} %",
                bound.value,
                bound.method,
                gap * 100.0
            ));
        }
        if source.report.nominal {
            step.push_str(" \u{b7} nominal costs");
        }
        step
    }

    fn row(&self, row: usize) -> Group {
        let top = TOP + ROW * row as f64;
        let device = DeviceId::new(row);
        let name = self.source.problem.cluster.devices.get(row).map_or("", |d| d.name.as_str());
        let name = clean(name, MAX_NAME);
        let Some(report) = self.source.report.devices.iter().find(|d| d.device == device) else {
            return row_head(top, &name);
        };
        let is_unused = report.compute_ns + report.communication_ns + report.peak.bytes == 0;
        let busy = (!is_unused).then(|| 100.0 * report.compute_ns as f64 / self.time.step as f64);
        let (peak, limit) = (report.peak.bytes, report.limit);
        let mut group = row_figures(row_head(top, &name), top, busy, (peak, limit));
        if is_unused {
            let width = RIGHT - self.time.left;
            group = group.add(outline((self.time.left, top + 8.0, width, BAR)));
        }
        match limit.filter(|limit| *limit > 0) {
            None => group,
            Some(limit) => {
                let filled = (peak as f64 / limit as f64).min(1.0);
                let place =
                    |share| (RIGHT + 10.0, top + 43.0, (WIDTH - EDGE - RIGHT - 10.0) * share, 5.0);
                let fill = if peak > limit { RED } else { PERSISTENT };
                group.add(rectangle(place(filled), fill)).add(outline(place(1.0)))
            }
        }
    }

    fn bars(&self, bars: &[Bar]) -> Group {
        let mut group = Group::new();
        for bar in bars {
            let top = TOP + ROW * bar.row as f64;
            let (offset, height) = match bar.lane {
                Lane::Compute => (8.0, BAR),
                Lane::Sent => (38.0, 4.0),
                Lane::Received => (43.0, 4.0),
            };
            let (from, to) = (self.time.x(bar.span.start), self.time.x(bar.span.end));
            // Touching bars keep a hair between them where they are wide enough to show it.
            let gap = if to - from > 3.0 { 0.8 } else { 0.0 };
            let width = (to - from - gap).max(0.4);
            let duration = Nanos(bar.span.end - bar.span.start);
            let hover = format!("{}, {duration}", clean(&bar.hover, 120));
            let drawn = rectangle((from, top + offset, width, height), bar.fill)
                .set("rx", if width > 6.0 { 2.0 } else { 0.0 })
                .add(Title::new(hover));
            group = group.add(drawn);
        }
        for run in bars::runs(bars, self.time.scale()) {
            let label = clean(run.label, MAX_NAME);
            let (from, to) = (self.time.x(run.span.start), self.time.x(run.span.end));
            if to - from > CHARACTER * label.chars().count() as f64 + 8.0 {
                let middle =
                    ((from + to) / 2.0, TOP + ROW * run.row as f64 + 8.0 + BAR / 2.0 + 6.0);
                // A halo in the bar's colour keeps the label clear of the gaps between bars.
                let halo = text(&label, middle, SIZE, writing_on(run.fill))
                    .set("stroke", run.fill)
                    .set("stroke-width", 3)
                    .set("paint-order", "stroke");
                group = group.add(halo.middle());
            }
        }
        group
    }
}

/// What is the same in all pictures: model and cluster, lines of figures, an axis of time down to
/// `bottom`.
fn head(
    (model, cluster): (&str, &str),
    subtitle: &str,
    time: &Time,
    (bottom, height): (f64, f64),
) -> Document {
    let title = format!("{} on {}", clean(model, 30), clean(cluster, 24));
    let mut document = canvas(&title, (WIDTH, height));
    let most = ((WIDTH - 2.0 * EDGE) / CHARACTER) as usize;
    for (at, line) in wrapped(subtitle, most).iter().take(2).enumerate() {
        document = document.add(text(line, (EDGE, 54.0 + 20.0 * at as f64), SIZE, FADED));
    }
    document.add(axis(time, bottom))
}

/// Lines of at most `most` characters, broken at the dots between parts.
pub(crate) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split(" \u{b7} ") {
        let length = |line: &str| line.chars().count();
        match lines.last_mut().filter(|line| length(line) + 3 + length(part) <= most) {
            Some(last) => last.push_str(&format!(" \u{b7} {part}")),
            None => lines.push(part.to_owned()),
        }
    }
    lines
}

/// A picture of a size with nothing but its title.
pub(crate) fn canvas(title: &str, (width, height): (f64, f64)) -> Document {
    let rule = |(light, dark): (&str, &str)| {
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
    };
    let dark: String = DARK.into_iter().map(rule).collect();
    Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("font-family", FONT)
        .set("role", "img")
        .add(Title::new(title))
        .add(Style::new(format!("@media (prefers-color-scheme: dark){{{dark}}}")))
        .add(rectangle((0.0, 0.0, width, height), PAPER))
        .add(text(title, (EDGE, 30.0), 20, INK).bold())
}

/// Says how many rows are left out, if some are.
fn with_rest(document: Document, (shown, of, what): (usize, usize, &str), bottom: f64) -> Document {
    if shown == of {
        return document;
    }
    let note = format!("... and {} more {what}", of - shown);
    document.add(text(&note, (WIDTH - EDGE, bottom + 22.0), SIZE, FADED).end())
}

fn axis(time: &Time, bottom: f64) -> Group {
    let (interval, scale, unit) = ticks(time.step);
    let mut group = Group::new().add(text(unit, (time.left - 14.0, TOP - 12.0), SIZE, FADED).end());
    let mut at = 0;
    while at <= time.step {
        let x = time.x(at);
        let label = thousands(at / scale);
        group = group
            .add(line((x, TOP - 6.0), (x, bottom), RULE))
            .add(text(&label, (x, TOP - 12.0), SIZE, FADED).middle());
        at = at.saturating_add(interval);
    }
    group.add(line((RIGHT, TOP - 6.0), (RIGHT, bottom), BLUE)).add(line(
        (0.0, bottom),
        (WIDTH, bottom),
        RULE,
    ))
}

/// The rule above a row and the name before it.
fn row_head(top: f64, name: &str) -> Group {
    let rule = line((0.0, top), (WIDTH, top), RULE);
    Group::new().add(rule).add(text(name, (EDGE, top + 21.0), SIZE, INK).bold())
}

/// The percentage of the step that computes (`None` = the device is not used), the peak and what may
/// lie there.
fn row_figures(
    group: Group,
    top: f64,
    busy: Option<f64>,
    (peak, limit): (u64, Option<u64>),
) -> Group {
    let busy = busy.map_or_else(|| "unused".to_owned(), |busy| format!("{busy:.1} % busy"));
    let beside = |figure: &str, y: f64, fill| text(figure, (RIGHT + 10.0, y), SIZE, fill);
    let group = group.add(text(&busy, (EDGE, top + 40.0), SIZE, FADED));
    let group = group.add(beside(&Bytes(peak).to_string(), top + 19.0, INK));
    match limit {
        None => group,
        Some(limit) => group.add(beside(&format!("of {}", Bytes(limit)), top + 37.0, FADED)),
    }
}

/// What the colours mean.
#[derive(Debug, Default)]
struct Legend {
    entries: Vec<(String, &'static str)>,
}

impl Legend {
    /// Left edge and line of each entry.
    fn places(&self) -> Vec<(f64, usize)> {
        let (mut x, mut line) = (EDGE, 0);
        let place = |(label, _): &(String, _)| {
            let width = 22.0 + CHARACTER * clean(label, 40).chars().count() as f64 + 10.0;
            if x > EDGE && x + width > WIDTH {
                (x, line) = (EDGE, line + 1);
            }
            x += width;
            (x - width, line)
        };
        self.entries.iter().map(place).collect()
    }

    /// Height of all lines, with the gap above.
    fn height(&self) -> f64 {
        let n = self.places().last().map_or(0, |(_, line)| line + 1);
        LINE * n.max(1) as f64 + 14.0
    }

    fn drawn(&self, top: f64) -> Group {
        let mut group = Group::new();
        for ((label, fill), (x, line)) in self.entries.iter().zip(self.places()) {
            let y = top + 24.0 + LINE * line as f64;
            let swatch = rectangle((x, y - 12.0, 13.0, 13.0), fill).set("rx", 2.5);
            let swatch = if *fill == EMPTY { swatch.set("stroke", OUTLINE) } else { swatch };
            let words = text(&clean(label, 40), (x + 20.0, y), SIZE, FADED);
            group = group.add(swatch).add(words);
        }
        group
    }
}

/// Dark or light writing, whichever stands out on a colour `#rrggbb` (relative luminance of WCAG 2).
fn writing_on(fill: &str) -> &'static str {
    let linear = |at: usize| {
        let channel = fill.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let share = f64::from(channel.unwrap_or(u8::MAX)) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    let luminance = 0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5);
    if luminance > 0.18 { ON_LIGHT } else { ON_DARK }
}

/// Distance of the ticks (1, 2 or 5 times a power of ten, at most 6 of them), nanoseconds of a
/// unit, and its name.
fn ticks(step: u64) -> (u64, u64, &'static str) {
    let mut power = 1u64;
    let interval = loop {
        let fits = [1, 2, 5].into_iter().find(|factor| step / power.saturating_mul(*factor) <= 6);
        match fits {
            Some(factor) => break power.saturating_mul(factor),
            None => power = power.saturating_mul(10),
        }
    };
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (scale, unit) =
        units.into_iter().find(|(scale, _)| interval % scale == 0).unwrap_or((1, "ns"));
    (interval, scale, unit)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Without what XML can't hold or readers can't see, and cut. The `svg` crate escapes markup.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut clean: String = text
        .chars()
        .take(most)
        .map(|c| match c {
            c if is_hidden(c) || ['\u{fffe}', '\u{ffff}'].contains(&c) => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().nth(most).is_some() {
        clean.push('\u{2026}');
    }
    clean
}

pub(crate) fn rectangle((x, y, width, height): (f64, f64, f64, f64), fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", rounded(x))
        .set("y", rounded(y))
        .set("width", rounded(width))
        .set("height", rounded(height))
        .set("fill", fill)
}

/// A frame around nothing.
fn outline((x, y, width, height): (f64, f64, f64, f64)) -> Rectangle {
    rectangle((x, y, width, height), "none").set("stroke", OUTLINE)
}

pub(crate) fn line(from: (f64, f64), to: (f64, f64), stroke: &str) -> Line {
    Line::new()
        .set("x1", rounded(from.0))
        .set("y1", rounded(from.1))
        .set("x2", rounded(to.0))
        .set("y2", rounded(to.1))
        .set("stroke", stroke)
}

/// Two digits are enough for any screen and keep files small.
pub(crate) fn rounded(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

pub(crate) fn text(content: &str, at: (f64, f64), size: u32, fill: &str) -> Text {
    Text::new(content)
        .set("x", rounded(at.0))
        .set("y", rounded(at.1))
        .set("font-size", size)
        .set("fill", fill)
}

/// Ways to set text.
pub(crate) trait Set: Sized {
    fn bold(self) -> Self;
    fn middle(self) -> Self;
    fn end(self) -> Self;
}

impl Set for Text {
    fn bold(self) -> Self {
        self.set("font-weight", 600)
    }
    fn middle(self) -> Self {
        self.set("text-anchor", "middle").set("pointer-events", "none")
    }
    fn end(self) -> Self {
        self.set("text-anchor", "end")
    }
}

#[cfg(test)]
mod tests;
