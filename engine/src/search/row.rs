//! The row that a recipe of one row is.

use ir::diagnostic::{Blame, Diagnostic};
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};
use planner::run::entry::Door;

/// The row that a recipe is, with its options and what it does for a kind of problem; `None` where it does
/// nothing for it.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row<D: Door>(recipe: &str) -> Result<Option<(Ingredient, &'static D)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    match entry(name).and_then(|entry| entry.door::<D>()) {
        Some(door) => Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door))),
        None => Ok(None),
    }
}

/// Whether a recipe is a row that does something for a kind of problem.
///
/// # Errors
/// Those of [`row`].
pub fn is<D: Door>(recipe: &str) -> Result<bool, Diagnostic> {
    row::<D>(recipe).map(|found| found.is_some())
}

/// What [`row`] says of a recipe that is known to be one.
///
/// # Errors
/// Those of [`row`]; `internal`.
pub fn known<D: Door>(recipe: &str) -> Result<(Ingredient, &'static D), Diagnostic> {
    row(recipe)?.ok_or_else(|| {
        Diagnostic::error(Blame::Internal, "internal", format!("`{recipe}` is another row"))
    })
}
