//! The linear program over device subsets.
//!
//! min sum of z_S + sum of (p_v + r) a_v - sum of (p_v - r) b_v, with for every class v still to be
//! placed sum over S with v of z_S + y_v + a_v - b_v = 1, and for the CPU cores
//! sum of C_v y_v <= budget and sum of m_v y_v >= what the accelerators can't hold.
//! a and b keep prices within r of p_v until they leave the solution.

use std::collections::HashSet;

use highs::{Col, ColProblem, HighsModelStatus, Model as Solver, Row, Sense};

use super::pricing::Subset;

/// Smaller factors are left out: HiGHS drops those of 1e-9.
const LEAST_FACTOR: f64 = 1e-8;
/// Values below count as zero.
pub(super) const TINY: f64 = 1e-7;
/// HiGHS's number of the primal simplex method: added columns keep the basis feasible.
const PRIMAL_SIMPLEX: i32 = 4;

/// The solver did not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure;

/// What the CPU cores can take.
#[derive(Clone, Debug)]
pub(super) struct CpuShare {
    /// Time of each class there as a part of `T`, where it may run there.
    pub(super) time: Vec<Option<f64>>,
    /// What is left of the cores, in multiples of `T`.
    pub(super) budget: f64,
    /// Bytes of each class, in multiples of an accelerator's memory.
    pub(super) bytes: Vec<f64>,
    /// What the accelerators can't hold of all classes together; none if not positive.
    pub(super) least_bytes: f64,
}

/// A solution of the program.
#[derive(Clone, Debug)]
pub(super) struct Solution {
    /// Devices needed: sum of z, a and b at their prices.
    pub(super) value: f64,
    /// Whether some a or b is in use.
    pub(super) is_boxed: bool,
    /// Price of each class; 0 for those that are placed.
    pub(super) price: Vec<f64>,
    /// Price of an accelerator's memory on the CPU cores.
    pub(super) byte_price: f64,
    /// Value of each subset.
    pub(super) share: Vec<f64>,
}

/// The program and the subsets that it has so far.
pub(super) struct Master {
    solver: Option<Solver>,
    /// Row of each class that is still to be placed.
    rows: Vec<Option<Row>>,
    /// Classes of the first rows, in their order.
    row_class: Vec<u32>,
    /// What they are worth at most: nothing where a core takes the class at once.
    most: Vec<f64>,
    has_byte_row: bool,
    /// What keeps the price of each of the first rows from above and from below.
    boxes: Vec<[Col; 2]>,
    /// The same for the price of memory.
    byte_box: Option<Col>,
    z: Vec<Col>,
    /// Subsets by column.
    pub(super) subsets: Vec<Subset>,
    known: HashSet<Vec<u32>>,
    /// The last solution.
    columns: Vec<f64>,
}

fn configured(problem: ColProblem) -> Result<Solver, Failure> {
    let mut solver = problem.try_optimise(Sense::Minimise).or(Err(Failure))?;
    solver.make_quiet();
    for (name, value) in [("parallel", "off"), ("solver", "simplex"), ("presolve", "off")] {
        solver.try_set_option(name, value).or(Err(Failure))?;
    }
    let strategy = ("simplex_strategy", PRIMAL_SIMPLEX);
    for (name, value) in [("threads", 1), ("random_seed", 0), strategy] {
        solver.try_set_option(name, value).or(Err(Failure))?;
    }
    Ok(solver)
}

