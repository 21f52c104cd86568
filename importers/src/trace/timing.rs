//! How long the ops of a trace took: the times of a profile of the same run, laid on them.
//!
//! On the host a call's own time is that between the calls inside it. Time of calls that are no
//! ops, such as views, composite operators and nodes of the autograd graph, goes to the next op of
//! their thread: it is spent on the way there. Where a device ran kernels, theirs is the time of
//! the op that launched them, and the host's does not count.

use std::collections::HashMap;

use super::forest::{Forest, Unit, is_collective};
use super::kineto::{Profile, Span};

/// Times of the units of a forest, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing {
    /// By unit, in which it or what led to it ran; `None` where the profile knows it not.
    pub(super) times: Vec<Option<u64>>,
    /// By unit, for how long nothing ran before it, nor any message was under way.
    pub(super) idle: Vec<u64>,
    /// Time of all calls of operators, or of all kernels.
    pub(super) total: u64,
    /// As much of it as units have.
    pub(super) landed: u64,
    /// From the first event to the end of the last.
    pub(super) step: u64,
}

/// Lays the times of a profile on units.
pub(super) fn land(forest: &Forest, units: &[Unit], profile: &Profile) -> Timing {
    let mut lander = Lander::new(forest, units);
    let n = units.len();
    let mut timing = Timing { times: vec![None; n], idle: vec![0; n], ..Timing::default() };
    if profile.runs.is_empty() {
        lander.host(profile, &mut timing);
    } else {
        lander.device(profile, &mut timing);
    }
    timing
}

/// Whose time a call's own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Unit(usize),
    /// The next unit's.
    Next,
    /// A call that the forest does not have.
    Nobody,
    /// An annotation: nobody's.
    Idle,
}

struct Lander {
    /// By call, whose it is.
    owners: Vec<Owner>,
    /// By number of the record, its call.
    by_record: HashMap<u64, usize>,
    /// Calls that wait for a message in a thread of their own.
    is_message: Vec<bool>,
}

/// A stretch of time in one call.
struct Piece {
    start: i64,
    end: i64,
    owner: Owner,
}

impl Lander {
    fn new(forest: &Forest, units: &[Unit]) -> Self {
        let mut owners = vec![Owner::Next; forest.calls.len()];
        let mut is_message = vec![false; forest.calls.len()];
        for (position, unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_view) {
            for call in forest.inside(unit.call) {
                owners[call] = Owner::Unit(position);
            }
        }
        // A backend's own thread does the work of the collective before it on the same memory.
        let mut last: HashMap<u64, usize> = HashMap::new();
        for (at, call) in forest.calls.iter().enumerate() {
            let is_backend = ["gloo:", "nccl:", "mpi:", "ucc:"]
                .iter()
                .any(|backend| call.name.starts_with(backend));
            for operand in &call.inputs {
                match owners[at] {
                    Owner::Unit(unit) if is_collective(&call.name) => {
                        last.insert(operand.storage, unit);
                    }
                    Owner::Next if is_backend => {
                        if let Some(unit) = last.get(&operand.storage) {
                            owners[at] = Owner::Unit(*unit);
                            is_message[at] = true;
                        }
                    }
                    _ => {}
                }
            }
        }
        let records = forest.calls.iter().enumerate().filter(|(_, call)| call.record != 0);
        let by_record = records.map(|(at, call)| (call.record, at)).collect();
        Self { owners, by_record, is_message }
    }

    fn owner(&self, span: &Span) -> Owner {
        let call = self.by_record.get(&span.record).filter(|_| span.record != 0);
        match call {
            Some(call) if span.is_operator || self.is_message[*call] => self.owners[*call],
            _ if span.is_operator => Owner::Nobody,
            _ => Owner::Idle,
        }
    }

    fn is_message(&self, span: &Span) -> bool {
        self.by_record.get(&span.record).is_some_and(|call| self.is_message[*call])
    }

    fn host(&mut self, profile: &Profile, timing: &mut Timing) {
        let mut order: Vec<u32> = (0..profile.spans.len()).map(|at| at as u32).collect();
        let span = |at: u32| &profile.spans[at as usize];
        order.sort_by_key(|at| {
            let span = span(*at);
            (span.thread, span.start, std::cmp::Reverse(span.duration))
        });
        let messages = Busy::of(
            profile
                .spans
                .iter()
                .filter(|own| self.is_message(own))
                .map(|own| (own.start, own.end())),
        );
        let mut ops: Vec<(i64, i64, usize)> = Vec::new();
        for spans in order.chunk_by(|a, b| span(*a).thread == span(*b).thread) {
            let pieces = self.pieces(spans.iter().map(|at| span(*at)));
            self.thread(&pieces, &messages, timing, &mut ops);
        }
        let starts = profile.spans.iter().map(|span| span.start).min();
        let ends = profile.spans.iter().map(Span::end).max();
        let (Some(start), Some(end)) = (starts, ends) else { return };
        ops.extend(messages.0.iter().map(|(start, end)| (*start, *end, usize::MAX)));
        idle(ops, (start, end), timing);
    }

