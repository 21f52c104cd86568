//! `GET /v1/plans/{id}/events`: what happens to a plan, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::asked::Named;
use crate::hub::{Event, Watched};
use crate::problem::Problem;
use crate::queue;
use crate::service::Shared;

/// How often a comment is sent while nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts; clients go on with a new one.
const LONGEST: Duration = Duration::from_secs(900);
/// When clients try again, in milliseconds.
const RETRY: Duration = Duration::from_secs(1);

struct Stream {
    service: Shared,
    id: String,
    after: i64,
    /// Read from the database, not sent yet.
    ready: VecDeque<Event>,
    /// Whether events of the database may have been missed.
    is_behind: bool,
    events: broadcast::Receiver<Event>,
    /// Keeps the task that reads events alive.
    _watched: std::sync::Arc<Watched>,
    until: Instant,
    is_ended: bool,
}

/// The route.
pub(super) async fn stream(
    State(service): State<Shared>,
    Named(id): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let plan_id = id.clone();
    service.store.read(move |sql| queue::plan(sql, &plan_id)).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let watched = service.hub.watch(&service.store, &id);
    let stream = Stream {
        after: last.unwrap_or(0),
        ready: VecDeque::new(),
        is_behind: true,
        events: watched.subscribe(),
        _watched: watched,
        until: Instant::now() + LONGEST,
        is_ended: false,
        service,
        id,
    };
    let events = unfold(stream, |mut stream| async {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(sent(&event)), stream))
    });
    let alive = KeepAlive::new().interval(HEARTBEAT);
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

fn sent(event: &Event) -> Sent {
    let (revision, kind, body) = &**event;
    Sent::default().id(revision.to_string()).event(kind).data(body).retry(RETRY)
}

impl Stream {
    /// The next event; `None` where the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.is_ended {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.after = event.0;
                self.is_ended = event.1 == "end";
                return Some(event);
            }
            if self.is_behind {
                self.catch_up().await;
                continue;
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) if event.0 == self.after + 1 => self.ready.push_back(event),
                    Ok(event) if event.0 > self.after => self.is_behind = true,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.is_behind = true,
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.service.stopped() => return None,
            }
        }
    }

    async fn catch_up(&mut self) {
        let (id, after) = (self.id.clone(), self.after);
        let found = self.service.store.read(move |sql| queue::events(sql, &id, after)).await;
        let found = found.unwrap_or_default();
        // A plan that ended long ago has no more to say.
        let id = self.id.clone();
        let plan = self.service.store.read(move |sql| queue::plan(sql, &id)).await;
        self.is_ended = found.is_empty() && plan.is_ok_and(|plan| plan.is_ended());
        self.is_behind = found.len() >= queue::EVENTS;
        self.ready.extend(found.into_iter().map(Event::new));
    }
}
