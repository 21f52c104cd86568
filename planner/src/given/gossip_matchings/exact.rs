//! All sequences of matchings of few pairs: only what of the nodes is joined counts, round after round.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::matching::{ALONE, Links};

/// Most links that are looked at for all lists of matchings, and for joining.
pub(super) const MOST_LOOKS: u64 = 1 << 26;
/// Looks at links that joining a node takes as long as.
const LOOKS_A_NODE: u64 = 16;
/// Most matchings.
const MATCHINGS: usize = 1 << 14;
/// Looks at links between two looks at the clock.
const PER_CLOCK: u64 = 1 << 20;
/// What they count as.
const PER_LOOK: u64 = 1 << 14;

/// What is known of sequences of matchings.
pub(super) enum Known {
    /// One that joins all nodes.
    Joins(Vec<Vec<u32>>),
    /// None does.
    None,
    /// There are too many.
    Unknown,
}

/// Counts looks at links.
struct Looks<'s> {
    left: &'s mut u64,
    since: u64,
    stop: &'s dyn Fn(u64) -> bool,
}

impl Looks<'_> {
    /// Whether there were too many.
    fn are_over(&mut self, n: u64) -> bool {
        *self.left = self.left.saturating_sub(n);
        self.since += n;
        let is_due = self.since >= PER_CLOCK;
        if is_due {
            self.since = 0;
        }
        *self.left == 0 || (is_due && (self.stop)(PER_LOOK))
    }
}

/// Whether so many matchings join all nodes, within so many looks at links, which it takes from.
pub(super) fn joined(
    links: &Links,
    rounds: usize,
    left: &mut u64,
    stop: &dyn Fn(u64) -> bool,
) -> Known {
    let mut looks = Looks { left, since: 0, stop };
    let mut all = Vec::new();
    if !list(links, &mut vec![ALONE; links.of.len()], &mut all, &mut looks) {
        return Known::Unknown;
    }
    // By parts that are joined, the matching that did it last and what was joined before.
    let alone: Vec<u16> = (0..links.n_nodes as u16).collect();
    let mut seen: HashMap<Vec<u16>, Option<(usize, Vec<u16>)>> =
        HashMap::from([(alone.clone(), None)]);
    let mut last = vec![alone];
    for _ in 0..rounds {
        let mut next = Vec::new();
        for parts in last {
            for (at, mate) in all.iter().enumerate() {
                if looks.are_over(LOOKS_A_NODE * links.n_nodes as u64) {
                    return Known::Unknown;
                }
                let joined = join(links, &parts, mate);
                let Entry::Vacant(place) = seen.entry(joined.clone()) else { continue };
                place.insert(Some((at, parts.clone())));
                if joined.iter().all(|part| *part == 0) {
                    return Known::Joins(way(&seen, joined, (&all, rounds)));
                }
                next.push(joined);
            }
        }
        last = next;
    }
    Known::None
}

/// The matchings that led to some parts, and the last one again for what is left of the rounds.
fn way(
    seen: &HashMap<Vec<u16>, Option<(usize, Vec<u16>)>>,
    mut parts: Vec<u16>,
    (all, rounds): (&[Vec<u32>], usize),
) -> Vec<Vec<u32>> {
    let mut way = Vec::new();
    while let Some(Some((at, before))) = seen.get(&parts) {
        way.push(all[*at].clone());
        parts.clone_from(before);
    }
    way.reverse();
    let last = way.last().cloned().unwrap_or_default();
    way.resize(rounds, last);
    way
}

/// Parts, each by its first node, after a matching.
fn join(links: &Links, parts: &[u16], mate: &[u32]) -> Vec<u16> {
    let mut joined = parts.to_vec();
    for [a, b] in links.matching(mate) {
        let (a, b) = (joined[a as usize], joined[b as usize]);
        let (least, other) = (a.min(b), a.max(b));
        joined.iter_mut().filter(|part| **part == other).for_each(|part| *part = least);
    }
    joined
}

/// Lists all perfect matchings; false where there are too many.
fn list(
    links: &Links,
    mate: &mut Vec<u32>,
    all: &mut Vec<Vec<u32>>,
    looks: &mut Looks<'_>,
) -> bool {
    let is_free = |mate: &[u32], node: u32| mate[node as usize] == ALONE;
    let free =
        |mate: &[u32], node: usize| links.of[node].iter().filter(|b| is_free(mate, **b)).count();
    // The node with the fewest partners left.
    let open = (0..mate.len()).filter(|node| mate[*node] == ALONE);
    let Some(node) = open.min_by_key(|node| free(mate, *node)) else {
        all.push(mate.clone());
        return all.len() <= MATCHINGS;
    };
    let n_links = links.of.iter().map(Vec::len).sum::<usize>() as u64;
    for &other in &links.of[node] {
        if !is_free(mate, other) {
            continue;
        }
        if looks.are_over(n_links) {
            return false;
        }
        (mate[node], mate[other as usize]) = (other, node as u32);
        let is_listed = list(links, mate, all, looks);
        (mate[node], mate[other as usize]) = (ALONE, ALONE);
        if !is_listed {
            return false;
        }
    }
    true
}
