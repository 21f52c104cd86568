//! Small problems whose answers are known: the worked examples of `docs/conventions.md` and the
//! transforms.
#![allow(clippy::unwrap_used, reason = "a test that can't build its case must fail")]

mod examples;
mod sample;
mod transforms;
