//! Max-load placement with a proof.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod laws;
