//! A plan followed to its end, over connections that may break.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::connection::{Ask, Service};
use super::events::{Event, read};
use super::failure::Failure;
use super::jobs::{Status, encoded};

/// How often limits are looked at while nothing is heard.
const LOOK: Duration = Duration::from_millis(100);
/// How long a service may be out of reach in between, such as while it is restarted.
const LOST: Duration = Duration::from_secs(30);
/// Rest before a stream is opened again.
const REST: Duration = Duration::from_millis(300);
/// How long a plan that is cancelled may take to end.
const GRACE: Duration = Duration::from_secs(15);

impl Service {
    /// Hears all events of a plan until it ends. Once the run is interrupted, the plan is cancelled,
    /// which keeps the best so far.
    ///
    /// # Errors
    /// [`Failure`], also where the service is out of reach for longer than 30 s.
    pub fn follow(&self, id: &str, hear: &mut dyn FnMut(&Event)) -> Result<Status, Failure> {
        self.heard(id, true, hear)
    }

    /// As [`Service::follow`], of a plan that goes on when the run is interrupted.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn watch(&self, id: &str, hear: &mut dyn FnMut(&Event)) -> Result<Status, Failure> {
        self.heard(id, false, hear)
    }

    fn heard(
        &self,
        id: &str,
        cancels: bool,
        hear: &mut dyn FnMut(&Event),
    ) -> Result<Status, Failure> {
        let mut following =
            Following { service: self, id, cancels, after: String::new(), cancelled: None };
        let mut reached = Instant::now();
        loop {
            let ended = match following.stream(hear) {
                Err(Failure::NoAnswer(_)) if reached.elapsed() < LOST => None,
                Err(failure) => return Err(failure),
                Ok(is_heard) => {
                    reached = Instant::now();
                    is_heard.then_some(())
                }
            };
            // A stream that ended is no plan that ended.
            match self.status(id) {
                Ok(status) if status.is_ended() => return Ok(status),
                Ok(_) => reached = Instant::now(),
                Err(Failure::NoAnswer(_)) if reached.elapsed() < LOST => {}
                Err(failure) => return Err(failure),
            }
            following.go_on()?;
            if ended.is_none() {
                thread::sleep(REST);
            }
        }
    }
}

struct Following<'s> {
    service: &'s Service,
    id: &'s str,
    /// Whether an interruption ends the plan.
    cancels: bool,
    /// The last event that was heard.
    after: String,
    cancelled: Option<Instant>,
}

impl Following<'_> {
    /// Hears one stream to its end; whether it had something to say.
    fn stream(&mut self, hear: &mut dyn FnMut(&Event)) -> Result<bool, Failure> {
        let path = format!("/v1/plans/{}/events", encoded(self.id));
        let ask = Ask::new(Method::GET, &path).header("last-event-id", self.after.clone());
        let stream = self.service.stream(&ask)?;
        let (send, heard) = channel();
        // It ends with the stream: no read waits for longer than two heartbeats.
        let reader = thread::Builder::new().spawn(move || {
            read(stream, &mut |event| send.send(event).is_ok());
        });
        match reader {
            Ok(_) => self.hear(&heard, hear),
            Err(_) => Ok(false),
        }
    }

    fn hear(
        &mut self,
        heard: &Receiver<Event>,
        hear: &mut dyn FnMut(&Event),
    ) -> Result<bool, Failure> {
        let mut is_heard = false;
        loop {
            match heard.recv_timeout(LOOK) {
                Ok(event) => {
                    is_heard = true;
                    event.id.clone_into(&mut self.after);
                    hear(&event);
                    if event.kind == "end" {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(is_heard),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.go_on()?;
        }
    }

    /// Looks at the limits; who wants the end gets the best so far.
    fn go_on(&mut self) -> Result<(), Failure> {
        match (self.service.check(), self.cancelled) {
            (Err(Failure::Interrupted(_)), None) if self.cancels => {
                self.cancelled = Some(Instant::now());
                self.service.cancel(self.id).map(drop)
            }
            (Err(Failure::Interrupted(_)), Some(at)) if at.elapsed() < GRACE => Ok(()),
            (checked, _) => checked,
        }
    }
}
