//! The service as a whole: what all routes share.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::access::Quota;
use crate::hub::Hub;
use crate::problem::Problem;
use crate::recent::{Keyed, Recent};
use crate::store::Store;
use crate::webhook::Webhook;
use crate::work::child::{Answer, Ended, Limits, Running};
use crate::work::folder::Folder;
use crate::work::warm::{IDLE, Pool, Question};
use crate::work::{Shop, Work, folder};

/// How a server is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it plans.
    pub work: Work,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Longest upload, in bytes.
    pub most_upload: u64,
    /// How long plans are kept after their end; `None` = until they are deleted.
    pub keep_for: Option<Duration>,
    /// Bytes that the files of all plans may take; past it the oldest go.
    pub most_stored: Option<u64>,
    /// Requests of one token in a second.
    pub requests_per_s: NonZeroU32,
    /// Whether every request is logged, not only those that change something or fail.
    pub logs_all: bool,
    /// Connections at once.
    pub connections: usize,
    /// Whether anybody may use it who reaches it, though others than this machine can.
    pub allows_anonymous: bool,
    /// What those without a token may use.
    pub anonymous: Quota,
    /// Certificate chain and key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Who is told of plans that ended.
    pub webhook: Option<Webhook>,
    /// The program's version.
    pub version: &'static str,
}

/// What requests are answered with.
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) shop: Arc<Shop>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) options: Options,
    pub(crate) version: &'static str,
    /// Answers by status class, for the metrics.
    pub(crate) answered: [AtomicU64; 6],
    /// By the name of a token.
    pub(crate) rate: DefaultKeyedRateLimiter<String>,
    /// View files that were read last, by plan.
    pub(crate) views: Recent,
    /// Work that need not be done twice at the same time, by what it makes.
    pub(crate) making: Keyed,
    /// Processes that have read the files of a plan.
    pub(crate) warm: Pool,
    stopping: watch::Sender<bool>,
    helpers: Arc<Semaphore>,
}

pub(crate) type Shared = Arc<Service>;

/// Answers at once that need a process of their own: models that are looked at, exports,
/// explanations.
const HELPERS: usize = 2;
/// How long one of them may take.
const HELP: Duration = Duration::from_secs(60);
/// The same of a plan file that is verified and replayed.
const OPENING: Duration = Duration::from_secs(300);

impl Service {
    /// Opens the database and gets ready to plan.
    pub(crate) fn open(options: Options) -> Result<Self, Problem> {
        let hub = Arc::new(Hub::default());
        let listener = Arc::clone(&hub);
        let shop = Shop::open(&options.work, Box::new(move |id| listener.changed(id)))?;
        let rate = RateLimiter::keyed(governor::Quota::per_second(options.requests_per_s));
        Ok(Self {
            rate,
            views: Recent::default(),
            making: Keyed::default(),
            warm: Pool::new(options.work.limits.memory, IDLE),
            store: Arc::clone(&shop.store),
            shop: Arc::new(shop),
            hub,
            version: options.version,
            options,
            answered: Default::default(),
            stopping: watch::channel(false).0,
            helpers: Arc::new(Semaphore::new(HELPERS)),
        })
    }

    /// Takes no further plans, and ends all streams.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.shop.bell.stop();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends once the service does.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as the service.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = self.answered.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers a request in a process that sees its files alone, by name (see
    /// [`folder::laid_out`]): one that has read them waits for more questions of the same plan.
    ///
    /// # Errors
    /// 422 with the command line's diagnostic; 503 where no process answers.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        request: Value,
        files: Value,
        texts: Vec<(String, Vec<u8>)>,
    ) -> Result<Answer, Problem> {
        let name = if texts.is_empty() { files.to_string() } else { crate::access::id("texts-") };
        let query = Arc::new(Asked { name, request, files, texts });
        for is_last in [false, true] {
            let (outcome, is_new) = self.told(&query).await?;
            let answer = match outcome {
                Some(Ok(answer)) => answer,
                // It held something from before, or was ended as the question came.
                outcome if !(is_new || is_last || is_cut(outcome.as_ref())) => continue,
                Some(Err(ended)) => ended.answer.map_err(unanswered)?,
                None => break,
            };
            return match (answer.exit_code, answer.error()) {
                (1..=3, Some(error)) => Err(Problem::refused(&error)),
                _ => Ok(answer),
            };
        }
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a helper has ended"))
    }

    /// What the process says that has read the files, or a new one; and whether it is new.
    async fn told(
        self: &Arc<Self>,
        query: &Arc<Asked>,
    ) -> Result<(Option<Result<Answer, Ended>>, bool), Problem> {
        // Two questions of the same files would read them twice.
        let turn = self.making.lock(&format!("files {}", query.name)).await;
        let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "it ends");
        let permit = Arc::clone(&self.helpers).acquire_owned().await.map_err(busy)?;
        let (tell, outcome) = oneshot::channel();
        let (request, hold) = (query.request.clone(), Box::new((permit, turn)));
        let unasked = self.warm.ask(&query.name, Question { request, tell, hold });
        let is_new = unasked.is_some();
        if let Some(question) = unasked {
            let (service, query) = (Arc::clone(self), Arc::clone(query));
            let serve = move || {
                let name = (query.name.clone(), query.is_of_plan());
                service.warm.serve(name, question, || started(&service, &query));
            };
            let started = std::thread::Builder::new().name("helper".to_owned()).spawn(serve);
            started.map_err(crate::content::unwritten)?;
        }
        Ok((outcome.await.ok().transpose()?, is_new))
    }
}

/// A question of files.
struct Asked {
    /// The files, as the name of who has read them.
    name: String,
    request: Value,
    files: Value,
    texts: Vec<(String, Vec<u8>)>,
}

impl Asked {
    /// Whether stored files alone are asked of, a plan's among them: nobody asks twice of others.
    fn is_of_plan(&self) -> bool {
        let all = self.files.as_object().into_iter().flat_map(serde_json::Map::values);
        let all: Vec<&str> = all.filter_map(Value::as_str).collect();
        let has = |kind: &str| all.iter().any(|value| value.starts_with(kind));
        self.texts.is_empty() && has("plan:") && !has("holder:")
    }
}

fn is_cut(outcome: Option<&Result<Answer, Ended>>) -> bool {
    matches!(outcome, Some(Err(ended)) if ended.is_cut)
}

/// A process in a folder with the files.
fn started(service: &Service, query: &Asked) -> Result<(Folder, Running), Problem> {
    let shop = &service.shop;
    let folder = folder::laid_out(&shop.store, &shop.shelf, &shop.setting.folder, &query.files)?;
    for (name, bytes) in &query.texts {
        folder.write(name, bytes)?;
    }
    let time = if query.request["verb"] == "open" { OPENING } else { HELP };
    let limits = Limits { time: time.min(shop.setting.limits.time), ..shop.setting.limits };
    let process = Running::start(&shop.setting.program, (folder.path(), limits), true);
    Ok((folder, process.map_err(crate::content::unwritten)?))
}

/// Why there is no answer.
fn unanswered((code, said): (&'static str, String)) -> Problem {
    let title = match code {
        "time-limit" => "the answer took longer than this service allows",
        "memory-limit" => "the answer needed more memory than this service allows",
        _ => "the process that was to answer ended early",
    };
    crate::log::line("error", code, &Value::from(said));
    let status = match code {
        "time-limit" | "memory-limit" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, code, title).hint("try a smaller problem")
}
