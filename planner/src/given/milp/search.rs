//! The search on a program: the plan that it starts from, what its solutions are worth, and what is
//! proved in the end.

use std::time::Instant;

use ir::units::Nanos;

use super::forms::Form;
use super::solver::{self, Budget, Ending, Mode, Run};
use super::watch::Watch;
use super::{MOST_ENTRIES, TOLERANCE, Verdict};

/// Plans that the solver's tolerance let pass and that are cut off one by one.
const MOST_CUTS: usize = 50;

/// What a program is about. Plans say the device of each class.
pub(super) trait Task {
    /// The program.
    fn form(&self) -> Form;

    /// Places of the classes of a plan, as the form numbers devices that are alike; `None` where
    /// the form has no such solution.
    fn places(&self, plan: &[u32]) -> Option<Vec<usize>>;

    /// Classes that a device of the plan can't hold together, with all places that can't either.
    fn too_much(&self, form: &Form, plan: &[u32]) -> Vec<(Vec<usize>, Vec<usize>)>;
}

/// A task and its limits.
pub(super) struct Search<'a, T: Task> {
    pub(super) task: &'a T,
    pub(super) deadline: Option<Instant>,
    pub(super) nodes: Option<u64>,
}

impl<T: Task> Search<'_, T> {
    fn budget(&self) -> Budget {
        let time = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
        Budget { time, nodes: self.nodes }
    }

    pub(super) fn run(&self, watch: &mut Watch<'_>) -> Verdict {
        let mut form = self.task.form();
        if form.program.n_entries() > MOST_ENTRIES {
            return Verdict::Open;
        }
        let start = watch.best_plan().and_then(|plan| {
            let places = self.task.places(&plan)?;
            form.encode(&places)
        });
        for _ in 0..MOST_CUTS {
            let run = self.once(&form, start.as_deref(), Mode::Usual, watch);
            if !self.cut_off(&mut form, &run, watch) {
                return self.verdict(form, &run, watch);
            }
        }
        Verdict::Open
    }

    fn once(&self, form: &Form, start: Option<&[f64]>, mode: Mode, watch: &mut Watch<'_>) -> Run {
        let mut listener = watch.listen(form);
        let run = solver::run(&form.program, start, mode, self.budget(), &mut listener);
        if let Some(columns) = &run.columns {
            watch.offer(&form.decode(columns));
        }
        run
    }

    /// Forbids what a device of the last solution holds beyond its memory, by less than the
    /// solver's tolerance; whether there was such a thing.
    fn cut_off(&self, form: &mut Form, run: &Run, watch: &Watch<'_>) -> bool {
        let Some(columns) = &run.columns else { return false };
        let plan = form.decode(columns);
        let found = self.task.too_much(form, &plan);
        for (classes, places) in &found {
            for place in places {
                let entries = classes.iter().filter_map(|c| form.column[*c][*place]);
                let entries: Vec<(u32, f64)> = entries.map(|column| (column, 1.0)).collect();
                form.program.at_most(classes.len() as f64 - 1.0, entries);
            }
        }
        !found.is_empty() && !watch.is_over()
    }

    fn verdict(&self, mut form: Form, run: &Run, watch: &mut Watch<'_>) -> Verdict {
        let bound = (run.dual_bound - TOLERANCE) * form.unit_ns - form.slack_ns;
        let bound = if bound.is_finite() { bound.ceil().max(0.0) as u64 } else { 0 };
        let Some((value, _)) = &watch.best else {
            let is_empty = run.ending == Ending::Infeasible
                && self.once(&form, None, Mode::Confirming, watch).ending == Ending::Infeasible;
            return if is_empty { Verdict::Infeasible } else { Verdict::Open };
        };
        let value = value.get();
        if value <= watch.least.get() {
            return Verdict::Optimal;
        }
        // Only a second run makes the bound as good as the value.
        watch.raise(Nanos(bound.min(value - 1)));
        if run.ending != Ending::Optimal || bound < value {
            return Verdict::Open;
        }
        let below = (value as f64 - 0.5) / form.unit_ns;
        let column = &mut form.program.columns[form.value as usize];
        column.upper = below.clamp(column.lower, column.upper);
        if below < column.lower {
            return Verdict::Optimal;
        }
        let again = self.once(&form, None, Mode::Confirming, watch);
        let is_same = watch.best.as_ref().is_some_and(|(best, _)| best.get() == value);
        match again.ending {
            Ending::Infeasible if is_same => Verdict::Optimal,
            _ => Verdict::Open,
        }
    }
}
