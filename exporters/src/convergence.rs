//! A picture of a search: the best value and the best bound over time, as steps, with the gap
//! between them shaded.
//!
//! Time is logarithmic where the search went on for more than 30 times as long as its first plan
//! took, values where those of most of the picture are that far apart. Else the axis of values is cut
//! where the first plans are so much worse that they would flatten all others.

use svg::node::element::path::Data;
use svg::node::element::{Circle, Group, Path};

use crate::svg::{
    BLUE, CHARACTER, EDGE, FADED, INK, ORANGE, PALE, RULE, SIZE, Set, WIDTH, canvas, clean, line,
    rounded, text, wrapped,
};

/// A moment of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Since the start, in seconds.
    pub seconds: f64,
    /// The best value so far, in nanoseconds.
    pub value: Option<f64>,
    /// The best bound so far, in nanoseconds.
    pub bound: Option<f64>,
}

/// How values are labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// As times: s, ms, us or ns.
    Nanoseconds,
    /// In unnamed units of this many nanoseconds.
    Units(f64),
}

const HEIGHT: f64 = 430.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = WIDTH - 112.0;
const TOP: f64 = 132.0;
const BOTTOM: f64 = HEIGHT - 64.0;

const VALUE: &str = BLUE;
const BOUND: &str = ORANGE;

/// Ratio from which time and values are logarithmic.
const LONG: f64 = 30.0;
const HIGH: f64 = 20.0;
/// The least time that a logarithmic axis shows, in seconds.
const LEAST_TIME: f64 = 1e-4;
/// Room above and below the lines, as a part of their range.
const MARGIN: f64 = 0.08;
/// How many times the range of the picture's second half, and at least which part of the lowest value,
/// the axis shows above the lowest; what is beyond is cut off.
const CUT: (f64, f64) = (4.0, 1.0);

/// One axis: a range of numbers on a range of pixels.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, number: f64) -> f64 {
        let number = number.clamp(self.low, self.high);
        let share = if self.is_logarithmic {
            (number / self.low).ln() / (self.high / self.low).ln()
        } else {
            (number - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share
    }

    /// Round numbers in the range: 1, 2 and 5 times powers of ten, or powers of ten alone where
    /// the range is long.
    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = (self.high / self.low).log10();
            let factors: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            let powers = (first..=last)
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            return powers.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let raw = (self.high - self.low) / 6.0;
        let power = 10f64.powf(raw.log10().floor());
        let mut steps = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
        let step = steps.find(|step| *step >= raw).unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }
}

/// The picture, as text of an SVG file.
#[must_use]
pub fn svg(name: &str, objective: &str, scale: Scale, points: &[Point]) -> String {
    let title = format!("search for {} of {}", clean(objective, 24), clean(name, 26));
    let document = canvas(&title, (WIDTH, HEIGHT));
    let Some(picture) = Picture::new(objective, scale, points) else {
        return format!("{}\n", document.add(text("no plan was found", (EDGE, 54.0), SIZE, FADED)));
    };
    let most = ((WIDTH - 2.0 * EDGE) / CHARACTER) as usize;
    let mut document = document;
    for (at, line) in wrapped(&picture.sentence(), most).iter().take(2).enumerate() {
        document = document.add(text(line, (EDGE, 54.0 + 20.0 * at as f64), SIZE, FADED));
    }
    let document = document
        .add(picture.gap())
        .add(picture.axes())
        .add(picture.steps(|point| point.bound, BOUND))
        .add(picture.steps(|point| point.value, VALUE))
        .add(picture.legend());
    format!("{document}\n")
}

struct Picture<'a> {
    objective: &'a str,
    points: &'a [Point],
    time: Axis,
    value: Axis,
    /// The greatest value, where the axis of values ends below it.
    cut: Option<f64>,
    /// Nanoseconds of the unit of the labels, and its name.
    unit: (f64, &'static str),
}

