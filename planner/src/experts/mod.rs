//! Rows that put experts on devices.

pub mod comm_fusion;
pub mod comm_overlap;
pub mod dual_batch;
pub mod dynaflow;
pub mod eplb;
pub mod expert_placement;
pub mod expertflow;
pub mod findep;
pub mod fsmoe;
pub mod fsmoe_closed_form;
#[cfg(test)]
mod laws;
pub mod naive;
pub mod ping_pong;
pub mod sequential;

use cost_model::experts::bound::Bound;
use cost_model::experts::{Copies, Shape};
use cost_model::ops::problem::Objective;
use cost_model::streams::moe_step::Model;
use ir::diagnostic::Diagnostic;

use self::dynaflow::{Split, Threshold};
use self::fsmoe::Planned;
use crate::run::Control;
use crate::run::algorithm::{Guarantee, OptionRow, Options};
use crate::run::entry::{Problems, door};

/// What is minimised.
pub const OBJECTIVE: &str = "expert-load";

/// Slots of a device for the experts of a layer.
const SLOTS: OptionRow = OptionRow {
    name: "slots",
    unit: "experts of a layer on a device; 0 = as few as hold all of them",
    default: "0",
    summary: "more slots than experts hold copies of the most visited ones",
};
/// Groups that stay on one host.
const GROUPS: OptionRow = OptionRow {
    name: "groups",
    unit: "groups of experts; 1 = experts may be anywhere",
    default: "1",
    summary: "copies of the experts of a group stay on one host",
};

/// Options of the rows.
pub const OPTIONS: &[OptionRow] = &[SLOTS, GROUPS];

/// Slots and groups as they were asked for; no slots = as few as hold all experts.
///
/// # Errors
/// `bad-option`.
pub fn slots_and_groups(options: &Options) -> Result<(Option<usize>, usize), Diagnostic> {
    let count = |row| options.count(row).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let slots = count(&SLOTS)?;
    Ok(((slots > 0).then_some(slots), count(&GROUPS)?.max(1)))
}

/// A layer with its experts on devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// By expert the devices of its copies.
    pub copies: Copies,
    /// The greatest load of a device, as a share of the layer's visits.
    pub load: f64,
    /// What no placement of the layer is below.
    pub bound: Bound,
}

/// Places layers by the shares of their experts' visits, each with at least as many slots as experts.
pub type Solve = fn(layers: &[Vec<f64>], shape: &Shape, control: &Control) -> Vec<Placed>;

/// How a row places experts.
pub struct Experts(pub Solve, pub Guarantee);

/// Cuts layers into parts and gradients into slices.
pub type Cut = fn(&Model) -> Planned;

/// How a row plans pieces on streams inside the layers of a model.
pub struct Streams(pub Cut, pub Guarantee);

/// Puts the samples of a layer through it in nano-batches, where so many layers follow each other.
pub type Nano = fn(&[Split], &Threshold, usize) -> Option<dynaflow::Planned>;

/// How a row plans nano-batches.
pub struct NanoBatches(pub Nano, pub Guarantee);

/// Shares a step out over devices of attention and of experts; `None` where memory or samples allow no way.
pub type Share = fn(&findep::Problem) -> Option<findep::Planned>;

/// How a row shares a step out over two groups of devices.
pub struct Groups(pub Share, pub Guarantee);

/// Experts of a model's layers.
const EXPERTS: Problems = Problems { name: "experts", planned: "places experts and stands alone" };

/// Pieces on streams inside a model's layers.
const STREAMS: Problems =
    Problems { name: "streams", planned: "plans pieces on streams inside layers and stands alone" };

door!(Experts, EXPERTS, vec![OBJECTIVE]);
door!(Streams, STREAMS, vec![Objective::STEP_TIME.name()]);
door!(NanoBatches, STREAMS, vec![Objective::STEP_TIME.name()]);
door!(Groups, STREAMS, vec![findep::OBJECTIVE]);
door!(expertflow::Cached, EXPERTS, vec![expertflow::OBJECTIVE]);
