//! Kinds of plans, a room each.

pub mod experts;
pub mod given;
pub mod gradients;
pub mod groups;
pub mod inference;
pub mod nano_batches;
pub mod placement;
pub mod slots;
pub mod streams;
pub mod training;
