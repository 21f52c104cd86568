//! The database: what was answered with "accepted" is on disk.
//!
//! One thread writes. It takes all writes that wait into one transaction, each with a savepoint of
//! its own, and answers them after the commit: many writers share a sync. Readers have
//! connections of their own.

#[cfg(feature = "postgres")]
mod postgres;
mod readers;
mod schema;
#[cfg(feature = "postgres")]
mod secure;
pub(crate) mod sql;
mod sqlite;
#[cfg(feature = "postgres")]
mod url;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use readers::Readers;
use schema::{Opened, VERSION};
use serde_json::json;
use sql::Sql;
use tokio::sync::oneshot;
use writer::{Job, Waiting};

use crate::fault::Fault;
use crate::log;
use crate::problem::Problem;

/// URL of a database; its password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "postgres")]
        if let Ok(config) = self.read() {
            return url::shown(&config, f);
        }
        f.write_str("the URL of the database")
    }
}

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of PostgreSQL.
    Url(Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    /// A URL is read when it is opened: whoever reports an error here may show the text, in which
    /// there is a password.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("the name of the database's file is empty".to_owned()),
            _ if text.contains("://") => Ok(Self::Url(Url(text.to_owned()))),
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl Place {
    pub(crate) fn open(&self) -> Result<Box<dyn Sql + Send>, Fault> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::Sqlite::open(path)?),
            #[cfg(feature = "postgres")]
            Self::Url(url) => Box::new(postgres::Postgres::open(url)?),
            #[cfg(not(feature = "postgres"))]
            Self::Url(_) => {
                return Err(Fault::Other("it was built without PostgreSQL".to_owned()));
            }
        })
    }

    /// How it calls a column of bytes.
    const fn bytes(&self) -> &'static str {
        match self {
            Self::File(_) => "BLOB",
            Self::Url(_) => "BYTEA",
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

/// The database.
pub(crate) struct Store {
    writer: Sender<Waiting>,
    readers: Arc<Readers>,
}

impl Store {
    /// Opens it and makes its tables.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) fn open(place: Place) -> Result<Self, Fault> {
        let mut sql = place.open()?;
        match schema::make(&mut *sql, place.bytes())? {
            Opened::Ready => {}
            Opened::New => {
                log::line("info", "new-database", &json!({ "place": place.to_string() }))
            }
            Opened::Upgraded(from) => {
                let what = json!({ "place": place.to_string(), "from": from, "to": VERSION });
                log::line("info", "upgraded-database", &what);
            }
        }
        let (writer, writes) = channel();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer::write_all(&mut *sql, &writes))
            .map_err(|error| Fault::Other(error.to_string()))?;
        Ok(Self { writer, readers: Arc::new(Readers::new(place)) })
    }

    /// Runs a write, and answers once it is on disk. An error of the write leaves nothing of it.
    /// Where another process is in its way it runs again, so that it must change nothing outside.
    ///
    /// # Errors
    /// Those of the write and of the database.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        write: impl FnMut(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.queue(write).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// As [`Store::write`], from a thread that may wait.
    ///
    /// # Errors
    /// Those of the write and of the database.
    pub(crate) fn write_here<T: Send + 'static>(
        &self,
        write: impl FnMut(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.queue(write).blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn queue<T: Send + 'static>(
        &self,
        write: impl FnMut(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Problem>> {
        let (tell, answer) = oneshot::channel();
        // Where the writer has ended, the answer's sender is dropped with the job.
        let _ = self.writer.send(Waiting::new(Job::new(write, tell)));
        answer
    }

    /// Whether every table can be read.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn touch(&self) -> Result<(), Problem> {
        self.read(|sql| Ok(schema::touch(sql)?)).await
    }

    /// Runs a read on a connection of its own, in a thread that may wait.
    ///
    /// # Errors
    /// Those of the read and of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Sql) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let readers = Arc::clone(&self.readers);
        let ended = tokio::task::spawn_blocking(move || readers.read(read)).await;
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
        self.readers.read(read)
    }
}

fn stopped() -> Problem {
    Fault::Other("the thread that writes has ended".to_owned()).into()
}
