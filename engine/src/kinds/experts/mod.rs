//! Placements of experts, and experts in slots: planned, read back, explained, compared, exported.

pub mod compare;
pub mod explain;
pub mod export;
pub mod figures;
pub mod on_model;
pub mod plan;
pub mod verify;

use ir::diagnostic::Diagnostic;
use planner::experts::Experts;
use planner::experts::expertflow::Cached;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

/// What a row does with experts.
#[derive(Clone, Copy)]
pub enum Does {
    /// Puts copies of them on devices.
    Places(&'static Experts),
    /// Holds them in slots.
    Caches(&'static Cached),
}

/// The row that a recipe is, with its options; `None` where it is none that places experts.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, Does)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let door = entry(name).and_then(|entry| {
        let places = entry.door().map(Does::Places);
        places.or_else(|| entry.door().map(Does::Caches))
    });
    let Some(door) = door else { return Ok(None) };
    Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door)))
}
