//! MoE layers: a curve over tokens for each shape.

use ir::engine_tables::{EngineTables, Grid, MoeKey, NumberFormat, SystemRates, Unit};

use super::answer::Answer;
use super::bound::{self, Layer};
use super::grid::{self, Form};

/// Distribution of tables without skewed loads.
const EVEN: &str = "uniform";

/// An MoE layer on one rank.
#[derive(Clone, Copy, Debug)]
pub struct Moe<'t> {
    rates: &'t SystemRates,
    grid: Option<&'t Grid>,
    layer: Layer,
}

impl<'t> Moe<'t> {
    /// Looks up a layer; falls back to even loads where this distribution was never measured with this
    /// data type.
    #[must_use]
    pub fn new(tables: &'t EngineTables, mut key: MoeKey, is_gated: bool) -> Self {
        let is_there = |other: &MoeKey| (other.number, &other.load) == (key.number, &key.load);
        if !tables.moe.keys().any(is_there) {
            EVEN.clone_into(&mut key.load);
        }
        let layer = Layer {
            number: key.number,
            experts: f64::from(key.experts),
            per_token: f64::from(key.per_token),
            hidden: f64::from(key.hidden),
            inner: f64::from(key.inner),
            tensor: f64::from(key.tensor.max(1)),
            expert: f64::from(key.expert.max(1)),
            products: if is_gated { 3.0 } else { 2.0 },
        };
        Self { rates: &tables.rates, grid: tables.moe.get(&key), layer }
    }

    /// Time of `tokens` tokens of all ranks.
    #[must_use]
    pub fn of(&self, tokens: f64) -> Answer {
        let bound = |[tokens, ..]: &[f64; 3]| bound::moe(self.rates, self.layer, *tokens);
        let form = Form { square: None, is_cold: false, bound };
        let found = self.grid.and_then(|grid| grid::at(grid, &[tokens], &form));
        found.unwrap_or_else(|| {
            let bound = bound::moe(self.rates, self.layer, tokens);
            Answer::guessed(bound / utilisation(self.layer.number))
        })
    }
}

/// Typical utilisation of MoE layers, by data type (AIConfigurator 0.12).
fn utilisation(number: NumberFormat) -> f64 {
    match (number.unit(), number.bytes() < 1.0) {
        (Unit::Bf16, true) => 0.07,
        (Unit::Bf16, false) => 0.53,
        (Unit::Fp8 | Unit::Int8, true) => 0.15,
        (Unit::Fp8 | Unit::Int8, false) => 0.40,
        (Unit::Fp4, _) => 0.23,
    }
}
