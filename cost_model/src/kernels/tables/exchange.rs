//! Collectives: a curve over 16-bit elements for each number of devices.

use ir::engine_tables::{EngineTables, Grid, SystemRates};
use ir::measured::CollectiveOperation;

use super::grid::{self, Form};
use super::{Answer, Class};

/// Bytes of an element.
const ELEMENT: f64 = 2.0;

/// The engine's own all-reduce.
#[derive(Clone, Copy, Debug)]
pub struct AllReduce<'t>(Group<'t>);

impl<'t> AllReduce<'t> {
    /// Looks up the all-reduce of so many devices: that of the engine, else that of the library, else
    /// that of the largest group that was measured.
    #[must_use]
    pub fn new(tables: &'t EngineTables, devices: u32) -> Self {
        let own = |devices: u32| tables.all_reduce.get(&devices).map(|grid| (devices, grid));
        let largest = || tables.all_reduce.last_key_value().map(|(devices, grid)| (*devices, grid));
        let library = || library(tables, CollectiveOperation::AllReduce, devices);
        let found = own(devices).or_else(|| library().filter(|(measured, _)| *measured == devices));
        let found = found.or_else(largest).or_else(library);
        Self(Group::new(tables, found, devices, 2.0))
    }

    /// The time of so many 16-bit elements.
    #[must_use]
    pub fn of(&self, elements: f64) -> Answer {
        self.0.of(elements)
    }
}

/// A collective of the library.
#[derive(Clone, Copy, Debug)]
pub struct Collective<'t>(Group<'t>);

impl<'t> Collective<'t> {
    /// Looks up a collective of so many devices: that of this very group, else that of the largest
    /// one that was measured.
    #[must_use]
    pub fn new(tables: &'t EngineTables, operation: CollectiveOperation, devices: u32) -> Self {
        let passes = if operation == CollectiveOperation::AllReduce { 2.0 } else { 1.0 };
        Self(Group::new(tables, library(tables, operation, devices), devices, passes))
    }

    /// The time of so many 16-bit elements, as the table counts them.
    #[must_use]
    pub fn of(&self, elements: f64) -> Answer {
        self.0.of(elements)
    }
}

/// The curve of the library for a group, or for the largest one.
fn library(
    tables: &EngineTables,
    operation: CollectiveOperation,
    devices: u32,
) -> Option<(u32, &Grid)> {
    let of = tables.collectives.range((operation, 0)..=(operation, u32::MAX));
    let exact = tables.collectives.get(&(operation, devices)).map(|grid| (devices, grid));
    exact.or_else(|| of.map(|((_, devices), grid)| (*devices, grid)).next_back())
}

/// A group of devices and the curve of one that was measured.
#[derive(Clone, Copy, Debug)]
struct Group<'t> {
    rates: &'t SystemRates,
    measured: Option<(u32, &'t Grid)>,
    devices: u32,
    /// How often each element is sent, with many devices.
    passes: f64,
}

impl<'t> Group<'t> {
    fn new(
        tables: &'t EngineTables,
        measured: Option<(u32, &'t Grid)>,
        devices: u32,
        passes: f64,
    ) -> Self {
        Self { rates: &tables.rates, measured, devices, passes }
    }

    /// The time of a ring at the rate of the links.
    fn bound(&self, devices: u32, elements: f64) -> f64 {
        let n = f64::from(devices.max(1));
        ELEMENT * self.passes * elements * (n - 1.0) / n / self.rates.group_rate(devices)
    }

    fn of(&self, elements: f64) -> Answer {
        if self.devices <= 1 {
            return Answer::default();
        }
        let bound = self.bound(self.devices, elements);
        let Some((devices, grid)) = self.measured else { return Answer::guessed(bound) };
        let form = Form { square: None, bound: |[elements, ..]: &[f64; 3]| *elements };
        let Some(answer) = grid::at(grid, &[elements], &form) else {
            return Answer::guessed(bound);
        };
        if devices == self.devices {
            return answer;
        }
        let ratio = bound / self.bound(devices, elements);
        Answer { class: Class::Extrapolated.max(answer.class), ..answer.scaled(ratio) }
    }
}