impl<'a> Picture<'a> {
    fn new(objective: &'a str, scale: Scale, points: &'a [Point]) -> Option<Self> {
        let values = points.iter().flat_map(|point| point.value);
        let high = values.clone().max_by(f64::total_cmp)?;
        // A bound from before the first plan says little, so that the axis need not reach it.
        let with_plan = points.iter().filter(|point| point.value.is_some());
        let low = with_plan.flat_map(|point| [point.value, point.bound]).flatten();
        let low = low.min_by(f64::total_cmp)?;
        let end = points.last()?.seconds;
        let first = points.iter().find(|point| point.value.is_some())?.seconds.max(LEAST_TIME);
        let is_long = end > LONG * first;
        let time = Axis {
            low: if is_long { first / 2.0 } else { 0.0 },
            high: end.max(LEAST_TIME),
            is_logarithmic: is_long,
            from: LEFT,
            to: RIGHT,
        };
        let shown = shown(points, &time, low);
        let is_high = low > 0.0 && shown > HIGH * low;
        let top = if is_high { high } else { shown };
        let cut = (high > top).then_some(high);
        let margin = if top > low { MARGIN * (top - low) } else { 0.05 * top.max(1.0) };
        let value = Axis {
            low: if is_high { low / 1.3 } else { (low - margin).max(0.0) },
            // What is cut off is drawn along the upper end, clear of the rest.
            high: if is_high {
                top * 1.3
            } else {
                top + margin * if cut.is_some() { 3.0 } else { 1.0 }
            },
            is_logarithmic: is_high,
            from: BOTTOM,
            to: TOP,
        };
        Some(Self { objective, points, time, value, cut, unit: unit(scale, top) })
    }

    fn label(&self, nanoseconds: f64) -> String {
        number(nanoseconds / self.unit.0)
    }

    fn last(&self, of: fn(&Point) -> Option<f64>) -> Option<f64> {
        self.points.iter().rev().find_map(of)
    }

    fn sentence(&self) -> String {
        let unit = if self.unit.1.is_empty() { String::new() } else { format!(" {}", self.unit.1) };
        let mut words = Vec::new();
        if let Some(value) = self.last(|point| point.value) {
            words.push(format!("{} {}{unit}", self.objective, self.label(value)));
            if let Some(bound) = self.last(|point| point.bound) {
                words.push(format!("bound {}{unit}", self.label(bound)));
                words.push(format!("gap {:.2} %", 100.0 * (value / bound - 1.0).max(0.0)));
            }
        }
        words.push(format!("after {} s", number(self.points.last().map_or(0.0, |p| p.seconds))));
        words.join(" \u{b7} ")
    }

    fn axes(&self) -> Group {
        let mut group = Group::new();
        for tick in self.value.ticks() {
            let y = self.value.at(tick);
            group = group
                .add(line((LEFT, y), (RIGHT, y), RULE))
                .add(text(&self.label(tick), (LEFT - 8.0, y + 5.0), SIZE, FADED).end());
        }
        let mut free = 0.0;
        for tick in self.time.ticks() {
            let x = self.time.at(tick);
            let half = CHARACTER * number(tick).len() as f64 / 2.0;
            if x - half < free {
                continue;
            }
            free = x + half + CHARACTER;
            group = group
                .add(line((x, BOTTOM), (x, BOTTOM + 5.0), FADED))
                .add(text(&number(tick), (x, BOTTOM + 22.0), SIZE, FADED).middle());
        }
        let logarithmic = |axis: &Axis| if axis.is_logarithmic { ", logarithmic" } else { "" };
        let unit = match self.unit.1 {
            "" => "units of the file",
            unit => unit,
        };
        let cut = if self.cut.is_some() { ", cut" } else { "" };
        let of_value = format!("{} ({unit}{}{cut})", self.objective, logarithmic(&self.value));
        let of_time = format!("time since the start (s{})", logarithmic(&self.time));
        let middle = ((LEFT + RIGHT) / 2.0, BOTTOM + 48.0);
        group
            .add(line((LEFT, TOP), (LEFT, BOTTOM), FADED))
            .add(line((LEFT, BOTTOM), (RIGHT, BOTTOM), FADED))
            .add(text(&of_value, (EDGE, TOP - 34.0), SIZE, INK))
            .add(text(&of_time, middle, SIZE, INK).middle())
            .add(self.above())
    }

    /// Two strokes across the axis where it is cut, and what lies above.
    fn above(&self) -> Group {
        let Some(greatest) = self.cut else { return Group::new() };
        let stroke = |y: f64| line((LEFT - 6.0, y + 4.0), (LEFT + 6.0, y - 4.0), FADED);
        let at = self.corners(|point| point.value).first().map_or(LEFT, |corner| corner.0);
        let note = format!("first plan {}, off the axis", self.label(greatest));
        let place = (at.min(RIGHT - CHARACTER * note.len() as f64) + 8.0, TOP - 8.0);
        Group::new()
            .add(stroke(TOP + 10.0))
            .add(stroke(TOP + 16.0))
            .add(text(&note, place, SIZE, VALUE))
    }

