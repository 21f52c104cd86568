//! Recorded runs of vLLM 0.19, against a replay at the prices of workers and against data sheets alone:
//! weights that are read once an iteration, two FLOPs for each parameter and token, cached keys and values
//! that are read. Nothing is fitted to the runs.

use std::path::Path;

use super::*;
use crate::links::collective::table::Table;
use crate::runs::forms::constants::Constants;
use crate::runs::forms::model::Pricing;
use crate::runs::forms::system::System;
use crate::serving::cases_tests::{llama31_8b, qwen3_32b};
use crate::serving::engine::{Engine, stack};
use crate::serving::iteration::WorkerPrices;
use crate::serving::memory::{Memory, Settings};
use crate::serving::worker::Shape;
use ir::card::ModelCard;
use ir::measured::CollectiveOperation;
use ir::profile::Profile;
use ir::tensor::DType;

/// The limits that both engines were started with, and vLLM's share of memory before 0.22.
const MAX_NUM_SEQS: u64 = 128;
const MAX_TOKENS: u64 = 2_048;
const FRACTION: f64 = 0.9;

struct Run {
    file: &'static str,
    model: ModelCard,
    tensor: u32,
    /// Bytes of all weights, in 16 bits.
    weights: f64,
    /// Bytes of a cached token on all devices.
    cached: f64,
}

fn runs() -> [Run; 2] {
    [
        // 32 layers, 8 heads of keys and values of 128.
        Run {
            file: "llama-3.1-8b",
            model: llama31_8b(),
            tensor: 1,
            weights: 16.06e9,
            cached: 131_072.0,
        },
        // 64 layers.
        Run {
            file: "qwen3-32b",
            model: qwen3_32b(),
            tensor: 2,
            weights: 65.52e9,
            cached: 262_144.0,
        },
    ]
}

/// RTX PRO 6000 Blackwell Server Edition, two in a host, as the catalogue has them, with the all-reduces of
/// this vLLM on two such cards (`collectives.csv`, vLLM_custom_graph 0.19.0).
fn system(folder: &Path) -> System {
    let host = "{count: 1, device: rtx_pro_6000_server, devices: 2, scaleup: pcie5_p2p_blackwell, \
                host: pcie5_x16}";
    let text = format!("name: pair\nnodes:\n  - {host}\n");
    let cluster = importers::cluster::parse(&text, "pair.yaml", None).unwrap();
    let mut system = System::of(&cluster, &Profile::default()).unwrap();
    let text = std::fs::read_to_string(folder.join("data/measurements/collectives.csv")).unwrap();
    let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let reduces = ["rtx_pro_6000_server", "all_reduce", "vLLM_custom_graph/0.19.0", "2", "2"];
    let point = |cells: Vec<&str>| {
        (cells[5].parse::<u64>().unwrap(), 1e-6 * cells[6].parse::<f64>().unwrap())
    };
    let table = Table::new(rows.filter(|cells| cells[..5] == reduces).map(point));
    system.measured.insert((CollectiveOperation::AllReduce, 2, 2), table);
    system
}

/// What vLLM takes for an iteration, and how it was started.
fn worker(run: &Run, system: &System) -> (WorkerPrices, Scheduler) {
    let shape = Shape::of_tensor(&run.model, run.tensor);
    let stack = stack();
    let constants = Constants::nominal(&stack);
    let base = Pricing::unlimited(&run.model, system, &stack, &constants);
    let price = WorkerPrices::new(&base, &shape, Engine::Vllm.overhead()).unwrap();
    let settings = Settings {
        engine: Engine::Vllm,
        fraction: Some(FRACTION),
        max_tokens: MAX_TOKENS,
        max_requests: MAX_NUM_SEQS,
        graph_requests: 2 * MAX_NUM_SEQS,
        max_length: 32_768,
    };
    let capacity = system.device.memory.unwrap().0;
    let memory = Memory::of((&run.model, DType::Bf16), &shape, &settings, capacity);
    let scheduler = Scheduler::vllm(MAX_NUM_SEQS, MAX_TOKENS, memory.cache_tokens() / 16);
    (price, scheduler)
}

