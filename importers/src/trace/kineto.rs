//! Traces of PyTorch's profiler (Kineto, in the Chrome trace form), read event by event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde_json::Value;

use super::calls::{Member, invalid_field};
use super::forest::{is_collective, of_backend};
use super::launches::{self, Launch};
use super::steps::Step;
use crate::items::{self, Part};
use crate::json;

/// Most events that are kept in memory, at 40 bytes each.
const MAX_KEPT: usize = 16_000_000;

/// Longest duration and latest time that is believed, in microseconds: 11 days, and 285 years.
const MAX_DURATION: f64 = 1e12;
const MAX_TIME: f64 = 9e15;

/// An event as recorded; `D` is what becomes of its lists of arguments.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a, D> {
    #[serde(default, borrow)]
    pub(crate) ph: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(crate) cat: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub(crate) name: Name<'a>,
    #[serde(default)]
    pub(crate) ts: Option<f64>,
    #[serde(default)]
    pub(crate) dur: Option<f64>,
    #[serde(default, borrow)]
    pub(crate) pid: Name<'a>,
    #[serde(default, borrow)]
    pub(crate) tid: Name<'a>,
    #[serde(default = "Option::default")]
    pub(crate) args: Option<Arguments<D>>,
}

/// What an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    /// A call of an operator.
    Operator,
    /// What a program wrote around calls.
    Annotation,
    /// A kernel or a copy on a device.
    Run,
    /// A call of a device's runtime.
    Launch,
}

impl Category {
    /// By its name, that of PyTorch before 1.11 too; `None` for what is not read.
    pub(super) fn of(cat: &str) -> Option<Self> {
        Some(match cat {
            "cpu_op" | "Operator" => Self::Operator,
            "user_annotation" => Self::Annotation,
            "kernel" | "gpu_memcpy" | "gpu_memset" | "Kernel" | "Memcpy" | "Memset" => Self::Run,
            "cuda_runtime" | "cuda_driver" | "Runtime" => Self::Launch,
            _ => return None,
        })
    }
}

/// A name, or the number that stands for one.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Name<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Whole(i64),
    #[default]
    None,
}

impl Name<'_> {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Whole(_) | Self::None => "",
        }
    }
}

/// What is read of an event's arguments.
#[derive(Debug, Deserialize)]
pub(crate) struct Arguments<D> {
    #[serde(default, rename = "External id", alias = "external id")]
    pub(crate) external: Option<u64>,
    #[serde(default, rename = "Record function id")]
    pub(crate) record: Option<u64>,
    #[serde(default, rename = "Sequence number")]
    pub(crate) sequence: Option<i64>,
    #[serde(default, rename = "Fwd thread id")]
    pub(crate) forward_thread: Option<u64>,
    #[serde(default)]
    pub(crate) correlation: Option<u64>,
    #[serde(default = "Option::default", rename = "Input Dims")]
    pub(crate) dims: Option<D>,
    #[serde(default = "Option::default", rename = "Input type")]
    pub(crate) types: Option<D>,
    #[serde(default = "Option::default", rename = "Concrete Inputs")]
    pub(crate) concrete: Option<D>,
}

/// A device as recorded.
#[derive(Debug, Default, Deserialize)]
struct DeviceProperties {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "totalGlobalMem")]
    memory: Option<u64>,
}

/// Where a process stands among others.
#[derive(Debug, Default, Deserialize)]
struct Distributed {
    rank: Option<u64>,
    world_size: Option<u64>,
}

/// Time that a thread of the host spent in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Nanoseconds since some time that all events of a trace share.
    pub(super) start: i64,
    /// Nanoseconds.
    pub(super) duration: u64,
    /// Number of the call in an ExecutionTrace.
    pub(super) record: u64,
    /// Number of the call among the profiler's own.
    pub(super) external: u64,
    /// Number of the thread in this trace.
    pub(super) thread: u32,
    /// Of its name, see [`mark`].
    pub(super) name: u16,
    /// Whether it is a call of an operator; else an annotation.
    pub(super) is_operator: bool,
}

/// Sixteen bits of a name, by which most that differ are told apart (FNV-1a, folded).
pub(super) fn mark(name: &str) -> u16 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) ^ (hash & 0xffff)) as u16
}

impl Span {
    pub(super) fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.duration)
    }
}

/// Time that a device spent in a kernel, or in a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// As of a [`Span`].
    pub(super) start: i64,
    /// Nanoseconds.
    pub(super) duration: u64,
    /// Number of the call that launched it; 0 where none is known.
    pub(super) external: u64,
    /// Number that it shares with its launch.
    pub(super) correlation: u64,
}

