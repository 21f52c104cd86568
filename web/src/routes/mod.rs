//! One file per group of routes; each hands out its own router.

pub mod algorithms;
pub mod devices;
pub mod health;
pub(crate) mod missing;
