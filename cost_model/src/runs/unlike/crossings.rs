//! Which samples go where between two stages.

use ir::plan::StageMesh;

/// Replicas of two stages that have samples in common, and how many; samples are in order.
pub(super) fn crossings(from: &StageMesh, to: &StageMesh) -> Vec<(usize, usize, u64)> {
    let (mut a, mut b) = (0, 0);
    let mut left =
        [from.samples.first(), to.samples.first()].map(|first| first.copied().unwrap_or(0));
    let mut found = Vec::new();
    while a < from.samples.len() && b < to.samples.len() {
        let n = left[0].min(left[1]);
        if n > 0 {
            found.push((a, b, n));
        }
        left = [left[0] - n, left[1] - n];
        if left[0] == 0 {
            a += 1;
            left[0] = from.samples.get(a).copied().unwrap_or(0);
        }
        if left[1] == 0 {
            b += 1;
            left[1] = to.samples.get(b).copied().unwrap_or(0);
        }
    }
    found
}
