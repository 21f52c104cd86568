//! Who may do what: bearer tokens, of which only hashes are stored.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

use crate::log::now_ms;
use crate::problem::Problem;
use crate::store::sql::{Cell, Sql};

/// What a token allows; each allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Upload and plan.
    Plan,
    /// Delete what others made.
    Admin,
}

impl Scope {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Plan, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Plan => "plan",
            Self::Admin => "admin",
        }
    }
}

/// What a token may use at once or in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Plans that wait or run at once.
    pub jobs: i64,
    /// CPU time of plans an hour, in milliseconds.
    pub cpu_ms: i64,
    /// Bytes of all its uploads.
    pub bytes: i64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The token's name, or `anonymous`.
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) quota: Quota,
}

/// Name of a caller without a token, which no token can have.
const ANONYMOUS: &str = "anonymous";
/// Longest name of a token, in bytes.
const LONGEST_NAME: usize = 100;

/// Random bytes as text, after a prefix.
pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}{}", hexadecimal(&random::<12>()))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the system's randomness no id is safe to hand out.
    getrandom::fill(&mut bytes).unwrap_or_else(|error| {
        crate::log::line("error", "no-randomness", &error.to_string().into());
        std::process::abort()
    });
    bytes
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a token is stored. It has 256 random bits, so that a plain hash does not help a guesser.
fn hash(token: &str) -> String {
    hexadecimal(&Sha256::digest(token.as_bytes()))
}

/// A name that logs and quotas can tell from others.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.trim() != name {
        return Err("a token's name has 1 to 100 bytes, without spaces at its ends");
    }
    if name.chars().any(char::is_control) {
        return Err("a token's name has no control characters");
    }
    if name.eq_ignore_ascii_case(ANONYMOUS) {
        return Err("`anonymous` names callers without a token");
    }
    Ok(())
}

/// Makes a token; it is told once and stored nowhere.
pub(crate) fn make(
    sql: &mut dyn Sql,
    name: &str,
    scope: Scope,
    quota: Quota,
) -> Result<String, Problem> {
    let token = format!("mw_{}", hexadecimal(&random::<32>()));
    let values: [Cell; 7] = [
        hash(&token).into(),
        name.into(),
        scope.name().into(),
        quota.jobs.into(),
        quota.cpu_ms.into(),
        quota.bytes.into(),
        now_ms().into(),
    ];
    let statement = "INSERT INTO tokens (hash, name, scope, jobs, cpu_ms, bytes, created_ms) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sql.run(statement, &values)?;
    Ok(token)
}

/// A token, without what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The first digits of its hash.
    pub id: String,
    /// Who uses it.
    pub name: String,
    /// Name of its scope.
    pub scope: String,
    /// Milliseconds from 1970 to when it was made.
    pub created_ms: i64,
    /// What its owner may use.
    pub quota: Quota,
    /// What its owner uses: plans that wait or run, CPU time of this hour, bytes of all uploads.
    pub used: Quota,
}

/// Digits of a hash that name a token.
const ID_DIGITS: usize = 12;

/// All tokens, the oldest first.
pub(crate) fn tokens(sql: &mut dyn Sql) -> Result<Vec<Token>, Problem> {
    let statement = "SELECT hash, name, scope, created_ms, jobs, cpu_ms, bytes FROM tokens \
        ORDER BY created_ms, hash";
    let mut tokens = Vec::new();
    for mut row in sql.rows(statement, &[])? {
        let id = row.text().chars().take(ID_DIGITS).collect();
        let (name, scope, created_ms) = (row.text(), row.text(), row.int());
        let quota = Quota { jobs: row.int(), cpu_ms: row.int(), bytes: row.int() };
        let used = Quota {
            jobs: crate::queue::unended(sql, &name)?,
            cpu_ms: used_ms(sql, &name)?,
            bytes: held_bytes(sql, &name)?,
        };
        tokens.push(Token { id, name, scope, created_ms, quota, used });
    }
    Ok(tokens)
}

