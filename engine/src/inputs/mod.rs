//! What a question is about: the model, the devices, what was stated of them.
pub mod asked;
pub mod assumed;
pub mod constraints;
mod costs;
pub mod devices;
pub mod experts;
pub mod kept;
pub mod load;
pub mod model_options;
pub mod module_tree;
pub mod one_host;
pub mod pattern;
pub mod plan_file;
pub mod routing;
pub mod run;
pub mod scale;
pub mod structure;

pub use importers::aiconfigurator::PREFIX as TABLES;
