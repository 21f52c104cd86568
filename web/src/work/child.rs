//! A request in a process of its own, so that whatever it does, the service lives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Longest line that is taken from a child: the answer with all its files.
const LONGEST_LINE: u64 = 1 << 30;
/// How long a child that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// How often time and orders are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Exit code of a process that was interrupted before it had an answer.
const INTERRUPTED: u8 = 130;
/// Bytes that the allocator of a process that stays keeps free at hand (glibc).
const KEPT: &str = "1073741824";
/// What is kept of stderr.
const STDERR: u64 = 16 << 10;

/// What a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Address space, in bytes.
    pub memory: u64,
    /// Wall-clock time from start to end.
    pub time: Duration,
}

/// What is asked of a process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End with the best so far.
    End,
    /// End at once.
    Kill,
}

/// What the last line of a process holds.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Answer {
    pub(crate) exit_code: u8,
    /// What the command line prints with `--json`.
    pub(crate) text: String,
    /// By name.
    #[serde(default, deserialize_with = "files")]
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// Files as text, or as `base64` where they are none.
fn files<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Binary { base64: String },
    }
    let all = BTreeMap::<String, Written>::deserialize(from)?.into_iter();
    let read = |(name, file)| match file {
        Written::Text(text) => Ok((name, text.into_bytes())),
        Written::Binary { base64 } => {
            STANDARD.decode(base64).map(|bytes| (name, bytes)).map_err(D::Error::custom)
        }
    };
    all.map(read).collect()
}

