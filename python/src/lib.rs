//! What Python calls: requests as JSON text in, answers as JSON text out, files that appear whole.
//!
//! The interpreter's lock is free while the engine works. A signal is looked at every
//! [`LOOK`]; one that raises an exception there ends a search as Ctrl-C ends the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use engine::answer::files::artifact::{self, Existing};
use engine::door::{self, Event, Form};
use ir::diagnostic::{Blame, Diagnostic};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use serde_json::{Value, json};

/// How often signals are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long an answer is waited for after a request was cancelled.
const GRACE: Duration = Duration::from_millis(600);
/// Events that wait to be heard; more of them make the engine wait.
const WAITING: usize = 64;
/// Stack of the thread that reads models.
const STACK_BYTES: usize = 16 << 20;

/// What the engine says of one request.
enum Word {
    /// On the way, as JSON.
    Event(String),
    /// At the end, as JSON.
    Answer(String),
}

/// Exit code, document and files of a request, as JSON; `None` where it was cancelled and did not
/// answer in time. With it what cancelled it: an exception of a signal's handler, or of `hear`.
type Heard = (Option<String>, Option<PyErr>);

/// Answers a request (`engine/schema/request.schema.json`); `hear` is called with each event as JSON.
#[pyfunction]
#[pyo3(signature = (request, hear=None))]
fn answer(py: Python<'_>, request: String, hear: Option<Py<PyAny>>) -> PyResult<Heard> {
    let cancel = Arc::new(AtomicBool::new(false));
    let words = ask(request, Arc::clone(&cancel), hear.is_some())
        .map_err(|error| PyRuntimeError::new_err(format!("no thread can be started: {error}")))?;
    let mut raised: Option<(PyErr, Instant)> = None;
    loop {
        let word = py.detach(|| next(&words));
        let told = match word {
            Ok(Word::Answer(answer)) => return Ok((Some(answer), raised.map(|(error, _)| error))),
            Ok(Word::Event(event)) if raised.is_none() => match &hear {
                Some(hear) => hear.call1(py, (event,)).map(drop),
                None => Ok(()),
            },
            Ok(Word::Event(_)) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Ok((Some(bug()), None)),
        };
        if let (Err(error), None) = (told.and_then(|()| py.check_signals()), &raised) {
            cancel.store(true, Ordering::SeqCst);
            raised = Some((error, Instant::now()));
        }
        if raised.as_ref().is_some_and(|(_, at)| at.elapsed() > GRACE) {
            return Ok((None, raised.map(|(error, _)| error)));
        }
    }
}

type Words = std::sync::Mutex<Receiver<Word>>;

fn next(words: &Words) -> Result<Word, RecvTimeoutError> {
    let words = words.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    words.recv_timeout(LOOK)
}

/// Starts the engine on a thread of its own.
fn ask(request: String, cancel: Arc<AtomicBool>, is_heard: bool) -> std::io::Result<Words> {
    let (sender, receiver) = sync_channel(WAITING);
    let builder = thread::Builder::new().name("meshwright".to_owned()).stack_size(STACK_BYTES);
    builder.spawn(move || {
        let mut hear = |event: Event| match event {
            Event::Answer(_) => {}
            event if is_heard => tell(&sender, Word::Event(text(&event))),
            _ => {}
        };
        let answer = door::answer(
            request.as_bytes(),
            &cancel,
            (meshwright::VERSION, Form::Document),
            &mut hear,
        );
        tell(&sender, Word::Answer(text(&answer)));
    })?;
    Ok(std::sync::Mutex::new(receiver))
}

/// Who does not wait any more does not listen either.
fn tell(sender: &SyncSender<Word>, word: Word) {
    drop(sender.send(word));
}

/// Every event and answer has a JSON form.
fn text(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// The answer where the engine panicked, which has told stderr where.
fn bug() -> String {
    let message = "meshwright has a bug and stopped";
    let bug = Diagnostic::error(Blame::Internal, "internal", message)
        .hint("please report it with the request and, if you can share them, the input files");
    json!({ "exit_code": 1, "document": failure(&bug), "files": {} }).to_string()
}

fn failure(error: &Diagnostic) -> Value {
    let exit_code = error.blame.exit_code();
    let error = documents::diagnostic::DiagnosticDocument::from(error);
    json!({ "error": error, "exit_code": exit_code })
}

/// The registry of algorithms, as JSON.
#[pyfunction]
fn algorithms() -> String {
    engine::tools::algorithms::document().to_string()
}

/// Why a file could not be written, as a document; nothing is.
#[pyfunction]
fn check_file(path: PathBuf, force: bool) -> Option<String> {
    refused(artifact::check(&[path.as_path()], &[], Existing::of(force)))
}

/// Writes a file; why not, as a document.
#[pyfunction]
fn write_file(path: PathBuf, text: &str, force: bool) -> Option<String> {
    let existing = Existing::of(force);
    let written = artifact::check(&[path.as_path()], &[], existing)
        .and_then(|()| artifact::write_all(&[(path, text.as_bytes().to_vec())], existing));
    refused(written)
}

/// Writes a folder that starts a plan, whole or not at all; why not, as a document.
#[pyfunction]
fn write_folder(path: PathBuf, files: Vec<(String, String)>, force: bool) -> Option<String> {
    let files: Vec<_> = files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    refused(artifact::write_folder(&path, &files, Existing::of(force)))
}

fn refused(written: Result<(), Diagnostic>) -> Option<String> {
    written.err().map(|error| failure(&error).to_string())
}

/// Runs the command line `words`, whose first one is the program's name; `again` are the words that
/// start it from another process. Its exit code.
#[pyfunction]
fn run(py: Python<'_>, words: Vec<OsString>, again: Vec<OsString>) -> u8 {
    py.detach(|| meshwright::run(&words, &again))
}

/// The version that plans state.
#[pyfunction]
fn version() -> &'static str {
    meshwright::VERSION
}

/// The engine.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(answer, module)?)?;
    module.add_function(wrap_pyfunction!(algorithms, module)?)?;
    module.add_function(wrap_pyfunction!(check_file, module)?)?;
    module.add_function(wrap_pyfunction!(write_file, module)?)?;
    module.add_function(wrap_pyfunction!(write_folder, module)?)?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(version, module)?)
}
