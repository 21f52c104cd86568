//! Work that must end in time, whatever it does: it runs on a thread of its own, which is left
//! alone once its time is over. What it has told by then is what is known.

use std::io::Write;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use planner::run::thread::start;

/// How often the flag and the clock are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time that is left to the work after the flag was raised, to end by itself.
const GRACE: Duration = Duration::from_millis(300);
/// Stack of the thread: as large as the main thread's on most systems.
const STACK_BYTES: usize = 8 << 20;

/// Part of a time limit that may pass after its end before the work is left alone, and a constant.
const AFTER_SHARE: f64 = 0.04;
const AFTER: Duration = Duration::from_millis(50);

/// How long searches may go on after the end of a time limit.
pub(crate) fn after(limit: Option<Duration>) -> Duration {
    limit.map_or(AFTER, |limit| AFTER.saturating_add(limit.mul_f64(AFTER_SHARE)))
}

/// Events that are still heard after the end.
const LAST_EVENTS: usize = 10_000;

/// Whether some work was left alone.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// Ends the program at once where some work was left alone: what libraries do at an orderly end is
/// not made for threads that still run.
pub(crate) fn leave(exit: u8) {
    if IS_LEFT.load(Ordering::SeqCst) {
        let _ = std::io::stdout().flush();
        signal_hook::low_level::exit(i32::from(exit));
    }
}

/// When the work must have ended.
pub(crate) struct Watch {
    /// The end of the time limit.
    pub(crate) end: Option<Instant>,
    /// Raised to stop.
    pub(crate) cancel: Arc<AtomicBool>,
}

/// What is said to the one who waits.
enum Word<E, T> {
    Event(E),
    Done(T),
}

impl Watch {
    /// A limit that counts from `start`.
    pub(crate) fn new(start: Instant, limit: Option<Duration>, cancel: Arc<AtomicBool>) -> Self {
        let end = limit.and_then(|limit| start.checked_add(limit));
        Self { end, cancel }
    }

    /// Time of the limit that is left.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the flag was raised.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// Runs the work and takes what it tells, in order; `None` if it did not end in time: by the
    /// end of the limit and `after`, or [`GRACE`] after the flag was raised.
    ///
    /// # Panics
    /// As the work does.
    pub(crate) fn run<E: Send + 'static, T: Send + 'static>(
        &self,
        after: Duration,
        work: impl FnOnce(&dyn Fn(E)) -> T + Send + 'static,
        on_event: &mut dyn FnMut(E),
    ) -> Option<T> {
        let (sender, receiver) = channel();
        let worker = start(thread::Builder::new().stack_size(STACK_BYTES), move || {
            // Who does not wait any more does not listen either.
            let tell = |event| drop(sender.send(Word::Event(event)));
            let done = work(&tell);
            let _ = sender.send(Word::Done(done));
        });
        match self.wait(&receiver, after, on_event) {
            Ok(done) => done,
            // Its sender is gone before it was done.
            Err(()) => match worker.map(JoinHandle::join) {
                Some(Err(panic)) => resume_unwind(panic),
                _ => None,
            },
        }
    }

    fn wait<E, T>(
        &self,
        receiver: &Receiver<Word<E, T>>,
        after: Duration,
        on_event: &mut dyn FnMut(E),
    ) -> Result<Option<T>, ()> {
        let mut end = self.end.and_then(|end| end.checked_add(after));
        let mut is_raised = false;
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(Word::Event(event)) => on_event(event),
                Ok(Word::Done(done)) => return Ok(Some(done)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(()),
            }
            let now = Instant::now();
            if !is_raised && self.is_cancelled() {
                is_raised = true;
                let last = now + GRACE;
                end = Some(end.map_or(last, |end| end.min(last)));
            }
            if end.is_some_and(|end| now >= end) {
                break;
            }
        }
        for word in receiver.try_iter().take(LAST_EVENTS) {
            match word {
                Word::Event(event) => on_event(event),
                Word::Done(done) => return Ok(Some(done)),
            }
        }
        IS_LEFT.store(true, Ordering::SeqCst);
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_left_with_what_it_told() {
        let start = Instant::now();
        let limit = Some(Duration::from_millis(60));
        let watch = Watch::new(start, limit, Arc::default());
        let mut told = Vec::new();
        let endless = |tell: &dyn Fn(u32)| -> u32 {
            tell(1);
            tell(2);
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        };
        let done = watch.run(Duration::ZERO, endless, &mut |event| told.push(event));
        assert_eq!((done, told), (None, vec![1, 2]));
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    }

    #[test]
    fn work_that_ends_is_heard_to_its_end() {
        let watch = Watch::new(Instant::now(), None, Arc::default());
        let mut told = Vec::new();
        let work = |tell: &dyn Fn(u32)| {
            (0..100).for_each(tell);
            7
        };
        let done = watch.run(Duration::ZERO, work, &mut |event| told.push(event));
        assert_eq!((done, told), (Some(7), (0..100).collect()));
        watch.cancel.store(true, Ordering::SeqCst);
        let late = |_: &dyn Fn(())| thread::sleep(Duration::from_secs(600));
        assert_eq!(watch.run(Duration::ZERO, late, &mut |()| {}), None);
    }
}
