//! Layers of experts on devices of their own (FinDEP, arXiv:2512.21487, sections 3 and 4).
//!
//! Devices of the attention group hold all but the experts, those of the expert group the experts. The
//! samples of a step go through in micro-batches, the tokens of one on their way to the experts and back
//! in parts:
//!
//! ```text
//! attention-group       attention and what every token visits, layer by layer: of one micro-batch
//!                       after the other (ASAS), or all attentions of a layer first (AASS)
//! attention-to-expert   a dispatch of each part
//! expert-group          its experts
//! expert-to-attention   a combine of each part
//! ```
//!
//! Attention of the next layer waits for the same micro-batch's last combine and what every token visits.
//! With `r1` micro-batches of `a` seconds of attention and `s` of what every token visits, `r2` parts of
//! `c` each way and `e` of experts, `T` equal layers take in the order ASAS
//!
//! ```text
//! (T - 1) max(G, r1 F) + max(X, G) + (r1 - 1) F
//! X = a + s,  Y = max(e, c),  F = max(X, r2 Y),  G = a + 2 c + e + (r2 - 1) Y
//! ```
//!
//! The printed form adds `(r2 - 1) Y`, which `G` holds already. AASS has no such form: [`seconds`] follows
//! either order through all layers, one micro-batch after the other.

use super::replay::replay;
use super::{Cell, Order, Piece, Resource, Slowdowns, Stream};

/// Numbers of the ops, whose names are in [`super::moe::OPS`].
const DISPATCH: u32 = 0;
const EXPERTS: u32 = 2;
const COMBINE: u32 = 4;
const ATTENTION: u32 = 6;
const SHARED: u32 = 7;

/// In which order the attention group does a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turns {
    /// Attention of a micro-batch, then what all of its tokens visit, then the next micro-batch.
    #[default]
    Asas,
    /// Attention of all micro-batches, then what all of their tokens visit.
    Aass,
}

impl Turns {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Asas, Self::Aass];

    /// Name in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asas => "asas",
            Self::Aass => "aass",
        }
    }
}

/// Into how much a step is cut, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Micro-batches.
    pub micro_batches: u32,
    /// Parts of the tokens of one on their way to the experts and back.
    pub parts: u32,
    /// Order of the attention group.
    pub turns: Turns,
}

/// Seconds of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Attention of a micro-batch.
    pub attention_s: f64,
    /// What all tokens of a micro-batch visit: shared experts, or all of a feed-forward part.
    pub shared_s: f64,
    /// Of a part, each way, and at its experts; `None` where the layer has none.
    pub experts: Option<PartTimes>,
}

/// Seconds of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartTimes {
    /// Of its dispatch, and of its combine.
    pub exchange_s: f64,
    /// Of its experts.
    pub experts_s: f64,
}

/// Layers in the order of the model: how many of the same times one after the other.
pub type Layers = [(u32, Times)];

/// A layer by itself. Streams are the attention group, the links to the experts, the expert group and the
/// links back.
#[must_use]
pub fn layer(times: &Times, cut: &Cut) -> Cell {
    let (n, parts) = (cut.micro_batches.max(1), cut.parts.max(1));
    let stream = |resource| Stream { resource, order: Order::Stated(Vec::new()) };
    let mut cell = Cell::new(
        [
            Resource::AttentionGroup,
            Resource::AttentionToExpert,
            Resource::ExpertGroup,
            Resource::ExpertToAttention,
        ]
        .map(stream),
    );
    let shared = |cell: &mut Cell, nano_batch: u32, attention: usize| {
        if times.shared_s > 0.0 {
            append(cell, (SHARED, 0), (nano_batch, 0), times.shared_s, vec![attention]);
        }
    };
    let mut attentions = Vec::new();
    for nano_batch in 0..n {
        let attention =
            append(&mut cell, (ATTENTION, 0), (nano_batch, 0), times.attention_s, Vec::new());
        attentions.push(attention);
        if cut.turns == Turns::Asas {
            shared(&mut cell, nano_batch, attention);
        }
        let Some(PartTimes { exchange_s, experts_s }) = times.experts else { continue };
        for part in 0..parts {
            let at = (nano_batch, part);
            let sent = append(&mut cell, (DISPATCH, 1), at, exchange_s, vec![attention]);
            let done = append(&mut cell, (EXPERTS, 2), at, experts_s, vec![sent]);
            append(&mut cell, (COMBINE, 3), at, exchange_s, vec![done]);
        }
    }
    if cut.turns == Turns::Aass {
        (0..n)
            .zip(attentions)
            .for_each(|(nano_batch, attention)| shared(&mut cell, nano_batch, attention));
    }
    cell
}

