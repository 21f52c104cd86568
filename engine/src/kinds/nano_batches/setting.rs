//! What nano-batches are planned on: a model on equal hosts, its pieces at the prices of blocks.
//!
//! A model with experts has replicas of attention on all devices, which share out the experts; another
//! one shares out its products over the devices of a host, and hosts are replicas.

use std::path::Path;

use cost_model::runs::forms::block::passes::{self, Pieces};
use cost_model::runs::forms::run::Sharded;
use cost_model::streams::interference::{Interference, Mode, Shared};
use cost_model::streams::period::{Period, Step};
use cost_model::streams::{Resource, Slowdowns};
use documents::plan::nano_batches::InterferenceDocument;
use documents::plan::request::RequestDocument;
use ir::card::{SequenceParallel, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::stack::{Launch, Stack};
use ir::workload::StepPhase;
use planner::experts::dynaflow::{CUTS, Split};

use super::OPS;
use crate::inputs::run::model;
use crate::inputs::run::setting::{STACK, Setting as Run};
use crate::inputs::run::step;
use crate::request::ProblemRequest;

/// Most tokens that are cached of a sample.
pub const MOST_CACHED: u64 = 1 << 24;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Prefill or decode.
    pub phase: StepPhase,
    /// Samples over all replicas.
    pub batch: u64,
    /// Tokens of each sample that are cached; `None` = none in prefill, those of a sample in decode.
    pub cached: Option<u64>,
}

/// Model and devices, and what a step does.
#[derive(Clone)]
pub struct Setting {
    /// Model, devices and software.
    pub run: Run,
    /// By layer its kind, without MTP layers.
    pub layers: Vec<usize>,
    /// What a step does.
    pub doing: Doing,
    /// Degrees.
    pub parallelism: Parallelism,
    /// What ops do to each other.
    pub rows: Vec<InterferenceDocument>,
    table: Interference,
}

/// A cut and what its pieces are.
#[derive(Clone, Debug)]
pub struct Cut {
    /// What a layer takes.
    pub split: Split,
    /// By position in a nano-batch the name of the piece.
    pub names: Vec<String>,
    /// Pieces that may run at the same time, by nano-batch and position, those that compute first.
    pub beside: Vec<([(usize, usize); 2], Shared)>,
    /// Whether pieces are fused.
    pub is_fused: bool,
}

impl Setting {
    /// Reads a model, of samples of so many tokens where they are stated, on the cluster of the flags.
    ///
    /// # Errors
    /// Those of the readers; `batch`, `cached`, `uneven-batch`, `uneven-experts`, `uneven-shards`,
    /// `unlike-hosts`, `not-for-streams`.
    pub fn read(
        (path, sequence): (&Path, Option<u64>),
        flags: &ProblemRequest,
        (doing, request): (Doing, RequestDocument),
        rows: Vec<InterferenceDocument>,
    ) -> Result<Self, Diagnostic> {
        if doing.cached.is_some_and(|tokens| tokens > MOST_CACHED) {
            let message = format!("at most {MOST_CACHED} tokens of a sample are cached");
            return Err(Diagnostic::usage("cached", message).hint("state fewer with --cached"));
        }
        let kv_dtype = model::cache_type(request.kv_dtype.as_deref())?;
        let does = step::Step::Serves(kv_dtype);
        let mut run = step::read((path, sequence), flags, (doing.batch, STACK), does)?;
        run.ask(request)?;
        let parallelism = degrees(&run, doing.batch)?;
        let layers = step::kinds(&run).collect();
        let table = table(&rows);
        let mut setting = Self { run, layers, doing, parallelism, rows, table };
        let unused = setting.unused();
        setting.run.warnings.extend(unused);
        Ok(setting)
    }

