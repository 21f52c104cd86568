//! Laws and worked examples of the judge: replay, memory, verification, bounds, report.
#![allow(clippy::unwrap_used, reason = "a test that can't unwrap has failed")]

mod bounds;
mod cases;
mod examples;
mod illegal;
mod laws;
mod random;
mod scale;
