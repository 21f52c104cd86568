//! The integer program of a fleet.
//!
//! ```text
//! min sum of cost_w x_w, or max T, over whole x_w >= 0 and flows u, v >= 0
//! sum over lanes of u_el <= sum over prefill types w of end e of rate_w x_w
//! sum over lanes of v_le <= sum over decode types w of end e of rate_w x_w
//! sum over ends of u_el = sum over ends of v_le <= limit_l
//! sum of u_el + sum over aggregated types w of rate_w x_w >= R, or T
//! workers on hosts of each pool (`packing`); limits of devices and price
//! ```
//!
//! Rates are in 10^-3 of R, so that the solver's tolerance of 10^-7 is 10^-10 of it.

use super::ground::{Ground, Kept};
use super::packing::{self, Arc};
use super::question::Role;
use super::units::limit_parts;
use crate::given::milp::program::Program;

/// What R, or the greatest rate, is in the program.
const WHOLE: f64 = 1e3;
/// A fleet that serves less than 2^-20 of all workers at once serves nothing: more than what workers that are
/// whole but for the solver's tolerance serve.
const LEAST_DIGITS: u32 = 20;
/// Greatest side of a row of costs.
const GREATEST_SIDE: f64 = 1e5;

/// A program and what its columns are.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) program: Program,
    /// Workers of each kept type.
    pub(super) x: Vec<u32>,
    /// Whether workers of each kept type are in use, where that counts.
    used: Vec<u32>,
    pub(super) arcs: Vec<Arc>,
    /// Column of the rate.
    served: u32,
    /// Units of rate of the program's unit.
    per: f64,
    /// What is minimised, of the program's unit.
    pub(super) cost_per: f64,
}

/// What a run minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The rate, the other way round.
    Rate,
    /// Units of cost.
    Cost,
    Devices,
    Types,
    Workers,
}

impl Form {
    pub(super) fn new(ground: &Ground) -> Self {
        let mut program = Program::default();
        let x: Vec<u32> = ground.kept.iter().map(|of| program.whole(of.most as f64)).collect();
        let whole = ground.demand.unwrap_or_else(|| most_served(ground)).max(1);
        let per = whole as f64 / WHOLE;
        let served = program.between(0.0, 2.0 * WHOLE);
        let mut form =
            Self { program, x, used: Vec::new(), arcs: Vec::new(), served, per, cost_per: 1.0 };
        form.rates(ground);
        form.serve(ground.demand.unwrap_or(whole >> LEAST_DIGITS));
        form.arcs = packing::rows(ground, &mut form.program, &form.x);
        let question = ground.question;
        if let Some(most) = question.most_devices {
            form.at_most(ground, |of| of.devices, most);
        }
        if let Some(most) = question.most_price_per_hour {
            form.at_most(ground, |of| of.price, limit_parts(most));
        }
        form
    }

    /// Rows of rates.
    fn rates(&mut self, ground: &Ground) {
        let Self { program, x, per, .. } = self;
        // More than all that is asked for is as good as all.
        let of = |role: Role, end: usize| {
            let here = ground.kept.iter().zip(x.iter());
            let here = here.filter(move |(of, _)| (of.role, of.end) == (role, end));
            here.map(|(of, x)| (*x, -(of.rate as f64 / *per).min(WHOLE))).collect::<Vec<_>>()
        };
        let mut through: Vec<[Vec<(u32, f64)>; 2]> = vec![Default::default(); ground.lanes.len()];
        for (side, role) in [Role::Prefill, Role::Decode].into_iter().enumerate() {
            for end in 0..ground.n_ends[side] {
                let mut row = of(role, end);
                for (lane, through) in ground.lanes.iter().zip(&mut through) {
                    if [&lane.from, &lane.to][side].contains(&end) {
                        let most = lane.most.map_or(2.0 * WHOLE, |most| most as f64 / *per);
                        let column = program.between(0.0, most.min(2.0 * WHOLE));
                        row.push((column, 1.0));
                        through[side].push((column, 1.0));
                    }
                }
                program.at_most(0.0, row);
            }
        }
        for (lane, [enter, leave]) in ground.lanes.iter().zip(&through) {
            let back = leave.iter().map(|(column, _)| (*column, -1.0));
            program.equal(0.0, enter.iter().copied().chain(back));
            if let Some(most) = lane.most {
                program.at_most((most as f64 / *per).min(2.0 * WHOLE), enter.iter().copied());
            }
        }
        let mut all = of(Role::Aggregated, 0);
        all.extend(through.iter().flat_map(|[enter, _]| enter).map(|(column, _)| (*column, -1.0)));
        all.push((self.served, 1.0));
        program.at_most(0.0, all);
    }

