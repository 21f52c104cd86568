//! Tokens, from the command line.

use crate::access::{self, Quota, Scope};
use crate::store::{Place, Store};

/// Makes a token and returns it: it is stored nowhere else.
///
/// # Errors
/// In words, those of the database.
pub fn make(database: Place, name: &str, scope: Scope, quota: Quota) -> Result<String, String> {
    let store = Store::open(database).map_err(|fault| fault.to_string())?;
    let name = name.to_owned();
    let made = store.write_here(move |sql| access::make(sql, &name, scope, quota));
    made.map_err(|problem| problem.words())
}
