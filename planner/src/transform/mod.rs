//! Rows that make an easier problem of a problem, with the way back.

pub mod blocks;
pub mod chains;
pub mod coplace;
pub mod fuse;
pub mod repeat;
mod tie;
