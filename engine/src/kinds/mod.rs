//! Kinds of plans, a room each, and the frame that they stand in. No kind names another: what several share
//! lies here, in `inputs` or in `answer`.

pub mod buckets;
pub mod cells;
pub mod expert_layers;
pub mod experts;
pub mod fleet;
pub mod frame;
pub mod given;
pub mod gradients;
pub mod groups;
pub mod inference;
pub mod kind;
pub mod nano_batches;
pub mod placement;
pub mod sharding;
pub mod slots;
pub mod streams;
pub mod training;
