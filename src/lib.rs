//! The command line of meshwright: parses, calls the engine, prints. A library, so that the Python
//! package brings the same program.

mod cli;
mod client_flags;
mod commands;
mod failure;
mod flag_hints;
mod given_flags;
mod interrupt;
mod limit_flags;
mod listing_flags;
mod measure_flags;
mod plan_flags;
mod plan_inputs;
mod printer;
mod progress;
mod publisher;
mod screen;
mod service_flags;
mod serving_flags;
mod sheet;
mod submit_flags;
mod table;
mod task_flags;
mod training_flags;
mod version;

use std::ffi::OsString;

use crate::printer::Printer;
pub use crate::version::VERSION;
use engine::answer::page::Format;

/// Runs a command line, the program's name first, and returns its exit code. `again` are the words
/// that start the program from another process.
#[must_use]
pub fn run(words: &[OsString], again: &[OsString]) -> u8 {
    interrupt::started();
    interrupt::survive_full_files();
    // Flags may be wrong, so whether JSON is wanted is read before they are parsed.
    let json = words.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json");
    let printer = Printer::new(if json { Format::Json } else { Format::Text });
    let mut parsed = match given_flags::parse(words) {
        Ok(parsed) => parsed,
        Err(error) => return failure::of_flags(&error, words, &printer),
    };
    failure::catch(&printer, || commands::run(&mut parsed, again, &printer))
}
