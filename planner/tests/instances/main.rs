//! Methods for instances with given costs, against brute force and against their own judges.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod averaging;
mod chains;
mod gradients;
mod ideals;
mod methods;
mod sample;
mod tasks;
