//! One run of the solver on a program, on a thread of its own: inside a long linear program the
//! solver asks nobody whether to stop, and is left behind then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use highs::{HighsModelStatus, RowProblem, Sense};

use super::callback::{Hook, Listener};
use super::program::Program;
use crate::run::thread;

/// Nodes that the solver counts; further ones are not asked for.
const MOST_NODES: u64 = i32::MAX as u64;

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(20);
/// How long a run that shall stop may take to say so.
const GRACE: Duration = Duration::from_millis(100);

/// Rules of presolve that are left out, as bits: sparsify (`kPresolveRuleSparsify`). With it version
/// 1.15.0 calls solutions optimal that are not, such as one of 31 where 28 can be reached.
const RULES_OFF: i32 = 1 << 14;

/// How a run goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As the solver likes it.
    Usual,
    /// Another way to the same answer: without presolve and with another seed.
    Confirming,
}

/// Limits of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    /// Wall-clock time.
    pub(crate) time: Option<Duration>,
    /// Nodes of the search tree.
    pub(crate) nodes: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The solver says that its solution is the best.
    Optimal,
    /// The solver says that there is none.
    Infeasible,
    /// Anything else.
    Open,
}

/// What a run found.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) ending: Ending,
    /// Least objective that is still possible, as far as the solver says.
    pub(crate) dual_bound: f64,
    /// Value of every column of the last solution, if there is one.
    pub(crate) columns: Option<Vec<f64>>,
}

const NOTHING: Run = Run { ending: Ending::Open, dual_bound: f64::NEG_INFINITY, columns: None };

/// What the thread of the solver says.
enum Message {
    Improved(Vec<f64>),
    Bound(f64),
    Done(Run),
}

/// Passes on what the solver says.
struct Relay {
    send: Sender<Message>,
    is_over: Arc<AtomicBool>,
    bound: f64,
}

impl Listener for Relay {
    fn goes_on(&mut self, dual_bound: f64) -> bool {
        if dual_bound > self.bound {
            self.bound = dual_bound;
            // Nobody listens to a run that was left behind.
            let _ = self.send.send(Message::Bound(dual_bound));
        }
        !self.is_over.load(Ordering::Relaxed)
    }

    fn improved(&mut self, columns: &[f64]) {
        let _ = self.send.send(Message::Improved(columns.to_vec()));
    }
}

/// Runs the solver. `start` has a value for every column; only whole ones count, the solver fills
/// in the others. Past the stop that the listener asks for, nothing but what it has heard is known.
pub(crate) fn run<L: Listener>(
    program: &Program,
    start: Option<&[f64]>,
    mode: Mode,
    budget: Budget,
    listener: &mut L,
) -> Run {
    let (send, receive) = mpsc::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut relay =
        Relay { send: send.clone(), is_over: Arc::clone(&is_over), bound: f64::NEG_INFINITY };
    let (program, start) = (program.clone(), start.map(<[f64]>::to_vec));
    let work = move || {
        let run = run_here(&program, start.as_deref(), mode, budget, &mut relay);
        let _ = send.send(Message::Done(run));
    };
    thread::start(std::thread::Builder::new().name("highs".to_owned()), work);
    let mut bound = f64::NEG_INFINITY;
    let mut stopped: Option<Instant> = None;
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(Message::Done(run)) => return run,
            Ok(Message::Improved(columns)) => listener.improved(&columns),
            Ok(Message::Bound(raised)) => bound = raised,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return NOTHING,
        }
        if !listener.goes_on(bound) {
            is_over.store(true, Ordering::Relaxed);
            if stopped.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return NOTHING;
            }
        }
    }
}

fn run_here<L: Listener>(
    program: &Program,
    start: Option<&[f64]>,
    mode: Mode,
    budget: Budget,
    listener: &mut L,
) -> Run {
    if !program.is_sound() || program.columns.is_empty() {
        return NOTHING;
    }
    let mut problem = RowProblem::new();
    let mut handles = Vec::with_capacity(program.columns.len());
    for column in &program.columns {
        let bounds = column.lower..=column.upper;
        handles.push(problem.add_column_with_integrality(column.cost, bounds, column.is_integer));
    }
    for row in &program.rows {
        let entries = row.entries.iter().map(|(column, f)| (handles[*column as usize], *f));
        problem.add_row(row.lower..=row.upper, entries);
    }
    let Ok(mut model) = problem.try_optimise(Sense::Minimise) else { return NOTHING };
    if configure(&mut model, mode, budget).is_none() {
        return NOTHING;
    }
    if let Some(start) = start
        && model.try_set_solution(Some(start), None, None, None).is_err()
    {
        return NOTHING;
    }
    let Some(hook) = Hook::new(&mut model, listener) else { return NOTHING };
    let solved = model.try_solve();
    hook.release();
    let Ok(solved) = solved else { return NOTHING };
    let ending = match solved.status() {
        HighsModelStatus::Optimal => Ending::Optimal,
        HighsModelStatus::Infeasible => Ending::Infeasible,
        _ => Ending::Open,
    };
    let dual_bound = solved.double_info_value(c"mip_dual_bound").unwrap_or(f64::NEG_INFINITY);
    let columns = solved.get_solution().columns().to_vec();
    let has_solution = solved.primal_solution_status() == highs::HighsSolutionStatus::Feasible
        && columns.len() == program.columns.len()
        && columns.iter().all(|value| value.is_finite());
    Run { ending, dual_bound, columns: has_solution.then_some(columns) }
}

fn configure(model: &mut highs::Model, mode: Mode, budget: Budget) -> Option<()> {
    model.make_quiet();
    // The solver has one pool of threads for the whole process: every caller asks for one.
    model.try_set_option("threads", 1).ok()?;
    model.try_set_option("parallel", "off").ok()?;
    model.try_set_option("mip_rel_gap", 0.0).ok()?;
    model.try_set_option("mip_abs_gap", 1e-9).ok()?;
    model.try_set_option("mip_feasibility_tolerance", 1e-7).ok()?;
    // The first plan comes from heuristics that know the problem.
    model.try_set_option("mip_heuristic_run_feasibility_jump", false).ok()?;
    let (presolve, seed) = match mode {
        Mode::Usual => ("choose", 0),
        Mode::Confirming => ("off", 1),
    };
    if mode == Mode::Confirming {
        // Nothing is expected to be found.
        model.try_set_option("mip_heuristic_effort", 0.0).ok()?;
    }
    model.try_set_option("presolve", presolve).ok()?;
    model.try_set_option("presolve_rule_off", RULES_OFF).ok()?;
    model.try_set_option("random_seed", seed).ok()?;
    if let Some(time) = budget.time {
        model.try_set_option("time_limit", time.as_secs_f64()).ok()?;
    }
    if let Some(nodes) = budget.nodes {
        let nodes = i32::try_from(nodes.min(MOST_NODES)).unwrap_or(i32::MAX);
        model.try_set_option("mip_max_nodes", nodes).ok()?;
    }
    Some(())
}
