//! Tokens and backups, from the command line.

use std::path::Path;

use crate::access::{self, Quota, Scope, Token};
use crate::store::{Place, Store};

/// Makes a token and returns it: it is stored nowhere else.
///
/// # Errors
/// In words: a name that is none, those of the database.
pub fn make(database: Place, name: &str, scope: Scope, quota: Quota) -> Result<String, String> {
    access::check_name(name)?;
    let store = Store::open(database).map_err(|fault| fault.to_string())?;
    let name = name.to_owned();
    let made = store.write_here(move |sql| access::make(sql, &name, scope, quota));
    made.map_err(|problem| problem.words())
}

/// All tokens, the oldest first.
///
/// # Errors
/// In words: there is no such database; those of the database.
pub fn list(database: Place) -> Result<Vec<Token>, String> {
    there(&database)?;
    let store = Store::open(database).map_err(|fault| fault.to_string())?;
    store.read_here(access::tokens).map_err(|problem| problem.words())
}

/// Removes the tokens of an id or a name; how many, at once for all servers. `None`, and none is removed,
/// where no other token would be left: without any, everybody who reaches a server may do everything.
///
/// # Errors
/// In words: there is no such database; those of the database.
pub fn revoke(database: Place, which: &str) -> Result<Option<u64>, String> {
    there(&database)?;
    let store = Store::open(database).map_err(|fault| fault.to_string())?;
    let which = which.to_owned();
    let revoked = store.write_here(move |sql| access::revoke(sql, &which));
    revoked.map_err(|problem| problem.words())
}

/// Refuses a file that is not there, which opening would make.
fn there(database: &Place) -> Result<(), String> {
    match database {
        Place::File(path) if !path.is_file() => {
            Err(format!("there is no file `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes all that a file of SQLite holds at one moment to `copy`, an empty or missing file, while
/// servers go on. A copy of the file alone would lack what is in its log.
///
/// # Errors
/// In words: a PostgreSQL, which has tools of its own; no such file; those of the database.
pub fn back_up(database: &Place, copy: &Path) -> Result<(), String> {
    let Place::File(_) = database else {
        return Err("a PostgreSQL is backed up by pg_dump".to_owned());
    };
    there(database)?;
    let Some(copy) = copy.to_str() else { return Err("the file's name is no UTF-8".to_owned()) };
    let copied = database.open().and_then(|mut sql| sql.run("VACUUM INTO $1", &[copy.into()]));
    copied.map(drop).map_err(|fault| fault.to_string())
}
