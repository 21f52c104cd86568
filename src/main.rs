//! The program: what the library does with its words, under an allocator that says when it ends.

mod out_of_memory;

use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: out_of_memory::Allocator = out_of_memory::Allocator;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let again: Vec<OsString> = std::env::current_exe().into_iter().map(Into::into).collect();
    ExitCode::from(meshwright::run(&words, &again))
}
