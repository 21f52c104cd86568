//! Plans of pieces on streams inside the layers of a model: planned, read back, judged, explained.

pub mod decided;
pub mod explain;
pub mod setting;
pub mod verify;

use ir::diagnostic::Diagnostic;
use planner::experts::Streams;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

/// The row that a recipe is, with its options; `None` where it is none that plans streams.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, &'static Streams)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let Some(door) = entry(name).and_then(|entry| entry.door::<Streams>()) else {
        return Ok(None);
    };
    Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door)))
}

/// Refuses every target: nobody is known to take what is decided.
///
/// # Errors
/// `unknown-target`.
pub fn check_target(target: &str) -> Result<(), Diagnostic> {
    let message = format!("`{target}` takes no numbers of parts and no slices of gradients");
    Err(Diagnostic::usage("unknown-target", message).hint(
        "no program is known to take them: leave --export out, they stand in the plan \
         (`experts.layers`, `schedule.cells`)",
    ))
}
