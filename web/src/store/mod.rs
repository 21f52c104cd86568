//! The database: what was answered with "accepted" is on disk.
//!
//! One thread writes. It takes all writes that wait into one transaction, each with a savepoint of
//! its own, and answers them after the commit: many writers share a sync. Readers have
//! connections of their own.

mod schema;
pub(crate) mod sql;
mod sqlite;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::fault::Fault;
use sql::Sql;
use tokio::sync::oneshot;

use crate::problem::Problem;

/// Writes of one transaction.
const BATCH: usize = 512;
/// Readers at once.
const READERS: usize = 8;

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text.is_empty() => Err("the name of the database's file is empty".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
            Some((scheme, _)) => Err(format!("there is no kind `{scheme}` of databases")),
        }
    }
}

impl Place {
    fn open(&self) -> Result<Box<dyn Sql + Send>, Fault> {
        match self {
            Self::File(path) => Ok(Box::new(sqlite::Sqlite::open(path)?)),
        }
    }

    /// How it calls a column of bytes.
    const fn bytes(&self) -> &'static str {
        match self {
            Self::File(_) => "BLOB",
        }
    }
}

/// A database that is gone with its connection.
#[cfg(test)]
pub(crate) fn in_memory() -> Box<dyn Sql + Send> {
    let place = Place::File(PathBuf::from(":memory:"));
    let mut sql = place.open().unwrap();
    schema::make(&mut *sql, place.bytes()).unwrap();
    sql
}

/// What is told after the commit.
type Told = Box<dyn FnOnce(Result<(), Fault>) + Send>;
/// A write: whether its own part stands, and who is told.
type Write = Box<dyn FnOnce(&mut dyn Sql) -> (Result<(), Fault>, Told) + Send>;

/// The database.
pub(crate) struct Store {
    writer: Sender<Write>,
    idle: Arc<Mutex<Vec<Box<dyn Sql + Send>>>>,
    place: Place,
}

impl Store {
    /// Opens it and makes its tables.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) fn open(place: Place) -> Result<Self, Fault> {
        let mut sql = place.open()?;
        // One commit: on a slow disk each costs as much as all.
        sql.run("BEGIN", &[])?;
        schema::make(&mut *sql, place.bytes())?;
        sql.run("COMMIT", &[])?;
        let (writer, writes) = channel();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_all(&mut *sql, &writes))
            .map_err(|error| Fault::Other(error.to_string()))?;
        Ok(Self { writer, idle: Arc::default(), place })
    }

    /// Runs a write, and answers once it is on disk. An error of the write leaves nothing of it.
    ///
    /// # Errors
    /// Those of the write and of the database.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.queue(write).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// As [`Store::write`], from a thread that may wait.
    ///
    /// # Errors
    /// Those of the write and of the database.
    pub(crate) fn write_here<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.queue(write).blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn queue<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Problem>> {
        let (tell, answer) = oneshot::channel();
        let job: Write = Box::new(move |sql| {
            let ended = write(sql);
            let stands = match &ended {
                Ok(_) => Ok(()),
                Err(problem) => Err(problem.fault.clone().unwrap_or(Fault::Other(String::new()))),
            };
            let told: Told = Box::new(move |committed| {
                let _ = tell.send(match committed {
                    Err(fault) if ended.is_ok() => Err(fault.into()),
                    _ => ended,
                });
            });
            (stands, told)
        });
        // Where the writer has ended, the answer's sender is dropped with the job.
        let _ = self.writer.send(job);
        answer
    }

    /// Runs a read on a connection of its own, in a thread that may wait.
    ///
    /// # Errors
    /// Those of the read and of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (idle, place) = (Arc::clone(&self.idle), self.place.clone());
        let ended = tokio::task::spawn_blocking(move || read_on(&idle, &place, read)).await;
        ended.unwrap_or_else(|_| Err(stopped()))
    }

    /// As [`Store::read`], in this thread.
    ///
    /// # Errors
    /// Those of the read and of the database.
    pub(crate) fn read_here<T>(
        &self,
        read: impl FnOnce(&mut dyn Sql) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        read_on(&self.idle, &self.place, read)
    }
}

fn stopped() -> Problem {
    Fault::Other("the thread that writes has ended".to_owned()).into()
}

fn read_on<T>(
    idle: &Mutex<Vec<Box<dyn Sql + Send>>>,
    place: &Place,
    read: impl FnOnce(&mut dyn Sql) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut sql = match waiting {
        Some(sql) => sql,
        None => place.open()?,
    };
    let answer = read(&mut *sql);
    // A connection that failed may be broken.
    let is_sound = answer.as_ref().err().is_none_or(|problem| problem.fault.is_none());
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    if is_sound && idle.len() < READERS {
        idle.push(sql);
    }
    answer
}

/// Takes writes until nobody can send any.
fn write_all(sql: &mut dyn Sql, writes: &Receiver<Write>) {
    while let Ok(first) = writes.recv() {
        let others = writes.try_iter().take(BATCH - 1);
        let batch: Vec<Write> = std::iter::once(first).chain(others).collect();
        commit(sql, batch);
    }
}

/// One transaction. Where a write fails for lack of space, or the transaction itself does, nothing
/// of the batch stands, and all are told.
fn commit(sql: &mut dyn Sql, batch: Vec<Write>) {
    let mut told: Vec<Told> = Vec::with_capacity(batch.len());
    let mut ended = sql.run("BEGIN", &[]).map(drop);
    for write in batch {
        if let Err(fault) = &ended {
            // Its answer has to come from somewhere: it runs outside, and fails there.
            let (_, tell) = write(&mut Failed(fault.clone()));
            told.push(tell);
            continue;
        }
        let saved = sql.run("SAVEPOINT one", &[]);
        let (stands, tell) = write(sql);
        told.push(tell);
        ended = saved.and_then(|_| match stands {
            Ok(()) => sql.run("RELEASE SAVEPOINT one", &[]).map(drop),
            Err(Fault::Full) => Err(Fault::Full),
            Err(Fault::Other(_)) => sql
                .run("ROLLBACK TO SAVEPOINT one", &[])
                .and_then(|_| sql.run("RELEASE SAVEPOINT one", &[]))
                .map(drop),
        });
    }
    let ended = ended.and_then(|()| sql.run("COMMIT", &[]).map(drop));
    if ended.is_err() {
        let _ = sql.run("ROLLBACK", &[]);
    }
    told.into_iter().for_each(|tell| tell(ended.clone()));
}

/// A connection on which all fails.
struct Failed(Fault);

impl Sql for Failed {
    fn run(&mut self, _: &str, _: &[sql::Cell]) -> Result<u64, Fault> {
        Err(self.0.clone())
    }

    fn rows(&mut self, _: &str, _: &[sql::Cell]) -> Result<Vec<sql::Row>, Fault> {
        Err(self.0.clone())
    }

    fn skip_locked(&self) -> &'static str {
        ""
    }

    fn lock_order(&mut self) -> Result<(), Fault> {
        Err(self.0.clone())
    }
}
