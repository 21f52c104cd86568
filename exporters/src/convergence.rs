//! A picture of a search: the best value and the best bound over time, as steps, with the gap
//! between them shaded.
//!
//! Time is logarithmic where the search went on for more than 30 times as long as its first plan
//! took, values where the first is more than 20 times the last.

use svg::node::element::path::Data;
use svg::node::element::{Circle, Group, Path};

use crate::svg::{FADED, INK, RULE, Style, canvas, clean, line, rounded, text};

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
    /// In units of so many nanoseconds that have no name.
    Units(f64),
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = WIDTH - 168.0;
const TOP: f64 = 108.0;
const BOTTOM: f64 = HEIGHT - 64.0;

const VALUE: &str = "#3556d4";
const BOUND: &str = "#b4540a";
const GAP: &str = "#e9edfb";

/// Ratio from which time and values are logarithmic.
const LONG: f64 = 30.0;
const HIGH: f64 = 20.0;
/// The least time that a logarithmic axis shows, in seconds.
const LEAST_TIME: f64 = 1e-4;
/// Room above and below the lines, as a part of their range.
const MARGIN: f64 = 0.08;

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
    let title = format!("search for {} of {}", clean(objective, 48), clean(name, 60));
    let document = canvas(&title, (WIDTH, HEIGHT));
    let Some(picture) = Picture::new(objective, scale, points) else {
        return format!("{}\n", document.add(text("no plan was found", (24.0, 57.0), 12, FADED)));
    };
    let document = document
        .add(text(&picture.sentence(), (24.0, 57.0), 12, FADED))
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
        let is_high = low > 0.0 && high > HIGH * low;
        let margin = if high > low { MARGIN * (high - low) } else { 0.05 * high.max(1.0) };
        Some(Self {
            objective,
            points,
            time: Axis {
                low: if is_long { first / 2.0 } else { 0.0 },
                high: end.max(LEAST_TIME),
                is_logarithmic: is_long,
                from: LEFT,
                to: RIGHT,
            },
            value: Axis {
                low: if is_high { low / 1.3 } else { (low - margin).max(0.0) },
                high: if is_high { high * 1.3 } else { high + margin },
                is_logarithmic: is_high,
                from: BOTTOM,
                to: TOP,
            },
            unit: unit(scale, high),
        })
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
                .add(text(&self.label(tick), (LEFT - 10.0, y + 4.0), 11, FADED).end());
        }
        for tick in self.time.ticks() {
            let x = self.time.at(tick);
            group = group
                .add(line((x, BOTTOM), (x, BOTTOM + 5.0), FADED))
                .add(text(&number(tick), (x, BOTTOM + 20.0), 11, FADED).middle());
        }
        let logarithmic = |axis: &Axis| if axis.is_logarithmic { ", logarithmic" } else { "" };
        let unit = match self.unit.1 {
            "" => "units of the file",
            unit => unit,
        };
        let of_value = format!("{} ({unit}{})", self.objective, logarithmic(&self.value));
        let of_time = format!("time since the start (s{})", logarithmic(&self.time));
        let middle = ((LEFT + RIGHT) / 2.0, BOTTOM + 44.0);
        group
            .add(line((LEFT, TOP), (LEFT, BOTTOM), FADED))
            .add(line((LEFT, BOTTOM), (RIGHT, BOTTOM), FADED))
            .add(text(&of_value, (24.0, TOP - 16.0), 11, INK))
            .add(text(&of_time, middle, 11, INK).middle())
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
        path(above.iter().chain(below.iter().rev())).set("fill", GAP)
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
        for (number, name, colour) in entries {
            // Two lines of text where both lines end; never one over the other.
            let y = self.value.at(number).max(lowest + 38.0);
            lowest = y;
            group = group.add(text(name, (RIGHT + 14.0, y), 12, colour).bold()).add(text(
                &self.label(number),
                (RIGHT + 14.0, y + 16.0),
                12,
                INK,
            ));
        }
        group
    }
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

/// Six digits, without zeros that say nothing.
fn number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let before = number.abs().log10().floor() as i32 + 1;
    let digits = usize::try_from(6 - before).unwrap_or(0).min(9);
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
            ["0", "0.001", "0.5", "39.7895", "1234568"]
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
