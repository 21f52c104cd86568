//! Server-sent events, as they come.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use engine::answer::follow::{Follower, Incumbent};
use engine::request::ObjectiveName;
use engine::request::value::Written;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use serde_json::Value;

/// Longest line, in bytes.
const LONGEST_LINE: u64 = 16 << 20;

/// What is heard of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Its revision.
    pub id: String,
    /// `state`, `accepted`, `started`, `bound`, `incumbent`, `searched` or `end`.
    pub kind: String,
    /// What goes with it.
    pub data: Value,
}

impl Event {
    /// Tells a follower of a run.
    pub fn tell(&self, follower: &mut dyn Follower) {
        let text = |name: &str| self.data[name].as_str().unwrap_or_default();
        let nanos = |name: &str| Nanos(self.data[name].as_u64().unwrap_or_default());
        let elapsed = self.data["elapsed_s"].as_f64().unwrap_or_default();
        let elapsed = Duration::try_from_secs_f64(elapsed).unwrap_or_default();
        match self.kind.as_str() {
            "started" => follower.started(text("algorithm")),
            "bound" => follower.bound(nanos("bound_ns"), text("method"), elapsed),
            "incumbent" => {
                let objective = objective(text("objective"));
                follower.incumbent(&Incumbent {
                    algorithm: text("algorithm"),
                    objective,
                    value: nanos("value_ns"),
                    bound: nanos("bound_ns"),
                    shown: &|value| shown(objective, value),
                    elapsed,
                    document: &|| Err(Diagnostic::usage("no-plan", "the service keeps the plan")),
                });
            }
            "searched" => follower.searched(),
            _ => {}
        }
    }
}

/// A name of an objective that is known here.
pub(super) fn objective(name: &str) -> &'static str {
    <ObjectiveName as Written>::read(name).map_or("value", ObjectiveName::name)
}

/// How people read values under an objective; costs that a file states may have any unit.
pub(super) fn shown(objective: &str, value: Nanos) -> String {
    if objective == "step-time" { value.to_string() } else { value.get().to_string() }
}

/// Reads events until the stream ends or fails, or nobody takes them.
pub(super) fn read(stream: impl Read, take: &mut dyn FnMut(Event) -> bool) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut event, mut data) = (Vec::new(), Event::default(), String::new());
    loop {
        line.clear();
        let n = (&mut stream).take(LONGEST_LINE).read_until(b'\n', &mut line);
        if !matches!(n, Ok(1..)) || line.last() != Some(&b'\n') {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            if !event.kind.is_empty() {
                event.data = serde_json::from_str(&data).unwrap_or_default();
                if !take(std::mem::take(&mut event)) {
                    return;
                }
            }
            data.clear();
            continue;
        }
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut event.id),
            "event" => value.clone_into(&mut event.kind),
            "data" if data.is_empty() => value.clone_into(&mut data),
            "data" => data = format!("{data}\n{value}"),
            // Comments keep the connection alive.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_as_the_standard_says() {
        let text = ": alive\n\nid: 7\r\nevent: bound\r\ndata: {\"bound_ns\":\ndata: 5}\n\nretry: 1000\n\n\
            event: end\nid:8\ndata: {}\n\nevent: cut\ndata: {";
        let mut heard = Vec::new();
        read(text.as_bytes(), &mut |event| {
            heard.push(event);
            true
        });
        let found: Vec<_> =
            heard.iter().map(|event| (event.id.as_str(), event.kind.as_str())).collect();
        assert_eq!(found, [("7", "bound"), ("8", "end")]);
        assert_eq!(heard[0].data["bound_ns"], 5);
    }

    #[test]
    fn objectives_keep_their_names() {
        assert_eq!((objective("step-time"), objective("what")), ("step-time", "value"));
        assert_eq!(shown("step-time", Nanos(1_500)), "1.50 us");
        assert_eq!(shown("max-load", Nanos(1_500)), "1500");
    }
}
