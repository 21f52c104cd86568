//! Between which figures the step time and the peak memory of a plan are expected to lie.
//!
//! Published runs like it tell: of `n` models that ran like it, with `r` the root mean square of
//! `ln(measured / predicted)` over the runs of one of them, nothing fitted,
//!
//! ```text
//! s^2      = (4 b^2 + sum of r^2) / (4 + n) + what is unlike
//! interval = predicted x exp(-1.2816 s) .. predicted x exp(1.2816 s)
//! ```
//!
//! which holds 10 to 90 % of a normal distribution of errors; `b` is what is believed before any run
//! ([`Figure::believed`], judgement). Runs are alike in software, generation of devices, width of
//! operands, experts, and whether parameters are shared out. Where no judged run has all five in common,
//! those that have most of them stand in, and each difference adds its [`Figure::variance`] (judgement).
//! Functional tests, whose hosts bind, stand in for each other's times alone.

use ir::card::ZeroStage;
use ir::chip::{Architecture, Chip};
use ir::plan::Parallelism;
use ir::tensor::DType;

mod judged;

pub use judged::JUDGED;

/// What of a plan is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Seconds of a step by nominal constants.
    Step,
    /// Seconds of a step by constants calibrated on steps of the same cluster and stack.
    Calibrated,
    /// Bytes that the allocator of the fullest rank holds at its peak.
    Peak,
}

impl Figure {
    /// What is believed before any run: the standard deviation of `ln(measured / predicted)`.
    #[must_use]
    pub const fn believed(self) -> f64 {
        match self {
            Self::Step => 0.12,
            Self::Calibrated => 0.1,
            Self::Peak => 0.04,
        }
    }

    /// Variance of `ln(measured / predicted)` that a difference adds. Formulas of memory know devices
    /// only by what libraries keep there; what a stack keeps beside tensors differs most.
    #[must_use]
    pub const fn variance(self, difference: Trait) -> f64 {
        match (self, difference) {
            (Self::Step, Trait::Stack | Trait::Architecture) => 0.06 * 0.06,
            (Self::Step, Trait::Operands | Trait::Sharding) => 0.1 * 0.1,
            (Self::Step, Trait::Experts) => 0.2 * 0.2,
            // Calibrated steps are of the same software and devices.
            (Self::Calibrated, Trait::Stack | Trait::Architecture) => 0.0,
            (Self::Calibrated, _) => 0.05 * 0.05,
            (Self::Peak, Trait::Architecture) => 0.02 * 0.02,
            (Self::Peak, Trait::Operands | Trait::Sharding | Trait::Experts) => 0.03 * 0.03,
            (Self::Peak, Trait::Stack) => 0.07 * 0.07,
        }
    }
}

/// What the constants behind a prediction rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// Data sheets, presets and a description of the cluster.
    Nominal,
    /// Constants fitted to steps of other models on the same cluster and stack.
    Fitted,
    /// The same, and a correction for this hidden size, tensor size and micro-batch.
    Corrected,
}

/// Factors on a predicted figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// One measured figure in ten was below this many times the predicted one.
    pub low: f64,
    /// One in ten was above this many times.
    pub high: f64,
}

impl Interval {
    /// The interval of a predicted figure, in its unit.
    #[must_use]
    pub fn around(self, predicted: f64) -> [f64; 2] {
        [predicted * self.low, predicted * self.high]
    }
}

/// What makes runs alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trait {
    /// Software.
    Stack,
    /// Architecture of devices.
    Architecture,
    /// Width of the operands of products.
    Operands,
    /// Whether parameters are shared out.
    Sharding,
    /// Whether blocks have experts.
    Experts,
}

impl Trait {
    /// All, in the order in which differences widen an interval.
    pub const ALL: [Self; 5] =
        [Self::Stack, Self::Architecture, Self::Operands, Self::Sharding, Self::Experts];
}

impl Trait {
    /// Share of the variance of a difference that is left where the term that differs was measured on the
    /// devices themselves (judgement): of experts their exchange can be, not their launches.
    #[must_use]
    pub const fn left(self) -> f64 {
        match self {
            Self::Stack | Self::Architecture => 1.0,
            Self::Experts => 0.5,
            Self::Operands | Self::Sharding => 0.0,
        }
    }
}