/// Removes the tokens of an id or a name; how many. The last one stays, as without any everybody is
/// admin: `None`.
pub(crate) fn revoke(sql: &mut dyn Sql, which: &str) -> Result<Option<u64>, Problem> {
    // Two that revoke at once would each leave the other's.
    sql.lock_order()?;
    let rows = sql.rows("SELECT hash, name FROM tokens", &[])?;
    let tokens = rows.into_iter().map(|mut row| (row.text(), row.text()));
    let (meant, others): (Vec<_>, Vec<_>) = tokens.partition(|(hash, name)| {
        name == which || (which.len() >= ID_DIGITS && hash.starts_with(which))
    });
    if !meant.is_empty() && others.is_empty() {
        return Ok(None);
    }
    let mut n = 0;
    for (hash, _) in meant {
        n += sql.run("DELETE FROM tokens WHERE hash = $1", &[hash.into()])?;
    }
    Ok(Some(n))
}

/// Whether there is any token.
pub(crate) fn is_any(sql: &mut dyn Sql) -> Result<bool, Problem> {
    Ok(sql.row("SELECT 1 FROM tokens LIMIT 1", &[])?.is_some())
}

/// Who a request comes from. Where no token is stored, everybody is admin: the address is then a
/// loopback one, or the operator said so.
pub(crate) fn caller(
    sql: &mut dyn Sql,
    headers: &HeaderMap,
    anonymous: Quota,
) -> Result<Caller, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some((_, token)) = given {
        let statement = "SELECT name, scope, jobs, cpu_ms, bytes FROM tokens WHERE hash = $1";
        if let Some(mut row) = sql.row(statement, &[hash(token.trim()).into()])? {
            let (name, scope) = (row.text(), row.text());
            let scope = Scope::ALL.into_iter().find(|candidate| candidate.name() == scope);
            let quota = Quota { jobs: row.int(), cpu_ms: row.int(), bytes: row.int() };
            return Ok(Caller { name, scope: scope.unwrap_or(Scope::Read), quota });
        }
    }
    if given.is_none() && !is_any(sql)? {
        let name = ANONYMOUS.to_owned();
        return Ok(Caller { name, scope: Scope::Admin, quota: anonymous });
    }
    let title = "a token of this service is needed";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title)
        .hint("send `Authorization: Bearer TOKEN`; `meshwright token` makes one"))
}

impl Caller {
    pub(crate) fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Refuses what the token does not allow.
    pub(crate) fn must(&self, scope: Scope) -> Result<(), Problem> {
        if self.scope >= scope {
            return Ok(());
        }
        let title = format!("this token has the scope `{}`", self.scope.name());
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", title)
            .hint(format!("this needs a token with the scope `{}`", scope.name())))
    }
}

/// Whether a page of another site sends the request (Fetch Metadata Request Headers, section 2.1; RFC
/// 6454, section 7). Programs that are no browser send neither header.
pub(crate) fn is_cross_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase);
    let is_own_site = |value| matches!(text(value).as_deref(), Ok("same-origin" | "none"));
    if !headers.get_all("sec-fetch-site").iter().all(is_own_site) {
        return true;
    }
    let forwarded = headers.get("x-forwarded-host").and_then(|host| text(host).ok());
    let named = headers.get(header::HOST).and_then(|host| text(host).ok());
    let named = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()).or(named);
    let is_own = |value| {
        let origin = text(value).ok();
        let host =
            origin.as_deref().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        host.is_some() && [named.as_deref(), forwarded.as_deref()].contains(&host)
    };
    !headers.get_all(header::ORIGIN).iter().all(is_own)
}

/// CPU time of the owner's plans within this hour, in milliseconds.
pub(crate) fn used_ms(sql: &mut dyn Sql, owner: &str) -> Result<i64, Problem> {
    let statement = "SELECT cpu_ms FROM used WHERE owner = $1 AND hour = $2";
    let row = sql.row(statement, &[owner.into(), (now_ms() / 3_600_000).into()])?;
    Ok(row.map_or(0, |mut row| row.int()))
}

/// Bytes of the owner's files.
pub(crate) fn held_bytes(sql: &mut dyn Sql, owner: &str) -> Result<i64, Problem> {
    let statement = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM contents \
        WHERE digest IN (SELECT digest FROM names WHERE owner = $1)";
    Ok(sql.row(statement, &[owner.into()])?.map_or(0, |mut row| row.int()))
}
