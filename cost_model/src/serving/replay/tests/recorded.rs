//! Recorded runs of vLLM, against prices from data sheets alone: weights that are read once an
//! iteration, two FLOPs for each parameter and token, cached keys and values that are read. Nothing is
//! fitted; what the prices leave out (derating, collectives, the host) makes the replay faster.

use super::*;

/// RTX PRO 6000 Blackwell: bytes/s of its memory; FLOP/s of bf16 products (2,000 TFLOP/s dense in fp4).
const MEMORY: f64 = 1.792e12;
const PRODUCTS: f64 = 5.0e14;

struct Run {
    file: &'static str,
    /// Bytes of all weights, in 16 bits.
    weights: f64,
    /// Bytes of a cached token on all devices.
    cached: f64,
    n_devices: f64,
}

const RUNS: [Run; 2] = [
    // 32 layers, 8 heads of keys and values of 128.
    Run { file: "llama-3.1-8b", weights: 16.06e9, cached: 131_072.0, n_devices: 1.0 },
    // 64 layers.
    Run { file: "qwen3-32b", weights: 65.52e9, cached: 262_144.0, n_devices: 2.0 },
];

fn recorded(text: &str) -> (Vec<Request>, Vec<Times>) {
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

fn figures(requests: &[Request], times: Vec<Times>) -> [f64; 3] {
    let total_s = times.iter().map(|times| times.last_token_s).fold(0.0, f64::max);
    let replay = Replay {
        times,
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
    for run in RUNS {
        let name = format!("serving/vllm_requests_rtxpro6000_{}.csv", run.file);
        let text = std::fs::read_to_string(folder.join("data").join(name)).unwrap();
        let (requests, times) = recorded(&text);
        let price = Affine {
            base_s: run.weights / run.n_devices / MEMORY,
            token_s: run.weights / run.n_devices / PRODUCTS,
            cached_s: run.cached / run.n_devices / MEMORY,
        };
        // Blocks of 128 requests of 4,096 tokens: more than any of them takes.
        let scheduler = Scheduler::vllm(128, 2_048, 128 * 256);
        let replay = replay(&requests, Traffic::Open, &scheduler, &price).unwrap();
        assert_eq!(replay.n_preemptions, 0);
        let measured = figures(&requests, times);
        let said = figures(&requests, replay.times);
        // TTFT may be shorter where faster iterations let more requests in; tokens and ends may not.
        assert!(
            said[1] < measured[1] && said[2] < measured[2],
            "{}: {said:?} {measured:?}",
            run.file
        );
    }
}
