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
use svg::node::element::{Group, Line, Rectangle, Text, Title};

use crate::format::{Export, Source};
use bars::{Bar, Lane, Legend};

/// Width of the picture in pixels.
const WIDTH: f64 = 1200.0;
/// Where time 0 is.
const LEFT: f64 = 168.0;
/// Where the step ends.
const RIGHT: f64 = WIDTH - 152.0;
/// Where the rows begin.
const TOP: f64 = 104.0;
/// Height of a row.
const ROW: f64 = 52.0;
/// Height of an op's bar.
const BAR: f64 = 28.0;
/// Rows drawn.
const MAX_ROWS: usize = 48;
/// Longest name of a device, model or cluster in characters.
const MAX_NAME: usize = 22;
/// Average advance of a character of 11 px, in pixels.
const CHARACTER: f64 = 6.2;

pub(crate) const INK: &str = "#22252b";
pub(crate) const FADED: &str = "#6b6f76";
pub(crate) const RULE: &str = "#e4e4df";
const FONT: &str = "Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif";

/// The picture.
///
/// # Errors
/// None: every plan can be drawn.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    let picture = Picture { source, step: source.timeline.step_time.get().max(1) };
    Ok(format!("{}\n", picture.draw()).into())
}

struct Picture<'a> {
    source: &'a Source<'a>,
    step: u64,
}

impl Picture<'_> {
    fn x(&self, ns: u64) -> f64 {
        x(ns, self.step)
    }

    fn draw(&self) -> Document {
        let n_devices = self.source.problem.cluster.n_devices();
        let n_rows = n_devices.min(MAX_ROWS);
        let bottom = TOP + ROW * n_rows as f64;
        let (bars, legend) = bars::collect(self.source, n_rows, (RIGHT - LEFT) / self.step as f64);
        let rows = legend_rows(&legend);
        let height = bottom + 34.0 + 22.0 * rows as f64;
        let problem = self.source.problem;
        let names = (problem.graph.name.as_str(), problem.cluster.name.as_str());
        let mut document = head(names, &self.told(), self.step, (bottom, height));
        for row in 0..n_rows {
            document = document.add(self.row(row));
        }
        document = document.add(self.bars(&bars)).add(draw_legend(&legend, bottom + 26.0));
        if n_rows < n_devices {
            let note = format!("... and {} more devices", n_devices - n_rows);
            document = document.add(text(&note, (WIDTH - 24.0, bottom + 18.0), 11, FADED).end());
        }
        document
    }

    /// What stands below the title.
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
        let busy = 100.0 * report.compute_ns as f64 / self.step as f64;
        let group = row_figures(row_head(top, &name), top, busy, (report.peak.bytes, report.limit));
        match report.limit.filter(|limit| *limit > 0) {
            None => group,
            Some(limit) => {
                let filled = (report.peak.bytes as f64 / limit as f64).min(1.0);
                let width = WIDTH - 24.0 - RIGHT - 14.0;
                let fill = if report.peak.bytes > limit { "#c8372d" } else { "#8fa3b8" };
                group
                    .add(rectangle((RIGHT + 14.0, top + 30.0, width, 5.0), "#e9e9e4"))
                    .add(rectangle((RIGHT + 14.0, top + 30.0, width * filled, 5.0), fill))
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
            let (from, to) = (self.x(bar.span.start), self.x(bar.span.end));
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
        for run in bars::runs(bars, (RIGHT - LEFT) / self.step as f64) {
            let label = clean(run.label, MAX_NAME);
            let (from, to) = (self.x(run.span.start), self.x(run.span.end));
            if to - from > CHARACTER * label.chars().count() as f64 + 8.0 {
                let middle =
                    ((from + to) / 2.0, TOP + ROW * run.row as f64 + 8.0 + BAR / 2.0 + 4.0);
                // A halo in the bar's colour keeps the label clear of the gaps between bars.
                let halo = text(&label, middle, 11, INK)
                    .set("stroke", run.fill)
                    .set("stroke-width", 3)
                    .set("paint-order", "stroke");
                group = group.add(halo.middle());
            }
        }
        group
    }
}

