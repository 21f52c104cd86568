//! Uploaded files: stored once by their digest, in chunks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use engine::request::ExpertSkew;
use engine::request::value::expert_skew;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::store::Store;
use crate::store::sql::{Cell, Row, Sql};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 1 << 20;
/// Fields of a request that name one file.
pub(crate) const FILES: [&str; 9] = [
    "model",
    "cluster",
    "profile",
    "constraints",
    "costs",
    "routing_trace",
    "interference",
    "replace",
    "requests",
];
/// The field of a request that names a file unless it states a law.
pub(crate) const HISTOGRAM: &str = "expert_skew";

/// Whether [`HISTOGRAM`] is a file, which is never one of the service's own.
pub(crate) fn names_file(given: &Value) -> bool {
    match given {
        Value::Null => false,
        Value::String(text) => matches!(expert_skew(text), Ok(ExpertSkew::File(_))),
        _ => true,
    }
}

/// Longest name of a file, in bytes.
const LONGEST_NAME: usize = 200;
/// How long an upload that nobody continues is kept, in milliseconds.
const ABANDONED_MS: i64 = 86_400_000;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    Cluster,
    Profile,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Model, Self::Cluster, Self::Profile];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Cluster => "cluster",
            Self::Profile => "profile",
        }
    }
}

/// A file that is stored.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) digest: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) bytes: i64,
    pub(crate) summary: Value,
    pub(crate) created_ms: i64,
    /// Under which its chunks lie.
    pub(crate) holder: String,
    /// Who uploaded it under this name.
    pub(crate) owner: String,
}

const FOUND: &str = "SELECT c.digest, n.kind, n.name, c.bytes, n.summary, n.created_ms, c.holder, n.owner \
    FROM names n JOIN contents c ON c.digest = n.digest";

impl Content {
    fn of(mut row: Row) -> Self {
        Self {
            digest: row.text(),
            kind: row.text(),
            name: row.text(),
            bytes: row.int(),
            summary: serde_json::from_str(&row.text()).unwrap_or_default(),
            created_ms: row.int(),
            holder: row.text(),
            owner: row.text(),
        }
    }

    pub(crate) fn document(&self) -> Value {
        json!({
            "digest": self.digest,
            "kind": self.kind,
            "name": self.name,
            "bytes": self.bytes,
            "summary": self.summary,
            "created_ms": self.created_ms,
        })
    }
}

/// A name under which a file can lie in a folder.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    // What stands for bytes that are no UTF-8 is no name.
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '#' | '\u{fffd}');
    let is_sound = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with(['.', '-'])
        && name.chars().all(is_plain);
    if is_sound {
        return Ok(());
    }
    let title = "a file's name has 1 to 200 bytes without `/`, `\\`, `#` and control characters, \
        and starts with neither `.` nor `-`";
    Err(Problem::unprocessable("bad-name", title).hint("name it as on your disk: ?name=gpt2.onnx"))
}

/// The file of a digest, or the latest of a name: one of the kind if there is any, and of those one
/// that the caller uploaded. A name that is the caller's own means no file of others.
///
/// # Errors
/// `ambiguous-name` where only others have the name, for different files; those of the database.
pub(crate) fn find(
    sql: &mut dyn Sql,
    kind: Option<Kind>,
    reference: &str,
    caller: &str,
) -> Result<Option<Content>, Problem> {
    let is_digest = reference.starts_with("sha256:");
    let place = if is_digest { "n.digest" } else { "n.name" };
    let statement = format!(
        "{FOUND} WHERE {place} = $1 ORDER BY CASE WHEN n.kind = $2 THEN 0 ELSE 1 END, \
         CASE WHEN n.owner = $3 THEN 0 ELSE 1 END, n.created_ms DESC, n.name LIMIT 1"
    );
    let values = [reference.into(), kind.map_or("", Kind::name).into(), caller.into()];
    let found = sql.row(&statement, &values)?.map(Content::of);
    if let Some(foreign) = found.as_ref().filter(|found| !is_digest && found.owner != caller) {
        let statement = "SELECT DISTINCT digest FROM names WHERE name = $1 AND kind = $2 \
            ORDER BY digest LIMIT 8";
        let rows = sql.rows(statement, &[reference.into(), foreign.kind.as_str().into()])?;
        if rows.len() > 1 {
            let digests: Vec<String> = rows.into_iter().map(|mut row| row.text()).collect();
            let title = format!("`{reference}` names different files of other callers");
            return Err(Problem::new(StatusCode::CONFLICT, "ambiguous-name", title)
                .fact("digests", digests)
                .hint("name the file by its digest, or upload it yourself"));
        }
    }
    Ok(found)
}

