//! What can go wrong with a database.

use std::fmt;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no space left where the database lies.
    Full,
    /// Another process was in the way: it may work when it is run again.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file has one process"))]
    Again(String),
    /// The database can not be reached, or said something else.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space is left where the database lies"),
            Self::Again(reason) | Self::Other(reason) => f.write_str(reason),
        }
    }
}
