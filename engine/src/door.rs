//! The one door: a request as a document, what is heard while it runs, and its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exporters::training::folder::Files as Written;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answer::escape;
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{Files, Follower, Incumbent, Watch};
use crate::answer::page::{Format, Page, Part};
use crate::plan::{Run, plan};
use crate::request::verb::Request;
use crate::tools::{import, support};
use crate::views::opened;
use crate::{verbs, views};

/// What is heard of a run, in this order: the request as it was understood, what is tried and
/// found, the answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The request was read.
    Accepted {
        /// Its fields that hold something.
        request: Map<String, Value>,
    },
    /// A recipe is tried.
    Started {
        /// The recipe.
        algorithm: String,
    },
    /// There is a verified plan that is better than all before it.
    Incumbent {
        /// The recipe that found it.
        algorithm: String,
        /// What is minimised.
        objective: String,
        /// Under the objective.
        value_ns: u64,
        /// What no plan is below.
        bound_ns: u64,
        /// Value / bound - 1; null where no bound is known.
        gap: Option<f64>,
        /// Since the start of the run.
        elapsed_s: f64,
        /// The plan document.
        plan: Value,
    },
    /// There is a better lower bound, or one that stands on firmer ground.
    Bound {
        /// What no plan is below.
        bound_ns: u64,
        /// Which bound it is.
        method: String,
        /// Since the start of the run.
        elapsed_s: f64,
    },
    /// The search is over.
    Searched,
    /// The end.
    Answer(Answer),
}

/// How a request ended.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// That of the command line: 0 done, 2 usage, 3 bad input, 4 infeasible, 5 no plan found,
    /// 6 illegal plan, 10 plans differ, 130 cancelled.
    pub exit_code: u8,
    /// What the command line prints with `--json`: the answer, or the member `error`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub document: Value,
    /// The same to the byte, in place of the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The formats that were asked for, by target; a file that is no text is an object whose member
    /// `base64` holds it (RFC 4648).
    pub files: Map<String, Value>,
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a document; a plan stands in it.
    Document,
    /// As the text that the command line prints, with the file `plan` that it writes.
    Text,
}

/// What ends a search early: a limit of time that counts from `start`, and a flag.
#[must_use]
pub fn watch(start: Instant, limit: Option<Duration>, cancel: Arc<AtomicBool>) -> Watch {
    /// Part of the limit that may pass after its end before work is left alone, and a constant.
    const AFTER_SHARE: f64 = 0.04;
    const AFTER: Duration = Duration::from_millis(50);
    /// Time that is left to work after the flag was raised, to end by itself.
    const GRACE: Duration = Duration::from_millis(300);
    let share = limit.map_or(Duration::ZERO, |limit| limit.mul_f64(AFTER_SHARE));
    Watch { after: AFTER.saturating_add(share), grace: GRACE, ..Watch::new(start, limit, cancel) }
}

