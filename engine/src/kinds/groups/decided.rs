//! What is decided of two groups of devices, to its document and back.

use cost_model::experts::{Copies, greatest, shares};
use cost_model::runs::forms::block::groups::Priced;
use cost_model::streams::groups::{Cut, Split, Times, Turns, chain, layer, seconds};
use cost_model::streams::replay::replay;
use cost_model::streams::{Cell, Order, Slowdowns, Timetable};
use documents::plan::disaggregated::{
    DisaggregatedDocument, LengthDocument, PieceSecondsDocument, SplitDocument,
};
use documents::plan::experts::{ExpertLayersDocument, ExpertsContext, ExpertsDocument};
use documents::plan::{CellDocument, CostDocument, PlanDocument};
use planner::experts::findep::OBJECTIVE;

use super::setting::Setting;
use crate::kinds::cells::{Asked, BOUND, stated};

/// Decisions.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Of samples as they are planned for.
    pub split: Split,
    /// Of other lengths.
    pub by_length: Vec<(u64, Split)>,
    /// By kind of layer the devices of each copy of each expert, from the first of the experts' on.
    pub copies: Vec<Copies>,
}

impl Decided {
    /// With experts as they are placed usually.
    #[must_use]
    pub fn new(setting: &Setting, split: Split, by_length: Vec<(u64, Split)>) -> Self {
        let copies = |kind| setting.copies(kind, split.groups[1]);
        Self { split, by_length, copies: (0..setting.kinds.len()).map(copies).collect() }
    }
}

/// Times of each layer.
#[must_use]
pub fn times(priced: &Priced, split: &Split) -> Vec<Times> {
    let runs = split.times(priced);
    runs.iter().flat_map(|(n, times)| std::iter::repeat_n(*times, *n as usize)).collect()
}

/// All layers one after the other, each as the cell of its kind.
#[must_use]
pub fn whole(setting: &Setting, cells: &[Cell]) -> Cell {
    chain(setting.layers.iter().filter_map(|kind| cells.get(*kind)))
}

/// By kind the cell of a layer.
#[must_use]
pub fn cells(setting: &Setting, priced: &Priced, split: &Split) -> Vec<Cell> {
    let times = times(priced, split);
    let of = |kind: usize| {
        let first = setting.layers.iter().position(|other| *other == kind);
        let times = first.and_then(|at| times.get(at)).copied().unwrap_or_default();
        layer(&times, &split.cut)
    };
    (0..setting.kinds.len()).map(of).collect()
}

/// When all pieces of all layers run; nothing where they wait for each other.
#[must_use]
pub fn replayed(cell: &Cell) -> Option<Timetable> {
    replay(cell, &Slowdowns::default()).ok()
}

/// Nanoseconds.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// The plan document, with cells as they are given and their seconds.
#[must_use]
pub fn document(
    setting: &Setting,
    decided: &Decided,
    recipe: &Asked,
    (cells, seconds, bound_s): (&[Cell], f64, f64),
) -> PlanDocument {
    let Decided { split, by_length, .. } = decided;
    let priced = setting.priced(setting.run.sequence);
    let [attention, expert] = split.groups;
    let name = |device: &ir::cluster::Device| device.name.clone();
    let devices: Vec<String> = setting.run.cluster.devices.iter().map(name).collect();
    let (of_attention, of_experts) = devices.split_at((attention as usize).min(devices.len()));
    let [attention_bytes, expert_bytes] = priced.bytes(held(split), expert);
    let experts = &setting.experts.experts;
    let visits = split.tokens(&priced) as f64 * experts.per_token as f64;
    let disaggregated = DisaggregatedDocument {
        attention: of_attention.to_vec(),
        experts: of_experts.to_vec(),
        step: split_document(split, seconds),
        tokens_per_expert: visits / (f64::from(split.cut.parts) * experts.n_experts as f64),
        step_samples: split.of_step(),
        attention_bytes,
        expert_bytes,
        limit_bytes: priced.limit(),
        by_length: by_length.iter().map(|length| of_length(setting, length)).collect(),
    };
    let experts = ExpertsDocument {
        sequence_length: Some(setting.run.sequence),
        tokens: Some(setting.phase.tokens(split.of_step(), setting.run.sequence)),
        layers: entries(setting, &priced, decided, of_experts),
        disaggregated: Some(disaggregated),
        ..ExpertsDocument::default()
    };
    let context = ExpertsContext {
        model: &setting.run.model,
        cluster: &setting.run.cluster,
        phase: setting.phase,
        batch: recipe.batch,
        request: &recipe.request,
        objective: OBJECTIVE,
        algorithm: &recipe.algorithm,
    };
    let batch = recipe.batch as f64;
    let value_ns = ns(batch * seconds / split.of_step().max(1) as f64);
    let bound_ns = ns(batch * bound_s).min(value_ns);
    let cost = CostDocument::new(ns(seconds), bound_ns, BOUND).with_value(value_ns);
    let cells = cells.iter().enumerate().map(|(at, cell)| cell_document(at, cell)).collect();
    let mut plan = PlanDocument::from_streams(
        experts,
        cells,
        (expert, 1),
        (&setting.run.profile, cost),
        &context,
    );
    plan.parallelism.data = attention;
    plan.parallelism.n_micro_batches = split.cut.micro_batches.into();
    plan
}

