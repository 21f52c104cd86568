//! Tests of the whole: one binary, one module per subject.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod architecture;
mod cli;
