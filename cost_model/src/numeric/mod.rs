//! Numbers without a meaning of their own: fits, scores, norms, compact rows and sets.

pub mod csr;
pub mod device_set;
pub mod least_squares;
pub mod p_norm;
pub mod residual;
pub mod score;

/// The median; of two in the middle their mean.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(f64::midpoint(*values.get(last / 2)?, *values.get(last.div_ceil(2))?))
}
