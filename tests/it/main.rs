//! Tests of the whole: one binary, one module per subject.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and may say what it saw"
)]

mod architecture;
mod calibrate_steps;
mod cli;
mod configs;
mod container;
mod data;
mod given_costs;
mod golden_memory;
mod instances;
mod intervals;
mod launch;
mod laws;
mod layered;
mod max_load;
mod megatron_settings;
mod megatron_shape;
mod model_load;
mod only;
mod oracle;
mod pinned;
mod random_problem;
mod recipes;
mod second_derivation;
mod service;
mod settings;
mod shape;
mod stashed;
mod step_groups;
mod structure;
mod time_grid;
mod training;
mod worked_file;
