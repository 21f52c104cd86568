//! Exact methods for instances with given costs: against all splits, against each other, and on
//! instances that were made to have a split, or none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod brute;
mod laws;
mod planted;
mod sample;
