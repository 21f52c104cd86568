//! Memory that the system does not give ends the run with a sentence and exit code 1.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// The system's allocator, which says so before the program ends.
pub(crate) struct Allocator;

#[allow(unsafe_code, reason = "an allocator is unsafe; each call is handed on as it came")]
// SAFETY: all calls go to the system's allocator with the arguments of the caller.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

fn given(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() && size > 0 {
        end(size);
    }
    memory
}

/// Nothing here may ask for memory.
fn end(size: usize) -> ! {
    let mut digits = [b'0'; 20];
    let mut left = size;
    let mut from = digits.len();
    while from > 0 && (left > 0 || from == digits.len()) {
        from -= 1;
        digits[from] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
    }
    let mut stderr = std::io::stderr();
    let parts: [&[u8]; 3] = [
        b"error[out-of-memory]: the system has no memory left: ",
        digits.get(from..).unwrap_or_default(),
        b" bytes more were needed\n  hint: give the run more memory, or plan a smaller problem\n",
    ];
    for part in parts {
        let _ = stderr.write_all(part);
    }
    signal_hook::low_level::exit(1)
}
