//! What a row sees of the run that it is part of.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::bound::Bound;
use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::{Timeline, replay};
use cost_model::ops::judge::verify::{Violation, verify};
use cost_model::ops::objective;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Blame, Diagnostic, Value};
use ir::plan::Plan;
use ir::units::Nanos;

use super::algorithm::{Improve, Kind, Lift, Row, Transformed};
use super::case::Replayed;
use super::entry::Rows;
use super::limits::{Limits, StopReason};
use super::line::Line;
use super::no_plan::{Attempt, AttemptPlan, NoPlan, Reason, Step};
use super::recipe::Recipe;
use crate::draft::Draft;

/// A plan of the original problem with its verified figures.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The plan.
    pub plan: Plan,
    /// Its value, step time and peak memory.
    pub figures: AttemptPlan,
}

/// A plan with its figures and its times.
type Judged = (Scored, Timeline);

/// What a row may ask of, and tell to, the run that it is part of.
pub struct Run {
    line: Arc<Line<Problem>>,
    original: Arc<Problem>,
    problem: Arc<Problem>,
    lifts: Vec<Arc<dyn Lift>>,
    /// What it runs.
    recipe: Recipe,
    algorithm: String,
    deadline: Option<Instant>,
    facts: RefCell<Vec<(&'static str, Value)>>,
    /// The best plan of this recipe.
    best: RefCell<Option<Scored>>,
    /// Value of the best plan of the whole run.
    published: Rc<Cell<Option<Nanos>>>,
    /// The plan that was judged last, which a recipe around this one may hand in again.
    known: Rc<RefCell<Option<Judged>>>,
    /// Whether it only ran other recipes, which are recorded in its place.
    has_children: Cell<bool>,
}

impl Run {
    pub(super) fn new(line: Arc<Line<Problem>>, problem: Arc<Problem>, recipe: &Recipe) -> Self {
        Self {
            deadline: line.control.deadline(),
            line,
            original: Arc::clone(&problem),
            problem,
            lifts: Vec::new(),
            algorithm: recipe.to_string(),
            recipe: recipe.clone(),
            facts: RefCell::new(Vec::new()),
            best: RefCell::new(None),
            published: Rc::new(Cell::new(None)),
            known: Rc::default(),
            has_children: Cell::new(false),
        }
    }

    /// The problem that the row plans: transformed if the recipe has transforms.
    #[must_use]
    pub fn problem(&self) -> &Arc<Problem> {
        &self.problem
    }

    /// The rows that it may run.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.recipe.rows()
    }

