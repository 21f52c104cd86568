//! What devices may draw: searches over sets of devices and limits of their boards, each set planned by
//! another search.

pub mod board_limits;

#[cfg(test)]
mod laws;
