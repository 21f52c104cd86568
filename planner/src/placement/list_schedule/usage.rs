//! Bytes on a device over time, with the question that list schedulers ask (`docs/conventions.md`,
//! M6).
//!
//! A treap over instants: each node holds the change at its instant, its subtree the sum of the
//! changes and the greatest running sum. Adding a change and finding the last instant above a
//! limit take logarithmic time.

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    time: u64,
    delta: i64,
    /// Sum of the deltas of the subtree.
    sum: i64,
    /// Greatest sum of a non-empty prefix of the subtree.
    top: i64,
    left: u32,
    right: u32,
    priority: u64,
}

/// A step function of time that starts at 0 bytes at instant 0.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    nodes: Vec<Node>,
    root: u32,
}

impl Usage {
    pub(super) fn new() -> Self {
        let mut usage = Self { nodes: Vec::new(), root: NIL };
        usage.add(0, 0);
        usage
    }

    /// Changes the bytes at all instants from `time` on.
    pub(super) fn add(&mut self, time: u64, delta: i64) {
        self.root = self.insert(self.root, time, delta);
    }

    /// The most bytes at any instant.
    pub(super) fn top(&self) -> i64 {
        self.nodes[self.root as usize].top
    }

    /// The bytes after the last change.
    pub(super) fn last(&self) -> i64 {
        self.nodes[self.root as usize].sum
    }

    /// The last stretch of time that begins before `before` with more than `limit` bytes: its
    /// end, `None` inside where it never ends.
    pub(super) fn last_above(&self, limit: i64, before: u64) -> Option<Option<u64>> {
        let node = self.find(self.root, 0, limit, before)?;
        Some(self.after(self.nodes[node as usize].time))
    }

    fn find(&self, node: u32, before_it: i64, limit: i64, before: u64) -> Option<u32> {
        let mut node = node;
        loop {
            if node == NIL {
                return None;
            }
            let this = &self.nodes[node as usize];
            if this.time >= before {
                node = this.left;
                continue;
            }
            if before_it + this.top <= limit {
                return None;
            }
            let at_node = before_it + self.sum(this.left) + this.delta;
            if let Some(found) = self.find(this.right, at_node, limit, before) {
                return Some(found);
            }
            if at_node > limit {
                return Some(node);
            }
            node = this.left;
        }
    }

    /// The first instant of a change after `time`.
    fn after(&self, time: u64) -> Option<u64> {
        let mut found = None;
        let mut node = self.root;
        while node != NIL {
            let this = &self.nodes[node as usize];
            if this.time > time {
                found = Some(this.time);
                node = this.left;
            } else {
                node = this.right;
            }
        }
        found
    }

    fn sum(&self, node: u32) -> i64 {
        if node == NIL { 0 } else { self.nodes[node as usize].sum }
    }

    fn insert(&mut self, node: u32, time: u64, delta: i64) -> u32 {
        if node == NIL {
            let index = self.nodes.len() as u32;
            let priority = scramble(u64::from(index));
            self.nodes.push(Node {
                time,
                delta,
                sum: delta,
                top: delta,
                left: NIL,
                right: NIL,
                priority,
            });
            return index;
        }
        let here = self.nodes[node as usize];
        let mut root = node;
        if time == here.time {
            self.nodes[node as usize].delta += delta;
        } else if time < here.time {
            let left = self.insert(here.left, time, delta);
            self.nodes[node as usize].left = left;
            if self.nodes[left as usize].priority > here.priority {
                self.nodes[node as usize].left = self.nodes[left as usize].right;
                self.nodes[left as usize].right = node;
                self.pull(node);
                root = left;
            }
        } else {
            let right = self.insert(here.right, time, delta);
            self.nodes[node as usize].right = right;
            if self.nodes[right as usize].priority > here.priority {
                self.nodes[node as usize].right = self.nodes[right as usize].left;
                self.nodes[right as usize].left = node;
                self.pull(node);
                root = right;
            }
        }
        self.pull(root);
        root
    }

    fn pull(&mut self, node: u32) {
        let Node { delta, left, right, .. } = self.nodes[node as usize];
        let at_node = self.sum(left) + delta;
        let mut top = at_node;
        if left != NIL {
            top = top.max(self.nodes[left as usize].top);
        }
        if right != NIL {
            top = top.max(at_node + self.nodes[right as usize].top);
        }
        let sum = at_node + self.sum(right);
        let node = &mut self.nodes[node as usize];
        node.top = top;
        node.sum = sum;
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): priorities that look random
/// but are the same in every run.
fn scramble(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Bytes at each instant, one by one.
    fn naive(changes: &[(u64, i64)]) -> Vec<i64> {
        (0..40).map(|s| changes.iter().filter(|c| c.0 <= s).map(|c| c.1).sum()).collect()
    }

    #[test]
    fn agrees_with_counting_instant_by_instant() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..2_000 {
            let mut usage = Usage::new();
            let mut changes = Vec::new();
            for _ in 0..rng.random_range(1..30) {
                let change = (rng.random_range(0..30u64), rng.random_range(-5..9i64));
                usage.add(change.0, change.1);
                changes.push(change);
                let bytes = naive(&changes);
                assert_eq!(usage.top(), bytes.iter().copied().max().unwrap_or(0));
                assert_eq!(usage.last(), bytes[39]);
                let limit = rng.random_range(-3..20);
                let before = rng.random_range(1..42u64);
                let changed: Vec<u64> = {
                    let mut times: Vec<u64> = changes.iter().map(|c| c.0).chain([0]).collect();
                    times.sort_unstable();
                    times.dedup();
                    times
                };
                let expected = changed
                    .iter()
                    .rev()
                    .find(|s| **s < before && bytes[**s as usize] > limit)
                    .map(|s| changed.iter().copied().find(|next| next > s));
                assert_eq!(usage.last_above(limit, before), expected);
            }
        }
    }
}
