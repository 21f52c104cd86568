//! Least greatest load on equal accelerators and CPU cores, with a proof.
//!
//! # Decides
//! The device of each node of a [`ir::instance::LoadInstance`], contiguous or not.
//!
//! # Idea
//! Can all loads be at most T? First, classes that no plan of loads at most T parts are joined
//! (minimum cuts). Then a linear program over *all* device subsets of load at most T says how many
//! accelerators are needed: a subset knows that it pays for the nets that it cuts, so that the
//! answer is near the truth. Subsets are made by need: the dearest one at given prices is a path
//! with one resource through few states, because the graphs are thin. More accelerators needed than
//! there are: T is a proved bound. Otherwise subsets of the solution are fixed one after the other,
//! which gives a plan. T is chosen between bound and incumbent; chains, packings and annealing give
//! the first incumbents, and all classes of two devices are parted anew by a dynamic program.
//!
//! # Paper
//! Problem: Tarnawski et al., "Efficient algorithms for device placement of DNN graph operators",
//! NeurIPS 2020 (max-load, non-contiguous). Column generation: Gilmore and Gomory, Operations
//! Research 9(6), 1961; Barnhart et al., Operations Research 46(3), 1998. Labels: Desrochers and
//! Soumis, INFOR 26(3), 1988. Flows: Dinic, 1970.
//!
//! # Guarantee
//! The bound holds, whatever the solver of the linear program says: it comes with prices that
//! [`crate::placement::max_load::check`] verifies in whole numbers. The value is optimal where it meets the bound, which
//! is so for up to 13 classes if the search is not stopped.
//!
//! # Complexity
//! States: exponential in the number of nets that are open along the best order found; 600 to
//! 14,000 on the public graphs. Labels of a pricing: states x 2,000 cells at most.
//!
//! # Limits
//! Pricing ignores an accelerator's memory (the bound stays valid; the program knows the memory of
//! all accelerators together); a first placement is packed by bytes, or by an integer program, where
//! chains find none, and up to 13 classes it is certain whether there is one. More than 64 nets open at once, 3 million states or 5,000 classes:
//! bounds by work alone. All accelerators are equal, and so are all CPU cores. Same seed and node
//! budget, same answer; ties go to the least class, state or column.
//!
//! # Example
//! Two nodes of 3 ns on one accelerator and 30 ns on a core, a transfer of 5 ns between them, two
//! accelerators, one core: together, 6 ns; apart, 8 ns each. At T = 5, no subset holds one node
//! without the other (8 ns), so both are joined, and 6 ns is too much: the bound is 6.

use std::time::Duration;

use cost_model::instance::Goal;
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance};
use ir::units::Nanos;

use super::max_load::check::check;
use super::max_load::control::Control;
use super::max_load::search::{self, Outcome};
use crate::algorithm::Options;
use crate::instance::{Effort, Method, Run, Solution};

/// How the row solves instances.
pub(crate) const METHOD: Method =
    Method { goals: &[Goal::MaxLoad], effort: Effort::Thorough, solve };

/// Time of a search that would go on until a proof, where no limit is set.
const USUAL_TIME: Duration = Duration::from_secs(30);

fn solve(run: &Run, _: &Options) -> Result<(), Diagnostic> {
    let Instance::Load(instance) = run.instance() else { return Ok(()) };
    let mut control = Control::new(run.deadline_or(USUAL_TIME), run.nodes_left(), run.cancel());
    if run.is_deterministic() {
        control = control.by_work();
    }
    let start = match run.best() {
        Some(Solution::Devices(devices)) => Some(devices),
        _ => None,
    };
    let options =
        search::Options { seed: run.seed(), gap: run.gap(), start, ..search::Options::default() };
    let mut result = Ok(());
    let found = search::solve(instance, &options, &control, &mut |_, devices| {
        if result.is_ok() {
            result = run.offer(Solution::Devices(devices.to_vec())).map(|_| ());
        }
    });
    run.spend(control.spent());
    result?;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // Without a placement it proves at most that there is none.
            if error.code == "infeasible" {
                run.close();
            }
            return Ok(());
        }
    };
    run.offer(Solution::Devices(found.device_of.clone()))?;
    if is_checked(instance, &found) {
        let now = control.seconds();
        for point in &found.trace {
            run.prove_at(Nanos(point.bound_ns), now - point.seconds);
        }
        run.prove(Nanos(found.bound_ns), "columns");
    }
    Ok(())
}

/// The bound counts only once its certificate was checked; those before it were lower.
fn is_checked(instance: &LoadInstance, found: &Outcome) -> bool {
    found.certificate.as_ref().is_some_and(|certificate| {
        certificate.limit_ns.saturating_add(1) >= found.bound_ns
            && check(instance, certificate).is_ok()
    })
}
