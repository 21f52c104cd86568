//! Plans of a model that serves as one forward pipeline over devices of any kinds: planned, read back,
//! judged, explained.

pub mod compare;
pub mod decided;
mod energy;
pub mod explain;
pub mod export;
pub mod plan;
pub mod setting;
pub mod verify;

use ir::diagnostic::Diagnostic;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};
use planner::serving::Serves;

/// The row that plans where none is named.
pub const ALGORITHM: &str = "serving-pipeline";

/// The row that a recipe is; `None` where it is none that plans pipelines that serve.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, &'static Serves)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    match entry(name).and_then(|entry| entry.door::<Serves>()) {
        Some(door) => Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door))),
        None => Ok(None),
    }
}

/// Refuses what a pipeline that serves has none of.
pub(crate) fn refused(message: impl Into<String>, hint: &str) -> Diagnostic {
    Diagnostic::usage("not-for-serving", message.into()).hint(hint.to_owned())
}
