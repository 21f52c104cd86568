//! Plans of attention and experts on devices of their own: made, read back, judged, explained.

pub mod decided;
pub mod explain;
pub mod picture;
pub mod plan;
pub mod setting;
pub mod verify;
