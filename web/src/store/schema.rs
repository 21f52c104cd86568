//! The tables.

use super::sql::Sql;
use crate::fault::Fault;

/// Version of the tables: it changes with them. A database of another one is refused.
pub(crate) const VERSION: &str = "2";

/// All statements that make them, `BLOB` where a column holds bytes.
const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    // Uploaded files, by digest.
    "CREATE TABLE IF NOT EXISTS contents (digest TEXT PRIMARY KEY, bytes BIGINT NOT NULL, \
     holder TEXT NOT NULL)",
    // How people call them, and what a reader said of them.
    "CREATE TABLE IF NOT EXISTS names (kind TEXT NOT NULL, name TEXT NOT NULL, \
     digest TEXT NOT NULL, summary TEXT NOT NULL, owner TEXT NOT NULL, \
     created_ms BIGINT NOT NULL, PRIMARY KEY (kind, digest, name))",
    "CREATE INDEX IF NOT EXISTS names_by_name ON names (name, created_ms)",
    "CREATE INDEX IF NOT EXISTS names_by_digest ON names (digest)",
    "CREATE TABLE IF NOT EXISTS chunks (holder TEXT NOT NULL, n BIGINT NOT NULL, \
     bytes BLOB NOT NULL, PRIMARY KEY (holder, n))",
    "CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, kind TEXT NOT NULL, \
     name TEXT NOT NULL, bytes BIGINT NOT NULL, held BIGINT NOT NULL, owner TEXT NOT NULL, \
     touched_ms BIGINT NOT NULL)",
    // Plans that are wanted, being made, or made.
    "CREATE TABLE IF NOT EXISTS plans (id TEXT PRIMARY KEY, place BIGINT NOT NULL, \
     content TEXT NOT NULL, request TEXT NOT NULL, files TEXT NOT NULL, owner TEXT NOT NULL, \
     rank BIGINT NOT NULL, state TEXT NOT NULL, attempts BIGINT NOT NULL, \
     revision BIGINT NOT NULL, worker TEXT NOT NULL, lease_ms BIGINT NOT NULL, \
     cancel BIGINT NOT NULL, phase TEXT NOT NULL, progress TEXT NOT NULL, exit_code BIGINT, \
     error TEXT, created_ms BIGINT NOT NULL, started_ms BIGINT, finished_ms BIGINT, \
     updated_ms BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS plans_by_place ON plans (place)",
    "CREATE INDEX IF NOT EXISTS plans_by_state ON plans (state, rank, place)",
    "CREATE INDEX IF NOT EXISTS plans_by_content ON plans (content, place)",
    "CREATE INDEX IF NOT EXISTS plans_by_owner ON plans (owner, state)",
    "CREATE TABLE IF NOT EXISTS events (plan TEXT NOT NULL, revision BIGINT NOT NULL, \
     kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (plan, revision))",
    // Plans of whose end the webhook was not told yet.
    "CREATE TABLE IF NOT EXISTS untold (plan TEXT PRIMARY KEY, attempts BIGINT NOT NULL, \
     due_ms BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS untold_by_time ON untold (due_ms)",
    "CREATE TABLE IF NOT EXISTS artefacts (plan TEXT NOT NULL, name TEXT NOT NULL, \
     bytes BLOB NOT NULL, PRIMARY KEY (plan, name))",
    "CREATE TABLE IF NOT EXISTS keys (owner TEXT NOT NULL, name TEXT NOT NULL, \
     body TEXT NOT NULL, plan TEXT NOT NULL, created_ms BIGINT NOT NULL, \
     PRIMARY KEY (owner, name))",
    "CREATE INDEX IF NOT EXISTS keys_by_age ON keys (created_ms)",
    "CREATE TABLE IF NOT EXISTS tokens (hash TEXT PRIMARY KEY, name TEXT NOT NULL, \
     scope TEXT NOT NULL, jobs BIGINT NOT NULL, cpu_ms BIGINT NOT NULL, bytes BIGINT NOT NULL, \
     created_ms BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS used (owner TEXT NOT NULL, hour BIGINT NOT NULL, \
     cpu_ms BIGINT NOT NULL, PRIMARY KEY (owner, hour))",
    "CREATE TABLE IF NOT EXISTS measurements (id TEXT PRIMARY KEY, place BIGINT NOT NULL, \
     plan TEXT NOT NULL, body TEXT NOT NULL, owner TEXT NOT NULL, created_ms BIGINT NOT NULL)",
];

/// Makes what is missing. `bytes` is how the database calls a column of bytes. Where the tables are,
/// nothing is made, so that whoever may only use them can.
///
/// # Errors
/// Those of the database; tables of another version.
pub(crate) fn make(sql: &mut dyn Sql, bytes: &str) -> Result<(), Fault> {
    let version = "SELECT value FROM facts WHERE name = 'schema'";
    let mut found = sql.row(version, &[]).unwrap_or_default();
    if found.is_none() {
        // One commit: on a slow disk each costs as much as all.
        sql.run("BEGIN", &[])?;
        let made = made(sql, bytes);
        sql.run(if made.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
        made?;
        found = sql.row(version, &[])?;
    }
    let version = found.map(|mut row| row.text()).unwrap_or_default();
    if version != VERSION {
        let reason = format!("its tables have version `{version}`, this program has {VERSION}");
        return Err(Fault::Other(reason));
    }
    Ok(())
}

fn made(sql: &mut dyn Sql, bytes: &str) -> Result<(), Fault> {
    // Several may begin at once.
    sql.lock_order()?;
    for table in TABLES {
        sql.run(&table.replace("BLOB", bytes), &[])?;
    }
    sql.run(
        "INSERT INTO facts (name, value) VALUES ('schema', $1) ON CONFLICT (name) DO NOTHING",
        &[VERSION.into()],
    )?;
    Ok(())
}