fn recorded(folder: &Path, file: &str) -> (Vec<Request>, Vec<Times>) {
    let name = format!("data/serving/vllm_requests_rtxpro6000_{file}.csv");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let row = |line: &str| {
        let values: Vec<f64> = line.split(',').map(|value| value.parse().unwrap()).collect();
        let &[n_input, n_output, arrival_s, queued_s, scheduled_s, first, last] = &values[..]
        else {
            panic!("{line}");
        };
        let request = request(arrival_s, n_input as u32, n_output as u32);
        (request, times([arrival_s, queued_s, scheduled_s, first, last]))
    };
    text.lines().skip(1).map(row).unzip()
}

/// Mean TTFT, mean TPOT, total time.
fn figures(requests: &[Request], times: &[Times]) -> [f64; 3] {
    let total_s = times.iter().map(|times| times.last_token_s).fold(0.0, f64::max);
    let replay = Replay {
        times: times.to_vec(),
        gaps: Gaps::default(),
        n_iterations: 0,
        n_rounds: 0,
        n_preemptions: 0,
        peak_kv_blocks: 0,
        total_s,
        mean_running: 0.0,
    };
    let summary = replay.summary(requests, 0..requests.len()).unwrap();
    [summary.ttft.mean(), summary.tpot.unwrap().mean(), total_s]
}

/// Relative error of the mean TTFT of requests that did not wait for a place, in the run and in its replay.
fn at_once(said: &[Times], measured: &[Times]) -> f64 {
    let is_at_once = |times: &Times| times.scheduled_s - times.arrival_s < 0.5;
    let pairs = || said.iter().zip(measured).filter(|(a, b)| is_at_once(a) && is_at_once(b));
    let ttft = |times: &Times| times.first_token_s - times.arrival_s;
    let [a, b] =
        [pairs().map(|pair| ttft(pair.0)).sum::<f64>(), pairs().map(|pair| ttft(pair.1)).sum()];
    a / b - 1.0
}

#[test]
#[allow(clippy::print_stdout, reason = "shows the figures")]
fn recorded_runs_are_near() {
    let Some(folder) = benchmark_data::folder() else { return };
    let system = system(&folder);
    for run in runs() {
        let (requests, measured) = recorded(&folder, run.file);
        let (price, scheduler) = worker(&run, &system);
        let replay = replay(&requests, Traffic::Open, &scheduler, &price).unwrap();
        let said = figures(&requests, &replay.times);
        let wanted = figures(&requests, &measured);
        let errors: [f64; 3] = std::array::from_fn(|at| said[at] / wanted[at] - 1.0);
        let at_once = at_once(&replay.times, &measured);
        println!(
            "{}: TTFT, TPOT, total {said:.4?} s, measured {wanted:.4?} s: {errors:+.3?}; TTFT of who \
             starts at once {at_once:+.3}; {} iterations, {} KV blocks",
            run.file, replay.n_iterations, scheduler.kv_blocks,
        );
        let [ttft, tpot, total] = errors;
        assert!(ttft.abs() < 0.09 && tpot.abs() < 0.05 && total.abs() < 0.05, "{}", run.file);
        assert!(at_once.abs() < 0.05, "{}", run.file);
    }
}

#[test]
fn recorded_runs_are_never_faster_than_data_sheets() {
    let Some(folder) = benchmark_data::folder() else { return };
    let system = system(&folder);
    let memory = system.device.memory_bandwidth.unwrap().get();
    let products = system.device.peak[&DType::Bf16].get();
    for run in runs() {
        let (requests, measured) = recorded(&folder, run.file);
        let n_devices = f64::from(run.tensor);
        let price = Affine {
            base_s: run.weights / n_devices / memory,
            token_s: run.weights / n_devices / products,
            cached_s: run.cached / n_devices / memory,
        };
        // Blocks of 128 requests of 4,096 tokens: more than any of them takes.
        let scheduler = Scheduler::vllm(MAX_NUM_SEQS, MAX_TOKENS, MAX_NUM_SEQS * 256);
        let replay = replay(&requests, Traffic::Open, &scheduler, &price).unwrap();
        assert_eq!(replay.n_preemptions, 0);
        let measured = figures(&requests, &measured);
        let said = figures(&requests, &replay.times);
        // TTFT may be shorter where faster iterations let more requests in; tokens and ends may not.
        assert!(
            said[1] < measured[1] && said[2] < measured[2],
            "{}: {said:?} {measured:?}",
            run.file
        );
    }
}
