//! Plans that are wanted, being made and made: every state, and every step from one to the next.
//!
//! `queued -> running -> done | infeasible | cancelled | failed`. A worker holds a running plan by a
//! lease that it renews; a plan whose lease ran out is queued again, at most [`ATTEMPTS`] times in
//! all. Only the worker that holds it can end it, so that an end is recorded once.

use std::collections::HashMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::durations;
use crate::problem::Problem;
use crate::store::sql::{Cell, Row, Sql};
use crate::untold;

/// How often a plan is started at most.
pub(crate) const ATTEMPTS: i64 = 3;
/// Highest priority, from 0.
pub(crate) const HIGHEST: i64 = 9;
/// How long a worker holds a plan without a word, in milliseconds.
pub(crate) const LEASE_MS: i64 = 30_000;

/// Name of the file of the best plan so far, while there is no last one.
pub(crate) const INCUMBENT: &str = "incumbent";
/// How long an idempotency key is known, in milliseconds.
const KEY_MS: i64 = 86_400_000;

/// Events that are read at once.
pub(crate) const EVENTS: usize = 1000;

/// States that a plan does not leave.
pub(crate) const ENDED: [&str; 4] = ["done", "infeasible", "cancelled", "failed"];

/// A plan as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) place: i64,
    pub(crate) request: Value,
    pub(crate) files: Value,
    pub(crate) rank: i64,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) revision: i64,
    pub(crate) cancel: bool,
    pub(crate) phase: String,
    pub(crate) progress: Value,
    pub(crate) exit_code: Option<i64>,
    pub(crate) error: Option<Value>,
    pub(crate) created_ms: i64,
    pub(crate) started_ms: Option<i64>,
    pub(crate) finished_ms: Option<i64>,
    pub(crate) updated_ms: i64,
}

const COLUMNS: &str = "id, place, request, files, rank, state, attempts, revision, cancel, phase, \
    progress, exit_code, error, created_ms, started_ms, finished_ms, updated_ms";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

impl Plan {
    fn of(mut row: Row) -> Self {
        Self {
            id: row.text(),
            place: row.int(),
            request: json(&row.text()),
            files: json(&row.text()),
            rank: row.int(),
            state: row.text(),
            attempts: row.int(),
            revision: row.int(),
            cancel: row.int() != 0,
            phase: row.text(),
            progress: json(&row.text()),
            exit_code: row.maybe_int(),
            error: row.maybe_text().map(|text| json(&text)),
            created_ms: row.int(),
            started_ms: row.maybe_int(),
            finished_ms: row.maybe_int(),
            updated_ms: row.int(),
        }
    }

    /// Whether it stays as it is.
    pub(crate) fn is_ended(&self) -> bool {
        ENDED.contains(&self.state.as_str())
    }
}

/// A plan that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    /// Digest of all that its answer depends on.
    pub(crate) content: String,
    pub(crate) request: Value,
    pub(crate) files: Value,
    pub(crate) owner: String,
    pub(crate) priority: i64,
    /// Name of the key that the client gave, and the digest of the body that it gave with it.
    pub(crate) key: Option<(String, String)>,
    /// Whether a plan of the same content will do.
    pub(crate) may_be_old: bool,
    /// Plans of the owner that may wait or run at once.
    pub(crate) most: i64,
}

