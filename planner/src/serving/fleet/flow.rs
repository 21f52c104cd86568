//! How many requests per second prefill workers can hand over to decode workers.

use std::collections::VecDeque;

/// A hand-over between ends, in units of rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// Numbers of prefill ends.
    pub(super) from: Vec<usize>,
    /// Numbers of decode ends.
    pub(super) to: Vec<usize>,
    /// What it can take; `None` = no limit.
    pub(super) most: Option<i128>,
}

/// The greatest flow from prefill ends of these rates through lanes to decode ends, and what of it goes through
/// each lane: exact, by shortest augmenting paths (Edmonds and Karp, JACM 19(2), 1972).
pub(super) fn greatest(from: &[i128], to: &[i128], lanes: &[Lane]) -> (i128, Vec<i128>) {
    let (first_to, first_lane) = (2 + from.len(), 2 + from.len() + to.len());
    let n = first_lane + 2 * lanes.len();
    let all = from.iter().sum::<i128>();
    let mut room = vec![vec![0_i128; n]; n];
    for (at, rate) in from.iter().enumerate() {
        room[0][2 + at] = *rate;
    }
    for (at, rate) in to.iter().enumerate() {
        room[first_to + at][1] = *rate;
    }
    for (at, lane) in lanes.iter().enumerate() {
        let (enter, leave) = (first_lane + 2 * at, first_lane + 2 * at + 1);
        room[enter][leave] = lane.most.unwrap_or(all);
        for end in &lane.from {
            room[2 + end][enter] = all;
        }
        for end in &lane.to {
            room[leave][first_to + end] = all;
        }
    }
    let mut flow = 0;
    while let Some(more) = augment(&mut room) {
        flow += more;
    }
    let through = |at: usize| room[first_lane + 2 * at + 1][first_lane + 2 * at];
    (flow, (0..lanes.len()).map(through).collect())
}

/// Sends what fits along a shortest way from node 0 to node 1.
fn augment(room: &mut [Vec<i128>]) -> Option<i128> {
    let mut before = vec![usize::MAX; room.len()];
    before[0] = 0;
    let mut open = VecDeque::from([0]);
    while let Some(at) = open.pop_front() {
        for next in 0..room.len() {
            if room[at][next] > 0 && before[next] == usize::MAX {
                before[next] = at;
                open.push_back(next);
            }
        }
    }
    if before[1] == usize::MAX {
        return None;
    }
    let mut way = vec![1];
    while let Some(at) = way.last().copied().filter(|at| *at != 0) {
        way.push(before[at]);
    }
    let least = way.windows(2).map(|step| room[step[1]][step[0]]).min()?;
    for step in way.windows(2) {
        room[step[1]][step[0]] -= least;
        room[step[0]][step[1]] += least;
    }
    Some(least)
}
