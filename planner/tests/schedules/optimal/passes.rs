//! A pipeline as kinds of passes that each take the micro-batches in order.

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Pass};
use ir::units::Bytes;

use super::Backward;

/// Counts of passes are bytes.
const MOST_MICRO_BATCHES: u32 = 250;

/// What a kind of pass waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    /// Position of the kind whose result it reads.
    pub(super) from: usize,
    /// Nanoseconds on the way; `None` = the same rank, where the order says it all.
    pub(super) way: Option<u64>,
}

/// One pass of one stage.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) stage: u32,
    pub(super) pass: Pass,
    pub(super) rank: usize,
    /// Nanoseconds.
    pub(super) time: u64,
    pub(super) inputs: Vec<Input>,
    /// Bytes that must be free when it starts, of which `kept` stay afterwards.
    pub(super) needs: i128,
    /// Bytes that it leaves more (or less) on its rank.
    pub(super) kept: i128,
}

/// All kinds of a pipeline.
pub(super) struct Passes {
    pub(super) kinds: Vec<Kind>,
    /// By kind: who reads its result.
    pub(super) readers: Vec<Vec<usize>>,
    pub(super) n_micro_batches: usize,
    pub(super) n_ranks: usize,
    /// By rank: bytes beside the persistent ones; `None` = unlimited.
    pub(super) room: Vec<Option<i128>>,
    /// Pairs of reader and position in its inputs with a way between ranks.
    pub(super) ways: Vec<(usize, usize)>,
    /// By kind and micro-batch: nanoseconds that must follow the end of the pass.
    pub(super) tails: Vec<Vec<u64>>,
}

impl Passes {
    pub(super) fn new(costs: &PipelineCosts, backward: Backward) -> Result<Self, Diagnostic> {
        if costs.n_micro_batches > MOST_MICRO_BATCHES {
            let message = format!(
                "an optimal schedule of {} micro-batches is out of reach",
                costs.n_micro_batches
            );
            return Err(Diagnostic::usage("schedule-size", message)
                .hint(format!("ask for at most {MOST_MICRO_BATCHES}")));
        }
        let n_ranks = costs.ranks.len();
        if let Some(stage) = costs.stages.iter().find(|stage| stage.rank as usize >= n_ranks) {
            let message = format!("a stage lies on rank {}, of {n_ranks} ranks", stage.rank);
            return Err(Diagnostic::usage("schedule-size", message).hint("count ranks from 0"));
        }
        let mut kinds = Vec::new();
        for (stage, stage_costs) in costs.stages.iter().enumerate() {
            add_stage(stage, stage_costs, backward, &mut kinds);
        }
        connect(costs, &mut kinds);
        let mut persistent: Vec<i128> =
            costs.ranks.iter().map(|rank| i128::from(rank.persistent.get())).collect();
        for stage in &costs.stages {
            persistent[stage.rank as usize] += i128::from(stage.persistent.get());
        }
        let room = costs.ranks.iter().zip(persistent);
        let room = room.map(|(rank, base)| rank.limit.map(|limit| i128::from(limit.get()) - base));
        let mut passes = Self {
            readers: readers(&kinds),
            n_micro_batches: costs.n_micro_batches as usize,
            n_ranks,
            room: room.collect(),
            ways: ways(&kinds),
            tails: Vec::new(),
            kinds,
        };
        passes.tails = passes.tails();
        Ok(passes)
    }

    pub(super) fn n_cells(&self) -> usize {
        self.kinds.len() * self.n_micro_batches
    }

    pub(super) fn cell(&self, kind: usize, micro_batch: usize) -> Cell {
        let entry = &self.kinds[kind];
        Cell::new(entry.stage, entry.pass, u32::try_from(micro_batch).unwrap_or(u32::MAX))
    }

    /// By kind and micro-batch: nanoseconds from the end of the pass to the end of the step, were
    /// every rank free.
    fn tails(&self) -> Vec<Vec<u64>> {
        let n = self.n_micro_batches;
        let mut tails = vec![vec![0u64; n]; self.kinds.len()];
        for kind in backwards(&self.kinds, &self.readers) {
            for k in (0..n).rev() {
                let mut tail = 0;
                if k + 1 < n {
                    tail = self.kinds[kind].time.saturating_add(tails[kind][k + 1]);
                }
                for &reader in &self.readers[kind] {
                    let input = self.kinds[reader].inputs.iter().find(|input| input.from == kind);
                    let way = input.and_then(|input| input.way).unwrap_or(0);
                    let after = self.kinds[reader].time.saturating_add(tails[reader][k]);
                    tail = tail.max(way.saturating_add(after));
                }
                tails[kind][k] = tail;
            }
        }
        tails
    }
}

