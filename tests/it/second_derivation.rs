//! Steps and peaks of training runs, derived a second time.
//!
//! From the degrees, stages and schedule name of a plan, the model's config and the cluster file
//! these modules derive what a step takes and what each device holds: bytes through each network
//! card and link ([`fabric`]), parameters, states and activations ([`shape`]), the order of the
//! passes and their replay ([`timeline`]). None of that is the engine's; seconds of kernels alone
//! are taken from it ([`kernels`]). The rules are those of `docs/conventions.md`.

mod cases;
mod fabric;
mod kernels;
mod shape;
mod timeline;

use std::fs;
use std::path::Path;
use std::process::Command;

use cases::{CASES, Case};
use fabric::Fabric;
use kernels::{Kernels, kernels};
use serde_json::Value;
use shape::{Numbers, Shape, Split};
use tempfile::TempDir;
use timeline::{Bytes, Times};

/// How far derivations may lie apart.
const NEAR: f64 = 0.01;
/// Bytes that an allocator keeps beside everything that is counted.
const RESIDENT: f64 = 75e6;
/// The same of a mixture of experts, and what its grouped products hold from Hopper on.
const RESIDENT_EXPERTS: f64 = 105e6;
const WORKSPACES: f64 = 4.0 * 33_554_432.0;
/// Bytes of gathered weights and gradients per element of a tensor rank's embedding, under ZeRO 3.
const GATHERED_EMBEDDING: f64 = 12.0;
/// Blocks whose gathered parameters are there at once under ZeRO 3.
const GATHERED: f64 = 2.0;
/// Bytes of a gradient on its way: Megatron-Core sums and exchanges in single precision.
const GRADIENT: f64 = 4.0;
/// Share of the sums over tensor ranks that nothing hides where sequences are shared out: user buffers
/// run the rest beside products.
const EXPOSED: f64 = 0.35;
/// Host seconds of a block's forward pass under Megatron-Core, and of its two collectives.
const FLOOR: f64 = 0.4e-3;
const COLLECTIVES: f64 = 2.0 * 20e-6;
/// Share of the launches of experts that recorded kernels leave.
const RECORDED: f64 = 0.27;

