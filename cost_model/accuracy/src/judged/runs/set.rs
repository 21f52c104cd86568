//! Published runs as plans on systems under stacks, and how they are predicted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::kernels::stack::preset;
use cost_model::numeric::least_squares::{Parameter, fit};
use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::corrections::NONE;
use cost_model::runs::forms::fit::Sample;
use cost_model::runs::forms::run::Timed;
use cost_model::runs::forms::run::{Gradients, Run};
use cost_model::runs::forms::step::Steps;
use cost_model::runs::forms::system::System;
use ir::grid::Grid;
use ir::plan::Parallelism;
use ir::stack::{ExpertCosts, Stack};
use planner::training::schedule;

use crate::judged::own_steps::{self, Own};
use crate::readers::run::{Hosts, RunRow};

/// Hosts as prices see them.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Devices and links.
    pub system: System,
    /// Bytes that a plan may use of a device; `None` = unlimited.
    pub limit: Option<u64>,
}

/// A row as a run.
pub(super) struct Row<'a> {
    pub(super) row: &'a RunRow,
    pub(super) run: Run,
    pub(super) machine: &'a Machine,
    stack: Stack,
}

impl Row<'_> {
    /// What a fit takes of it.
    pub(super) fn sample(&self) -> Sample<'_> {
        Sample { run: &self.run, system: &self.machine.system, time_s: self.row.time_s }
    }
}

/// Schedules by ranks, chunks and micro-batches; `None` where there is none.
type Grids = BTreeMap<(u32, u32, u32), Option<Arc<Grid>>>;

/// Rows of one table.
pub(super) struct Set<'a> {
    pub(super) part: &'static str,
    /// Rows that are judged; those of one machine and stack stand together.
    pub(super) rows: Vec<Row<'a>>,
    grids: RefCell<Grids>,
}

/// What may be fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Term {
    /// A constant of every stack.
    Constant(Constant),
    /// A figure of what experts cost, by its place in [`ExpertCosts::scaled`], as a factor on that of
    /// [`NOMINAL_EXPERTS`]; the first one is of both kinds of hosts, the second of Grace's over the
    /// other's.
    Experts(usize),
}

/// What experts are believed to cost before any mixture is seen: launches of three passes of the launch
/// floor of vTrain (f8dda847), dispatchers that take as many kernels, half of them recorded.
const NOMINAL_EXPERTS: ExpertCosts = ExpertCosts {
    launches_s: [2.4e-3; 2],
    dispatched: [1.0; 2],
    recorded: 0.5,
    narrow: 1.0,
    biases: 1.0,
};

impl Term {
    /// Standard deviation of the logarithm of a factor that is believed beforehand; of experts judgement.
    const fn log_sd(self) -> f64 {
        match self {
            Self::Constant(constant) => constant.log_sd(),
            // One thread launches on either kind of host.
            Self::Experts(1) => 0.15,
            Self::Experts(_) => 0.35,
        }
    }
}

/// Factors on what is fitted.
pub(super) type Factors = Vec<(Term, f64)>;

/// How far a factor may go from one: this many times as much, and as little.
const FURTHEST: f64 = 12.0;
/// How far above its start the bound of a constant is that starts at its greatest value.
const INSIDE: f64 = 1.000_001;

impl<'a> Set<'a> {
    /// The rows whose hosts and stack are known. Of degrees that a table leaves open, those are
    /// chosen whose step is predicted shortest by nominal constants among those that fit.
    pub(super) fn new(
        part: &'static str,
        rows: &'a [RunRow],
        machines: &'a BTreeMap<Hosts, Machine>,
    ) -> Self {
        let mut set = Self { part, rows: Vec::new(), grids: RefCell::default() };
        for row in rows {
            let Some((machine, stack)) = machines.get(&row.hosts).zip(preset(row.stack)) else {
                continue;
            };
            if let Some(degrees) = set.chosen(row, machine, &stack) {
                let run = run(row, &stack, degrees.clone());
                set.rows.push(Row { row, run, machine, stack });
            }
        }
        let key = |row: &Row<'a>| (row.row.hosts.clone(), row.row.stack);
        set.rows.sort_by_key(key);
        set
    }

