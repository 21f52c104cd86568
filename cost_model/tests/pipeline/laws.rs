//! The replay against the longest path, the trace against counting, the report against both.

use cost_model::runs::judge::costs::{PipelineCosts, Sharing};
use cost_model::runs::judge::verify::verify;
use cost_model::runs::judge::{Judged, judge};
use ir::grid::{Cell, Grid};

use crate::naive::{Naive, Times};
use crate::random::{Random, costs, grid, spoil};

/// Times of a judged run in the naive form.
pub(crate) fn times(judged: &Judged<'_>, grid: &Grid) -> Times {
    let mut times = Times::default();
    for (rank, row) in grid.rows.iter().enumerate() {
        for (position, cell) in row.iter().enumerate() {
            let span = judged.timeline.cell(&judged.lowered, rank, position);
            times.cells.insert(*cell, (span.start, span.end));
        }
    }
    for sent in judged.timeline.transfers(&judged.lowered) {
        times.transfers.insert(sent.of, (sent.span.start, sent.span.end));
    }
    times
}

#[test]
fn the_replay_is_the_longest_path() {
    let mut random = Random(1);
    for round in 0..1_000 {
        // Passes without duration put ends of producers at one instant.
        let least = u64::from(round % 4 > 0);
        let costs = costs(&mut random, least, sharing(round));
        let grid = grid(&mut random, &costs);
        let judged = judge(&costs, &grid).unwrap();
        let expected = Naive::new(&costs, &grid).replay().unwrap();
        assert_eq!(times(&judged, &grid), expected, "round {round}\n{grid}{costs:?}");
    }
}

#[test]
fn spoiled_grids_are_refused_or_replayed_as_the_longest_path() {
    let mut random = Random(2);
    let (mut n_refused, mut n_stuck, mut n_legal) = (0, 0, 0);
    for round in 0..2_000 {
        let costs = costs(&mut random, 1, sharing(round));
        let mut grid = grid(&mut random, &costs);
        spoil(&mut random, &mut grid);
        let violations = verify(&costs, &grid);
        match judge(&costs, &grid) {
            Ok(judged) => {
                n_legal += 1;
                assert_eq!(violations, [], "round {round}\n{grid}");
                let expected = Naive::new(&costs, &grid).replay();
                assert_eq!(Some(times(&judged, &grid)), expected, "round {round}\n{grid}");
            }
            Err(violation) if violation.code() == "deadlock" => {
                n_stuck += 1;
                assert_eq!(violations, [violation]);
                assert_eq!(Naive::new(&costs, &grid).replay(), None, "round {round}\n{grid}");
            }
            Err(violation) => {
                n_refused += 1;
                // The judge stops at the first defect of a row, the verifier sees them all.
                assert!(!violations.is_empty(), "{violation}\n{grid}");
            }
        }
    }
    assert!(n_refused > 500 && n_stuck > 30 && n_legal > 300, "{n_refused} {n_stuck} {n_legal}");
}

#[test]
fn a_circle_is_one() {
    let mut random = Random(3);
    let mut n_circles = 0;
    for round in 0..3_000 {
        let costs = costs(&mut random, 1, Sharing::Own);
        let mut grid = grid(&mut random, &costs);
        spoil(&mut random, &mut grid);
        let naive = Naive::new(&costs, &grid);
        let Err(violation) = judge(&costs, &grid) else { continue };
        let cost_model::runs::judge::violation::Violation::Deadlock { cycle } = violation else {
            continue;
        };
        n_circles += 1;
        assert!(cycle.len() > 1, "round {round}: {cycle:?}\n{grid}");
        for (index, &cell) in cycle.iter().enumerate() {
            // Each is waited for by the next: it stands before it or makes what it reads.
            let next = cycle[(index + 1) % cycle.len()];
            let in_row = naive.rank[&cell].0 == naive.rank[&next].0
                && naive.rank[&cell].1 < naive.rank[&next].1;
            assert!(in_row || naive.reader(cell) == Some(next), "{cycle:?}\n{grid}");
        }
    }
    assert!(n_circles > 50);
}

pub(crate) fn sharing(round: usize) -> Sharing {
    if round.is_multiple_of(2) { Sharing::Own } else { Sharing::Nic }
}

