//! The one place that owns a socket and an async runtime.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Uri, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_socket_send_buffer_size;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::service::{Options, Service, Shared};
use crate::store::Place;
use crate::stream::{self, Stream};
use crate::work::{self, Shop, Work};
use crate::{access, content, log, notify, queue};

/// How long the head of a request may take, and a connection may be silent between two.
const HEAD: Duration = Duration::from_secs(15);
/// How long answers may take once the service ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often plans are looked for whose worker is gone.
const RECOVERY: Duration = Duration::from_secs(10);

/// How long a lock is waited for.
const RELEASE: Duration = Duration::from_secs(2);

/// Why a process of the service can't begin.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// What helps.
    pub hint: &'static str,
}

impl Failure {
    fn new(hint: &'static str) -> impl Fn(String) -> Self {
        move |reason| Self { reason, hint }
    }
}

/// Where the database is to blame.
const DATABASE: &str = "name the database of the service with --database, or end who uses it";
/// Where the folder is.
const FOLDER: &str = "name a folder of its own with --work-folder";
/// Where the address is.
const ADDRESS: &str = "choose a free port with --listen 127.0.0.1:PORT; port 0 takes any";
/// Where the certificate is.
const CERTIFICATE: &str =
    "give a chain and its key, both PEM, with --tls-certificate and --tls-key";
/// Where no certificate of others can be checked.
const CERTIFICATES: &str = "install ca-certificates, or name a PEM file in SSL_CERT_FILE";
/// Where others could reach what nobody guards.
const TOKEN: &str = "make a token first, meshwright token NAME, or say --allow-anonymous";
/// Where the system gives no threads.
const SYSTEM: &str = "give the process more threads or memory";

impl Service {
    /// Whether a request names this machine, where only this machine is listened to.
    pub(crate) fn is_of_here(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        if !self.options.listen.ip().is_loopback() || self.options.allows_anonymous {
            return true;
        }
        // Of two names, which one others went by is not known.
        if headers.get_all(header::HOST).iter().count() > 1 {
            return false;
        }
        let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = uri.authority().map(|authority| authority.as_str()).or(named) else {
            return false;
        };
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Serves until a signal of termination; `listening` is told the address.
///
/// # Errors
/// Why it can't begin.
pub fn serve(mut options: Options, listening: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    let of_database = |problem: crate::problem::Problem| Failure::new(DATABASE)(problem.words());
    let _alone = alone(&options.work.database).map_err(Failure::new(DATABASE))?;
    let _held = locked(&mut options.work).map_err(Failure::new(FOLDER))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(SYSTEM)(error.to_string()))?;
    let service = Arc::new(Service::open(options).map_err(of_database)?);
    let has_token = service.store.read_here(|sql| access::is_any(sql)).map_err(of_database)?;
    let options = &service.options;
    if !(options.listen.ip().is_loopback() || has_token || options.allows_anonymous) {
        let listen = options.listen;
        let reason = format!("others than this machine can reach {listen}, and no token is stored");
        return Err(Failure::new(TOKEN)(reason));
    }
    // Only this process has a file of SQLite: whatever ran is lost.
    let prefix = matches!(options.work.database, Place::File(_)).then_some("serve-");
    let name = work::process_name("serve");
    let begun = service.store.write_here(move |sql| {
        content::sweep(sql, prefix.is_some())?;
        queue::recover(sql, prefix)
    });
    let n = begun.map_err(of_database)?;
    if n > 0 {
        log::line("info", "recovered", &json!({ "plans": n }));
    }
    let ended = runtime.block_on(accept(Arc::clone(&service), name, listening));
    // A message that its receiver does not answer is sent again after the next start.
    runtime.shutdown_timeout(LAST_WORDS);
    ended
}

/// Makes plans that servers stored, without answering requests, until a signal of termination;
/// `working` is told once it does.
///
/// # Errors
/// Why it can't begin.
pub fn work(mut options: Work, working: &mut dyn FnMut()) -> Result<(), Failure> {
    if let Place::File(path) = &options.database {
        let path = path.display();
        return Err(Failure {
            reason: format!("`{path}` is a file of SQLite, which one server has to itself"),
            hint: "give the servers and the workers one PostgreSQL: --database postgres://...",
        });
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(SYSTEM)(error.to_string()))?;
    let _held = locked(&mut options).map_err(Failure::new(FOLDER))?;
    let shop = Shop::open(&options, Box::new(|_| {}));
    let shop = shop.map_err(|problem| Failure::new(DATABASE)(problem.words()))?;
    let (shop, name) = (Arc::new(shop), work::process_name("worker"));
    let worked = runtime.block_on(async {
        let slots = work::start(&shop, options.workers, &name)?;
        working();
        let recovery = tokio::spawn(recover(Arc::clone(&shop)));
        ended().await?;
        recovery.abort();
        drained(&shop, slots, options.drain).await;
        Ok(())
    });
    worked.map_err(|error: io::Error| Failure::new(SYSTEM)(error.to_string()))
}

/// Keeps other servers from a file of SQLite: they would take each other's plans for lost ones.
fn alone(database: &Place) -> Result<Option<std::fs::File>, String> {
    let Place::File(path) = database else { return Ok(None) };
    let describe = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(|error| describe(&error))?;
    let mode = file.metadata().map_err(|error| describe(&error))?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let what = json!({ "place": path, "mode": format!("{mode:o}"), "hint": "chmod 600" });
        log::line("warn", "open-database", &what);
    }
    if !is_locked(&file) {
        return Err(describe(&"another server uses this file; several share one PostgreSQL"));
    }
    Ok(Some(file))
}