/// What a profile says of time.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Calls on the host.
    pub(super) spans: Vec<Span>,
    /// Kernels and copies on devices.
    pub(super) runs: Vec<Run>,
    /// By correlation, until runs know their calls.
    launches: BTreeMap<u64, Launch>,
    /// Name of the kind of device that ran the ops.
    pub(super) kind: String,
    /// Memory of such a device, in bytes.
    pub(super) memory: Option<u64>,
    /// Which of several processes it is of, and of how many.
    pub(super) rank: Option<(u64, u64)>,
    /// Steps that the profiler marked.
    pub(super) steps: Vec<Step>,
    /// Whether it holds calls of collectives; else what backends note of messages stands for them.
    pub(super) has_collectives: bool,
    /// Places among the spans of what backends note of messages.
    messages: Vec<usize>,
    /// Events in all.
    pub(super) n_events: u64,
    threads: BTreeMap<(String, String), u32>,
}

/// Takes an event with its number.
type OnEvent<'o, D> = dyn FnMut(u64, Event<'_, D>) -> Result<(), Diagnostic> + 'o;

/// Calls `on` with every event, and returns what the file says beside them.
///
/// # Errors
/// `invalid-field`, `bad-duration`, and those of [`items::each`].
pub(crate) fn each<D: for<'de> Deserialize<'de>>(
    source: Box<dyn Read + '_>,
    on: &mut OnEvent<'_, D>,
) -> Result<BTreeMap<String, Value>, Diagnostic> {
    let mut beside = BTreeMap::new();
    items::each(source, "traceEvents", &mut |part| match part {
        Part::Item(n, text) if text.first() != Some(&b'{') => {
            Err(invalid_field("the trace", &n.to_string(), "traceEvents", "a list of objects"))
        }
        Part::Item(n, text) => {
            let event: Event<'_, D> =
                serde_json::from_slice(text).map_err(|error| blamed(n, text, &error))?;
            checked(n, &event)?;
            on(n, event)
        }
        Part::Member(key, text) => {
            if ["deviceProperties", "distributedInfo", "schemaVersion"].contains(&key) {
                beside.insert(key.to_owned(), json::parse(text)?);
            }
            Ok(())
        }
    })?;
    Ok(beside)
}

/// Members of an event and what each has to be, for errors.
const MEMBERS: [Member; 8] = [
    ("ph", "a letter", Value::is_string),
    ("cat", "a text", |value| value.is_string() || value.is_null()),
    ("name", "a text", |value| value.is_string() || value.is_i64()),
    ("ts", "a time in microseconds", |value| value.is_number() || value.is_null()),
    ("dur", "a duration in microseconds", |value| value.is_number() || value.is_null()),
    ("pid", "a number or a text", |value| value.is_string() || value.is_i64()),
    ("tid", "a number or a text", |value| value.is_string() || value.is_i64()),
    ("args", "an object", |value| value.is_object() || value.is_null()),
];

/// The error of an event that has not its form, with the member that is wrong.
fn blamed(n: u64, text: &[u8], error: &serde_json::Error) -> Diagnostic {
    let error = json::diagnose(error);
    if error.code != "invalid-document" {
        return error.fact("event", n);
    }
    let what = format!("event {n}");
    let Ok(Value::Object(object)) = serde_json::from_slice(text) else {
        return invalid_field("the trace", &n.to_string(), "traceEvents", "a list of objects");
    };
    let wrong = MEMBERS
        .iter()
        .find(|(member, _, fits)| object.get(*member).is_some_and(|value| !fits(value)));
    match wrong {
        Some((member, wanted, _)) => invalid_field(&what, &n.to_string(), member, wanted),
        None => invalid_field(&what, &n.to_string(), "args", "of the form that PyTorch writes")
            .fact("found", error.message),
    }
}

/// Refuses times that no clock gives.
fn checked<D>(n: u64, event: &Event<'_, D>) -> Result<(), Diagnostic> {
    let duration = event.dur.unwrap_or(0.0);
    let time = event.ts.unwrap_or(0.0);
    // What ran was there after the clock began; marks of the viewer may be anywhere.
    let earliest = if event.ph == "X" { 0.0 } else { -MAX_TIME };
    if (0.0..=MAX_DURATION).contains(&duration) && (earliest..=MAX_TIME).contains(&time) {
        return Ok(());
    }
    let member = if (0.0..=MAX_DURATION).contains(&duration) { "ts" } else { "dur" };
    let what = format!("event {n} (`{}`) has no possible time", event.name.text());
    Err(Diagnostic::input("bad-duration", what)
        .fact("event", n)
        .fact("member", member)
        .fact("value", if member == "ts" { time } else { duration })
        .hint("remove the event, or record the trace again"))
}

/// Nanoseconds of microseconds.
#[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
pub(super) fn nanoseconds(microseconds: f64) -> i64 {
    (microseconds * 1_000.0).round() as i64
}

