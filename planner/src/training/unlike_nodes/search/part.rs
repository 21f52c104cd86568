//! Parts of plans.

use std::cmp::Ordering;
use std::rc::Rc;

use cost_model::runs::unlike::StagePrice;
use ir::card::Recompute;
use ir::plan::StageMesh;

/// Where the devices of a stage are: shape, the first of them in its group, first groups of its classes, as
/// positions in these; its tensor degree, and its micro-batch as a position among those of the search.
pub(super) type MeshPlace = (usize, usize, [usize; 2], u32, usize);

/// A stage of a plan that is being made.
pub(super) struct Chosen {
    pub(super) place: MeshPlace,
    pub(super) mesh: Rc<StageMesh>,
    pub(super) blocks: u32,
    pub(super) recompute: Recompute,
    pub(super) price: StagePrice,
}

/// Stages from one on to the last.
pub(super) struct Chain {
    pub(super) first: Chosen,
    pub(super) rest: Option<Rc<Self>>,
}

/// The last stages of a plan.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) chain: Option<Rc<Chain>>,
    pub(super) n_stages: usize,
    /// Blocks before them.
    pub(super) left: u32,
    /// By group, devices that are used, the first ones.
    pub(super) used: Rc<Vec<usize>>,
    /// Seconds of one micro-batch there and back.
    pub(super) round_s: f64,
    /// Seconds that the stages take for all micro-batches, with what lies between them.
    pub(super) worst_s: f64,
    /// Seconds after which a stage has exchanged its gradients and stepped, at least.
    pub(super) ended_s: f64,
    /// Seconds that no plan with these stages falls below.
    pub(super) least_s: f64,
}

impl Part {
    /// Its stages, the first one first.
    pub(super) fn stages(&self) -> impl Iterator<Item = &Chosen> {
        std::iter::successors(self.chain.as_deref(), |chain| chain.rest.as_deref())
            .map(|chain| &chain.first)
    }
}

/// A part of a plan that the search may go on with: the least first, then the one with most stages.
pub(super) struct Open {
    pub(super) part: Part,
    /// Its micro-batch, a position among those of the search.
    pub(super) run: usize,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.part, &other.part);
        b.least_s.total_cmp(&a.least_s).then(a.n_stages.cmp(&b.n_stages)).then(b.left.cmp(&a.left))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}