    /// Limits of the whole run, for a search that keeps to them itself.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.line.control.limits()
    }

    /// Seed of rows that draw lots.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.limits().seed
    }

    /// Threads that the row may use, at least 1. What it finds must not depend on them where
    /// [`Run::is_deterministic`].
    #[must_use]
    pub fn threads(&self) -> usize {
        self.line.control.threads()
    }

    /// Time left that a row may plan with; `None` where there is no limit, and where choices must
    /// not depend on the clock.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        if self.is_deterministic() {
            return None;
        }
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether choices must not depend on the clock.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        self.limits().deterministic
    }

    /// Whether the run was given a time limit, which it may use to the end.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.deadline.is_some() && !self.limits().is_usual_time
    }

    /// Nodes left; `None` without a budget.
    #[must_use]
    pub fn nodes_left(&self) -> Option<u64> {
        self.line.control.nodes_left()
    }

    /// Books nodes.
    ///
    /// # Errors
    /// Why the row must stop now, if it must.
    pub fn spend(&self, nodes: u64) -> Result<(), StopReason> {
        self.line.control.spend(nodes);
        self.stopped().map_or(Ok(()), Err)
    }

    /// Why the row must stop now, if it must.
    #[must_use]
    pub fn stopped(&self) -> Option<StopReason> {
        self.line.control.stop_at(self.deadline)
    }

    /// Whether the best plan of the whole run meets the bound, so that nothing is left to find.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.published.get().is_some_and(|value| value <= self.line.control.bound())
    }

    /// The best proven bound so far.
    #[must_use]
    pub fn known_bound(&self) -> Nanos {
        self.line.control.bound()
    }

    /// Whether [`Run::problem`] is another one than the one that was asked for.
    #[must_use]
    pub fn is_transformed(&self) -> bool {
        !self.lifts.is_empty()
    }

    /// Records this run beside the recipes that it runs, since it goes on after them.
    pub fn has_own_part(&self) {
        self.has_children.set(false);
    }

    /// Adds a fact to the record of this step.
    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        self.facts.borrow_mut().push((name, value.into()));
    }

    /// Adds a warning to the outcome.
    pub fn warn(&self, warning: Diagnostic) {
        self.line.warn(warning);
    }

    /// Tells a proven lower bound on [`Run::problem`]. Behind a transform it proves nothing about
    /// the original problem and is dropped.
    pub fn bound(&self, bound: Bound) {
        if self.lifts.is_empty() {
            self.line.raise(bound.into());
        }
    }

    /// Figures of a draft of [`Run::problem`], judged on the original problem, without keeping it.
    ///
    /// # Errors
    /// If the finished plan is illegal.
    pub fn score(&self, draft: &Draft) -> Result<Scored, NoPlan> {
        self.judged(draft).map(|(scored, _)| scored)
    }

    /// Finishes, lifts, verifies and judges a draft of [`Run::problem`], and publishes it if it is
    /// better than all before it. The only way out for an incumbent.
    ///
    /// # Errors
    /// If the finished plan is illegal.
    pub fn offer(&self, draft: &Draft) -> Result<Scored, NoPlan> {
        let (scored, timeline) = self.judged(draft)?;
        let value = scored.figures.value;
        let mut best = self.best.borrow_mut();
        if best.as_ref().is_none_or(|best| value < best.figures.value) {
            *best = Some(scored.clone());
        }
        if self.published.get().is_none_or(|best| value < best) {
            self.published.set(Some(value));
            let found = Replayed { plan: scored.plan.clone(), timeline };
            self.line.incumbent(&self.algorithm, value, found);
        }
        Ok(scored)
    }

    /// Answers with this plan of `recipe` in place of a better one, if the gap asked for admits it.
    ///
    /// # Errors
    /// If the plan is illegal.
    pub fn settle(&self, recipe: &Recipe, plan: Plan) -> Result<(), NoPlan> {
        let (scored, timeline) = self.judged(&Draft::from_plan(plan))?;
        let value = scored.figures.value;
        if self.published.get().is_some_and(|best| value > best) && self.line.control.admits(value)
        {
            let found = Replayed { plan: scored.plan, timeline };
            self.line.settle(&recipe.to_string(), value, found);
        }
        Ok(())
    }

    /// Runs a recipe on the original problem for at most `time`, and records it as an attempt.
    ///
    /// # Errors
    /// What the recipe says.
    pub fn child(&self, recipe: &Recipe, time: Option<Duration>) -> Result<Scored, NoPlan> {
        self.child_with(recipe, None, time)
    }

    /// Runs the [`Kind::Improve`] rows of a recipe on the plan that its other
    /// rows gave before, for at most `time`, and records them as an attempt.
    ///
    /// # Errors
    /// None: the worst answer is the plan itself.
    pub fn child_from(
        &self,
        recipe: &Recipe,
        start: Scored,
        time: Option<Duration>,
    ) -> Result<Scored, NoPlan> {
        self.child_with(recipe, Some(start), time)
    }

    fn child_with(
        &self,
        recipe: &Recipe,
        start: Option<Scored>,
        time: Option<Duration>,
    ) -> Result<Scored, NoPlan> {
        self.has_children.set(true);
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let child = Self {
            line: Arc::clone(&self.line),
            original: Arc::clone(&self.original),
            problem: Arc::clone(&self.original),
            lifts: Vec::new(),
            algorithm: recipe.to_string(),
            recipe: recipe.clone(),
            deadline: [self.deadline, until].into_iter().flatten().min(),
            facts: RefCell::new(Vec::new()),
            best: RefCell::new(start),
            published: Rc::clone(&self.published),
            known: Rc::clone(&self.known),
            has_children: Cell::new(false),
        };
        child.execute()
    }

    /// Runs its recipe from the first row to the last and records it as an attempt.
    pub(super) fn execute(mut self) -> Result<Scored, NoPlan> {
        let started = Instant::now();
        self.line.started(&self.algorithm);
        let mut steps = Vec::new();
        let result = self.run_rows(&mut steps);
        let result = match self.best.take() {
            Some(best) => Ok(best),
            None => Err(result.err().unwrap_or_else(|| nothing_offered(&self.algorithm))),
        };
        let figures = result.as_ref().map(|scored| scored.figures).map_err(Clone::clone);
        if !self.has_children.get() {
            self.line.attempted(Attempt {
                algorithm: self.algorithm,
                result: figures,
                elapsed: started.elapsed(),
                steps,
            });
        }
        result
    }

    fn run_rows(&mut self, steps: &mut Vec<Step>) -> Result<(), NoPlan> {
        let mut draft = Draft::default();
        // A plan to start from is what the rows that decide gave.
        let is_given = self.best.borrow().is_some();
        let mut finished = is_given;
        let rows = self.recipe.ingredients().to_vec();
        for used in rows.iter().filter(|used| !is_given || used.entry.kind == Kind::Improve) {
            let started = Instant::now();
            let row = used.row().map_err(|error| NoPlan::new(Reason::Unsupported, error))?;
            if matches!(row, Row::Improve(_)) && !finished {
                self.offer(&draft)?;
                finished = true;
            }
            let result = match row {
                Row::Transform(transform) => self.transform(transform.apply(&self.problem)?),
                Row::Decide(decide) => decide.decide(self, draft.clone()).map(|next| draft = next),
                Row::Improve(improve) => self.improve(improve.as_ref()),
            };
            steps.push(Step {
                row: used.to_string(),
                elapsed: started.elapsed(),
                facts: self.facts.take(),
            });
            // What was shown behind a transform is not shown for the original problem.
            result.map_err(|no_plan| match self.lifts.as_slice() {
                [] => no_plan,
                _ => spelled_out(no_plan.unproved()),
            })?;
        }
        if !finished {
            self.offer(&draft)?;
        }
        Ok(())
    }

    fn transform(&mut self, made: Transformed) -> Result<(), NoPlan> {
        self.problem = made.problem;
        self.lifts.push(Arc::from(made.lift));
        self.facts.borrow_mut().extend(made.facts);
        Ok(())
    }

    /// Improve rows work on the original problem: what they get was judged there.
    fn improve(&mut self, row: &dyn Improve) -> Result<(), NoPlan> {
        self.problem = Arc::clone(&self.original);
        self.lifts.clear();
        let Some(plan) = self.best.borrow().as_ref().map(|best| best.plan.clone()) else {
            return Ok(());
        };
        if let Ok(plan) = row.improve(self, plan) {
            // `offer` keeps the better one; an illegal plan is dropped.
            let _ = self.offer(&Draft::from_plan(plan));
        }
        Ok(())
    }

    fn judged(&self, draft: &Draft) -> Result<Judged, NoPlan> {
        let mut draft = draft.clone();
        for lift in self.lifts.iter().rev() {
            draft = lift.lift(draft);
        }
        let problem = &self.original;
        let plan = draft.finish(problem);
        if let Some(known) = self.known.borrow().as_ref().filter(|known| known.0.plan == plan) {
            return Ok(known.clone());
        }
        if let Some(violation) = verify(problem, &plan).first() {
            return Err(self.illegal(violation));
        }
        let timeline = replay(problem, &plan).map_err(|violation| self.illegal(&violation))?;
        let peak_bytes =
            peaks(problem, &plan, &timeline).iter().map(|peak| peak.bytes).max().unwrap_or(0);
        let value = objective::value(problem, &plan, &timeline)
            .map_err(|violation| self.illegal(&violation))?;
        let figures = AttemptPlan { value, step_time: timeline.step_time, peak_bytes };
        let judged = (Scored { plan, figures }, timeline);
        *self.known.borrow_mut() = Some(judged.clone());
        Ok(judged)
    }

    fn illegal(&self, violation: &Violation) -> NoPlan {
        let mut diagnostic = violation.diagnostic(&self.original);
        let reason = match violation.code() {
            "memory-exceeded" => Reason::MemoryExceeded,
            "no-route" | "unreachable" => Reason::Unreachable,
            _ => Reason::Unsupported,
        };
        // A rule other than the limits is broken only by a wrong row.
        diagnostic.blame = match reason {
            Reason::Unsupported => Blame::Internal,
            _ => Blame::NotFound,
        };
        NoPlan::new(reason, diagnostic).fact("algorithm", self.algorithm.clone())
    }
}

/// A fused op is called `first..last`; its message names ops of the model instead.
fn spelled_out(mut no_plan: NoPlan) -> NoPlan {
    let diagnostic = &mut no_plan.diagnostic;
    for (fact, value) in &mut diagnostic.facts {
        if let ("op", Value::Text(name)) = (*fact, value)
            && let Some((first, last)) = name.split_once("..")
        {
            let spelled = format!("`{first}` (planned as one with all up to `{last}`)");
            diagnostic.message = diagnostic.message.replace(&format!("`{name}`"), &spelled);
            *name = first.to_owned();
        }
    }
    no_plan
}

fn nothing_offered(algorithm: &str) -> NoPlan {
    NoPlan::not_found(Reason::Budget, "no-plan", format!("`{algorithm}` offered no plan"))
}
