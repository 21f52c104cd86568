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
//! with one resource through few states, because the graphs are thin. The program's prices must
//! stay near the best so far, which says nothing new about the answer and needs far fewer rounds.
//! More accelerators needed than there are: T is a proved bound. Otherwise subsets of the solution
//! are fixed one after the other, which gives a plan. T is chosen between bound and incumbent;
//! chains, packings and annealing give the first incumbents, and all classes of two devices are
//! parted anew by a dynamic program.
//!
//! # Paper
//! Problem: Tarnawski et al., "Efficient algorithms for device placement of DNN graph operators",
//! NeurIPS 2020 (max-load, non-contiguous). Column generation: Gilmore and Gomory, Operations
//! Research 9(6), 1961; Barnhart et al., Operations Research 46(3), 1998. Prices near the best: the
//! boxstep method, Marsten, Hogan and Blankenship, Operations Research 23(3), 1975; du Merle et
//! al., Discrete Mathematics 194, 1999. Labels: Desrochers and Soumis, INFOR 26(3), 1988. Flows:
//! Dinic, 1970.
//!
//! # Guarantee
//! The bound holds, whatever the solver of the linear program says: it comes with prices that
//! [`crate::given::max_load::check`] verifies in whole numbers, within the time limit; where that takes too long or too
//! much memory, the answer says so. The value is optimal where it meets the bound, which is so for
//! up to 13 classes if the search is not stopped.
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

use std::time::{Duration, Instant};

use cost_model::given::Goal;
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance};
use ir::units::Nanos;

use super::max_load::certificate::Certificate;
use super::max_load::check::{Flaw, check_until};
use super::max_load::control::Control;
use super::max_load::search;
use crate::given::runner::{Effort, Method, Run, Solution, method};
use crate::run::algorithm::{Guarantee, Options};
use crate::run::{Bound, Standing};

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::MaxLoad],
    effort: Effort::Thorough,
    guarantee: Guarantee::Bound,
    solve,
};

/// Time of a search that would go on until a proof, where no limit is set.
const USUAL_TIME: Duration = Duration::from_secs(30);
/// Part of the time that the search may take; the rest is for the check of its certificate.
const SEARCH_SHARE: f64 = 0.8;

fn solve(run: &Run, _: &Options) -> Result<(), Diagnostic> {
    let Instance::Load(instance) = run.instance() else { return Ok(()) };
    let (now, end) = (Instant::now(), run.deadline_or(USUAL_TIME));
    let search_end = end.map(|end| now + end.saturating_duration_since(now).mul_f64(SEARCH_SHARE));
    let mut control = Control::new(search_end, run.nodes_left(), run.cancel());
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
                run.close(method::COLUMNS);
            }
            return Ok(());
        }
    };
    run.offer(Solution::Devices(found.device_of.clone()))?;
    let Some(certificate) = found.certificate else { return Ok(()) };
    let before = run.bound();
    let value = Nanos(found.bound_ns);
    if value <= before.value || certificate.limit_ns.saturating_add(1) < found.bound_ns {
        return Ok(());
    }
    // Where the run is cut off now, this is what is known.
    let bound = |standing| Bound { value, method: method::COLUMNS, standing };
    run.stand(bound(Standing::NoTime), Some(certificate.clone()));
    let Some(standing) = checked(run, end, instance, &certificate) else {
        // A certificate that proves nothing: the bounds before it were lower.
        run.stand(before, None);
        return Ok(());
    };
    let now = control.seconds();
    for point in &found.trace {
        run.prove_at(Nanos(point.bound_ns), now - point.seconds);
    }
    run.stand(bound(standing), Some(certificate));
    Ok(())
}

/// What the checker says of a certificate; `None` if it is wrong.
fn checked(
    run: &Run,
    end: Option<Instant>,
    instance: &LoadInstance,
    certificate: &Certificate,
) -> Option<Standing> {
    let is_late = || end.is_some_and(|end| Instant::now() >= end);
    match check_until(instance, certificate, &|| run.is_cut_off() || is_late()) {
        Ok(()) => Some(Standing::Checked),
        Err(Flaw::TooLarge) => Some(Standing::TooLarge),
        Err(Flaw::Stopped) => Some(Standing::NoTime),
        Err(_) => None,
    }
}
