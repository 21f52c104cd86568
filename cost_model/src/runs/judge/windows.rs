//! What a rank does from the start to the end of the step, and the shares of windows of it, however
//! many passes fall into one.

use ir::grid::{Cell, Pass};

use super::Judged;
use super::memory::{Change, HoldingKind};
use super::report::{exposed, transfers_at};
use crate::ops::judge::replay::Span;

/// What a rank does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Forward pass.
    Forward,
    /// Whole backward pass, without recompute.
    Backward,
    /// Gradient of the input alone.
    BackwardInput,
    /// Gradient of the weights alone.
    BackwardWeight,
    /// Recompute, in a cell of its own or at the start of a backward pass.
    Recompute,
    /// Optimizer.
    Optimizer,
    /// Nothing but sending, receiving or exchanging gradients.
    Communication,
    /// Nothing.
    Bubble,
}

impl Doing {
    /// All, in the order of their declaration: position `i` is the one whose discriminant is `i`.
    pub const ALL: [Self; 8] = [
        Self::Forward,
        Self::Backward,
        Self::BackwardInput,
        Self::BackwardWeight,
        Self::Recompute,
        Self::Optimizer,
        Self::Communication,
        Self::Bubble,
    ];

    /// The word used in pictures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::BackwardInput => "backward, input",
            Self::BackwardWeight => "backward, weight",
            Self::Recompute => "recompute",
            Self::Optimizer => "optimizer",
            Self::Communication => "exposed communication",
            Self::Bubble => "bubble",
        }
    }

    const fn of(pass: Pass) -> Self {
        match pass {
            Pass::Forward => Self::Forward,
            Pass::Backward => Self::Backward,
            Pass::BackwardInput => Self::BackwardInput,
            Pass::BackwardWeight => Self::BackwardWeight,
            Pass::Recompute => Self::Recompute,
        }
    }
}

/// A part of the step of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When.
    pub span: Span,
    /// What the rank does.
    pub doing: Doing,
    /// The pass; `None` = it runs none.
    pub cell: Option<Cell>,
}

/// Nanoseconds by [`Doing`].
pub type Shares = [u64; Doing::ALL.len()];
/// Bytes by [`HoldingKind`].
pub type Levels = [u64; HoldingKind::ALL.len()];

/// The passes of a rank in order of time. A backward pass that recomputes first is two parts.
pub fn passes<'a>(judged: &'a Judged<'_>, rank: usize) -> impl Iterator<Item = Part> + 'a {
    let lowered = &judged.lowered;
    let row = lowered.grid.rows.get(rank).into_iter().flatten().enumerate();
    row.flat_map(move |(position, cell)| {
        let span = judged.timeline.cell(lowered, rank, position);
        let costs = &lowered.costs.stages[cell.stage.index()];
        let pass = match cell.pass {
            Pass::Backward => costs.backward.0,
            Pass::BackwardInput => costs.backward_input.0,
            _ => span.end - span.start,
        };
        let turn = span.end.saturating_sub(pass).max(span.start);
        let part = |start, end, doing| Part { span: Span { start, end }, doing, cell: Some(*cell) };
        let first = (span.start < turn).then(|| part(span.start, turn, Doing::Recompute));
        first.into_iter().chain([part(turn, span.end, Doing::of(cell.pass))])
    })
}

/// All that a rank does, from 0 to the end of the step without a gap; only passes take no time.
#[must_use]
pub fn parts(judged: &Judged<'_>, rank: usize) -> Vec<Part> {
    let Some(end) = judged.timeline.ends.get(rank) else { return Vec::new() };
    let part = |span, doing| Part { span, doing, cell: None };
    let optimizer = Some(part(end.optimizer, Doing::Optimizer));
    let mut busy: Vec<Part> = passes(judged, rank)
        .chain(optimizer.filter(|part| part.span.start < part.span.end))
        .collect();
    let mut sent = Vec::new();
    transfers_at(&judged.lowered, &judged.timeline, rank, &mut sent);
    let spans: Vec<Span> = busy.iter().map(|part| part.span).collect();
    exposed(&sent, spans.into_iter(), |span| busy.push(part(span, Doing::Communication)));
    busy.sort_by_key(|part| (part.span.start, part.span.end));
    let mut all = Vec::with_capacity(2 * busy.len() + 1);
    let mut at = 0;
    let step = judged.report.step_time.0;
    let last = part(Span { start: step, end: step }, Doing::Bubble);
    for next in busy.into_iter().chain([last]) {
        if at < next.span.start {
            all.push(part(Span { start: at, end: next.span.start }, Doing::Bubble));
        }
        at = next.span.end;
        all.push(next);
    }
    all.pop();
    all
}

/// Where a window of `n` begins, in nanoseconds of the step; window `n` begins at its end.
fn begin(step: u64, n: usize, window: usize) -> u64 {
    (u128::from(step) * window as u128 / n.max(1) as u128) as u64
}

/// What a rank does in each of `n` equal windows of the step; the nanoseconds of a window add up to
/// its length.
#[must_use]
pub fn shares(parts: &[Part], step: u64, n: usize) -> Vec<Shares> {
    let mut shares = vec![Shares::default(); n];
    let mut window = 0;
    for part in parts {
        let mut at = part.span.start;
        while at < part.span.end {
            while window + 1 < n && begin(step, n, window + 1) <= at {
                window += 1;
            }
            let end = match window + 1 < n {
                true => part.span.end.min(begin(step, n, window + 1)),
                false => part.span.end,
            };
            if let Some(share) = shares.get_mut(window) {
                share[part.doing as usize] += end - at;
            }
            at = end;
        }
    }
    shares
}

/// What lies on a rank in each of `n` equal windows of the step, where it is the most in each. The
/// greatest of all is the peak.
#[must_use]
pub fn levels(changes: &[Change], step: u64, n: usize) -> Vec<Levels> {
    let mut level = [0_i64; HoldingKind::ALL.len()];
    let mut changes = changes.iter().peekable();
    let total = |bytes: &[i64]| bytes.iter().sum::<i64>();
    let most = |window: usize| {
        let (from, to) = (begin(step, n, window), begin(step, n, window + 1));
        let mut most = changes.peek().is_none_or(|next| next.at > from).then_some(level);
        while let Some(at) = changes.peek().map(|next| next.at) {
            if at >= to && window + 1 < n {
                break;
            }
            while let Some(change) = changes.next_if(|next| next.at == at) {
                level[change.what as usize] += change.bytes;
            }
            if most.is_none_or(|known| total(&level) > total(&known)) {
                most = Some(level);
            }
        }
        most.unwrap_or(level).map(|bytes| u64::try_from(bytes).unwrap_or(0))
    };
    (0..n).map(most).collect()
}
