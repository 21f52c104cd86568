//! Sums a timeline up: where each rank's time and memory go, and what each link carries.

use ir::units::Nanos;

use super::costs::{HostCosts, PipelineCosts};
use super::lower::{Lowered, NO_PORT};
use super::memory::{self, Holding, Trace};
use super::timeline::{EndOfStep, Timeline};
use super::way::LOCAL;
use crate::ops::judge::memory::Peak;
use crate::ops::judge::replay::Span;

/// Where the time and the memory of one rank go. Computing, exposed communication and idle time
/// add up to the step time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankReport {
    /// Nanoseconds in which it runs a cell or the optimizer.
    pub compute_ns: u64,
    /// Exposed communication: nanoseconds in which it runs neither while it sends, receives or
    /// exchanges gradients.
    pub communication_ns: u64,
    /// Of it, nanoseconds in which it exchanges gradients.
    pub gradients_ns: u64,
    /// Nanoseconds in which it does nothing: the bubble.
    pub idle_ns: u64,
    /// The most that lies in its memory, and when.
    pub peak: Peak,
    /// Bytes that it can hold; `None` = unlimited.
    pub limit: Option<u64>,
    /// Bytes that lie there for the whole step.
    pub persistent_bytes: u64,
    /// What lies there at the peak, largest first.
    pub alive: Vec<Holding>,
}

/// What a host keeps for its devices, for the whole step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// Position in the cluster.
    pub host: u32,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that it can hold; `None` = not stated.
    pub limit: Option<u64>,
}

/// What goes from one rank to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Source rank.
    pub from: u32,
    /// Destination rank.
    pub to: u32,
    /// Nanoseconds in which transfers are under way.
    pub busy_ns: u64,
    /// Bytes.
    pub bytes: u64,
    /// Transfers.
    pub n_transfers: u64,
}

/// A timeline in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// End of the last cell, transfer or end-of-step task.
    pub step_time: Nanos,
    /// By rank.
    pub ranks: Vec<RankReport>,
    /// Pairs of ranks with transfers, by source, then destination.
    pub links: Vec<LinkReport>,
    /// Hosts, where they keep states.
    pub hosts: Vec<HostReport>,
}

/// Sums up.
#[must_use]
pub fn report(lowered: &Lowered<'_>, timeline: &Timeline, trace: &Trace) -> Report {
    let step = timeline.step_time.0;
    let mut spans = Vec::new();
    let mut ranks = Vec::with_capacity(lowered.costs.ranks.len());
    for (rank, persistent_bytes) in memory::persistent(lowered).into_iter().enumerate() {
        let end = &timeline.ends[rank];
        let computed: u64 = lowered.cells_of(rank).map(|cell| lowered.step(cell).duration).sum();
        let compute_ns = computed + (end.optimizer.end - end.optimizer.start);
        let compute = || {
            let cells = lowered.cells_of(rank).map(|cell| timeline.span(lowered, cell));
            cells.chain([end.optimizer])
        };
        let gradients_ns = exposed(&gradients_at(end), compute(), |_| ());
        transfers_at(lowered, timeline, rank, &mut spans);
        let communication_ns = exposed(&spans, compute(), |_| ());
        ranks.push(RankReport {
            compute_ns,
            communication_ns,
            gradients_ns,
            idle_ns: step - compute_ns - communication_ns,
            peak: trace.peaks[rank],
            limit: lowered.costs.ranks[rank].limit.map(|limit| limit.0),
            persistent_bytes,
            alive: memory::alive(lowered, trace, rank),
        });
    }
    let links = links(lowered, timeline);
    Report { step_time: timeline.step_time, ranks, links, hosts: hosts(lowered.costs) }
}

fn hosts(costs: &PipelineCosts) -> Vec<HostReport> {
    let mut of_rank = vec![0_u64; costs.ranks.len()];
    for stage in &costs.stages {
        let on_host = &mut of_rank[stage.rank as usize];
        *on_host = on_host.saturating_add(stage.on_host.0);
    }
    let bytes = |(rank, n): &(u32, u32)| {
        of_rank.get(*rank as usize).map_or(0, |each| each.saturating_mul(u64::from(*n)))
    };
    let report = |host: &HostCosts| HostReport {
        host: host.host,
        bytes: host.devices.iter().map(bytes).fold(0, u64::saturating_add),
        limit: host.limit.map(|limit| limit.0),
    };
    costs.hosts.iter().map(report).collect()
}

