//! What surrounds a search: its limits, who follows it.

pub mod plot;
pub mod run;
pub mod watched;
pub mod within;
