//! The vocabulary that every other crate speaks: ids, units, graphs, clusters, workloads, plans,
//! schedules and diagnostics.
//!
//! Knows nothing of files, documents, algorithms, or how a cost is computed.

pub mod card;
pub mod chip;
pub mod cluster;
pub mod diagnostic;
pub mod engine_tables;
pub mod form;
pub mod graph;
pub mod grid;
pub mod hyperparameters;
pub mod id;
pub mod instance;
pub mod launch;
pub mod layers;
pub mod measured;
pub mod module;
pub mod nearest;
pub mod op;
pub mod order;
pub mod plan;
pub mod plan_kind;
pub mod profile;
pub mod schedule;
pub mod stack;
pub mod tensor;
pub mod threads;
pub mod tuning;
pub mod units;
pub mod workload;
