//! Peak memory of runs whose table states it beside the step.

use cost_model::runs::memory::Reserve;

use super::{NOMINAL, Set, Wanted, goals, median, middle};
use crate::judged::memory::{guarded, line};
use crate::line::Line;

/// Percent by which no row may be under-predicted.
const UNDER: f64 = 3.0;

/// Lines of what the allocator handed out, and of what it held of the device.
pub(super) fn lines(set: &Set<'_>) -> Vec<Line> {
    let predicted = set.peaks();
    let of = |(name, at, reserve, wanted): (&str, usize, Reserve, Wanted)| {
        let rows = set.rows.iter().zip(&predicted);
        let pairs = rows.filter_map(|(row, peak)| {
            let all = peak + reserve.bytes(row.run.degrees(), *peak);
            Some((all, row.row.peaks?.get(at).copied()?, row.row.name.clone()))
        });
        let mut line = guarded(line(pairs, 0), UNDER);
        line.goals.extend(goals(&line.score, (wanted, f64::NAN)));
        Line { part: format!("{}, {name}", set.part), way: NOMINAL, ..line }
    };
    let lines = [
        ("allocated", 0, Reserve::allocator_peak(), median(2.0, 5.0)),
        ("reserved", 1, Reserve::reserved(), middle(4.0)),
    ];
    lines.into_iter().map(of).collect()
}
