//! GEMMs: a curve over m for each measured (n, k).

use std::ops::Range;

use ir::engine_tables::{EngineTables, Grid, NumberFormat, SystemRates, Unit};

use super::answer::{Answer, Class};
use super::bound;
use super::grid::{self, Form};

/// Largest distance of (n, k) for a transfer, octaves.
const FARTHEST: f64 = 2.0;
/// GEMMs whose utilisations are averaged.
const NEIGHBOURS: usize = 4;
/// Points at the end of a curve whose median utilisation holds beyond it.
const LAST: usize = 3;

/// A GEMM with given weights.
#[derive(Clone, Debug)]
pub struct Gemm<'t> {
    rates: &'t SystemRates,
    grid: Option<&'t Grid>,
    number: NumberFormat,
    columns: f64,
    contracted: f64,
    curves: Curves,
}

/// Measured curves for a GEMM.
#[derive(Clone, Debug)]
enum Curves {
    /// Of the same (n, k).
    Own(Range<usize>),
    /// Of other (n, k), nearest first.
    Others(Vec<Neighbour>),
}

#[derive(Clone, Debug)]
struct Neighbour {
    /// Inverse square of the distance, octaves^-2.
    weight: f64,
    columns: f64,
    contracted: f64,
    curve: Range<usize>,
}

impl<'t> Gemm<'t> {
    /// Looks up weights of shape `k x n`.
    #[must_use]
    pub fn new(tables: &'t EngineTables, number: NumberFormat, n: u64, k: u64) -> Self {
        let grid = tables.gemm.get(&number);
        let (columns, contracted) = (n as f64, k as f64);
        let curves = match grid {
            Some(grid) => curves(grid, columns, contracted),
            None => Curves::Others(Vec::new()),
        };
        Self { rates: &tables.rates, grid, number, columns, contracted, curves }
    }

    /// Time of `m` rows.
    #[must_use]
    pub fn of(&self, m: f64) -> Answer {
        let found = match (&self.curves, self.grid) {
            (Curves::Own(range), Some(grid)) => {
                self.along(grid, range, self.columns, self.contracted, m)
            }
            (Curves::Others(others), Some(grid)) => self.transferred(grid, others, m),
            (_, None) => None,
        };
        found.unwrap_or_else(|| Answer::guessed(self.bound(m) / utilisation(self.number)))
    }

    fn bound(&self, m: f64) -> f64 {
        bound::gemm(self.rates, self.number, [m, self.columns, self.contracted])
    }

    fn along(&self, grid: &Grid, curve: &Range<usize>, n: f64, k: f64, m: f64) -> Option<Answer> {
        let bound = |[n, k, m]: &[f64; 3]| bound::gemm(self.rates, self.number, [*m, *n, *k]);
        let form = Form { square: None, is_cold: true, bound };
        let rows = &grid.positions(2)[curve.clone()];
        let at = |m: f64| grid::below(grid, 2, curve.clone(), &[n, k, m], &form);
        if m <= f64::from(*rows.last()?) {
            return at(m);
        }
        // Wave quantisation makes single utilisations jump: take the median of the last ones.
        let mut last: Vec<(f64, Answer)> = Vec::with_capacity(LAST);
        for rows in rows.iter().rev().take(LAST) {
            let answer = at(f64::from(*rows))?;
            last.push((answer.seconds / bound(&[n, k, f64::from(*rows)]), answer));
        }
        last.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (time, answer) = last[last.len() / 2];
        Some(Answer { seconds: time * bound(&[n, k, m]), class: Class::Extrapolated, ..answer })
    }

    /// Time at the mean utilisation of the nearest GEMMs whose curves cover `m`, or of the nearest ones
    /// at all if none does.
    fn transferred(&self, grid: &Grid, others: &[Neighbour], m: f64) -> Option<Answer> {
        let rows = grid.positions(2);
        let reaches = |other: &&Neighbour| {
            let (first, last) = (rows[other.curve.start], rows[other.curve.end - 1]);
            f64::from(first) <= m && m <= f64::from(last)
        };
        let (mut weights, mut sum, mut nearest) = (0.0, 0.0, None);
        let mut add = |other: &Neighbour| {
            let Neighbour { columns, contracted, .. } = *other;
            let Some(answer) = self.along(grid, &other.curve, columns, contracted, m) else {
                return;
            };
            let bound = bound::gemm(self.rates, self.number, [m, columns, contracted]);
            nearest.get_or_insert(answer);
            weights += other.weight;
            sum += other.weight * bound / answer.seconds;
        };
        if others.iter().any(|other| reaches(&other)) {
            others.iter().filter(reaches).take(NEIGHBOURS).for_each(&mut add);
        } else {
            others.iter().take(NEIGHBOURS).for_each(&mut add);
        }
        let Answer { class, source, .. } = nearest?;
        let seconds = self.bound(m) / (sum / weights);
        Some(Answer { seconds, class: Class::Transferred.max(class), source })
    }
}

/// The curve of (n, k) itself, or those of its neighbours.
fn curves(grid: &Grid, columns: f64, contracted: f64) -> Curves {
    let mut found: Vec<(f64, Neighbour)> = Vec::new();
    let (mut widest, mut deepest) = (0.0_f64, 0.0_f64);
    for (i, n) in grid.positions(0).iter().enumerate() {
        for j in grid.below(0, i) {
            let (n, k) = (f64::from(*n), f64::from(grid.positions(1)[j]));
            let curve = grid.below(1, j);
            if (n, k) == (columns, contracted) {
                return Curves::Own(curve);
            }
            (widest, deepest) = (widest.max(n), deepest.max(k));
            let (far, deep) = ((n / columns).log2(), (k / contracted).log2());
            let square = far * far + deep * deep;
            found.push((
                square.sqrt(),
                Neighbour { weight: 1.0 / square, columns: n, contracted: k, curve },
            ));
        }
    }
    // A head of a large vocabulary lies beyond the table on one axis; large GEMMs differ little.
    let beyond = [columns > widest, contracted > deepest];
    if found.iter().all(|(distance, _)| *distance > FARTHEST) && beyond[0] != beyond[1] {
        found.retain(|(_, other)| {
            let ratio =
                if beyond[0] { other.contracted / contracted } else { other.columns / columns };
            ratio.log2().abs() <= FARTHEST
        });
    } else {
        found.retain(|(distance, _)| *distance <= FARTHEST);
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    Curves::Others(found.into_iter().map(|(_, other)| other).collect())
}

/// Typical utilisation of GEMMs, by data type (AIConfigurator 0.12).
fn utilisation(number: NumberFormat) -> f64 {
    match number.unit() {
        Unit::Bf16 => 0.70,
        Unit::Fp8 | Unit::Int8 => 0.45,
        Unit::Fp4 => 0.30,
    }
}
