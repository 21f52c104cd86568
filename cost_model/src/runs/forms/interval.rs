//! Between which times a predicted step is expected to lie.
//!
//! Published runs like it tell: of `n` models that ran like it, with `r` the root mean square of
//! `ln(measured / predicted)` over the runs of one of them, nothing fitted,
//!
//! ```text
//! s^2      = (4 x 0.15^2 + sum of r^2) / (4 + n) + what is unlike
//! interval = predicted x exp(-1.2816 s) .. predicted x exp(1.2816 s)
//! ```
//!
//! which holds 10 to 90 % of a normal distribution of errors; 0.15 is what is believed before any run
//! (judgement). Runs are alike in software, generation of devices, width of operands, experts, and
//! whether parameters are shared out. Where no judged run has all five in common, those that have most
//! of them stand in, and each difference adds its [`Trait::variance`] (judgement). Functional tests,
//! whose hosts bind, stand in for each other alone.

use ir::card::ZeroStage;
use ir::plan::Parallelism;
use ir::tensor::DType;

use crate::kernels::generation::Architecture;

mod judged;

pub use judged::JUDGED;

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

/// Factors on a predicted time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// One measured step in ten was below this many times the predicted one.
    pub low: f64,
    /// One in ten was above this many times.
    pub high: f64,
}

impl Interval {
    /// The interval of a predicted time, both in seconds.
    #[must_use]
    pub fn around(self, predicted_s: f64) -> [f64; 2] {
        [predicted_s * self.low, predicted_s * self.high]
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

    /// Variance of `ln(measured / predicted)` that a difference adds.
    #[must_use]
    pub const fn variance(self) -> f64 {
        match self {
            Self::Stack | Self::Architecture => 0.06 * 0.06,
            Self::Operands | Self::Sharding => 0.1 * 0.1,
            Self::Experts => 0.2 * 0.2,
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
    /// Of a run by the names of its stack and device.
    #[must_use]
    pub fn of(
        (stack, device): (&str, &str),
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
            architecture: Architecture::of(device),
            bits: match dtype.bits() {
                0..=8 => 8,
                9..=16 => 16,
                _ => 32,
            },
            is_sharded: degrees.zero >= ZeroStage::Gradients,
            has_experts,
        }
    }

    fn shares(&self, own: Trait, other: &Self) -> bool {
        match own {
            Trait::Stack => self.stack == other.stack,
            Trait::Architecture => self.architecture == other.architecture,
            Trait::Operands => self.bits == other.bits,
            Trait::Sharding => self.is_sharded == other.is_sharded,
            Trait::Experts => self.has_experts == other.has_experts,
        }
    }
}

/// Models of one published set that ran alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged<'a> {
    /// Name of the set in the accuracy table.
    pub set: &'a str,
    /// How they ran.
    pub like: Likeness,
    /// Models.
    pub n_models: u32,
    /// Sum over them of the mean square of `ln(measured / predicted)`.
    pub squares: f64,
}

/// What is believed before any run.
const BELIEVED: f64 = 0.15;
/// How many models that belief is worth.
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

/// The spread of a run by those that were judged: of those that share most of its traits, the costliest
/// difference counting most.
#[must_use]
pub fn spread<'a>(like: &Likeness, judged: &[Judged<'a>]) -> Spread<'a> {
    // Hosts that bind say nothing of runs whose hosts don't.
    let is_test = |like: &Likeness| like.stack == Family::MegatronTests;
    let judged: Vec<&Judged<'a>> =
        judged.iter().filter(|own| is_test(like) || !is_test(&own.like)).collect();
    let unlike = |own: &Judged<'_>| -> Vec<Trait> {
        Trait::ALL.into_iter().filter(|own_trait| !like.shares(*own_trait, &own.like)).collect()
    };
    let variance = |unlike: &[Trait]| unlike.iter().map(|own| own.variance()).sum::<f64>();
    let least = judged
        .iter()
        .map(|own| unlike(own))
        .min_by(|a, b| variance(a).total_cmp(&variance(b)).then_with(|| a.cmp(b)));
    let least = least.unwrap_or_else(|| Trait::ALL.to_vec());
    let nearest: Vec<&Judged<'a>> = judged.into_iter().filter(|own| unlike(own) == least).collect();
    let n_models: u32 = nearest.iter().map(|own| own.n_models).sum();
    let squares: f64 = nearest.iter().map(|own| own.squares).sum();
    let shrunk = (WORTH * BELIEVED * BELIEVED + squares) / (WORTH + f64::from(n_models));
    let mut sets: Vec<&str> = nearest.iter().map(|own| own.set).collect();
    sets.dedup();
    Spread { deviation: (shrunk + variance(&least)).sqrt(), sets, n_models, unlike: least }
}

