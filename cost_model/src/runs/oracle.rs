//! What a stage of a training run costs and holds, asked in one way whatever the figures come from:
//! forms ([`super::forms::model::Pricing`]) or measured layers ([`super::measured::LayerPricing`]).
//!
//! A [`StageOracle`] prices degrees; [`Prices`] then say of each stage what it takes and holds;
//! [`lowered`] makes of that what the judge of pipelines replays. Searches, checks, calibration and
//! the accuracy table go this way, so that what is validated is what plans.

use ir::card::ModelCard;
use ir::diagnostic::{Blame, Diagnostic};
use ir::grid::{Grid, Pass};
use ir::plan::{Parallelism, Plan, Stage};
use ir::units::{Bytes, Nanos, Work};

use super::forms::rank_groups::{self, Cards};
use super::judge::costs::{Boundary, HostCosts, Nic, PipelineCosts, RankCosts, StageCosts};

/// What is kept in the memory of hosts instead of the devices'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offload {
    /// Nothing.
    #[default]
    Nothing,
    /// Master weights and optimizer states; hosts run the optimizer (Ren et al. 2021,
    /// ZeRO-Offload).
    Optimizer,
    /// The same, with the shards of parameters and gradients: blocks are gathered from hosts for each pass
    /// (Rajbhandari et al. 2021, ZeRO-Infinity; PyTorch's fully sharded data parallel with `CPUOffload`).
    Parameters,
}

/// Prices training runs of one model on one cluster.
pub trait StageOracle: Sync {
    /// The model.
    fn model(&self) -> &ModelCard;

    /// What devices and hosts can hold, and what hosts keep.
    fn limits(&self) -> Limits<'_>;

    /// Prices degrees; `ends_meet` says whether one rank holds both ends of the pipeline.
    ///
    /// # Errors
    /// `needs-layer-profile`, `profile-lacks`: degrees that it has no figures of.
    fn price(
        &self,
        degrees: &Parallelism,
        ends_meet: bool,
    ) -> Result<Box<dyn Prices + '_>, Diagnostic>;
}

/// What stages cost and hold under given degrees.
pub trait Prices {
    /// Degrees and batch sizes.
    fn degrees(&self) -> &Parallelism;

    /// What devices and hosts can hold, and what hosts keep.
    fn limits(&self) -> Limits<'_>;

    /// Figures of a stage.
    ///
    /// # Errors
    /// `needs-layer-profile`, `policies-wrong`: policies that it has no figures of.
    fn stage(&self, stage: &Stage, place: Place) -> Result<StageFigures, Diagnostic>;

    /// What a stage does once its last pass is over.
    fn ending(&self, figures: &StageFigures, seat: Seat) -> Ending;

    /// What goes between two ranks, for so many bytes of one micro-batch over all tensor ranks.
    fn boundary(&self, from: u32, to: u32, bytes: f64) -> Boundary;

    /// Bytes of a device beside its stages: messages, gathered parameters, allocator.
    fn beside_stages(&self, figures: &mut dyn Iterator<Item = &StageFigures>) -> f64;

    /// Which ranks share a network card; `None` where every device has one of its own.
    fn cards(&self) -> Option<Cards> {
        None
    }
}

/// What devices and hosts can hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// Bytes of a device; `None` = unlimited.
    pub device: Option<Bytes>,
    /// Devices of a host.
    pub per_host: u64,
    /// By host, its memory, where that is stated.
    pub host_memory: &'a [Option<Bytes>],
    /// What hosts keep.
    pub offload: Offload,
    /// Whether hosts hold paged moments.
    pub is_paged: bool,
}

/// Which end of the model a stage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The embedding.
    pub first: bool,
    /// Head and loss.
    pub last: bool,
}

impl Place {
    /// Of one of so many stages.
    #[must_use]
    pub const fn of(stage: usize, n_stages: usize) -> Self {
        Self { first: stage == 0, last: stage + 1 == n_stages }
    }
}

/// Where a stage lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Position among the stages.
    pub stage: usize,
    /// Stages.
    pub n_stages: usize,
    /// Its rank.
    pub rank: u32,
    /// The rank of the next stage; its own for the last one.
    pub next: u32,
}

