//! The timetable of a cell: everything as early as orders and predecessors allow.
//!
//! Time goes from one end of a piece to the next one. A piece that nothing slows ends at its start plus
//! its seconds to the last bit; one that is slowed keeps the work that is left whenever what runs
//! beside it changes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Cell, Order, Slowdowns, Span, Timetable};

/// Pieces that never start: orders and predecessors wait for each other, or an order lacks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// In order of their positions.
    pub pieces: Vec<usize>,
}

/// When each piece runs.
///
/// # Errors
/// [`Stuck`].
pub fn replay(cell: &Cell, slowdowns: &Slowdowns) -> Result<Timetable, Stuck> {
    let mut state = State::new(cell, slowdowns);
    loop {
        state.start_all();
        if !slowdowns.is_empty() {
            state.slow();
        }
        let Some(next) =
            state.running.iter().flatten().map(|running| running.end_s).reduce(f64::min)
        else {
            break;
        };
        state.now = next;
        state.end_all();
    }
    let never = |piece: &usize| !state.is_started[*piece];
    let pieces: Vec<usize> = (0..cell.pieces.len()).filter(never).collect();
    match pieces.is_empty() {
        true => Ok(Timetable { spans: state.spans, orders: state.orders }),
        false => Err(Stuck { pieces }),
    }
}

/// A piece that runs.
#[derive(Clone, Copy)]
struct Running {
    piece: usize,
    /// Seconds alone that were left at `since_s`.
    left_s: f64,
    since_s: f64,
    /// Seconds that a second of it takes since then.
    longer: f64,
    end_s: f64,
}

/// A time that is no NaN, in the order of times.
#[derive(Clone, Copy, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

struct State<'a> {
    cell: &'a Cell,
    slowdowns: &'a Slowdowns,
    now: f64,
    spans: Vec<Span>,
    is_started: Vec<bool>,
    /// By piece the predecessors that have not ended.
    n_awaited: Vec<usize>,
    /// By piece where its followers begin in `followers`.
    first: Vec<usize>,
    followers: Vec<usize>,
    /// By stream.
    running: Vec<Option<Running>>,
    /// By stream what it has started.
    orders: Vec<Vec<usize>>,
    /// By stream of which the first that is ready runs, since when pieces are.
    ready: Vec<BinaryHeap<Reverse<(Time, usize)>>>,
}

impl<'a> State<'a> {
    fn new(cell: &'a Cell, slowdowns: &'a Slowdowns) -> Self {
        let (n, n_streams) = (cell.pieces.len(), cell.streams.len());
        // A predecessor that there is none of never ends.
        let n_awaited = cell.pieces.iter().map(|piece| piece.after.len()).collect();
        let mut first = vec![0; n + 1];
        let known =
            || cell.pieces.iter().flat_map(|piece| &piece.after).filter(|before| **before < n);
        known().for_each(|before| first[before + 1] += 1);
        (0..n).for_each(|at| first[at + 1] += first[at]);
        let mut followers = vec![0; first[n]];
        let mut next = first.clone();
        for (piece, this) in cell.pieces.iter().enumerate() {
            for before in this.after.iter().filter(|before| **before < n) {
                followers[next[*before]] = piece;
                next[*before] += 1;
            }
        }
        let mut state = Self {
            cell,
            slowdowns,
            now: 0.0,
            spans: vec![Span::default(); n],
            is_started: vec![false; n],
            n_awaited,
            first,
            followers,
            running: vec![None; n_streams],
            orders: vec![Vec::new(); n_streams],
            ready: vec![BinaryHeap::new(); n_streams],
        };
        (0..n)
            .filter(|piece| cell.pieces[*piece].after.is_empty())
            .for_each(|piece| state.wait(piece));
        state
    }

    /// A piece has no predecessor left.
    fn wait(&mut self, piece: usize) {
        let stream = self.cell.pieces[piece].stream;
        let order = self.cell.streams.get(stream).map(|stream| &stream.order);
        if order == Some(&Order::FirstReady) {
            self.ready[stream].push(Reverse((Time(self.now), piece)));
        }
    }

    fn start_all(&mut self) {
        for stream in 0..self.running.len() {
            if self.running[stream].is_some() {
                continue;
            }
            let Some(piece) = self.next(stream) else { continue };
            // What is no number of seconds takes none: verification names it.
            let left_s = self.cell.pieces[piece].seconds.max(0.0);
            let (since_s, end_s) = (self.now, self.now + left_s);
            self.is_started[piece] = true;
            self.orders[stream].push(piece);
            self.spans[piece] = Span { start_s: since_s, end_s };
            self.running[stream] = Some(Running { piece, left_s, since_s, longer: 1.0, end_s });
        }
    }

    /// The piece that a stream can start now.
    fn next(&mut self, stream: usize) -> Option<usize> {
        let Order::Stated(order) = &self.cell.streams[stream].order else {
            return self.ready[stream].pop().map(|Reverse((_, piece))| piece);
        };
        let piece = *order.get(self.orders[stream].len())?;
        let this = self.cell.pieces.get(piece)?;
        let is_next =
            this.stream == stream && !self.is_started[piece] && self.n_awaited[piece] == 0;
        is_next.then_some(piece)
    }

    /// Ends of what runs, by all that runs beside it.
    fn slow(&mut self) {
        let op = |running: &Running| self.cell.pieces[running.piece].op;
        let running = self.running.iter().enumerate();
        let beside: Vec<(usize, u32)> =
            running.filter_map(|(at, slot)| Some((at, op(slot.as_ref()?)))).collect();
        for &(stream, op) in &beside {
            let others = beside.iter().filter(|(at, _)| *at != stream);
            let longer =
                1.0 + others.map(|(_, other)| self.slowdowns.beside(op, *other)).sum::<f64>();
            let Some(running) =
                self.running[stream].as_mut().filter(|running| running.longer != longer)
            else {
                continue;
            };
            running.left_s =
                (running.left_s - (self.now - running.since_s) / running.longer).max(0.0);
            (running.since_s, running.longer) = (self.now, longer);
            running.end_s = self.now + running.left_s * longer;
            self.spans[running.piece].end_s = running.end_s;
        }
    }

    /// Ends what ends now.
    fn end_all(&mut self) {
        for stream in 0..self.running.len() {
            let Some(ended) = self.running[stream].filter(|running| running.end_s <= self.now)
            else {
                continue;
            };
            self.running[stream] = None;
            for at in self.first[ended.piece]..self.first[ended.piece + 1] {
                let follower = self.followers[at];
                self.n_awaited[follower] -= 1;
                if self.n_awaited[follower] == 0 {
                    self.wait(follower);
                }
            }
        }
    }
}