/// Deciles of measured over predicted, less one, in percent, of the sets with more than fifty rows,
/// leaving one model out: vTrain single, vTrain multi, BigScience A100.
///
/// From the notes of `meshwright validate DIR --detail` on the tables of docs/data.md.
const FITTED: [[f64; 2]; 3] = [[-10.7, 10.8], [-4.8, 27.5], [-6.3, 8.3]];
/// The same of vTrain single leaving one model out with the table of corrections.
const CORRECTED: [[f64; 2]; 1] = [[-2.3, 1.9]];

/// The interval of 10 to 90 % where measured steps corrected the constants: the widest of the
/// published sets, because a user's cluster is none of them. `None` for nominal constants.
#[must_use]
pub fn of_measured(basis: Basis) -> Option<Interval> {
    let sets: &[[f64; 2]] = match basis {
        Basis::Nominal => return None,
        Basis::Fitted => &FITTED,
        Basis::Corrected => &CORRECTED,
    };
    let low = sets.iter().map(|[low, _]| *low).fold(0.0, f64::min);
    let high = sets.iter().map(|[_, high]| *high).fold(0.0, f64::max);
    Some(Interval { low: 1.0 + low / 100.0, high: 1.0 + high / 100.0 })
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
        Judged { set: "set", like, n_models, squares: f64::from(n_models) * root * root }
    }

    #[test]
    fn many_good_models_narrow_it_and_none_leaves_what_is_believed() {
        let of = |table: &[Judged<'static>]| spread(&PLAIN, table);
        let none = of(&[]);
        assert_eq!(none.unlike, Trait::ALL);
        assert!(none.deviation > BELIEVED);
        let good = of(&[judged(PLAIN, 12, 0.05)]);
        // (4 x 0.0225 + 12 x 0.0025) / 16.
        assert!((good.deviation - 0.0075_f64.sqrt()).abs() < 1e-12);
        assert!(of(&[judged(PLAIN, 12, 0.3)]).deviation > BELIEVED);
        let Interval { low, high } = good.interval();
        assert!((low * high - 1.0).abs() < 1e-12 && high > 1.1 && high < 1.13);
    }

    #[test]
    fn the_most_alike_stand_in_and_each_difference_widens() {
        let ampere = Likeness { architecture: Architecture::Ampere, ..PLAIN };
        let experts = Likeness { has_experts: true, ..PLAIN };
        let table = [judged(ampere, 5, 0.1), judged(experts, 50, 0.01)];
        let own = spread(&PLAIN, &table);
        assert_eq!((own.unlike.as_slice(), own.n_models), ([Trait::Architecture].as_slice(), 5));
        let same = spread(&ampere, &table);
        assert!(same.unlike.is_empty() && same.deviation < own.deviation);
        let tests = Likeness { stack: Family::MegatronTests, ..PLAIN };
        let with_tests = [table[0], judged(tests, 9, 1.0)];
        assert_eq!(spread(&PLAIN, &with_tests), own);
        assert!(spread(&tests, &with_tests).unlike.is_empty());
        let wide = spread(&experts, &table[..1]);
        assert_eq!(wide.unlike, [Trait::Architecture, Trait::Experts]);
        assert!(wide.deviation > own.deviation);
    }

    #[test]
    fn what_rests_on_more_is_narrower() {
        let [fitted, corrected] =
            [Basis::Fitted, Basis::Corrected].map(|basis| of_measured(basis).unwrap());
        assert!(fitted.low <= corrected.low && corrected.low < 1.0);
        assert!(fitted.high >= corrected.high);
        assert_eq!(corrected.around(2.0), [2.0 * corrected.low, 2.0 * corrected.high]);
        assert_eq!(of_measured(Basis::Nominal), None);
    }
}
