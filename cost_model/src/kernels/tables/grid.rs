//! Lookup in a grid, axis by axis: the point itself, interpolation between two points, or extrapolation
//! at the utilisation of the outermost point.

use std::ops::Range;

use ir::engine_tables::Grid;

use super::answer::{Answer, Class};

/// How a kernel scales: prefill attention grows with the square of tokens, so that the square root of
/// its time is interpolated along that axis.
pub(super) struct Form<F> {
    /// Axis of quadratic growth.
    pub(super) square: Option<usize>,
    /// Whether measured times below the speed of light are raised to it: the kernel found its operands
    /// in a cache that is cold when a model runs.
    pub(super) is_cold: bool,
    /// Speed of light by coordinates, seconds.
    pub(super) bound: F,
}

/// Most axes of a grid.
const AXES: usize = 3;

/// Time at some coordinates; `None` for an empty grid.
pub(super) fn at<F: Fn(&[f64; AXES]) -> f64>(
    grid: &Grid,
    place: &[f64],
    form: &Form<F>,
) -> Option<Answer> {
    let mut path = [1.0; AXES];
    path[..place.len()].copy_from_slice(place);
    below(grid, 0, 0..grid.positions(0).len(), &path, form)
}

/// Time at some coordinates, below a parent with this range of children on `axis`.
pub(super) fn below<F: Fn(&[f64; AXES]) -> f64>(
    grid: &Grid,
    axis: usize,
    range: Range<usize>,
    place: &[f64; AXES],
    form: &Form<F>,
) -> Option<Answer> {
    let positions = &grid.positions(axis)[range.clone()];
    let last = positions.len().checked_sub(1)?;
    // Positions are whole, and whole numbers compare faster.
    let first = place[axis].ceil() as u32;
    let next = positions.partition_point(|position| *position < first);
    let measured = |offset: usize| {
        let index = range.start + offset;
        let there = moved(place, axis, positions[offset]);
        if axis + 1 < grid.n_axes() {
            return below(grid, axis + 1, grid.below(axis, index), &there, form);
        }
        let (mut seconds, source) = (grid.seconds(index), Some(grid.source(index)));
        if form.is_cold {
            seconds = seconds.max((form.bound)(&there));
        }
        Some(Answer { seconds, class: Class::Measured, source })
    };
    if next <= last && f64::from(positions[next]) == place[axis] {
        return measured(next);
    }
    if next == 0 || next > last {
        let end = next.min(last);
        let there = moved(place, axis, positions[end]);
        return Some(held(measured(end)?, (form.bound)(place), (form.bound)(&there)));
    }
    let (low, high) = (measured(next - 1)?, measured(next)?);
    let (start, end) = (f64::from(positions[next - 1]), f64::from(positions[next]));
    let part = (place[axis] - start) / (end - start);
    let is_square = form.square == Some(axis);
    Some(Answer {
        seconds: if is_square {
            let root = low.seconds.sqrt() + (high.seconds.sqrt() - low.seconds.sqrt()) * part;
            root * root
        } else {
            low.seconds + (high.seconds - low.seconds) * part
        },
        class: Class::Interpolated.max(low.class).max(high.class),
        source: if part < 0.5 { low.source } else { high.source },
    })
}

fn moved(place: &[f64; AXES], axis: usize, position: u32) -> [f64; AXES] {
    let mut there = *place;
    there[axis] = f64::from(position);
    there
}

/// Time at the utilisation of another point, from the speed of light of both.
pub(super) fn held(there: Answer, bound: f64, bound_there: f64) -> Answer {
    let ratio = if bound_there > 0.0 { bound / bound_there } else { 1.0 };
    Answer { class: Class::Extrapolated.max(there.class), ..there.scaled(ratio) }
}
