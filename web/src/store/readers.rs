//! Connections that read.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Place;
use super::sql::Sql;
use crate::fault::Fault;
use crate::problem::Problem;

/// Connections at once; further reads wait for one.
const READERS: usize = 8;
/// How long a database that could not be reached is not tried again: who waits is told at once.
const PAUSE: Duration = Duration::from_millis(500);

type Connection = Box<dyn Sql + Send>;

/// All of them.
pub(super) struct Readers {
    place: Place,
    connections: Mutex<Connections>,
    freed: Condvar,
}

#[derive(Default)]
struct Connections {
    /// Those that nobody uses.
    idle: Vec<Connection>,
    /// How many there are in all.
    n: usize,
    /// When the database could not be reached, and why.
    failed: Option<(Instant, Fault)>,
}

/// One that is in use.
struct Reader<'r> {
    readers: &'r Readers,
    /// `None` where it may be broken.
    connection: Option<Connection>,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut connections = self.readers.locked();
        match self.connection.take() {
            Some(connection) => connections.idle.push(connection),
            None => connections.n -= 1,
        }
        self.readers.freed.notify_one();
    }
}

impl Readers {
    pub(super) fn new(place: Place) -> Self {
        Self { place, connections: Mutex::default(), freed: Condvar::new() }
    }

    fn locked(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Result<Reader<'_>, Fault> {
        let is_full =
            |connections: &mut Connections| connections.idle.is_empty() && connections.n >= READERS;
        let waited = self.freed.wait_while(self.locked(), is_full);
        let mut connections = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.idle.pop() {
            return Ok(Reader { readers: self, connection: Some(connection) });
        }
        if let Some((at, fault)) = &connections.failed
            && at.elapsed() < PAUSE
        {
            let fault = fault.clone();
            // Nothing was taken: the next one may look as well.
            self.freed.notify_one();
            return Err(fault);
        }
        connections.n += 1;
        drop(connections);
        let mut reader = Reader { readers: self, connection: None };
        let opened = self.place.open();
        self.locked().failed = opened.as_ref().err().map(|fault| (Instant::now(), fault.clone()));
        reader.connection = Some(opened?);
        Ok(reader)
    }

    /// Runs a read in this thread.
    ///
    /// # Errors
    /// Those of the read and of the database.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&mut dyn Sql) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut reader = self.reader()?;
        let Some(mut connection) = reader.connection.take() else { return Err(super::stopped()) };
        let answer = read(&mut *connection);
        if answer.as_ref().err().is_none_or(|problem| problem.fault.is_none()) {
            reader.connection = Some(connection);
        }
        answer
    }
}
