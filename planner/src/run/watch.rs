//! Work that must end in time, whatever it does: it runs on a thread of its own, which is left
//! alone once its time is over. What it has told by then is what is known.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::limits::StopReason;
use super::thread::start;

/// How often the flag and the clock are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Stack of the thread: as large as the main thread's on most systems.
const STACK_BYTES: usize = 8 << 20;
/// Events that are still heard after the end.
const LAST_EVENTS: usize = 10_000;
/// How long work may take to answer after it was asked to stop.
const GRACE: Duration = Duration::from_millis(100);

/// Whether some work was left alone.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// Whether some work was left alone, whose thread may still run: what libraries do at an orderly
/// end of the program is not made for that.
#[must_use]
pub fn is_any_left() -> bool {
    IS_LEFT.load(Ordering::SeqCst)
}

/// When work must have ended.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The end of the time limit.
    pub end: Option<Instant>,
    /// How long after it the work may still answer by itself.
    pub after: Duration,
    /// The same, after the flag was raised.
    pub grace: Duration,
    /// Raised to stop.
    pub cancel: Arc<AtomicBool>,
}

/// What tells the one who waits.
pub type Tell<E> = Arc<dyn Fn(E) + Send + Sync>;

/// How work ended.
pub enum Ended<T> {
    /// By itself.
    Done(T),
    /// It did not, and was left alone.
    Left(StopReason),
    /// It panicked.
    Died(Box<dyn Any + Send>),
}

impl<T> Ended<T> {
    /// What the work returned; `None` if it was left alone.
    ///
    /// # Panics
    /// As the work did.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(done) => Some(done),
            Self::Left(_) => None,
            Self::Died(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What is said to the one who waits.
enum Word<E, T> {
    Event(E),
    Done(T),
}

impl Watch {
    /// A limit that counts from `start`.
    #[must_use]
    pub fn new(start: Instant, limit: Option<Duration>, cancel: Arc<AtomicBool>) -> Self {
        let end = limit.and_then(|limit| start.checked_add(limit));
        Self { end, after: GRACE, grace: GRACE, cancel }
    }

    /// Time of the limit that is left.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the flag was raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// Runs the work and takes what it tells, in order.
    pub fn run<E: Send + 'static, T: Send + 'static>(
        &self,
        work: impl FnOnce(Tell<E>) -> T + Send + 'static,
        on_event: &mut dyn FnMut(E),
    ) -> Ended<T> {
        let (sender, receiver) = channel();
        let builder = thread::Builder::new().name("planner".to_owned()).stack_size(STACK_BYTES);
        let worker = start(builder, move || {
            let events = sender.clone();
            // Who does not wait any more does not listen either.
            let tell: Tell<E> = Arc::new(move |event| drop(events.send(Word::Event(event))));
            let done = work(tell);
            let _ = sender.send(Word::Done(done));
        });
        let is_over = || worker.as_ref().is_none_or(JoinHandle::is_finished);
        if let Some(ended) = self.listen(&receiver, &is_over, on_event) {
            return ended;
        }
        match worker.map(JoinHandle::join) {
            Some(Err(panic)) => Ended::Died(panic),
            _ => Ended::Died(Box::new("a thread ended without a word")),
        }
    }

    /// Until the work is done, or has been silent for too long after it was asked to stop; `None`
    /// where it died.
    fn listen<E, T>(
        &self,
        receiver: &Receiver<Word<E, T>>,
        is_over: &dyn Fn() -> bool,
        on_event: &mut dyn FnMut(E),
    ) -> Option<Ended<T>> {
        let mut end = self.end.and_then(|end| end.checked_add(self.after));
        let mut reason = StopReason::Deadline;
        let mut is_raised = false;
        loop {
            let now = Instant::now();
            if !is_raised && self.is_cancelled() {
                is_raised = true;
                let last = now + self.grace;
                if end.is_none_or(|end| last < end) {
                    (end, reason) = (Some(last), StopReason::Cancelled);
                }
            }
            if end.is_some_and(|end| now >= end) {
                break;
            }
            let wait = end.map_or(LOOK, |end| LOOK.min(end - now));
            match receiver.recv_timeout(wait) {
                Ok(Word::Event(event)) => on_event(event),
                Ok(Word::Done(done)) => return Some(Ended::Done(done)),
                // Its last word may have come between.
                Err(_) if is_over() => return drained(receiver, on_event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        // What is in the line already counts.
        let done = drained(receiver, on_event);
        Some(done.unwrap_or_else(|| {
            IS_LEFT.store(true, Ordering::SeqCst);
            Ended::Left(reason)
        }))
    }
}

fn drained<E, T>(receiver: &Receiver<Word<E, T>>, on_event: &mut dyn FnMut(E)) -> Option<Ended<T>> {
    for word in receiver.try_iter().take(LAST_EVENTS) {
        match word {
            Word::Event(event) => on_event(event),
            Word::Done(done) => return Some(Ended::Done(done)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_left_with_what_it_told() {
        let start = Instant::now();
        let limit = Some(Duration::from_millis(60));
        let watch = Watch::new(start, limit, Arc::default());
        let mut events = Vec::new();
        let endless = |tell: Tell<u32>| -> u32 {
            tell(1);
            tell(2);
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        };
        let done = watch.run(endless, &mut |event| events.push(event));
        assert_eq!((done.done(), events), (None, vec![1, 2]));
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn work_that_ends_is_heard_to_its_end() {
        let watch = Watch::new(Instant::now(), None, Arc::default());
        let mut events = Vec::new();
        let work = |tell: Tell<u32>| {
            (0..100).for_each(|event| tell(event));
            7
        };
        let done = watch.run(work, &mut |event| events.push(event));
        assert_eq!((done.done(), events), (Some(7), (0..100).collect()));
        watch.cancel.store(true, Ordering::SeqCst);
        let late = |_: Tell<()>| thread::sleep(Duration::from_secs(600));
        let left = watch.run(late, &mut |()| {});
        assert!(matches!(left, Ended::Left(StopReason::Cancelled)));
    }

    #[test]
    fn work_that_dies_says_so() {
        let watch = Watch::new(Instant::now(), None, Arc::default());
        let wrong = |_: Tell<()>| -> u32 { panic!("a row that is wrong") };
        assert!(matches!(watch.run(wrong, &mut |()| {}), Ended::Died(_)));
    }
}