/// Whether this process has the file to itself now. A killed process lets go of it only once the children
/// that it had just forked run programs of their own: a busy machine may take a while to start them.
fn is_locked(file: &std::fs::File) -> bool {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(_) if begun.elapsed() > RELEASE => return false,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The folder of this process, which is emptied when this is dropped.
struct Held {
    folder: PathBuf,
    _lock: std::fs::File,
}

impl Held {
    fn empty(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.empty();
    }
}

/// Holds the folder of this process, and empties it of what another left.
fn locked(options: &mut Work) -> Result<Held, String> {
    // Links to files there are followed from other folders.
    let folder = std::path::absolute(&options.folder);
    options.folder = folder.map_err(|error| error.to_string())?;
    let folder = &options.folder;
    let describe = |error: &dyn std::fmt::Display| format!("`{}`: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(|error| describe(&error))?;
    let file = std::fs::File::create(folder.join("lock")).map_err(|error| describe(&error))?;
    if !is_locked(&file) {
        return Err(describe(&"another process uses this folder"));
    }
    let lock = Held { folder: folder.clone(), _lock: file };
    lock.empty().map_err(|error| describe(&error))?;
    Ok(lock)
}

/// Looks after what other processes left.
async fn recover(shop: Arc<Shop>) {
    loop {
        tokio::time::sleep(RECOVERY).await;
        let n = shop.store.write(|sql| {
            content::sweep(sql, false)?;
            queue::recover(sql, None)
        });
        if let Ok(1..) = n.await {
            shop.bell.ring();
        }
    }
}

/// Forgets what need not be kept.
async fn retire(service: Shared) {
    let Options { keep_for, most_stored, .. } = service.options;
    if keep_for.is_none() && most_stored.is_none() {
        return;
    }
    let age = keep_for.map_or(i64::MAX, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let most = most_stored.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
    loop {
        tokio::time::sleep(RECOVERY).await;
        let before = log::now_ms().saturating_sub(age);
        while let Ok(1..) = service.store.write(move |sql| queue::retire(sql, before, most)).await {
        }
    }
}

/// Ends with the first signal of termination or interruption, or where the terminal is closed.
async fn ended() -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Who starts it with `nohup` wants it to go on.
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    let closed = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        _ = closed => {}
    }
    Ok(())
}

/// Whether this process was started to outlive its terminal: the first bit of the signals that it
/// ignores (proc(5)).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

async fn accept(
    service: Shared,
    name: String,
    listening: &mut dyn FnMut(SocketAddr),
) -> Result<(), Failure> {
    let of = |hint| move |error: io::Error| Failure::new(hint)(error.to_string());
    let listener = TcpListener::bind(service.options.listen).await.map_err(of(ADDRESS))?;
    // Connections take it over.
    set_socket_send_buffer_size(&listener, stream::KEPT)
        .map_err(|error| of(ADDRESS)(error.into()))?;
    let address = listener.local_addr().map_err(of(ADDRESS))?;
    let tls = service.options.tls.as_ref().map(crate::tls::acceptor).transpose();
    let tls = tls.map_err(of(CERTIFICATE))?;
    let slots = work::start(&service.shop, service.options.work.workers, &name);
    let slots = slots.map_err(of(SYSTEM))?;
    let router = crate::api::router(&service);
    let recovery = tokio::spawn(recover(Arc::clone(&service.shop)));
    let retirement = tokio::spawn(retire(Arc::clone(&service)));
    let telling = notify::start(&service).map_err(Failure::new(CERTIFICATES))?;
    let (graceful, room) =
        (GracefulShutdown::new(), Arc::new(Semaphore::new(service.options.connections)));
    listening(address);
    // Until all plans ended or were given back, requests are answered, that for readiness with no.
    let mut end = std::pin::pin!(async {
        let _ = ended().await;
        service.stop();
        log::line("info", "stopping", &json!({}));
        recovery.abort();
        retirement.abort();
        telling.iter().for_each(tokio::task::JoinHandle::abort);
        drained(&service.shop, slots, service.options.work.drain).await;
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // Such as too many open files: others may close theirs.
            Err(error) => {
                log::line("error", "accept", &json!({ "reason": error.to_string() }));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Those past the limit are closed at once.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let answered =
            admit(Stream::new(stream), tls.clone(), (router.clone(), graceful.watcher()));
        tokio::spawn(async move {
            answered.await;
            drop(permit);
        });
    }
    let _ = tokio::time::timeout(LAST_WORDS, graceful.shutdown()).await;
    Ok(())
}

/// Answers a connection, under transport security where there is any.
async fn admit(
    stream: Stream,
    tls: Option<TlsAcceptor>,
    (router, watcher): (axum::Router, Watcher),
) {
    match tls {
        None => answer(stream, router, watcher).await,
        Some(tls) => {
            let shaken = tokio::time::timeout(HEAD, tls.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                answer(stream, router, watcher).await;
            }
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: axum::Router,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Why a connection broke is the client's affair.
    let _ = watcher.watch(connection).await;
}

/// Lets plans that run go on for a while, then gives them back to the queue.
async fn drained(shop: &Shop, slots: Vec<std::thread::JoinHandle<()>>, drain: Duration) {
    shop.bell.stop();
    let start = Instant::now();
    let mut is_killed = false;
    while !slots.iter().all(std::thread::JoinHandle::is_finished) {
        if !is_killed && start.elapsed() > drain {
            is_killed = true;
            shop.bell.kill();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
