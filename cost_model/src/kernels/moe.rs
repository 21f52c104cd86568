//! How long one fused mixture-of-experts layer takes on its most loaded rank: a closed form of ten
//! constants, with a residual table on top.
//!
//! Pairs (of token and expert) spread over the experts by a power law whose exponent `a` is stated.
//! With more pairs than experts the loads are the quantiles of a density `x^-a` on `[1, 0.8
//! tokens]`, else they follow `rank^-a`; both are scaled to the count of pairs, none exceeds the
//! count of tokens, and fractions are dealt to the largest remainders. Experts fall on ranks at
//! random, so that the heaviest of `ep` ranks holds, with `z = sqrt(2 ln ep)`:
//!
//! ```text
//! pairs   = mean + spread z sd sqrt(experts / ep (1 - 1 / ep))
//! active  = busy / ep + crowding z sqrt(busy / ep)           busy experts have a load
//! compute = 6 pairs h f / (peak ec) (1 + kc / f)
//! memory  = 2 (3 active h f + pairs (2 h + 3 f)) / (bandwidth em) (1 + km / f)
//! t       = launch + routing experts + (compute^p + memory^p)^(1/p)
//! ```
//!
//! within what a rank can hold; `f` is the expert's hidden size over the tensor-parallel size. A
//! single token's experts stand side by side, by a fitted degree, on the first rank.

use ir::measured::{ExpertLoad, GpuFacts, MoeRow};

use crate::kernels::origin::Origin;
use crate::numeric::least_squares::{Parameter, fit};
use crate::numeric::p_norm::joined;
use crate::numeric::residual::Residual;

/// Count of the fitted constants.
pub const N_CONSTANTS: u32 = 10;
/// Nearest fitted points that the residual table averages over.
const NEAREST: usize = 8;
/// Experts that a layer may have; more are counted as this many.
const MAX_EXPERTS: u64 = 4096;
/// Largest load that the power law draws, per token.
const LARGEST_SHARE: f64 = 0.8;
/// How far apart a balanced and a power-law load count, and exponents that differ by 1.
const LOAD_DISTANCE: f64 = 2.0;

pub(crate) const START: [Parameter; N_CONSTANTS as usize] = [
    Parameter::new(40.0, 5.0, 150.0),
    Parameter::new(0.5, 0.05, 1.0),
    Parameter::new(0.7, 0.1, 1.2),
    Parameter::new(1.2, 1.0, 6.0),
    Parameter::new(1.0, 0.0, 4.0),
    Parameter::new(0.5, 0.0, 4.0),
    Parameter::new(50.0, 0.0, 3000.0),
    Parameter::new(0.05, 0.0, 2.0),
    Parameter::new(20.0, 0.0, 2000.0),
    Parameter::new(0.5, 0.0, 1.0),
];

/// Constants in the order of the fit, times in microseconds.
pub type Constants = [f64; N_CONSTANTS as usize];

/// A predicted time and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Seconds.
    pub seconds: f64,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a layer asks of its ranks, worked out once per layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    tokens: f64,
    topk: f64,
    experts: f64,
    ranks: f64,
    hidden: f64,
    ffn: f64,
    busy: f64,
    deviation: f64,
    skewed: bool,
    place: [f64; 9],
}

impl From<&MoeRow> for Layer {
    fn from(row: &MoeRow) -> Self {
        let loads = loads(row.tokens, row.topk, row.experts, row.load);
        let n = loads.len().max(1) as f64;
        let mean = loads.iter().sum::<f64>() / n;
        let variance = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / n;
        let exponent = match row.load {
            ExpertLoad::Balanced => None,
            ExpertLoad::PowerLaw(exponent) => Some(exponent),
        };
        let log = |count: u64| (count.max(1) as f64).log2();
        Self {
            tokens: row.tokens as f64,
            topk: row.topk as f64,
            experts: row.experts as f64,
            ranks: row.moe_ep.max(1) as f64,
            hidden: row.hidden as f64,
            ffn: row.expert_ffn as f64 / row.moe_tp.max(1) as f64,
            busy: loads.iter().filter(|load| **load > 0.0).count() as f64,
            deviation: variance.sqrt(),
            skewed: exponent.is_some(),
            place: [
                log(row.tokens),
                log(row.hidden),
                log(row.expert_ffn),
                log(row.topk),
                log(row.experts),
                log(row.moe_tp),
                log(row.moe_ep),
                exponent.map_or(0.0, |_| LOAD_DISTANCE),
                exponent.unwrap_or(0.0) * LOAD_DISTANCE,
            ],
        }
    }
}

