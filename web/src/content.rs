//! Uploaded files: stored once by their digest, in chunks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::log::now_ms;
use crate::problem::Problem;
use crate::store::Store;
use crate::store::sql::{Cell, Row, Sql};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 1 << 20;
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
    holder: String,
}

const COLUMNS: &str = "digest, kind, name, bytes, summary, created_ms, holder";

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
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '#');
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

/// The file of a digest, or the latest of a name.
pub(crate) fn find(sql: &mut dyn Sql, reference: &str) -> Result<Option<Content>, Problem> {
    let place = if reference.starts_with("sha256:") { "digest" } else { "name" };
    let statement = format!(
        "SELECT {COLUMNS} FROM contents WHERE {place} = $1 ORDER BY created_ms DESC LIMIT 1"
    );
    Ok(sql.row(&statement, &[reference.into()])?.map(Content::of))
}

/// Files of a kind with digests after one, in their order.
pub(crate) fn list(
    sql: &mut dyn Sql,
    kind: Kind,
    after: &str,
    limit: i64,
) -> Result<Vec<Content>, Problem> {
    let statement = format!(
        "SELECT {COLUMNS} FROM contents WHERE kind = $1 AND digest > $2 ORDER BY digest LIMIT $3"
    );
    let rows = sql.rows(&statement, &[kind.name().into(), after.into(), limit.into()])?;
    Ok(rows.into_iter().map(Content::of).collect())
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

/// Forgets what came in.
pub(crate) fn drop_chunks(sql: &mut dyn Sql, holder: &str) -> Result<(), Problem> {
    sql.run("DELETE FROM chunks WHERE holder = $1", &[holder.into()])?;
    sql.run("DELETE FROM uploads WHERE id = $1", &[holder.into()])?;
    Ok(())
}

/// Makes what came in a file; whether it is new. One that is there already keeps its chunks and
/// takes the name.
pub(crate) fn keep(sql: &mut dyn Sql, incoming: &Incoming) -> Result<bool, Problem> {
    let values: [Cell; 8] = [
        incoming.digest.as_str().into(),
        incoming.kind.name().into(),
        incoming.name.as_str().into(),
        incoming.bytes.into(),
        incoming.summary.to_string().into(),
        incoming.owner.as_str().into(),
        incoming.holder.as_str().into(),
        now_ms().into(),
    ];
    let statement = "INSERT INTO contents (digest, kind, name, bytes, summary, owner, holder, \
        created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (digest) DO NOTHING";
    let is_new = sql.run(statement, &values)? > 0;
    if is_new {
        sql.run("DELETE FROM uploads WHERE id = $1", &[incoming.holder.as_str().into()])?;
    } else {
        let renamed = "UPDATE contents SET name = $1, created_ms = $2 WHERE digest = $3";
        let values =
            [incoming.name.as_str().into(), now_ms().into(), incoming.digest.as_str().into()];
        sql.run(renamed, &values)?;
        drop_chunks(sql, &incoming.holder)?;
    }
    Ok(is_new)
}

/// Forgets a file.
pub(crate) fn delete(sql: &mut dyn Sql, digest: &str) -> Result<(), Problem> {
    let content = find(sql, digest)?.ok_or_else(|| Problem::missing("file", digest))?;
    sql.run("DELETE FROM contents WHERE digest = $1", &[digest.into()])?;
    drop_chunks(sql, &content.holder)
}

/// Forgets uploads that nobody continues, and chunks that belong to nothing.
pub(crate) fn sweep(sql: &mut dyn Sql, is_start: bool) -> Result<(), Problem> {
    let old = now_ms() - ABANDONED_MS;
    sql.run("DELETE FROM uploads WHERE touched_ms < $1", &[old.into()])?;
    if is_start {
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
        let content = store.read_here(|sql| find(sql, digest))?;
        let content = content.ok_or_else(|| Problem::missing("file", digest))?;
        self.of(store, &content.holder, &digest.replace(':', "-"))
    }

    /// A holder's chunks as a file of this name.
    pub(crate) fn of(&self, store: &Store, holder: &str, name: &str) -> Result<PathBuf, Problem> {
        let path = self.folder.join(name);
        if path.exists() {
            return Ok(path);
        }
        let part = self.folder.join(format!("part-{}", crate::access::id("")));
        let made = (|| {
            let mut file = File::create(&part).map_err(unwritten)?;
            each_chunk(store, holder, &mut |bytes| file.write_all(bytes).map_err(unwritten))?;
            fs::rename(&part, &path).map_err(unwritten)
        })();
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made.map(|()| path)
    }

    /// Forgets a file.
    pub(crate) fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.folder.join(name));
    }
}

/// A file of this process that can't be written.
pub(crate) fn unwritten(error: std::io::Error) -> Problem {
    use crate::store::fault::Fault;
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Fault::Full.into(),
        _ => Fault::Other(error.to_string()).into(),
    }
}
