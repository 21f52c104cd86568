//! What can be asked of meshwright: requests in, answers out, for every face.
//!
//! Never knows the terminal or HTTP.

pub mod asked;
pub mod constraints;
pub mod differences;
pub mod element_type;
pub mod escape;
pub mod executor;
pub mod input_file;
pub mod load;
pub mod model_options;
pub mod one_host;
pub mod ops;
mod pattern;
pub mod request;
pub mod suggest;
pub mod training;
pub mod violations;