/// All that a rank sends, receives and exchanges, ordered by start.
pub(super) fn transfers_at(
    lowered: &Lowered<'_>,
    timeline: &Timeline,
    rank: usize,
    spans: &mut Vec<Span>,
) {
    spans.clear();
    let span = |port: usize| Span { start: timeline.sent[port], end: timeline.arrived[port] };
    for cell in lowered.cells_of(rank) {
        let port = lowered.output[cell];
        if port != NO_PORT && lowered.step(cell).way.send != LOCAL {
            spans.push(span(port as usize));
        }
    }
    let n_tiers = lowered.n_channels as usize / lowered.costs.ranks.len();
    for channel in &timeline.received[rank * n_tiers..(rank + 1) * n_tiers] {
        spans.extend(channel.iter().map(|port| span(*port as usize)));
    }
    spans.extend(gradients_at(&timeline.ends[rank]));
    // A few ordered runs: a stable sort merges them in linear time.
    spans.sort_by_key(|span| span.start);
}

/// When a rank exchanges gradients, by start.
fn gradients_at(end: &EndOfStep) -> Vec<Span> {
    let overlapped = end.overlapped.iter().map(|(_, span)| *span);
    overlapped.chain([end.exposed, end.tied]).collect()
}

/// Calls `each` with what is covered by `transfers` (ordered by start, may overlap) but not by
/// `compute` (ordered and disjoint), in order of time; the sum of their nanoseconds.
pub(super) fn exposed(
    transfers: &[Span],
    compute: impl Iterator<Item = Span>,
    mut each: impl FnMut(Span),
) -> u64 {
    let mut compute = compute.chain([Span { start: u64::MAX, end: u64::MAX }]);
    let never = Span { start: u64::MAX, end: u64::MAX };
    let mut busy = compute.next().unwrap_or(never);
    let mut total = 0u64;
    let mut covered_to = 0u64;
    for transfer in transfers {
        let mut from = transfer.start.max(covered_to);
        while from < transfer.end {
            while busy.end <= from {
                busy = compute.next().unwrap_or(never);
            }
            let end = busy.start.clamp(from, transfer.end);
            if from < end {
                each(Span { start: from, end });
                total += end - from;
            }
            from = busy.end.min(transfer.end).max(from);
        }
        covered_to = covered_to.max(transfer.end);
    }
    total
}

/// Sums over transfers by step first, because all of a step go the same way.
fn links(lowered: &Lowered<'_>, timeline: &Timeline) -> Vec<LinkReport> {
    let mut busy = vec![(0u64, 0u64); lowered.steps.len()];
    for (step, port) in lowered.step_of.iter().zip(&lowered.output) {
        let port = *port as usize;
        let (busy_ns, n_transfers) = &mut busy[*step as usize];
        *busy_ns += timeline.arrived[port] - timeline.sent[port];
        *n_transfers += u64::from(port != NO_PORT as usize);
    }
    let mut links = Vec::new();
    for (stage_step, (busy_ns, n_transfers)) in busy.into_iter().enumerate() {
        let way = &lowered.steps[stage_step].way;
        if n_transfers > 0 && way.send != LOCAL {
            let n_tiers = lowered.n_channels / lowered.costs.ranks.len() as u32;
            let (from, bytes) = (way.send / n_tiers, way.bytes * n_transfers);
            links.push(LinkReport { from, to: way.to, busy_ns, bytes, n_transfers });
        }
    }
    links.sort_by_key(|link| (link.from, link.to));
    links.dedup_by(|later, first| {
        let same = (later.from, later.to) == (first.from, first.to);
        if same {
            first.busy_ns += later.busy_ns;
            first.bytes += later.bytes;
            first.n_transfers += later.n_transfers;
        }
        same
    });
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    #[test]
    fn only_what_no_cell_hides_is_exposed() {
        let compute = || [span(2, 4), span(6, 6), span(7, 9)].into_iter();
        let exposed = |transfers: &[Span], compute: &mut dyn Iterator<Item = Span>| {
            let mut sum = 0;
            let total = exposed(transfers, compute, |span| sum += span.end - span.start);
            assert_eq!(sum, total);
            total
        };
        assert_eq!(exposed(&[span(0, 10)], &mut compute()), 6);
        assert_eq!(exposed(&[span(0, 3), span(1, 8), span(8, 8)], &mut compute()), 5);
        assert_eq!(exposed(&[span(2, 4), span(7, 9)], &mut compute()), 0);
        assert_eq!(exposed(&[], &mut compute()), 0);
        assert_eq!(exposed(&[span(0, 5), span(3, 5)], &mut std::iter::empty()), 5);
    }
}