    fn chosen(&self, row: &'a RunRow, machine: &Machine, stack: &Stack) -> Option<&'a Parallelism> {
        if let [only] = row.degrees.as_slice() {
            return Some(only);
        }
        let constants = Constants::nominal(stack);
        let step = |degrees: &&Parallelism| {
            let run = run(row, stack, (*degrees).clone());
            let steps = Steps::new(&machine.system, stack, &constants, &NONE);
            let (step_s, peak) = self.judged(&steps, &run)?;
            machine.limit.is_none_or(|limit| peak <= limit).then_some(step_s)
        };
        let priced = row.degrees.iter().filter_map(|degrees| Some((step(&degrees)?, degrees)));
        priced.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, degrees)| degrees)
    }

    /// Seconds of a step and bytes of its fullest rank, replayed by the judge of pipelines.
    fn judged<'s>(&self, steps: &Steps<'s>, run: &'s Run) -> Option<(f64, u64)> {
        let degrees = run.degrees();
        let count = u32::try_from(degrees.n_micro_batches).ok()?;
        let key = (degrees.pipeline, degrees.virtual_stages, count);
        let mut grids = self.grids.borrow_mut();
        let grid = grids
            .entry(key)
            .or_insert_with(|| schedule::megatron(key.0, key.1, key.2).ok().map(Arc::new));
        steps.judged(run, grid.as_ref()?).ok()
    }

    /// Rows of one machine and stack, with their constants.
    fn each(
        rows: &[&Row<'a>],
        factors: &Factors,
        mut seconds: impl for<'s> FnMut(&Steps<'s>, &'s Run) -> f64,
    ) -> Vec<f64> {
        let alike =
            |a: &&Row<'a>, b: &&Row<'a>| a.row.hosts == b.row.hosts && a.row.stack == b.row.stack;
        let mut times = Vec::with_capacity(rows.len());
        for group in rows.chunk_by(alike) {
            let Some(first) = group.first() else { continue };
            let (stack, constants) = scaled(&first.stack, factors);
            let steps = Steps::new(&first.machine.system, &stack, &constants, &NONE);
            times.extend(group.iter().map(|row| seconds(&steps, &row.run)));
        }
        times
    }

    /// Seconds of all rows; not a number where a row has no schedule.
    pub(super) fn predict(&self, factors: &Factors) -> Vec<f64> {
        let rows: Vec<&Row<'a>> = self.rows.iter().collect();
        Self::each(&rows, factors, |steps, run| {
            self.judged(steps, run).map_or(f64::NAN, |(seconds, _)| seconds)
        })
    }

    /// Bytes of the fullest rank of each row; not a number where it has no schedule.
    pub(super) fn peaks(&self) -> Vec<f64> {
        let rows: Vec<&Row<'a>> = self.rows.iter().collect();
        Self::each(&rows, &Vec::new(), |steps, run| {
            self.judged(steps, run).map_or(f64::NAN, |(_, peak)| peak as f64)
        })
    }

    /// Whole steps of one machine, stack and cluster.
    pub(super) fn alike(&self, cluster: fn(&RunRow) -> String) -> Vec<Vec<&Row<'a>>> {
        let mut alike: BTreeMap<(&Hosts, &str, String), Vec<&Row<'a>>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.row.timed == Timed::Step) {
            let key = (&row.row.hosts, row.row.stack, cluster(row.row));
            alike.entry(key).or_default().push(row);
        }
        alike.into_values().collect()
    }

    /// Seconds of rows of one machine and stack by constants of the stack.
    pub(super) fn times(
        &self,
        rows: &[&Row<'a>],
        constants: impl Fn(&Stack) -> Constants,
    ) -> Vec<f64> {
        let Some(Row { machine, stack, .. }) = rows.first() else { return Vec::new() };
        let constants = constants(stack);
        let steps = Steps::new(&machine.system, stack, &constants, &NONE);
        let times = rows.iter().map(|row| self.judged(&steps, &row.run));
        times.map(|time| time.map_or(f64::NAN, |(seconds, _)| seconds)).collect()
    }

    /// Whole steps by constants that were calibrated on others of the same machine, stack and cluster.
    pub(super) fn own_steps(&self, cluster: fn(&RunRow) -> String) -> Vec<(&Row<'a>, Own)> {
        let mut judged = Vec::new();
        for rows in self.alike(cluster) {
            let calibrated = self.calibrated(&rows).into_iter();
            judged.extend(calibrated.filter_map(|times| Some((*rows.get(times.at)?, times))));
        }
        judged
    }

    fn calibrated(&self, rows: &[&Row<'a>]) -> Vec<Own> {
        let Some(Row { stack, .. }) = rows.first() else { return Vec::new() };
        let samples: Vec<Sample<'_>> = rows.iter().map(|row| row.sample()).collect();
        own_steps::judged(&samples, stack, |chosen, constants| {
            let picked: Vec<&Row<'a>> =
                chosen.iter().filter_map(|at| rows.get(*at)).copied().collect();
            self.times(&picked, |_| constants.clone())
        })
    }

    /// The factors that explain the rows best for which something holds, each pulled towards one.
    pub(super) fn fit(&self, free: &[Term], wanted: impl Fn(&RunRow) -> bool) -> Factors {
        let rows: Vec<&Row<'a>> = self.rows.iter().filter(|row| wanted(row.row)).collect();
        let most = |term: &Term| {
            let Term::Constant(constant) = term else { return FURTHEST };
            let over = |row: &&Row<'a>| {
                Some(constant.most()? / Constants::nominal(&row.stack).get(*constant))
            };
            rows.iter().filter_map(over).fold(FURTHEST, f64::min).max(INSIDE)
        };
        let parameter =
            |term: &Term| Parameter::new(1.0, 1.0 / FURTHEST, most(term)).pulled(term.log_sd());
        let parameters: Vec<Parameter> = free.iter().map(parameter).collect();
        let measured: Vec<f64> = rows.iter().map(|row| row.row.time_s).collect();
        let named = |values: &[f64]| free.iter().copied().zip(values.iter().copied()).collect();
        let fitted = fit(&parameters, &measured, |values, predicted| {
            let factors: Factors = named(values);
            let times = Self::each(&rows, &factors, |steps, run| steps.closed_form_s(run));
            predicted.copy_from_slice(&times);
        });
        named(&fitted.values)
    }
}

fn run(row: &RunRow, stack: &Stack, degrees: Parallelism) -> Run {
    let gradients = Gradients::of(row.dtype, stack);
    let mut run = Run::of(row.card.clone(), degrees, row.recompute).with_gradients(gradients);
    (run.dtype, run.timed) = (row.dtype, row.timed);
    run
}

fn scaled(stack: &Stack, factors: &Factors) -> (Stack, Constants) {
    let (mut stack, mut constants) = (stack.clone(), Constants::nominal(stack));
    let mut of_experts = [1.0; 7];
    for (term, factor) in factors {
        match term {
            Term::Constant(constant) => constants.set(*constant, constants.get(*constant) * factor),
            Term::Experts(at) => {
                if let Some(entry) = of_experts.get_mut(*at) {
                    *entry = *factor;
                    stack.expert_costs = NOMINAL_EXPERTS;
                }
            }
        }
    }
    let [both, grace, ..] = of_experts;
    of_experts[1] = both * grace;
    stack.expert_costs = stack.expert_costs.scaled(of_experts);
    (stack, constants)
}
