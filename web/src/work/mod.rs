//! Who makes the plans: slots, each a thread that takes the next plan, runs it in a process of its
//! own and writes down what is heard.

pub(crate) mod child;
pub(crate) mod figures;
pub(crate) mod folder;
pub(crate) mod warm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use child::{Answer, Ended, Limits, Order};
use serde_json::{Value, json};

use crate::access;
use crate::content::Shelf;
use crate::fault::Fault;
use crate::problem::Problem;
use crate::queue::{self, End, Hold, News, Plan};
use crate::store::{Place, Store};

/// How often a slot looks for plans that another process queued.
const LOOK: Duration = Duration::from_millis(500);
/// How often what is heard of a plan is written, and its lease renewed.
const WRITE: Duration = Duration::from_millis(250);
/// How often the lease of a plan is renewed of which nothing is heard.
const RENEW: Duration = Duration::from_millis(500);
/// How often the best plan so far is kept.
const KEEP: Duration = Duration::from_secs(1);
/// How long the answer is tried to be written where there is no space.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the files of a plan are tried to be read: less than its lease.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a process plans.
#[derive(Clone, Debug)]
pub struct Work {
    /// Where the data lies.
    pub database: Place,
    /// Folder for files of this process.
    pub folder: PathBuf,
    /// Plans that are made at once by this process.
    pub workers: usize,
    /// What the process of one plan may use.
    pub limits: Limits,
    /// How long plans that run may go on once the process is asked to end.
    pub drain: Duration,
    /// The words that start this program.
    pub program: Vec<OsString>,
}

/// What processes are started with.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The words that start this program.
    pub(crate) program: Vec<OsString>,
    /// Folder of this process for the files that its children read.
    pub(crate) folder: PathBuf,
    pub(crate) limits: Limits,
}

/// Wakes slots when there is a plan, and says when they end.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
    stops: AtomicBool,
    kills: AtomicBool,
}

impl Bell {
    /// There is a plan to make.
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// No further plan is begun.
    pub(crate) fn stop(&self) {
        self.stops.store(true, Ordering::SeqCst);
        self.heard.notify_all();
    }

    /// Plans that run are given back.
    pub(crate) fn kill(&self) {
        self.kills.store(true, Ordering::SeqCst);
        self.stop();
    }

