//! The command line of meshwright: parses, calls the library, prints.

mod cli;
mod commands;
mod failure;
mod given_flags;
mod interrupt;
mod limit_flags;
mod measure_flags;
mod out_of_memory;
mod printer;
mod progress;
mod publisher;
mod table;
mod training_flags;

use std::process::ExitCode;

use crate::printer::Printer;
use engine::page::Format;

#[global_allocator]
static ALLOCATOR: out_of_memory::Allocator = out_of_memory::Allocator;

fn main() -> ExitCode {
    interrupt::started();
    interrupt::survive_full_files();
    // Flags may be wrong, so whether JSON is wanted is read before they are parsed.
    let json = std::env::args_os().skip(1).take_while(|a| a != "--").any(|a| a == "--json");
    let printer = Printer::new(if json { Format::Json } else { Format::Text });
    let parsed = match given_flags::parse() {
        Ok(parsed) => parsed,
        Err(error) => return failure::of_flags(&error, &printer),
    };
    failure::catch(&printer, || commands::run(&parsed, &printer))
}
