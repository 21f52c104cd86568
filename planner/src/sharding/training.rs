//! A training step within the memory of devices.
//!
//! A row of the program for each op would make it large: rows join it where a plan
//! without them breaks them. What no plan of fewer rows is below, none of all rows is.
//!
//! The program adds costs up, so that nothing would hide behind ops: collectives of parameters and gradients are
//! priced by the share that a replay of the plan before left exposed, and of all plans the fastest replay counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ir::card::ModelCard;
use ir::graph::Graph as Ops;

use super::answer::{Refused, Sharding};
use super::decoder::{self, Run, Step};
use super::graph::Graph;
use super::layers;
use super::memory::{Memory, used};
use super::mesh::{Mesh, Prices};
use super::pinned::{ANY, Pinned, pin};
use super::program::{Known, LARGE, SMALL, again};
use super::replay::{Replayed, Running, of_parameters, replayed};
use super::templates::{self, Template};
use super::traced;
use crate::run::{Control, Limits};

/// Rows that join at once.
const ROWS: usize = 4;
/// Programs at most, each priced by the replay of the one before.
const ROUNDS: usize = 3;
/// Part of the price that a program may lack to its bound before the best plan is known.
const COARSE: f64 = 1e-3;
/// What a proof of a small program's best plan may take where no limit of time is shorter.
const PROOF: Duration = Duration::from_secs(1);
/// Share of the limits left that a number of micro-batches gets.
const SHARE: f64 = 0.25;
/// Share of the limits of a first search, which suffices but where memory binds.
const SHORT: f64 = 0.5;
/// Further weights of collectives that are tried: of parameters and gradients, then of activations with all of these
/// where a program is small, else with the best.
const SHARES: [f64; 4] = [0.7, 0.4, 0.2, LEAST_EXPOSED];
const ACTIVATIONS: [f64; 3] = [0.7, 0.4, 0.2];
/// The least share that is priced, so that ties are few.
const LEAST_EXPOSED: f64 = 0.05;

/// A model.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// By figures of its layers.
    Card(&'a ModelCard),
    /// Op by op, for a number of samples.
    Graph(&'a dyn Fn(u64) -> Option<Arc<Ops>>),
}

/// A step to shard.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub source: Source<'a>,
    /// Its devices.
    pub mesh: &'a Mesh,
    /// Prices of these.
    pub prices: &'a dyn Prices,
    /// How a step of all samples would run at once.
    pub run: Run,
    /// What takes memory.
    pub memory: Memory,
    /// How its stack runs.
    pub running: Running<'a>,
    /// Placements that are fixed.
    pub pins: &'a [Pinned],
}

/// A step within memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The ops of a micro-batch.
    pub step: Step,
    /// Their strategies.
    pub sharding: Sharding,
    /// Micro-batches, one after another.
    pub accumulation: u64,
    /// Whether layers run again in the backward pass.
    pub recomputes: bool,
    /// Most bytes of a device, and the op at which it holds them.
    pub peak: (f64, String),
    /// Ops at which memory binds.
    pub rows: Vec<String>,
    /// A micro-batch on streams.
    pub replayed: Replayed,
    /// Weights of collectives in the price.
    pub exposed: Exposed,
}

impl Planned {
    /// Seconds of the step as it is replayed.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.accumulation as f64 * self.replayed.seconds
    }

    /// The template that it is, if any.
    #[must_use]
    pub fn template(&self, mesh: &Mesh) -> Option<Template> {
        templates::named(&self.step.graph, mesh, &self.sharding.strategies)
    }

    /// What the program takes the step for: ops and collectives one after another, hidden ones left out.
    #[must_use]
    pub fn priced_s(&self) -> f64 {
        self.accumulation as f64 * self.sharding.seconds
    }

    /// What no sharding of its micro-batches is priced below.
    #[must_use]
    pub fn bound_s(&self) -> f64 {
        self.accumulation as f64 * self.sharding.bound_s
    }
}

