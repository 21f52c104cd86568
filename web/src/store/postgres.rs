//! PostgreSQL: one database for several servers and workers.

use std::collections::HashMap;
use std::error::Error as _;
use std::thread;

use bytes::BytesMut;
use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, Error, NoTls, SimpleQueryMessage, Statement};

use super::Url;
use super::secure::Secure;
use super::sql::{Cell, Row, Sql};
use super::url::words;
use crate::fault::Fault;
use crate::log::now_ms;

/// The number of the lock that [`Sql::lock_order`] takes, the same in all versions.
const ORDER: i64 = 0x6d65_7368;
/// For all connections: a process that stands still gives its locks up, what is committed is on
/// disk, and a statement sees what others have committed before it.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = '30s'; \
    SET lock_timeout = '10s'; \
    SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";
/// Begins a transaction, and asks for the time: workers on several machines share this clock.
const BEGIN: &str = "BEGIN; SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";

/// A connection while it stands, with the statements that it knows.
struct Session {
    client: Option<Client>,
    known: HashMap<String, Statement>,
}

impl Session {
    fn client(&mut self) -> Result<&mut Client, Failure> {
        self.client.as_mut().ok_or(Failure::Lost)
    }

    fn statement(&mut self, text: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.known.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.client()?.prepare(text)?;
        self.known.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Drop for Session {
    /// It closes on a runtime of its own, which another one's thread must not wait for.
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let _ = thread::Builder::new().name("closing".to_owned()).spawn(move || drop(client));
        }
    }
}

/// Why a statement was not answered.
enum Failure {
    Lost,
    Said(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

/// A connection that is opened again where it was lost, but for within a transaction: what was done
/// there is lost with it.
pub(crate) struct Postgres {
    url: Url,
    config: Config,
    /// Where the URL asks for transport security.
    secure: Option<Secure>,
    session: Option<Session>,
    is_in_transaction: bool,
    /// Of the database's clock before this machine's, in milliseconds.
    ahead_ms: i64,
}

impl Postgres {
    pub(crate) fn open(url: &Url) -> Result<Self, Fault> {
        let (url, config) = (url.clone(), url.config()?);
        let secure = (config.get_ssl_mode() == SslMode::Require).then(crate::tls::connector);
        let secure = secure.transpose().map_err(Fault::Other)?.map(Secure);
        let mut sql =
            Self { url, config, secure, session: None, is_in_transaction: false, ahead_ms: 0 };
        sql.session = Some(sql.connected()?);
        Ok(sql)
    }

    fn connected(&self) -> Result<Session, Fault> {
        let connect = || {
            let mut client = match &self.secure {
                Some(secure) => self.config.connect(secure.clone())?,
                None => self.config.connect(NoTls)?,
            };
            client.batch_execute(SETTINGS)?;
            Ok(client)
        };
        let client = connect().map_err(|error: Error| {
            let handshake = error.to_string().contains("TLS handshake");
            let trusted = match handshake {
                true => "; the system's certificates are trusted, or those in SSL_CERT_FILE",
                false => "",
            };
            Fault::Other(format!("{} can not be reached: {}{trusted}", self.url, words(&error)))
        })?;
        Ok(Session { client: Some(client), known: HashMap::new() })
    }

    /// Asks the server. Outside of a transaction only what may be asked twice is: reads, and
    /// beginnings; they are where the connection was lost since it was last used.
    fn ask<T>(&mut self, ask: impl Fn(&mut Session) -> Result<T, Failure>) -> Result<T, Fault> {
        let mut is_fresh = false;
        loop {
            if self.session.is_none() {
                if self.is_in_transaction {
                    let reason = "the connection was lost within a transaction";
                    return Err(Fault::Other(reason.to_owned()));
                }
                is_fresh = true;
                self.session = Some(self.connected()?);
            }
            let Some(session) = &mut self.session else { continue };
            let failure = match ask(session) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_closed = session.client.as_ref().is_none_or(Client::is_closed);
            let is_lost = is_closed || failure.is_of_connection();
            if is_lost {
                self.session = None;
            }
            if !is_lost || self.is_in_transaction || is_fresh {
                return Err(failure.fault());
            }
        }
    }

    fn simple(&mut self, statement: &str) -> Result<Vec<SimpleQueryMessage>, Fault> {
        self.ask(|session| Ok(session.client()?.simple_query(statement)?))
    }

    fn begin(&mut self) -> Result<u64, Fault> {
        let answer = self.simple(BEGIN)?;
        self.is_in_transaction = true;
        let now = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
            _ => None,
        });
        self.ahead_ms = now.map_or(0, |now| now - now_ms());
        Ok(0)
    }

