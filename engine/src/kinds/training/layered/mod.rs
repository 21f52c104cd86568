//! Training runs on measured layers.

pub mod found;
pub mod nothing_fits;

use cost_model::runs::measured::LayerPricing;
use cost_model::runs::measured::stage::idle_room;
use cost_model::runs::oracle::StageFigures;
use ir::card::{Recompute, ZeroStage};
use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::{BlockPolicy, Stage};
use ir::units::Bytes;

use super::answer::stage_text as uniform_text;
use crate::inputs::run::setting::Setting;

/// The name of the search in plan documents.
pub const ALGORITHM: &str = "per-layer";

/// What prices the plans of a setting with measured layers.
///
/// # Errors
/// `internal` where it has none, which its caller has made sure of.
pub fn pricing(setting: &Setting) -> Result<LayerPricing<'_>, Diagnostic> {
    setting.layer_pricing().ok_or_else(|| {
        Diagnostic::error(Blame::Internal, "internal", "the setting has no measured layers")
    })
}

/// What a stage holds that keeps the activations of so many micro-batches, term by term.
fn terms(figures: &StageFigures, in_flight: f64) -> [(&'static str, Bytes); 4] {
    [
        ("states", figures.states),
        ("activations", in_flight * figures.activation),
        ("ends", figures.end_states + in_flight * figures.end_activation),
        ("working room", figures.temporary + figures.recompute + idle_room(figures)),
    ]
    .map(|(name, bytes)| (name, Bytes(bytes.round() as u64)))
}

/// `0-7 (5 recomputed) (3 ZeRO 3)`.
pub fn stage_text(stage: &Stage) -> String {
    if stage.each.is_empty() {
        return uniform_text(&stage.blocks, stage.recompute);
    }
    let count =
        |is: &dyn Fn(&BlockPolicy) -> bool| stage.each.iter().filter(|policy| is(policy)).count();
    let again = count(&|policy| policy.recompute != Recompute::None);
    let gathered = count(&|policy| policy.zero == ZeroStage::Parameters);
    let mut text = uniform_text(&stage.blocks, Recompute::None);
    if again > 0 {
        text.push_str(&format!(" ({again} recomputed)"));
    }
    if gathered > 0 {
        text.push_str(&format!(" ({gathered} ZeRO 3)"));
    }
    text
}