impl Question<'_> {
    /// The ops of a micro-batch of a step of `accumulation` ones; none of models that [`decoder::step`] has none of.
    #[must_use]
    pub fn step(&self, accumulation: u64, recomputes: bool) -> Option<Step> {
        let n_sequences = self.run.n_sequences / accumulation;
        let update_bytes = self.run.update_bytes / accumulation as f64;
        let run = Run { n_sequences, update_bytes, recomputes, stores: true, ..self.run };
        let mut step = match self.source {
            Source::Card(model) => decoder::step(model, &run)?,
            Source::Graph(_) if recomputes => return None,
            Source::Graph(read) => traced::step(read(n_sequences)?.as_ref(), &run)?,
        };
        pin(&mut step.graph, self.pins, self.mesh.axes.len());
        step.graph.tied = layers::tied(&step.graph);
        Some(step)
    }

    /// Whether layers are recomputed, as far as there is a step so: graphs have none with recompute.
    pub(super) fn recomputes(&self) -> impl DoubleEndedIterator<Item = bool> + use<> {
        let n = if matches!(self.source, Source::Card(_)) { 2 } else { 1 };
        [false, true].into_iter().take(n)
    }

    /// The best sharding of a step within memory, with the rows that bind.
    ///
    /// # Errors
    /// Those of [`plan`](super::program::plan); where memory does not suffice, the rows that have no solution together.
    pub fn within(
        &self,
        step: &Step,
        control: &Control,
    ) -> Result<(Sharding, Vec<String>), (Refused, Vec<String>)> {
        self.within_after(step, (control, &|_| true), &mut Known::default())
    }

    /// Seconds that no sharding of a step is below, `enough_s` where a search proves as much.
    #[must_use]
    pub fn least_s(&self, step: &Step, enough_s: f64, control: &Control) -> f64 {
        let known = &mut Known::until(enough_s);
        // Rows of memory may leave no choice that is found; the bound is what counts.
        let _ = self.within_after(step, (control, &|_| true), known);
        let (reached_s, _) = known.reached();
        // A program without a solution has no bound: equal layers with different strategies are outside of it.
        if reached_s.is_finite() { reached_s.min(enough_s) } else { 0.0 }
    }

    fn within_after(
        &self,
        step: &Step,
        (control, is_worth): (&Control, &dyn Fn(&Sharding) -> bool),
        known: &mut Known,
    ) -> Result<(Sharding, Vec<String>), (Refused, Vec<String>)> {
        let mut all = self.budgets(step);
        all.retain(|budget| step.graph.is_own(budget.op()));
        let mut graph = Graph { budgets: Vec::new(), ..step.graph.clone() };
        let at = |name: &String| all.iter().position(|budget| budget.name == *name);
        let mut joined: Vec<usize> = known.rows.iter().filter_map(at).collect();
        graph.budgets.extend(joined.iter().map(|at| all[*at].clone()));
        loop {
            let names = || joined.iter().map(|at| all[*at].name.clone()).collect::<Vec<_>>();
            let broken = |sharding: &Sharding| {
                let used = used(&graph, self.mesh, &all, &sharding.strategies);
                let over = all.iter().zip(used).map(|(of, used)| used / of.most_bytes.max(1.0));
                let mut broken: Vec<(f64, usize)> =
                    over.zip(0..).filter(|(over, _)| *over > 1.0 + 1e-9).collect();
                broken.retain(|(_, at)| !joined.contains(at));
                broken
            };
            let is_worth = |sharding: &Sharding| broken(sharding).is_empty() && is_worth(sharding);
            let of = (self.mesh, self.prices);
            let sharding =
                again(&graph, of, (control, &is_worth), known).map_err(|error| (error, names()))?;
            let mut broken = broken(&sharding);
            broken.sort_by(|one, other| other.0.total_cmp(&one.0));
            if broken.is_empty() || known.reached().1 {
                known.rows = names();
                return Ok((sharding, names()));
            }
            if control.stop().is_some() {
                return Err((Refused::NotSolved, names()));
            }
            for (_, at) in broken.into_iter().take(ROWS) {
                joined.push(at);
                graph.budgets.push(all[at].clone());
            }
        }
    }

    /// The fastest of the steps of fewest micro-batches that fit, and of twice as many where memory binds, with and
    /// without recompute of layers. Micro-batches are powers of two that divide the samples.
    ///
    /// # Errors
    /// As [`Self::within`]; [`Refused::NoGraph`].
    pub fn plan(&self, control: &Control) -> Result<Planned, (Refused, Vec<String>)> {
        let coarse = &limited(control, (COARSE, None));
        let short = coarse.part(SHORT);
        let known = &mut Known::default();
        known.is_rough = true;
        let mut found = self.fastest(&short, known);
        coarse.spend(short.spent());
        if found.is_ok() {
            short.noted_stop().into_iter().for_each(|stop| control.note_stop(stop));
        }
        // Without a stop a search ends undecided where its parts are too many.
        let is_open = matches!(found, Err((Refused::NotSolved, _)));
        if is_open || found.is_err() && short.noted_stop().is_some() {
            // Where memory just suffices, any plan takes less to find than a good one.
            let any = limited(control, (ANY, None)).part(0.5);
            found = self.fastest(&any, known);
            coarse.spend(any.spent());
            found = match (found, self.fastest(coarse, known)) {
                (Ok(one), Ok(other)) if one.seconds() <= other.seconds() => Ok(one),
                (Ok(one), Err(_)) => Ok(one),
                (_, other) => other,
            };
            coarse.noted_stop().into_iter().for_each(|stop| control.note_stop(stop));
        }
        found.map(|best| self.proved(self.varied(best, coarse, known), (coarse, control), known))
    }

    fn fastest(
        &self,
        coarse: &Control,
        known: &mut Known,
    ) -> Result<Planned, (Refused, Vec<String>)> {
        let mut best: Option<Planned> = None;
        let mut last = (Refused::Infeasible, Vec::new());
        let (mut undecided, mut n_tried) = (None, 0);
        for recomputes in self.recomputes() {
            let mut n_found = 0;
            let powers = (0..64).map(|power| 1_u64 << power);
            let fits = |n: &u64| self.run.n_sequences.is_multiple_of(*n);
            for accumulation in powers.take_while(fits) {
                let none = || (Refused::NoGraph, Vec::new());
                let step = self.step(accumulation, recomputes).ok_or_else(none)?;
                if n_tried > 0 && coarse.stop().is_some() {
                    let none = (Refused::NotSolved, Vec::new());
                    undecided = undecided.or(best.is_none().then_some(none));
                    break;
                }
                n_tried += 1;
                if !self.may_fit(&step) {
                    continue;
                }
                // Where memory just does not suffice, that takes long to show: others get their share of the limits.
                let part = coarse.part(SHARE);
                let found = self.overlapped(step, (accumulation, recomputes), &part, known);
                coarse.spend(part.spent());
                part.noted_stop().into_iter().for_each(|stop| coarse.note_stop(stop));
                match found {
                    Ok(at) => {
                        let is_bound = !at.rows.is_empty();
                        if best.as_ref().is_none_or(|best| at.seconds() < best.seconds()) {
                            best = Some(at);
                        }
                        n_found += 1;
                        // Where memory binds, half of a micro-batch may be faster.
                        if !is_bound || n_found > 1 {
                            break;
                        }
                    }
                    Err((Refused::Infeasible | Refused::NoStrategy(_), rows)) => {
                        last = (Refused::Infeasible, rows);
                    }
                    Err((Refused::NotSolved, rows)) => undecided = Some((Refused::NotSolved, rows)),
                    Err(error) => return Err(error),
                }
            }
            // Where nothing binds, running layers again costs time alone.
            if best.as_ref().is_some_and(|of| of.rows.is_empty() && of.accumulation == 1) {
                break;
            }
        }
        best.ok_or(undecided.unwrap_or(last))
    }

    /// A plan with the bound of a search for the best one, and that one where its replay is no slower; first of a coarse
    /// one, in which all orders of axes are.
    fn proved(
        &self,
        mut plan: Planned,
        (coarse, control): (&Control, &Control),
        known: &mut Known,
    ) -> Planned {
        known.is_rough = false;
        let is_small = plan.sharding.n_columns <= SMALL;
        let is_met = |of: &Planned, gap| {
            let gap = if is_small { gap } else { LARGE };
            of.sharding.bound_s >= of.sharding.seconds * (1.0 - gap)
        };
        if self.mesh.is_ordered && !is_met(&plan, coarse.limits().gap) {
            plan = self.searched(plan, coarse, known);
        }
        // How far a search gets in a time is no matter of the question alone.
        if is_met(&plan, 1e-9) || control.limits().deterministic || control.stop().is_some() {
            return plan;
        }
        let left = control.deadline().map(|end| end.saturating_duration_since(Instant::now()));
        let fine = limited(control, (0.0, Some(left.map_or(PROOF, |left| left.min(PROOF)))));
        self.searched(plan, &fine, known)
    }

    /// A plan with the bound of a further search, and what that finds where its replay is no slower.
    fn searched(&self, mut plan: Planned, control: &Control, known: &mut Known) -> Planned {
        let found = self.within_after(&plan.step, (control, &|_| true), known);
        let Ok((sharding, rows)) = found else { return plan };
        let bound_s = plan.sharding.bound_s.max(sharding.bound_s);
        let replayed = replayed(&plan.step.graph, &sharding, &self.running);
        let is_better = sharding.seconds <= plan.sharding.seconds;
        if is_better && replayed.seconds <= plan.replayed.seconds {
            plan.peak = self.peak(&plan.step, &sharding.strategies);
            (plan.sharding, plan.rows, plan.replayed) = (sharding, rows, replayed);
        }
        plan.sharding.bound_s = bound_s.min(plan.sharding.seconds);
        plan
    }

    /// The plan of the fastest replay, of programs that price what the replay before left exposed.
    pub(super) fn overlapped(
        &self,
        mut step: Step,
        of: (u64, bool),
        control: &Control,
        known: &mut Known,
    ) -> Result<Planned, (Refused, Vec<String>)> {
        known.forget(Vec::new());
        let mut best: Option<Planned> = None;
        let mut exposed = Exposed { parameters: 1.0, activations: 1.0 };
        for _ in 0..ROUNDS {
            let found = self.exposed(&mut step, of, (exposed, control, f64::INFINITY), known);
            let at = match (found, best.is_some()) {
                (Err(_), true) => break,
                (found, _) => found?,
            };
            let next = at.replayed.exposed().max(LEAST_EXPOSED);
            let is_same =
                best.as_ref().is_some_and(|of| of.sharding.strategies == at.sharding.strategies);
            // Of equal plans the last one is priced as it is replayed.
            if best.as_ref().is_none_or(|best| at.seconds() <= best.seconds()) {
                best = Some(at);
            }
            if is_same || (next - exposed.parameters).abs() < 1e-3 || control.stop().is_some() {
                break;
            }
            exposed.parameters = next;
        }
        best.ok_or((Refused::NotSolved, Vec::new()))
    }

    /// The plan of a program that prices shares of collectives. Where it can't be below some seconds of a micro-batch by
    /// an order of axes alone, those are not searched.
    fn exposed(
        &self,
        step: &mut Step,
        (accumulation, recomputes): (u64, bool),
        (exposed, control, most_s): (Exposed, &Control, f64),
        known: &mut Known,
    ) -> Result<Planned, (Refused, Vec<String>)> {
        expose(&mut step.graph, exposed);
        let replay = |sharding: &Sharding| replayed(&step.graph, sharding, &self.running);
        let is_worth = |sharding: &Sharding| {
            let least = sharding.bound_s / sharding.seconds;
            most_s.is_infinite() || least * replay(sharding).seconds < most_s
        };
        let (sharding, rows) = self.within_after(step, (control, &is_worth), known)?;
        let replayed = replay(&sharding);
        Ok(Planned {
            peak: self.peak(step, &sharding.strategies),
            step: step.clone(),
            sharding,
            accumulation,
            recomputes,
            rows,
            replayed,
            exposed,
        })
    }

    /// The faster in replay of a plan and those of other shares, which the plan's own share says nothing of: what
    /// one hides may hide what another adds.
    fn varied(&self, mut best: Planned, control: &Control, known: &mut Known) -> Planned {
        known.forget(best.rows.clone());
        let of = (best.accumulation, best.recomputes);
        let is_small = best.sharding.n_columns <= SMALL;
        let shares = if is_small { &SHARES[..] } else { &[] };
        let pairs = ACTIVATIONS.iter().flat_map(|activations| {
            let parameters = shares.iter().map(|share| Some(*share)).chain([None]);
            parameters.map(move |parameters| (parameters, *activations))
        });
        let first = SHARES.iter().map(|share| (Some(*share), 1.0));
        for (parameters, activations) in first.chain(pairs) {
            let parameters = parameters.unwrap_or(best.exposed.parameters);
            let exposed = Exposed { parameters, activations };
            if control.stop().is_some() {
                break;
            }
            let priced = (exposed, control, best.replayed.seconds);
            let at = self.exposed(&mut best.step.clone(), of, priced, known);
            if let Ok(at) = at
                && at.seconds() < best.seconds()
            {
                best = at;
            }
        }
        best
    }
}