/// The plan that answers a wish, and whether it was there.
pub(crate) fn submit(sql: &mut dyn Sql, wanted: &Wanted) -> Result<(Plan, bool), Problem> {
    // Of two that ask for the same at once the later one sees the earlier.
    sql.lock_order()?;
    if let Some((name, body)) = &wanted.key {
        let key = [wanted.owner.as_str().into(), name.as_str().into()];
        let statement = "SELECT body, plan FROM keys WHERE owner = $1 AND name = $2";
        if let Some(mut row) = sql.row(statement, &key)? {
            if row.text() != *body {
                let title = "the idempotency key was given with another body";
                return Err(Problem::unprocessable("key-reused", title)
                    .hint("give each request a key of its own"));
            }
            let id = row.text();
            hurry(sql, &id, HIGHEST - wanted.priority)?;
            return Ok((plan(sql, &id)?, true));
        }
    }
    let known = match wanted.may_be_old {
        true => answering(sql, &wanted.content)?,
        false => None,
    };
    let (id, is_old) = match known {
        Some(id) => {
            hurry(sql, &id, HIGHEST - wanted.priority)?;
            (id, true)
        }
        None => {
            insert(sql, wanted)?;
            (wanted.id.clone(), false)
        }
    };
    if let Some((name, body)) = &wanted.key {
        let values: [Cell; 5] = [
            wanted.owner.as_str().into(),
            name.as_str().into(),
            body.as_str().into(),
            id.as_str().into(),
            sql.now_ms().into(),
        ];
        let statement = "INSERT INTO keys (owner, name, body, plan, created_ms) \
            VALUES ($1, $2, $3, $4, $5)";
        sql.run(statement, &values)?;
    }
    Ok((plan(sql, &id)?, is_old))
}

/// The newest plan that answers, or will answer, what has this content.
pub(crate) fn answering(sql: &mut dyn Sql, content: &str) -> Result<Option<String>, Problem> {
    let statement = "SELECT id FROM plans WHERE content = $1 AND state IN ('queued', 'running', \
        'done', 'infeasible') AND cancel = 0 ORDER BY place DESC LIMIT 1";
    Ok(sql.row(statement, &[content.into()])?.map(|mut row| row.text()))
}

/// A plan that was made elsewhere: it ends as it comes. The id of the one that there is then.
pub(crate) fn bring(sql: &mut dyn Sql, wanted: &Wanted, end: &End) -> Result<String, Problem> {
    const HOLDER: &str = "brought";
    let (plan, is_old) = submit(sql, wanted)?;
    if !is_old {
        let statement = "UPDATE plans SET state = 'running', worker = $1 WHERE id = $2";
        sql.run(statement, &[HOLDER.into(), plan.id.as_str().into()])?;
        finish(sql, (&plan.id, HOLDER), end)?;
    }
    Ok(plan.id)
}

/// A plan that waits comes as early as whoever asks for it the most urgently wants it.
fn hurry(sql: &mut dyn Sql, id: &str, rank: i64) -> Result<(), Problem> {
    let statement = "UPDATE plans SET rank = $1, revision = revision + 1, updated_ms = $2 \
        WHERE id = $3 AND state = 'queued' AND rank > $1";
    let now = sql.now_ms();
    sql.run(statement, &[rank.into(), now.into(), id.into()])?;
    Ok(())
}

/// How many plans of an owner wait or run.
pub(crate) fn unended(sql: &mut dyn Sql, owner: &str) -> Result<i64, Problem> {
    let count = "SELECT COUNT(*) FROM plans WHERE owner = $1 AND state IN ('queued', 'running')";
    Ok(sql.row(count, &[owner.into()])?.map_or(0, |mut row| row.int()))
}

fn insert(sql: &mut dyn Sql, wanted: &Wanted) -> Result<(), Problem> {
    let n = unended(sql, &wanted.owner)?;
    if n >= wanted.most {
        let title = "as many plans wait or run as this token may have at once";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-jobs", title)
            .fact("jobs", n)
            .fact("limit", wanted.most)
            .retry(5));
    }
    let now = sql.now_ms();
    let values: [Cell; 7] = [
        wanted.id.as_str().into(),
        wanted.content.as_str().into(),
        wanted.request.to_string().into(),
        wanted.files.to_string().into(),
        wanted.owner.as_str().into(),
        (HIGHEST - wanted.priority).into(),
        now.into(),
    ];
    let statement = "INSERT INTO plans (id, place, content, request, files, owner, rank, state, \
        attempts, revision, worker, lease_ms, cancel, phase, progress, created_ms, updated_ms) \
        VALUES ($1, (SELECT COALESCE(MAX(place), 0) + 1 FROM plans), $2, $3, $4, $5, $6, \
        'queued', 0, 0, '', 0, 0, 'queued', '{}', $7, $7)";
    sql.run(statement, &values)?;
    Ok(())
}

