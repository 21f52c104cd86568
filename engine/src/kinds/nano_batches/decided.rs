//! What a plan of nano-batches decides, to its document and back.

use cost_model::streams::Slowdowns;
use cost_model::streams::period::Orders;
use documents::plan::experts::{ExpertLayersDocument, ExpertsContext, ExpertsDocument};
use documents::plan::nano_batches::{
    BesideDocument, NanoBatchesDocument, PieceTimeDocument, ServingDocument, ThresholdDocument,
};
use documents::plan::request::RequestDocument;
use documents::plan::{CellDocument, CostDocument, PieceDocument, PlanDocument, StreamDocument};
use ir::diagnostic::Diagnostic;
use ir::workload::StepPhase;
use planner::experts::dynaflow::{self, Planned, Split, Threshold};
use planner::experts::{Nano, NanoBatches};
use planner::recipe::Ingredient;

use super::setting::{Cut, Setting};

/// What is minimised.
pub const OBJECTIVE: &str = "step-time";
/// Which bound is stated.
pub const BOUND: &str = "nano-batches";
/// Tokens of a step on a replica up to which thresholds are looked for, at powers of two of its samples.
const MOST_TOKENS: u64 = 1 << 16;
/// The same of samples.
const MOST_SAMPLES: u64 = 1 << 12;

/// How layers are planned.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The row that makes it.
    pub algorithm: String,
    /// What else was asked for.
    pub request: RequestDocument,
    /// How it cuts and orders.
    pub solve: Nano,
    /// The least tokens of a nano-batch by phase, prefill first.
    pub min_tokens: [u64; 2],
    /// What a cut has to gain.
    pub min_gain: f64,
}

impl Asked {
    /// Of a row with its options.
    ///
    /// # Errors
    /// `bad-option`.
    pub fn of(
        (used, door): (&Ingredient, &NanoBatches),
        request: RequestDocument,
    ) -> Result<Self, Diagnostic> {
        let (min_tokens, min_gain) = dynaflow::thresholds(used.entry, &used.options)?;
        Ok(Self { algorithm: used.to_string(), request, solve: door.0, min_tokens, min_gain })
    }

    /// When samples are cut.
    #[must_use]
    pub fn threshold(&self, phase: StepPhase) -> Threshold {
        let tokens = self.min_tokens[usize::from(phase == StepPhase::Decode)];
        Threshold { tokens, gain: self.min_gain }
    }
}

/// Layers that do the same.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Positions in the model.
    pub layers: Vec<u32>,
    /// How their samples go through them.
    pub cut: Cut,
    /// In which order.
    pub orders: Orders,
    /// Seconds of a layer in the steady state.
    pub cycle_s: f64,
    /// What nothing that was looked at is below.
    pub bound_s: f64,
    /// Seconds of a layer whose samples are not cut.
    pub unsplit_s: f64,
}

impl Entry {
    /// Layers that follow each other, how many at a time.
    fn runs(&self) -> Vec<usize> {
        let mut runs: Vec<usize> = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let follows = at > 0 && self.layers[at - 1].checked_add(1) == Some(*layer);
            match runs.last_mut() {
                Some(last) if follows => *last += 1,
                _ => runs.push(1),
            }
        }
        runs
    }

    /// Seconds of all its layers; nano-batches wait for each other where others follow.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let (period, slowdowns) = (&self.cut.split.period, &self.cut.split.slowdowns);
        let of =
            |n: usize| period.replayed(&self.orders, n, slowdowns).map(|times| times.seconds());
        self.runs().into_iter().map(|n| of(n).unwrap_or(f64::INFINITY)).sum()
    }
}

/// Kinds of layers, the layers of each, in the order of their first ones.
fn kinds(setting: &Setting) -> Vec<(usize, Vec<u32>)> {
    let mut kinds: Vec<(usize, Vec<u32>)> = Vec::new();
    for (layer, kind) in (0..).zip(&setting.layers) {
        match kinds.iter_mut().find(|known| known.0 == *kind) {
            Some((_, layers)) => layers.push(layer),
            None => kinds.push((*kind, vec![layer])),
        }
    }
    kinds
}

