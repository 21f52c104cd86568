//! Plans of nano-batches: planned, read back, judged, explained.

pub mod decided;
pub mod explain;
pub mod export;
pub mod picture;
pub mod plan;
pub mod setting;
pub mod verify;

use cost_model::streams::interference::Mode;
use importers::interference::Known;
use ir::diagnostic::Diagnostic;
use planner::experts::NanoBatches;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

/// Ops by their numbers, and whether they run on links.
pub const OPS: [(&str, bool); 6] = [
    ("attention", false),
    ("dispatch", true),
    ("experts", false),
    ("combine", true),
    ("all-reduce", true),
    ("feed-forward", false),
];

/// Modes of tables, and whether a row is of both ops.
const MODES: [(&str, bool); 4] = [
    (Mode::TwoStreams.name(), Mode::TwoStreams.is_of_both()),
    (Mode::Complementary.name(), Mode::Complementary.is_of_both()),
    (Mode::Isolation.name(), Mode::Isolation.is_of_both()),
    (Mode::Fused.name(), Mode::Fused.is_of_both()),
];

/// What tables of interference may say.
pub const KNOWN: Known<'_> = Known { ops: &OPS, modes: &MODES };

/// The row that a recipe is, with its options; `None` where it is none that plans nano-batches.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, &'static NanoBatches)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let Some(door) = entry(name).and_then(|entry| entry.door::<NanoBatches>()) else {
        return Ok(None);
    };
    Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door)))
}