impl Answer {
    /// The member `error` of the text.
    pub(crate) fn error(&self) -> Option<Value> {
        let document: Value = serde_json::from_str(&self.text).ok()?;
        document.get("error").cloned()
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its answer, or why there is none: `time-limit`, `memory-limit`, `killed`, `crashed`, and
    /// what it said.
    pub(crate) answer: Result<Answer, (&'static str, String)>,
    pub(crate) cpu_ms: i64,
    /// Whether it was asked to end before it had ended by itself.
    pub(crate) is_cut: bool,
}

/// Starts the program again with a request in a folder, and hears its events: `hear` gets each line
/// but the last as JSON.
///
/// # Errors
/// Where no process can be started.
pub(crate) fn run(
    program: &[OsString],
    at: (&Path, Limits),
    request: &Value,
    orders: Receiver<Order>,
    hear: &mut dyn FnMut(Value),
) -> std::io::Result<Ended> {
    let mut running = Running::start(program, at, false)?;
    let heard = running.hear(request, orders, hear)?;
    Ok(running.ended(heard))
}

/// A process that answers: one request, or a request a line.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    time: Duration,
    takes_lines: bool,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    words: Option<JoinHandle<String>>,
}

/// What a process had to say to a request.
struct Heard {
    answer: Option<Answer>,
    cut: Option<&'static str>,
    cpu_ms: i64,
    /// `None` while it runs.
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a process; one that `takes_lines` reads files only that never change.
    ///
    /// # Errors
    /// Where none can be started.
    pub(crate) fn start(
        program: &[OsString],
        (folder, limits): (&Path, Limits),
        takes_lines: bool,
    ) -> std::io::Result<Self> {
        let mut child = start(program, folder, limits, takes_lines)?;
        let pid = Pid::from_child(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let words = thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(STDERR).read_to_end(&mut said);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let stdout = BufReader::new(stdout.ok_or(std::io::ErrorKind::BrokenPipe)?);
        let (time, words) = (limits.time, Some(words));
        Ok(Self { child, pid, time, takes_lines, stdin, stdout, words })
    }

    /// Asks one that takes lines: its answer, or how it ended.
    ///
    /// # Errors
    /// Where it can't be waited for.
    pub(crate) fn ask(&mut self, request: &Value) -> std::io::Result<Result<Answer, Ended>> {
        let (_orders, taken) = channel();
        let mut heard = self.hear(request, taken, &mut |_| {})?;
        match heard.answer.take_if(|_| heard.status.is_none()) {
            Some(answer) => Ok(Ok(answer)),
            None => Ok(Err(self.ended(heard))),
        }
    }

    /// Bytes of memory that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()));
        let text = text.unwrap_or_default();
        let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes =
            resident.and_then(|size| size.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.unwrap_or(0).saturating_mul(1024)
    }

    /// Hears its answer, and its end where this is the last request or where it was cut off.
    fn hear(
        &mut self,
        request: &Value,
        orders: Receiver<Order>,
        hear: &mut dyn FnMut(Value),
    ) -> std::io::Result<Heard> {
        let text = request.to_string() + "\n";
        let (stdin, takes_lines) = (self.stdin.take(), self.takes_lines);
        let (pid, time) = (self.pid, self.time);
        let (done, ends) = channel();
        thread::scope(|scope| {
            let feeder = scope.spawn(move || {
                let mut stdin = stdin?;
                // A child that ends early does not read it all.
                let is_read = stdin.write_all(text.as_bytes()).is_ok();
                (is_read && takes_lines).then_some(stdin)
            });
            let guard = scope.spawn(move || guard(pid, time, &orders, &ends));
            let answer = lines(&mut self.stdout, hear);
            let cpu_ms = cpu_ms(pid);
            let goes_on = takes_lines && answer.is_some();
            let mut status = if goes_on { None } else { Some(ended(&mut self.child, &done)?) };
            let _ = done.send(());
            let cut = guard.join().unwrap_or_default();
            self.stdin = feeder.join().unwrap_or_default();
            if status.is_none() && cut.is_some() {
                // It was told to end, and may do so amid the next request.
                let _ = kill_process(pid, Signal::KILL);
                status = Some(self.child.wait()?);
            }
            Ok(Heard { answer, cut, cpu_ms, status })
        })
    }

    fn ended(&mut self, heard: Heard) -> Ended {
        let Heard { answer, cut, cpu_ms, status } = heard;
        let words = self.words.take().map(JoinHandle::join);
        let said = words.and_then(Result::ok).unwrap_or_default();
        // One that was cut before it had a plan says no more than that.
        let answer = answer.filter(|answer| cut.is_none() || answer.exit_code != INTERRUPTED);
        let answer = answer.ok_or_else(|| why(cut, status, said));
        Ended { answer, cpu_ms, is_cut: cut.is_some() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is not killed: its id may be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Confines this process, which the process `parent` started: what it may use, and that it ends with
/// whoever started it. Where the system refuses, it goes on without.
#[allow(clippy::exit, reason = "nobody waits for its answer")]
pub fn confine(memory: u64, parent: Option<i32>, nice: i32) {
    use rustix::process::{Resource, Rlimit, set_parent_process_death_signal, setrlimit};
    let limit = Rlimit { current: Some(memory), maximum: Some(memory) };
    let _ = setrlimit(Resource::As, limit);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // One that ended before sends no signal.
    if parent.is_some_and(|parent| Pid::as_raw(rustix::process::getppid()) != parent) {
        std::process::exit(1);
    }
    // Whoever started it gets to answer while it works.
    let _ = rustix::process::nice(nice);
}

fn start(
    program: &[OsString],
    folder: &Path,
    limits: Limits,
    takes_lines: bool,
) -> std::io::Result<Child> {
    let (first, rest) = program.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(first);
    if takes_lines {
        // What one answer gives back to the system the next one would have to take again.
        command.env("MALLOC_TRIM_THRESHOLD_", KEPT).env("MALLOC_MMAP_THRESHOLD_", KEPT);
    }
    command
        .args(rest)
        .args(["run-request", "--as-text", "--memory", &limits.memory.to_string()])
        .args(["--parent", &std::process::id().to_string()])
        .args(takes_lines.then_some("--lines"))
        .current_dir(folder)
        .env_remove("MESHWRIGHT_CLUSTER")
        .env_remove("MESHWRIGHT_PROFILE")
        .env_remove("MESHWRIGHT_ALGORITHM")
        .env_remove("MESHWRIGHT_DATABASE")
        .env_remove("MESHWRIGHT_WEBHOOK_SECRET")
        .env_remove("PGPASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Takes lines until the answer or the end.
fn lines(mut stdout: impl BufRead, hear: &mut dyn FnMut(Value)) -> Option<Answer> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = (&mut stdout).take(LONGEST_LINE).read_until(b'\n', &mut line).ok()?;
        if n == 0 || line.last() != Some(&b'\n') {
            return None;
        }
        if line.starts_with(b"{\"event\":\"answer\"") {
            return serde_json::from_slice(&line).ok();
        }
        if let Ok(event) = serde_json::from_slice(&line) {
            hear(event);
        }
    }
}

/// Sees to it that the process ends: what it was cut off for, if it was.
fn guard(
    pid: Pid,
    time: Duration,
    orders: &Receiver<Order>,
    ends: &Receiver<()>,
) -> Option<&'static str> {
    let start = Instant::now();
    let (mut term_sent, mut cut): (Option<Instant>, Option<&'static str>) = (None, None);
    loop {
        match ends.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return cut,
        }
        let order = orders.try_recv().ok();
        let late = start.elapsed() > time;
        if (order == Some(Order::End) || late) && term_sent.is_none() {
            term_sent = Some(Instant::now());
            cut = Some(if late { "time-limit" } else { "killed" });
            let _ = kill_process(pid, Signal::TERM);
        }
        if order == Some(Order::Kill)
            || term_sent.is_some_and(|term_sent| term_sent.elapsed() > GRACE)
        {
            cut = cut.or(Some("killed"));
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Waits for the end, then ends the guard: while the process is not waited for, its id is its own.
fn ended(child: &mut Child, done: &Sender<()>) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            let _ = done.send(());
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Processor time of a process that was not waited for yet, in milliseconds.
fn cpu_ms(pid: Pid) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let text = text.unwrap_or_default();
    // The name, in parentheses, may hold spaces. Ticks are hundredths of a second on Linux.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<i64>().ok()).sum::<i64>() * 10
}

/// Why there is no answer.
fn why(
    cut: Option<&'static str>,
    status: Option<ExitStatus>,
    said: String,
) -> (&'static str, String) {
    if let Some(cut) = cut {
        return (cut, said);
    }
    if said.contains("error[out-of-memory]") {
        return ("memory-limit", said);
    }
    let status = status.map_or_else(|| "it runs".to_owned(), |status| status.to_string());
    ("crashed", format!("{status}: {said}"))
}
