//! Which tasks are measured: random products and fixed sizes, drawn from a seed.

use ir::tensor::DType;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::measurement::Task;

/// Extents from which products are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    /// Least extent.
    pub(crate) least: u64,
    /// Greatest extent.
    pub(crate) most: u64,
    /// Extents are multiples of it.
    pub(crate) step: u64,
}

/// Random products: each extent drawn evenly on a logarithmic scale.
pub(crate) fn products(count: usize, dtype: DType, extents: Extents, seed: u64) -> Vec<Task> {
    let mut random = SmallRng::seed_from_u64(seed);
    let (low, high) = ((extents.least.max(1) as f64).ln(), (extents.most.max(1) as f64).ln());
    let step = extents.step.max(1);
    let mut extent = || {
        let drawn = (low + (high - low).max(0.0) * random.random::<f64>()).exp();
        ((drawn / step as f64).round() as u64).max(1) * step
    };
    (0..count).map(|_| Task::Product { dtype, m: extent(), k: extent(), n: extent() }).collect()
}

/// Sizes from `least` on, each four times the last.
pub(crate) fn sizes(least: u64, count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(move |i| least << (2 * i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_depend_on_the_seed_alone_and_keep_their_range() {
        let extents = Extents { least: 32, most: 1024, step: 8 };
        let first = products(50, DType::F32, extents, 7);
        assert_eq!(first, products(50, DType::F32, extents, 7));
        assert_ne!(first, products(50, DType::F32, extents, 8));
        for task in first {
            let Task::Product { m, k, n, .. } = task else { panic!("a product was asked for") };
            for extent in [m, k, n] {
                assert!((32..=1024).contains(&extent) && extent % 8 == 0, "{extent}");
            }
        }
    }

    #[test]
    fn sizes_grow_fourfold() {
        assert_eq!(sizes(16, 3).collect::<Vec<_>>(), [16, 64, 256]);
    }
}
