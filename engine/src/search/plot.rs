//! `--plot`: plan and bound over the time of a search.

use exporters::convergence::{self, Point, Scale};
use planner::run::TracePoint;

/// What values are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    /// Units of the instance's file, of so many ns.
    Given(u64),
}

/// The picture as a file.
pub(crate) fn svg(name: &str, objective: &str, unit: Unit, trace: &[TracePoint]) -> Vec<u8> {
    let point = |point: &TracePoint| Point {
        seconds: point.elapsed.as_secs_f64(),
        value: point.value.map(|value| value.as_f64()),
        bound: point.bound.map(|bound| bound.as_f64()).filter(|bound| *bound > 0.0),
    };
    let scale = match unit {
        Unit::Time => Scale::Nanoseconds,
        Unit::Given(ns) => Scale::Units(ns as f64),
    };
    let points: Vec<Point> = trace.iter().map(point).collect();
    convergence::svg(name, objective, scale, &points).into_bytes()
}
