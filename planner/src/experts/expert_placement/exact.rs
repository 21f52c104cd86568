//! A layer of few experts as an integer program for HiGHS.
//!
//! ```text
//! min T over y_ec in {0, 1} (expert e has c copies), z_ecd in 0..c (of these on device d)
//! sum_c y_ec = 1;  sum_d z_ecd = c y_ec;  sum_ec z_ecd = slots;  sum_ec w_e / c z_ecd <= T
//! with groups: g_kh in {0, 1} (group k on host h), as many on each;  z_ecd <= c g_kh
//! without: devices in order of their loads, since they have no names
//! ```
//!
//! Loads are in units of the mean, so that all factors are of one size.

use cost_model::experts::{Copies, Shape};

use crate::given::milp::callback::Listener;
use crate::given::milp::program::Program;
use crate::given::milp::solver::{self, Budget, Ending, Mode};
use crate::run::Control;

/// Columns of a program that is solved; larger ones take longer than they are worth.
pub const MOST_COLUMNS: usize = 400;
/// Nodes of the search trees of all layers.
pub const MOST_NODES: u64 = 20_000;
/// The solver's own tolerance, in means.
const TOLERANCE: f64 = 1e-6;
/// Name of its bound.
pub const METHOD: &str = "program";

/// What the program says of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exact {
    /// A placement; `None` where it met none.
    pub copies: Option<Copies>,
    /// What no placement is below, as a share of the layer's visits.
    pub bound: f64,
}

/// Columns of the copies of an expert: by count less 1, whether it has as many, and by device how many.
type Columns = Vec<(u32, Vec<u32>)>;

/// Solves a layer whose best known load this is, in so many nodes; `None` where the program is too
/// large.
#[must_use]
pub fn solve(
    shares: &[f64],
    shape: &Shape,
    (load, nodes): (f64, u64),
    control: &Control,
) -> Option<Exact> {
    let (n_devices, spare) = (shape.host.len(), shape.n_slots().checked_sub(shares.len())?);
    let n_columns = shares.len() * (spare + 1) * (n_devices + 1);
    if n_columns > MOST_COLUMNS || n_devices == 0 {
        return None;
    }
    let mean = 1.0 / n_devices as f64;
    let (program, columns) = program(shares, shape, spare, load / mean);
    let budget = Budget { time: None, nodes: Some(nodes) };
    let run = solver::run(&program, None, Mode::Usual, budget, &mut Ear { control });
    let copies = run.columns.as_ref().map(|values| decode(&columns, values));
    let bound = match run.ending {
        // Nothing is below what is known.
        Ending::Infeasible => load - TOLERANCE * mean,
        Ending::Optimal | Ending::Open => (run.dual_bound - TOLERANCE) * mean,
    };
    Some(Exact { copies, bound: if bound.is_finite() { bound.min(load) } else { 0.0 } })
}

fn program(shares: &[f64], shape: &Shape, spare: usize, most: f64) -> (Program, Vec<Columns>) {
    let n_devices = shape.host.len();
    let mut program = Program::default();
    // What is known is not looked for again.
    let greatest = program.between(0.0, most);
    program.columns[greatest as usize].cost = 1.0;
    let mut all: Vec<Columns> = Vec::new();
    for _ in shares {
        let of = |count: usize| {
            let is_so = program.binary();
            let most = count.min(shape.slots) as f64;
            (is_so, (0..n_devices).map(|_| program.whole(most)).collect())
        };
        all.push((1..=spare + 1).map(of).collect());
    }
    for columns in &all {
        program.equal(1.0, columns.iter().map(|(is_so, _)| (*is_so, 1.0)));
        for (count, (is_so, on)) in (1..).zip(columns) {
            let entries = on.iter().map(|column| (*column, 1.0));
            program.equal(0.0, entries.chain([(*is_so, -f64::from(count))]));
        }
    }
    let load = |device: usize, sign: f64| {
        let of = move |(share, columns): (&f64, &Columns)| {
            let scaled = sign * share * n_devices as f64;
            let each = (1..)
                .zip(columns)
                .map(move |(count, (_, on))| (on[device], scaled / f64::from(count)));
            each.collect::<Vec<_>>()
        };
        shares.iter().zip(&all).flat_map(of).collect::<Vec<_>>()
    };
    for device in 0..n_devices {
        let on = all.iter().flatten().map(|(_, on)| (on[device], 1.0));
        program.equal(shape.slots as f64, on);
        program.at_most(0.0, load(device, 1.0).into_iter().chain([(greatest, -1.0)]));
    }
    if shape.groups > 1 {
        grouped(&mut program, shape, &all);
    } else {
        for device in 1..n_devices {
            program.at_least(0.0, load(device - 1, 1.0).into_iter().chain(load(device, -1.0)));
        }
    }
    (program, all)
}

/// Groups stay on hosts.
fn grouped(program: &mut Program, shape: &Shape, all: &[Columns]) {
    let n_hosts = shape.n_hosts();
    let on: Vec<Vec<u32>> =
        (0..shape.groups).map(|_| (0..n_hosts).map(|_| program.binary()).collect()).collect();
    for hosts in &on {
        program.equal(1.0, hosts.iter().map(|column| (*column, 1.0)));
    }
    for host in 0..n_hosts {
        let each = (shape.groups / n_hosts) as f64;
        program.equal(each, on.iter().map(|hosts| (hosts[host], 1.0)));
    }
    for (expert, columns) in all.iter().enumerate() {
        let group = &on[shape.group(expert, all.len())];
        for (count, (_, devices)) in (1..).zip(columns) {
            for (device, column) in devices.iter().enumerate() {
                let allowed = (group[shape.host[device]], -f64::from(count));
                program.at_most(0.0, [(*column, 1.0), allowed]);
            }
        }
    }
}

fn decode(all: &[Columns], values: &[f64]) -> Copies {
    let value =
        |column: &u32| values.get(*column as usize).map_or(0.0, |number| number.round()) as usize;
    let of = |columns: &Columns| {
        let on = columns.iter().flat_map(|(_, on)| on.iter().enumerate());
        on.flat_map(|(device, column)| std::iter::repeat_n(device, value(column))).collect()
    };
    all.iter().map(of).collect()
}

/// Ends the solver with the run.
struct Ear<'c> {
    control: &'c Control,
}

impl Listener for Ear<'_> {
    fn goes_on(&mut self, _: f64) -> bool {
        self.control.stop().is_none()
    }

    fn improved(&mut self, _: &[f64]) {}
}
