//! The thread that writes.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::sql::Sql;
use crate::fault::Fault;
use crate::problem::Problem;

/// Writes of one transaction.
const BATCH: usize = 512;
/// How often a write is run that other processes are in the way of.
const RUNS: u32 = 5;

/// A write.
pub(super) trait Write: Send {
    /// Runs it; whether its own part stands.
    fn run(&mut self, sql: &mut dyn Sql) -> Result<(), Fault>;

    /// Tells who asked how it ended, and the transaction.
    fn tell(self: Box<Self>, committed: Result<(), Fault>);
}

/// A write whose answer somebody waits for.
pub(super) struct Job<T, W> {
    write: W,
    ended: Option<Result<T, Problem>>,
    tell: oneshot::Sender<Result<T, Problem>>,
}

impl<T, W> Job<T, W> {
    pub(super) const fn new(write: W, tell: oneshot::Sender<Result<T, Problem>>) -> Self {
        Self { write, ended: None, tell }
    }
}

impl<T: Send, W: FnMut(&mut dyn Sql) -> Result<T, Problem> + Send> Write for Job<T, W> {
    fn run(&mut self, sql: &mut dyn Sql) -> Result<(), Fault> {
        let ended = self.ended.insert((self.write)(sql));
        match ended {
            Ok(_) => Ok(()),
            Err(problem) => Err(problem.fault.clone().unwrap_or(Fault::Other(String::new()))),
        }
    }

    fn tell(self: Box<Self>, committed: Result<(), Fault>) {
        // Who asked may be gone.
        let _ = self.tell.send(match (committed, self.ended) {
            (_, Some(Err(problem))) => Err(problem),
            (Ok(()), Some(Ok(answer))) => Ok(answer),
            (Err(fault), _) => Err(fault.into()),
            (Ok(()), None) => Err(super::stopped()),
        });
    }
}

/// A write that is to be run.
pub(super) struct Waiting {
    write: Box<dyn Write>,
    n_runs: u32,
}

impl Waiting {
    pub(super) fn new(write: impl Write + 'static) -> Self {
        Self { write: Box::new(write), n_runs: 0 }
    }
}

/// Takes writes until nobody can send any.
pub(super) fn write_all(sql: &mut dyn Sql, writes: &Receiver<Waiting>) {
    let mut batch = VecDeque::new();
    loop {
        if batch.is_empty() {
            let Ok(first) = writes.recv() else { return };
            batch.push_back(first);
        }
        batch.extend(writes.try_iter().take(BATCH.saturating_sub(batch.len())));
        commit(sql, &mut batch);
    }
}

/// One transaction. Where a write fails for lack of space, or the transaction itself does, nothing
/// of the batch stands, and all are told. A write that another process is in the way of stays, as
/// do those after it: what came before is committed first, so that its locks are in nobody's way.
fn commit(sql: &mut dyn Sql, batch: &mut VecDeque<Waiting>) {
    let mut ran: Vec<Waiting> = Vec::with_capacity(batch.len());
    let mut ended = sql.run("BEGIN", &[]).map(drop);
    while ended.is_ok() {
        let Some(mut write) = batch.pop_front() else { break };
        match run(sql, &mut write) {
            Ok(true) => ran.push(write),
            Ok(false) => {
                batch.push_front(write);
                break;
            }
            Err(fault) => {
                ran.push(write);
                ended = Err(fault);
            }
        }
    }
    if ended.is_err() {
        ran.extend(batch.drain(..));
    }
    let ended = ended.and_then(|()| sql.run("COMMIT", &[]).map(drop));
    if ended.is_err() {
        let _ = sql.run("ROLLBACK", &[]);
    }
    ran.into_iter().for_each(|one| one.write.tell(ended.clone()));
}

/// Runs a write within the transaction; whether it is not to be run again.
fn run(sql: &mut dyn Sql, write: &mut Waiting) -> Result<bool, Fault> {
    sql.run("SAVEPOINT one", &[])?;
    write.n_runs += 1;
    let stands = write.write.run(sql);
    match &stands {
        Ok(()) => {}
        Err(Fault::Full) => return Err(Fault::Full),
        Err(_) => drop(sql.run("ROLLBACK TO SAVEPOINT one", &[])?),
    }
    sql.run("RELEASE SAVEPOINT one", &[])?;
    Ok(!matches!(stands, Err(Fault::Again(_))) || write.n_runs >= RUNS)
}
