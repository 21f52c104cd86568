//! The one line on a terminal that says what a long solve is doing.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ir::units::Nanos;

use crate::printer::Printer;
use engine::answer::page::Format;

/// A solve shorter than this shows nothing.
const QUIET: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);

/// What is known of the solve.
#[derive(Default)]
struct State {
    algorithm: String,
    value: Option<u64>,
    bound: Option<u64>,
}

/// Shows events until it is dropped.
pub(crate) struct Progress {
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    painter: Option<JoinHandle<()>>,
}

impl Progress {
    /// Silent where stderr is no terminal or the output is for a program.
    pub(crate) fn new(printer: &Printer) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let shown = printer.format == Format::Text && io::stderr().is_terminal();
        let painter = shown.then(|| (Arc::clone(&state), Arc::clone(&ended)));
        // Without a thread there is no line, and the search goes on.
        let painter = painter.and_then(|(state, ended)| {
            std::thread::Builder::new().spawn(move || paint(&state, &ended)).ok()
        });
        Self { state, ended, painter }
    }

    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Self { state: Arc::default(), ended: Arc::default(), painter: None }
    }

    /// Takes note of what is tried.
    pub(crate) fn started(&self, algorithm: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        algorithm.clone_into(&mut state.algorithm);
    }

    /// Takes note of a better bound.
    pub(crate) fn bound(&self, bound: Nanos) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bound = Some(bound.get());
    }

    /// Takes note of a better plan.
    pub(crate) fn incumbent(&self, value: Nanos, bound: Nanos) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.value, state.bound) = (Some(value.get()), Some(bound.get()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(painter) = self.painter.take() {
            painter.thread().unpark();
            let _ = painter.join();
        }
    }
}

fn paint(state: &Mutex<State>, ended: &AtomicBool) {
    let start = Instant::now();
    while start.elapsed() < QUIET {
        std::thread::park_timeout(QUIET.saturating_sub(start.elapsed()));
        if ended.load(Ordering::SeqCst) {
            return;
        }
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    while !ended.load(Ordering::SeqCst) {
        bar.set_message(line(&state.lock().unwrap_or_else(PoisonError::into_inner), start));
        bar.tick();
        std::thread::park_timeout(TICK);
    }
    bar.finish_and_clear();
}

fn line(state: &State, start: Instant) -> String {
    let mut parts = vec![state.algorithm.clone()];
    if let Some(value) = state.value {
        parts.push(Nanos(value).to_string());
        if let Some(bound) = state.bound.filter(|bound| *bound > 0) {
            parts.push(format!("gap {:.1} %", (value as f64 / bound as f64 - 1.0) * 100.0));
        }
    }
    parts.push(format!("{:.1} s", start.elapsed().as_secs_f64()));
    parts.push("[Ctrl-C keeps the best]".to_owned());
    parts.join("  ")
}
