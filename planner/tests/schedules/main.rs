//! No schedule of a generator beats the optimal one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod found;
mod optimal;
