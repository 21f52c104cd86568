//! What ends a search early: signals (of Ctrl-C the first one asks for the best so far and the second
//! one ends the program), and the time limit, which counts from the start of the program.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::answer::exit::Exit;
use engine::answer::follow::is_any_left;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

/// Exit code of a run that was interrupted with nothing to keep.
pub(crate) const EXIT_CODE: u8 = Exit::INTERRUPTED.0;

static START: OnceLock<Instant> = OnceLock::new();

/// When the program started; `main` asks first.
pub(crate) fn started() -> Instant {
    *START.get_or_init(Instant::now)
}

/// Ends the program at once where some work was left alone.
pub(crate) fn leave(exit: u8) {
    if is_any_left() {
        let _ = std::io::stdout().flush();
        signal_hook::low_level::exit(i32::from(exit));
    }
}

/// The flag that the first Ctrl-C or termination signal raises; the next one of either kind ends
/// the program at once. A terminal that closes is left to the system: it ends the run, unless
/// `nohup` says otherwise.
pub(crate) fn flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    Arc::clone(FLAG.get_or_init(register))
}

fn register() -> Arc<AtomicBool> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Actions run in this order, so the first signal finds the flag down. Without a handler
        // the signal simply ends the program, which needs no warning.
        let ends = i32::from(EXIT_CODE);
        let _ = flag::register_conditional_shutdown(signal, ends, Arc::clone(&raised));
        let _ = flag::register(signal, Arc::clone(&raised));
    }
    raised
}

/// A file that grows past the user's limit is a write that fails, not the end of the program.
pub(crate) fn survive_full_files() {
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}