impl Master {
    /// A program without subsets for the classes that are not placed yet.
    ///
    /// # Errors
    /// If the solver did not take it.
    pub(super) fn new(cpu: &CpuShare, is_placed: &[bool]) -> Result<Self, Failure> {
        let mut problem = ColProblem::new();
        let add = |placed: &bool| (!*placed).then(|| problem.add_row(1.0..=1.0));
        let rows: Vec<Option<Row>> = is_placed.iter().map(add).collect();
        let byte_row = (cpu.least_bytes > 0.0).then(|| problem.add_row(cpu.least_bytes..));
        let cpu_row = problem.add_row(..=cpu.budget.max(0.0));
        let mut solver = configured(problem)?;
        let mut boxes = Vec::new();
        let (mut row_class, mut most) = (Vec::new(), Vec::new());
        let mut add = |cost: f64, entries: &[(Row, f64)]| {
            solver.try_add_column(cost, 0.0.., entries.iter().copied()).or(Err(Failure))
        };
        let byte_box = match byte_row {
            Some(row) => Some(add(1.0, &[(row, 1.0)])?),
            None => None,
        };
        for (class, row) in rows.iter().enumerate() {
            let Some(row) = *row else { continue };
            boxes.push([add(1.0, &[(row, 1.0)])?, add(0.0, &[(row, -1.0)])?]);
            row_class.push(class as u32);
            let is_free = cpu.time[class].is_some_and(|time| time <= LEAST_FACTOR);
            most.push(if is_free { 0.0 } else { f64::INFINITY });
            if let Some(time) = cpu.time[class] {
                let mut entries = vec![(row, 1.0)];
                let bytes = byte_row.map(|row| (row, cpu.bytes[class]));
                let more = [Some((cpu_row, time)), bytes].into_iter().flatten();
                entries.extend(more.filter(|(_, factor)| *factor > LEAST_FACTOR));
                add(0.0, &entries)?;
            }
        }
        Ok(Self {
            solver: Some(solver),
            rows,
            row_class,
            most,
            has_byte_row: byte_row.is_some(),
            boxes,
            byte_box,
            z: Vec::new(),
            subsets: Vec::new(),
            known: HashSet::new(),
            columns: Vec::new(),
        })
    }

    /// Adds a subset; false if it is empty, holds a placed class, or is there already.
    ///
    /// # Errors
    /// If the solver did not take it.
    pub(super) fn add(&mut self, subset: &Subset) -> Result<bool, Failure> {
        let row = |class: &u32| self.rows[*class as usize].map(|row| (row, 1.0));
        let rows: Option<Vec<(Row, f64)>> = subset.classes.iter().map(row).collect();
        let (Some(rows), Some(solver)) = (rows, self.solver.as_mut()) else { return Ok(false) };
        if rows.is_empty() || !self.known.insert(subset.classes.clone()) {
            return Ok(false);
        }
        self.z.push(solver.try_add_column(1.0, 0.0.., rows).or(Err(Failure))?);
        self.subsets.push(subset.clone());
        Ok(true)
    }

    /// Solves the program, from the last solution on.
    ///
    /// # Errors
    /// Any verdict but optimal.
    pub(super) fn solve(&mut self) -> Result<Solution, Failure> {
        let solver = self.solver.take().ok_or(Failure)?;
        let solved = solver.try_solve().or(Err(Failure))?;
        let is_optimal = solved.status() == HighsModelStatus::Optimal;
        let (value, solution) = (solved.objective_value(), solved.get_solution());
        self.solver = Some(Solver::from(solved));
        let duals = solution.dual_rows();
        self.columns = solution.columns().to_vec();
        if !is_optimal || !duals.iter().chain(&self.columns).all(|x| x.is_finite()) {
            return Err(Failure);
        }
        let mut price = vec![0.0; self.rows.len()];
        for (row, class) in self.row_class.iter().enumerate() {
            price[*class as usize] = duals[row];
        }
        let byte_price = if self.has_byte_row { duals[self.row_class.len()].max(0.0) } else { 0.0 };
        let mut boxes = self.boxes.iter().flatten().chain(&self.byte_box);
        let is_boxed = boxes.any(|col| self.columns[col.index()] > TINY);
        let share = self.z.iter().map(|col| self.columns[col.index()]).collect();
        Ok(Solution { value, is_boxed, price, byte_price, share })
    }

    /// Keeps prices within `reach` of these.
    pub(super) fn centre(&mut self, price: &[f64], byte_price: f64, reach: f64) {
        let Some(solver) = self.solver.as_mut() else { return };
        let rows = self.row_class.iter().zip(&self.most);
        for ((class, most), [above, below]) in rows.zip(&self.boxes) {
            // Without a price in the box that the program allows, it would have no least value.
            let price = price[*class as usize].min(*most);
            solver.change_column_cost(*above, price + reach);
            solver.change_column_cost(*below, reach - price);
        }
        if let Some(above) = self.byte_box {
            solver.change_column_cost(above, byte_price + reach);
        }
    }
}