    fn end(&mut self, statement: &str) -> Result<u64, Fault> {
        if !self.is_in_transaction {
            return Ok(0);
        }
        let ended = self.simple(statement);
        self.is_in_transaction = false;
        if ended.is_err() {
            // Whatever state it is in, the next one is clean.
            self.session = None;
        }
        ended.map(|_| 0)
    }
}

impl Sql for Postgres {
    fn run(&mut self, statement: &str, values: &[Cell]) -> Result<u64, Fault> {
        match statement {
            "BEGIN" => return self.begin(),
            "COMMIT" | "ROLLBACK" => return self.end(statement),
            _ => {}
        }
        if values.is_empty() {
            let count = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::CommandComplete(n) => *n,
                _ => 0,
            };
            return Ok(self.simple(statement)?.iter().map(count).sum());
        }
        self.ask(|session| {
            let prepared = session.statement(statement)?;
            Ok(session.client()?.execute(&prepared, &parameters(values))?)
        })
    }

    fn rows(&mut self, statement: &str, values: &[Cell]) -> Result<Vec<Row>, Fault> {
        let rows = self.ask(|session| {
            let prepared = session.statement(statement)?;
            let rows = session.client()?.query(&prepared, &parameters(values))?;
            let cells = |row: &postgres::Row| (0..row.len()).map(|i| row.try_get(i)).collect();
            Ok(rows.iter().map(cells).collect::<Result<Vec<Vec<Cell>>, Error>>()?)
        })?;
        Ok(rows.into_iter().map(Row::new).collect())
    }

    fn skip_locked(&self) -> &'static str {
        " FOR UPDATE SKIP LOCKED"
    }

    fn lock_order(&mut self) -> Result<(), Fault> {
        self.simple(&format!("SELECT pg_advisory_xact_lock({ORDER})")).map(drop)
    }

    fn now_ms(&self) -> i64 {
        now_ms() + self.ahead_ms
    }
}

impl Failure {
    /// Whether the connection is of no more use.
    fn is_of_connection(&self) -> bool {
        let Self::Said(error) = self else { return true };
        match error.code() {
            // 57P: shut down, crashed, starting; 08: broken; 25P03: silent in a transaction for too
            // long; 25006: it became a standby.
            Some(state) => {
                ["57P", "08", "25P03", "25006"].iter().any(|of| state.code().starts_with(of))
            }
            None if error.is_closed() => true,
            None => error.source().is_some_and(|cause| cause.is::<std::io::Error>()),
        }
    }

    fn fault(self) -> Fault {
        let Self::Said(error) = self else {
            return Fault::Other("the connection was lost".to_owned());
        };
        let again = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::UNIQUE_VIOLATION,
        ];
        match error.code() {
            Some(state) if *state == SqlState::DISK_FULL => Fault::Full,
            Some(state) if again.contains(state) => Fault::Again(words(&error)),
            _ => Fault::Other(words(&error)),
        }
    }
}

fn parameters(values: &[Cell]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

type Conversion<T> = Result<T, Box<dyn std::error::Error + Sync + Send>>;

impl ToSql for Cell {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match (self, kind) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(value), &Type::INT4) => i32::try_from(*value)?.to_sql(kind, out),
            (Self::Int(value), &Type::INT8) => value.to_sql(kind, out),
            // A text of PostgreSQL holds no zero.
            (Self::Text(text), &Type::TEXT) if text.contains('\0') => {
                text.replace('\0', "\u{fffd}").to_sql(kind, out)
            }
            (Self::Text(text), &Type::TEXT) => text.to_sql(kind, out),
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(kind, out),
            _ => Err(format!("a parameter of type {kind} is given another").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl FromSql<'_> for Cell {
    fn from_sql(kind: &Type, raw: &[u8]) -> Conversion<Self> {
        Ok(match *kind {
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::TEXT => Self::Text(String::from_sql(kind, raw)?),
            Type::BYTEA => Self::Bytes(Vec::from_sql(kind, raw)?),
            _ => return Err(format!("a column of type {kind}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Conversion<Self> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