/// Software whose steps are priced by the same forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Megatron-DeepSpeed of 2021.
    Megatron2021,
    /// Megatron-Core and Megatron-Bridge.
    MegatronCore,
    /// Megatron-LM's functional tests, whose hosts bind.
    MegatronTests,
    /// torchtitan.
    Torchtitan,
    /// Plain PyTorch.
    PyTorch,
}

/// A run as others may be like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Likeness {
    /// Software.
    pub stack: Family,
    /// Devices.
    pub architecture: Architecture,
    /// Bits of the operands of products: 32, 16, or 8 for 8 and fewer.
    pub bits: u32,
    /// Whether parameters or gradients are shared out for the whole step.
    pub is_sharded: bool,
    /// Whether blocks have experts.
    pub has_experts: bool,
}

impl Likeness {
    /// Of a run by the name of its stack and the chip of its devices.
    #[must_use]
    pub fn of(
        (stack, chip): (&str, Chip),
        dtype: DType,
        degrees: &Parallelism,
        has_experts: bool,
    ) -> Self {
        let families = [
            ("megatron-deepspeed", Family::Megatron2021),
            ("megatron-lm-tests", Family::MegatronTests),
            ("megatron", Family::MegatronCore),
            ("torchtitan", Family::Torchtitan),
        ];
        let family = families.into_iter().find(|(prefix, _)| stack.starts_with(prefix));
        Self {
            stack: family.map_or(Family::PyTorch, |(_, family)| family),
            architecture: judged_as(chip.architecture()),
            bits: match dtype.bits() {
                0..=8 => 8,
                9..=16 => 16,
                _ => 32,
            },
            is_sharded: degrees.zero >= ZeroStage::Gradients,
            has_experts,
        }
    }

    /// The same as a figure sees it: hosts that bind hold bytes as others do.
    fn seen_by(self, figure: Figure) -> Self {
        match (figure, self.stack) {
            (Figure::Peak, Family::MegatronTests) => Self { stack: Family::MegatronCore, ..self },
            _ => self,
        }
    }

    fn shares(&self, property: Trait, other: &Self) -> bool {
        match property {
            Trait::Stack => self.stack == other.stack,
            Trait::Architecture => self.architecture == other.architecture,
            Trait::Operands => self.bits == other.bits,
            Trait::Sharding => self.is_sharded == other.is_sharded,
            Trait::Experts => self.has_experts == other.has_experts,
        }
    }
}

/// Architectures of published runs; what ran on others is no more like one than like another. Older GPUs of
/// NVIDIA are one, those of other vendors another.
const fn judged_as(architecture: Architecture) -> Architecture {
    match architecture {
        Architecture::Ampere | Architecture::Hopper | Architecture::Blackwell => architecture,
        Architecture::Kepler
        | Architecture::Pascal
        | Architecture::Volta
        | Architecture::Turing
        | Architecture::Ada => Architecture::Turing,
        _ => Architecture::Other,
    }
}

/// Variance of `ln(measured / predicted)` of a step on GPUs of a vendor whose libraries no judged set ran:
/// four steps on MI325X lay 0.15 to 0.29 above what NVIDIA's share of the peak said.
const OTHER_VENDOR: f64 = 0.15 * 0.15;

/// Models of one published set that ran alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged<'a> {
    /// What of them was judged.
    pub figure: Figure,
    /// Name of the set in the accuracy table.
    pub set: &'a str,
    /// How they ran.
    pub like: Likeness,
    /// Models.
    pub n_models: u32,
    /// Sum over them of the mean square of `ln(measured / predicted)`.
    pub squares: f64,
}

/// How many models is worth what is believed before any run.
const WORTH: f64 = 4.0;
/// Tenth and ninetieth percentile of a normal distribution, in standard deviations.
const TENTH: f64 = 1.2816;

