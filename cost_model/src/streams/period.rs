//! Equal layers, one after the other, whose samples go through in nano-batches: what a layer takes in the
//! steady state.
//!
//! A nano-batch goes through the pieces of a layer one after the other, and then into the next layer. Each
//! stream repeats an order of all its pieces, once in a period; in a period the first pieces of a
//! nano-batch may be of the next layer already ([`Orders::ahead`]). A piece waits for another one of the
//! same period or of the one before, so that
//!
//! ```text
//! cycle   of all circles of waiting the greatest sum of seconds over periods gone back
//! ```
//!
//! where nothing is slowed; what is slowed is replayed for [`REPLAYED`] layers.

use super::replay::{Stuck, replay};
use super::{Cell, Order, Piece, Resource, Slowdowns, Stream, Timetable};

/// Layers that are replayed to see what one takes where ops slow each other.
pub const REPLAYED: usize = 28;
/// The layers between whose ends time is looked at.
const BETWEEN: [usize; 2] = [12, 24];

/// A piece of a nano-batch in each layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Position of its stream.
    pub stream: usize,
    /// Seconds alone.
    pub seconds: f64,
}

/// What each layer does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Period {
    /// What streams occupy.
    pub streams: Vec<Resource>,
    /// By nano-batch its pieces, in order.
    pub chains: Vec<Vec<Step>>,
}

/// In which order streams run the pieces of a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// By stream: nano-batches and positions in them.
    pub streams: Vec<Vec<(usize, usize)>>,
    /// By nano-batch, how many of its first pieces are of the next layer.
    pub ahead: Vec<usize>,
}

/// A wait: the piece that is waited for, the one that waits, and whether the former is of the period
/// before.
type Wait = (usize, usize, bool);

impl Period {
    /// The number of a piece, which its op has in [`Self::layers`].
    #[must_use]
    pub fn number(&self, (nano_batch, at): (usize, usize)) -> usize {
        self.chains.iter().take(nano_batch).map(Vec::len).sum::<usize>() + at
    }

    /// All pieces by number.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.chains.concat()
    }

    /// Seconds of all pieces.
    #[must_use]
    pub fn work_s(&self) -> f64 {
        self.chains.iter().flatten().map(|step| step.seconds).sum()
    }

    /// Seconds of a layer that no orders are below, at best so many seconds of work in one: the pieces of
    /// a stream, those of a nano-batch, and all of them at that rate.
    #[must_use]
    pub fn bound_s(&self, rate: f64) -> f64 {
        let sum = |chain: &Vec<Step>| chain.iter().map(|step| step.seconds).sum::<f64>();
        let of_chains = self.chains.iter().map(sum).fold(0.0, f64::max);
        (0..self.streams.len())
            .map(|stream| self.stream_s(stream))
            .fold(of_chains, f64::max)
            .max(self.work_s() / rate.max(1.0))
    }

    /// Seconds of the pieces of a stream.
    #[must_use]
    pub fn stream_s(&self, stream: usize) -> f64 {
        let steps = self.chains.iter().flatten().filter(|step| step.stream == stream);
        steps.map(|step| step.seconds).fold(0.0, |sum, seconds| sum + seconds)
    }

    /// Whether orders name every piece of each stream once.
    #[must_use]
    pub fn has(&self, orders: &Orders) -> bool {
        let mut there = vec![false; self.steps().len()];
        let mut is_new = |stream: usize, at: (usize, usize)| {
            let step = self.chains.get(at.0).and_then(|chain| chain.get(at.1));
            let is_own = step.is_some_and(|step| step.stream == stream);
            is_own && !std::mem::replace(&mut there[self.number(at)], true)
        };
        let mut all = orders.streams.iter().enumerate();
        all.all(|(stream, order)| order.iter().all(|at| is_new(stream, *at)))
            && there.iter().all(|is_there| *is_there)
            && orders.streams.len() == self.streams.len()
            && orders.ahead.len() == self.chains.len()
            && orders.ahead.iter().zip(&self.chains).all(|(ahead, chain)| *ahead <= chain.len())
    }

    fn waits(&self, orders: &Orders) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (nano_batch, (chain, ahead)) in self.chains.iter().zip(&orders.ahead).enumerate() {
            let number = |at| self.number((nano_batch, at));
            for at in 1..chain.len() {
                waits.push((number(at - 1), number(at), at == *ahead));
            }
            if !chain.is_empty() {
                // Where some are of the next layer, they follow the last one in the same period.
                let is_before = *ahead == 0 || *ahead == chain.len();
                waits.push((number(chain.len() - 1), number(0), is_before));
            }
        }
        for order in &orders.streams {
            for (at, place) in order.iter().enumerate() {
                let (next, is_before) = (order[(at + 1) % order.len()], at + 1 == order.len());
                waits.push((self.number(*place), self.number(next), is_before));
            }
        }
        waits
    }

    /// Seconds of a layer in the steady state; `None` where pieces wait for each other, or for pieces
    /// that orders lack.
    #[must_use]
    pub fn cycle_s(&self, orders: &Orders, slowdowns: &Slowdowns) -> Option<f64> {
        if !self.has(orders) {
            return None;
        }
        if slowdowns.is_empty() {
            return cycle_ratio(&self.steps(), &self.waits(orders), self.bound_s(1e300));
        }
        let times = self.replayed(orders, REPLAYED, slowdowns).ok()?;
        let n = self.steps().len();
        let end = |layer: usize, step: usize| times.spans[layer * n + step].end_s;
        let [from, to] = BETWEEN;
        let each = (0..n).map(|step| (end(to, step) - end(from, step)) / (to - from) as f64);
        Some(each.fold(0.0, f64::max))
    }

    /// The pieces of so many layers from the first to the last one, each op by its number in the period.
    #[must_use]
    pub fn layers(&self, orders: &Orders, n_layers: usize) -> Cell {
        let n = self.steps().len();
        let at = |layer: usize, place| layer * n + self.number(place);
        let mut cell = Cell::default();
        for layer in 0..n_layers {
            for (nano_batch, chain) in self.chains.iter().enumerate() {
                for (position, step) in chain.iter().enumerate() {
                    let before = match (position, layer) {
                        (0, 0) => None,
                        (0, _) => Some(at(layer - 1, (nano_batch, chain.len() - 1))),
                        _ => Some(at(layer, (nano_batch, position - 1))),
                    };
                    cell.add(Piece {
                        op: self.number((nano_batch, position)) as u32,
                        nano_batch: nano_batch as u32,
                        part: 0,
                        stream: step.stream,
                        seconds: step.seconds,
                        after: before.into_iter().collect(),
                    });
                }
            }
        }
        // A period before the first one runs what of the first layer is ahead.
        let of_period = |period: usize, place: &(usize, usize)| {
            let is_ahead = orders.ahead.get(place.0).is_some_and(|ahead| place.1 < *ahead);
            let layer = if is_ahead { Some(period) } else { period.checked_sub(1) };
            layer.filter(|layer| *layer < n_layers).map(|layer| at(layer, *place))
        };
        for (resource, order) in self.streams.iter().zip(&orders.streams) {
            let periods = 0..=n_layers;
            let order = periods
                .flat_map(|period| order.iter().filter_map(move |place| of_period(period, place)));
            cell.streams
                .push(Stream { resource: *resource, order: Order::Stated(order.collect()) });
        }
        cell
    }

    /// The timetable of so many layers.
    ///
    /// # Errors
    /// [`Stuck`].
    pub fn replayed(
        &self,
        orders: &Orders,
        n_layers: usize,
        slowdowns: &Slowdowns,
    ) -> Result<Timetable, Stuck> {
        replay(&self.layers(orders, n_layers), slowdowns)
    }
}