/// A piece at the end of its stream.
fn append(
    cell: &mut Cell,
    (op, stream): (u32, usize),
    (nano_batch, part): (u32, u32),
    seconds: f64,
    after: Vec<usize>,
) -> usize {
    let piece = cell.add(Piece { op, nano_batch, part, stream, seconds, after });
    if let Order::Stated(order) = &mut cell.streams[stream].order {
        order.push(piece);
    }
    piece
}

/// Layers one after the other: attention waits for all of its micro-batch that nothing else waits for in
/// the layer before, and streams go on with the next layer where they end one.
#[must_use]
pub fn chain<'c>(layers: impl IntoIterator<Item = &'c Cell>) -> Cell {
    let mut all = Cell::default();
    // Of the layer before, its first piece and what nothing waits for.
    let mut ends: Vec<usize> = Vec::new();
    for layer in layers {
        let first = all.pieces.len();
        if all.streams.is_empty() {
            let empty =
                |stream: &Stream| Stream { order: Order::Stated(Vec::new()), ..stream.clone() };
            all.streams = layer.streams.iter().map(empty).collect();
        }
        for (stream, of_layer) in all.streams.iter_mut().zip(&layer.streams) {
            if let (Order::Stated(all), Order::Stated(order)) = (&mut stream.order, &of_layer.order)
            {
                all.extend(order.iter().map(|piece| first + piece));
            }
        }
        let mut is_end = vec![true; layer.pieces.len()];
        for piece in &layer.pieces {
            piece.after.iter().for_each(|before| is_end[*before] = false);
        }
        for piece in &layer.pieces {
            let mut after: Vec<usize> = piece.after.iter().map(|before| first + before).collect();
            if piece.op == ATTENTION {
                let is_own = |end: &&usize| all.pieces[**end].nano_batch == piece.nano_batch;
                after.extend(ends.iter().filter(is_own));
            }
            all.add(Piece { after, ..piece.clone() });
        }
        ends = (0..layer.pieces.len()).filter(|at| is_end[*at]).map(|at| first + at).collect();
    }
    all
}

/// Seconds of all layers by the replay.
#[must_use]
pub fn replayed_s(layers: &Layers, cut: &Cut) -> f64 {
    let cells: Vec<(u32, Cell)> = layers.iter().map(|(n, times)| (*n, layer(times, cut))).collect();
    let each = cells.iter().flat_map(|(n, cell)| (0..*n).map(move |_| cell));
    let times = replay(&chain(each), &Slowdowns::default());
    // Pieces wait for earlier ones alone.
    times.map_or(f64::INFINITY, |times| times.seconds())
}

/// When resources are free.
#[derive(Clone, Copy, Default)]
struct Free {
    attention: f64,
    there: f64,
    experts: f64,
    back: f64,
}

impl Free {
    /// The end of the last combine of a micro-batch whose attention ends then.
    fn through(&mut self, times: PartTimes, parts: f64, attended_s: f64) -> f64 {
        let PartTimes { exchange_s: c, experts_s: e } = times;
        let others = (parts - 1.0) * c.max(e);
        let sent = attended_s.max(self.there);
        let combined = (self.back + parts * c)
            .max(self.experts + e + c + others)
            .max(sent + 2.0 * c + e + others);
        self.there = sent + parts * c;
        self.experts = (self.experts + parts * e).max(sent + c + e + others);
        self.back = combined;
        combined
    }
}

/// Seconds of all layers, one micro-batch after the other: what the replay says.
#[must_use]
pub fn seconds(layers: &Layers, cut: &Cut) -> f64 {
    let parts = f64::from(cut.parts.max(1));
    let mut free = Free::default();
    let mut ready = vec![0.0_f64; cut.micro_batches.max(1) as usize];
    for (n, times) in layers {
        for _ in 0..*n {
            for ready in &mut ready {
                let attended = free.attention.max(*ready) + times.attention_s;
                free.attention = attended;
                if cut.turns == Turns::Asas {
                    free.attention += times.shared_s;
                }
                *ready = match times.experts {
                    Some(part) => free.through(part, parts, attended),
                    None => attended,
                };
                if cut.turns == Turns::Asas {
                    *ready = ready.max(free.attention);
                }
            }
            if cut.turns == Turns::Aass && times.shared_s > 0.0 {
                for ready in &mut ready {
                    free.attention += times.shared_s;
                    *ready = ready.max(free.attention);
                }
            }
        }
    }
    ready.into_iter().fold(0.0, f64::max)
}

