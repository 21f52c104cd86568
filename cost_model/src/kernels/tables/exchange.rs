//! Collectives: a curve over 16-bit elements for each group size.

use ir::engine_tables::{EngineTables, Grid, SystemRates};
use ir::measured::CollectiveOperation;

use super::answer::{Answer, Class};
use super::grid::{self, Form};

/// Bytes of an element.
const ELEMENT: f64 = 2.0;

/// The all-reduce of the engine.
#[derive(Clone, Copy, Debug)]
pub struct AllReduce<'t>(Group<'t>);

impl<'t> AllReduce<'t> {
    /// Looks up the all-reduce of `devices` devices: the engine's, else NCCL's, else that of the largest
    /// measured group.
    #[must_use]
    pub fn new(tables: &'t EngineTables, devices: u32) -> Self {
        let own = |devices: u32| tables.all_reduce.get(&devices).map(|grid| (devices, grid));
        let largest = || tables.all_reduce.last_key_value().map(|(devices, grid)| (*devices, grid));
        let library = || library(tables, CollectiveOperation::AllReduce, devices);
        let found = own(devices).or_else(|| library().filter(|(measured, _)| *measured == devices));
        let found = found.or_else(largest).or_else(library);
        Self(Group::new(tables, found, devices, 2.0))
    }

    /// Time of an all-reduce of `elements` 16-bit elements.
    #[must_use]
    pub fn of(&self, elements: f64) -> Answer {
        self.0.of(elements)
    }
}

/// A collective of NCCL.
#[derive(Clone, Copy, Debug)]
pub struct Collective<'t>(Group<'t>);

impl<'t> Collective<'t> {
    /// Looks up a collective of `devices` devices, else of the largest measured group.
    #[must_use]
    pub fn new(tables: &'t EngineTables, operation: CollectiveOperation, devices: u32) -> Self {
        let passes = if operation == CollectiveOperation::AllReduce { 2.0 } else { 1.0 };
        Self(Group::new(tables, library(tables, operation, devices), devices, passes))
    }

    /// Time for `elements` 16-bit elements, counted as in the table.
    #[must_use]
    pub fn of(&self, elements: f64) -> Answer {
        self.0.of(elements)
    }
}

/// The NCCL curve of a group, or of the largest one.
fn library(
    tables: &EngineTables,
    operation: CollectiveOperation,
    devices: u32,
) -> Option<(u32, &Grid)> {
    let of = tables.collectives.range((operation, 0)..=(operation, u32::MAX));
    let exact = tables.collectives.get(&(operation, devices)).map(|grid| (devices, grid));
    exact.or_else(|| of.map(|((_, devices), grid)| (*devices, grid)).next_back())
}

/// A group of devices, and the curve of the group that stands for it.
#[derive(Clone, Copy, Debug)]
struct Group<'t> {
    rates: &'t SystemRates,
    measured: Option<(u32, &'t Grid)>,
    devices: u32,
    /// Sends of each element in a large ring.
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

    /// Time of a ring at full link bandwidth, seconds.
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
        let form =
            Form { square: None, is_cold: false, bound: |[elements, ..]: &[f64; 3]| *elements };
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