/// Of all circles the greatest sum of seconds over the periods gone back, from a value that none of them
/// is below on; `None` where one goes back none.
fn cycle_ratio(steps: &[Step], waits: &[Wait], at_least: f64) -> Option<f64> {
    if !is_live(steps.len(), waits) {
        return None;
    }
    let mut ratio = at_least;
    while let Some(greater) = longer_circle(steps, waits, ratio) {
        ratio = greater;
    }
    Some(ratio)
}

/// Whether waits inside a period are in no circle.
fn is_live(n: usize, waits: &[Wait]) -> bool {
    let mut n_before = vec![0_usize; n];
    let inside = || waits.iter().filter(|wait| !wait.2);
    inside().for_each(|wait| n_before[wait.1] += 1);
    let mut free: Vec<usize> = (0..n).filter(|piece| n_before[*piece] == 0).collect();
    let mut at = 0;
    while let Some(piece) = free.get(at).copied() {
        at += 1;
        for wait in inside().filter(|wait| wait.0 == piece) {
            n_before[wait.1] -= 1;
            if n_before[wait.1] == 0 {
                free.push(wait.1);
            }
        }
    }
    free.len() == n
}

/// The ratio of a circle that is above a ratio (Bellman and Ford's longest ways).
fn longer_circle(steps: &[Step], waits: &[Wait], ratio: f64) -> Option<f64> {
    let n = steps.len();
    let (mut way, mut from) = (vec![0.0_f64; n], vec![None; n]);
    let tolerance = 1e-12 * ratio.max(f64::MIN_POSITIVE);
    let mut last = None;
    for _ in 0..=n {
        last = None;
        for (index, (a, b, is_before)) in waits.iter().enumerate() {
            let longer = way[*a] + steps[*a].seconds - if *is_before { ratio } else { 0.0 };
            if longer > way[*b] + tolerance {
                (way[*b], from[*b], last) = (longer, Some(index), Some(*b));
            }
        }
        last?;
    }
    // As many steps back as there are pieces end on a circle.
    let back = |piece: usize| from[piece].map(|index: usize| waits[index]);
    let mut on = last?;
    for _ in 0..n {
        on = back(on)?.0;
    }
    let (mut seconds, mut periods, mut piece) = (0.0, 0_u32, on);
    loop {
        let (before, _, is_before) = back(piece)?;
        seconds += steps[before].seconds;
        periods += u32::from(is_before);
        piece = before;
        if piece == on {
            break;
        }
    }
    let found = seconds / f64::from(periods.max(1));
    (found > ratio).then_some(found)
}
