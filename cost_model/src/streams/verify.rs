//! Rules of cells and timetables, looked at without anything that makes them.

use super::{Cell, Order, Slowdowns, Timetable};

/// What times may be off by, as a part of the whole timetable.
const TOLERANCE: f64 = 1e-9;

/// A rule that a cell or a timetable breaks. Pieces are positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Seconds that are none.
    BadSeconds {
        /// The piece.
        piece: usize,
    },
    /// A piece on a stream that there is none of.
    NoStream {
        /// The piece.
        piece: usize,
    },
    /// A predecessor that there is none of.
    NoPiece {
        /// The piece that waits.
        piece: usize,
        /// What it waits for.
        before: usize,
    },
    /// An order that names a piece twice, one of another stream, or none.
    NotOnce {
        /// The stream.
        stream: usize,
        /// The piece.
        piece: usize,
    },
    /// An order that lacks a piece of its stream.
    Missing {
        /// The stream.
        stream: usize,
        /// The piece.
        piece: usize,
    },
    /// A timetable of another number of pieces.
    OtherPieces {
        /// Of the timetable.
        timed: usize,
        /// Of the cell.
        pieces: usize,
    },
    /// A piece that runs shorter than alone, or longer where nothing slows it.
    BadSpan {
        /// The piece.
        piece: usize,
    },
    /// A piece that starts before a predecessor has ended.
    TooEarly {
        /// The piece.
        piece: usize,
        /// Its predecessor.
        before: usize,
    },
    /// Two pieces of a stream at the same time.
    Together {
        /// The stream.
        stream: usize,
        /// Both, in the order of their starts.
        pieces: [usize; 2],
    },
    /// A piece that runs before another one, against the order of their stream.
    OutOfOrder {
        /// The stream.
        stream: usize,
        /// Both, in the order of their starts.
        pieces: [usize; 2],
    },
}

/// All rules that a cell breaks.
#[must_use]
pub fn cell(cell: &Cell) -> Vec<Violation> {
    let mut found = Vec::new();
    for (piece, this) in cell.pieces.iter().enumerate() {
        if !(this.seconds.is_finite() && this.seconds >= 0.0) {
            found.push(Violation::BadSeconds { piece });
        }
        if this.stream >= cell.streams.len() {
            found.push(Violation::NoStream { piece });
        }
        let unknown = this.after.iter().filter(|before| **before >= cell.pieces.len());
        found.extend(unknown.map(|before| Violation::NoPiece { piece, before: *before }));
    }
    for (stream, this) in cell.streams.iter().enumerate() {
        let Order::Stated(order) = &this.order else { continue };
        found.extend(once(cell, (stream, order)));
    }
    found
}

/// All rules that a timetable breaks, those of its cell first.
#[must_use]
pub fn verify(of: &Cell, times: &Timetable, slowdowns: &Slowdowns) -> Vec<Violation> {
    let mut found = cell(of);
    let (timed, pieces) = (times.spans.len(), of.pieces.len());
    if timed != pieces {
        found.push(Violation::OtherPieces { timed, pieces });
    }
    if !found.is_empty() {
        return found;
    }
    let off = TOLERANCE * times.seconds().abs();
    for (piece, (this, span)) in of.pieces.iter().zip(&times.spans).enumerate() {
        let longer = span.end_s - span.start_s - this.seconds;
        let is_sound = span.start_s >= 0.0
            && longer >= -off
            && span.end_s.is_finite()
            && (longer <= off || !slowdowns.is_empty());
        if !is_sound {
            found.push(Violation::BadSpan { piece });
        }
        let early =
            this.after.iter().filter(|before| times.spans[**before].end_s > span.start_s + off);
        found.extend(early.map(|before| Violation::TooEarly { piece, before: *before }));
    }
    for stream in 0..of.streams.len() {
        found.extend(of_stream(of, times, (stream, off)));
    }
    found
}

/// Pieces of a stream against each other.
fn of_stream(of: &Cell, times: &Timetable, (stream, off): (usize, f64)) -> Vec<Violation> {
    let spans = &times.spans;
    let order = times.orders.get(stream).map_or(&[][..], Vec::as_slice);
    let mut found = once(of, (stream, order));
    if !found.is_empty() {
        return found;
    }
    // Where the first that is ready runs, nothing runs before what was ready before it.
    let ready = |piece: usize| {
        let ends = of.pieces[piece].after.iter().map(|before| spans[*before].end_s);
        ends.fold(0.0, f64::max)
    };
    let is_first_ready = of.streams[stream].order == Order::FirstReady;
    for pair in order.windows(2) {
        let [one, next] = [pair[0], pair[1]];
        if spans[one].start_s > spans[next].start_s + off
            || is_first_ready && ready(one) > ready(next) + off
        {
            found.push(Violation::OutOfOrder { stream, pieces: [one, next] });
        } else if spans[one].end_s > spans[next].start_s + off {
            found.push(Violation::Together { stream, pieces: [one, next] });
        }
    }
    if let Order::Stated(stated) = &of.streams[stream].order {
        let other = stated.iter().zip(order).find(|(stated, ran)| stated != ran);
        found.extend(
            other.map(|(next, ran)| Violation::OutOfOrder { stream, pieces: [*ran, *next] }),
        );
    }
    found
}

/// Whether an order names every piece of its stream once.
fn once(of: &Cell, (stream, order): (usize, &[usize])) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut is_there = vec![false; of.pieces.len()];
    for piece in order {
        let known = of.pieces.get(*piece).filter(|known| known.stream == stream);
        match known.is_some() && !is_there[*piece] {
            true => is_there[*piece] = true,
            false => found.push(Violation::NotOnce { stream, piece: *piece }),
        }
    }
    let pieces = (0..of.pieces.len()).filter(|piece| of.pieces[*piece].stream == stream);
    let missing = pieces.filter(|piece| !is_there[*piece]);
    found.extend(missing.map(|piece| Violation::Missing { stream, piece }));
    found
}