/// What a stage does once its last pass is over, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ending {
    /// Exchange of gradients.
    pub exchange_s: f64,
    /// Of it, what may run beside the last backward pass.
    pub overlapped_s: f64,
    /// Then, of parameters that the other end of the pipeline holds too.
    pub tied_s: f64,
    /// The optimizer.
    pub optimizer_s: f64,
}

/// Figures of one stage on one device, for one micro-batch where they say nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageFigures {
    /// Forward pass in seconds, head and gathering included.
    pub forward_s: f64,
    /// Whole backward pass in seconds, without computing again.
    pub backward_s: f64,
    /// Of the backward pass, the gradients of the weights, were they a pass of their own.
    pub weight_s: f64,
    /// Seconds more of a backward pass that is split into two.
    pub split_s: f64,
    /// Seconds of the host once a step for what replicas share out.
    pub sharing_s: f64,
    /// Computing again in seconds.
    pub recompute_s: f64,
    /// Of forward and backward pass, seconds of tensor, context and expert collectives.
    pub collectives_s: f64,
    /// Of these, those of context ranks, and those of expert ranks; 0 where layers were measured, which
    /// do not say.
    pub axes_s: [f64; 2],
    /// Of forward and backward pass, seconds that gathering sharded parameters and scattering gradients
    /// add to what runs beside them.
    pub waited_s: f64,
    /// Of the backward pass, seconds in which such collectives and the scattering of gradients use
    /// links inside hosts, and network cards.
    pub backward_links_s: [f64; 2],
    /// Parameters that all replicas hold alike, the ends included.
    pub dense: f64,
    /// Parameters of experts.
    pub experts: f64,
    /// Parameters whose original an earlier stage has: their gradients are added up with it.
    pub copies: f64,
    /// Bytes of the states of blocks, for the whole step.
    pub states: f64,
    /// Bytes of the states of ends, for the whole step.
    pub end_states: f64,
    /// Bytes of states that its host keeps of one device, for the whole step.
    pub on_host: f64,
    /// Bytes that blocks keep from the forward to the backward pass.
    pub activation: f64,
    /// Bytes that the first part of a split backward pass makes for the second one.
    pub split_bytes: f64,
    /// Of what is kept, bytes that the first part frees.
    pub freed_by_input: f64,
    /// Bytes that ends keep so.
    pub end_activation: f64,
    /// Bytes that are there while a pass runs: logits and loss, a gathered block.
    pub temporary: f64,
    /// Bytes more while a backward pass computes again, one block at a time.
    pub recompute: f64,
    /// Bytes of all blocks that are computed again, beyond what they keep.
    pub recompute_all: f64,
    /// Bytes that it sends to the next stage, over all tensor ranks.
    pub sends: f64,
    /// What it does once its last pass is over, where that is known with the rest; else it is asked
    /// for when all stages are ([`Prices::ending`]).
    pub ending: Option<Ending>,
}

impl StageFigures {
    /// All passes of one micro-batch in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.forward_s + self.backward_s + self.recompute_s
    }

    /// Bytes that are there for the whole step.
    #[must_use]
    pub fn persistent(&self) -> f64 {
        self.end_states + self.states
    }

    /// Bytes that are kept from the forward to the backward pass.
    #[must_use]
    pub fn stash(&self) -> f64 {
        self.activation + self.end_activation
    }
}

/// That only measured layers price something.
#[must_use]
pub fn needs_layers(what: &str) -> Diagnostic {
    let message = format!("{what} are priced on measured layers alone");
    Diagnostic::input("needs-layer-profile", message)
        .hint("add --profile with the folder of measured layers that the plan was made for")
}

/// By stage, the rank whose row has its cells; `None` where a stage has no cell.
#[must_use]
pub fn ranks_of(grid: &Grid, n_stages: usize) -> Option<Vec<u32>> {
    let mut ranks = vec![None; n_stages];
    for (rank, row) in (0u32..).zip(&grid.rows) {
        for cell in row {
            *ranks.get_mut(cell.stage.index())? = Some(rank);
        }
    }
    ranks.into_iter().collect()
}

/// Whether one rank holds the first and the last stage, which are not the same.
#[must_use]
pub fn ends_meet(ranks: &[u32]) -> bool {
    ranks.len() > 1 && ranks.first() == ranks.last()
}