/// Where a time of a step is.
fn x(ns: u64, step: u64) -> f64 {
    LEFT + (RIGHT - LEFT) * ns as f64 / step as f64
}

/// What is the same in all pictures: model and cluster, a line of figures, an axis of time down to
/// `bottom`.
fn head(
    (model, cluster): (&str, &str),
    told: &str,
    step: u64,
    (bottom, height): (f64, f64),
) -> Document {
    let title = format!("{} on {}", clean(model, 48), clean(cluster, 48));
    canvas(&title, (WIDTH, height)).add(text(told, (24.0, 57.0), 12, FADED)).add(axis(step, bottom))
}

/// A picture of a size with nothing but its title.
pub(crate) fn canvas(title: &str, (width, height): (f64, f64)) -> Document {
    Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("font-family", FONT)
        .set("role", "img")
        .add(Title::new(title))
        .add(rectangle((0.0, 0.0, width, height), "#fbfbf9"))
        .add(text(title, (24.0, 34.0), 17, INK).bold())
}

fn axis(step: u64, bottom: f64) -> Group {
    let (interval, scale, unit) = ticks(step);
    let mut group = Group::new().add(text(unit, (LEFT - 12.0, TOP - 12.0), 11, FADED).end());
    let mut at = 0;
    while at <= step {
        let x = x(at, step);
        let label = thousands(at / scale);
        group = group
            .add(line((x, TOP - 6.0), (x, bottom), RULE))
            .add(text(&label, (x, TOP - 12.0), 11, FADED).middle());
        at = at.saturating_add(interval);
    }
    group.add(line((RIGHT, TOP - 6.0), (RIGHT, bottom), "#3556d4")).add(line(
        (0.0, bottom),
        (WIDTH, bottom),
        RULE,
    ))
}

/// The rule above a row and the name before it.
fn row_head(top: f64, name: &str) -> Group {
    let rule = line((0.0, top), (WIDTH, top), RULE);
    Group::new().add(rule).add(text(name, (24.0, top + 21.0), 12, INK).bold())
}

/// The percentage of the step that computes, the peak and what may lie there.
fn row_figures(group: Group, top: f64, busy: f64, (peak, limit): (u64, Option<u64>)) -> Group {
    let busy = format!("{busy:.1} % busy");
    let peak = match limit {
        None => Bytes(peak).to_string(),
        Some(limit) => format!("{} of {}", Bytes(peak), Bytes(limit)),
    };
    let busy = text(&busy, (24.0, top + 37.0), 11, FADED);
    group.add(busy).add(text(&peak, (RIGHT + 14.0, top + 21.0), 11, INK))
}

fn legend_rows(legend: &Legend) -> usize {
    legend.entries.len().div_ceil(Legend::COLUMNS).max(1)
}

fn draw_legend(legend: &Legend, top: f64) -> Group {
    let column = (WIDTH - 48.0) / Legend::COLUMNS as f64;
    let mut group = Group::new();
    for (index, (label, fill)) in legend.entries.iter().enumerate() {
        let x = 24.0 + column * (index % Legend::COLUMNS) as f64;
        let y = top + 22.0 * (index / Legend::COLUMNS) as f64;
        group = group.add(rectangle((x, y - 10.0, 12.0, 12.0), fill).set("rx", 2.5)).add(text(
            &clean(label, MAX_NAME),
            (x + 18.0, y),
            11,
            FADED,
        ));
    }
    group
}

/// Distance of the ticks (1, 2 or 5 times a power of ten, at most 10 of them), nanoseconds of a
/// unit, and its name.
fn ticks(step: u64) -> (u64, u64, &'static str) {
    let mut power = 1u64;
    let interval = loop {
        let fits = [1, 2, 5].into_iter().find(|factor| step / power.saturating_mul(*factor) <= 10);
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
pub(crate) trait Style: Sized {
    fn bold(self) -> Self;
    fn middle(self) -> Self;
    fn end(self) -> Self;
}

impl Style for Text {
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