/// A kind of layer as a row plans it, where so many follow each other.
fn planned(
    (setting, recipe): (&Setting, &Asked),
    kind: usize,
    (phase, samples): (StepPhase, u64),
    n_layers: usize,
) -> Option<(Cut, Planned, f64)> {
    let mut cuts = setting.cuts(kind, (phase, samples));
    let splits: Vec<Split> = cuts.iter().map(|cut| cut.split.clone()).collect();
    let unsplit_s = splits.first()?.period.work_s();
    let planned = (recipe.solve)(&splits, &recipe.threshold(phase), n_layers)?;
    Some((cuts.swap_remove(planned.split), planned, unsplit_s))
}

/// All layers as a row plans them.
#[must_use]
pub fn entries(setting: &Setting, recipe: &Asked) -> Vec<Entry> {
    let step = (setting.doing.phase, setting.samples());
    let entry = |(kind, layers): (usize, Vec<u32>)| {
        let n = shortest(&layers);
        let (cut, found, unsplit_s) = planned((setting, recipe), kind, step, n)?;
        let Planned { orders, cycle_s, bound_s, .. } = found;
        Some(Entry { layers, cut, orders, cycle_s, bound_s, unsplit_s })
    };
    kinds(setting).into_iter().filter_map(entry).collect()
}

/// How many layers follow each other at least.
fn shortest(layers: &[u32]) -> usize {
    let ends = layers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
    let mut least = layers.len();
    if ends > 0 {
        let mut run = 1;
        for pair in layers.windows(2) {
            match pair[0] + 1 == pair[1] {
                true => run += 1,
                false => {
                    least = least.min(run);
                    run = 1;
                }
            }
        }
        least = least.min(run);
    }
    least
}

/// From how many tokens on a step has how many nano-batches.
#[must_use]
pub fn thresholds(setting: &Setting, recipe: &Asked) -> Vec<ThresholdDocument> {
    let mut found = Vec::new();
    for phase in [StepPhase::Prefill, StepPhase::Decode] {
        let each = setting.tokens(phase).max(1);
        let most = (MOST_TOKENS / each).clamp(1, MOST_SAMPLES).max(setting.samples());
        let mut sizes: Vec<u64> = (0..=most.ilog2()).map(|power| 1 << power).collect();
        sizes.push(setting.samples());
        sizes.sort_unstable();
        sizes.dedup();
        let mut last = 0;
        for samples in sizes {
            let n = |(kind, layers): (usize, Vec<u32>)| {
                let best = planned((setting, recipe), kind, (phase, samples), shortest(&layers));
                best.map_or(1, |best| best.0.split.samples.len() as u32)
            };
            let nano_batches = kinds(setting).into_iter().map(n).max().unwrap_or(1);
            if nano_batches != last {
                last = nano_batches;
                let tokens = if found_none(&found, phase) { 0 } else { samples * each };
                found.push(ThresholdDocument { phase: phase.into(), tokens, nano_batches });
            }
        }
    }
    found
}

fn found_none(found: &[ThresholdDocument], phase: StepPhase) -> bool {
    found.iter().all(|threshold| threshold.phase != phase.into())
}

/// A piece of a cut as plans name it.
#[must_use]
pub fn piece(cut: &Cut, (nano_batch, at): (usize, usize)) -> PieceDocument {
    let op = cut.names.get(at).cloned().unwrap_or_default();
    let part = cut.names.iter().take(at).filter(|name| **name == op).count() as u32;
    PieceDocument { op, nano_batch: nano_batch as u32, part }
}

/// All pieces of a cut by nano-batch and position.
pub fn pieces(cut: &Cut) -> impl Iterator<Item = (usize, usize)> + '_ {
    let chains = cut.split.period.chains.iter().enumerate();
    chains.flat_map(|(nano_batch, chain)| (0..chain.len()).map(move |at| (nano_batch, at)))
}

