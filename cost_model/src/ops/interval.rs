//! How far the truth may lie from a predicted step time.
//!
//! For each form and origin, the first and the ninth tenth of measured over predicted times of the
//! rows that the accuracy table judges (`docs/accuracy.md`), printed by `cargo run --release -p
//! accuracy --example published` on 2026-11-20. Measured and interpolated constants: a form
//! fitted on one half of a GPU's rows, judged on the other. Sibling: B200 by the constants of GB200
//! and back. Nominal: GPUs without a sibling, all of whose rows were left out. Memory streams were
//! not measured there; products that memory binds (over twice their compute time) stand for them.
//! Links: pairs of GPUs in one host, by a line fitted to them and by the catalogue's figures; these
//! four tenths were computed once apart from the example and are still to be confirmed by it.
//! Forward passes on kinds that were not measured: 24 passes of NeuSight (fp32 on T4, A100 and H100) and 18 of
//! `examples/h100-steps/passes.csv`, eager, against the step of `place` (0.833 and 1.692; the first is taken
//! wider, as it was before biases went with their products).
//!
//! The errors of a step's ops count as fully correlated: if one op takes the tenth of its form, all
//! do. That is the widest interval that these tenths allow; errors that cancel would narrow it. What
//! it leaves out: other work on the device, clocks, a host that can't launch as fast.

use ir::schedule::Task;
use ir::units::Nanos;
use ir::workload::Mode;

use crate::kernels::origin::Origin;
use crate::kernels::price::task::Form;
use crate::ops::critical::Step;
use crate::ops::problem::Problem;

/// Tenths of measured over predicted time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tenths {
    first: f64,
    ninth: f64,
}

const fn tenths(first: f64, ninth: f64) -> Tenths {
    Tenths { first, ninth }
}

/// A step time within which the truth lies in eight cases of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// One case of ten is below.
    pub low: Nanos,
    /// One case of ten is above.
    pub high: Nanos,
    /// The least certain origin on the critical path.
    pub origin: Origin,
}

/// The interval of a step whose critical path this is; `None` where nothing on it was predicted.
#[must_use]
pub fn of(problem: &Problem, path: &[Step]) -> Option<Interval> {
    let (mut low, mut high) = (0.0, 0.0);
    let mut worst = Origin::Given;
    for step in path {
        let ns = (step.span.end - step.span.start) as f64;
        let tenths = match step.task {
            Task::Transfer(_) => of_link(step.origin),
            Task::Op(op) => problem.form(op).map_or(tenths(1.0, 1.0), |form| {
                match (problem.workload.mode, step.origin) {
                    (Mode::Inference, Origin::Nominal) => of_pass(form),
                    (_, origin) => of_form(form, origin),
                }
            }),
        };
        low += ns * tenths.first;
        high += ns * tenths.ninth;
        worst = worst.max(step.origin);
    }
    let nanos = |ns: f64| Nanos::rounded(ns, ir::units::Work::None);
    (worst != Origin::Given).then(|| Interval { low: nanos(low), high: nanos(high), origin: worst })
}

fn of_form(form: Form, origin: Origin) -> Tenths {
    match (form, origin) {
        (_, Origin::Given) | (Form::Nothing, _) => tenths(1.0, 1.0),
        (Form::Products, Origin::Measured | Origin::Interpolated) => tenths(0.898, 1.147),
        (Form::Products, Origin::Sibling) => tenths(0.901, 1.156),
        (Form::Products, Origin::Nominal) => tenths(0.808, 1.184),
        (Form::Stream(_), Origin::Measured | Origin::Interpolated) => tenths(0.906, 1.151),
        (Form::Stream(_), Origin::Sibling) => tenths(0.869, 1.173),
        (Form::Stream(_), Origin::Nominal) => tenths(0.856, 1.152),
        // The wider of prompts and single queries.
        (Form::Attention(_), Origin::Measured | Origin::Interpolated) => tenths(0.860, 1.230),
        (Form::Attention(_), _) => tenths(0.660, 1.412),
        (Form::Experts, Origin::Measured | Origin::Interpolated) => tenths(0.816, 1.245),
        (Form::Experts, _) => tenths(0.589, 1.706),
    }
}

/// Of an operator of a forward pass on a kind that was not measured.
fn of_pass(form: Form) -> Tenths {
    match form {
        Form::Products | Form::Stream(_) => tenths(0.817, 1.692),
        _ => of_form(form, Origin::Nominal),
    }
}

fn of_link(origin: Origin) -> Tenths {
    match origin {
        Origin::Given => tenths(1.0, 1.0),
        Origin::Measured | Origin::Interpolated => tenths(0.886, 1.392),
        Origin::Sibling | Origin::Nominal => tenths(0.239, 1.564),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::price::task::Stream;

    #[test]
    fn less_certain_origins_are_never_narrower_and_all_hold_the_prediction() {
        let forms = [
            Form::Products,
            Form::Stream(Stream::Softmax),
            Form::Attention(crate::kernels::attention::Masking::Full),
            Form::Experts,
        ];
        for origin in Origin::ALL {
            let of_forms = forms.iter().map(|form| of_form(*form, origin));
            for tenths in of_forms.chain([of_link(origin)]) {
                assert!(tenths.first <= 1.0 && tenths.ninth >= 1.0, "{origin:?}");
            }
        }
        let width = |tenths: Tenths| tenths.ninth - tenths.first;
        for form in forms {
            let [measured, nominal] =
                [Origin::Measured, Origin::Nominal].map(|origin| width(of_form(form, origin)));
            assert!(measured <= nominal, "{form:?}");
        }
    }
}
