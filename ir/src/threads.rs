//! Threads that the system may not have to give, such as past `ulimit -u`.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// Does two things beside each other, or one after the other where no thread can be started.
///
/// # Panics
/// As the work did.
pub fn beside<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let work = Mutex::new(Some(first));
    let once = || work.lock().unwrap_or_else(PoisonError::into_inner).take().map(|work| work());
    thread::scope(|scope| {
        let started = Builder::new().spawn_scoped(scope, once);
        let second = second();
        let first = match started {
            Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => once(),
        };
        let first = first.unwrap_or_else(|| std::panic::resume_unwind(Box::new("work done twice")));
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done() {
        let mut n = 0;
        assert_eq!(beside(|| 1, || 2), (1, 2));
        let (text, ()) = beside(|| "a".to_owned(), || n += 1);
        assert_eq!((text.as_str(), n), ("a", 1));
    }
}