fn cell(at: usize, entry: &Entry) -> CellDocument {
    let streams = entry.cut.split.period.streams.iter().zip(&entry.orders.streams);
    let stream = |(resource, order): (&cost_model::streams::Resource, &Vec<(usize, usize)>)| {
        StreamDocument {
            resource: resource.name().to_owned(),
            pieces: order.iter().map(|position| piece(&entry.cut, *position)).collect(),
        }
    };
    CellDocument { cell: format!("{at}F"), streams: streams.map(stream).collect() }
}

fn layers(entry: &Entry) -> ExpertLayersDocument {
    let cut = &entry.cut;
    let times = pieces(cut).map(|at| PieceTimeDocument {
        piece: piece(cut, at),
        seconds: cut.split.period.chains[at.0][at.1].seconds,
    });
    let beside = cut.beside.iter().map(|([compute, exchange], shared)| BesideDocument {
        compute: piece(cut, *compute),
        exchange: piece(cut, *exchange),
        mode: shared.mode.map_or("turns", |mode| mode.name()).to_owned(),
        multiprocessors: shared.multiprocessors,
    });
    ExpertLayersDocument {
        layers: entry.layers.clone(),
        nano_batches: Some(NanoBatchesDocument {
            samples: cut.split.samples.clone(),
            ahead: entry.orders.ahead.iter().map(|n| *n as u32).collect(),
            cycle_s: entry.cycle_s,
            unsplit_s: entry.unsplit_s,
            bound_s: entry.bound_s,
            pieces: times.collect(),
            beside: beside.collect(),
        }),
        ..ExpertLayersDocument::default()
    }
}

/// Seconds of a step, what it is not below, and what it takes where nothing is cut.
#[must_use]
pub fn seconds(entries: &[Entry]) -> [f64; 3] {
    let of = |each: fn(&Entry) -> f64| {
        let sum = |entry: &Entry| each(entry) * entry.layers.len() as f64;
        entries.iter().map(sum).sum::<f64>()
    };
    let all = entries.iter().map(Entry::seconds).sum();
    [all, of(|entry| entry.bound_s), of(|entry| entry.unsplit_s)]
}

/// The plan document.
#[must_use]
pub fn document(
    setting: &Setting,
    entries: &[Entry],
    (recipe, thresholds): (&Asked, Vec<ThresholdDocument>),
) -> PlanDocument {
    let phase = setting.doing.phase;
    let threshold = recipe.threshold(phase);
    let experts = ExpertsDocument {
        sequence_length: Some(setting.run.sequence),
        tokens: Some(phase.tokens(setting.doing.batch, setting.run.sequence)),
        layers: entries.iter().map(layers).collect(),
        serving: Some(ServingDocument {
            cached: setting.cached(phase),
            min_tokens: threshold.tokens,
            min_gain: threshold.gain,
            thresholds,
            interference: setting.rows.clone(),
        }),
        ..ExpertsDocument::default()
    };
    let context = ExpertsContext {
        model: &setting.run.model,
        cluster: &setting.run.cluster,
        phase,
        batch: setting.doing.batch,
        request: &recipe.request,
        objective: OBJECTIVE,
        algorithm: &recipe.algorithm,
    };
    let cells = entries.iter().enumerate().map(|(at, entry)| cell(at, entry)).collect();
    let [step_s, bound_s, _] = seconds(entries);
    let ns = |seconds: f64| (seconds * 1e9).round() as u64;
    let cost = CostDocument::new(ns(step_s), ns(bound_s).min(ns(step_s)), BOUND);
    let parallelism = &setting.parallelism;
    let degrees = (parallelism.data, parallelism.tensor);
    let mut plan =
        PlanDocument::from_streams(experts, cells, degrees, (&setting.run.profile, cost), &context);
    plan.parallelism.expert = parallelism.expert;
    plan
}