    /// Corners of a line that holds its height until the next point.
    fn corners(&self, of: fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
        let mut corners: Vec<(f64, f64)> = Vec::new();
        for point in self.points {
            let Some(value) = of(point).filter(|value| *value >= self.value.low) else { continue };
            let (x, y) = (self.time.at(point.seconds), self.value.at(value));
            match corners.last() {
                Some((_, before)) if (*before - y).abs() < 0.005 => continue,
                Some((_, before)) => corners.push((x, *before)),
                None => {}
            }
            corners.push((x, y));
        }
        if let (Some((_, y)), Some(last)) = (corners.last().copied(), self.points.last()) {
            corners.push((self.time.at(last.seconds), y));
        }
        corners
    }

    fn gap(&self) -> Path {
        let above = self.corners(|point| point.value);
        let below = self.corners(|point| point.bound);
        let start = above.first().map_or(LEFT, |corner| corner.0);
        let before = below.iter().rev().find(|corner| corner.0 <= start).map(|corner| corner.1);
        let below = before
            .map(|y| (start, y))
            .into_iter()
            .chain(below.iter().copied().filter(|corner| corner.0 > start))
            .collect::<Vec<_>>();
        path(above.iter().chain(below.iter().rev())).set("fill", PALE)
    }

    fn steps(&self, of: fn(&Point) -> Option<f64>, colour: &str) -> Group {
        let corners = self.corners(of);
        let drawn = path(corners.iter())
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", 2)
            .set("stroke-linejoin", "round");
        let mut group = Group::new().add(drawn);
        // One dot would be no line.
        for (x, y) in corners.first().into_iter().chain(corners.last()) {
            group = group.add(
                Circle::new()
                    .set("cx", rounded(*x))
                    .set("cy", rounded(*y))
                    .set("r", 3)
                    .set("fill", colour),
            );
        }
        group
    }

    fn legend(&self) -> Group {
        let mut group = Group::new();
        let value = self.last(|point| point.value).map(|value| (value, "best plan", VALUE));
        let bound = self.last(|point| point.bound).map(|bound| (bound, "bound", BOUND));
        let mut lowest = f64::NEG_INFINITY;
        let mut entries: Vec<_> = value.into_iter().chain(bound).collect();
        entries.sort_by(|a, b| b.0.total_cmp(&a.0));
        // Two lines of text where both lines end; never one over the other, or below the axis.
        let mut places = Vec::new();
        for (number, ..) in &entries {
            lowest = self.value.at(*number).max(lowest + 42.0);
            places.push(lowest);
        }
        let below = (lowest + 26.0 - BOTTOM).max(0.0);
        for ((number, name, colour), y) in entries.into_iter().zip(places) {
            let y = y - below;
            group = group.add(text(name, (RIGHT + 10.0, y + 5.0), SIZE, colour).bold()).add(text(
                &self.label(number),
                (RIGHT + 10.0, y + 23.0),
                SIZE,
                INK,
            ));
        }
        group
    }
}

/// The greatest value that the axis shows: all of them, unless the first are far above what is drawn in
/// the second half of the picture.
fn shown(points: &[Point], time: &Axis, low: f64) -> f64 {
    let values = || points.iter().filter_map(|point| Some((time.at(point.seconds), point.value?)));
    let is_later = |(x, _): &(f64, f64)| *x > (LEFT + RIGHT) / 2.0;
    let first = values().next().map_or(low, |(_, value)| value);
    let better = || values().filter(|(_, value)| *value < first);
    // What is there in the middle, or comes next.
    let late = better().take_while(|point| !is_later(point)).last().or_else(|| better().next());
    let late = late.map_or(first, |(_, value)| value);
    let most = low + (CUT.0 * (late - low)).max(CUT.1 * low);
    let below = values().map(|(_, value)| value).filter(|value| *value <= most);
    below.max_by(f64::total_cmp).unwrap_or(first)
}

fn path<'a>(corners: impl Iterator<Item = &'a (f64, f64)>) -> Path {
    let mut data = Data::new();
    for (at, (x, y)) in corners.enumerate() {
        let corner = (rounded(*x), rounded(*y));
        data = if at == 0 { data.move_to(corner) } else { data.line_to(corner) };
    }
    Path::new().set("d", data)
}

