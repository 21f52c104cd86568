//! How answers are given: pages, rows, files, verdicts.

pub mod beside;
pub mod differences;
pub mod energy;
pub mod escape;
pub mod exit;
pub mod files;
pub mod follow;
pub mod mismatch;
pub mod nothing_fits;
pub mod page;
pub mod rows;
pub mod screen;
pub mod suggest;
pub mod violations;
pub mod words;