/// The same of one kind alone.
pub(crate) fn find_of(
    sql: &mut dyn Sql,
    kind: Kind,
    reference: &str,
    caller: &str,
) -> Result<Option<Content>, Problem> {
    Ok(find(sql, Some(kind), reference, caller)?.filter(|found| found.kind == kind.name()))
}

/// Files of a kind after one, in the order of digests and names.
pub(crate) fn list(
    sql: &mut dyn Sql,
    kind: Kind,
    (digest, name): (&str, &str),
    limit: i64,
) -> Result<Vec<Content>, Problem> {
    let statement = format!(
        "{FOUND} WHERE n.kind = $1 AND (n.digest > $2 OR (n.digest = $2 AND n.name > $3)) \
         AND NOT EXISTS (SELECT 1 FROM names o WHERE o.kind = n.kind AND o.digest = n.digest \
         AND o.name = n.name AND o.owner < n.owner) ORDER BY n.digest, n.name LIMIT $4"
    );
    let values = [kind.name().into(), digest.into(), name.into(), limit.into()];
    Ok(sql.rows(&statement, &values)?.into_iter().map(Content::of).collect())
}

/// A file on its way in: chunks lie under a holder until their digest is known.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) holder: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) bytes: i64,
    pub(crate) digest: String,
    pub(crate) owner: String,
    pub(crate) summary: Value,
}

/// Appends a chunk.
pub(crate) fn append(sql: &mut dyn Sql, holder: &str, n: i64, bytes: &[u8]) -> Result<(), Problem> {
    let statement = "INSERT INTO chunks (holder, n, bytes) VALUES ($1, $2, $3)";
    sql.run(statement, &[holder.into(), n.into(), bytes.into()])?;
    Ok(())
}

/// Appends a chunk of a file that comes in as a whole. With the first it is announced, so that no
/// other process takes its chunks for left over.
pub(crate) fn receive(
    sql: &mut dyn Sql,
    incoming: &Incoming,
    n: i64,
    bytes: &[u8],
) -> Result<(), Problem> {
    if n == 0 {
        let statement = "INSERT INTO uploads (id, kind, name, bytes, held, owner, touched_ms) \
            VALUES ($1, $2, $3, 0, 0, $4, $5)";
        let values: [Cell; 5] = [
            incoming.holder.as_str().into(),
            incoming.kind.name().into(),
            incoming.name.as_str().into(),
            incoming.owner.as_str().into(),
            sql.now_ms().into(),
        ];
        sql.run(statement, &values)?;
    }
    append(sql, &incoming.holder, n, bytes)
}

/// Forgets what came in, unless it has become a file.
pub(crate) fn drop_chunks(sql: &mut dyn Sql, holder: &str) -> Result<(), Problem> {
    let orphans = "DELETE FROM chunks WHERE holder = $1 \
        AND holder NOT IN (SELECT holder FROM contents)";
    sql.run(orphans, &[holder.into()])?;
    sql.run("DELETE FROM uploads WHERE id = $1", &[holder.into()])?;
    Ok(())
}

