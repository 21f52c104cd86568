//! How many chunks of micro-batches a pipeline rank holds at once.

use ir::plan::Parallelism;

/// Chunks of micro-batches that a rank holds activations of at its peak; a chunk is one micro-batch
/// on one of its `virtual_stages` parts.
///
/// 1F1B: `min(p - i, m)` on rank `i` of `p` (Narayanan et al. 2021, section 2.2); interleaved:
/// `(v - 1) p + 2 (p - i - 1) + 1`, at most `m v` (section 2.3 and the schedule of Megatron-LM).
#[must_use]
pub fn chunks(parallelism: &Parallelism, rank: u32) -> f64 {
    let p = f64::from(parallelism.pipeline.max(1));
    let v = f64::from(parallelism.virtual_stages.max(1));
    let all = parallelism.n_micro_batches.max(1) as f64 * v;
    let after = (p - 1.0 - f64::from(rank)).max(0.0);
    let most = if v > 1.0 { (v - 1.0) * p + 2.0 * after + 1.0 } else { after + 1.0 };
    most.min(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parallelism(pipeline: u32, virtual_stages: u32, n_micro_batches: u64) -> Parallelism {
        Parallelism { pipeline, virtual_stages, n_micro_batches, ..Parallelism::default() }
    }

    fn of_ranks(parallelism: &Parallelism) -> Vec<f64> {
        (0..parallelism.pipeline).map(|rank| chunks(parallelism, rank)).collect()
    }

    #[test]
    fn one_forward_one_backward_by_hand() {
        assert_eq!(of_ranks(&parallelism(4, 1, 8)), [4.0, 3.0, 2.0, 1.0]);
        assert_eq!(of_ranks(&parallelism(4, 1, 2)), [2.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn interleaving_holds_more_at_the_start() {
        assert_eq!(of_ranks(&parallelism(4, 3, 8)), [15.0, 13.0, 11.0, 9.0]);
        assert_eq!(of_ranks(&parallelism(4, 3, 4)), [12.0, 12.0, 11.0, 9.0]);
        // L layers' worth times 1 + (p - 1) / (p v) on the first rank.
        let [p, v] = [8.0, 3.0];
        let first = chunks(&parallelism(8, 3, 64), 0) / (p * v);
        assert!((first - (1.0 + (p - 1.0) / (p * v))).abs() < 1e-12);
    }
}