    /// Samples on a replica.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.doing.batch / u64::from(self.parallelism.data.max(1))
    }

    /// Tokens of a sample that go through layers.
    #[must_use]
    pub fn tokens(&self, phase: StepPhase) -> u64 {
        phase.tokens(1, self.run.sequence)
    }

    /// Tokens of a sample that are cached.
    #[must_use]
    pub fn cached(&self, phase: StepPhase) -> u64 {
        let usual = if phase == StepPhase::Decode { self.run.sequence } else { 0 };
        // What is stated is of the step that is planned.
        let stated = self.doing.cached.filter(|_| phase == self.doing.phase);
        stated.unwrap_or(usual)
    }

    /// All ways in which so many samples of a replica go through a kind of layer: at once, at once with
    /// fused pieces, and cut.
    #[must_use]
    pub fn cuts(&self, kind: usize, (phase, samples): (StepPhase, u64)) -> Vec<Cut> {
        let whole = self.cut(kind, phase, (&[samples], false));
        let fused = self.cut(kind, phase, (&[samples], true));
        let mut all = vec![whole];
        if fused.is_fused {
            all.push(fused);
        }
        let places = CUTS.min(samples / 2);
        for at in 1..=places {
            let first = (samples / 2).saturating_mul(at) / places;
            all.push(self.cut(kind, phase, (&[first, samples - first], false)));
        }
        all
    }

    /// Whether every cut between samples is looked at.
    #[must_use]
    pub fn has_all_cuts(&self) -> bool {
        self.samples() <= 2 * CUTS
    }

    /// A kind of layer where a replica has nano-batches of so many samples each.
    #[must_use]
    pub fn cut(&self, kind: usize, phase: StepPhase, (samples, fuses): (&[u64], bool)) -> Cut {
        let chains: Vec<Vec<(u32, Step)>> =
            samples.iter().map(|n| self.chain(kind, phase, *n)).collect();
        let resource = match self.pieces(kind, phase, 1).leaves_host {
            true => Resource::InterNode,
            false => Resource::IntraNode,
        };
        let ops: Vec<u32> = chains.first().into_iter().flatten().map(|pair| pair.0).collect();
        let mut names: Vec<String> = ops.iter().map(|op| OPS[*op as usize].0.to_owned()).collect();
        let steps = |chain: &Vec<(u32, Step)>| chain.iter().map(|pair| pair.1).collect();
        let mut period = Period {
            streams: vec![Resource::Compute, resource],
            chains: chains.iter().map(steps).collect(),
        };
        let mut is_fused = false;
        if let (true, [chain]) = (fuses, &chains[..]) {
            let (steps, fused) = fused(chain, &self.table);
            is_fused = fused.len() < names.len();
            (period.chains, names) = (vec![steps], fused);
        }
        let beside = self.beside(&period, &ops);
        let slowed = |(pieces, shared): &([(usize, usize); 2], Shared)| {
            let [a, b] = pieces.map(|piece| period.number(piece) as u32);
            [((a, b), shared.factors[0] - 1.0), ((b, a), shared.factors[1] - 1.0)]
        };
        let rate = |shared: &Shared| shared.factors.iter().map(|factor| 1.0 / factor).sum::<f64>();
        let split = Split {
            samples: samples.to_vec(),
            tokens: samples.iter().min().copied().unwrap_or_default() * self.tokens(phase),
            slowdowns: Slowdowns::new(beside.iter().flat_map(slowed)).unwrap_or_default(),
            rate: beside.iter().map(|pair| rate(&pair.1)).fold(1.0, f64::max),
            period,
        };
        Cut { split, names, beside, is_fused }
    }

    /// How pieces of other nano-batches on other streams share a device.
    fn beside(&self, period: &Period, ops: &[u32]) -> Vec<([(usize, usize); 2], Shared)> {
        let n = self.run.system.device.n_multiprocessors;
        let mut all = Vec::new();
        for (one, chain) in period.chains.iter().enumerate() {
            for (at, step) in chain.iter().enumerate().filter(|numbered| numbered.1.stream == 0) {
                for (other, beside) in
                    period.chains.iter().enumerate().filter(|numbered| numbered.0 != one)
                {
                    for (to, next) in
                        beside.iter().enumerate().filter(|numbered| numbered.1.stream == 1)
                    {
                        let seconds = [step.seconds, next.seconds];
                        let shared = self.table.shared((ops[at], ops[to]), seconds, n);
                        all.push(([(one, at), (other, to)], shared));
                    }
                }
            }
        }
        all
    }

    /// Ops and pieces of a layer.
    fn chain(&self, kind: usize, phase: StepPhase, samples: u64) -> Vec<(u32, Step)> {
        let pieces = self.pieces(kind, phase, samples);
        let has_experts = self.card(kind).is_some_and(|card| card.experts.is_some());
        let [there, middle, back] = if has_experts { [1, 2, 3] } else { [4, 5, 4] };
        let step = |stream, seconds| Step { stream, seconds };
        let all = [
            (0, step(0, pieces.attention_s)),
            (there, step(1, pieces.exchange_s)),
            (middle, step(0, pieces.feed_forward_s)),
            (back, step(1, pieces.exchange_s)),
        ];
        // Nothing is exchanged on one device.
        all.into_iter().filter(|pair| pair.1.stream == 0 || pair.1.seconds > 0.0).collect()
    }

    fn card(&self, kind: usize) -> Option<&TransformerCard> {
        self.run.model.groups.get(kind).map(|group| &group.card)
    }

    fn pieces(&self, kind: usize, phase: StepPhase, samples: u64) -> Pieces {
        let Some(card) = self.card(kind) else { return Pieces::default() };
        let card = TransformerCard { sequence: self.tokens(phase), ..card.clone() };
        let parallelism = Parallelism { micro_batch: samples, ..self.parallelism.clone() };
        let pricing = self.run.pricing();
        // Servers record the kernels of a decoding step (CUDA graphs).
        let stack = match phase {
            StepPhase::Decode => Stack { launch: Launch::CudaGraphs, ..pricing.stack.clone() },
            _ => pricing.stack.clone(),
        };
        let run = Sharded {
            card: &card,
            parallelism: &parallelism,
            gradients: pricing.gradients,
            dtype: pricing.dtype,
            held: self.run.model.held_by(kind),
        };
        passes::pieces(run, self.cached(phase), pricing.system, (&stack, pricing.constants))
    }

    /// Rows of the table that no layer has ops for.
    fn unused(&self) -> Option<Diagnostic> {
        let phase = self.doing.phase;
        let kinds = || self.layers.iter().collect::<std::collections::BTreeSet<_>>();
        let ops: Vec<u32> = kinds()
            .into_iter()
            .flat_map(|kind| self.chain(*kind, phase, 1))
            .map(|pair| pair.0)
            .collect();
        let has = |name: &str| ops.iter().any(|op| OPS[*op as usize].0 == name);
        let unused: Vec<String> = self
            .rows
            .iter()
            .filter(|row| !has(&row.op) || !has(&row.beside))
            .map(|row| (row.op.as_str().min(&row.beside), row.op.as_str().max(&row.beside)))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|(op, beside)| format!("{op} beside {beside}"))
            .collect();
        (!unused.is_empty()).then(|| {
            let message =
                format!("no layer of the model on these devices has {}", unused.join(", nor "));
            Diagnostic::warning("unused-interference", message)
                .hint("leave these rows out, or plan on devices that exchange something")
        })
    }
}

