//! How wrong a constant of the cost model may be before another plan wins.

use std::sync::Arc;

use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::model::priced::Passes;
use cost_model::runs::oracle::Place;

use super::Options;
use super::fit::Fitted;
use super::judge::{Judged, judged};

/// Factors beyond which nobody is that wrong.
const FURTHEST: f64 = 8.0;
/// First factor that is tried.
const NEAREST: f64 = 1.02;
/// Steps from the first factor to the last.
const STEPS: u32 = 12;
/// Halvings of the step in which the order turns.
const HALVINGS: u32 = 8;

/// With which factor on a constant another plan wins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flip {
    /// The constant.
    pub constant: Constant,
    /// Its value over the one that was planned with.
    pub factor: f64,
    /// Which of the other plans wins there.
    pub winner: usize,
}

/// For each constant and direction the nearest factor at which one of `others` is faster than
/// `best`, nearest first. Stages and recompute stay as they are. What is not known when the search
/// has to stop is left out.
#[must_use]
pub fn flips(
    pricing: &Pricing<'_>,
    best: &Judged,
    others: &[Judged],
    options: &Options,
) -> Vec<Flip> {
    let mut flips = Vec::new();
    for constant in Constant::ALL {
        for up in [true, false] {
            if others.is_empty() || options.stop().is_some() {
                break;
            }
            let at = |size: f64| if up { size } else { 1.0 / size };
            let winner = |size: f64| match options.stop() {
                Some(_) => None,
                None => winner(pricing, best, others, (constant, at(size))),
            };
            if let Some((size, winner)) = nearest(&winner) {
                flips.push(Flip { constant, factor: at(size), winner });
            }
        }
    }
    flips.sort_by(|a, b| a.factor.ln().abs().total_cmp(&b.factor.ln().abs()));
    flips
}

fn nearest(winner: &dyn Fn(f64) -> Option<usize>) -> Option<(f64, usize)> {
    let ratio = (FURTHEST / NEAREST).powf(1.0 / f64::from(STEPS));
    let mut low = 1.0;
    let mut high = NEAREST;
    for _ in 0..=STEPS {
        if let Some(mut found) = winner(high) {
            for _ in 0..HALVINGS {
                let middle = f64::midpoint(low, high);
                match winner(middle) {
                    Some(other) => (high, found) = (middle, other),
                    None => low = middle,
                }
            }
            return Some((high, found));
        }
        low = high;
        high *= ratio;
    }
    None
}

/// The fastest of the other plans if it is faster than `best` under a changed constant.
fn winner(
    pricing: &Pricing<'_>,
    best: &Judged,
    others: &[Judged],
    (constant, factor): (Constant, f64),
) -> Option<usize> {
    let value = pricing.constants.get(constant) * factor;
    if constant.most().is_some_and(|most| value > most) {
        return None;
    }
    let constants = pricing.constants.clone().with(constant, value);
    let best_step = again(pricing, &constants, best)?;
    let steps = others
        .iter()
        .enumerate()
        .filter_map(|(index, other)| Some((again(pricing, &constants, other)?, index)));
    steps.min().filter(|(step, _)| *step < best_step).map(|(_, index)| index)
}

/// Nanoseconds of a plan under other constants.
fn again(pricing: &Pricing<'_>, constants: &Constants, plan: &Judged) -> Option<u64> {
    let pricing = Pricing { constants, ..*pricing };
    let degrees = &plan.configuration.degrees;
    let passes = Arc::new(Passes::of(&pricing, degrees));
    let priced = plan.configuration.priced(pricing, passes);
    let n_stages = plan.fitted.blocks.len();
    let of =
        |(index, (blocks, recompute)): (usize, (&std::ops::Range<u32>, &ir::card::Recompute))| {
            priced.figures(blocks, *recompute, Place::of(index, n_stages))
        };
    let pairs = plan.fitted.blocks.iter().zip(&plan.fitted.recompute).enumerate();
    let figures = pairs.map(of).collect();
    let fitted = Fitted { figures, ..plan.fitted.clone() };
    judged(&priced, &plan.configuration, fitted).ok().map(|judged| judged.step.0)
}
