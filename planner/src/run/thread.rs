//! Threads that the system may not have to give.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Does some work on a thread of its own, and on the caller's where the system starts none (such as
/// past `ulimit -u`): then it is done when this returns, and `None` is returned.
pub fn start(builder: Builder, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    // A thread that is refused drops what it was given.
    let work = Arc::new(Mutex::new(Some(work)));
    let shared = Arc::clone(&work);
    let once = move || {
        let work = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work();
        }
    };
    let started = builder.spawn(once);
    if started.is_err() {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work();
        }
    }
    started.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_is_done_once_wherever_it_runs() {
        // No address space holds the second stack.
        for (stack, is_own) in [(1 << 20, true), (1 << 60, false)] {
            let (sender, receiver) = channel();
            let caller = std::thread::current().id();
            let work = move || sender.send(std::thread::current().id() != caller).unwrap();
            let started = start(Builder::new().stack_size(stack), work);
            assert_eq!(started.is_some(), is_own);
            assert_eq!(receiver.iter().collect::<Vec<_>>(), [is_own]);
        }
    }
}