fn lost(stage: usize, wanted: u32, found: u32) -> Diagnostic {
    let message = format!("stage {stage} begins at block {found}, but block {wanted} comes next");
    Diagnostic::error(Blame::IllegalPlan, "stages-lose-blocks", message)
        .fact("stage", stage)
        .fact("block", u64::from(wanted))
        .hint("give every block of the model to one stage, in order")
}

/// Figures of all stages of a plan, in model order.
///
/// # Errors
/// `stages-lose-blocks` where the stages don't hold every block once, in order; those of
/// [`Prices::stage`].
pub fn figures(
    priced: &(impl Prices + ?Sized),
    n_blocks: u32,
    plan: &Plan,
) -> Result<Vec<StageFigures>, Diagnostic> {
    let stages = &plan.partition.stages;
    let mut next = 0;
    for (index, stage) in stages.iter().enumerate() {
        if stage.blocks.start != next || stage.blocks.end < next {
            return Err(lost(index, next, stage.blocks.start));
        }
        next = stage.blocks.end;
    }
    if next != n_blocks {
        return Err(lost(stages.len(), n_blocks, next));
    }
    let of = |(index, stage)| priced.stage(stage, Place::of(index, stages.len()));
    stages.iter().enumerate().map(of).collect()
}

fn missing() -> Diagnostic {
    let message = "the plan has no grid with cells of every stage";
    Diagnostic::error(Blame::IllegalPlan, "grid-missing", message)
}

/// By pipeline rank, seconds of a step's passes in which it waits for collectives or for sharded
/// parameters and gradients.
///
/// # Errors
/// As [`costs`].
pub fn waits_in_passes(
    oracle: &(impl StageOracle + ?Sized),
    plan: &Plan,
) -> Result<Vec<f64>, Diagnostic> {
    let grid = plan.schedule.grid.as_ref();
    let ranks = grid.and_then(|grid| ranks_of(grid, plan.partition.stages.len()));
    let ranks = ranks.ok_or_else(missing)?;
    let priced = oracle.price(&plan.parallelism, ends_meet(&ranks))?;
    let mut waits = vec![0.0; grid.map_or(0, |grid| grid.rows.len())];
    for (stage, rank) in figures(&*priced, oracle.model().n_blocks(), plan)?.iter().zip(&ranks) {
        if let Some(sum) = waits.get_mut(*rank as usize) {
            *sum +=
                plan.parallelism.n_micro_batches as f64 * (stage.collectives_s + stage.waited_s);
        }
    }
    Ok(waits)
}

/// Costs of a plan for the judge of pipelines.
///
/// # Errors
/// Those of [`StageOracle::price`] and [`figures`]; `grid-missing`.
pub fn costs(
    oracle: &(impl StageOracle + ?Sized),
    plan: &Plan,
) -> Result<PipelineCosts, Diagnostic> {
    let grid = plan.schedule.grid.as_ref();
    let ranks = grid.and_then(|grid| ranks_of(grid, plan.partition.stages.len()));
    let priced = oracle.price(&plan.parallelism, ranks.as_deref().is_some_and(ends_meet))?;
    let figures = figures(&*priced, oracle.model().n_blocks(), plan)?;
    let (grid, ranks) = grid.zip(ranks).ok_or_else(missing)?;
    Ok(lowered(&*priced, &figures, &ranks, grid))
}

/// Where the stages on these ranks lie.
pub fn seats(ranks: &[u32]) -> impl Iterator<Item = Seat> + '_ {
    let n_stages = ranks.len();
    ranks.iter().enumerate().map(move |(stage, rank)| Seat {
        stage,
        n_stages,
        rank: *rank,
        next: ranks.get(stage + 1).copied().unwrap_or(*rank),
    })
}