    /// At least this rate, in units.
    pub(super) fn serve(&mut self, units: i128) {
        let column = &mut self.program.columns[self.served as usize];
        column.lower = (units as f64 / self.per).clamp(0.0, column.upper);
    }

    /// At most this rate, in units.
    pub(super) fn serve_at_most(&mut self, units: i128) {
        let column = &mut self.program.columns[self.served as usize];
        column.upper = (units as f64 / self.per).clamp(column.lower, column.upper);
    }

    /// A sum over all workers is at most this.
    fn at_most(&mut self, ground: &Ground, each: impl Fn(&Kept) -> u64, most: u64) {
        let of = |(kept, x): (&Kept, &u32)| (*x, each(kept));
        let entries: Vec<(u32, u64)> = ground.kept.iter().zip(&self.x).map(of).collect();
        self.row(&entries, most);
    }

    /// A sum of whole numbers is at most this.
    fn row(&mut self, entries: &[(u32, u64)], most: u64) {
        let by = divisor(entries.iter().map(|(_, factor)| *factor).chain([most]));
        let entries = entries.iter().map(|(column, factor)| (*column, *factor as f64 / by));
        self.program.at_most(most as f64 / by, entries);
    }

    /// Factors of what a run minimises.
    fn factors(&self, ground: &Ground, aim: Aim) -> Vec<(u32, u64)> {
        let each = |factor: fn(&Kept) -> u64| {
            ground.kept.iter().zip(&self.x).map(|(of, x)| (*x, factor(of))).collect()
        };
        match aim {
            Aim::Rate => Vec::new(),
            Aim::Cost => each(|of| of.cost),
            Aim::Devices => each(|of| of.devices),
            Aim::Types => self.used.iter().map(|used| (*used, 1)).collect(),
            Aim::Workers => each(|_| 1),
        }
    }

    /// Makes a run minimise this.
    pub(super) fn aim(&mut self, ground: &Ground, aim: Aim) {
        if aim == Aim::Types && self.used.is_empty() {
            for (of, x) in ground.kept.iter().zip(&self.x) {
                let used = self.program.binary();
                self.program.at_most(0.0, [(*x, 1.0), (used, -(of.most as f64))]);
                self.used.push(used);
            }
        }
        for column in &mut self.program.columns {
            column.cost = 0.0;
        }
        let factors = self.factors(ground, aim);
        self.cost_per = divisor(factors.iter().map(|(_, factor)| *factor));
        for (column, factor) in factors {
            self.program.columns[column as usize].cost = factor as f64 / self.cost_per;
        }
        if aim == Aim::Rate {
            self.program.columns[self.served as usize].cost = -1.0;
        }
    }

    /// Nothing has more of this.
    pub(super) fn cap(&mut self, ground: &Ground, aim: Aim, most: u64) {
        let entries = self.factors(ground, aim);
        self.row(&entries, most);
    }

    /// Nothing has less of this, as was proved.
    pub(super) fn floor(&mut self, ground: &Ground, aim: Aim, least: u64) {
        let entries = self.factors(ground, aim);
        let by = divisor(entries.iter().map(|(_, factor)| *factor).chain([least]));
        let entries = entries.into_iter().map(|(column, factor)| (column, factor as f64 / by));
        self.program.at_least(least as f64 / by, entries);
    }

    /// Workers of each kept type in a solution.
    pub(super) fn counts(&self, values: &[f64]) -> Option<Vec<u32>> {
        let count = |x: &u32| values.get(*x as usize).map(|value| value.round().max(0.0) as u32);
        self.x.iter().map(count).collect()
    }

    /// A rate of the program, in units.
    pub(super) fn units(&self, served: f64) -> i128 {
        (served * self.per) as i128
    }

    /// Values of the columns for a start: those of a solution of the same program with fewer columns.
    pub(super) fn start(&self, mut values: Vec<f64>) -> Vec<f64> {
        let n_before = values.len();
        values.resize(self.program.columns.len(), 0.0);
        for (x, used) in self.x.iter().zip(&self.used) {
            if *used as usize >= n_before && values[*x as usize] > 0.5 {
                values[*used as usize] = 1.0;
            }
        }
        values
    }
}

/// By what figures are divided, so that none is too great for a solver.
fn divisor(figures: impl Iterator<Item = u64>) -> f64 {
    (figures.max().unwrap_or(0) as f64 / GREATEST_SIDE).max(1.0)
}

/// A rate, in units, that no fleet exceeds: all that can be of use at once.
fn most_served(ground: &Ground) -> i128 {
    let of = |role: Role| {
        let types = ground.kept.iter().filter(move |of| of.role == role);
        types.map(|of| of.rate * i128::from(of.most)).sum::<i128>()
    };
    of(Role::Aggregated) + of(Role::Prefill).min(of(Role::Decode))
}