/// The plan of this id.
pub(crate) fn plan(sql: &mut dyn Sql, id: &str) -> Result<Plan, Problem> {
    let statement = format!("SELECT {COLUMNS} FROM plans WHERE id = $1");
    let row = sql.row(&statement, &[id.into()])?;
    row.map(Plan::of).ok_or_else(|| Problem::missing("plan", id))
}

/// Plans of a state (empty = any) that were asked for before a place, the newest first.
pub(crate) fn list(
    sql: &mut dyn Sql,
    state: &str,
    before: i64,
    limit: i64,
) -> Result<Vec<Plan>, Problem> {
    let statement = format!(
        "SELECT {COLUMNS} FROM plans WHERE ($1 = '' OR state = $1) AND place < $2 \
         ORDER BY place DESC LIMIT $3"
    );
    let rows = sql.rows(&statement, &[state.into(), before.into(), limit.into()])?;
    Ok(rows.into_iter().map(Plan::of).collect())
}

/// How many plans come before this one; `None` once it is started.
pub(crate) fn position(sql: &mut dyn Sql, plan: &Plan) -> Result<Option<i64>, Problem> {
    if plan.state != "queued" {
        return Ok(None);
    }
    let statement = "SELECT COUNT(*) FROM plans WHERE state = 'queued' AND \
        (rank < $1 OR (rank = $1 AND place < $2))";
    let row = sql.row(statement, &[plan.rank.into(), plan.place.into()])?;
    Ok(Some(row.map_or(0, |mut row| row.int())))
}

/// The same of all plans that wait within a range of places: counted once, not for each.
pub(crate) fn positions(
    sql: &mut dyn Sql,
    (first, last): (i64, i64),
) -> Result<HashMap<String, i64>, Problem> {
    let statement = "SELECT id, n FROM (SELECT id, place, \
        ROW_NUMBER() OVER (ORDER BY rank, place) - 1 AS n FROM plans WHERE state = 'queued') \
        AS waiting WHERE place BETWEEN $1 AND $2";
    let rows = sql.rows(statement, &[first.into(), last.into()])?;
    Ok(rows.into_iter().map(|mut row| (row.text(), row.int())).collect())
}

/// The next plan for a worker, which holds it from now on.
pub(crate) fn claim(sql: &mut dyn Sql, worker: &str) -> Result<Option<Plan>, Problem> {
    let statement = format!(
        "UPDATE plans SET state = 'running', phase = 'starting', worker = $1, lease_ms = $2, \
         attempts = attempts + 1, revision = revision + 1, started_ms = COALESCE(started_ms, $3), \
         updated_ms = $3 WHERE id = (SELECT id FROM plans WHERE state = 'queued' \
         ORDER BY rank, place LIMIT 1{}) RETURNING {COLUMNS}",
        sql.skip_locked()
    );
    let now = sql.now_ms();
    let row = sql.row(&statement, &[worker.into(), (now + LEASE_MS).into(), now.into()])?;
    let Some(plan) = row.map(Plan::of) else { return Ok(None) };
    if plan.started_ms == Some(now) {
        durations::add(sql, durations::WAIT, now - plan.created_ms)?;
    }
    say(sql, &plan.id, plan.revision, "state", &json!({ "state": "running" }))?;
    Ok(Some(plan))
}

fn say(
    sql: &mut dyn Sql,
    id: &str,
    revision: i64,
    kind: &str,
    body: &Value,
) -> Result<(), Problem> {
    let values = [id.into(), revision.into(), kind.into(), body.to_string().into()];
    let statement = "INSERT INTO events (plan, revision, kind, body) VALUES ($1, $2, $3, $4)";
    sql.run(statement, &values)?;
    if kind == "end" {
        untold::add(sql, id)?;
    }
    Ok(())
}

