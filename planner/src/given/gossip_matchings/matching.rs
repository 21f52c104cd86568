//! Perfect matchings by augmenting paths through blossoms (Edmonds, Canad. J. Math. 17, 1965).

use std::collections::VecDeque;

use cost_model::given::averaging::Matching;

/// No partner.
pub(super) const ALONE: u32 = u32::MAX;

/// Pairs that may be matched, of an even number of nodes.
pub(super) struct Links {
    /// By node, those that it may be matched with.
    pub(super) of: Vec<Vec<u32>>,
    /// Nodes without the one that stands for being left over.
    pub(super) n_nodes: usize,
}

impl Links {
    /// Of a test of pairs; of an odd number of nodes each may be matched with one that is none.
    pub(super) fn new(n_nodes: usize, may_be: &dyn Fn(usize, usize) -> bool) -> Self {
        let n = n_nodes.next_multiple_of(2);
        let is_link = |a: usize, b: usize| a != b && (a.max(b) == n_nodes || may_be(a, b));
        let of = |a: usize| (0..n).filter(|b| is_link(a, *b)).map(|b| b as u32).collect();
        Self { of: (0..n).map(of).collect(), n_nodes }
    }

    /// All pairs of two nodes.
    pub(super) fn pairs(&self) -> Vec<[u32; 2]> {
        let of_node = |(a, of): (u32, &Vec<u32>)| -> Vec<[u32; 2]> {
            of.iter().filter(|b| **b > a).map(|b| [a, *b]).collect()
        };
        let all = (0..).zip(&self.of).flat_map(of_node);
        all.filter(|pair| self.is_of_nodes(*pair)).collect()
    }

    fn is_of_nodes(&self, pair: [u32; 2]) -> bool {
        pair.iter().all(|node| (*node as usize) < self.n_nodes)
    }

    /// The pairs of partners.
    pub(super) fn matching(&self, mate: &[u32]) -> Matching {
        let pairs = (0..).zip(mate.iter().copied()).filter(|(a, b)| a < b).map(|(a, b)| [a, b]);
        pairs.filter(|pair| self.is_of_nodes(*pair)).collect()
    }

    /// A perfect matching that takes pairs in an order where it can; else how far one gets.
    pub(super) fn perfect(&self, order: &[[u32; 2]]) -> Result<Vec<u32>, Vec<u32>> {
        let mut mate = vec![ALONE; self.of.len()];
        for &[a, b] in order {
            if mate[a as usize] == ALONE && mate[b as usize] == ALONE {
                (mate[a as usize], mate[b as usize]) = (b, a);
            }
        }
        let mut is_whole = true;
        for root in 0..mate.len() {
            is_whole &= mate[root] != ALONE || augment(self, &mut mate, &[], root as u32);
        }
        if is_whole { Ok(mate) } else { Err(mate) }
    }

    /// A perfect matching with a pair, near to one without it; pairs of nodes that are held stay.
    pub(super) fn with(&self, mate: &[u32], fixed: &[bool], [a, b]: [u32; 2]) -> Option<Vec<u32>> {
        let (left, right) = (mate[a as usize], mate[b as usize]);
        if left == b {
            return Some(mate.to_vec());
        }
        if fixed[a as usize] || fixed[b as usize] {
            return None;
        }
        let (mut mate, mut fixed) = (mate.to_vec(), fixed.to_vec());
        (mate[a as usize], mate[b as usize]) = (b, a);
        (fixed[a as usize], fixed[b as usize]) = (true, true);
        (mate[left as usize], mate[right as usize]) = (ALONE, ALONE);
        augment(self, &mut mate, &fixed, left).then_some(mate)
    }
}

/// Matches one more node, along the shortest path from it to another one without a partner.
fn augment(links: &Links, mate: &mut [u32], fixed: &[bool], root: u32) -> bool {
    let n = mate.len();
    let mut tree = Tree {
        mate,
        parent: vec![ALONE; n],
        base: (0..n as u32).collect(),
        is_outer: vec![false; n],
        queue: VecDeque::from([root]),
    };
    tree.is_outer[root as usize] = true;
    while let Some(from) = tree.queue.pop_front() {
        for &to in &links.of[from as usize] {
            let (base, other) = (tree.base[from as usize], tree.base[to as usize]);
            let is_held = fixed.get(to as usize) == Some(&true);
            if is_held || base == other || tree.mate[from as usize] == to {
                continue;
            }
            let partner = tree.mate[to as usize];
            if to == root || (partner != ALONE && tree.parent[partner as usize] != ALONE) {
                tree.shrink(from, to);
            } else if tree.parent[to as usize] == ALONE {
                tree.parent[to as usize] = from;
                if partner == ALONE {
                    tree.flip(to);
                    return true;
                }
                tree.is_outer[partner as usize] = true;
                tree.queue.push_back(partner);
            }
        }
    }
    false
}

