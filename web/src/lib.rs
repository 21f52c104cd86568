//! The planning service: requests of the command line over HTTP, answered by processes of their own
//! and kept in a database.

mod access;
mod api;
pub mod client;
mod content;
mod durations;
mod fault;
mod hub;
#[cfg(test)]
mod laws;
mod log;
mod metrics;
mod notify;
mod problem;
mod queue;
mod recent;
pub mod replan;
pub mod server;
mod service;
mod store;
mod stream;
mod tls;
pub mod tokens;
mod untold;
mod webhook;
mod work;

pub use access::{Quota, Scope, Token};
pub use api::sheet;
pub use log::quiet;
pub use service::Options;
pub use store::{Place, Url};
pub use webhook::Webhook;
pub use work::Work;
pub use work::child::{Limits, confine};
