//! Lines of the log: one JSON object each, on stderr. Nothing of a request's body or its token
//! stands there.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on only what goes wrong is logged.
pub fn quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Writes a line; where stderr is gone there is no log.
pub(crate) fn line(level: &str, what: &str, facts: &Value) {
    if level == "info" && IS_QUIET.load(Ordering::Relaxed) {
        return;
    }
    let line = json!({ "time_ms": now_ms(), "level": level, "event": what, "facts": facts });
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
