//! What can go wrong with a database.

use std::fmt;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no space left where the database lies.
    Full,
    /// The database can not be reached, or said something else.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space is left where the database lies"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}
