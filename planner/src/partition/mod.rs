//! Where a chain of blocks is cut.

pub mod chain;
