//! Measures kernels and links, and fits the constants of the cost model to them.
//!
//! [`measure`] runs a grid of tasks on one engine and keeps medians and spreads; [`to_profile`]
//! fits constants and says how well and which of them the samples determine; [`check()`] compares
//! a profile with a measurement that it was not fitted to.

pub mod backend;
mod check;
mod cuda;
pub mod date;
mod driver;
mod fit;
mod form;
mod grid;
mod host;
mod machine;
#[cfg(test)]
mod measured;
pub mod measurement;
pub mod options;
mod profile;
mod statistic;
mod torch;

use std::time::Instant;

use ir::diagnostic::Diagnostic;

use crate::backend::Backend;
pub use crate::check::{Check, check, predict};
use crate::driver::{Driver, Pace, time_all};
use crate::measurement::{Measurement, Task};
use crate::options::{Engine, Options, Part};
pub use crate::profile::to_profile;

/// Every backend that meshwright knows, with its state on this machine. The host always exists;
/// `cuda` only where the driver's library loads and answers.
#[must_use]
pub fn probe() -> Vec<Backend> {
    vec![host::probe(), cuda::probe()]
}

/// Measures on one engine.
///
/// # Errors
/// `machine-busy` and `measurement-noisy` unless a busy machine is allowed; `no-gpu` and whatever
/// a CUDA library reports; `no-python`, `torch-failed`, `torch-timeout` and `torch-output`;
/// `loopback`.
pub fn measure(options: &Options) -> Result<Measurement, Diagnostic> {
    let start = Instant::now();
    let machine = machine::look();
    let mut measurement = Measurement {
        source: String::new(),
        kind: String::new(),
        date: date::today(),
        machine,
        samples: Vec::new(),
        block_s: None,
        n_skipped: 0,
        elapsed_s: 0.0,
    };
    match &options.engine {
        Engine::Host => {
            machine::admit(&measurement.machine, options.busy)?;
            measurement.source = host::SOURCE.to_owned();
            measurement.kind = host::KIND.to_owned();
            let tasks = parts(options, host::others(), host::products);
            let mut driver = host::Host::new(options.peer.clone());
            run(&mut measurement, &mut driver, &tasks, options, host::BATCH_S)?;
        }
        Engine::Torch { python, script, clock } => {
            machine::admit(&measurement.machine, options.busy)?;
            let answer = torch::measure(python, script.as_deref(), *clock, options)?;
            measurement.source = answer.source;
            measurement.kind = answer.kind;
            measurement.samples = answer.samples;
            measurement.block_s = answer.block_s;
            measurement.n_skipped = answer.n_skipped;
            measurement.machine.notes.extend(answer.notes);
        }
        Engine::Cuda { device } => {
            let mut open = cuda::open(*device)?;
            machine::admit(&measurement.machine, options.busy)?;
            measurement.source = cuda::SOURCE.to_owned();
            measurement.kind = open.kind;
            measurement.machine.notes.extend(open.notes);
            let tasks = parts(options, cuda::others(open.peer), cuda::products);
            let driver = open.driver.as_mut();
            run(&mut measurement, driver, &tasks, options, cuda::BATCH_S)?;
        }
    }
    if let Some(kind) = &options.kind {
        measurement.kind.clone_from(kind);
    }
    measurement.elapsed_s = start.elapsed().as_secs_f64();
    measurement.machine.load_after = machine::load_average();
    machine::accept(&mut measurement, options.busy)?;
    Ok(measurement)
}

/// The far end of a loopback link, for a process that [`options::Peer::Process`] starts.
///
/// # Errors
/// `loopback` where the connection fails; its end is no error.
pub fn answer_loopback(port: u16) -> Result<(), Diagnostic> {
    host::answer(port)
}

/// Streams and links come first: without them no product can be fitted.
fn parts(
    options: &Options,
    others: Vec<Task>,
    products: impl Fn(usize, u64) -> Vec<Task>,
) -> Vec<Task> {
    let products = products(options.n_products, options.seed);
    match options.part {
        Part::All => others.into_iter().chain(products).collect(),
        Part::Products => products,
    }
}

fn run(
    measurement: &mut Measurement,
    driver: &mut dyn Driver,
    tasks: &[Task],
    options: &Options,
    batch_s: f64,
) -> Result<(), Diagnostic> {
    let pace = Pace { repeats: options.repeats, batch_s, time: options.time };
    (measurement.samples, measurement.n_skipped) = time_all(driver, tasks, pace)?;
    Ok(())
}

#[cfg(test)]
mod tests;
