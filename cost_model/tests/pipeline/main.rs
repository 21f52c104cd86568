//! Laws of the judge of training runs, against a naive judge of its own.
#![allow(clippy::unwrap_used, reason = "a test that can't unwrap has failed")]

mod illegal;
mod laws;
mod naive;
mod random;
mod windows;
