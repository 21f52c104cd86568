//! What can be asked of meshwright: requests in, answers out, for every face.
//!
//! Never knows the terminal or HTTP.

pub mod answer;
pub mod door;
pub mod inputs;
pub mod kinds;
pub mod plan;
pub mod request;
pub mod search;
pub mod tools;
pub mod verbs;
pub mod views;