/// How far a run like others may be from what is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread<'a> {
    /// Standard deviation of `ln(measured / predicted)`.
    pub deviation: f64,
    /// Sets whose runs were most like it, each once.
    pub sets: Vec<&'a str>,
    /// Models in them.
    pub n_models: u32,
    /// In what none of them is like it.
    pub unlike: Vec<Trait>,
}

impl Spread<'_> {
    /// The interval of 10 to 90 %.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let high = (TENTH * self.deviation).exp();
        Interval { low: 1.0 / high, high }
    }
}

/// The spread of a figure of a run by those that were judged: of those that share most of its traits,
/// the costliest difference counting most. Of traits whose terms were `measured` on its devices
/// [`Trait::left`] counts.
#[must_use]
pub fn spread<'a>(
    figure: Figure,
    (like, measured): (&Likeness, &[Trait]),
    judged: &[Judged<'a>],
) -> Spread<'a> {
    // Hosts that bind say nothing of times where hosts don't.
    let like = like.seen_by(figure);
    let is_test = |like: &Likeness| like.stack == Family::MegatronTests;
    let judged: Vec<&Judged<'a>> = judged
        .iter()
        .filter(|row| row.figure == figure && (is_test(&like) || !is_test(&row.like)))
        .collect();
    let unlike = |row: &Judged<'_>| -> Vec<Trait> {
        Trait::ALL.into_iter().filter(|own_trait| !like.shares(*own_trait, &row.like)).collect()
    };
    let left = |property: &Trait| if measured.contains(property) { property.left() } else { 1.0 };
    let is_elsewhere = figure == Figure::Step && like.architecture == Architecture::Other;
    let of_trait = |property: &Trait| match property {
        Trait::Architecture if is_elsewhere => OTHER_VENDOR,
        _ => left(property) * figure.variance(*property),
    };
    let variance = |unlike: &[Trait]| unlike.iter().map(of_trait).sum::<f64>();
    let least = judged
        .iter()
        .map(|row| unlike(row))
        .min_by(|a, b| variance(a).total_cmp(&variance(b)).then_with(|| a.cmp(b)));
    let least = least.unwrap_or_else(|| Trait::ALL.to_vec());
    let nearest: Vec<&Judged<'a>> = judged.into_iter().filter(|row| unlike(row) == least).collect();
    let n_models: u32 = nearest.iter().map(|row| row.n_models).sum();
    let squares: f64 = nearest.iter().map(|row| row.squares).sum();
    let believed = WORTH * figure.believed() * figure.believed();
    let shrunk = (believed + squares) / (WORTH + f64::from(n_models));
    let mut sets: Vec<&str> = nearest.iter().map(|row| row.set).collect();
    sets.dedup();
    Spread { deviation: (shrunk + variance(&least)).sqrt(), sets, n_models, unlike: least }
}

/// Deciles of measured over predicted, less one, in percent, of vTrain single leaving one model out
/// with the table of corrections: the note of `meshwright validate DIR --detail` on the tables of
/// docs/data.md.
const CORRECTED: [f64; 2] = [-2.3, 1.9];

impl Basis {
    /// What of a plan its figures were judged as.
    #[must_use]
    pub const fn figure(self) -> Figure {
        match self {
            Self::Nominal => Figure::Step,
            Self::Fitted | Self::Corrected => Figure::Calibrated,
        }
    }