/// Paths from a node whose pairs are in the matching in turn.
struct Tree<'m> {
    mate: &'m mut [u32],
    parent: Vec<u32>,
    /// By node the one that its blossom hangs on.
    base: Vec<u32>,
    is_outer: Vec<bool>,
    queue: VecDeque<u32>,
}

impl Tree<'_> {
    /// Where the ways of two nodes to the root meet.
    fn meeting(&self, a: u32, b: u32) -> u32 {
        let mut is_passed = vec![false; self.base.len()];
        let mut node = a;
        loop {
            node = self.base[node as usize];
            is_passed[node as usize] = true;
            let partner = self.mate[node as usize];
            if partner == ALONE {
                break;
            }
            node = self.parent[partner as usize];
        }
        let mut other = b;
        loop {
            other = self.base[other as usize];
            if is_passed[other as usize] {
                return other;
            }
            other = self.parent[self.mate[other as usize] as usize];
        }
    }

    /// Makes one of an odd circle.
    fn shrink(&mut self, a: u32, b: u32) {
        let meeting = self.meeting(a, b);
        let mut is_in = vec![false; self.base.len()];
        for (from, to) in [(a, b), (b, a)] {
            let (mut node, mut child) = (from, to);
            while self.base[node as usize] != meeting {
                let partner = self.mate[node as usize];
                is_in[self.base[node as usize] as usize] = true;
                is_in[self.base[partner as usize] as usize] = true;
                self.parent[node as usize] = child;
                child = partner;
                node = self.parent[partner as usize];
            }
        }
        for at in 0..self.base.len() {
            if is_in[self.base[at] as usize] {
                self.base[at] = meeting;
                if !std::mem::replace(&mut self.is_outer[at], true) {
                    self.queue.push_back(at as u32);
                }
            }
        }
    }

    /// Takes what of a path was not in the matching, and leaves what was.
    fn flip(&mut self, mut end: u32) {
        while end != ALONE {
            let before = self.parent[end as usize];
            let next = self.mate[before as usize];
            (self.mate[end as usize], self.mate[before as usize]) = (before, end);
            end = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Whether some perfect matching exists, by trying all partners of the first node.
    fn exists(links: &Links, left: &[u32]) -> bool {
        let Some((first, rest)) = left.split_first() else { return true };
        let tried = |partner: &u32| {
            let others: Vec<u32> = rest.iter().copied().filter(|other| other != partner).collect();
            links.of[*first as usize].contains(partner) && exists(links, &others)
        };
        rest.iter().any(tried)
    }

    #[test]
    fn matchings_are_found_where_there_are_any() {
        let mut draw = SmallRng::seed_from_u64(1);
        let (mut n_found, mut n_forced) = (0, 0);
        for _ in 0..3000 {
            let n = draw.random_range(2..=9);
            let share = draw.random_range(0.1..0.7);
            let is: Vec<bool> = (0..n * n).map(|_| draw.random_bool(share)).collect();
            let links = Links::new(n, &|a, b| is[a.max(b) * n + a.min(b)]);
            let all: Vec<u32> = (0..links.of.len() as u32).collect();
            let mut order = links.pairs();
            order.shuffle(&mut draw);
            let found = links.perfect(&order);
            assert_eq!(found.is_ok(), exists(&links, &all));
            let Ok(mate) = found else { continue };
            n_found += 1;
            let fixed = vec![false; mate.len()];
            for pair in links.pairs() {
                let rest: Vec<u32> =
                    all.iter().copied().filter(|node| !pair.contains(node)).collect();
                let with = links.with(&mate, &fixed, pair);
                assert_eq!(with.is_some(), exists(&links, &rest));
                let Some(with) = with else { continue };
                n_forced += usize::from(with != mate);
                assert_eq!(with[pair[0] as usize], pair[1]);
                for (node, other) in (0..).zip(&with) {
                    assert!(
                        links.of[node as usize].contains(other) && with[*other as usize] == node
                    );
                }
            }
        }
        assert!(n_found > 500 && n_forced > 1000, "{n_found} {n_forced}");
    }
}
