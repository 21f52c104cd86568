//! What runs at the same time inside a cell: pieces of work on streams, each of which runs one piece
//! after the other.
//!
//! A cell is one pass of a micro-batch through a layer or a stage, or a step of serving. Its ops are
//! cut into pieces: by samples into nano-batches, and along an op into parts. A stream is a queue on a
//! resource: the kernels of a device, a link, or a group of devices that act alike. Pieces start as
//! early as orders and predecessors allow ([`replay`]); [`verify`] looks at a timetable without the
//! replay, and nothing is below [`bound`].
//!
//! Everything goes by ids: a piece is its position in [`Cell::pieces`], an op a number that the caller
//! has names for.

pub mod bound;
pub mod groups;
pub mod interference;
pub mod moe;
pub mod moe_step;
pub mod period;
pub mod replay;
pub mod verify;

use std::collections::BTreeMap;

/// What a stream occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Kernels of a device.
    Compute,
    /// Links between the devices of a host.
    IntraNode,
    /// Links between hosts.
    InterNode,
    /// The link to the memory of the host.
    Host,
    /// Devices that hold attention.
    AttentionGroup,
    /// Devices that hold experts.
    ExpertGroup,
    /// Links from attention to experts.
    AttentionToExpert,
    /// Links from experts to attention.
    ExpertToAttention,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Compute,
        Self::IntraNode,
        Self::InterNode,
        Self::Host,
        Self::AttentionGroup,
        Self::ExpertGroup,
        Self::AttentionToExpert,
        Self::ExpertToAttention,
    ];

    /// Name in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::IntraNode => "intra-node",
            Self::InterNode => "inter-node",
            Self::Host => "host",
            Self::AttentionGroup => "attention-group",
            Self::ExpertGroup => "expert-group",
            Self::AttentionToExpert => "attention-to-expert",
            Self::ExpertToAttention => "expert-to-attention",
        }
    }

    /// The resource of a name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.name() == name)
    }
}

/// A piece of work, not interrupted once it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Number of the op that it is of.
    pub op: u32,
    /// Which part of the samples, from 0.
    pub nano_batch: u32,
    /// Which part of the op, from 0.
    pub part: u32,
    /// Position of its stream.
    pub stream: usize,
    /// Seconds alone, from 0 up.
    pub seconds: f64,
    /// Pieces that end before it starts.
    pub after: Vec<usize>,
}

/// Which piece of a stream is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// All its pieces, one after the other; the next one is waited for.
    Stated(Vec<usize>),
    /// Of those whose predecessors have ended, the one that waited longest, then the one of the least
    /// position.
    FirstReady,
}

/// A queue of pieces on a resource. Several streams of one resource run beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What it occupies.
    pub resource: Resource,
    /// Which piece is next.
    pub order: Order,
}

/// Pieces and streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// All pieces.
    pub pieces: Vec<Piece>,
    /// All streams.
    pub streams: Vec<Stream>,
}

impl Cell {
    /// A cell of streams without pieces.
    #[must_use]
    pub fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        Self { pieces: Vec::new(), streams: streams.into_iter().collect() }
    }

    /// Adds a piece, without a place in a stated order; its position.
    pub fn add(&mut self, piece: Piece) -> usize {
        self.pieces.push(piece);
        self.pieces.len() - 1
    }

    /// The same cell with all orders stated, as a timetable has them: its replay has the same times.
    #[must_use]
    pub fn stated(&self, times: &Timetable) -> Self {
        let mut cell = self.clone();
        for (stream, order) in cell.streams.iter_mut().zip(&times.orders) {
            stream.order = Order::Stated(order.clone());
        }
        cell
    }
}

/// When a piece runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Seconds after the start of the cell.
    pub start_s: f64,
    /// The same of its end.
    pub end_s: f64,
}

/// When each piece runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timetable {
    /// By piece.
    pub spans: Vec<Span>,
    /// By stream its pieces in the order in which they start.
    pub orders: Vec<Vec<usize>>,
}

impl Timetable {
    /// Seconds from the start to the last end.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.spans.iter().fold(0.0, |last, span| span.end_s.max(last))
    }
}

/// How much ops slow each other that run at the same time on different streams: work that takes 1 s
/// alone takes 1 s and the sum of these, as [`crate::links::overlap`] has it. Nothing is slowed by what
/// is not stated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slowdowns {
    of: BTreeMap<(u32, u32), f64>,
}

impl Slowdowns {
    /// From slowdowns by slowed op and the op beside it; `None` if one is negative or not finite.
    #[must_use]
    pub fn new(of: impl IntoIterator<Item = ((u32, u32), f64)>) -> Option<Self> {
        let of: BTreeMap<_, _> = of.into_iter().collect();
        of.values().all(|slowdown| slowdown.is_finite() && *slowdown >= 0.0).then_some(Self { of })
    }

    /// Whether nothing slows anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What a second of an op takes longer beside another one.
    #[must_use]
    pub fn beside(&self, op: u32, other: u32) -> f64 {
        self.of.get(&(op, other)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