    fn stops(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |rung: &mut bool| !*rung && !self.stops();
        let waited = self.heard.wait_timeout_while(rung, LOOK, waits);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// All that a slot works with.
pub(crate) struct Shop {
    pub(crate) store: Arc<Store>,
    pub(crate) setting: Setting,
    pub(crate) shelf: Shelf,
    pub(crate) bell: Bell,
    /// Called with a plan's id when something of it was written.
    pub(crate) changed: Box<dyn Fn(&str) + Send + Sync>,
}

impl Shop {
    /// Opens the database and gets ready to plan.
    ///
    /// # Errors
    /// Those of the database and of the folder.
    pub(crate) fn open(
        work: &Work,
        changed: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, Problem> {
        let folder = work.folder.clone();
        Ok(Self {
            store: Arc::new(Store::open(work.database.clone())?),
            shelf: Shelf::new(&folder).map_err(crate::content::unwritten)?,
            setting: Setting { program: work.program.clone(), folder, limits: work.limits },
            bell: Bell::default(),
            changed,
        })
    }
}

/// Starts slots; they end once the bell stops.
///
/// # Errors
/// Where no thread can be started.
pub(crate) fn start(
    shop: &Arc<Shop>,
    n: usize,
    name: &str,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let slot = |i: usize| {
        let (shop, worker) = (Arc::clone(shop), format!("{name}/{i}"));
        thread::Builder::new().name(format!("slot-{i}")).spawn(move || work(&shop, &worker))
    };
    (0..n).map(slot).collect()
}

fn work(shop: &Shop, worker: &str) {
    while !shop.bell.stops() {
        let name = worker.to_owned();
        match shop.store.write_here(move |sql| queue::claim(sql, &name)) {
            Ok(Some(plan)) => {
                (shop.changed)(&plan.id);
                make(shop, worker, &plan);
                (shop.changed)(&plan.id);
                // Others may wait that were queued together with this one.
                shop.bell.ring();
            }
            Ok(None) => shop.bell.wait(),
            Err(problem) => {
                log_fault("claim", &problem);
                thread::sleep(LOOK);
            }
        }
    }
}

fn log_fault(what: &str, problem: &Problem) {
    let reason = problem.fault.as_ref().map(ToString::to_string);
    crate::log::line("error", what, &json!({ "code": problem.code, "reason": reason }));
}

/// The plan's folder. A database that does not answer may do so before the lease is over.
fn laid_out(shop: &Shop, plan: &Plan) -> Result<folder::Folder, Problem> {
    let start = Instant::now();
    loop {
        let made = folder::laid_out(&shop.store, &shop.shelf, &shop.setting.folder, &plan.files);
        match made {
            Err(problem) if is_transient(&problem) && start.elapsed() < PATIENCE => {
                log_fault("files", &problem);
                thread::sleep(AGAIN);
            }
            made => return made,
        }
    }
}

fn is_transient(problem: &Problem) -> bool {
    matches!(problem.fault, Some(Fault::Again(_) | Fault::Other(_)))
}

/// Makes one plan, and records how it ended.
fn make(shop: &Shop, worker: &str, plan: &Plan) {
    let end = match laid_out(shop, plan) {
        Ok(folder) => planned(shop, worker, plan, &folder),
        // Its lease runs out, and another worker tries.
        Err(problem) if is_transient(&problem) => None,
        Err(problem) => Some(failed(&problem.code, &problem.title, 0)),
    };
    let Some(end) = end else { return };
    let start = Instant::now();
    loop {
        let (id, name, end) = (plan.id.clone(), worker.to_owned(), end.clone());
        match shop.store.write_here(move |sql| queue::finish(sql, (&id, &name), &end)) {
            Ok(_) => break,
            // The answer is worth more than the slot's time; the lease is given up at some point.
            Err(problem) => {
                log_fault("finish", &problem);
                if shop.bell.kills.load(Ordering::SeqCst) || start.elapsed().as_secs() > 3600 {
                    break;
                }
                let (id, name) = (plan.id.clone(), worker.to_owned());
                let news = News { phase: "storing".to_owned(), ..News::default() };
                let _ = shop.store.write_here(move |sql| queue::note(sql, (&id, &name), &news));
                thread::sleep(AGAIN);
            }
        }
    }
}

/// Runs the process; `None` where the plan is not this worker's any more.
fn planned(shop: &Shop, worker: &str, plan: &Plan, folder: &folder::Folder) -> Option<End> {
    let (send, orders) = channel();
    let (heard, news) = channel();
    let scribe = Scribe { shop, id: &plan.id, worker, orders: send };
    let (ended, written) = thread::scope(|scope| {
        let scribe = scope.spawn(move || scribe.write(&news));
        let mut request = plan.request.clone();
        request["verb"] = "plan".into();
        let (program, at) = (&shop.setting.program, (folder.path(), shop.setting.limits));
        let ended = child::run(program, at, &request, orders, &mut |event| {
            let _ = heard.send(event);
        });
        drop(heard);
        (ended, scribe.join().unwrap_or((Kept::Lost, Value::Null)))
    });
    let (lease, progress) = written;
    match (lease, ended) {
        (Kept::Lost, _) => None,
        (Kept::Stopped, Err(_) | Ok(Ended { answer: Err(_), .. })) => {
            let (id, name) = (plan.id.clone(), worker.to_owned());
            let given = shop.store.write_here(move |sql| queue::give_back(sql, (&id, &name)));
            given.err().into_iter().for_each(|problem| log_fault("give-back", &problem));
            None
        }
        (_, Err(error)) => Some(failed("no-process", &error.to_string(), 0)),
        (lease, Ok(ended)) => Some(end_of(lease == Kept::Cancelled, ended, progress)),
    }
}

/// How an answer reads as the end of a plan, of which `progress` was heard.
fn end_of(cancelled: bool, ended: Ended, progress: Value) -> End {
    let Ended { cpu_ms, is_cut, .. } = ended;
    let answer = match ended.answer {
        Ok(answer) => answer,
        Err(_) if cancelled => {
            return End { state: "cancelled", ..failed("cancelled", "it was cancelled", cpu_ms) };
        }
        Err((code, said)) => return failed(code, &said, cpu_ms),
    };
    let state = match answer.exit_code {
        _ if cancelled => "cancelled",
        0 => "done",
        4 => "infeasible",
        _ => "failed",
    };
    let Answer { exit_code, text, files } = answer;
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let error = document.get("error").cloned();
    let progress = Some(figures::settled(progress, &document));
    let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
    files.push(("answer".to_owned(), text.into_bytes()));
    let exit_code = Some(exit_code.into());
    End { state, exit_code, error, progress, files, cpu_ms, is_cut }
}

/// The end of a plan whose process did not answer.
fn failed(code: &str, said: &str, cpu_ms: i64) -> End {
    let message = match code {
        "time-limit" => "planning took longer than this service allows",
        "memory-limit" => "planning needed more memory than this service allows",
        "killed" => "the process that planned was ended",
        "crashed" => "the process that planned crashed",
        _ => said,
    };
    let hints = match code {
        "time-limit" => vec!["give a shorter time_limit, or plan a smaller problem"],
        "memory-limit" => vec!["plan a smaller problem, or ask for a higher limit"],
        _ => Vec::new(),
    };
    let said: String = said.chars().take(2000).collect();
    let error = json!({
        "code": code, "severity": "error", "message": message, "facts": [], "hints": hints, "said": said,
    });
    let (exit_code, error) = (None, Some(error));
    End { exit_code, error, cpu_ms, ..End::bare("failed") }
}

/// What became of a plan while its process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Held,
    Cancelled,
    /// Another worker has it.
    Lost,
    /// This worker ends.
    Stopped,
}

/// Writes what is heard, and gives orders.
struct Scribe<'s> {
    shop: &'s Shop,
    id: &'s str,
    worker: &'s str,
    orders: Sender<Order>,
}

impl Scribe<'_> {
    /// Until the process ends: what became of the plan, and what is known of it.
    fn write(&self, heard: &Receiver<Value>) -> (Kept, Value) {
        let mut news = News { phase: "running".to_owned(), ..News::default() };
        news.progress = json!({});
        let (mut lease, mut plan) = (Kept::Held, None);
        let (mut written, mut stored) = (Instant::now(), Instant::now());
        loop {
            let due = if news.events.is_empty() { RENEW } else { WRITE };
            let event = heard.recv_timeout(due.saturating_sub(written.elapsed()).min(WRITE));
            let is_end = event == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
            if let Ok(event) = event {
                figures::take(&mut news, &mut plan, event);
            }
            if self.shop.bell.kills.load(Ordering::SeqCst) && lease == Kept::Held {
                lease = Kept::Stopped;
                let _ = self.orders.send(Order::Kill);
            }
            let is_due = written.elapsed() >= WRITE
                && (!news.events.is_empty() || written.elapsed() >= RENEW);
            if !(is_due || is_end) {
                continue;
            }
            if stored.elapsed() >= KEEP || lease == Kept::Stopped {
                news.incumbent = plan.take().and_then(|plan| serde_json::to_vec(&plan).ok());
                stored = Instant::now();
            }
            // Of a plan that ends at once there is no more to say than its end.
            let hold =
                if is_end && news.events.is_empty() { Ok(Hold::Held) } else { self.note(&news) };
            written = Instant::now();
            news.events.clear();
            news.incumbent = None;
            match hold {
                Ok(Hold::Lost) => {
                    let _ = self.orders.send(Order::Kill);
                    return (Kept::Lost, news.progress);
                }
                Ok(Hold::Cancelled) if lease == Kept::Held => {
                    lease = Kept::Cancelled;
                    let _ = self.orders.send(Order::End);
                }
                _ => {}
            }
            if is_end {
                return (lease, news.progress);
            }
        }
    }

    fn note(&self, news: &News) -> Result<Hold, Problem> {
        let (id, worker, news) = (self.id.to_owned(), self.worker.to_owned(), news.clone());
        let hold = self.shop.store.write_here(move |sql| queue::note(sql, (&id, &worker), &news));
        (self.shop.changed)(self.id);
        hold.inspect_err(|problem| log_fault("note", problem))
    }
}

/// A name of this process for leases: no two that run have the same.
pub(crate) fn process_name(prefix: &str) -> String {
    access::id(&format!("{prefix}-{}-", std::process::id()))
}