/// What a document decides of each entry; else why it can be read back as nothing.
///
/// # Errors
/// In words, of a cell or an entry.
pub fn read(setting: &Setting, plan: &PlanDocument) -> Result<Vec<Entry>, String> {
    let step = (setting.doing.phase, setting.samples());
    let stated = &plan.experts.layers;
    if plan.schedule.cells.len() != stated.len() {
        let n = plan.schedule.cells.len();
        return Err(format!("{n} cells for {} entries of layers", stated.len()));
    }
    let entry = |(at, entry): (usize, &ExpertLayersDocument)| {
        let cell = &plan.schedule.cells[at];
        let wrong = |why: String| format!("cell `{}`: {why}", cell.cell);
        let first = entry.layers.first().and_then(|layer| setting.layers.get(*layer as usize));
        let kind = *first.ok_or_else(|| format!("entry {at} has no layer of the model"))?;
        let decided = entry.nano_batches.as_ref().ok_or_else(|| wrong("no nano-batches".into()))?;
        if cell.cell != format!("{at}F") {
            return Err(wrong(format!("it is the one of entry {at}, `{at}F`")));
        }
        let samples = &decided.samples;
        let all = samples.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n));
        if all != Some(step.1) || samples.contains(&0) || samples.len() > 2 {
            return Err(wrong(format!(
                "nano-batches of {samples:?} samples, and a replica has {} in one or two",
                step.1
            )));
        }
        let fuses = samples.len() == 1
            && cell
                .streams
                .iter()
                .flat_map(|stream| &stream.pieces)
                .any(|piece| piece.op.contains('+'));
        let cut = setting.cut(kind, step.0, (samples, fuses));
        let orders = Orders {
            streams: streams(&cut, cell).map_err(wrong)?,
            ahead: decided.ahead.iter().map(|n| *n as usize).collect(),
        };
        let split = &cut.split;
        let cycle = split.period.cycle_s(&orders, &split.slowdowns);
        let cycle_s = cycle
            .ok_or_else(|| wrong("pieces are missing, twice, or wait for each other".to_owned()))?;
        let cuts = setting.cuts(kind, step);
        let bound = |cut: &Cut| cut.split.period.bound_s(cut.split.rate);
        let bound_s = cuts.iter().map(bound).fold(bound(&cut), f64::min);
        let unsplit_s = cuts.first().map_or(0.0, |cut| cut.split.period.work_s());
        Ok(Entry { layers: entry.layers.clone(), cut, orders, cycle_s, bound_s, unsplit_s })
    };
    stated.iter().enumerate().map(entry).collect()
}

/// Orders of the streams of a cell.
fn streams(cut: &Cut, cell: &CellDocument) -> Result<Vec<Vec<(usize, usize)>>, String> {
    let all: Vec<((usize, usize), PieceDocument)> =
        pieces(cut).map(|at| (at, piece(cut, at))).collect();
    let position = |piece: &PieceDocument| {
        let found = all.iter().find(|(_, other)| piece == other).map(|known| known.0);
        found.ok_or_else(|| {
            format!("no part {} of `{}` of nano-batch {}", piece.part, piece.op, piece.nano_batch)
        })
    };
    let names: Vec<&str> =
        cut.split.period.streams.iter().map(|resource| resource.name()).collect();
    if cell.streams.len() != names.len() {
        return Err(format!("{} streams, not {}", cell.streams.len(), names.len()));
    }
    let of = |name: &&str| {
        let stream = cell.streams.iter().find(|stream| stream.resource == **name);
        let stream = stream.ok_or_else(|| format!("no stream on `{name}`"))?;
        stream.pieces.iter().map(position).collect()
    };
    names.iter().map(of).collect()
}

/// What pieces of a layer of the steady state do, and when: by nano-batch and position, from the start of
/// the first one.
#[must_use]
pub fn timetable(entry: &Entry) -> Vec<((usize, usize), [f64; 2])> {
    const AT: usize = 12;
    let period = &entry.cut.split.period;
    let slowdowns: &Slowdowns = &entry.cut.split.slowdowns;
    let n_layers = cost_model::streams::period::REPLAYED;
    let Ok(times) = period.replayed(&entry.orders, n_layers, slowdowns) else { return Vec::new() };
    let n = period.steps().len();
    let span = |at: (usize, usize)| times.spans[AT * n + period.number(at)];
    let start_s = pieces(&entry.cut).map(|at| span(at).start_s).fold(f64::INFINITY, f64::min);
    let of = |at| (at, [span(at).start_s - start_s, span(at).end_s - start_s]);
    pieces(&entry.cut).map(of).collect()
}
