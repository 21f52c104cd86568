//! What is known while the solver runs: the best judged plan and the best bound.

use ir::units::Nanos;

use super::callback::Listener;
use super::forms::Form;
use super::{Found, News, TOLERANCE, Verdict};

/// The judge of an objective: the value of a plan by node, `None` where it is illegal.
pub(super) type Judge<'a> = &'a dyn Fn(&[u32]) -> Option<Nanos>;

/// By how much a bound must rise to be news.
const NEWS: f64 = 1.001;

/// The best plan and bound so far.
pub(super) struct Watch<'a> {
    class_of: &'a [u32],
    judge: Judge<'a>,
    stop: &'a dyn Fn() -> bool,
    on_news: &'a mut dyn FnMut(News),
    /// Value and device of each node.
    pub(super) best: Option<(Nanos, Vec<u32>)>,
    /// The simple bound.
    pub(super) least: Nanos,
    bound: Nanos,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        class_of: &'a [u32],
        judge: Judge<'a>,
        stop: &'a dyn Fn() -> bool,
        on_news: &'a mut dyn FnMut(News),
        least: Nanos,
    ) -> Self {
        Self { class_of, judge, stop, on_news, best: None, least, bound: least }
    }

    /// Takes a plan by node that was judged before.
    pub(super) fn begin(&mut self, (value, nodes): (Nanos, Vec<u32>)) {
        self.best = Some((value, nodes));
        self.bound = self.bound.min(value);
    }

    /// Judges a plan by class.
    pub(super) fn offer(&mut self, plan: &[u32]) {
        let nodes: Vec<u32> = self.class_of.iter().map(|class| plan[*class as usize]).collect();
        self.offer_nodes(&nodes);
    }

    /// Judges a plan by node.
    pub(super) fn offer_nodes(&mut self, nodes: &[u32]) {
        let Some(value) = (self.judge)(nodes) else { return };
        if self.best.as_ref().is_none_or(|(best, _)| value < *best) {
            self.best = Some((value, nodes.to_vec()));
            self.bound = self.bound.min(value);
            (self.on_news)(News { plan: Some((value, nodes)), bound: self.bound });
        }
    }

    /// Takes a better bound.
    pub(super) fn raise(&mut self, bound: Nanos) {
        if bound > self.bound {
            self.bound = bound;
            (self.on_news)(News { plan: None, bound });
        }
    }

    /// Device of each class in the best plan.
    pub(super) fn best_plan(&self) -> Option<Vec<u32>> {
        let (_, nodes) = self.best.as_ref()?;
        let n_classes = self.class_of.iter().max().map_or(0, |last| *last as usize + 1);
        let mut plan = vec![u32::MAX; n_classes];
        for (class, device) in self.class_of.iter().zip(nodes) {
            let entry = &mut plan[*class as usize];
            if *entry != u32::MAX && *entry != *device {
                return None;
            }
            *entry = *device;
        }
        Some(plan)
    }

    pub(super) fn is_over(&self) -> bool {
        (self.stop)()
    }

    /// What the solver speaks to while it works on a form.
    pub(super) fn listen<'w>(&'w mut self, form: &'w Form) -> Ear<'w, 'a> {
        Ear { watch: self, form }
    }

    pub(super) fn found(self, verdict: Verdict) -> Found {
        let bound = match (&self.best, verdict) {
            (Some((value, _)), Verdict::Optimal) => *value,
            _ => self.bound,
        };
        Found { best: self.best, bound, verdict }
    }
}

/// Hears the solver.
pub(super) struct Ear<'w, 'a> {
    watch: &'w mut Watch<'a>,
    form: &'w Form,
}

impl Listener for Ear<'_, '_> {
    fn goes_on(&mut self, dual_bound: f64) -> bool {
        let bound = (dual_bound - TOLERANCE) * self.form.unit_ns - self.form.slack_ns;
        if bound.is_finite() && bound > self.watch.bound.as_f64() * NEWS {
            let bound = bound.max(0.0) as u64;
            let value = self.watch.best.as_ref().map_or(u64::MAX, |(value, _)| value.get());
            self.watch.raise(Nanos(bound.min(value.saturating_sub(1))));
        }
        !self.watch.is_over()
    }

    fn improved(&mut self, columns: &[f64]) {
        if columns.len() == self.form.program.columns.len() {
            self.watch.offer(&self.form.decode(columns));
        }
    }
}
