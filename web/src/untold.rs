//! Plans of whose end the webhook has not been told.

use crate::problem::Problem;
use crate::store::sql::Sql;

/// How long ends are kept to be told of while nobody is there who tells.
const AWAY_MS: i64 = 24 * 3_600_000;
/// How long an end belongs to whoever began to tell of it, in milliseconds.
const HELD_MS: i64 = 30_000;

/// A plan has ended: it is told of where somebody tells, or did within a day.
pub(crate) fn add(sql: &mut dyn Sql, id: &str) -> Result<(), Problem> {
    let untold = "INSERT INTO untold (plan, attempts, due_ms) \
        SELECT CAST($1 AS TEXT), 0, CAST($2 AS BIGINT) \
        WHERE EXISTS (SELECT 1 FROM facts WHERE name = 'webhook' AND value > $3) \
        ON CONFLICT DO NOTHING";
    let now = sql.now_ms();
    let since = moment(now - AWAY_MS);
    sql.run(untold, &[id.into(), now.into(), since.as_str().into()])?;
    Ok(())
}

/// A time as text that sorts as times do.
fn moment(ms: i64) -> String {
    format!("{ms:020}")
}

/// Somebody is there who tells of ends: those of the next day are kept for whoever tells then.
pub(crate) fn announce(sql: &mut dyn Sql) -> Result<(), Problem> {
    let statement = "INSERT INTO facts (name, value) VALUES ('webhook', $1) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let now = moment(sql.now_ms());
    sql.run(statement, &[now.as_str().into()])?;
    Ok(())
}

/// A plan of whose end to tell, and how often that was begun. It is nobody else's for a lease.
pub(crate) fn next(sql: &mut dyn Sql) -> Result<Option<(String, i64)>, Problem> {
    let statement = format!(
        "UPDATE untold SET attempts = attempts + 1, due_ms = $1 WHERE plan = \
         (SELECT plan FROM untold WHERE due_ms <= $2 ORDER BY due_ms LIMIT 1{}) \
         RETURNING plan, attempts",
        sql.skip_locked()
    );
    let now = sql.now_ms();
    let row = sql.row(&statement, &[(now + HELD_MS).into(), now.into()])?;
    Ok(row.map(|mut row| (row.text(), row.int())))
}

/// It is told, or given up, or is to be told again after some time.
pub(crate) fn told(sql: &mut dyn Sql, id: &str, again_ms: Option<i64>) -> Result<(), Problem> {
    match again_ms {
        None => sql.run("DELETE FROM untold WHERE plan = $1", &[id.into()])?,
        Some(rest) => {
            let due = sql.now_ms() + rest;
            sql.run("UPDATE untold SET due_ms = $1 WHERE plan = $2", &[due.into(), id.into()])?
        }
    };
    Ok(())
}