/// The same limits with another gap, and less time where it is stated.
pub(super) fn limited(control: &Control, (gap, time): (f64, Option<Duration>)) -> Control {
    let left = control.deadline().map(|end| end.saturating_duration_since(Instant::now()));
    let (limits, nodes) = (control.limits().clone(), control.nodes_left());
    Control::new(&Limits { gap: limits.gap.max(gap), time: time.or(left), nodes, ..limits })
}

/// Weights of collectives in the price: overlap hides the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exposed {
    /// Of parameters and gradients.
    pub parameters: f64,
    /// Of all other tensors.
    pub activations: f64,
}

/// Has collectives priced by shares of their time.
pub fn expose(graph: &mut Graph, exposed: Exposed) {
    let all = of_parameters(graph);
    for (tensor, of) in graph.tensors.iter_mut().zip(all) {
        tensor.exposed = if of.is_some() { exposed.parameters } else { exposed.activations };
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens::mesh;
    use super::super::graph::Strategy;
    use super::super::program::stated;
    use super::*;
    const FAST: (u64, f64, f64) = (8, 10e-6, 300e9);

    /// A step on one host: sequences, and bytes that are taken before and at most.
    fn question<'a>(
        model: &'a ModelCard,
        (mesh, prices): (&'a Mesh, &'a dyn Prices),
        (n_sequences, [resident_bytes, most_bytes]): (u64, [f64; 2]),
    ) -> Question<'a> {
        let memory = Memory { state_bytes: 16.0, logit_bytes: 4.0, resident_bytes, most_bytes };
        let run = Run::timed(n_sequences, true);
        Question {
            source: Source::Card(model),
            mesh,
            prices,
            run,
            memory,
            running: Running::alone(&[false]),
            pins: &[],
        }
    }

    fn planned(most_bytes: f64) -> Result<Planned, (Refused, Vec<String>)> {
        let model = ModelCard::uniform(decoder::tests::llama(4));
        let (mesh, prices) = mesh(&[FAST]);
        let question = question(&model, (&mesh, &prices), (64, [1e9, most_bytes]));
        let planned = question.plan(&Control::new(&Limits::default()))?;
        assert!(planned.peak.0 <= most_bytes * (1.0 + 1e-9), "{:?}", planned.peak);
        // Where rows of memory bind, the relaxation may be below the best plan.
        let gap = planned.priced_s() / planned.bound_s() - 1.0;
        let most = if planned.rows.is_empty() { 1e-9 } else { 0.01 };
        assert!(gap <= most, "{gap} at {most_bytes} bytes");
        Ok(planned)
    }

    /// Less memory: first states and copies of weights are shared out, then there are micro-batches or layers run
    /// again, then nothing fits.
    #[test]
    fn less_memory_is_never_faster() {
        let mut before = 0.0;
        let mut last = None;
        for gigabytes in [400.0, 60.0, 30.0, 15.0, 8.0] {
            let Ok(planned) = planned(gigabytes * 1e9) else { panic!("{gigabytes} GB") };
            // Replays count, which the program does not know before.
            assert!(planned.seconds() >= 0.98 * before, "{gigabytes} GB");
            before = planned.seconds();
            last = Some(planned);
        }
        let last = last.unwrap();
        assert!(last.accumulation > 1 || last.recomputes, "{}", last.accumulation);
        let Err((refused, _)) = planned(4e9) else { panic!("4 GB") };
        assert_eq!(refused, Refused::Infeasible);
    }

    /// Every template is a point of the program, and none is replayed faster than what the program finds.
    #[test]
    fn no_template_is_faster() {
        let (mut n_feasible, mut reversed) = (0, Vec::new());
        let axes = [vec![FAST], vec![(2, 20e-6, 25e9), (4, 10e-6, 300e9)]];
        for (axes, n) in axes.iter().flat_map(|axes| [8, 32, 128].map(|n| (axes, n))) {
            let model = ModelCard::uniform(decoder::tests::llama(4));
            let (mesh, prices) = mesh(axes);
            let (state_bytes, logit_bytes, resident_bytes) = (16.0, 4.0, 1e9);
            let memory = Memory { state_bytes, logit_bytes, resident_bytes, most_bytes: 400e9 };
            let leaves_host = [true, false];
            let leaves_host = &leaves_host[2 - axes.len()..];
            let run = Run::timed(n, true);
            let (model, mesh, prices) = (&model, &mesh, &prices);
            let question = Question {
                source: Source::Card(model),
                mesh,
                prices,
                run,
                memory,
                running: Running::alone(leaves_host),
                pins: &[],
            };
            let control = Control::new(&Limits::default());
            let found = question.plan(&control).unwrap();
            for template in templates::all(&found.step.graph, mesh) {
                let of = (found.accumulation, found.recomputes);
                let Ok(other) = question.template(&template, of, &control, &mut Known::default())
                else {
                    continue;
                };
                n_feasible += 1;
                let placements: Vec<_> =
                    other.sharding.strategies.iter().map(|of| of.placements.clone()).collect();
                let mut graph = found.step.graph.clone();
                let sharding = stated(&graph, mesh, prices, &placements).unwrap();
                assert!(sharding.seconds >= found.sharding.bound_s * (1.0 - 1e-9), "{template}");
                expose(&mut graph, other.exposed);
                let sharding = stated(&graph, mesh, prices, &placements).unwrap();
                assert!((sharding.seconds / other.sharding.seconds - 1.0).abs() < 1e-9);
                if other.seconds() < found.seconds() * (1.0 - 1e-9) {
                    reversed.push(format!("{n} {template}"));
                }
            }
        }
        assert_eq!((n_feasible, reversed), (30, Vec::<String>::new()));
    }

    /// By hand: parameters and their states of a device at rest, as FSDP shares them out, and what an op reads and
    /// writes beside.
    #[test]
    fn bytes_at_an_op_by_hand() {
        let model = ModelCard::uniform(decoder::tests::llama(4));
        let (mesh, prices) = mesh(&[FAST]);
        let question = question(&model, (&mesh, &prices), (8, [0.0, 80e9]));
        let step = question.step(1, false).unwrap();
        let whole = vec![vec![super::super::mesh::Part::Replicated]; 16];
        let strategies: Vec<Strategy> = (step.graph.ops.iter())
            .map(|_| Strategy { placements: whole.clone(), seconds: 0.0 })
            .collect();
        let budgets = question.budgets(&step);
        let of = |name: &str| {
            let budget = budgets.iter().find(|budget| budget.name == name).unwrap();
            used(&step.graph, &mesh, std::slice::from_ref(budget), &strategies)[0]
        };
        // Four layers of 218,103,808 - 8,192 parameters of matrices; embedding and head.
        let layer = 2.0 * 4096.0 * 4096.0 + 2.0 * 4096.0 * 1024.0 + 3.0 * 4096.0 * 14_336.0;
        let ends = 2.0 * 128_256.0 * 4096.0;
        let tokens = 8.0 * 4096.0;
        // Inputs, both norms, queries, keys, values, what attention leaves, the sum, gate, up and their product.
        let activations = tokens * (6.0 * 4096.0 + 2.0 * 1024.0 + 3.0 * 14_336.0);
        let always = 18.0 * (4.0 * layer + ends) + 4.0 * 2.0 * activations;
        let logits = tokens * 128_256.0;
        let near = |found: f64, wanted: f64| {
            assert!((found / wanted - 1.0).abs() < 1e-12, "{found} {wanted}")
        };
        near(of(decoder::LOSS), always + logits * (2.0 + 4.0 + 2.0));
        near(of("layers.0-3.mlp_norm"), always + tokens * 4096.0 * 4.0);
    }
}
