//! Workers on hosts.
//!
//! Where the widths of a pool divide each other in turn, workers fit exactly if, for every width, the widths
//! from it on fit by count: first fit by falling width leaves a worker out only where every host has less
//! than its width free, and all that was placed before comes in multiples of that width (Coffman, Garey and
//! Johnson, Journal of Complexity 3(4), 1987). Widths that only divide the host are not enough: of 6, 10 and
//! 15 on two hosts of 30, one 15, two 10 and four 6 (59 devices) do not fit. Other pools get a flow from
//! 0 to the devices of a host, whose ways are hosts (Valério de Carvalho, Annals of OR 86, 1999).

use std::collections::BTreeMap;

use super::ground::{Ground, Kept};
use super::verify::{HostGroup, Plan, figures};
use crate::given::milp::program::Program;

/// Workers of a host by width, greatest width first, and how many hosts have these.
pub(super) type Pattern = (Vec<(u32, u32)>, u32);

/// A worker of this width that begins at a device of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arc {
    pool: usize,
    start: u32,
    width: u32,
    column: u32,
}

/// Rows that make workers fit into the hosts of each pool; arcs where widths do not divide each other.
pub(super) fn rows(ground: &Ground, program: &mut Program, x: &[u32]) -> Vec<Arc> {
    let mut arcs = Vec::new();
    for (at, pool) in ground.question.pools.iter().enumerate() {
        let Some(hosts) = pool.hosts else { continue };
        let here = || ground.kept.iter().zip(x).filter(move |(kept, _)| kept.pool == at);
        let mut widths: Vec<u32> =
            here().filter(|(kept, _)| kept.span == 0).map(|(kept, _)| kept.width).collect();
        widths.sort_unstable();
        widths.dedup();
        let wide = here().filter(|(kept, _)| kept.span > 0);
        let wide: Vec<(u32, f64)> = wide.map(|(kept, x)| (*x, f64::from(kept.span))).collect();
        if widths.windows(2).all(|two| two[1].is_multiple_of(two[0])) {
            if widths.is_empty() {
                program.at_most(f64::from(hosts), wide.iter().copied());
            }
            for width in &widths {
                let each = pool.devices_per_host / width;
                let entry = |(kept, x): (&Kept, &u32)| match kept.span {
                    0 => (*x, f64::from(kept.width / width)),
                    span => (*x, f64::from(span) * f64::from(each)),
                };
                let from = here().filter(|(kept, _)| kept.width >= *width);
                program.at_most(f64::from(hosts) * f64::from(each), from.map(entry));
            }
        } else {
            let here: Vec<(&Kept, u32)> = here().map(|(kept, x)| (kept, *x)).collect();
            let size = pool.devices_per_host;
            arcs.extend(flow(program, (at, hosts, size), &widths, &here, wide));
        }
    }
    arcs
}

/// A flow whose ways are hosts, workers of each in order of falling width.
fn flow(
    program: &mut Program,
    (pool, hosts, size): (usize, u32, u32),
    widths: &[u32],
    here: &[(&Kept, u32)],
    wide: Vec<(u32, f64)>,
) -> Vec<Arc> {
    let mut arcs: Vec<Arc> = Vec::new();
    // Devices after which a worker can begin, if none before it is narrower.
    let mut starts = vec![false; size as usize + 1];
    starts[0] = true;
    for width in widths.iter().rev() {
        for start in 0..=size.saturating_sub(*width) {
            if starts[start as usize] {
                starts[(start + width) as usize] = true;
                let column = program.whole(f64::from(hosts));
                arcs.push(Arc { pool, start, width: *width, column });
            }
        }
    }
    for at in 1..size {
        let enter = arcs.iter().filter(|arc| arc.start + arc.width == at);
        let leave = arcs.iter().filter(|arc| arc.start == at);
        if leave.clone().next().is_some() {
            let entries = enter.map(|arc| (arc.column, 1.0));
            program.at_least(0.0, entries.chain(leave.map(|arc| (arc.column, -1.0))));
        }
    }
    let first = arcs.iter().filter(|arc| arc.start == 0).map(|arc| (arc.column, 1.0));
    program.at_most(f64::from(hosts), first.chain(wide));
    for width in widths {
        let slots = arcs.iter().filter(|arc| arc.width == *width).map(|arc| (arc.column, 1.0));
        let workers = here.iter().filter(|(kept, _)| kept.width == *width);
        program.at_least(0.0, slots.chain(workers.map(|(_, x)| (*x, -1.0))));
    }
    arcs
}

