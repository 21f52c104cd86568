//! Plans of pieces on streams inside the layers of a model: planned, read back, judged, explained.

pub mod compare;
pub mod decided;
pub mod explain;
pub mod picture;
pub mod plan;
pub mod setting;
pub mod verify;

use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use planner::experts::{Groups, Streams};
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

use crate::request::subject::Subject;

/// What a row plans.
#[derive(Clone, Copy)]
pub enum Does {
    /// Parts of layers and slices of gradients.
    Cuts(&'static Streams),
    /// Devices of attention and of experts.
    Shares(&'static Groups),
}

impl Does {
    /// What a plan is of.
    #[must_use]
    pub const fn word(self) -> Word {
        match self {
            Self::Cuts(_) => Word::Parts,
            Self::Shares(_) => Word::Groups,
        }
    }
}

/// Kinds of plans of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Parts of layers and slices of gradients.
    Parts,
    /// Devices of attention and of experts.
    Groups,
    /// Nano-batches of a serving step.
    NanoBatches,
}

impl Word {
    /// Of a plan.
    #[must_use]
    pub const fn of(plan: &PlanDocument) -> Self {
        match (&plan.experts.disaggregated, plan.has_nano_batches()) {
            (_, true) => Self::NanoBatches,
            (Some(_), false) => Self::Groups,
            (None, false) => Self::Parts,
        }
    }
}

/// The row that a recipe is, with its options; `None` where it is none that plans streams.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<(Ingredient, Does)>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let door = entry(name).and_then(|entry| {
        let cuts = entry.door().map(Does::Cuts);
        cuts.or_else(|| entry.door().map(Does::Shares))
    });
    let Some(door) = door else { return Ok(None) };
    Ok(Some((Ingredient::parse(recipe.trim(), entries())?, door)))
}

/// The target that draws.
pub const PICTURE: &str = "svg";

/// Refuses targets that take nothing of what is decided: nobody is known to; pictures are drawn.
///
/// # Errors
/// `unknown-target`.
pub fn check_target(target: &str, word: Word) -> Result<(), Diagnostic> {
    if target == PICTURE {
        return Ok(());
    }
    let (what, members) = match word {
        Word::Parts => ("no numbers of parts and no slices of gradients", "`experts.layers`"),
        Word::Groups => {
            ("no micro-batches and parts between two groups of devices", "`experts.disaggregated`")
        }
        Word::NanoBatches => ("no nano-batches", "`experts.layers[].nano_batches`"),
    };
    let message = format!("`{target}` takes {what}");
    Err(Diagnostic::usage("unknown-target", message).hint(format!(
        "no program is known to take them: they stand in the plan ({members}, `schedule.cells`), and \
         `{PICTURE}` draws them"
    )))
}

/// Refuses subjects that a plan of streams has none of.
///
/// # Errors
/// `not-for-streams`.
pub fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    let flag = match subject {
        Subject::Op(_) => "--op",
        Subject::Transfer(_) => "--transfer",
        Subject::Device(_) => "--device",
        Subject::Step { longest: Some(_) } => "--longest",
        Subject::Step { longest: None } => return Ok(()),
    };
    let message = format!("devices of a plan of streams do what others do: `{flag}` names nothing");
    Err(Diagnostic::usage("not-for-streams", message).hint("leave it out"))
}

/// Refuses a layer that a plan has none of.
///
/// # Errors
/// `unknown-layer`.
pub fn check_layer(layer: u32, n_layers: usize) -> Result<(), Diagnostic> {
    if (layer as usize) < n_layers {
        return Ok(());
    }
    let message = format!("the plan has no layer {layer}");
    Err(Diagnostic::usage("unknown-layer", message)
        .hint(format!("its layers are 0 to {}", n_layers.saturating_sub(1))))
}
