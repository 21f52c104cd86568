//! Long chains on ten devices whose memory does not bind: proved, against a program over the cuts of a
//! chain that shares no code with the search.

use cost_model::given::Goal;
use ir::instance::{Configuration, Instance, StageInstance, StageNode};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use planner::given::runner::{Request, solve};
use planner::registry::entries;
use planner::run::Limits;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const DEGREES: [u32; 3] = [1, 2, 4];

/// Layers that all differ, parameters dear or cheap to exchange, ever fewer data degrees.
fn chain(seed: u64) -> StageInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n_layers = random.random_range(80..=200u32);
    let bytes: Vec<Bytes> =
        (1..n_layers).map(|_| Bytes(random.random_range(0..30_000_000))).collect();
    let nodes = (0..n_layers).map(|layer| {
        let time_ns = random.random_range(200_000..3_000_000u64);
        let parameters = random.random_range(1_000_000..300_000_000u64);
        let of = |degree: u32| Configuration {
            name: String::new(),
            degree,
            time: Nanos(time_ns / u64::from(degree) * (9 + u64::from(degree)) / 10),
            parameters: Bytes(parameters / u64::from(degree)),
            bytes_per_sample: Bytes(1_000_000),
            bytes_fixed: Bytes(8 * parameters / u64::from(degree)),
            forward_sync: Vec::new(),
            backward_sync: Vec::new(),
        };
        let configurations = DEGREES.map(of).to_vec();
        StageNode { source_id: u64::from(layer), name: String::new(), configurations }
    });
    StageInstance {
        name: format!("chain {seed}"),
        nodes: nodes.collect(),
        edges: (0..).zip(bytes).map(|(from, bytes)| (from, from + 1, bytes)).collect(),
        n_devices: 10,
        device_memory: Bytes(1 << 50),
        bandwidth: BytesPerSecond::new([1e8, 1e9, 25e9][(seed % 3) as usize]).unwrap(),
        n_micro_batches: [1920, 64, 120, 16][(seed % 4) as usize],
    }
}

/// Seconds of the slowest stage of the best pipeline: by layers done and devices used.
fn least_s(instance: &StageInstance) -> f64 {
    let (n, n_devices) = (instance.nodes.len(), instance.n_devices);
    let (rate, samples) = (instance.bandwidth.get(), instance.n_micro_batches);
    let crossing = |cut: usize| if cut % n == 0 { 0.0 } else { instance.edges[cut - 1].2.as_f64() };
    let mut best = vec![vec![f64::INFINITY; n_devices + 1]; n + 1];
    best[0][0] = 0.0;
    for from in 0..n {
        let mut sums = [[0.0; 2]; DEGREES.len()];
        for to in from + 1..=n {
            let sent_s = 2.0 * (crossing(from) + crossing(to)) / rate;
            for (of_degree, sum) in instance.nodes[to - 1].configurations.iter().zip(&mut sums) {
                sum[0] += of_degree.time.seconds();
                sum[1] += 4.0 * of_degree.parameters.as_f64() / samples as f64 / rate;
                let most = n_devices as u32 / of_degree.degree;
                for data in (1..=most).filter(|data| samples.is_multiple_of(u64::from(*data))) {
                    let d = f64::from(data);
                    let stage_s = (sum[0] + sent_s) / d + (d - 1.0) / d * sum[1];
                    let taken = (data * of_degree.degree) as usize;
                    for used in 0..=n_devices - taken {
                        let slowest = best[from][used].max(stage_s);
                        let known = &mut best[to][used + taken];
                        *known = known.min(slowest);
                    }
                }
            }
        }
    }
    best[n].iter().copied().fold(f64::INFINITY, f64::min)
}

#[test]
fn chains_whose_memory_does_not_bind_are_proved() {
    for seed in 0..12 {
        let instance = chain(seed);
        let least_s = least_s(&instance);
        let request = Request {
            limits: Limits { nodes: Some(50_000_000), ..Limits::default() },
            ..Request::new(entries())
        };
        let answer =
            solve(&Instance::Stages(instance), Goal::TimePerSample, None, &request).unwrap();
        let (value, _) = answer.best.unwrap();
        assert!(answer.is_proved, "{seed}");
        assert!((value.seconds() - least_s).abs() < 2e-9, "{seed}: {value} {least_s}");
    }
}
