//! How a search runs, and what it finds.

use std::sync::Arc;

use super::judge::Judged;
use crate::run::{Control, Limits, StopReason};

/// How a search runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Plans that are wanted, each of other degrees.
    pub n_plans: usize,
    /// Limits, and what was used of them; a node is a configuration that was looked at.
    pub control: Arc<Control>,
    /// Whether bounds cut anything off; without them everything is judged.
    pub pruning: Pruning,
    /// Whether the cuts of the plans that were found are improved.
    pub cuts: Cuts,
    /// A plan of the space that is known: only what is better is looked for.
    pub known: Option<Box<Judged>>,
    /// Shapes that are bounded before the search begins; of more, first plans are looked for among those
    /// that teams try first.
    pub n_at_once: usize,
}

/// Shapes that are bounded in about three tenths of a second.
const N_AT_ONCE: usize = 20_000;

/// What becomes of the cuts of the plans that were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cuts {
    /// They are as the rule makes them.
    Ruled,
    /// Of the plans that the rule finds, blocks move as with [`Self::Polished`].
    OfPlans,
    /// Of every configuration that may become the best, blocks move to other stages as long as the
    /// judge likes it.
    #[default]
    Polished,
}

impl Options {
    /// As they are, with limits.
    #[must_use]
    pub fn within(limits: &Limits) -> Self {
        Self { control: Arc::new(Control::new(limits)), ..Self::default() }
    }

    /// Whether a plan of so many seconds is as near to the bound as was asked for.
    pub(super) fn is_near(&self, best_s: Option<f64>, bound_s: f64) -> bool {
        let gap = self.control.limits().gap;
        gap > 0.0 && best_s.is_some_and(|best_s| best_s <= bound_s * (1.0 + gap))
    }

    /// Why it has to stop now, if it has to.
    #[must_use]
    pub fn stop(&self) -> Option<StopReason> {
        self.control.stop()
    }
}

/// Whether bounds cut anything off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pruning {
    /// They do.
    #[default]
    On,
    /// Everything is judged: the oracle.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_plans: 4,
            control: Arc::default(),
            pruning: Pruning::On,
            cuts: Cuts::Polished,
            known: None,
            n_at_once: N_AT_ONCE,
        }
    }
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Choices of degrees and micro-batch.
    pub n_shapes: u64,
    /// Of these, expanded.
    pub n_expanded: u64,
    /// Configurations of the expanded ones.
    pub n_leaves: u64,
    /// Of these, given stages.
    pub n_fitted: u64,
    /// Of these, without stages that fit into memory.
    pub n_misfits: u64,
    /// Replayed.
    pub n_judged: u64,
    /// Left out because their grid is too large.
    pub n_too_large: u64,
    /// Left out because their durations or bytes can't be counted.
    pub n_out_of_range: u64,
    /// Of which the cuts were improved.
    pub n_polished: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.n_expanded += other.n_expanded;
        self.n_leaves += other.n_leaves;
        self.n_fitted += other.n_fitted;
        self.n_misfits += other.n_misfits;
        self.n_judged += other.n_judged;
        self.n_too_large += other.n_too_large;
        self.n_out_of_range += other.n_out_of_range;
        self.n_polished += other.n_polished;
    }
}

impl Found {
    /// Whether it is proved that no plan of the space fits: nothing was left out, and no layer split is
    /// open of which a bound is known.
    #[must_use]
    pub fn is_proved_empty(&self) -> bool {
        self.plans.is_empty()
            && self.stop.is_complete()
            && self.bound_s.is_infinite()
            && self.counts.n_out_of_range == 0
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Plans of different degrees, fastest first; empty where nothing fits.
    pub plans: Vec<Judged>,
    /// Seconds that no plan of the space falls below, whatever its cuts and what it computes again.
    pub bound_s: f64,
    /// Why it ended.
    pub stop: StopReason,
    /// How much was done.
    pub counts: Counts,
}
