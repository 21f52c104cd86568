//! What surrounds a search: its limits, who follows it.

pub mod plot;
pub mod row;
pub mod run;
pub mod solved;
pub mod watched;
pub mod within;