fn add_stage(stage: usize, costs: &StageCosts, backward: Backward, kinds: &mut Vec<Kind>) {
    let bytes = |bytes: Bytes| i128::from(bytes.get());
    let (stash, again) = (bytes(costs.stash), bytes(costs.recomputed));
    let (forward, scratch) = (bytes(costs.forward_temporary), bytes(costs.backward_temporary));
    let number = u32::try_from(stage).unwrap_or(u32::MAX);
    let mut add = |pass, time, needs, change| {
        let rank = costs.rank as usize;
        kinds.push(Kind {
            stage: number,
            pass,
            rank,
            time,
            inputs: Vec::new(),
            needs,
            kept: change,
        });
    };
    let recomputes = costs.recompute.get() > 0;
    add(Pass::Forward, costs.forward.get(), stash + forward, stash);
    if recomputes {
        add(Pass::Recompute, costs.recompute.get(), again + forward, again);
    }
    let stashed = if recomputes { stash + again } else { stash };
    match backward {
        Backward::Whole => add(Pass::Backward, costs.backward.get(), scratch, -stashed),
        Backward::Split => {
            let left = bytes(costs.kept_for_weight).min(stashed);
            let made = bytes(costs.made_for_weight);
            add(
                Pass::BackwardInput,
                costs.backward_input.get(),
                made + scratch,
                made + left - stashed,
            );
            add(Pass::BackwardWeight, costs.backward_weight.get(), scratch, -(made + left));
        }
    }
}

/// Who reads what: forward along the stages, back again, and in order within a stage.
fn connect(costs: &PipelineCosts, kinds: &mut [Kind]) {
    let find = |kinds: &[Kind], stage: u32, passes: &[Pass]| {
        kinds.iter().position(|kind| kind.stage == stage && passes.contains(&kind.pass))
    };
    let back = [Pass::Backward, Pass::BackwardInput];
    for reader in 0..kinds.len() {
        let (stage, pass) = (kinds[reader].stage, kinds[reader].pass);
        let of_stage = |passes: &[Pass]| find(kinds, stage, passes);
        let sources: Vec<Option<usize>> = match pass {
            Pass::Forward => {
                vec![stage.checked_sub(1).and_then(|s| find(kinds, s, &[Pass::Forward]))]
            }
            Pass::Recompute => vec![of_stage(&[Pass::Forward])],
            Pass::Backward | Pass::BackwardInput => vec![
                of_stage(&[Pass::Recompute]).or_else(|| of_stage(&[Pass::Forward])),
                find(kinds, stage + 1, &back),
            ],
            Pass::BackwardWeight => vec![of_stage(&[Pass::BackwardInput])],
        };
        let inputs = sources.into_iter().flatten().map(|from| Input {
            from,
            way: (kinds[from].rank != kinds[reader].rank).then(|| {
                let next = &costs.stages[kinds[from].stage.min(stage) as usize].next;
                let bytes = if pass == Pass::Forward { next.activation } else { next.gradient };
                next.link.time(bytes, 1).get()
            }),
        });
        kinds[reader].inputs = inputs.collect();
    }
}

fn readers(kinds: &[Kind]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); kinds.len()];
    for (reader, kind) in kinds.iter().enumerate() {
        for input in &kind.inputs {
            readers[input.from].push(reader);
        }
    }
    readers
}

fn ways(kinds: &[Kind]) -> Vec<(usize, usize)> {
    let of = |(reader, kind): (usize, &Kind)| {
        let ways = kind.inputs.iter().enumerate().filter(|(_, input)| input.way.is_some());
        ways.map(|(position, _)| (reader, position)).collect::<Vec<_>>()
    };
    kinds.iter().enumerate().flat_map(of).collect()
}

/// All kinds, each after its readers.
fn backwards(kinds: &[Kind], readers: &[Vec<usize>]) -> Vec<usize> {
    let mut left: Vec<usize> = readers.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..kinds.len()).filter(|kind| left[*kind] == 0).collect();
    let mut at = 0;
    while let Some(&kind) = order.get(at) {
        at += 1;
        for input in &kinds[kind].inputs {
            left[input.from] -= 1;
            if left[input.from] == 0 {
                order.push(input.from);
            }
        }
    }
    order
}
