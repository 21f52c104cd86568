//! What can be asked of meshwright: requests in, answers out, for every face.
//!
//! Never knows the terminal or HTTP.

pub mod algorithms;
pub mod artifact;
pub mod asked;
pub mod beside;
pub mod buckets;
pub mod calibrate;
pub mod catalogue;
pub mod constraints;
pub mod devices;
pub mod differences;
pub mod door;
pub mod element_type;
pub mod escape;
pub mod executor;
pub mod exit;
pub mod experts;
pub mod fields;
pub mod follow;
pub mod given;
pub mod import;
pub mod input_file;
pub mod kept;
pub mod load;
pub mod measure;
pub mod model_options;
pub mod module_tree;
pub mod nano_batches;
pub mod one_host;
pub mod opened;
pub mod ops;
pub mod page;
mod pattern;
pub mod plan;
pub mod request;
pub mod rows;
pub mod scale;
pub mod streams;
pub mod structure;
pub mod suggest;
pub mod support;
pub mod training;
pub mod validate;
pub mod verbs;
pub mod views;
pub mod violations;