/// Reads the times of a profile.
///
/// # Errors
/// As [`each`], and `too-many-events`.
pub(super) fn profile(source: Box<dyn Read + '_>) -> Result<Profile, Diagnostic> {
    let mut profile = Profile::default();
    let beside = each::<serde::de::IgnoredAny>(source, &mut |_, event| profile.push(&event))?;
    let devices: Vec<DeviceProperties> = member(&beside, "deviceProperties")?.unwrap_or_default();
    let launched = std::mem::take(&mut profile.launches);
    let mut calls: Vec<Span> =
        profile.spans.iter().filter(|span| span.is_operator).copied().collect();
    if !profile.has_collectives {
        calls.extend(profile.messages.iter().map(|at| profile.spans[*at]));
    }
    launches::settle(&mut profile.runs, &launched, calls);
    let device = devices.first().filter(|_| !profile.runs.is_empty());
    let unnamed = if profile.runs.is_empty() { "cpu" } else { "gpu" };
    profile.kind = device.map_or_else(|| unnamed.to_owned(), |device| kind(&device.name));
    profile.memory = device.and_then(|device| device.memory);
    let distributed: Option<Distributed> = member(&beside, "distributedInfo")?;
    profile.rank =
        distributed.and_then(|distributed| Some((distributed.rank?, distributed.world_size?)));
    Ok(profile)
}

fn member<T: for<'de> Deserialize<'de>>(
    beside: &BTreeMap<String, Value>,
    key: &str,
) -> Result<Option<T>, Diagnostic> {
    let Some(value) = beside.get(key) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|_| {
        Diagnostic::input("invalid-field", format!("`{key}` of the trace has not its form"))
            .fact("member", key.to_owned())
    })
}

impl Profile {
    fn push<D>(&mut self, event: &Event<'_, D>) -> Result<(), Diagnostic> {
        self.n_events += 1;
        let (Some(cat), Some(ts), Some(duration)) = (&event.cat, event.ts, event.dur) else {
            return Ok(());
        };
        if event.ph != "X" {
            return Ok(());
        }
        let (start, duration) = (nanoseconds(ts), nanoseconds(duration).unsigned_abs());
        let number = |of: fn(&Arguments<D>) -> Option<u64>| event.args.as_ref().and_then(of);
        let external = number(|args| args.external).unwrap_or(0);
        let correlation = number(|args| args.correlation).unwrap_or(0);
        match Category::of(cat) {
            Some(category @ (Category::Operator | Category::Annotation)) => {
                let name = event.name.text();
                let record = number(|args| args.record).unwrap_or(0);
                let thread = self.thread(&event.pid, &event.tid);
                if name.starts_with("ProfilerStep#") {
                    let end = start.saturating_add_unsigned(duration);
                    self.steps.push(Step { start, end, name: name.to_owned(), thread });
                }
                let is_operator = category == Category::Operator;
                self.has_collectives |= is_operator && is_collective(name);
                if !is_operator && of_backend(name).is_some() {
                    self.messages.push(self.spans.len());
                }
                let name = mark(event.name.text());
                self.spans.push(Span {
                    start,
                    duration,
                    record,
                    external,
                    thread,
                    name,
                    is_operator,
                });
            }
            Some(Category::Run) => {
                self.runs.push(Run { start, duration, external, correlation });
            }
            Some(Category::Launch) if correlation != 0 => {
                let thread = self.thread(&event.pid, &event.tid);
                self.launches.insert(correlation, Launch { start, thread, external });
            }
            Some(Category::Launch) | None => {}
        }
        if self.spans.len() + self.runs.len() + self.launches.len() > MAX_KEPT {
            let what = format!("the trace has more than {MAX_KEPT} calls and kernels");
            return Err(Diagnostic::input("too-many-events", what)
                .fact("limit", MAX_KEPT)
                .hint("record fewer steps: torch.profiler.schedule(active=1)"));
        }
        Ok(())
    }

    /// Whether it is of a process.
    pub(super) fn is_of(&self, process: u64) -> bool {
        self.threads.keys().any(|(pid, _)| pid.parse() == Ok(process))
    }

    /// By thread, its process.
    pub(super) fn processes(&self) -> Vec<&str> {
        let mut processes = vec![""; self.threads.len()];
        for ((process, _), thread) in &self.threads {
            processes[*thread as usize] = process;
        }
        processes
    }

    pub(super) fn thread(&mut self, pid: &Name<'_>, tid: &Name<'_>) -> u32 {
        let text = |name: &Name<'_>| match name {
            Name::Whole(number) => number.to_string(),
            other => other.text().to_owned(),
        };
        let next = u32::try_from(self.threads.len()).unwrap_or(u32::MAX);
        *self.threads.entry((text(pid), text(tid))).or_insert(next)
    }
}

/// The kind of a device, as the catalogue calls it: without its vendor.
fn kind(name: &str) -> String {
    let slug = slug(name);
    let rest = ["nvidia_", "amd_instinct_"].iter().find_map(|vendor| slug.strip_prefix(vendor));
    rest.map_or(slug.clone(), str::to_owned)
}

/// A name as cluster files write them.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().take(80) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('_') && !slug.is_empty() {
            slug.push('_');
        }
    }
    if slug.is_empty() { "cpu".to_owned() } else { slug.trim_end_matches('_').to_owned() }
}
