//! Who asks a service: files are sent once, plans are asked for, followed and fetched. Every wait has
//! an end.

mod connection;
mod events;
mod failure;
mod files;
mod follow;
mod jobs;
mod trust;

use engine::answer::follow::{File, Follower, PLOT};
use ir::diagnostic::{Blame, Diagnostic};
use serde_json::{Map, Value};
use ureq::http::Method;

pub use self::connection::Service;
pub(crate) use self::connection::agent;
use self::connection::{Ask, Reply};
pub use self::events::Event;
pub use self::failure::Failure;
pub use self::jobs::Status;
use self::jobs::encoded;
use crate::access;

/// A plan that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The fields of the request; those that name files name files of this machine.
    pub request: Map<String, Value>,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// Whether an answer that the service has already will do.
    pub may_be_old: bool,
}

/// A plan that was made.
#[derive(Clone, Debug)]
pub struct Planned {
    /// How it ended.
    pub status: Status,
    /// Whether the service had it already.
    pub is_old: bool,
    /// The bytes that `plan --json` prints.
    pub answer: Vec<u8>,
    /// The plan's file.
    pub plan: Vec<u8>,
    /// The files that were asked for beside it, in the order of the request, the picture last.
    pub files: Vec<File>,
}

impl Service {
    /// Sends the files that the service lacks, and opens a plan file there; those that `on` names
    /// name files of this machine. How the plan stands.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open(
        &self,
        (name, plan): (&str, &[u8]),
        mut on: Map<String, Value>,
    ) -> Result<Status, Failure> {
        files::send(self, &mut on)?;
        let mut path = format!("/v1/plans/opened?name={}", encoded(&files::sound(name, "plan")));
        for (field, digest) in &on {
            path += &format!("&{field}={}", encoded(digest.as_str().unwrap_or_default()));
        }
        self.send(&Ask::new(Method::POST, &path).body(plan).slow())?.good(self)?.json(self)
    }

    /// Sends the files that the service lacks, asks for a plan, and waits for it.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn plan(&self, wanted: &Wanted, follower: &mut dyn Follower) -> Result<Planned, Failure> {
        let mut request = wanted.request.clone();
        let named = |name: &str| wanted.request.get(name);
        let targets = named("export").and_then(Value::as_array).into_iter().flatten();
        let mut targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
        targets.extend(
            named("plot").and_then(Value::as_bool).filter(|is_wanted| *is_wanted).map(|_| PLOT),
        );
        files::send(self, &mut request)?;
        let (status, is_old) = self.ask(&request, wanted)?;
        let status = if status.is_ended() {
            status
        } else {
            follower.started(&status.state);
            self.follow(&status.id, &mut |event| event.tell(follower))?
        };
        let (status, plan) = self.made(status)?;
        let text = |name: &str| self.fetched(&format!("/v1/plans/{}/{name}", status.id));
        let answer = text("answer")?;
        let file = |target: &&str| {
            let bytes = text(&format!("artefacts/{target}"))?;
            Ok(File { target: (*target).to_owned(), bytes })
        };
        let files = targets.iter().map(file).collect::<Result<_, Failure>>()?;
        Ok(Planned { status, is_old, answer, plan, files })
    }

    /// Asks for a plan: how it stands, and whether the service had it already.
    fn ask(
        &self,
        request: &Map<String, Value>,
        wanted: &Wanted,
    ) -> Result<(Status, bool), Failure> {
        let path = format!("/v1/plans?wait=1&priority={}", wanted.priority);
        let body = Value::Object(request.clone()).to_string();
        let mut ask = Ask::new(Method::POST, &path).body(body.as_bytes());
        // A request that is sent again for lack of an answer is the same request.
        ask = ask.header("idempotency-key", access::id("submit_"));
        if !wanted.may_be_old {
            ask = ask.header("cache-control", "no-cache".to_owned());
        }
        let reply = self.send(&ask)?.good(self)?;
        Ok((reply.json(self)?, reply.header("cache") == "hit"))
    }

    /// The plan of one that ended.
    fn made(&self, status: Status) -> Result<(Status, Vec<u8>), Failure> {
        let has = |name: &str| status.artefacts.iter().any(|artefact| artefact == name);
        if status.state == "done" || (status.exit_code == Some(0) && has("plan")) {
            let plan = self.fetched(&format!("/v1/plans/{}/plan", status.id))?;
            return Ok((status, plan));
        }
        let Some(error) = status.failure() else {
            let message = format!("the service ended plan `{}` as {}", status.id, status.state);
            return Err(Failure::NoAnswer(Diagnostic::error(Blame::NotFound, "no-plan", message)));
        };
        Err(match status.exit_code {
            _ if status.state == "cancelled" && self.is_interrupted() => {
                Failure::Interrupted(error)
            }
            // The planner did not say it.
            None | Some(130) => Failure::NoAnswer(error),
            Some(_) => Failure::Answer(error),
        })
    }

    /// What lies at a path.
    fn fetched(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let reply: Reply = self.send(&Ask::new(Method::GET, path).slow())?.good(self)?;
        Ok(reply.body)
    }
}
