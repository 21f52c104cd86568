//! Another space of plans for the same training run: operator placements beside parallelism
//! settings, and the other way round.

use documents::quantity::seconds;
use documents::report::OtherSpaceDocument;
use ir::units::Nanos;

/// Where the plans of a training run lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Replicas, shards and pipelines.
    Degrees,
    /// Each op on one device.
    Placements,
}

impl Space {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Degrees => "degrees of parallelism",
            Self::Placements => "operator placements",
        }
    }
}

/// What is known of the space that the best plan does not lie in.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// The space.
    pub space: Space,
    /// Step time of its best plan that is known.
    pub best: Option<Nanos>,
    /// What none of its plans is below; `None` where nothing is known.
    pub bound: Option<Nanos>,
    /// Why it was not searched, where it was not.
    pub unsearched: Option<String>,
    /// What the step takes on one device, as placements price it over how degrees do; `None` where
    /// it was not looked at.
    pub price_ratio: Option<f64>,
}

/// Prices of one device that differ by more are told.
const APART: f64 = 0.02;

impl Beside {
    /// A space that was searched in vain.
    #[must_use]
    pub const fn new(space: Space) -> Self {
        Self { space, best: None, bound: None, unsearched: None, price_ratio: None }
    }

    /// A space that nothing is known of.
    #[must_use]
    pub fn unknown(space: Space, why: String) -> Self {
        Self { unsearched: Some(why), ..Self::new(space) }
    }

    /// The bound of both spaces: `other` where nothing is known of this one.
    #[must_use]
    pub fn joint(&self, other: Nanos) -> Nanos {
        self.bound.map_or(other, |bound| other.min(bound))
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let space = self.space.words();
        let bound = self.bound.map(|bound| format!("none is below {bound}"));
        let bound = bound.unwrap_or_else(|| "the bound speaks of none of them".to_owned());
        let text = match (self.best, &self.unsearched) {
            (Some(best), _) => format!("{space} were searched too: the best takes {best}, {bound}"),
            (None, None) => format!("{space} were searched too, and none was found; {bound}"),
            (None, Some(why)) => format!("{space} were not searched ({why}); {bound}"),
        };
        match self.price_ratio.filter(|ratio| (ratio - 1.0).abs() > APART) {
            Some(ratio) => format!(
                "{text}; a step on one device is {ratio:.2} times as long where its ops are priced, \
                 which was allowed for"
            ),
            None => text,
        }
    }

    /// As a document.
    #[must_use]
    pub fn document(&self) -> OtherSpaceDocument {
        OtherSpaceDocument {
            space: self.space.words().replace(' ', "-"),
            step_time_s: self.best.map(|best| seconds(best.get())),
            bound_s: self.bound.map(|bound| seconds(bound.get())),
            unsearched: self.unsearched.clone(),
            price_ratio: self.price_ratio.filter(|ratio| ratio.is_finite()),
        }
    }
}
