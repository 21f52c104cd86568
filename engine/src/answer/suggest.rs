//! Did-you-mean.

pub use ir::nearest::among as hint;
