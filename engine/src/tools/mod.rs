//! What can be asked beside plans.

pub mod algorithms;
pub mod calibrate;
pub mod cluster;
pub mod import;
pub mod measure;
pub mod support;