/// Figures of stages, by stage on a rank, as whole nanoseconds and bytes.
#[must_use]
pub fn lowered(
    priced: &(impl Prices + ?Sized),
    figures: &[StageFigures],
    ranks: &[u32],
    grid: &Grid,
) -> PipelineCosts {
    // What is computed again in a cell of its own is all there at once; gradients of weights that
    // are put off need it until then.
    let holds = |pass: Pass| matches!(pass, Pass::Recompute | Pass::BackwardInput);
    let is_held = grid.rows.iter().flatten().any(|cell| holds(cell.pass));
    let n_ranks = priced.degrees().pipeline.max(1);
    let mut optimizers = vec![0.0; n_ranks as usize];
    let stage = |(figures, seat): (&StageFigures, Seat)| {
        let (costs, optimizer_s) = stage_costs(priced, figures, seat, is_held);
        if let Some(sum) = optimizers.get_mut(seat.rank as usize) {
            *sum += optimizer_s;
        }
        costs
    };
    let stages = figures.iter().zip(seats(ranks)).map(stage).collect();
    let cards = priced.cards();
    let rank = |(rank, optimizer_s): (u32, f64)| {
        let mut of_rank =
            figures.iter().zip(ranks).filter(|(_, of)| **of == rank).map(|(figures, _)| figures);
        RankCosts {
            optimizer: nanos(optimizer_s),
            limit: priced.limits().device,
            persistent: bytes(priced.beside_stages(&mut of_rank)),
            nic: cards.as_ref().and_then(|cards| cards.of_rank.get(rank as usize).copied()),
        }
    };
    let nics = cards.as_ref().map_or_else(Vec::new, |cards| {
        let n_cards = cards.of_rank.iter().max().map_or(0, |last| *last as usize + 1);
        vec![Nic { n_copies: cards.n_copies }; n_cards]
    });
    PipelineCosts {
        n_micro_batches: u32::try_from(priced.degrees().n_micro_batches).unwrap_or(u32::MAX),
        stages,
        ranks: (0..).zip(optimizers).map(rank).collect(),
        nics,
        hosts: hosts(priced),
    }
}

/// Hosts, where they keep states.
fn hosts(priced: &(impl Prices + ?Sized)) -> Vec<HostCosts> {
    let limits = priced.limits();
    match limits.offload {
        Offload::Nothing if !limits.is_paged => Vec::new(),
        _ => rank_groups::hosts(priced.degrees(), limits.per_host, limits.host_memory),
    }
}

/// Costs of one stage, and seconds of its optimizer; `is_held` says whether what is computed again
/// is all there at once.
#[must_use]
pub fn stage_costs(
    priced: &(impl Prices + ?Sized),
    figures: &StageFigures,
    seat: Seat,
    is_held: bool,
) -> (StageCosts, f64) {
    let ending = figures.ending.unwrap_or_else(|| priced.ending(figures, seat));
    let (recomputed, at_a_time) =
        if is_held { (figures.recompute_all, 0.0) } else { (0.0, figures.recompute) };
    let stash = bytes(figures.stash());
    let costs = StageCosts {
        rank: seat.rank,
        forward: nanos(figures.forward_s),
        backward: nanos(figures.backward_s),
        backward_input: nanos((figures.backward_s - figures.weight_s).max(0.0) + figures.split_s),
        backward_weight: nanos(figures.weight_s),
        recompute: nanos(figures.recompute_s),
        stash,
        recomputed: bytes(recomputed),
        kept_for_weight: stash + bytes(recomputed) - bytes(figures.freed_by_input),
        made_for_weight: bytes(figures.split_bytes),
        forward_temporary: bytes(figures.temporary),
        backward_temporary: bytes(figures.temporary + at_a_time),
        persistent: bytes(figures.persistent()),
        on_host: bytes(figures.on_host),
        next: priced.boundary(seat.rank, seat.next, figures.sends),
        exchange: nanos(ending.exchange_s),
        overlapped: nanos(ending.overlapped_s),
        tied: nanos(ending.tied_s),
    };
    (costs, ending.optimizer_s)
}

/// Whole nanoseconds, at least one of any work.
#[must_use]
pub fn nanos(seconds: f64) -> Nanos {
    Nanos::rounded(seconds * 1e9, if seconds > 0.0 { Work::Some } else { Work::None })
}

/// Whole bytes; a float cast saturates.
#[must_use]
pub fn bytes(bytes: f64) -> Bytes {
    Bytes(bytes.max(0.0).round().min(u64::MAX as f64 / 16.0) as u64)
}
