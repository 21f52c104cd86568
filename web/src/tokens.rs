//! Tokens and backups, from the command line.

use std::path::Path;

use crate::access::{self, Quota, Scope};
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

/// Writes all that a file of SQLite holds at one moment to `copy`, an empty or missing file, while
/// servers go on. A copy of the file alone would lack what is in its log.
///
/// # Errors
/// In words: a PostgreSQL, which has tools of its own; no such file; those of the database.
pub fn back_up(database: &Place, copy: &Path) -> Result<(), String> {
    let Place::File(path) = database else {
        return Err("a PostgreSQL is backed up by pg_dump".to_owned());
    };
    if !path.is_file() {
        return Err(format!("there is no file `{}`", path.display()));
    }
    let Some(copy) = copy.to_str() else { return Err("the file's name is no UTF-8".to_owned()) };
    let copied = database.open().and_then(|mut sql| sql.run("VACUUM INTO $1", &[copy.into()]));
    copied.map(drop).map_err(|fault| fault.to_string())
}