fn instants(times: &Times) -> Vec<u64> {
    let mut all: Vec<u64> = times.cells.values().flat_map(|span| [span.0, span.1]).collect();
    all.push(0);
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn the_memory_trace_is_what_counting_gives() {
    let mut random = Random(4);
    for round in 0..1_000 {
        let costs = costs(&mut random, u64::from(round % 3 > 0), Sharing::Own);
        let grid = grid(&mut random, &costs);
        let judged = judge(&costs, &grid).unwrap();
        let naive = Naive::new(&costs, &grid);
        let times = times(&judged, &grid);
        for rank in 0..costs.ranks.len() {
            let peak = judged.trace.peaks[rank];
            let counted = instants(&times)
                .into_iter()
                .map(|at| (naive.bytes(&times, rank, at), std::cmp::Reverse(at)));
            let (bytes, at) = counted.max().unwrap();
            assert_eq!((peak.bytes, peak.at), (bytes, at.0), "round {round}, rank {rank}\n{grid}");
            let alive: u64 =
                judged.report.ranks[rank].alive.iter().map(|holding| holding.bytes).sum();
            assert_eq!(alive, bytes, "round {round}, rank {rank}");
        }
        levels(&judged, &naive, &times, &grid);
    }
}

/// What the trace says beside each cell.
fn levels(judged: &Judged<'_>, naive: &Naive<'_>, times: &Times, grid: &Grid) {
    let mut index = 0;
    for (rank, row) in grid.rows.iter().enumerate() {
        for (position, cell) in row.iter().enumerate() {
            let (start, end) = times.cells[cell];
            if start < end {
                assert_eq!(judged.trace.during[index], naive.bytes(times, rank, start));
            }
            let next = row.get(position + 1).map_or(u64::MAX, |next| times.cells[next].0);
            if end < next {
                assert_eq!(judged.trace.after[index], naive.bytes(times, rank, end));
            }
            index += 1;
        }
    }
}

#[test]
fn the_report_adds_up() {
    let mut random = Random(5);
    for round in 0..1_000 {
        let costs = costs(&mut random, 1, sharing(round));
        let grid = grid(&mut random, &costs);
        let judged = judge(&costs, &grid).unwrap();
        let naive = Naive::new(&costs, &grid);
        let times = times(&judged, &grid);
        let mut last = times.transfers.values().map(|span| span.1).max().unwrap_or(0);
        for (rank, report) in judged.report.ranks.iter().enumerate() {
            let [shared, exchanged, added, end] = naive.end_of_step(&times, rank);
            last = last.max(end);
            let end_of_step = &judged.timeline.ends[rank];
            let ends = [end_of_step.exposed.end, end_of_step.tied.end, end_of_step.optimizer.end];
            assert_eq!(ends, [exchanged, added, end], "{round}");
            assert_eq!(end_of_step.overlapped.last().map_or(0, |(_, span)| span.end), shared);
            busy(&costs, &grid, &times, rank, report, end_of_step);
        }
        assert_eq!(judged.report.step_time.0, last, "round {round}");
        let reported: u64 = judged.report.links.iter().map(|link| link.bytes).sum();
        let sent = times.transfers.keys().map(|cell| naive.leaves(*cell).unwrap().3);
        assert_eq!(reported, sent.sum::<u64>());
        let n: u64 = judged.report.links.iter().map(|link| link.n_transfers).sum();
        assert_eq!(n, times.transfers.len() as u64);
    }
}

/// Counts the nanoseconds of a rank one by one.
fn busy(
    costs: &PipelineCosts,
    grid: &Grid,
    times: &Times,
    rank: usize,
    report: &cost_model::runs::judge::report::RankReport,
    end_of_step: &cost_model::runs::judge::timeline::EndOfStep,
) {
    let naive = Naive::new(costs, grid);
    let touches = |cell: &Cell| naive.leaves(*cell).is_some_and(|w| w.0 == rank || w.1 == rank);
    let last_transfer = times.transfers.values().map(|span| span.1).max().unwrap_or(0);
    let mut expected = (0, 0);
    for at in 0..end_of_step.optimizer.end.max(last_transfer) {
        let within = |(start, end): (u64, u64)| start <= at && at < end;
        let optimizer = (end_of_step.optimizer.start, end_of_step.optimizer.end);
        let exposed = (end_of_step.exposed.start, end_of_step.exposed.end);
        if grid.rows[rank].iter().any(|cell| within(times.cells[cell])) || within(optimizer) {
            expected.0 += 1;
        } else if times.transfers.iter().any(|(cell, span)| touches(cell) && within(*span))
            || within(exposed)
            || within((end_of_step.tied.start, end_of_step.tied.end))
            || end_of_step.overlapped.iter().any(|(_, span)| within((span.start, span.end)))
        {
            expected.1 += 1;
        }
    }
    assert_eq!((report.compute_ns, report.communication_ns), expected);
}