/// Seconds of so many equal layers of experts in the order ASAS by the closed form.
#[must_use]
pub fn closed_form_s(times: &Times, n_layers: u32, cut: &Cut) -> f64 {
    let PartTimes { exchange_s: c, experts_s: e } = times.experts.unwrap_or_default();
    let (r1, r2) = (f64::from(cut.micro_batches.max(1)), f64::from(cut.parts.max(1)));
    let x = times.attention_s + times.shared_s;
    let y = e.max(c);
    let f = x.max(r2 * y);
    let g = times.attention_s + 2.0 * c + e + (r2 - 1.0) * y;
    (f64::from(n_layers) - 1.0) * g.max(r1 * f) + x.max(g) + (r1 - 1.0) * f
}

/// Seconds that no order of the pieces is below: what each resource does in all layers, after the least
/// that comes before it and before the least that follows, and the way of a micro-batch alone.
#[must_use]
pub fn bound_s(layers: &Layers, cut: &Cut) -> f64 {
    let (r1, r2) = (f64::from(cut.micro_batches.max(1)), f64::from(cut.parts.max(1)));
    let (mut attention, mut link, mut experts, mut way) = (0.0, 0.0, 0.0, 0.0);
    let mut first: Option<(f64, PartTimes)> = None;
    for (n, times) in layers {
        let n = f64::from(*n);
        let x = times.attention_s + times.shared_s;
        attention += n * r1 * x;
        let Some(PartTimes { exchange_s: c, experts_s: e }) = times.experts else {
            way += n * x;
            continue;
        };
        first.get_or_insert((way + times.attention_s, PartTimes { exchange_s: c, experts_s: e }));
        link += n * r1 * r2 * c;
        experts += n * r1 * r2 * e;
        way += n * x.max(times.attention_s + 2.0 * c + e + (r2 - 1.0) * c.max(e));
    }
    let (before, PartTimes { exchange_s: c, experts_s: e }) = first.unwrap_or_default();
    // What follows the experts of a layer is at least the way back, of any of them.
    let backs = layers.iter().filter_map(|(_, times)| times.experts);
    let least = backs
        .map(|part| [part.exchange_s, part.experts_s])
        .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])]);
    let [back, done] = least.unwrap_or_default();
    attention
        .max(way)
        .max(before + link + done + back)
        .max(before + c + experts + back)
        .max(before + c + e + link)
}

/// Seconds by the tokens of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Of none.
    pub start_up_s: f64,
    /// Of each.
    pub per_token_s: f64,
    /// However few there are.
    pub least_s: f64,
}

impl Line {
    /// Of so many.
    #[must_use]
    pub fn of(&self, tokens: u64) -> f64 {
        (self.start_up_s + tokens as f64 * self.per_token_s).max(self.least_s)
    }
}

/// Devices of both groups: of attention first.
pub type Groups = [u32; 2];

/// What layers take on two groups of devices, and what these hold.
pub trait Prices {
    /// Kinds of layers in the order of the model: how many one after the other, and which.
    fn layers(&self) -> &[(u32, usize)];

    /// Tokens of a sample in a step.
    fn tokens(&self) -> u64;

    /// Seconds of attention of so many samples on each device, and of what all of their tokens visit.
    fn attention_s(&self, kind: usize, samples: u64) -> [f64; 2];

    /// Seconds of tokens of all devices on their way to experts, and at the busiest device of these;
    /// `None` where layers of the kind have none.
    fn experts(&self, kind: usize, groups: Groups) -> Option<[Line; 2]>;

    /// Samples that a device of the attention group holds; 0 where either group does not hold its weights.
    fn most_samples(&self, groups: Groups) -> u64;
}

/// How a step is shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Devices.
    pub groups: Groups,
    /// Samples of a micro-batch on each device of the attention group.
    pub samples: u64,
    /// Micro-batches and parts.
    pub cut: Cut,
}

impl Split {
    /// Samples of a step.
    #[must_use]
    pub fn of_step(&self) -> u64 {
        let each = u64::from(self.groups[0]).saturating_mul(self.samples);
        each.saturating_mul(self.cut.micro_batches.into())
    }

    /// Tokens of a micro-batch on all devices.
    #[must_use]
    pub fn tokens(&self, prices: &dyn Prices) -> u64 {
        u64::from(self.groups[0]).saturating_mul(self.samples).saturating_mul(prices.tokens())
    }

    /// Times of all layers; a part has its share of the tokens, rounded up.
    #[must_use]
    pub fn times(&self, prices: &dyn Prices) -> Vec<(u32, Times)> {
        let tokens = self.tokens(prices).div_ceil(u64::from(self.cut.parts.max(1)));
        let of = |(n, kind): &(u32, usize)| {
            let [attention_s, shared_s] = prices.attention_s(*kind, self.samples);
            let experts = prices.experts(*kind, self.groups).map(|lines| {
                let [exchange_s, experts_s] = lines.map(|line| line.of(tokens));
                PartTimes { exchange_s, experts_s }
            });
            (*n, Times { attention_s, shared_s, experts })
        };
        prices.layers().iter().map(of).collect()
    }
}
