//! Placements of experts: planned, read back, explained, compared, exported.

pub mod compare;
pub mod explain;
pub mod export;
pub mod figures;
pub mod on_model;
pub mod setting;
pub mod verify;

use ir::diagnostic::Diagnostic;
use planner::experts::Experts;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

/// The row that a recipe is, with its options; `None` where it is none that places experts.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, &'static Experts)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let Some(door) = entry(name).and_then(|entry| entry.door::<Experts>()) else {
        return Ok(None);
    };
    Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door)))
}