/// What a worker heard of its plan since it last wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// Kind and body, in order.
    pub(crate) events: Vec<(String, Value)>,
    pub(crate) phase: String,
    pub(crate) progress: Value,
    /// The best plan so far, if it is new.
    pub(crate) incumbent: Option<Vec<u8>>,
}

/// Whether a worker still holds a plan, and whether it is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Held,
    Cancelled,
    Lost,
}

/// Writes what was heard, and renews the lease.
pub(crate) fn note(
    sql: &mut dyn Sql,
    (id, worker): (&str, &str),
    news: &News,
) -> Result<Hold, Problem> {
    let n = i64::try_from(news.events.len()).unwrap_or(0);
    let now = sql.now_ms();
    let statement = "UPDATE plans SET revision = revision + $1, phase = $2, progress = $3, \
        lease_ms = $4, updated_ms = $5 WHERE id = $6 AND worker = $7 AND state = 'running' \
        RETURNING revision, cancel";
    let values: [Cell; 7] = [
        n.into(),
        news.phase.as_str().into(),
        news.progress.to_string().into(),
        (now + LEASE_MS).into(),
        now.into(),
        id.into(),
        worker.into(),
    ];
    let Some(mut row) = sql.row(statement, &values)? else { return Ok(Hold::Lost) };
    let first = row.int() - n + 1;
    for ((kind, body), revision) in news.events.iter().zip(first..) {
        say(sql, id, revision, kind, body)?;
    }
    if let Some(bytes) = &news.incumbent {
        keep(sql, id, INCUMBENT, bytes)?;
    }
    Ok(if row.int() != 0 { Hold::Cancelled } else { Hold::Held })
}

/// How a plan ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) state: &'static str,
    pub(crate) exit_code: Option<i64>,
    pub(crate) error: Option<Value>,
    /// What is known of the plan at last; `None` = what was written before.
    pub(crate) progress: Option<Value>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) cpu_ms: i64,
    /// Whether the service cut the search off: then it is no answer to others.
    pub(crate) is_cut: bool,
}

impl End {
    /// One of which nothing is known but the state.
    pub(crate) const fn bare(state: &'static str) -> Self {
        Self {
            state,
            exit_code: None,
            error: None,
            progress: None,
            files: Vec::new(),
            cpu_ms: 0,
            is_cut: false,
        }
    }
}

/// Records the end, if the worker still holds the plan; whether it did.
pub(crate) fn finish(
    sql: &mut dyn Sql,
    (id, worker): (&str, &str),
    end: &End,
) -> Result<bool, Problem> {
    let statement = "UPDATE plans SET state = $1, phase = $1, exit_code = $2, error = $3, \
        finished_ms = $4, updated_ms = $4, worker = '', revision = revision + 1, \
        progress = COALESCE($5, progress) \
        WHERE id = $6 AND worker = $7 AND state = 'running' RETURNING revision, owner, \
        created_ms, started_ms";
    let values: [Cell; 7] = [
        end.state.into(),
        end.exit_code.into(),
        end.error.as_ref().map(Value::to_string).into(),
        sql.now_ms().into(),
        end.progress.as_ref().map(Value::to_string).into(),
        id.into(),
        worker.into(),
    ];
    let Some(mut row) = sql.row(statement, &values)? else { return Ok(false) };
    let (revision, owner, created_ms, started) =
        (row.int(), row.text(), row.int(), row.maybe_int());
    // Of plans that no worker started nothing was waited for.
    if ["done", "infeasible"].contains(&end.state) && started.is_some() {
        let now = sql.now_ms();
        durations::add(sql, durations::LATENCY, now - created_ms)?;
    }
    for (name, bytes) in &end.files {
        keep(sql, id, name, bytes)?;
    }
    if end.files.iter().any(|(name, _)| name == "plan") {
        let statement = "DELETE FROM artefacts WHERE plan = $1 AND name = $2";
        sql.run(statement, &[id.into(), INCUMBENT.into()])?;
    }
    if end.is_cut {
        sql.run("UPDATE plans SET content = '' WHERE id = $1", &[id.into()])?;
    }
    let event = json!({ "state": end.state, "exit_code": end.exit_code });
    say(sql, id, revision, "end", &event)?;
    let used = "INSERT INTO used (owner, hour, cpu_ms) VALUES ($1, $2, $3) \
        ON CONFLICT (owner, hour) DO UPDATE SET cpu_ms = used.cpu_ms + excluded.cpu_ms";
    sql.run(used, &[owner.into(), (sql.now_ms() / 3_600_000).into(), end.cpu_ms.into()])?;
    Ok(true)
}

