//! The tables.

use super::sql::Sql;
use crate::fault::Fault;

/// Version of the tables: it changes with them. Older ones are upgraded, newer ones refused.
pub(crate) const VERSION: &str = "4";

/// What leads from a version to the next, before tables and indexes that are missing are made.
/// Version 2 added the table `untold`; 3 gives every owner names of their own; 4 added `durations`.
const UPGRADES: [(&str, &[&str]); 3] = [
    ("1", &[]),
    (
        "2",
        &[
            "ALTER TABLE names RENAME TO former_names",
            NAMES,
            "INSERT INTO names (kind, name, digest, summary, owner, created_ms) \
             SELECT kind, name, digest, summary, owner, created_ms FROM former_names",
            "DROP TABLE former_names",
        ],
    ),
    ("3", &[]),
];

/// How people call files, and what a reader said of them.
const NAMES: &str = "CREATE TABLE IF NOT EXISTS names (kind TEXT NOT NULL, name TEXT NOT NULL, \
     digest TEXT NOT NULL, summary TEXT NOT NULL, owner TEXT NOT NULL, \
     created_ms BIGINT NOT NULL, PRIMARY KEY (kind, digest, name, owner))";

/// What is known of the database itself.
const FACTS: &str = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)";

/// All statements that make them, `BLOB` where a column holds bytes.
const TABLES: &[&str] = &[
    FACTS,
    // Uploaded files, by digest.
    "CREATE TABLE IF NOT EXISTS contents (digest TEXT PRIMARY KEY, bytes BIGINT NOT NULL, \
     holder TEXT NOT NULL)",
    NAMES,
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
    // How long plans waited and took, by bucket of a histogram.
    "CREATE TABLE IF NOT EXISTS durations (histogram TEXT NOT NULL, bucket BIGINT NOT NULL, \
     n BIGINT NOT NULL, sum_ms BIGINT NOT NULL, PRIMARY KEY (histogram, bucket))",
    "CREATE TABLE IF NOT EXISTS measurements (id TEXT PRIMARY KEY, place BIGINT NOT NULL, \
     plan TEXT NOT NULL, body TEXT NOT NULL, owner TEXT NOT NULL, created_ms BIGINT NOT NULL)",
];

/// What opening a database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Tables of this version.
    Ready,
    /// No tables: they were made.
    New,
    /// Tables of an older version, which were upgraded.
    Upgraded(String),
}

/// Makes what is missing. `bytes` is how the database calls a column of bytes. Where the tables are,
/// nothing is made, so that whoever may only use them can.
///
/// # Errors
/// Those of the database; tables of a version that this program does not know.
pub(crate) fn make(sql: &mut dyn Sql, bytes: &str) -> Result<Opened, Fault> {
    match version(sql).unwrap_or_default() {
        Some(found) if found == VERSION => Ok(Opened::Ready),
        _ => {
            // One commit: on a slow disk each costs as much as all, and half an upgrade is none.
            sql.run("BEGIN", &[])?;
            let made = made(sql, bytes);
            sql.run(if made.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
            made
        }
    }
}

fn version(sql: &mut dyn Sql) -> Result<Option<String>, Fault> {
    let row = sql.row("SELECT value FROM facts WHERE name = 'schema'", &[])?;
    Ok(row.map(|mut row| row.text()))
}

fn made(sql: &mut dyn Sql, bytes: &str) -> Result<Opened, Fault> {
    // Several may begin at once: the later ones find what the first made.
    sql.lock_order()?;
    sql.run(FACTS, &[])?;
    let found = version(sql)?;
    let old = found.as_deref().filter(|found| *found != VERSION);
    if let Some(old) = old {
        let Some(from) = UPGRADES.iter().position(|(version, _)| *version == old) else {
            let reason = format!("its tables have version `{old}`, this program has {VERSION}");
            return Err(Fault::Other(reason));
        };
        for statement in UPGRADES[from..].iter().flat_map(|(_, statements)| *statements) {
            sql.run(statement, &[])?;
        }
    }
    for table in TABLES {
        sql.run(&table.replace("BLOB", bytes), &[])?;
    }
    sql.run(
        "INSERT INTO facts (name, value) VALUES ('schema', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[VERSION.into()],
    )?;
    Ok(match (old, found.is_some()) {
        (Some(old), _) => Opened::Upgraded(old.to_owned()),
        (None, true) => Opened::Ready,
        (None, false) => Opened::New,
    })
}

/// Reads from every table, so that a database without one is noticed.
///
/// # Errors
/// Those of the database.
pub(crate) fn touch(sql: &mut dyn Sql) -> Result<(), Fault> {
    let names = TABLES.iter().filter_map(|table| table.strip_prefix("CREATE TABLE IF NOT EXISTS "));
    for name in names.filter_map(|rest| rest.split(' ').next()) {
        sql.rows(&format!("SELECT 1 FROM {name} LIMIT 1"), &[])?;
    }
    Ok(())
}
