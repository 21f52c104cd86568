//! Tensor, data and sequence parallelism derived per operator: where each tensor of a step is split over the axes
//! of a mesh of devices.
//!
//! # Decides
//! For each op one of its strategies: which dimension of each of its tensors each axis of the mesh splits.
//!
//! # Idea
//! Each op has few strategies per axis ([`rules`]); on a mesh of several axes their products. A tensor that its
//! producer leaves in another placement than a consumer wants is resharded by collectives, once for all consumers
//! that want the same. One integer program chooses strategies and resharding together ([`relaxation`]). Its linear
//! relaxation is tight enough to be integral on most graphs: flows of each use from produced to wanted placements have
//! the strategies as margins. Duals of it are found op by op without a solver ([`ascent`]), and leave few strategies
//! and flows that any better choice may have ([`bound`]); the solver gets those alone, and where its values are not
//! whole, the search branches ([`search`]).
//!
//! # Paper
//! Zheng et al., Alpa, OSDI 2022, section 4 (strategies, resharding, one program); Kolmogorov, IEEE PAMI 2006 (ascent
//! in sequence). The relaxation by flows, the shared cost of consumers and the order of the search are not of them.
//!
//! # Guarantee
//! The plan is optimal, of all products of the rules' strategies under the prices, where the bound meets it. The
//! bound is a sum over duals that no solver has a part in ([`bound`]).
//!
//! # Complexity
//! A sweep of the ascent takes, for each use, placements produced x placements wanted steps. A dense decoder of equal
//! layers on 8 x 8 devices has 37,112 columns and takes 10 ms of one CPU, on 2 x 4 x 8 devices 671,846 columns and 0.2 s
//! with 30 MB, or a second where few tokens leave much to the solver; 80 layers one by one on 8 x 8 devices have
//! 2,567,093 columns and take 1.5 s with 350 MB (measured, November 2026).
//!
//! # Limits
//! Costs add up: nothing overlaps. Two axes on one dimension split it in the order of the axes; no collective
//! spans two axes. Where equal layers are one copy, all copies have the same strategies. Experts are visited alike.
//!
//! # Example
//! A decoder layer on 8 devices: Megatron's tensor and sequence parallelism at 4,096 tokens, data parallelism at
//! 16,384 (`goldens.rs`).

mod answer;
mod ascent;
mod attention;
mod bound;
mod choice;
pub mod decoder;
mod feed_forward;
pub mod graph;
mod later;
mod layers;
pub mod lettered;
pub mod memory;
pub mod mesh;
mod net;
pub mod pinned;
mod price;
pub mod priced;
pub mod program;
mod relaxation;
pub mod replay;
pub mod rules;
mod search;
mod space;
pub mod templates;
pub mod traced;
pub mod training;

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod laws;

use ir::diagnostic::Diagnostic;

use crate::run::Control;
use crate::run::algorithm::{Guarantee, OptionRow, Options, bad_option};
use crate::run::entry::{Problems, door};

pub use answer::{Refused, Sharding, Step};
pub use graph::{Budget, Chain, Graph, Op, Pin, Tensor, Work};
pub use mesh::{Axis, Collective, Kernel, Load, Mesh, Part, Placement, Prices};
pub use pinned::{Conflict, Constraint, Pinned};
pub use program::plan;
pub use training::{Planned, Question, Source};

/// Axes of a mesh at most.
pub const MOST_AXES: usize = 3;

const MESH: OptionRow = OptionRow {
    name: "mesh",
    unit: "devices by axis, such as 4x8: at most three axes of two or more, the last of neighbours; auto = hosts x devices of a host",
    default: "auto",
    summary: "axes that tensors are split over",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[MESH];

/// Sizes of the axes that are asked for; none where they follow from the cluster.
///
/// # Errors
/// `bad-option`.
pub fn sizes(options: &Options) -> Result<Option<Vec<u64>>, Diagnostic> {
    let text = options.text(&MESH);
    if text == MESH.default {
        return Ok(None);
    }
    let sizes: Option<Vec<u64>> = text.split('x').map(|size| size.parse().ok()).collect();
    let is_mesh = |sizes: &Vec<u64>| sizes.len() <= MOST_AXES && sizes.iter().all(|size| *size > 1);
    sizes.filter(is_mesh).map(Some).ok_or_else(|| bad_option(&MESH, text))
}

/// Shards a step within memory; else why not, and the ops whose rows of memory no sharding keeps together.
pub type Shard = fn(&Question<'_>, &Control) -> Result<Planned, (Refused, Vec<String>)>;

/// How a row shards a training step.
pub struct Shards(pub Shard, pub Guarantee);

const STEPS: Problems =
    Problems { name: "training steps", planned: "shards training steps and stands alone" };

door!(Shards, STEPS, vec![cost_model::ops::problem::Objective::STEP_TIME.name()]);
