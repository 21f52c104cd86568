//! Files that are read and written.

pub mod artifact;
pub mod input_file;
