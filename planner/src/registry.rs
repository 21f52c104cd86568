//! The one table that knows all algorithms. Nothing below names it: rows are handed in.

mod rows;

use ir::diagnostic::Diagnostic;

use crate::run::entry::Rows;
use crate::run::recipe::Recipe;

pub use crate::run::entry::{Door, Entry};

/// All rows, in the order of listings.
#[must_use]
pub fn entries() -> Rows {
    rows::ENTRIES
}

/// The row with this name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    rows::ENTRIES.iter().find(|entry| entry.name == name)
}

/// Reads a recipe such as `fuse,coplace,m-sct(theta=0.2)`.
///
/// # Errors
/// Those of [`Recipe::parse`].
pub fn recipe(text: &str) -> Result<Recipe, Diagnostic> {
    Recipe::parse(text, entries())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::algorithm::{Kind, Options, Row};

    #[test]
    fn names_are_unique_and_defaults_build() {
        for (position, entry) in entries().iter().enumerate() {
            assert!(entries()[..position].iter().all(|other| other.name != entry.name));
            assert!(!entry.doors.is_empty(), "{}", entry.name);
            assert!(entry.build().is_some() || entry.kind == Kind::Decide, "{}", entry.name);
            let kind = match entry.build().map(|build| build(&Options::default())) {
                Some(Ok(Row::Transform(_))) => Kind::Transform,
                None | Some(Ok(Row::Decide(_))) => Kind::Decide,
                Some(Ok(Row::Improve(_))) => Kind::Improve,
                Some(Err(error)) => panic!("{}: {error}", entry.name),
            };
            assert_eq!(kind, entry.kind, "{}", entry.name);
            assert_eq!(entry.decides.is_empty(), entry.kind == Kind::Transform, "{}", entry.name);
        }
    }
}
