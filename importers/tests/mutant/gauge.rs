//! An allocator that knows how much is in use, and a run under its eyes.
#![allow(unsafe_code, reason = "an allocator can only be wrapped with unsafe code")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use importers::{ImportOptions, read_bytes};

/// The system's allocator, counted.
pub(crate) struct Counted;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Longest that one import may take: only one that hangs takes so long.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Most bytes that one import may hold beside the file.
const MAX_MEMORY: usize = 512 << 20;

/// What an import took.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "not every program that shares this file prints all of it")]
pub(crate) struct Reading {
    /// Whether it gave a graph.
    pub(crate) is_ok: bool,
    /// How long it took.
    pub(crate) time: Duration,
    /// Bytes held at most, beyond those before.
    pub(crate) bytes: usize,
}

/// Imports a mutant whose file would have this name.
///
/// # Errors
/// What went wrong: a panic, more than 20 s, more than 512 MiB.
pub(crate) fn measure(name: &str, bytes: &[u8]) -> Result<Reading, String> {
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let run = || read_bytes(name, bytes, &ImportOptions::default()).is_ok();
    let is_ok = catch_unwind(AssertUnwindSafe(run)).map_err(|_| "panicked".to_owned())?;
    let time = start.elapsed();
    let bytes = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    if time > MAX_TIME {
        return Err(format!("took {time:?}"));
    }
    if bytes > MAX_MEMORY {
        return Err(format!("held {bytes} bytes"));
    }
    Ok(Reading { is_ok, time, bytes })
}
