//! Ctrl-C: the first one asks for the best so far, the second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a run that was interrupted with nothing to keep.
pub(crate) const EXIT_CODE: u8 = 130;

/// The flag that the first Ctrl-C (or a termination signal) raises.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    // Without a handler Ctrl-C simply ends the program, which needs no warning.
    let _ = ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::SeqCst) {
            end();
        }
    });
    flag
}

#[allow(clippy::exit, reason = "the user asked twice; nothing is half written, files are renamed")]
fn end() -> ! {
    std::process::exit(i32::from(EXIT_CODE))
}