/// The plan of a case, as the program writes it, and what it says of it.
fn planned(case: &Case, folder: &Path) -> (Value, Value) {
    let (config, sequence) = cases::model(case.model);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let cluster = cases::cluster(case.cluster, case.cards).to_string();
    fs::write(folder.join("cluster.yaml"), cluster).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    command.current_dir(folder).args(["plan", "config.json", "--cluster", "cluster.yaml"]);
    command.args(["--global-batch", &case.global_batch.to_string()]);
    command.args(["--sequence-length", &sequence.to_string()]);
    command.args(["--dtype", case.numbers[0], "--optimizer", case.numbers[1]]);
    for pin in case.pins.split(' ') {
        command.args(["--pin", pin]);
    }
    if case.model == "mixture" {
        // Of exchanges of tokens that of NCCL was derived.
        command.args(["--stack", kernels::IN_TURN]);
    }
    command.args(["--for", "any", "--memory-margin", "0", "--json"]);
    let ran = command.args(["-o", "plan.json", "--force"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{} {}: {stderr}", case.model, case.pins);
    let plan = fs::read(folder.join("plan.json")).unwrap();
    (serde_json::from_slice(&plan).unwrap(), serde_json::from_slice(&ran.stdout).unwrap())
}

/// A plan, and what it was made for.
struct Derivation {
    shape: Shape,
    fabric: Fabric,
    kernels: Kernels,
    numbers: Numbers,
    split: Split,
    is_a100: bool,
    zero: u64,
    replicas: f64,
    n_ranks: usize,
    /// Share of the micro-batches beside whose exchanges of tokens another one works.
    hiding: f64,
    stages: Vec<Stage>,
}

struct Stage {
    blocks: f64,
    recomputes: bool,
    is_first: bool,
    is_last: bool,
}

/// Seconds of a block's passes, and of their collectives inside hosts and across them.
struct Block {
    passes: [f64; 2],
    links: [[f64; 2]; 2],
    /// Of each pass, seconds in which they use network cards, beside work or not.
    cards: [f64; 2],
}

impl Derivation {
    fn block(&self) -> Block {
        let (shape, split) = (&self.shape, self.split);
        let element = self.numbers.element();
        let tokens = element * split.tokens;
        let mut passes = [0.0; 2];
        let (mut all_links, mut all_cards) = ([[0.0; 2]; 2], [0.0; 2]);
        // By pass: seconds without exchanges of tokens; seconds of these.
        let (mut works, mut exchanges) = ([0.0; 2], [(0.0, false); 2]);
        for backward in [false, true] {
            let twice = if backward { 2.0 } else { 1.0 };
            let keys_and_values = tokens * 2.0 * shape.key_value_width() / split.tensor;
            let (sums, sums_leave) = self.fabric.tensor(tokens * shape.hidden);
            // User buffers lie in one NVLink domain.
            let hides = split.sequence_parallel && !sums_leave && shape.experts.is_none();
            let sums = if hides { EXPOSED * sums } else { sums };
            let (rounds, rounds_leave) = self.fabric.context(twice * keys_and_values);
            let visited = shape.experts.map_or(0.0, |[_, visited]| visited);
            let (visits, visits_leave) = match visited > 0.0 {
                true => self.fabric.all_to_all(tokens * shape.hidden * visited / split.tensor),
                false => (0.0, false),
            };
            // What reaches an expert is gathered on the ranks that split it, and added up there.
            let pieces = tokens * shape.hidden * visited / split.tensor * split.of_expert;
            let pieces = if visited > 0.0 { self.fabric.of_expert(pieces) } else { 0.0 };
            // Two sums over tensor ranks, one where parts of a sequence go to their experts, and come back.
            let n_sums = if visited > 0.0 && split.sequence_parallel { 1.0 } else { 2.0 };
            let mut links = [0.0; 2];
            links[usize::from(sums_leave)] += n_sums * sums;
            links[usize::from(rounds_leave)] += rounds;
            let pass = usize::from(backward);
            all_links[pass] = links;
            works[pass] = self.kernels.block[pass] + links[0] + links[1];
            exchanges[pass] = (2.0 * visits + pieces, visits_leave);
        }
        // Both passes of two micro-batches run together, but for those that fill the pipeline: the
        // longer of work and exchanges, and a fifth of the shorter.
        let [work, exchange] = [works[0] + works[1], exchanges[0].0 + exchanges[1].0];
        let beside = (exchange - work).max(0.0) + 0.2 * work.min(exchange);
        for backward in [false, true] {
            let twice = if backward { 2.0 } else { 1.0 };
            let pass = usize::from(backward);
            let (whole, leaves) = exchanges[pass];
            let exposed = whole + self.hiding * (beside / 2.0 - whole);
            all_cards[pass] = all_links[pass][1] + if leaves { whole } else { 0.0 };
            all_links[pass][usize::from(leaves)] += exposed;
            let links = all_links[pass];
            let seconds = self.kernels.block[pass] + links[0] + links[1];
            passes[pass] = match shape.experts {
                None => seconds.max(self.kernels.launched[pass]),
                Some([n, _]) => {
                    let launches = self.launches(n / split.expert) / 3.0;
                    let more = (1.0 - RECORDED) * launches;
                    let sums = if split.tensor > 1.0 { COLLECTIVES } else { 0.0 };
                    let host = FLOOR + sums + launches;
                    twice * host.max(seconds / twice + more)
                }
            };
        }
        Block { passes, links: all_links, cards: all_cards }
    }

    /// Host seconds of both passes of a block with so many local experts (python/forms/experts/FORMS.md,
    /// section 3: `gap` of an all-to-all), by the fit on 60 mixtures that docs/forms.md states for x86 hosts; on
    /// A100 it is taken too, as it is the host's. On A100 the steps of Megatron-LM's tests show 3.6 ms, and 1.2
    /// more where ranks exchange tokens (python/forms/dense/FORMS.md, form 10).
    fn launches(&self, local: f64) -> f64 {
        let kappa = 2.9e-3;
        kappa * (1.57 + 0.015 * local)
    }

    /// Parameters of a stage on one device: dense ones, and those of experts.
    fn parameters(&self, stage: &Stage) -> [f64; 2] {
        let [dense, experts] = self.shape.block(self.split);
        let words = self.shape.words(self.split);
        let first = if stage.is_first { words + self.shape.positions() } else { 0.0 };
        let has_head = stage.is_last && !(self.shape.tied && stage.is_first);
        let head = if has_head { words } else { 0.0 };
        [stage.blocks * dense + first + head, stage.blocks * experts]
    }

    /// A pass beside which parameters are gathered or gradients are scattered: the longer one, and a
    /// share of the shorter (python/forms/experts/FORMS.md, section 4; dense/FORMS.md, item 7). For
    /// `cards` of its seconds the pass has the network cards to itself.
    fn beside(&self, pass: f64, exchange: f64, cards: f64) -> f64 {
        let taken = if self.fabric.exchange_leaves() { cards } else { 0.0 };
        let pass = pass - taken;
        let lost = match (self.fabric.exchange_leaves(), self.is_a100) {
            (true, _) => 0.07,
            (false, true) => 0.5,
            (false, false) => 0.15,
        };
        taken + pass.max(exchange) + lost * pass.min(exchange)
    }

    fn expert_replicas(&self) -> f64 {
        self.replicas * self.split.tensor / self.split.of_expert / self.split.expert
    }

    /// Seconds of a step, and of those in which a rank waits for sharded parameters and gradients,
    /// summed over ranks.
    fn step(&self, schedule: &str, n_chunks: usize, n_micro_batches: usize) -> [f64; 2] {
        let block = self.block();
        let mut waits = 0.0;
        let mut times =
            Times { passes: vec![], messages: vec![], exchange: vec![], optimizer: vec![] };
        times.optimizer = vec![0.0; self.n_ranks];
        let rank_of = |stage: usize| stage % self.n_ranks;
        let ways: Vec<[usize; 2]> =
            (1..self.stages.len()).map(|stage| [rank_of(stage - 1), rank_of(stage)]).collect();
        let leaving = ways.iter().filter(|[from, to]| self.fabric.crosses(*from, *to));
        let mut talking: Vec<usize> = leaving.flatten().copied().collect();
        talking.sort_unstable();
        talking.dedup();
        let element = self.numbers.element();
        for (index, stage) in self.stages.iter().enumerate() {
            let [dense, experts] = self.parameters(stage);
            let exchange = |bytes: f64| self.fabric.exchange(bytes * dense, bytes * experts);
            // Shared-out parameters and gradients go block by block.
            let pieces = |bytes: f64| stage.blocks * exchange(bytes / stage.blocks) / 2.0;
            let gather = if self.zero == 3 { pieces(element) } else { 0.0 };
            let scatter = if self.zero >= 2 { pieces(GRADIENT) } else { 0.0 };
            let head = if stage.is_last { self.kernels.head } else { 0.0 };
            let [forward, backward] = block.passes.map(|pass| stage.blocks * pass);
            let again = if stage.recomputes { forward } else { 0.0 };
            // The whole backward pass with what is computed again hides them.
            let whole = backward + head * 2.0 / 3.0 + again;
            waits -= whole + forward + head / 3.0;
            let [there, back] = block.cards.map(|cards| stage.blocks * cards);
            let anew = if stage.recomputes { there } else { 0.0 };
            let backward = self.beside(whole, gather + scatter, back + anew) - again;
            let forward = self.beside(forward + head / 3.0, gather, there);
            waits += forward + backward + again;
            times.passes.push([forward, backward + again]);
            // At the end: gradients, or the weights that were made of scattered ones.
            let last = match self.zero {
                0 => exchange(GRADIENT),
                1 => exchange(GRADIENT) / 2.0 + exchange(element) / 2.0,
                2 => exchange(element) / 2.0,
                _ => 0.0,
            };
            let tier = usize::from(self.fabric.exchange_leaves());
            let taken = stage.blocks * block.links[1][tier] + scatter;
            let beside = last * self.kernels.overlap;
            let beside = if taken > 0.0 { beside.min((backward - taken).max(0.0)) } else { beside };
            let is_end = (stage.is_first || stage.is_last) && self.n_ranks > 1;
            let tie = match self.shape.tied && is_end {
                true => self.fabric.tie(self.n_ranks - 1, GRADIENT * self.shape.words(self.split)),
                false => 0.0,
            };
            times.exchange.push([beside, last - beside, tie]);
            let shared =
                if self.zero > 0 { [self.replicas, self.expert_replicas()] } else { [1.0; 2] };
            times.optimizer[rank_of(index)] +=
                self.kernels.optimizer * (dense / shared[0] + experts / shared[1]);
        }
        let activation = element * self.split.tokens * self.shape.hidden;
        times.messages = ways
            .iter()
            .map(|[from, to]| {
                let leaves = self.fabric.crosses(*from, *to);
                // Each tensor rank sends its part out of the host, and that of a split sequence.
                let parts = leaves || self.split.sequence_parallel;
                let bytes = activation / if parts { self.split.tensor } else { 1.0 };
                (self.fabric.message([*from, *to], &talking, bytes), leaves)
            })
            .collect();
        let rows = timeline::rows(schedule, self.n_ranks, n_chunks, n_micro_batches);
        [timeline::step(&rows, &times), n_micro_batches as f64 * waits]
    }

    /// Bytes of each rank at its peak.
    fn peaks(&self, schedule: &str, n_chunks: usize, n_micro_batches: usize) -> Vec<f64> {
        let (shape, split) = (&self.shape, self.split);
        let element = self.numbers.element();
        let states = [self.replicas, self.expert_replicas()]
            .map(|replicas| self.numbers.states(self.zero, replicas));
        let width = split.outer(shape.hidden);
        let stash = shape.kept(split, element);
        let of_stage = |stage: &Stage| {
            let [dense, experts] = self.parameters(stage);
            let masks = if stage.is_first && shape.is_gpt2() { width } else { 0.0 };
            let each = if stage.recomputes { element * width } else { stash };
            // Logits and their single-precision copy, which Transformer Engine's loss does without, input of
            // the head and its gradient.
            let copy = if shape.experts.is_some() { 0.0 } else { 4.0 };
            let logits = (copy + element) * split.tokens * shape.vocabulary / split.tensor;
            let logits = if stage.is_last { logits + 2.0 * element * width } else { 0.0 };
            // The loss keeps a single-precision probability for each logit until it is gone back, or its gradient.
            let kept = if shape.experts.is_some() { element } else { 4.0 };
            let loss = kept * split.tokens * shape.vocabulary / split.tensor;
            let loss = if stage.is_last { loss } else { 0.0 };
            // One block at a time is computed again, from its input on, when the logits are gone.
            let again = if stage.recomputes { stash } else { 0.0 };
            // Two gradients of a micro-batch in single precision, on their way back to the experts.
            let tokens_back = shape.experts.map_or(0.0, |_| 8.0 * split.tokens * shape.hidden);
            let placeholder = if stage.is_last { element * shape.words(split) } else { 0.0 };
            Bytes {
                states: dense * states[0] + experts * states[1] + placeholder,
                kept: stage.blocks * each + masks + loss,
                scratch: [logits, logits.max(again)].map(|bytes| bytes - loss + tokens_back),
            }
        };
        let stages: Vec<Bytes> = self.stages.iter().map(of_stage).collect();
        let [dense, experts] = shape.block(split);
        let embedding = GATHERED_EMBEDDING * shape.words(split);
        let blocks = GATHERED * element * (dense + experts);
        let gathered = if self.zero == 3 { blocks + embedding } else { 0.0 };
        let resident = match (shape.experts, self.is_a100) {
            (None, _) => RESIDENT,
            (Some(_), true) => RESIDENT_EXPERTS,
            (Some(_), false) => RESIDENT_EXPERTS + WORKSPACES,
        };
        // The block of the other micro-batch.
        let other = if self.hiding > 0.0 { stash } else { 0.0 };
        let messages = other + if self.n_ranks > 1 { 2.0 * element * width } else { 0.0 };
        let rows = timeline::rows(schedule, self.n_ranks, n_chunks, n_micro_batches);
        let placeholders = element * shape.placeholders(split);
        let beside = resident + gathered + messages + placeholders;
        let peak = |row: &Vec<_>| timeline::peak(row, &stages, beside);
        rows.iter().map(peak).collect()
    }
}

/// Step in seconds and peaks in bytes, of a plan and the files that it was made of; of hosts with so
/// many network cards. Beside the step, the seconds of it that [`Derivation::step`] waits.
fn derived(case: &Case, cards: usize, plan: &Value, folder: &Path) -> ([f64; 2], Vec<f64>) {
    let (config, sequence) = cases::model(case.model);
    let parallelism = &plan["parallelism"];
    let count = |of: &Value| of.as_u64().unwrap() as usize;
    let degree = |name: &str| count(&parallelism[name]);
    let training = &parallelism["training"];
    let numbers =
        Numbers { is_single: case.numbers[0] == "fp32", is_sgd: case.numbers[1] == "sgd" };
    let micro_batch = count(&training["micro_batch"]);
    let context = degree("context");
    let seen = (context + 1) as f64 / (2 * context) as f64;
    let tokens = (micro_batch * sequence / context) as f64;
    let scores = seen * tokens * sequence as f64;
    let split = Split {
        tensor: degree("tensor") as f64,
        expert: degree("expert") as f64,
        of_expert: training["expert_tensor"].as_f64().unwrap_or(degree("tensor") as f64),
        tokens,
        scores: if numbers.is_single { scores } else { 0.0 },
        sequence_parallel: training["sequence_parallel"].as_bool().unwrap(),
    };
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let stage = |(index, of): (usize, &Value)| Stage {
        blocks: of["blocks"]["n"].as_f64().unwrap(),
        recomputes: match of["blocks"]["recompute"].as_str().unwrap() {
            "none" => false,
            "full" => true,
            other => panic!("{other} is not derived"),
        },
        is_first: index == 0,
        is_last: index + 1 == stages.len(),
    };
    let shape = Shape::of(&config);
    let stages: Vec<Stage> = stages.iter().enumerate().map(stage).collect();
    assert_eq!(stages.iter().map(|stage| stage.blocks).sum::<f64>(), shape.blocks as f64);
    let (card, _) =
        importers::config::card::card(&folder.join("config.json"), Some(sequence as u64)).unwrap();
    let (cluster, _) = importers::cluster::read(&folder.join("cluster.yaml")).unwrap();
    let n_micro_batches = case.global_batch / degree("data") / micro_batch;
    let derivation = Derivation {
        shape,
        fabric: Fabric::new(&cases::cluster(case.cluster, cards), parallelism),
        kernels: kernels(&card, &cluster, parallelism, numbers),
        numbers,
        split,
        is_a100: cluster.kinds[0].name.starts_with("a100"),
        zero: training["zero"].as_u64().unwrap(),
        replicas: (degree("data") * degree("context")) as f64,
        n_ranks: degree("pipeline"),
        hiding: match training["expert_overlap"].as_bool() {
            // Ranks fill a pipeline with two micro-batches each, the last one with one.
            Some(true) => 1.0 - (2 * degree("pipeline") - 1) as f64 / n_micro_batches as f64,
            _ => 0.0,
        },
        stages,
    };
    let schedule = plan["training"]["schedule"].as_str().unwrap();
    let n_chunks = count(&training["virtual_stages"]);
    (
        derivation.step(schedule, n_chunks, n_micro_batches),
        derivation.peaks(schedule, n_chunks, n_micro_batches),
    )
}

/// Every degree, ZeRO stage, schedule and mesh, and every form of numbers, is met at least three times.
#[test]
fn the_cases_meet_every_decision_often() {
    let often = |what: &str, has: &dyn Fn(&Case) -> bool| {
        let n = CASES.iter().filter(|case| has(case)).count();
        assert!(n >= 3, "{what}: {n}");
    };
    for pin in [
        "zero=0",
        "zero=1",
        "zero=2",
        "zero=3",
        "recompute=none",
        "recompute=full",
        "schedule=1f1b",
        "schedule=gpipe",
        "schedule=interleaved",
        "mesh=data-inside",
        "mesh=pipeline-inside",
        "sequence-parallel=on",
        "sequence-parallel=off",
    ] {
        often(pin, &|case| case.pins.split(' ').any(|word| word == pin));
    }
    for degree in ["data", "tensor", "pipeline", "context", "expert"] {
        let above_one = |pin: &str| pin.starts_with(degree) && !pin.ends_with("=1");
        often(degree, &|case| case.pins.split(' ').any(above_one));
    }
    for number in ["bf16", "fp32", "adamw", "sgd"] {
        often(number, &|case| case.numbers.contains(&number));
    }
}

#[test]
fn steps_and_peaks_are_derived_twice() {
    let folder = TempDir::new().unwrap();
    let (mut n_apart, mut n_shared, mut n_waiting, mut n_beside) = (0, 0, 0, 0);
    for case in &CASES {
        let (plan, answer) = planned(case, folder.path());
        let ([step, waits], peaks) = derived(case, case.cards, &plan, folder.path());
        let stated = plan["cost"]["step_time_ns"].as_f64().unwrap() * 1e-9;
        let ranks = plan["training"]["memory"].as_array().unwrap();
        let told_peaks: Vec<f64> =
            ranks.iter().map(|rank| rank["peak_bytes"].as_f64().unwrap()).collect();
        assert_eq!(peaks.len(), told_peaks.len());
        let off = |derived: f64, stated: f64| derived / stated - 1.0;
        let of_peaks =
            peaks.iter().zip(&told_peaks).map(|(derived, stated)| off(*derived, *stated));
        let peak = of_peaks
            .fold(0.0, |most: f64, share| if share.abs() > most.abs() { share } else { most });
        let apart = off(step, stated);
        println!(
            "{} {} {} cards, {}: step {stated:.4e} s {:+.2} %, peak {:.3e} {:+.2} %",
            case.model,
            case.cluster,
            case.cards,
            case.pins,
            100.0 * apart,
            told_peaks[0],
            100.0 * peak
        );
        n_beside += usize::from(plan["parallelism"]["training"]["expert_overlap"] == true);
        n_apart += usize::from(!(apart.abs() < NEAR && peak.abs() < NEAR));
        // Without a pipeline nothing else is exposed where all is shared out.
        if plan["parallelism"]["training"]["zero"] == 3 && plan["parallelism"]["pipeline"] == 1 {
            let exposed = answer["best"]["parts"]["exposed_transfers_s"].as_f64().unwrap();
            assert!(
                (exposed - waits).abs() < NEAR * step,
                "{}: waits {waits} {exposed}",
                case.pins
            );
            n_waiting += 1;
        }
        // A derivation that takes shared cards for own ones has to be seen.
        let ([alone, _], _) = derived(case, cases::devices(case.cluster), &plan, folder.path());
        n_shared += usize::from(off(alone, stated).abs() >= NEAR);
    }
    assert_eq!(n_apart, 0, "derivations more than {NEAR} apart");
    assert!(n_beside >= 2, "{n_beside} plans exchange tokens beside work");
    assert!(n_waiting >= 3, "{n_waiting} plans wait for sharded parameters");
    assert!(n_shared >= 10, "shared cards are seen in {n_shared} steps alone");
}
