//! Numbers without a meaning of their own: fits, scores, norms, compact rows and sets.

pub mod csr;
pub mod device_set;
pub mod least_squares;
pub mod p_norm;
pub mod residual;
pub mod score;
