//! Recorded runs of vLLM 0.19, against data sheets alone: weights that are read once an iteration, two FLOPs for
//! each parameter and token, cached keys and values that are read.

use std::path::Path;

use super::*;
use ir::cluster::DeviceKind;
use ir::tensor::DType;

/// The limits that both engines were started with.
const MAX_NUM_SEQS: u64 = 128;
const MAX_TOKENS: u64 = 2_048;

struct Run {
    file: &'static str,
    tensor: u32,
    /// Bytes of all weights, in 16 bits.
    weights: f64,
    /// Bytes of a cached token on all devices.
    cached: f64,
}

fn runs() -> [Run; 2] {
    [
        // 32 layers, 8 heads of keys and values of 128.
        Run { file: "llama-3.1-8b", tensor: 1, weights: 16.06e9, cached: 131_072.0 },
        // 64 layers.
        Run { file: "qwen3-32b", tensor: 2, weights: 65.52e9, cached: 262_144.0 },
    ]
}

/// RTX PRO 6000 Blackwell Server Edition, as the catalogue has it.
fn device() -> DeviceKind {
    let host = "{count: 1, device: rtx_pro_6000_server, devices: 2, scaleup: pcie5_p2p_blackwell, \
                host: pcie5_x16}";
    let text = format!("name: pair\nnodes:\n  - {host}\n");
    importers::cluster::parse(&text, "pair.yaml", None).unwrap().kinds[0].clone()
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

#[test]
fn recorded_runs_are_never_faster_than_data_sheets() {
    let Some(folder) = benchmark_data::folder() else { return };
    let device = device();
    let memory = device.memory_bandwidth.unwrap().get();
    let products = device.peak[&DType::Bf16].get();
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