    /// The interval of 10 to 90 % where a correction was measured for the very blocks.
    #[must_use]
    pub fn corrected(self) -> Option<Interval> {
        let [low, high] = CORRECTED.map(|percent| 1.0 + percent / 100.0);
        (self == Self::Corrected).then_some(Interval { low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Likeness = Likeness {
        stack: Family::MegatronCore,
        architecture: Architecture::Hopper,
        bits: 16,
        is_sharded: false,
        has_experts: false,
    };

    fn judged(like: Likeness, n_models: u32, root: f64) -> Judged<'static> {
        let figure = Figure::Step;
        Judged { figure, set: "set", like, n_models, squares: f64::from(n_models) * root * root }
    }

    #[test]
    fn many_good_models_narrow_it_and_none_leaves_what_is_believed() {
        let of = |table: &[Judged<'static>]| spread(Figure::Step, (&PLAIN, &[]), table);
        let none = of(&[]);
        assert_eq!(none.unlike, Trait::ALL);
        assert!(none.deviation > Figure::Step.believed());
        let good = of(&[judged(PLAIN, 12, 0.05)]);
        // (4 x 0.0144 + 12 x 0.0025) / 16.
        assert!((good.deviation - 0.005_475_f64.sqrt()).abs() < 1e-12);
        assert!(of(&[judged(PLAIN, 12, 0.3)]).deviation > Figure::Step.believed());
        let Interval { low, high } = good.interval();
        assert!((low * high - 1.0).abs() < 1e-12 && high > 1.09 && high < 1.11);
    }

    #[test]
    fn the_most_alike_stand_in_and_each_difference_widens() {
        let ampere = Likeness { architecture: Architecture::Ampere, ..PLAIN };
        let experts = Likeness { has_experts: true, ..PLAIN };
        let table = [judged(ampere, 5, 0.1), judged(experts, 50, 0.01)];
        let found = spread(Figure::Step, (&PLAIN, &[]), &table);
        assert_eq!(
            (found.unlike.as_slice(), found.n_models),
            ([Trait::Architecture].as_slice(), 5)
        );
        let same = spread(Figure::Step, (&ampere, &[]), &table);
        assert!(same.unlike.is_empty() && same.deviation < found.deviation);
        let tests = Likeness { stack: Family::MegatronTests, ..PLAIN };
        let with_tests = [table[0], judged(tests, 9, 1.0)];
        assert_eq!(spread(Figure::Step, (&PLAIN, &[]), &with_tests), found);
        assert!(spread(Figure::Step, (&tests, &[]), &with_tests).unlike.is_empty());
        let wide = spread(Figure::Step, (&experts, &[]), &table[..1]);
        assert_eq!(wide.unlike, [Trait::Architecture, Trait::Experts]);
        assert!(wide.deviation > found.deviation);
    }

    #[test]
    fn what_was_measured_of_a_difference_no_longer_counts() {
        let table = [judged(Likeness { bits: 8, is_sharded: true, ..PLAIN }, 5, 0.1)];
        let of = |measured: &[Trait]| spread(Figure::Step, (&PLAIN, measured), &table);
        let [none, one, both] = [
            of(&[]),
            of(&[Trait::Operands]),
            of(&[Trait::Operands, Trait::Sharding, Trait::Experts]),
        ];
        assert!(none.deviation > one.deviation && one.deviation > both.deviation);
        // (4 x 0.0144 + 5 x 0.01) / 9; it is still said that no run was like it.
        assert!((both.deviation - (0.1076_f64 / 9.0).sqrt()).abs() < 1e-12);
        assert_eq!(both.unlike, none.unlike);
    }

    #[test]
    fn times_say_nothing_of_peaks() {
        let table = [judged(PLAIN, 12, 0.05)];
        let found = spread(Figure::Peak, (&PLAIN, &[]), &table);
        assert_eq!((found.n_models, found.sets.len()), (0, 0));
        let peaks = [Judged { figure: Figure::Peak, ..table[0] }];
        // (4 x 0.0016 + 12 x 0.0025) / 16.
        let like = spread(Figure::Peak, (&PLAIN, &[]), &peaks);
        assert!((like.deviation - 0.002_275_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_rests_on_more_is_narrower() {
        let [nominal, fitted, corrected] = [Basis::Nominal, Basis::Fitted, Basis::Corrected];
        let table = [0.05, 0.05].map(|root| judged(PLAIN, 12, root));
        let table = [table[0], Judged { figure: Figure::Calibrated, ..table[1] }];
        let ampere = Likeness { architecture: Architecture::Ampere, ..PLAIN };
        let [wide, narrow] =
            [nominal, fitted].map(|basis| spread(basis.figure(), (&ampere, &[]), &table));
        assert!(wide.interval().high > narrow.interval().high);
        let interval = corrected.corrected().unwrap();
        assert_eq!(interval.around(2.0), [2.0 * interval.low, 2.0 * interval.high]);
        assert!(interval.high < narrow.interval().high && fitted.corrected().is_none());
    }
}