/// Whole pairs of each expert, most loaded first; they add up to `tokens x topk` as long as that is
/// at most `tokens x experts`.
#[must_use]
pub fn loads(tokens: u64, topk: u64, experts: u64, load: ExpertLoad) -> Vec<f64> {
    let n = experts.clamp(1, MAX_EXPERTS);
    let [t, count] = [tokens, n].map(|count| count as f64);
    let pairs = t * topk as f64;
    let mut weights: Vec<f64> = match load {
        ExpertLoad::Balanced => vec![1.0; n as usize],
        ExpertLoad::PowerLaw(a) if pairs > count => {
            let top = (LARGEST_SHARE * t).max(1.0 + 1e-4);
            (0..n).rev().map(|index| power_quantile((index as f64 + 0.5) / count, a, top)).collect()
        }
        ExpertLoad::PowerLaw(a) => (1..=n).map(|rank| (rank as f64).powf(-a)).collect(),
    };
    scale(&mut weights, pairs.min(t * count), t);
    whole(&mut weights, pairs.min(t * count));
    weights
}

/// The quantile `u` of the density that is proportional to `x^-a` on `[1, top]`.
fn power_quantile(u: f64, a: f64, top: f64) -> f64 {
    let power = 1.0 - a;
    if power.abs() < 1e-9 {
        return top.powf(u);
    }
    ((top.powf(power) - 1.0) * u + 1.0).powf(1.0 / power)
}

/// Scales weights to a total while none exceeds a limit: what stands out goes to the others in
/// proportion.
pub(crate) fn scale(weights: &mut [f64], total: f64, limit: f64) {
    // The largest come first, so that what stands out is at the front.
    let mut rest: f64 = weights.iter().sum();
    let mut n_capped = 0;
    while let Some(weight) = weights.get(n_capped) {
        let factor = (total - limit * n_capped as f64) / rest;
        if weight * factor <= limit {
            weights.iter_mut().skip(n_capped).for_each(|weight| *weight *= factor);
            break;
        }
        rest -= weight;
        n_capped += 1;
    }
    weights.iter_mut().take(n_capped).for_each(|weight| *weight = limit);
}

/// Rounds loads down and deals what is left of the total to the largest remainders.
fn whole(loads: &mut [f64], total: f64) {
    let floors: Vec<f64> = loads.iter().map(|load| (load + 1e-9).floor()).collect();
    let left = (total - floors.iter().sum::<f64>()).round().max(0.0) as usize;
    let mut order: Vec<(usize, f64)> =
        loads.iter().zip(&floors).map(|(load, floor)| load - floor).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    loads.copy_from_slice(&floors);
    for (index, _) in order.into_iter().take(left) {
        if let Some(load) = loads.get_mut(index) {
            *load += 1.0;
        }
    }
}

/// A model of the layers of one GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    facts: GpuFacts,
    /// Constants of the closed form.
    pub constants: Constants,
    residual: Residual<9>,
}