/// Makes what came in a file; whether it is new as one of its kind. Bytes that are there already
/// keep their chunks.
pub(crate) fn keep(sql: &mut dyn Sql, incoming: &Incoming) -> Result<bool, Problem> {
    // Nobody forgets the file meanwhile.
    sql.lock_order()?;
    let digest = incoming.digest.as_str();
    let stored = "INSERT INTO contents (digest, bytes, holder) VALUES ($1, $2, $3) \
        ON CONFLICT (digest) DO NOTHING";
    let values = [digest.into(), incoming.bytes.into(), incoming.holder.as_str().into()];
    if sql.run(stored, &values)? > 0 {
        sql.run("DELETE FROM uploads WHERE id = $1", &[incoming.holder.as_str().into()])?;
    } else {
        drop_chunks(sql, &incoming.holder)?;
    }
    let is_new = find_of(sql, incoming.kind, digest, "")?.is_none();
    let named = "INSERT INTO names (kind, name, digest, summary, owner, created_ms) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, digest, name, owner) \
        DO UPDATE SET created_ms = excluded.created_ms";
    let values: [Cell; 6] = [
        incoming.kind.name().into(),
        incoming.name.as_str().into(),
        digest.into(),
        incoming.summary.to_string().into(),
        incoming.owner.as_str().into(),
        sql.now_ms().into(),
    ];
    sql.run(named, &values)?;
    Ok(is_new)
}

/// Forgets the names that an owner (`None` = anybody) gave a file of a kind, and the file once it
/// has none; whether there was one.
pub(crate) fn delete(
    sql: &mut dyn Sql,
    (kind, digest): (Kind, &str),
    owner: Option<&str>,
) -> Result<bool, Problem> {
    sql.lock_order()?;
    let in_use =
        "SELECT id FROM plans WHERE state IN ('queued', 'running') AND files LIKE $1 LIMIT 1";
    if let Some(mut row) = sql.row(in_use, &[format!("%{digest}%").into()])? {
        let title = format!("plan `{}` needs the file", row.text());
        return Err(Problem::new(StatusCode::CONFLICT, "in-use", title)
            .hint("cancel the plan, or wait for its end"));
    }
    let names = "DELETE FROM names WHERE kind = $1 AND digest = $2 AND ($3 = '' OR owner = $3)";
    let values = [kind.name().into(), digest.into(), owner.unwrap_or("").into()];
    let n = sql.run(names, &values)?;
    let left = sql.row("SELECT 1 FROM names WHERE digest = $1", &[digest.into()])?;
    if n > 0 && left.is_none() {
        let holder = "DELETE FROM contents WHERE digest = $1 RETURNING holder";
        if let Some(mut row) = sql.row(holder, &[digest.into()])? {
            drop_chunks(sql, &row.text())?;
        }
    }
    Ok(n > 0)
}

/// Forgets uploads that nobody continues. Where this process is the only one, nobody continues what
/// came in as a whole, and chunks that belong to nothing are left over.
pub(crate) fn sweep(sql: &mut dyn Sql, is_alone: bool) -> Result<(), Problem> {
    let old = "SELECT id FROM uploads WHERE touched_ms < $1 OR ($2 = 1 AND id LIKE 'in_%')";
    let values = [(sql.now_ms() - ABANDONED_MS).into(), i64::from(is_alone).into()];
    for mut row in sql.rows(old, &values)? {
        drop_chunks(sql, &row.text())?;
    }
    if is_alone {
        let orphans = "DELETE FROM chunks WHERE holder NOT IN (SELECT holder FROM contents) \
            AND holder NOT IN (SELECT id FROM uploads)";
        sql.run(orphans, &[])?;
    }
    Ok(())
}

/// Feeds all bytes of a holder's chunks to `take`, one chunk at a time.
pub(crate) fn each_chunk(
    store: &Store,
    holder: &str,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for n in 0.. {
        let statement = "SELECT bytes FROM chunks WHERE holder = $1 AND n = $2";
        let row = store.read_here(|sql| Ok(sql.row(statement, &[holder.into(), n.into()])?))?;
        let Some(mut row) = row else { break };
        take(&row.bytes())?;
    }
    Ok(())
}

