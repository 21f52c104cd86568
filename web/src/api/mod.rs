//! The routes: one table, from which the router and the OpenAPI document are made.

mod asked;
mod contents;
mod covers;
mod events;
mod listings;
mod openapi;
mod opened;
mod plans;
pub mod sheet;
mod table;
mod ui;
mod unread;
mod uploads;
mod verbs;
mod views;

pub(crate) use plans::status;
pub(crate) use table::router;
pub(crate) use verbs::about_plan;
