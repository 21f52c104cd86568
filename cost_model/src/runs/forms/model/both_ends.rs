//! Embedding and head: which stage holds them, and whether they are one tensor.

use ir::card::Head;
use ir::tuning::Module;

use super::priced::{Priced, ends_trained};
use crate::runs::oracle::Place;

impl Priced<'_> {
    /// Whether the head has states of its own on its stage.
    #[must_use]
    pub fn has_own_head(&self) -> bool {
        if self.pricing.model.is_of_parts() {
            return false;
        }
        let separate = |card: &ir::card::TransformerCard| card.head == Head::Separate;
        (self.degrees.pipeline > 1 && !self.ends_meet)
            || self.pricing.model.groups.first().is_some_and(|group| separate(&group.card))
    }

    /// The same where one rank may hold both ends of the pipeline.
    #[must_use]
    pub fn with_ends(mut self, ends_meet: bool) -> Self {
        self.ends_meet = ends_meet;
        self
    }

    /// Whether a stage holds weights for the head: a tied embedding is held once by each rank.
    #[must_use]
    pub fn holds_head(&self, place: Place) -> bool {
        place.last && (self.has_own_head() || !(place.first || self.ends_meet))
    }

    /// Whether embedding and head are one tensor on two ranks.
    #[must_use]
    pub fn is_tied_across(&self) -> bool {
        if self.pricing.model.is_of_parts() || self.ends_meet {
            return false;
        }
        let tied = |card: &ir::card::TransformerCard| card.head == Head::Tied;
        self.degrees.pipeline > 1
            && self.pricing.model.groups.first().is_some_and(|group| tied(&group.card))
    }

    /// Parameters of the ends on a stage.
    #[must_use]
    pub fn end_parameters(&self, place: Place) -> f64 {
        let [embedding, head] = ends_trained(self.pricing.model);
        let ends = [place.first && embedding, self.holds_head(place) && head];
        let adapter = match place.last {
            true => self.pricing.model.tuning.rank(Module::Head) as f64 * self.head_sides(),
            false => 0.0,
        };
        self.passes.end_parameters * ends.map(|is| f64::from(u8::from(is))).iter().sum::<f64>()
            + adapter
    }

    /// Rows and columns of the head on one device.
    fn head_sides(&self) -> f64 {
        let card = self.pricing.model.groups.first().map(|group| &group.card);
        let tensor = f64::from(self.degrees.tensor.max(1));
        card.map_or(0.0, |card| card.vocabulary as f64 / tensor + card.hidden as f64)
    }

    /// Frozen parameters of the ends on a stage.
    #[must_use]
    pub fn frozen_ends(&self, place: Place) -> f64 {
        let [embedding, head] = ends_trained(self.pricing.model);
        let ends = [place.first && !embedding, self.holds_head(place) && !head];
        self.passes.frozen_end * ends.map(|is| f64::from(u8::from(is))).iter().sum::<f64>()
    }
}