/// Fused pieces, and their names: the least sum of seconds in which each is fused with one neighbour at
/// most.
fn fused(chain: &[(u32, Step)], table: &Interference) -> (Vec<Step>, Vec<String>) {
    type Best = (f64, Vec<Step>, Vec<String>);
    let mut best: Vec<Best> = vec![(0.0, Vec::new(), Vec::new())];
    for (at, (op, step)) in chain.iter().enumerate() {
        let name = |op: u32| OPS[op as usize].0;
        let with = |from: &Best, step: Step, name: String| {
            let (steps, names) = ([&from.1[..], &[step]].concat(), [&from.2[..], &[name]].concat());
            (from.0 + step.seconds, steps, names)
        };
        let mut next = with(&best[at], *step, name(*op).to_owned());
        if let Some((before, first)) = at.checked_sub(1).map(|at| chain[at])
            && let Some(seconds) = table.fused_s((before, *op), [first.seconds, step.seconds])
            && best[at - 1].0 + seconds < next.0
        {
            let both = Step { stream: 0, seconds };
            next = with(&best[at - 1], both, format!("{}+{}", name(before), name(*op)));
        }
        best.push(next);
    }
    best.pop().map(|last| (last.1, last.2)).unwrap_or_default()
}

fn table(rows: &[InterferenceDocument]) -> Interference {
    let mut table = Interference::default();
    let op = |name: &str| (0..).zip(OPS).find(|(_, known)| known.0 == name).map(|(at, _)| at);
    for row in rows {
        if let (Some(a), Some(b), Some(mode)) =
            (op(&row.op), op(&row.beside), Mode::read(&row.mode))
        {
            table.add((a, b), mode, row.factor);
        }
    }
    table
}

/// Degrees of a step; else why it can't be shared out.
fn degrees(run: &Run, batch: u64) -> Result<Parallelism, Diagnostic> {
    let n_devices = u32::try_from(run.cluster.devices.len()).unwrap_or(u32::MAX);
    let per_host = u32::try_from(run.system.per_host).unwrap_or(u32::MAX).max(1);
    let groups = || run.model.groups.iter().map(|group| &group.card);
    let refused = |code, message: String, hint: &'static str| {
        Err(Diagnostic::usage(code, message)
            .fact("devices", u64::from(n_devices))
            .fact("devices_per_host", u64::from(per_host))
            .hint(hint))
    };
    let has_experts = groups().any(|card| card.experts.is_some());
    let (data, tensor) = match has_experts {
        true => (n_devices, 1),
        false => (n_devices / per_host, per_host),
    };
    let uneven = |n: &u64| !n.is_multiple_of(u64::from(n_devices));
    if let Some(n) =
        groups().filter_map(|card| card.experts).map(|experts| experts.n_experts).find(uneven)
    {
        let message = format!("{n} experts can't be shared out evenly over {n_devices} devices");
        return refused("uneven-experts", message, "give a cluster whose devices divide them");
    }
    let uneven = |card: &&TransformerCard| !card.n_heads.is_multiple_of(u64::from(tensor));
    if let Some(card) = groups().find(uneven) {
        let message =
            format!("{} heads can't be shared out evenly over {tensor} devices", card.n_heads);
        return refused(
            "uneven-shards",
            message,
            "give a cluster whose hosts have a divisor of them",
        );
    }
    if !batch.is_multiple_of(u64::from(data)) {
        let message = format!(
            "{batch} samples of a step can't be shared out evenly over {data} replicas of attention"
        );
        return refused("uneven-batch", message, "state a multiple of the replicas with --batch");
    }
    Ok(Parallelism {
        data,
        tensor,
        expert: if has_experts { n_devices } else { 1 },
        sequence: SequenceParallel::Off,
        ..Parallelism::default()
    })
}