/// Runs a request of [`Request::read`]'s form and tells of all events, the answer as the last. The
/// first time that the flag is raised, a search ends with the best plan so far. `version` is that of
/// the program. A request that can't be read is answered with why.
pub fn answer(
    request: &[u8],
    cancel: &Arc<AtomicBool>,
    (version, form): (&'static str, Form),
    hear: &mut dyn FnMut(Event),
) -> Answer {
    let page = Page::new(Format::Json, form == Form::Document);
    let mut listener = Listener { hear, form, files: Map::new() };
    let read = Request::read(request).inspect(|request| {
        (listener.hear)(Event::Accepted { request: request.understood() });
    });
    let ended = read.and_then(|request| ran(&request, cancel, version, &mut listener, &page));
    finished(ended, page, listener)
}

/// Tells of a request that did not even arrive.
pub fn refused(error: Diagnostic, form: Form, hear: &mut dyn FnMut(Event)) -> Answer {
    let page = Page::new(Format::Json, form == Form::Document);
    finished(Err(error), page, Listener { hear, form, files: Map::new() })
}

fn finished(ended: CommandResult, page: Page, listener: Listener<'_>) -> Answer {
    let exit = ended.unwrap_or_else(|error| {
        let exit = error.blame.exit_code();
        page.failure(&error, exit);
        Exit(exit)
    });
    let mut documents = page.into_parts().into_iter().filter_map(|part| match part {
        Part::Document(document, text) => Some((document, text)),
        _ => None,
    });
    let (document, text) = documents.next_back().unwrap_or_default();
    let (document, text) = match listener.form {
        Form::Document => (document, None),
        Form::Text => (Value::Null, Some(escape::json(text))),
    };
    let answer = Answer { exit_code: exit.0, document, text, files: listener.files };
    (listener.hear)(Event::Answer(answer.clone()));
    answer
}

fn ran(
    request: &Request,
    cancel: &Arc<AtomicBool>,
    version: &'static str,
    listener: &mut Listener<'_>,
    page: &Page,
) -> CommandResult {
    let flag = || Arc::clone(cancel);
    match request {
        Request::Plan(request) => {
            let start = Instant::now();
            let watch = watch(start, request.limits.time_limit, flag());
            plan(request, &mut Run::new((start, &watch), listener, page, version))
        }
        Request::Import(request) => import::run(request, page),
        Request::Support(request) => support::run(request, page),
        Request::Simulate(request) => verbs::simulate(request, page),
        Request::Verify(request) => verbs::verify(request, (&flag, page)),
        Request::Explain(request) => verbs::explain(request, page),
        Request::Compare(request) => verbs::compare(request, page),
        Request::Export(request) => {
            let mut keep = |files: Written| {
                files.into_iter().for_each(|(name, bytes)| listener.keep(name, bytes));
                Ok(request.target.clone())
            };
            verbs::export(request, &mut keep, page)
        }
        Request::View(request) => {
            views::view(request, &mut |bytes| listener.keep(views::FILE.to_owned(), bytes), page)
        }
        Request::Open(request) => {
            opened::open(request, &mut |bytes| listener.keep(views::FILE.to_owned(), bytes), page)
        }
    }
}

/// Takes events to whoever hears, and keeps files.
struct Listener<'h> {
    hear: &'h mut dyn FnMut(Event),
    form: Form,
    files: Map<String, Value>,
}

impl Listener<'_> {
    fn keep(&mut self, target: String, bytes: Vec<u8>) {
        let file = String::from_utf8(bytes).map_or_else(
            |binary| json!({ "base64": STANDARD.encode(binary.as_bytes()) }),
            Value::from,
        );
        self.files.insert(target, file);
    }
}

impl Follower for Listener<'_> {
    fn started(&mut self, algorithm: &str) {
        (self.hear)(Event::Started { algorithm: algorithm.to_owned() });
    }

    fn incumbent(&mut self, found: &Incumbent<'_>) {
        let Ok(plan) = (found.document)() else { return };
        (self.hear)(Event::Incumbent {
            algorithm: found.algorithm.to_owned(),
            objective: found.objective.to_owned(),
            value_ns: found.value.get(),
            bound_ns: found.bound.get(),
            gap: found.gap(),
            elapsed_s: found.elapsed.as_secs_f64(),
            plan: serde_json::from_slice(&plan).unwrap_or_default(),
        });
    }

    fn bound(&mut self, value: Nanos, method: &str, elapsed: Duration) {
        (self.hear)(Event::Bound {
            bound_ns: value.get(),
            method: method.to_owned(),
            elapsed_s: elapsed.as_secs_f64(),
        });
    }

    fn searched(&mut self) {
        (self.hear)(Event::Searched);
    }

    fn planned(&mut self, plan: Vec<u8>, files: Files) -> Result<Vec<String>, Diagnostic> {
        if self.form == Form::Text {
            self.keep("plan".to_owned(), plan);
        }
        files?.into_iter().for_each(|file| self.keep(file.target, file.bytes));
        Ok(Vec::new())
    }
}
