//! What the tests of this crate share, and the schemas that they write.

pub(crate) mod sample;
pub(crate) mod schema;
