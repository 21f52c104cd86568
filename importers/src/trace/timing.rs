//! How long the ops of a trace took: the times of a profile of the same run, laid on them.
//!
//! On the host a call's own time is that between the calls inside it. Time of calls that are no
//! ops, such as views, goes to the next op of their thread: it is spent on the way there. What is
//! spent in a composite operator or a node of the autograd graph stays with the ops inside of it.
//! Where a device ran kernels, theirs is the time of the op that launched them, and the host's does
//! not count.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;

use super::forest::{Forest, Unit, is_collective, of_backend};
use super::kineto::{Profile, Span, mark};

/// Times of the units of a forest, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing {
    /// By unit, in which it or what led to it ran; `None` where the profile knows it not.
    pub(super) times: Vec<Option<u64>>,
    /// By unit, for how long nothing ran before it, nor any message was under way, from the first to
    /// the last call that the forest has.
    pub(super) idle: Vec<u64>,
    /// Time of all calls of operators, or of all kernels, whether the forest has them or not.
    pub(super) total: u64,
    /// As much of it as units have.
    pub(super) landed: u64,
    /// From the first event to the end of the last.
    pub(super) step: u64,
    /// As much of it as no call ran, inside of the forest's stretch or not.
    pub(super) still: u64,
    /// Calls that begin inside of another of their thread and end after it, or are on another thread
    /// than the call that makes them.
    pub(super) crossing: u64,
}

/// In place of a unit: of a call that the forest does not have, and of a message.
const FOREIGN: usize = usize::MAX;
const MESSAGE: usize = usize::MAX - 1;

/// Nanoseconds by which a call may end after the one around it: what a clock in microseconds with
/// three places rounds away.
const ROUNDING: i64 = 2;

/// Lays the times of a profile on units.
///
/// # Errors
/// `no-clock`, `unmatched-profile`.
pub(super) fn land(
    forest: &Forest,
    units: &[Unit],
    profile: &Profile,
) -> Result<Timing, Diagnostic> {
    let mut lander = Lander::new(forest, units);
    lander.check(profile)?;
    let n = units.len();
    let mut timing = Timing { times: vec![None; n], idle: vec![0; n], ..Timing::default() };
    if profile.runs.is_empty() {
        lander.host(profile, &mut timing);
    } else {
        lander.device(profile, &mut timing);
    }
    Ok(timing)
}

/// Whose time a call's own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Unit(usize),
    /// That of a unit of the call around it, by its number, or else the next unit's.
    Next(Option<usize>),
    /// A call that the forest does not have.
    Nobody,
    /// An annotation: nobody's.
    Idle,
}

struct Lander<'f> {
    forest: &'f Forest,
    /// By unit, its call.
    calls: Vec<usize>,
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

/// Time that waits for its unit.
struct Pending {
    start: i64,
    end: i64,
    length: u64,
    home: Option<usize>,
    /// The unit before it.
    last: Option<usize>,
}