    /// The own time of all calls of a thread, in order; nested spans come after those around them.
    fn pieces<'s>(&self, spans: impl Iterator<Item = &'s Span>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut stack: Vec<(i64, Owner)> = Vec::new();
        let mut now = i64::MIN;
        let mut pass = |now: &mut i64, until: i64, owner: Owner| {
            if until > *now && owner != Owner::Idle {
                pieces.push(Piece { start: *now, end: until, owner });
            }
            *now = until.max(*now);
        };
        for span in spans {
            while let Some((end, owner)) =
                stack.last().copied().filter(|(end, _)| *end <= span.start)
            {
                pass(&mut now, end, owner);
                stack.pop();
            }
            if let Some((_, owner)) = stack.last() {
                pass(&mut now, span.start, *owner);
            }
            now = now.max(span.start);
            let around = stack.last().map_or(Owner::Idle, |(_, owner)| *owner);
            let owner = match (self.owner(span), around) {
                // What is inside an op belongs to it, whether the trace has it or not.
                (Owner::Nobody, around) if around != Owner::Idle => around,
                (own, _) => own,
            };
            stack.push((span.end(), owner));
        }
        while let Some((end, owner)) = stack.pop() {
            pass(&mut now, end, owner);
        }
        pieces
    }

    /// Adds the pieces of a thread to the units, and notes when it was at work.
    fn thread(
        &self,
        pieces: &[Piece],
        messages: &Busy,
        timing: &mut Timing,
        ops: &mut Vec<(i64, i64, usize)>,
    ) {
        let (mut pending, mut since) = (0u64, None);
        let mut last = None;
        for piece in pieces {
            let length = piece.end.abs_diff(piece.start);
            timing.total += length;
            match piece.owner {
                Owner::Unit(unit) => {
                    *timing.times[unit].get_or_insert(0) += length + pending;
                    timing.landed += length + pending;
                    pending = 0;
                    for start in
                        since.take().into_iter().flatten().chain([(piece.start, piece.end)])
                    {
                        ops.push((start.0, start.1, unit));
                    }
                    last = Some(unit);
                }
                Owner::Next => {
                    // Who waits for a message does not work.
                    let waits = messages.overlap(piece.start, piece.end).min(length);
                    pending += length - waits;
                    timing.total -= waits;
                    since.get_or_insert_with(Vec::new).push((piece.start, piece.end));
                }
                Owner::Nobody | Owner::Idle => {}
            }
        }
        if let Some(unit) = last {
            *timing.times[unit].get_or_insert(0) += pending;
            timing.landed += pending;
            let rest = since.into_iter().flatten();
            ops.extend(rest.map(|(start, end)| (start, end, unit)));
        }
    }

    fn device(&mut self, profile: &Profile, timing: &mut Timing) {
        let records: HashMap<u64, u64> =
            profile.spans.iter().map(|span| (span.external, span.record)).collect();
        let mut ops = Vec::with_capacity(profile.runs.len());
        for run in &profile.runs {
            timing.total += run.duration;
            let external = match run.external {
                0 => profile.launches.get(&run.correlation).copied().unwrap_or(0),
                external => external,
            };
            let call = records.get(&external).and_then(|record| self.by_record.get(record));
            let unit = match call.map(|call| self.owners[*call]) {
                Some(Owner::Unit(unit)) => unit,
                _ => usize::MAX,
            };
            if let Some(time) = timing.times.get_mut(unit) {
                *time.get_or_insert(0) += run.duration;
                timing.landed += run.duration;
            }
            ops.push((run.start, run.start.saturating_add_unsigned(run.duration), unit));
        }
        // Calls that launch nothing take no time of a device.
        for span in &profile.spans {
            if let Owner::Unit(unit) = self.owner(span) {
                timing.times[unit].get_or_insert(0);
            }
        }
        let start = ops.iter().map(|(start, ..)| *start).min();
        let end = ops.iter().map(|(_, end, _)| *end).max();
        if let (Some(start), Some(end)) = (start, end) {
            idle(ops, (start, end), timing);
        }
    }
}

/// Gives the time in which nothing ran to the unit that came after it.
fn idle(mut ops: Vec<(i64, i64, usize)>, (start, end): (i64, i64), timing: &mut Timing) {
    ops.sort_unstable();
    let mut now = start;
    let (mut last, mut open) = (None, 0);
    for (start, end, unit) in ops {
        if start > now {
            open += start.abs_diff(now);
        }
        if let Some(idle) = timing.idle.get_mut(unit) {
            *idle += std::mem::take(&mut open);
            last = Some(unit);
        }
        now = now.max(end);
    }
    if let Some(unit) = last {
        timing.idle[unit] += open + if end > now { end.abs_diff(now) } else { 0 };
    }
    timing.step = end.abs_diff(start);
}

/// Times that do not touch each other, in order.
struct Busy(Vec<(i64, i64)>);

impl Busy {
    fn of(times: impl Iterator<Item = (i64, i64)>) -> Self {
        let mut sorted: Vec<(i64, i64)> = times.collect();
        sorted.sort_unstable();
        let mut apart: Vec<(i64, i64)> = Vec::new();
        for (start, end) in sorted {
            match apart.last_mut().filter(|last| last.1 >= start) {
                Some(last) => last.1 = last.1.max(end),
                None => apart.push((start, end)),
            }
        }
        Self(apart)
    }

    /// Nanoseconds that a time shares with them.
    fn overlap(&self, start: i64, end: i64) -> u64 {
        let first = self.0.partition_point(|own| own.1 <= start);
        let touching = self.0[first..].iter().take_while(|own| own.0 < end);
        touching.map(|own| own.1.min(end).abs_diff(own.0.max(start))).sum()
    }
}