/// Keeps a file of a plan.
pub(crate) fn keep(sql: &mut dyn Sql, id: &str, name: &str, bytes: &[u8]) -> Result<(), Problem> {
    let statement = "INSERT INTO artefacts (plan, name, bytes) VALUES ($1, $2, $3) \
        ON CONFLICT (plan, name) DO UPDATE SET bytes = excluded.bytes";
    sql.run(statement, &[id.into(), name.into(), bytes.into()])?;
    Ok(())
}

/// A file of a plan.
pub(crate) fn artefact(
    sql: &mut dyn Sql,
    id: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, Problem> {
    let statement = "SELECT bytes FROM artefacts WHERE plan = $1 AND name = $2";
    let row = sql.row(statement, &[id.into(), name.into()])?;
    Ok(row.map(|mut row| row.bytes()))
}

/// Names of the files of a plan.
pub(crate) fn artefacts(sql: &mut dyn Sql, id: &str) -> Result<Vec<String>, Problem> {
    let statement = "SELECT name FROM artefacts WHERE plan = $1 ORDER BY name";
    Ok(sql.rows(statement, &[id.into()])?.into_iter().map(|mut row| row.text()).collect())
}

/// Events of a plan after a revision.
pub(crate) fn events(
    sql: &mut dyn Sql,
    id: &str,
    after: i64,
) -> Result<Vec<(i64, String, String)>, Problem> {
    let statement = format!(
        "SELECT revision, kind, body FROM events WHERE plan = $1 AND revision > $2 \
         ORDER BY revision LIMIT {EVENTS}"
    );
    let rows = sql.rows(&statement, &[id.into(), after.into()])?;
    Ok(rows.into_iter().map(|mut row| (row.int(), row.text(), row.text())).collect())
}

/// Asks a plan to end: one that waits is cancelled at once, one that runs by its worker.
pub(crate) fn cancel(sql: &mut dyn Sql, id: &str) -> Result<Plan, Problem> {
    let now = sql.now_ms();
    let waits = "UPDATE plans SET state = 'cancelled', phase = 'cancelled', cancel = 1, \
        finished_ms = $1, updated_ms = $1, revision = revision + 1 \
        WHERE id = $2 AND state = 'queued' RETURNING revision";
    if let Some(mut row) = sql.row(waits, &[now.into(), id.into()])? {
        say(sql, id, row.int(), "end", &json!({ "state": "cancelled" }))?;
    }
    let runs = "UPDATE plans SET cancel = 1, updated_ms = $1 WHERE id = $2 AND state = 'running'";
    sql.run(runs, &[now.into(), id.into()])?;
    plan(sql, id)
}

/// Forgets a plan and all of it; one that runs is refused.
pub(crate) fn delete(sql: &mut dyn Sql, id: &str) -> Result<(), Problem> {
    let found = plan(sql, id)?;
    if found.state == "running" {
        let title = format!("plan `{id}` runs");
        return Err(Problem::new(StatusCode::CONFLICT, "running", title)
            .hint("add ?cancel=1, or cancel it first"));
    }
    for table in ["events", "artefacts", "keys", "measurements", "untold"] {
        sql.run(&format!("DELETE FROM {table} WHERE plan = $1"), &[id.into()])?;
    }
    sql.run("DELETE FROM plans WHERE id = $1", &[id.into()])?;
    Ok(())
}

/// Forgets plans that ended before a time, then the oldest ones until the files of all take no more
/// than `most` bytes; how many.
pub(crate) fn retire(sql: &mut dyn Sql, before_ms: i64, most: Option<i64>) -> Result<u64, Problem> {
    const AT_ONCE: i64 = 100;
    let ended = "state IN ('done', 'infeasible', 'cancelled', 'failed')";
    let old = format!("SELECT id FROM plans WHERE {ended} AND finished_ms < $1 LIMIT $2");
    let mut rows = sql.rows(&old, &[before_ms.into(), AT_ONCE.into()])?;
    if let (true, Some(most)) = (rows.is_empty(), most) {
        let total = "SELECT CAST(COALESCE(SUM(LENGTH(bytes)), 0) AS BIGINT) FROM artefacts";
        if sql.row(total, &[])?.map_or(0, |mut row| row.int()) > most {
            let oldest = format!("SELECT id FROM plans WHERE {ended} ORDER BY place LIMIT $1");
            rows = sql.rows(&oldest, &[(AT_ONCE / 10).into()])?;
        }
    }
    let n = rows.len() as u64;
    for mut row in rows {
        delete(sql, &row.text())?;
    }
    Ok(n)
}

/// Gives a running plan back to the queue, because its worker ends; the attempt does not count.
pub(crate) fn give_back(sql: &mut dyn Sql, (id, worker): (&str, &str)) -> Result<(), Problem> {
    let statement = "UPDATE plans SET state = 'queued', phase = 'queued', worker = '', \
        attempts = attempts - 1, revision = revision + 1, updated_ms = $1 \
        WHERE id = $2 AND worker = $3 AND state = 'running' RETURNING revision";
    if let Some(mut row) = sql.row(statement, &[sql.now_ms().into(), id.into(), worker.into()])? {
        say(sql, id, row.int(), "state", &json!({ "state": "queued" }))?;
    }
    Ok(())
}

/// Queues plans again that nobody holds any more; those that were started too often fail. Plans of
/// workers whose name starts with `ended` count as held by nobody, whatever their lease; they ended
/// with their server, so that the attempt says nothing of the plan and does not count.
pub(crate) fn recover(sql: &mut dyn Sql, ended: Option<&str>) -> Result<usize, Problem> {
    let now = sql.now_ms();
    sql.run("DELETE FROM keys WHERE created_ms < $1", &[(now - KEY_MS).into()])?;
    let pattern = ended.map_or_else(String::new, |prefix| format!("{prefix}%"));
    let lost = "SELECT id, attempts, cancel, worker FROM plans WHERE state = 'running' \
        AND (lease_ms < $1 OR worker LIKE $2)";
    let rows = sql.rows(lost, &[now.into(), pattern.into()])?;
    let n = rows.len();
    for mut row in rows {
        let (id, attempts, cancelled, worker) = (row.text(), row.int(), row.int() != 0, row.text());
        let attempts = attempts - i64::from(ended.is_some_and(|prefix| worker.starts_with(prefix)));
        if cancelled || attempts >= ATTEMPTS {
            let end = given_up(cancelled, attempts);
            finish(sql, (&id, &worker), &end)?;
            continue;
        }
        let again = "UPDATE plans SET state = 'queued', phase = 'queued', worker = '', \
            attempts = $4, revision = revision + 1, updated_ms = $1 WHERE id = $2 \
            AND state = 'running' AND worker = $3 RETURNING revision";
        let values = [now.into(), id.as_str().into(), worker.into(), attempts.into()];
        if let Some(mut row) = sql.row(again, &values)? {
            say(sql, &id, row.int(), "state", &json!({ "state": "queued" }))?;
        }
    }
    Ok(n)
}

/// How a plan ends that is not started again.
pub(crate) fn given_up(cancelled: bool, attempts: i64) -> End {
    let error = json!({
        "code": "worker-lost",
        "message": format!("the process that planned was lost {attempts} times"),
        "hints": ["ask for it again; if that fails too, its problem may need more memory"],
    });
    match cancelled {
        true => End::bare("cancelled"),
        false => End { error: Some(error), ..End::bare("failed") },
    }
}
