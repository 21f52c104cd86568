use std::time::Duration;

use super::*;
use crate::backend::State;
use crate::measurement::Machine;
use ir::tensor::DType;

#[test]
fn the_host_always_exists_and_counts_its_cores() {
    let backends = probe();
    assert_eq!(backends[0].name, "host");
    let State::Present { devices } = &backends[0].state else {
        panic!("the host runs this test");
    };
    assert_eq!(devices.len(), 1);
    assert!(devices[0].contains("core"), "{devices:?}");
}

#[test]
fn an_absent_backend_says_why() {
    for backend in probe() {
        match backend.state {
            State::Present { devices } => assert!(!devices.is_empty(), "{}", backend.name),
            State::Absent { reason } => assert!(!reason.is_empty(), "{}", backend.name),
        }
    }
}

/// A device that keeps to the forms, with a stall of each third batch.
struct Fake {
    task: Option<Task>,
    n_batches: u32,
    clock: f64,
}

/// Launch, peak, bandwidth and p of the fake device in fp16 and bf16; fp32 is eight times slower.
const LAUNCH: f64 = 3e-6;
const PEAK: f64 = 4e14;
const BANDWIDTH: f64 = 2e12;
const P: f64 = 2.0;

impl Fake {
    fn new() -> Self {
        Self { task: None, n_batches: 0, clock: 1.0 }
    }

    fn seconds(task: &Task) -> f64 {
        match task {
            Task::Product { dtype, .. } => {
                let peak = if *dtype == DType::F32 { PEAK / 8.0 } else { PEAK };
                let (compute, memory) = (task.flops() / peak, task.bytes() / BANDWIDTH);
                LAUNCH + (compute.powf(P) + memory.powf(P)).powf(1.0 / P)
            }
            Task::Stream { .. } => LAUNCH + task.bytes() / BANDWIDTH,
            Task::Transfer { .. } => 1e-5 + task.bytes() / 2.5e10,
        }
    }
}

impl Driver for Fake {
    fn prepare(&mut self, task: &Task) -> Result<(), Diagnostic> {
        self.task = Some(task.clone());
        self.n_batches = 0;
        Ok(())
    }

    fn run(&mut self, runs: u32) -> Result<f64, Diagnostic> {
        self.n_batches += 1;
        let stall = if self.n_batches.is_multiple_of(3) { 10.0 } else { 1.0 };
        let task = self.task.as_ref().unwrap();
        Ok(Self::seconds(task) * f64::from(runs) * stall * self.clock)
    }
}

fn measured(seed: u64, part: Part) -> Measurement {
    let options = Options { seed, part, ..Options::new(Engine::Cuda { device: 0 }) };
    let mut measurement = Measurement {
        source: "fake".into(),
        kind: "fake".into(),
        date: "2026-01-01".into(),
        machine: Machine::default(),
        samples: vec![],
        block_s: None,
        n_skipped: 0,
        elapsed_s: 0.0,
    };
    let tasks = parts(&options, cuda::others(cuda::Peer::Present), cuda::products);
    run(&mut measurement, &mut Fake::new(), &tasks, &options, cuda::BATCH_S).unwrap();
    measurement
}

#[test]
fn a_fake_device_is_profiled_from_grid_to_file() {
    let measurement = measured(0, Part::All);
    assert_eq!(measurement.n_skipped, 0);
    // Stalls do not reach the medians.
    for sample in &measurement.samples {
        assert!((sample.median_s / Fake::seconds(&sample.task) - 1.0).abs() < 1e-9, "{sample:?}");
    }
    let profile = to_profile(&measurement).unwrap();
    assert_eq!(profile.rates["fake"].peak.len(), 3);
    assert_eq!(profile.by_dtype["fake"].keys().collect::<Vec<_>>(), [&DType::F32, &DType::F16]);
    let link = &profile.links["peer"];
    assert!((link.bandwidth.get() / 2.5e10 - 1.0).abs() < 0.01, "{link:?}");
    assert!((link.latency.get() / 1e-5 - 1.0).abs() < 0.01, "{link:?}");
    let copy = &profile.streams["fake"]["copy"];
    assert!((copy.launch.get() / LAUNCH - 1.0).abs() < 0.01, "{copy:?}");
    let kernels = &profile.kinds["fake"];
    let reached = kernels.compute_efficiency * profile.rates["fake"].peak[&DType::Bf16].get();
    assert!((reached / PEAK - 1.0).abs() < 0.02, "{reached}");
    assert!(profile.quality["products bf16"].r_squared > 0.999);
    let document = documents::profile::ProfileDocument::from_ir(&profile);
    assert!(documents::json::pretty(&document).unwrap().contains("\"host-to-device\""));
}

#[test]
fn a_profile_predicts_other_shapes_and_a_changed_device_is_noticed() {
    let profile = to_profile(&measured(0, Part::All)).unwrap();
    let mut other = measured(1, Part::Products);
    let good = check(&profile, &other);
    assert_eq!((good.n, good.n_unknown), (192, 0));
    assert!(good.median_error < 0.01 && good.worst_error < 0.1, "{good:?}");
    other.samples.iter_mut().for_each(|sample| sample.median_s *= 1.5);
    assert!(check(&profile, &other).median_error > 0.3);
    other.kind = "another".into();
    assert_eq!(check(&profile, &other).n_unknown, 192);
}

#[test]
fn time_that_is_up_leaves_samples_out_and_too_few_make_no_profile() {
    let mut measurement = measured(0, Part::All);
    let options = Options { time: Duration::ZERO, ..Options::new(Engine::Host) };
    let tasks = parts(&options, cuda::others(cuda::Peer::Absent), cuda::products);
    run(&mut measurement, &mut Fake::new(), &tasks, &options, 1e-3).unwrap();
    assert_eq!((measurement.samples.len(), measurement.n_skipped), (0, tasks.len()));
    assert_eq!(to_profile(&measurement).unwrap_err().code, "too-few-samples");
}

#[test]
fn a_clock_that_stands_still_is_an_error() {
    let mut fake = Fake { clock: 0.0, ..Fake::new() };
    let task = Task::Stream { family: "copy".into(), bytes: 8 };
    let pace = Pace { repeats: 3, batch_s: 1e-3, time: Duration::from_secs(1) };
    assert_eq!(time_all(&mut fake, &[task], pace).unwrap_err().code, "clock");
}

#[test]
fn without_a_gpu_the_exit_code_is_that_of_a_wrong_input() {
    let absent = matches!(&probe()[1].state, State::Absent { .. });
    let options = Options::new(Engine::Cuda { device: if absent { 0 } else { 4_096 } });
    let error = measure(&options).unwrap_err();
    assert_eq!((error.code, error.blame.exit_code()), ("no-gpu", 3));
}