/// Samples that a device of attention holds at once.
#[must_use]
pub fn held(split: &Split) -> u64 {
    split.samples.saturating_mul(split.cut.micro_batches.into())
}

fn cell_document(at: usize, cell: &Cell) -> CellDocument {
    let order = |stream: &cost_model::streams::Stream| match &stream.order {
        Order::Stated(order) => order.clone(),
        Order::FirstReady => Vec::new(),
    };
    let orders: Vec<Vec<usize>> = cell.streams.iter().map(order).collect();
    stated(format!("{at}F"), cell, &orders)
}

/// Entries of layers, a kind each.
fn entries(
    setting: &Setting,
    priced: &Priced,
    decided: &Decided,
    devices: &[String],
) -> Vec<ExpertLayersDocument> {
    let times = times(priced, &decided.split);
    let of = |(kind, copies): (usize, &Copies)| {
        let of_kind = (0..).zip(&setting.layers).filter(|(_, other)| **other == kind);
        let layers: Vec<u32> = of_kind.map(|(layer, _)| layer).collect();
        let first = layers.first().map_or(0, |layer| *layer as usize);
        let Times { attention_s, shared_s, experts } =
            times.get(first).copied().unwrap_or_default();
        let part = experts.unwrap_or_default();
        let visits = setting.visits.get(kind).cloned().unwrap_or_default();
        let name = |device: &usize| devices.get(*device).cloned().unwrap_or_default();
        let load = shares(&visits).map(|shares| greatest(&shares, copies, devices.len()));
        ExpertLayersDocument {
            layers,
            slots: visits.len().div_ceil(devices.len().max(1)) as u32,
            devices_of_expert: copies
                .iter()
                .map(|numbers| numbers.iter().map(name).collect())
                .collect(),
            greatest_load: load.unwrap_or_default(),
            visits,
            piece_seconds: Some(PieceSecondsDocument {
                attention: attention_s,
                shared: shared_s,
                exchange: part.exchange_s,
                experts: part.experts_s,
            }),
            ..ExpertLayersDocument::default()
        }
    };
    decided.copies.iter().enumerate().map(of).collect()
}

fn split_document(split: &Split, seconds: f64) -> SplitDocument {
    SplitDocument {
        samples: split.samples,
        micro_batches: split.cut.micro_batches,
        parts: split.cut.parts,
        order: split.cut.turns.name().to_owned(),
        samples_per_s: split.of_step() as f64 / seconds,
    }
}

fn of_length(setting: &Setting, (tokens, split): &(u64, Split)) -> LengthDocument {
    let seconds = seconds(&split.times(&setting.priced(*tokens)), &split.cut);
    LengthDocument { tokens: *tokens, step: split_document(split, seconds) }
}

/// What a plan decides of a step; `None` for an order that is none.
#[must_use]
pub fn split(step: &SplitDocument, groups: [u32; 2]) -> Option<Split> {
    let turns = Turns::ALL.into_iter().find(|turns| turns.name() == step.order)?;
    let cut = Cut { micro_batches: step.micro_batches, parts: step.parts, turns };
    Some(Split { groups, samples: step.samples, cut })
}
