//! Schedules by their papers, and their replay (`docs/conventions.md`, P1 to P6).

use std::collections::HashMap;

/// Stage, whether it is a forward pass, micro-batch.
pub(super) type Cell = (usize, bool, usize);

/// What each of `p` ranks does in order, with `v` chunks on each and `m` micro-batches.
pub(super) fn rows(schedule: &str, p: usize, v: usize, m: usize) -> Vec<Vec<Cell>> {
    // Micro-batches go through the chunks of a rank in groups of p (Narayanan et al. 2021).
    let turns = |rank: usize, is_forward: bool| -> Vec<Cell> {
        let groups = (0..m.div_ceil(p)).map(|group| group * p..m.min(group * p + p));
        let cells = groups.flat_map(|group| {
            (0..v).flat_map(move |chunk| {
                let chunk = if is_forward { chunk } else { v - 1 - chunk };
                group.clone().map(move |micro| (chunk * p + rank, is_forward, micro))
            })
        });
        cells.collect()
    };
    let row = |rank: usize| {
        let (forward, backward) = (turns(rank, true), turns(rank, false));
        let warm_up = match (schedule, v) {
            ("gpipe", 1) => m,
            ("1f1b", 1) => p - 1 - rank,
            ("interleaved", _) => (v - 1) * p + 2 * (p - 1 - rank),
            other => panic!("{other:?} is not derived"),
        };
        let warm_up = warm_up.min(forward.len());
        let mut row = forward[..warm_up].to_vec();
        let mut waiting = backward.into_iter();
        for cell in &forward[warm_up..] {
            row.push(*cell);
            row.extend(waiting.next());
        }
        row.extend(waiting);
        row
    };
    (0..p).map(row).collect()
}

/// Seconds of a run's parts.
pub(super) struct Times {
    /// By stage: forward pass, and backward pass with what is computed again.
    pub(super) passes: Vec<[f64; 2]>,
    /// By boundary: seconds of a message, and whether it leaves hosts.
    pub(super) messages: Vec<(f64, bool)>,
    /// By stage: the part of its gradients' exchange that may overlap, the rest, and adding up what
    /// another rank holds too.
    pub(super) exchange: Vec<[f64; 3]>,
    /// By rank.
    pub(super) optimizer: Vec<f64>,
}

/// Seconds of a step.
pub(super) fn step(rows: &[Vec<Cell>], times: &Times) -> f64 {
    let p = rows.len();
    let last = times.passes.len() - 1;
    let mut position = HashMap::new();
    for (rank, row) in rows.iter().enumerate() {
        position.extend(row.iter().enumerate().map(|(at, cell)| (*cell, (rank, at))));
    }
    let mut arrived: HashMap<Cell, f64> = HashMap::new();
    let (mut next, mut free) = (vec![0; p], vec![0.0_f64; p]);
    let mut opens = vec![0.0; times.passes.len()];
    // By rank: its result that waits to be sent, when it is there, and who reads it where.
    let mut waiting: Vec<Option<(f64, usize, usize, Cell)>> = vec![None; p];
    let (mut sends, mut receives) = (vec![[0.0_f64; 2]; p], vec![[0.0_f64; 2]; p]);
    loop {
        for rank in 0..p {
            while waiting[rank].is_none() && next[rank] < rows[rank].len() {
                let cell @ (stage, is_forward, micro) = rows[rank][next[rank]];
                let reads = if is_forward { stage > 0 } else { stage < last };
                let input = if reads { arrived.get(&cell).copied() } else { Some(0.0) };
                let Some(input) = input else { break };
                let start = free[rank].max(input);
                if !is_forward {
                    opens[stage] = start;
                }
                free[rank] = start + times.passes[stage][usize::from(!is_forward)];
                next[rank] += 1;
                let reader = match is_forward {
                    true => (stage < last).then(|| (stage + 1, true, micro)),
                    false => (stage > 0).then(|| (stage - 1, false, micro)),
                };
                let Some(reader) = reader else { continue };
                let (to, at) = position[&reader];
                if to == rank {
                    arrived.insert(reader, free[rank]);
                } else {
                    waiting[rank] = Some((free[rank], at, to, reader));
                }
            }
        }
        let due = (0..p).filter_map(|from| Some((waiting[from]?, from)));
        let first = due.min_by(|(a, rank_a), (b, rank_b)| {
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(rank_a.cmp(rank_b))
        });
        let Some(((end, _, to, reader), from)) = first else { break };
        waiting[from] = None;
        let (stage, is_forward, _) = reader;
        let (seconds, leaves) = times.messages[if is_forward { stage - 1 } else { stage }];
        let tier = usize::from(leaves);
        let at = end.max(sends[from][tier]).max(receives[to][tier]) + seconds;
        (sends[from][tier], receives[to][tier]) = (at, at);
        arrived.insert(reader, at);
    }
    assert!(rows.iter().zip(&next).all(|(row, next)| row.len() == *next), "the rows are stuck");
    let ends = |rank: usize| {
        let mut stages: Vec<usize> = (rank..=last).step_by(p).collect();
        stages.sort_by(|a, b| opens[*a].total_cmp(&opens[*b]));
        let shares = stages.iter().fold(0.0_f64, |at, stage| match times.exchange[*stage][0] {
            share if share > 0.0 => at.max(opens[*stage]) + share,
            _ => at,
        });
        let sum = |of: usize| stages.iter().map(|stage| times.exchange[*stage][of]).sum::<f64>();
        (free[rank].max(shares) + sum(1), sum(2), times.optimizer[rank])
    };
    let all: Vec<(f64, f64, f64)> = (0..p).map(ends).collect();
    let holders = all.iter().filter(|(_, tie, _)| *tie > 0.0);
    let both = holders.map(|(end, ..)| *end).fold(0.0, f64::max);
    let updated = |(end, tie, optimizer): &(f64, f64, f64)| match *tie > 0.0 {
        true => both + tie + optimizer,
        false => end + optimizer,
    };
    all.iter().map(updated).fold(0.0, f64::max)
}

/// Bytes of a stage on one device.
#[derive(Clone, Copy, Default)]
pub(super) struct Bytes {
    /// For the whole step.
    pub(super) states: f64,
    /// Of each micro-batch from its forward to its backward pass.
    pub(super) kept: f64,
    /// While a pass runs, forward or backward.
    pub(super) scratch: [f64; 2],
}

/// The most bytes on the device of a rank.
pub(super) fn peak(row: &[Cell], stages: &[Bytes], resident: f64) -> f64 {
    let mut indices: Vec<usize> = row.iter().map(|(stage, ..)| *stage).collect();
    indices.sort_unstable();
    indices.dedup();
    let mut level = resident + indices.iter().map(|stage| stages[*stage].states).sum::<f64>();
    let mut most = level;
    for (stage, is_forward, _) in row {
        let bytes = &stages[*stage];
        if *is_forward {
            level += bytes.kept;
        }
        most = most.max(level + bytes.scratch[usize::from(!is_forward)]);
        if !is_forward {
            level -= bytes.kept;
        }
    }
    most
}
