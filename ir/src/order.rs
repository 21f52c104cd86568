//! Topological orders.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Kahn's algorithm: of the nodes that wait for nothing, the one with the least key comes next, of
/// equal keys the least node. `missing` counts what each of `nodes` waits for, `after` names the
/// nodes that wait for one, and a key may depend on the turn in which a node stopped waiting.
///
/// Nodes on a cycle, or behind one, are left out; their counts stay above zero.
pub fn topological<K: Ord, A: IntoIterator<Item = usize>>(
    nodes: impl IntoIterator<Item = usize>,
    missing: &mut [usize],
    after: impl Fn(usize) -> A,
    key: impl Fn(usize, usize) -> K,
) -> Vec<usize> {
    let sources = nodes.into_iter().filter(|node| missing[*node] == 0);
    let mut ready: BinaryHeap<_> = sources.map(|node| Reverse((key(node, 0), node))).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse((_, node))) = ready.pop() {
        order.push(node);
        for next in after(node) {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(Reverse((key(next, order.len()), next)));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 -> 3, 1 -> 2 -> 3, and 4 <-> 5 before 6.
    const AFTER: [&[usize]; 7] = [&[3], &[2], &[3], &[], &[5], &[4, 6], &[]];
    const MISSING: [usize; 7] = [0, 0, 1, 2, 1, 1, 1];

    fn order<K: Ord>(key: impl Fn(usize, usize) -> K) -> Vec<usize> {
        let mut missing = MISSING;
        let order = topological(0..7, &mut missing, |node| AFTER[node].iter().copied(), key);
        assert_eq!(missing, [0, 0, 0, 0, 1, 1, 1]);
        order
    }

    #[test]
    fn keys_choose_among_what_is_ready() {
        assert_eq!(order(|_, _| ()), [0, 1, 2, 3]);
        assert_eq!(order(|node, _| Reverse(node)), [1, 2, 0, 3]);
        assert_eq!(order(|_, turn| Reverse(turn)), [0, 1, 2, 3]);
        assert_eq!(order(|node, turn| (Reverse(turn), Reverse(node))), [1, 2, 0, 3]);
    }
}