impl Model {
    /// Fits the form and the residual table on rows of one GPU: layers and their times in seconds.
    #[must_use]
    pub fn fit(facts: GpuFacts, rows: &[(Layer, f64)]) -> Self {
        let measured: Vec<f64> = rows.iter().map(|(_, time)| *time).collect();
        let array = |values: &[f64]| {
            let mut constants = START.map(|parameter| parameter.start);
            for (constant, value) in constants.iter_mut().zip(values) {
                *constant = *value;
            }
            constants
        };
        let fitted = fit(&START, &measured, |values, predicted| {
            let constants = array(values);
            for (time, (layer, _)) in predicted.iter_mut().zip(rows) {
                *time = seconds(&facts, &constants, layer);
            }
        });
        let constants = array(&fitted.values);
        let points = rows
            .iter()
            .map(|(layer, time)| (layer.place, (time / seconds(&facts, &constants, layer)).ln()));
        Self { facts, constants, residual: Residual::new(points, NEAREST) }
    }

    /// The closed form with given constants.
    #[must_use]
    pub fn of(facts: GpuFacts, constants: Constants) -> Self {
        Self { facts, constants, residual: Residual::new([], NEAREST) }
    }

    /// The same without its residual table.
    #[must_use]
    pub fn closed(&self) -> Self {
        Self { residual: Residual::new([], NEAREST), ..self.clone() }
    }

    /// Time of one layer.
    #[must_use]
    pub fn predict(&self, layer: &Layer) -> Predicted {
        let closed = seconds(&self.facts, &self.constants, layer);
        let seconds = closed * self.residual.factor(&layer.place);
        let seen = self.residual.holds(&layer.place);
        Predicted { seconds, origin: if seen { Origin::Measured } else { Origin::Interpolated } }
    }
}

pub(crate) fn seconds(facts: &GpuFacts, constants: &Constants, layer: &Layer) -> f64 {
    let [_, _, _, _, spread, crowding, _, _, _, together] = *constants;
    let Layer { tokens, topk, experts, ranks, hidden: h, ffn: f, busy, deviation, .. } = *layer;
    let per_rank = (experts / ranks).max(1.0);
    let cap = tokens * topk.min(per_rank);
    let z = (2.0 * ranks.ln()).max(0.0).sqrt();
    let share = (experts / ranks * (1.0 - 1.0 / ranks)).max(0.0).sqrt();
    let (pairs, active) = if tokens <= 1.0 && layer.skewed {
        let one = topk.min(per_rank).powf(together) * (topk / ranks).max(1.0).powf(1.0 - together);
        (one, one)
    } else {
        let pairs = tokens * topk / ranks + spread * z * deviation * share;
        (pairs, busy / ranks + crowding * z * (busy / ranks).sqrt())
    };
    let pairs = pairs.min(cap).max(1.0);
    let active = active.min(per_rank).min(pairs).max(1.0);
    let flops = 6.0 * pairs * h * f;
    let bytes = 2.0 * (3.0 * active * h * f + pairs * (2.0 * h + 3.0 * f));
    on_rank(facts, constants, &RankLoad { flops, bytes, experts, ffn: f }).seconds()
}

/// What one rank has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankLoad {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// Experts of the layer.
    pub experts: f64,
    /// Hidden size of an expert on this rank.
    pub ffn: f64,
}

/// Where the time of a layer goes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerParts {
    /// Start-up and routing.
    pub launch_s: f64,
    /// Products alone.
    pub compute_s: f64,
    /// Memory traffic alone.
    pub memory_s: f64,
    /// Exponent that joins the two.
    pub p_norm: f64,
}

impl LayerParts {
    /// The whole.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.launch_s + joined(self.compute_s, self.memory_s, self.p_norm)
    }
}

/// Where the time of a layer goes on a rank whose load is known.
#[must_use]
pub fn on_rank(facts: &GpuFacts, constants: &Constants, load: &RankLoad) -> LayerParts {
    let [launch, ec, em, p_norm, _, _, kc, routing, km, _] = *constants;
    let f = load.ffn.max(1.0);
    LayerParts {
        launch_s: (launch + routing * load.experts) * 1e-6,
        compute_s: load.flops / (facts.peak * ec) * (1.0 + kc / f),
        memory_s: load.bytes / (facts.memory_bandwidth * em) * (1.0 + km / f),
        p_norm,
    }
}

#[cfg(test)]
mod tests;
