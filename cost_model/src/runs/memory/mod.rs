//! Bytes that training runs hold, in closed form: activations of a block ([`activations`]), states of
//! a parameter ([`states`]), and what no formula gives ([`Reserve`]). [`super::forms::model`] puts them
//! together by stages. All figures are bytes of one device.

pub mod activations;
pub mod reserve;
pub mod states;

pub use reserve::Reserve;

#[cfg(test)]
mod tests;
