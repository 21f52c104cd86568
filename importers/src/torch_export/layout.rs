//! Whether a tensor can be had in another form without a copy, by its strides.

/// Strides of a tensor without gaps, last axis fastest.
fn contiguous(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

/// Whether the elements lie in the order of a tensor without gaps.
pub(super) fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    shape.contains(&0)
        || shape
            .iter()
            .zip(strides)
            .zip(contiguous(shape))
            .all(|((extent, stride), expected)| *extent == 1 || *stride == expected)
}

/// Whether a tensor can be seen in another shape: each new axis must lie within a run of old axes
/// that follow each other in memory (the rule of `torch.Tensor.view`).
pub(super) fn is_viewable(shape: &[u64], strides: &[u64], to: &[u64]) -> bool {
    if shape.contains(&0) || shape.len() != strides.len() {
        return true;
    }
    // Runs of axes as extents, from the last on.
    let mut runs: Vec<u64> = Vec::new();
    let mut next: Option<u64> = None;
    for (extent, stride) in shape.iter().zip(strides).rev().filter(|(extent, _)| **extent != 1) {
        match (runs.last_mut(), next) {
            (Some(run), Some(expected)) if *stride == expected => {
                *run = run.saturating_mul(*extent);
            }
            _ => runs.push(*extent),
        }
        next = Some(stride.saturating_mul(*extent));
    }
    let mut to = to.iter().rev().filter(|extent| **extent != 1);
    runs.into_iter().all(|run| {
        let mut covered = 1u64;
        while covered < run {
            match to.next() {
                Some(extent) => covered = covered.saturating_mul(*extent),
                None => return false,
            }
        }
        covered == run
    })
}

/// Elements in memory: an axis of stride 0 repeats what is there.
pub(super) fn distinct(shape: &[u64], strides: Option<&[u64]>) -> Option<u64> {
    let repeats = |axis: usize| strides.is_some_and(|strides| strides.get(axis) == Some(&0));
    let axes = shape.iter().enumerate().filter(|(axis, _)| !repeats(*axis));
    if shape.contains(&0) {
        return Some(0);
    }
    axes.into_iter().try_fold(1u64, |volume, (_, extent)| volume.checked_mul(*extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `torch.empty_strided(shape, strides).view(to)` answers.
    #[test]
    fn views_by_hand() {
        assert!(is_viewable(&[2, 3, 4], &[12, 4, 1], &[6, 4]));
        assert!(is_viewable(&[2, 3, 4], &[12, 4, 1], &[2, 2, 6]));
        // Heads turned: batch x heads x length x width.
        assert!(!is_viewable(&[2, 3, 4, 5], &[60, 5, 15, 1], &[2, 12, 5]));
        assert!(is_viewable(&[2, 3, 4, 5], &[60, 5, 15, 1], &[2, 3, 4, 5]));
        assert!(is_viewable(&[2, 1, 4, 5], &[20, 5, 5, 1], &[8, 5]));
        // An expanded axis is no run with its neighbours.
        assert!(!is_viewable(&[4, 3], &[1, 0], &[12]));
        assert!(is_viewable(&[4, 3], &[1, 0], &[2, 2, 3]));
        // A row of a wider matrix.
        assert!(!is_viewable(&[4, 3], &[8, 1], &[12]));
        assert!(is_viewable(&[0, 3], &[8, 1], &[3, 0]));
    }

    #[test]
    fn order_and_repetition() {
        assert!(is_contiguous(&[2, 3], &[3, 1]));
        assert!(is_contiguous(&[1, 3], &[99, 1]));
        assert!(!is_contiguous(&[2, 3], &[1, 2]));
        assert_eq!(distinct(&[4, 3, 5], Some(&[5, 0, 1])), Some(20));
        assert_eq!(distinct(&[4, 3], None), Some(12));
        assert_eq!(distinct(&[1 << 40, 1 << 40], None), None);
    }
}
