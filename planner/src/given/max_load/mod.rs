//! The search behind [`super::columns`]: least greatest load, with a certificate that
//! [`check`](check::check) verifies.

pub mod certificate;
mod chain;
pub mod check;
mod column_generation;
mod contraction;
pub mod control;
mod dive;
pub mod evaluate;
mod exhaust;
mod frame;
mod improve;
mod layers;
mod local_search;
mod master;
mod model;
mod order;
mod packing;
mod pairs;
mod pendant;
mod pricing;
pub mod search;

#[cfg(test)]
mod tests;
