//! Products of matrices on all cores.

use std::hint::black_box;

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut};
use rayon::prelude::*;

/// Multiplications and additions below which one core alone computes a product.
const LEAST_SHARED: usize = 48 * 48 * 48;
/// Columns that a core takes at least: those of the widest kernel.
const LEAST_COLUMNS: usize = 16;

/// A product of two matrices. Cores share out columns, so that the longer side lies there: the
/// transpose of a product is a product of the same extents.
pub(super) struct Product {
    a: DMatrix<f32>,
    /// Transposed, as the library reads it: row after row.
    b: DMatrix<f32>,
    c: DMatrix<f32>,
    /// Columns that a core takes; all of them where a second core would not pay.
    columns: usize,
}

impl Product {
    /// Rows of the first factor, what both share, columns of the second.
    pub(super) fn new(m: u64, k: u64, n: u64) -> Self {
        let [m, k, n] =
            [m.min(n), k, m.max(n)].map(|extent| usize::try_from(extent).unwrap_or(usize::MAX));
        // Small whole numbers: no denormals, which are slow, and no overflow.
        let value = |i: usize, j: usize| ((i + 2 * j) % 5) as f32 - 2.0;
        let cores = if m.saturating_mul(k).saturating_mul(n) < LEAST_SHARED {
            1
        } else {
            rayon::current_num_threads()
        };
        Self {
            a: DMatrix::from_fn(m, k, value),
            b: DMatrix::from_fn(n, k, |j, i| value(i, j)),
            c: DMatrix::zeros(m, n),
            columns: n.div_ceil(cores).max(LEAST_COLUMNS),
        }
    }

    /// Computes it once.
    pub(super) fn run(&mut self) {
        let (a, b) = (black_box(&self.a), black_box(&self.b));
        let (m, n, columns) = (a.nrows(), b.nrows(), self.columns);
        let b = DMatrixView::from_slice_with_strides(b.as_slice(), b.ncols(), n, n, 1);
        if columns >= n {
            self.c.gemm(1.0, a, &b, 0.0);
        } else {
            let parts = self.c.as_mut_slice().par_chunks_mut(m * columns).enumerate();
            parts.for_each(|(part, c)| {
                let width = c.len() / m;
                let mut c = DMatrixViewMut::from_slice(c, m, width);
                c.gemm(1.0, a, &b.columns(part * columns, width), 0.0);
            });
        }
        black_box(&self.c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_out_or_not_every_element_is_a_sum_of_products() {
        // Either side the longer one, alone and shared out, with a rest of columns.
        for (m, k, n) in [(32, 40, 48), (48, 40, 32), (72, 40, 104), (104, 40, 72), (40, 128, 33)] {
            let mut product = Product::new(m, k, n);
            product.c.fill(f32::NAN);
            product.run();
            let (a, b) = (&product.a, &product.b);
            assert_eq!((product.c.nrows() as u64, product.c.ncols() as u64), (m.min(n), m.max(n)));
            for (i, j) in (0..product.c.nrows()).flat_map(|i| (0..b.nrows()).map(move |j| (i, j))) {
                let sum: f32 = (0..a.ncols()).map(|p| a[(i, p)] * b[(j, p)]).sum();
                assert_eq!(product.c[(i, j)], sum, "{m} x {k} x {n}, element {i}, {j}");
            }
        }
    }
}