/// The digest of a holder's chunks.
pub(crate) fn digest(store: &Store, holder: &str) -> Result<String, Problem> {
    let mut hash = Sha256::new();
    each_chunk(store, holder, &mut |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    Ok(written(&hash.finalize()))
}

/// A digest as it is written: `sha256:` and 64 digits.
pub(crate) fn written(hash: &[u8]) -> String {
    format!("sha256:{}", crate::access::hexadecimal(hash))
}

/// Files as the processes that plan read them: each stored file once, in a folder of this process.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    pub(crate) fn new(folder: &Path) -> std::io::Result<Self> {
        let folder = folder.join("contents");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The file of a digest.
    pub(crate) fn file(&self, store: &Store, digest: &str) -> Result<PathBuf, Problem> {
        let content = store.read_here(|sql| find(sql, None, digest, ""))?;
        let content = content.ok_or_else(|| Problem::missing("file", digest))?;
        let path = self.folder.join(digest.replace(':', "-"));
        if path.exists() {
            return Ok(path);
        }
        let part = self.folder.join(format!("part-{}", crate::access::id("")));
        let made = write(store, &content.holder, &part)
            .and_then(|()| fs::rename(&part, &path).map_err(unwritten));
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made.map(|()| path)
    }
}

/// Writes a holder's chunks as a file.
pub(crate) fn write(store: &Store, holder: &str, path: &Path) -> Result<(), Problem> {
    let mut file = File::create(path).map_err(unwritten)?;
    each_chunk(store, holder, &mut |bytes| file.write_all(bytes).map_err(unwritten))
}

/// A file of this process that can't be written.
pub(crate) fn unwritten(error: std::io::Error) -> Problem {
    use crate::fault::Fault;
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Fault::Full.into(),
        _ => Fault::Other(error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(holder: &str, kind: Kind, name: &str) -> Incoming {
        Incoming {
            holder: holder.to_owned(),
            kind,
            name: name.to_owned(),
            bytes: 3,
            digest: "sha256:1".to_owned(),
            owner: "a".to_owned(),
            summary: Value::Null,
        }
    }

    fn n_chunks(sql: &mut dyn Sql) -> i64 {
        sql.row("SELECT COUNT(*) FROM chunks", &[]).unwrap().unwrap().int()
    }

    #[test]
    fn a_file_has_its_chunks_once_under_all_its_names() {
        let mut sql = crate::store::in_memory();
        let sql = &mut *sql;
        let kinds =
            [("h1", Kind::Model, "a"), ("h2", Kind::Model, "b"), ("h3", Kind::Cluster, "a")];
        let is_new = kinds.map(|(holder, kind, name)| {
            append(sql, holder, 0, b"abc").unwrap();
            keep(sql, &incoming(holder, kind, name)).unwrap()
        });
        assert_eq!(is_new, [true, false, true]);
        append(sql, "h4", 0, b"abc").unwrap();
        assert!(!keep(sql, &incoming("h4", Kind::Model, "a")).unwrap());
        assert_eq!(n_chunks(sql), 1);
        for name in ["a", "b"] {
            assert_eq!(find(sql, None, name, "a").unwrap().unwrap().holder, "h1");
        }
        assert_eq!(list(sql, Kind::Model, ("", ""), 1).unwrap()[0].name, "a");
        assert_eq!(list(sql, Kind::Model, ("sha256:1", "a"), 9).unwrap()[0].name, "b");
        assert!(!delete(sql, (Kind::Model, "sha256:1"), Some("b")).unwrap());
        assert!(delete(sql, (Kind::Model, "sha256:1"), Some("a")).unwrap());
        assert_eq!(n_chunks(sql), 1);
        assert!(delete(sql, (Kind::Cluster, "sha256:1"), None).unwrap());
        assert_eq!(n_chunks(sql), 0);
    }

    /// A client may leave while its file is being kept.
    #[test]
    fn what_has_become_a_file_is_not_dropped_with_its_upload() {
        let mut sql = crate::store::in_memory();
        let sql = &mut *sql;
        append(sql, "h1", 0, b"abc").unwrap();
        keep(sql, &incoming("h1", Kind::Model, "a")).unwrap();
        drop_chunks(sql, "h1").unwrap();
        assert_eq!(n_chunks(sql), 1);
    }
}
