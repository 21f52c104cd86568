//! What links cost: collectives, and how much of them hides behind computation.

pub mod collective;
pub mod overlap;