/// Nanoseconds of the unit that suits values of this size, and its name.
fn unit(scale: Scale, high: f64) -> (f64, &'static str) {
    match scale {
        Scale::Units(nanoseconds) => (nanoseconds, ""),
        Scale::Nanoseconds => {
            let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
            units.into_iter().find(|(unit, _)| high >= *unit).unwrap_or((1.0, "ns"))
        }
    }
}

/// Four digits, or all before the point, without zeros that say nothing.
fn number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let before = number.abs().log10().floor() as i32 + 1;
    let digits = usize::try_from(4 - before).unwrap_or(0).min(9);
    let text = format!("{number:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(seconds: f64, value: Option<f64>, bound: Option<f64>) -> Point {
        Point { seconds, value, bound }
    }

    #[test]
    fn numbers_are_short_and_true() {
        assert_eq!(
            [0.0, 0.001, 0.5, 39.789_539, 1_234_567.8].map(number),
            ["0", "0.001", "0.5", "39.79", "1234568"]
        );
    }

    #[test]
    fn the_picture_states_units_and_both_lines() {
        let points = [
            point(0.0, None, Some(1e6)),
            point(0.01, Some(3e6), Some(1e6)),
            point(0.02, Some(2.5e6), Some(2e6)),
            point(9.0, Some(2e6), Some(2e6)),
        ];
        let picture = svg("a<b", "step time", Scale::Nanoseconds, &points);
        for part in ["a&lt;b", "(ms)", "(s, logarithmic)", "best plan", "gap 0.00 %", "bound 2 ms"]
        {
            assert!(picture.contains(part), "{part} is not in {picture}");
        }
        assert_eq!(picture.matches("<path").count(), 3);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }

    #[test]
    fn searches_without_a_plan_or_with_one_point_are_drawn() {
        let none = svg("x", "latency", Scale::Units(1e9), &[point(1.0, None, Some(1.0))]);
        assert!(none.contains("no plan was found"));
        let one = svg("x", "latency", Scale::Units(1e9), &[point(0.0, Some(0.0), None)]);
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
        assert!(one.contains("units of the file"));
    }

    /// The first plan is so bad that the others would be one line: the axis ends below it and says so.
    #[test]
    fn a_bad_first_plan_is_cut_off() {
        let later = |bound| {
            let plans = [(0.5, 55.0), (3.0, 52.0), (9.0, 50.8)];
            plans.map(|(seconds, value)| point(seconds, Some(value), Some(bound)))
        };
        let searched = |first: f64, bound: f64| {
            let points =
                [[point(0.1, Some(first), Some(bound))].as_slice(), &later(bound)].concat();
            let of = |value| {
                let picture = Picture::new("x", Scale::Units(1.0), &points)?;
                Some((picture.value.at(value), picture.cut, picture.value.is_logarithmic))
            };
            let picture = svg("x", "step time", Scale::Units(1.0), &points);
            (of(55.0).unwrap(), of(50.8).unwrap(), picture)
        };
        let ((worst, cut, is_log), (last, ..), picture) = searched(1000.0, 46.0);
        assert!(last - worst > (BOTTOM - TOP) / 3.0, "{worst} {last}");
        assert_eq!((cut, is_log), (Some(1000.0), false));
        assert!(picture.contains("first plan 1000") && picture.contains(", cut)"), "{picture}");
        let ((_, cut, is_log), _, picture) = searched(80.0, 46.0);
        assert_eq!((cut, is_log), (None, false));
        assert!(!picture.contains("first plan"));
        // Far above the bound all are: an axis of powers shows them.
        let ((_, cut, is_log), ..) = searched(80.0, 1.0);
        assert_eq!((cut, is_log), (None, true));
    }

    /// Steps never go back in time, and the line ends where the search does.
    #[test]
    fn lines_hold_until_the_next_point() {
        let points =
            [point(1.0, Some(4.0), None), point(2.0, Some(3.0), None), point(4.0, Some(3.0), None)];
        let picture = Picture::new("x", Scale::Units(1.0), &points);
        let corners = picture.map(|picture| picture.corners(|point| point.value));
        let corners = corners.unwrap_or_default();
        assert_eq!(corners.len(), 4, "{corners:?}");
        assert!(corners.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(corners.last().is_some_and(|corner| (corner.0 - RIGHT).abs() < 0.01));
    }
}
