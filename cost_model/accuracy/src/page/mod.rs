//! The lines of the accuracy table as a document, as a page and as tables.

pub(super) mod document;
pub(super) mod markdown;
pub(super) mod rows;
pub(super) mod tables;
