//! Simulated annealing over placements and orders, one dispatch per change.

use ir::id::OpId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::moves::Neighbourhood;
use super::state::{Link, State, Undo, by_upward_rank, critical_path};
use crate::placement::dispatch::{Dispatcher, Score};

/// What a step that exceeds memory limits costs: so many times its length per limit exceeded.
const PENALTY: f64 = 20.0;
/// Changes that are kept between two looks at the critical path.
const KEPT_PER_LOOK: u64 = 8;

/// Less is better: the length of the step, longer for what exceeds the limits.
pub(crate) fn cost(score: Score) -> f64 {
    let length = score.makespan as f64;
    if score.excess > 0.0 { length * (1.05 + PENALTY * score.excess) } else { length }
}

/// A step costs at least its length.
fn cutoff(cost: f64) -> u64 {
    cost.ceil() as u64
}

/// A walk from state to state.
pub(crate) struct Search<'a> {
    pub(crate) hood: Neighbourhood<'a>,
    dispatcher: Dispatcher<'a>,
    random: SmallRng,
    state: State,
    cost: f64,
    best: (State, Score),
    path: Vec<Link>,
    n_kept: u64,
    undo: Vec<Undo>,
}

impl<'a> Search<'a> {
    /// Starts from the best of some states; `None` if none of them can be dispatched.
    pub(crate) fn new(
        hood: Neighbourhood<'a>,
        states: impl IntoIterator<Item = State>,
        seed: u64,
    ) -> Option<Self> {
        let mut dispatcher = Dispatcher::new(hood.network);
        let mut best: Option<(State, Score)> = None;
        for state in states {
            if let Some(score) = state.run(&mut dispatcher, u64::MAX)
                && best.as_ref().is_none_or(|(_, least)| cost(score) < cost(*least))
            {
                best = Some((state, score));
            }
        }
        let best = best?;
        let mut search = Self {
            hood,
            dispatcher,
            random: SmallRng::seed_from_u64(seed),
            state: best.0.clone(),
            cost: cost(best.1),
            best,
            path: Vec::new(),
            n_kept: 0,
            undo: Vec::new(),
        };
        search.restart();
        Some(search)
    }

    /// The best state so far: with the least excess over limits if none is legal.
    pub(crate) fn best(&self) -> (&State, Score) {
        (&self.best.0, self.best.1)
    }

    /// The orders of the best state.
    pub(crate) fn best_plan(&mut self) -> (ir::plan::Placement, ir::schedule::Schedule) {
        let (state, _) = &self.best;
        let _ = state.run(&mut self.dispatcher, u64::MAX);
        self.dispatcher.plan(&state.device)
    }

    /// Goes back to the best state.
    pub(crate) fn restart(&mut self) {
        self.state.clone_from(&self.best.0);
        self.cost = cost(self.best.1);
        if self.state.run(&mut self.dispatcher, u64::MAX).is_some() {
            self.path = critical_path(&self.dispatcher, &self.state.device);
        }
    }

    /// Tries upward ranks of the present placement as its order.
    pub(crate) fn rank(&mut self, topological: &[OpId]) {
        let order = by_upward_rank(&self.dispatcher, &self.state.device, topological);
        let before = self.state.key.clone();
        self.state.order(&order);
        match self.state.run(&mut self.dispatcher, cutoff(self.cost)) {
            Some(score) if cost(score) <= self.cost => self.keep(score),
            _ => self.state.key = before,
        }
    }

    /// One random change, kept if it costs at most a little more: `heat` is the part of the cost
    /// that it may cost more on average.
    pub(crate) fn step(&mut self, heat: f64) {
        self.hood.change(&mut self.state, &self.path, &mut self.random, &mut self.undo);
        if self.undo.is_empty() {
            return;
        }
        // A change is accepted with probability exp(-growth / heat): drawn before it is known, so
        // that the dispatch can stop early (Metropolis et al. 1953).
        let dice: f64 = self.random.random_range(f64::MIN_POSITIVE..1.0);
        let most = self.cost * (1.0 - heat * dice.ln());
        match self.state.run(&mut self.dispatcher, cutoff(most)) {
            Some(score) if cost(score) <= most => {
                self.undo.clear();
                self.keep(score);
            }
            _ => self.state.undo(self.hood.units, &mut self.undo),
        }
    }

    fn keep(&mut self, score: Score) {
        let better = cost(score) < cost(self.best.1);
        self.cost = cost(score);
        self.n_kept += 1;
        if better || self.n_kept.is_multiple_of(KEPT_PER_LOOK) {
            self.path = critical_path(&self.dispatcher, &self.state.device);
        }
        if better {
            self.best.0.clone_from(&self.state);
            self.best.1 = score;
        }
    }
}
