//! What stands between the tasks of a lane: exposed communication, and idle time with its cause.

use cost_model::ops::judge::timeline::Span;

use super::kind::Kind;
use super::lane::Slice;

/// Something that occupies a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// When.
    pub(super) span: Span,
    /// What it does.
    pub(super) kind: Kind,
    /// What it is about.
    pub(super) thing: u32,
    /// Whose it is.
    pub(super) micro_batch: Option<u32>,
}

/// What a task waits for that does not start at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// [`Kind::Input`] or [`Kind::Wait`].
    pub(super) cause: Kind,
    /// What is awaited.
    pub(super) thing: u32,
    /// Whose it is.
    pub(super) micro_batch: Option<u32>,
    /// From when on it is there and only its link is taken.
    pub(super) ready: Option<u64>,
}

/// Slices of a device from 0 to `end`: its tasks (in order, disjoint), what of `touching` (ordered by
/// start, may overlap) no task hides, and the rest with its cause. `awaited(i)` says what task `i`
/// waits for; `drain` is what a lane is about that has done all, or has nothing to do.
pub(super) fn device(
    tasks: &[Task],
    touching: &[Task],
    awaited: &mut dyn FnMut(usize) -> Awaited,
    (end, drain): (u64, u32),
) -> Vec<Slice> {
    let cover = cover(touching);
    let mut filler = Filler { cover: &cover, next: 0, slices: Vec::with_capacity(tasks.len()) };
    let mut at = 0;
    for (index, task) in tasks.iter().enumerate() {
        if task.span.start > at {
            let mut why = awaited(index);
            if index == 0 && why.cause == Kind::Input {
                why.cause = Kind::Fill;
            }
            filler.gap(Span { start: at, end: task.span.start }, why);
        }
        filler.add(task.span.start, task);
        at = at.max(task.span.end);
    }
    if at < end {
        let cause = if tasks.is_empty() { Kind::Unused } else { Kind::Drain };
        let why = Awaited { cause, thing: drain, micro_batch: None, ready: None };
        filler.gap(Span { start: at, end }, why);
    }
    filler.slices
}

/// Slices of links from 0 to `end`, on as many lanes as transfers overlap: one, if a link is serial.
pub(super) fn links(transfers: &[Task], (end, free): (u64, u32)) -> Vec<Vec<Slice>> {
    let mut lanes: Vec<(u64, Vec<Slice>)> = Vec::new();
    let nothing = |start| Slice { start, kind: Kind::Free, thing: free, micro_batch: None };
    for transfer in transfers {
        let Span { start, end } = transfer.span;
        let found = lanes.iter().position(|(busy_to, _)| *busy_to <= start);
        let position = found.unwrap_or_else(|| {
            lanes.push((0, Vec::new()));
            lanes.len() - 1
        });
        let (busy_to, slices) = &mut lanes[position];
        if *busy_to < start {
            slices.push(nothing(*busy_to));
        }
        slices.push(slice(start, transfer));
        *busy_to = end;
    }
    for (busy_to, slices) in &mut lanes {
        if *busy_to < end {
            slices.push(nothing(*busy_to));
        }
    }
    lanes.into_iter().map(|(_, slices)| slices).collect()
}

fn slice(start: u64, task: &Task) -> Slice {
    Slice { start, kind: task.kind, thing: task.thing, micro_batch: task.micro_batch }
}

/// The same instants, each once, by the task that covers it first.
fn cover(touching: &[Task]) -> Vec<Task> {
    let mut covered_to = 0;
    let mut cover = Vec::new();
    for task in touching {
        let start = task.span.start.max(covered_to);
        if start < task.span.end {
            let span = Span { start, end: task.span.end };
            cover.push(Task { span, kind: Kind::Communication, ..*task });
            covered_to = task.span.end;
        }
    }
    cover
}

struct Filler<'a> {
    cover: &'a [Task],
    /// First of them that does not end before the gap.
    next: usize,
    slices: Vec<Slice>,
}

impl Filler<'_> {
    fn add(&mut self, start: u64, task: &Task) {
        self.slices.push(slice(start, task));
    }

    fn gap(&mut self, gap: Span, why: Awaited) {
        while self.cover.get(self.next).is_some_and(|task| task.span.end <= gap.start) {
            self.next += 1;
        }
        let mut at = gap.start;
        let mut position = self.next;
        while let Some(task) = self.cover.get(position).filter(|task| task.span.start < gap.end) {
            let start = task.span.start.max(gap.start);
            self.idle(Span { start: at, end: start }, why);
            self.add(start, task);
            at = task.span.end.min(gap.end);
            position += 1;
        }
        self.idle(Span { start: at, end: gap.end }, why);
    }

    fn idle(&mut self, span: Span, why: Awaited) {
        let Awaited { cause, thing, micro_batch, ready } = why;
        let ready = ready.unwrap_or(u64::MAX).clamp(span.start, span.end);
        for (start, end, kind) in [(span.start, ready, cause), (ready, span.end, Kind::Link)] {
            if start < end {
                self.slices.push(Slice { start, kind, thing, micro_batch });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(start: u64, end: u64, kind: Kind) -> Task {
        Task { span: Span { start, end }, kind, thing: 0, micro_batch: None }
    }

    fn told(slices: &[Slice]) -> Vec<(u64, Kind)> {
        slices.iter().map(|slice| (slice.start, slice.kind)).collect()
    }

    #[test]
    fn gaps_are_filled_with_their_causes() {
        let tasks = [task(10, 20, Kind::Forward), task(40, 50, Kind::Backward)];
        // One is received before the first task, one is sent beside it and beyond, one comes in.
        let touching =
            [(4, 10), (15, 24), (20, 22), (35, 40)].map(|(s, e)| task(s, e, Kind::Transfer));
        let ready = [Some(3), Some(30)];
        let mut awaited = |at: usize| Awaited {
            cause: Kind::Input,
            thing: 0,
            micro_batch: None,
            ready: ready[at],
        };
        let slices = device(&tasks, &touching, &mut awaited, (60, 0));
        assert_eq!(
            told(&slices),
            [
                (0, Kind::Fill),
                (3, Kind::Link),
                (4, Kind::Communication),
                (10, Kind::Forward),
                (20, Kind::Communication),
                (24, Kind::Input),
                (30, Kind::Link),
                (35, Kind::Communication),
                (40, Kind::Backward),
                (50, Kind::Drain),
            ]
        );
        assert_eq!(told(&device(&[], &[], &mut awaited, (5, 0))), [(0, Kind::Unused)]);
    }

    #[test]
    fn transfers_that_overlap_take_lanes_of_their_own() {
        let sent = [(2, 6), (4, 8), (6, 9)].map(|(s, e)| task(s, e, Kind::Transfer));
        let lanes = links(&sent, (9, 0));
        let (free, sent) = (Kind::Free, Kind::Transfer);
        assert_eq!(told(&lanes[0]), [(0, free), (2, sent), (6, sent)]);
        assert_eq!(told(&lanes[1]), [(0, free), (4, sent), (8, free)]);
    }
}