/// A plan with so many workers of each type, on hosts by first fit where that does, else along the flow of a
/// solution; `None` where neither does.
pub(super) fn plan(
    ground: &Ground,
    counts: &[u32],
    (arcs, values): (&[Arc], &[f64]),
) -> Option<Plan> {
    let mut hosts = Vec::new();
    for (at, pool) in ground.question.pools.iter().enumerate() {
        let here = || ground.kept.iter().zip(counts).filter(move |(kept, _)| kept.pool == at);
        let mut left = pool.hosts.unwrap_or(u32::MAX);
        for (kept, count) in here().filter(|(kept, count)| kept.span > 0 && **count > 0) {
            left = left.checked_sub(kept.span.checked_mul(*count)?)?;
            let workers = vec![(kept.at, 1)];
            hosts.push(HostGroup { pool: at, n_hosts: kept.span, times: *count, workers });
        }
        let mut wanted: BTreeMap<u32, u32> = BTreeMap::new();
        for (kept, count) in here().filter(|(kept, count)| kept.span == 0 && **count > 0) {
            *wanted.entry(kept.width).or_default() += count;
        }
        let mut patterns = first_fit(pool.devices_per_host, &wanted);
        if n_hosts(&patterns) > u64::from(left) {
            let arcs: Vec<Arc> = arcs.iter().filter(|arc| arc.pool == at).copied().collect();
            patterns = ways(&arcs, values);
        }
        if n_hosts(&patterns) > u64::from(left) {
            return None;
        }
        let workers = here().filter(|(kept, count)| kept.span == 0 && **count > 0);
        let workers = workers.map(|(kept, count)| (kept.at, kept.width, *count)).collect();
        hosts.extend(named(at, patterns, workers)?);
    }
    let used = ground.kept.iter().zip(counts).filter(|(_, count)| **count > 0);
    let mut counts: Vec<(usize, u32)> = used.map(|(kept, count)| (kept.at, *count)).collect();
    counts.sort_unstable();
    let figures = figures(ground.question, &counts);
    Some(Plan { counts, hosts, figures })
}

fn n_hosts(patterns: &[Pattern]) -> u64 {
    patterns.iter().map(|(_, times)| u64::from(*times)).sum()
}

/// First fit by falling width: each host takes the widest worker that fits, again and again.
fn first_fit(size: u32, wanted: &BTreeMap<u32, u32>) -> Vec<Pattern> {
    let mut wanted = wanted.clone();
    let mut patterns = Vec::new();
    loop {
        let (mut left, mut times, mut host) = (size, u32::MAX, Vec::new());
        for (width, count) in wanted.iter().rev() {
            let here = (left / width).min(*count);
            if here > 0 {
                left -= here * width;
                times = times.min(count / here);
                host.push((*width, here));
            }
        }
        if host.is_empty() {
            return patterns;
        }
        for (width, here) in &host {
            if let Some(count) = wanted.get_mut(width) {
                *count -= here * times;
            }
        }
        patterns.push((host, times));
    }
}

/// The hosts of a flow.
fn ways(arcs: &[Arc], values: &[f64]) -> Vec<Pattern> {
    let value = |arc: &Arc| values.get(arc.column as usize).map_or(0.0, |value| value.round());
    let mut flow: Vec<u32> = arcs.iter().map(|arc| value(arc) as u32).collect();
    let mut patterns = Vec::new();
    loop {
        let (mut at, mut way) = (0, Vec::new());
        while let Some(next) = (0..arcs.len()).find(|arc| arcs[*arc].start == at && flow[*arc] > 0)
        {
            at += arcs[next].width;
            way.push(next);
        }
        let Some(times) = way.iter().map(|arc| flow[*arc]).min() else { return patterns };
        let mut host: BTreeMap<u32, u32> = BTreeMap::new();
        for arc in way {
            flow[arc] -= times;
            *host.entry(arcs[arc].width).or_default() += 1;
        }
        patterns.push((host.into_iter().rev().collect(), times));
    }
}

/// Puts workers of types, with their widths and counts, into the places of patterns; `None` where a worker is
/// left.
fn named(
    pool: usize,
    patterns: Vec<Pattern>,
    mut workers: Vec<(usize, u32, u32)>,
) -> Option<Vec<HostGroup>> {
    let mut groups = Vec::new();
    for (host, mut times) in patterns {
        while times > 0 {
            let mut here: Vec<(usize, u32)> = Vec::new();
            let mut again = times;
            for (width, mut places) in host.iter().copied() {
                for (at, _, left) in workers.iter().filter(|(_, of, _)| *of == width) {
                    let count = places.min(*left);
                    if count > 0 {
                        again = again.min(left / count);
                        here.push((*at, count));
                        places -= count;
                    }
                }
            }
            if here.is_empty() {
                break;
            }
            for (at, count) in &here {
                if let Some(worker) = workers.iter_mut().find(|(of, _, _)| of == at) {
                    worker.2 -= count * again;
                }
            }
            here.sort_unstable();
            groups.push(HostGroup { pool, n_hosts: 1, times: again, workers: here });
            times -= again;
        }
    }
    workers.iter().all(|(_, _, left)| *left == 0).then_some(groups)
}