impl<'f> Lander<'f> {
    fn new(forest: &'f Forest, units: &[Unit]) -> Self {
        let homes = forest.homes(units);
        let mut owners: Vec<Owner> = homes.into_iter().map(Owner::Next).collect();
        let mut is_message = vec![false; forest.calls.len()];
        for (position, unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_view) {
            for call in forest.inside(unit.call) {
                owners[call] = Owner::Unit(position);
            }
        }
        // A backend's own thread does the work of the collective before it on the same memory.
        let mut last: HashMap<u64, usize> = HashMap::new();
        for (at, call) in forest.calls.iter().enumerate() {
            let is_backend = of_backend(&call.name).is_some();
            for operand in &call.inputs {
                match owners[at] {
                    Owner::Unit(unit) if is_collective(&call.name) => {
                        last.insert(operand.storage, unit);
                    }
                    Owner::Next(_) if is_backend => {
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
        let calls = units.iter().map(|unit| unit.call).collect();
        Self { forest, calls, owners, by_record, is_message }
    }

    /// Refuses a profile without a clock, and one whose calls are not those of the trace: processes of
    /// the same number on different hosts count their calls alike.
    fn check(&self, profile: &Profile) -> Result<(), Diagnostic> {
        let first = profile.spans.first().map(|span| span.start);
        if profile.spans.len() > 2 && profile.spans.iter().all(|span| Some(span.start) == first) {
            let what = "all calls of the profile begin at the same time";
            return Err(Diagnostic::input("no-clock", what)
                .fact("calls", profile.spans.len())
                .hint("give the profile as PyTorch wrote it"));
        }
        let calls = profile.spans.iter().filter(|span| span.is_operator && span.record != 0);
        let known = calls.filter_map(|span| Some((span, *self.by_record.get(&span.record)?)));
        let other =
            |(span, call): &(&Span, usize)| mark(&self.forest.calls[*call].name) != span.name;
        let Some((span, call)) = known.into_iter().find(other) else { return Ok(()) };
        let name = self.forest.calls[call].name.to_string();
        let what = format!(
            "call {} is `{name}` in the ExecutionTrace and another operator in the profile: they are of \
             two runs",
            span.record
        );
        Err(Diagnostic::input("unmatched-profile", what)
            .fact("record", span.record)
            .fact("name", name)
            .hint("give the ExecutionTrace and the profile that one process wrote in the same run"))
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
                .filter(|span| self.is_message(span))
                .map(|span| (span.start, span.end())),
        );
        timing.crossing = self.strays(profile);
        let mut ops: Vec<(i64, i64, usize)> = Vec::new();
        for spans in order.chunk_by(|a, b| span(*a).thread == span(*b).thread) {
            let pieces = self.pieces(spans.iter().map(|at| span(*at)), &mut timing.crossing);
            self.thread(&pieces, &messages, timing, &mut ops);
        }
        let starts = profile.spans.iter().map(|span| span.start).min();
        let ends = profile.spans.iter().map(Span::end).max();
        let (Some(start), Some(end)) = (starts, ends) else { return };
        ops.extend(messages.0.iter().map(|(start, end)| (*start, *end, MESSAGE)));
        idle(ops, (start, end), timing);
    }

    /// Calls on another thread than the call that makes them: both would count the time.
    fn strays(&self, profile: &Profile) -> u64 {
        let mut threads = vec![None; self.forest.calls.len()];
        let operators = profile.spans.iter().filter(|span| span.is_operator && span.record != 0);
        for span in operators {
            if let Some(call) = self.by_record.get(&span.record) {
                threads[*call] = Some(span.thread);
            }
        }
        let thread_of = |call: Option<usize>| call.and_then(|call| threads[call]);
        let around = |call| self.forest.parent(call).filter(|_| !self.is_message[call]);
        let strays = (0..threads.len()).filter(|call| {
            let pair = thread_of(Some(*call)).zip(thread_of(around(*call)));
            pair.is_some_and(|(thread, parent)| thread != parent)
        });
        strays.count() as u64
    }

    /// The own time of all calls of a thread, in order; nested spans come after those around them.
    fn pieces<'s>(&self, spans: impl Iterator<Item = &'s Span>, crossing: &mut u64) -> Vec<Piece> {
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
            if let Some((end, owner)) = stack.last() {
                pass(&mut now, span.start, *owner);
                *crossing += u64::from(span.end() > end.saturating_add(ROUNDING));
            }
            now = now.max(span.start);
            let around = stack.last().map_or(Owner::Idle, |(_, owner)| *owner);
            let owner = match (self.owner(span), around) {
                // What is inside an op belongs to it, whether the trace has it or not.
                (Owner::Nobody, around) if around != Owner::Idle => around,
                (owner, _) => owner,
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
        let mut pending: Vec<Pending> = Vec::new();
        let mut last = None;
        for piece in pieces {
            let (start, end) = (piece.start, piece.end);
            let length = end.abs_diff(start);
            timing.total += length;
            match piece.owner {
                Owner::Unit(unit) => {
                    for waiting in pending.drain(..) {
                        self.settle(&waiting, unit, timing, ops);
                    }
                    timing.give(unit, length);
                    ops.push((start, end, unit));
                    last = Some(unit);
                }
                Owner::Next(home) => {
                    // Who waits for a message does not work.
                    let waits = messages.overlap(start, end).min(length);
                    timing.total -= waits;
                    pending.push(Pending { start, end, length: length - waits, home, last });
                }
                Owner::Nobody => ops.push((start, end, FOREIGN)),
                Owner::Idle => {}
            }
        }
        for waiting in pending {
            match last {
                Some(unit) => self.settle(&waiting, unit, timing, ops),
                None => ops.push((waiting.start, waiting.end, FOREIGN)),
            }
        }
    }

    /// Gives time to a unit of the call that it was spent in, or else to the next one.
    fn settle(
        &self,
        pending: &Pending,
        next: usize,
        timing: &mut Timing,
        ops: &mut Vec<(i64, i64, usize)>,
    ) {
        let is_inside = |unit: &usize, home| self.forest.is_inside(self.calls[*unit], home);
        let before = pending.home.filter(|home| !is_inside(&next, *home));
        let unit = before.and_then(|home| pending.last.filter(|last| is_inside(last, home)));
        let unit = unit.unwrap_or(next);
        timing.give(unit, pending.length);
        ops.push((pending.start, pending.end, unit));
    }

    fn device(&mut self, profile: &Profile, timing: &mut Timing) {
        let records: HashMap<u64, u64> =
            profile.spans.iter().map(|span| (span.external, span.record)).collect();
        let mut ops = Vec::with_capacity(profile.runs.len());
        for run in &profile.runs {
            timing.total += run.duration;
            let record = records.get(&run.external).filter(|_| run.external != 0);
            let call = record.and_then(|record| self.by_record.get(record));
            let unit = match call.map(|call| self.owners[*call]) {
                Some(Owner::Unit(unit)) => unit,
                _ => FOREIGN,
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

impl Timing {
    fn give(&mut self, unit: usize, time: u64) {
        *self.times[unit].get_or_insert(0) += time;
        self.landed += time;
    }
}

/// Gives the time in which nothing ran to the unit that came after it. Where calls that the forest
/// does not have come before its first or after its last, that is no part of its step.
fn idle(mut ops: Vec<(i64, i64, usize)>, (start, end): (i64, i64), timing: &mut Timing) {
    ops.sort_unstable();
    let n = timing.idle.len();
    let first = ops.iter().position(|(.., unit)| *unit < n);
    let from = first.filter(|first| ops[..*first].iter().any(|(.., unit)| *unit == FOREIGN));
    let until = ops.iter().filter(|(.., unit)| *unit < n).map(|(_, end, _)| *end).max();
    let is_cut = until.is_some_and(|last| ops.iter().any(|op| op.2 == FOREIGN && op.1 > last));
    let until = until.filter(|_| is_cut).unwrap_or(end);
    let mut now = start;
    let (mut last, mut open) = (None, 0);
    for (at, (start, end, unit)) in ops.into_iter().enumerate() {
        let gap = if start > now { start.abs_diff(now) } else { 0 };
        timing.still += gap;
        if from.is_none_or(|first| at > first) && now < until {
            open += gap;
        }
        if let Some(idle) = timing.idle.get_mut(unit) {
            *idle += std::mem::take(&mut open);
            last = Some(unit);
        }
        now = now.max(end);
    }
    let rest = if end > now { end.abs_diff(now) } else { 0 };
    timing.still += rest;
    if let Some(unit) = last {
        timing.idle[unit] += if is_cut { 0 } else { open + rest };
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
        let first = self.0.partition_point(|interval| interval.1 <= start);
        let touching = self.0[first..].iter().take_while(|interval| interval.0 < end);
        touching.map(|interval| interval.1.min(end).abs_diff(interval.0.max(start))).sum()
    }
}
